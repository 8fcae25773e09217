// Package harness runs the built pullgate between real clients and real
// registries, for the end-to-end tests.
//
// A test usually needs five things, each made by one call and taken down by the
// test's cleanup:
//
//	reg := harness.NewDockerRegistry(t)           // or NewGoRegistry: scriptable, records requests
//	sigs := harness.NewWebLookaside(t)            // or NewFileLookaside
//	key := harness.NewGPG(t).Key(t, harness.RSA3072)
//	img := harness.NewImage(t, "hello")
//	reg.Push(t, "app", "v1", img)
//	sigs.Put(t, "app", img.Digest, key.Sign(t, "registry.example/app:v1", img.Digest))
//	gate := harness.StartGate(t, harness.GateConfig{
//		Upstreams:   []harness.Upstream{{Registry: "registry.example", Endpoint: reg.URL}},
//		Policy:      harness.PolicyFor("registry.example", key.SignedBy(t)),
//		RegistriesD: harness.RegistriesD{"registry.example": {Lookaside: sigs.URL}},
//	})
//	client := harness.NewPodman(t)
//	result := client.Pull(t, gate, harness.Tagged("registry.example", "app", "v1"))
//
// What a decision was is read from the gate's audit log ([Gate.Audit]), never
// from a client's failure alone: clients also fail for other reasons. [Gate.Mark]
// and [Gate.Since] confine the reading to what happened in between.
//
// Whether a client can step around the gate is shown in a World: a network
// namespace in which a Hub plays Docker Hub and counts what reaches it, by who
// asks. Each client is on a node of its own there:
//
//	w := harness.NewWorld(t, nil)
//	row := w.RunMode(t, harness.Modes()[0], &harness.NodeDocker{}, "")
//
// Everything listens on loopback and lives in temporary directories. Processes
// are ended by the process ID that was started, and they end with the test
// program. A program that is missing fails the test, or skips it when the
// environment has TEST_GAPS=allowed. Functions take a testing.TB and end the
// test when something that is not under test goes wrong.
package harness
