// Package e2e tests the built pullgate from the outside: between real clients,
// real registries and real signers, which package harness runs.
//
// The tests have the build tag e2e and need root and the Debian packages
// docker.io, containerd, podman, buildah, skopeo, docker-registry, gnupg and
// curl:
//
//	CGO_ENABLED=0 go test -tags e2e,containers_image_openpgp ./e2e/...
//
// TestModes holds the table of docs/clients.md, and writes it when told so:
//
//	go test -tags e2e,containers_image_openpgp -run TestModes ./e2e/ -update
//
// TestVectors judges evidence by real signers, which deploy/test-vectors.sh makes.
//
// A program that is missing skips its tests, and fails them when CI=true.
// PULLGATE_BIN and PULLGATE_DEMO_BIN name binaries to test instead of fresh
// builds.
package e2e
