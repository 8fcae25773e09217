package proxy_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/proxy/upstream"
)

// coseArchive is a notation envelope about d that Go's tar reader unpacks: the
// archive stands in the protected headers.
func coseArchive(d digest.Digest, checksum string, content []byte) []byte {
	pad := (512 - len(content)%512) % 512
	n := 512 + len(content) + pad + 1024
	start := []byte{0xd2, 0x84, 0x5a, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
	h := make([]byte, 512)
	copy(h, start)
	copy(h[100:], fmt.Sprintf("%07o\x00%07o\x00%07o\x00%011o\x00%011o\x00        0", 0o755, 0, 0, len(content), 0))
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:156], fmt.Sprintf(checksum, sum))
	archive := append(append(append([]byte{}, h...), content...), make([]byte, pad+1024)...)
	protected := append(archive[len(start):], make([]byte, len(start))...)
	payload := notationPayload(d)
	out := append(append([]byte{}, start...), protected...)
	out = append(out, 0xa0, 0x59, byte(len(payload)>>8), byte(len(payload)))
	return append(append(out, payload...), 0x43, 's', 'i', 'g')
}

// statementArchive is an in-toto statement about d that Go's tar reader unpacks:
// its first block sums to 0 in signed bytes, and its checksum is blank.
func statementArchive(d digest.Digest) []byte {
	begin := `{"predicate":"`
	end := `","_type":"https://in-toto.io/Statement/v1","predicateType":"x","subject":[{"digest":{"sha256":"` + d.Encoded() + `"}}]}`
	body := `#!/bin/sh\necho evil #` + end
	h := []byte(begin + strings.Repeat("a", 100-len(begin)) + fmt.Sprintf("%07o %07o %07o %011o %011o         0", 0o755, 0, 0, len(body), 0))
	sum := 0
	for _, c := range h {
		sum += int(int8(c))
	}
	var fill []byte
	for left := 512 - len(h); left > 0; left = 512 - len(h) - len(fill) {
		switch {
		case left >= 2 && sum > 0: // U+0080
			fill, sum = append(fill, 0xc2, 0x80), sum-62-128
		case left > 1:
			fill, sum = append(fill, 'a'), sum+'a'
		default:
			fill, sum = append(fill, ' '), sum+' '
		}
	}
	for i := range fill {
		for sum > 0 && fill[i] > '0' && fill[i] <= 'a' {
			fill[i], sum = fill[i]-1, sum-1
		}
		for sum < 0 && (fill[i] >= 'a' && fill[i] < 'z' || i > 0 && fill[i-1] == 0xc2 && fill[i] < 0xbf) {
			fill[i], sum = fill[i]+1, sum+1
		}
	}
	b := append(append(h, fill...), body...)
	return append(b, bytes.Repeat([]byte(" "), (512-len(b)%512)%512)...)
}

// Readers of tar archives read the checksum in several ways. Whatever one of them
// unpacks is no evidence.
func TestArchivesByEveryReading(t *testing.T) {
	w := newWorld(t)
	signed := w.signed(imageOf("signed"), "v1")
	for name, c := range map[string]struct {
		mediaType string
		b         []byte
	}{
		"digits before a NUL":      {"application/cose", coseArchive(signed.digest, "%06o\x00A", []byte("#!/bin/sh\n"))},
		"digits before a space":    {"application/cose", coseArchive(signed.digest, "%06o A", []byte("#!/bin/sh\n"))},
		"as usual":                 {"application/cose", coseArchive(signed.digest, "%06o\x00 ", []byte("#!/bin/sh\n"))},
		"blank, signed sum of nil": {inToto, statementArchive(signed.digest)},
	} {
		if h, err := tar.NewReader(bytes.NewReader(c.b)).Next(); err == nil {
			t.Logf("%s: tar reads %d bytes of %q", name, h.Size, h.Name)
		} else if name != "digits before a space" {
			t.Errorf("%s: not an archive: %v", name, err)
		}
		e := w.unsigned(evidenceManifest(c.mediaType, c.b), "evil")
		w.wantDenied(manifestPath(app, e.digest))
		w.wantDenied(blobPath(app, e.layer()))
	}
}

// Formats that are read in parts begin at their end, or where annotations say.
func TestPartsOfLayersAreNoEvidence(t *testing.T) {
	w := newWorld(t)
	signed := w.signed(imageOf("signed"), "v1")
	for _, magic := range []string{"\x1f\x8b\x08", "\x28\xb5\x2f\xfd", "\x50\x2a\x4d\x18"} {
		b := coseOf([]byte{0xa0}, notationPayload(signed.digest))
		w.wantManifest(manifestPath(app, w.unsigned(evidenceManifest("application/cose", b), "x").digest), evidenceManifest("application/cose", b))
		b = append(b[:len(b)-4], append([]byte{0x58, byte(len(magic) + 100)}, append([]byte(magic), make([]byte, 100)...)...)...)
		w.wantDenied(manifestPath(app, w.unsigned(evidenceManifest("application/cose", b), "evil").digest))
	}
	payload := cosignFor(app, signed.digest)
	for _, key := range []string{"io.github.containers.zstd-chunked.manifest-position", "containerd.io/snapshot/stargz/toc.digest"} {
		config := []byte("{}")
		layer := with(descriptor(cosignPayload, payload), "annotations", object{key: "1"})
		e := fromManifest(object{"schemaVersion": 2, "mediaType": ociManifest, "config": descriptor(ociConfig, config), "layers": list{layer}}, config, payload)
		w.wantDenied(manifestPath(app, w.unsigned(e, "evil").digest))
	}
}

// What has something to run is an image, whatever its layers are.
func TestEvidenceHasNothingToRun(t *testing.T) {
	w := newWorld(t)
	signed := w.signed(imageOf("signed"), "v1")
	payload := cosignFor(app, signed.digest)
	for config, evidence := range map[string]bool{
		`{}`: true,
		`{"architecture":"","created":"0001-01-01T00:00:00Z","history":[{"created":"0001-01-01T00:00:00Z"}],"os":"","rootfs":{"type":"layers","diff_ids":["` + signed.digest.String() + `"]},"config":{}}`: true,
		`{"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":[]}}`:                                                                                                   true,
		`{"architecture":"amd64"}`:                 false,
		`{"os":"linux"}`:                           false,
		`{"config":{"Entrypoint":["/x"]}}`:         false,
		`{"OS":"linux"}`:                           false,
		`{"config":{},"Config":{"Cmd":["/x"]}}`:    false,
		`[]`:                                       false,
		`{"schemaVersion":2,"manifests":[]}`:       false,
		`{"config":{"Cmd":["/x"]},"config":{}}`:    false,
		`{"architecture":"unknown","os":"wasip1"}`: false,
	} {
		e := fromManifest(object{"schemaVersion": 2, "mediaType": ociManifest, "config": descriptor(ociConfig, []byte(config)), "layers": list{descriptor(cosignPayload, payload)}},
			[]byte(config), payload)
		w.unsigned(e, "x")
		if got := w.get(manifestPath(app, e.digest)).StatusCode == 200; got != evidence {
			t.Errorf("config %s: passes as evidence: %v, expected %v", config, got, evidence)
		}
	}
}

// What is denied leaves no facts that crowd out those of others.
func TestDeniedPullsDoNotCrowdOutOthers(t *testing.T) {
	w := newWorld(t, func(_ *world, s *settings) { s.graphSize = 2000 })
	layer := []byte("a base layer that many images share")
	good := w.signed(imageWith([]byte(`{"os":"linux","author":"good"}`), layer), "v1")
	child := imageOf("child")
	index := w.signed(indexOf(child), "v1-index")
	w.registry.push(repo, child)
	w.wantManifest(manifestPath(app, "v1"), good)
	w.wantManifest(manifestPath(app, "v1-index"), index)
	for i := range 20 {
		w.unsigned(imageWith(fmt.Appendf(nil, `{"os":"linux","author":"%d"}`, i), layer), fmt.Sprint("u", i))
		w.wantDenied(manifestPath(app, fmt.Sprint("u", i)))
		w.registry.push(repo, index, fmt.Sprint("t", i)) // signed for another tag
		w.wantDenied(manifestPath(app, fmt.Sprint("t", i)))
	}
	layers := list{}
	for i := range 5000 {
		layers = append(layers, object{"mediaType": "x", "digest": digest.FromString(fmt.Sprint(i)).String(), "size": 1})
	}
	many := fromManifest(object{"schemaVersion": 2, "config": descriptor("x", []byte("{}")), "layers": layers})
	w.registry.push("team/evil", many, "many")
	w.wantDenied(manifestPath(registryName+"/team/evil", "many"))

	w.wantBlob(blobPath(app, good.layer()), layer)
	w.wantManifest(manifestPath(app, child.digest), child)
}

// A list of referrers carries no content of its own.
func TestReferrersCarryNoContent(t *testing.T) {
	w := newWorld(t)
	signed, evil := w.signed(imageOf("signed"), "v1"), imageOf("evil")
	entry := with(evil.entry(), "data", evil.manifest)
	entry["urls"] = list{"http://evil.example/x"}
	w.registry.put(manifestPath(repo, strings.TrimSuffix(sigTag(signed.digest), ".sig")), mustJSON(object{"schemaVersion": 2, "mediaType": ociIndex, "manifests": list{entry}}))
	got := w.get("/v2/" + app + "/referrers/" + signed.digest.String())
	if body := string(got.body); got.StatusCode != 200 || !strings.Contains(body, evil.digest.String()) || strings.Contains(body, "data") || strings.Contains(body, "evil.example") {
		t.Errorf("found %s %s", got.Status, body)
	}
}

// What an index only claims to be evidence is not read before its images are
// allowed, and then within a bound.
func TestClaimedEvidenceIsBounded(t *testing.T) {
	w := newWorld(t)
	signed := imageOf("target")
	layers, blobs := list{}, [][]byte{}
	for i := range 3 {
		b := mustJSON(object{"_type": "https://in-toto.io/Statement/v1", "predicateType": "x", "predicate": strings.Repeat("x", 3<<20) + fmt.Sprint(i),
			"subject": list{object{"digest": object{"sha256": signed.digest.Encoded()}}}})
		blobs, layers = append(blobs, b), append(layers, descriptor(inToto, b))
	}
	var children []image
	for i := range 6 {
		config := fmt.Appendf(nil, `{"i":%d}`, i)
		children = append(children, fromManifest(object{"schemaVersion": 2, "mediaType": ociManifest, "config": descriptor(ociConfig, config), "layers": layers}, append([][]byte{config}, blobs...)...))
	}
	asked := func(tag string) (n int) {
		w.registry.push(repo, indexOf(append(children, signed)...), tag)
		before := len(w.registry.requests())
		w.wantDenied(manifestPath(app, tag))
		for _, r := range w.registry.requests()[before:] {
			if strings.Contains(r, "/blobs/") {
				n++
			}
		}
		return n
	}
	if n := asked("unsigned"); n != 0 {
		t.Errorf("%d blobs were read for an index with an unsigned image", n)
	}
	w.signed(signed, "signed")
	if n := asked("signed"); n > 8 {
		t.Errorf("%d blobs of 3 MiB were read for one index", n)
	}
}

// A manifest that would take many times its size in memory is refused before it
// does.
func TestManifestsThatBlowUp(t *testing.T) {
	w := newWorld(t, func(_ *world, s *settings) { s.upstream = upstream.Options{} }) // the bodies are long
	for name, body := range map[string]string{
		"entries":     `{"schemaVersion":2,"config":{},"layers":[` + strings.Repeat("{},", 1<<20) + `{}]}`,
		"annotations": `{"schemaVersion":2,"config":{},"layers":[],"annotations":{"x":[` + strings.Repeat("[1],", 900_000) + `1]}}`,
	} {
		w.registry.put(manifestPath(repo, name), []byte(body))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if got := w.get(manifestPath(app, name)); got.StatusCode != 502 {
			t.Errorf("%s: found %s", name, got.Status)
		}
		runtime.ReadMemStats(&after)
		if grown := (after.TotalAlloc - before.TotalAlloc) >> 20; grown > 100 {
			t.Errorf("%s: %d MiB were allocated for %d MiB", name, grown, len(body)>>20)
		}
	}
}

// Clients that hang up leave no work behind.
func TestAbandonedFetchesEnd(t *testing.T) {
	const clients = 100
	w := newWorld(t, func(_ *world, s *settings) { s.upstream.HeaderTimeout = 20 * time.Second })
	before := runtime.NumGoroutine()
	for i := range clients {
		w.registry.answer(manifestPath(repo, fmt.Sprint("s", i)), silent)
		c, err := net.Dial("tcp", w.gate.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "HEAD %s HTTP/1.1\r\nHost: g\r\n\r\n", manifestPath(app, fmt.Sprint("s", i)))
		defer c.Close()
		time.AfterFunc(200*time.Millisecond, func() { c.Close() })
	}
	time.Sleep(300 * time.Millisecond)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left := runtime.NumGoroutine() - before
		if left < clients/4 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d goroutines are left of %d abandoned requests", left, clients)
		}
	}
}

// A bill of materials may list whatever it likes: it is the publisher's own.
func TestLongStatementsAreEvidence(t *testing.T) {
	w := newWorld(t)
	signed := w.signed(imageOf("signed"), "v1")
	files := list{}
	for i := range 60_000 {
		files = append(files, object{"f": i, "n": "a", "v": 1})
	}
	b := mustJSON(object{"_type": "https://in-toto.io/Statement/v1", "predicateType": "https://spdx.dev/Document", "predicate": object{"files": files},
		"subject": list{object{"digest": object{"sha256": signed.digest.Encoded()}}}})
	e := w.unsigned(evidenceManifest(inToto, b), "sbom")
	w.wantManifest(manifestPath(app, e.digest), e)
}
