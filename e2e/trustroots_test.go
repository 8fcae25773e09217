//go:build e2e

package e2e

import (
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/pullgate/pullgate/e2e/harness"
)

// tufMirror is a TUF repository with a trusted root in it.
type tufMirror struct {
	t       *testing.T
	key     ed25519.PrivateKey // of every role
	version int64

	mu    sync.Mutex
	files map[string][]byte
	down  bool
	asked int
}

func newTUFMirror(t *testing.T) *tufMirror {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	m := &tufMirror{t: t, key: key, files: map[string][]byte{}}
	public, err := metadata.KeyFromPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	root := metadata.Root(time.Now().Add(time.Hour))
	for _, role := range []string{"root", "timestamp", "snapshot", "targets"} {
		if err := root.Signed.AddKey(public, role); err != nil {
			t.Fatal(err)
		}
	}
	m.files["/1.root.json"] = tufSigned(m, root)
	return m
}

func tufSigned[T metadata.Roles](m *tufMirror, md *metadata.Metadata[T]) []byte {
	m.t.Helper()
	s, err := signature.LoadSigner(m.key, crypto.Hash(0))
	if err == nil {
		_, err = md.Sign(s)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	b, err := md.ToBytes(false)
	if err != nil {
		m.t.Fatal(err)
	}
	return b
}

// publish puts a trusted root into the repository.
func (m *tufMirror) publish(root []byte) {
	m.t.Helper()
	m.version++
	ends := time.Now().Add(time.Hour)
	targets, snapshot, timestamp := metadata.Targets(ends), metadata.Snapshot(ends), metadata.Timestamp(ends)
	info, err := (&metadata.TargetFiles{}).FromBytes("trusted_root.json", root, "sha256")
	if err != nil {
		m.t.Fatal(err)
	}
	targets.Signed.Version, snapshot.Signed.Version, timestamp.Signed.Version = m.version, m.version, m.version
	targets.Signed.Targets["trusted_root.json"] = info
	snapshot.Signed.Meta["targets.json"] = metadata.MetaFile(m.version)
	timestamp.Signed.Meta["snapshot.json"] = metadata.MetaFile(m.version)
	sum := sha256.Sum256(root)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files["/targets/"+hex.EncodeToString(sum[:])+".trusted_root.json"] = root
	m.files[fmt.Sprintf("/%d.targets.json", m.version)] = tufSigned(m, targets)
	m.files[fmt.Sprintf("/%d.snapshot.json", m.version)] = tufSigned(m, snapshot)
	m.files["/timestamp.json"] = tufSigned(m, timestamp)
}

func (m *tufMirror) set(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
}

func (m *tufMirror) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked
}

func (m *tufMirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	b, ok := m.files[r.URL.Path]
	switch {
	case m.down:
		w.WriteHeader(http.StatusBadGateway)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	default:
		_, _ = w.Write(b)
	}
}

// vectorRoot is the vectors' trusted root, and one in which the certificates of
// workflows are of another authority.
func vectorRoots(t *testing.T) (right, wrong []byte) {
	t.Helper()
	right, err := os.ReadFile(trustFile(t, "trusted_root.json"))
	var doc map[string]any
	if err != nil || json.Unmarshal(right, &doc) != nil {
		t.Fatal(err)
	}
	doc["certificateAuthorities"] = doc["timestampAuthorities"]
	return right, []byte(toJSON(t, doc))
}

// rootGate is a gate before an image that a workflow signed.
func rootGate(t *testing.T, extra string) (*harness.Gate, harness.Ref) {
	t.Helper()
	reg, ref := harness.NewGoRegistry(t), harness.Tagged(honest, "app", "v1")
	harness.LoadVector(t, filepath.Join(vectorImages, "cosign3-keyless")).Replay(t, reg, ref.Repository)
	return harness.StartGate(t, harness.GateConfig{Extra: extra,
		Upstreams: []harness.Upstream{{Registry: honest, Endpoint: reg.URL}},
		Policy:    harness.PolicyFor(honest, with(keyless(harness.VectorSubject), "type", "bundleSigned")),
	}), ref
}

// await waits until a pull of ref is answered with a status.
func await(t *testing.T, g *harness.Gate, ref harness.Ref, status int) {
	t.Helper()
	found := 0
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if found, _ = fetch(t, g.URL+"/v2/"+ref.Registry+"/"+ref.Repository+"/manifests/v1"); found == status {
			return
		}
	}
	t.Fatalf("expected status %d, found %d", status, found)
}

func hup(t *testing.T, g *harness.Gate) {
	t.Helper()
	g.Process.Signal(t, syscall.SIGHUP)
}

// A trust root is replaced while the gate serves: what it decided is asked anew, and
// what cannot be used never takes its place.
func TestTrustRootFiles(t *testing.T) {
	right, wrong := vectorRoots(t)
	file := filepath.Join(t.TempDir(), "root.json")
	written := time.Now()
	put := func(b []byte) {
		if err := os.WriteFile(file+".new", b, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file+".new", written, written); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	put(right)
	g, ref := rootGate(t, fmt.Sprintf("trust_roots: [{name: acme, trusted_root: %q, max_age: 1h}]", file))
	await(t, g, ref, http.StatusOK)
	first := g.Ready(t).Revision
	put(wrong)
	await(t, g, ref, http.StatusForbidden)
	if g.Ready(t).Revision == first {
		t.Error("another trust root has the same revision")
	}
	put(right)
	await(t, g, ref, http.StatusOK)
	put([]byte("{"))
	g.Process.WaitUntil(t, "complaint about the trust root", func() bool { return strings.Contains(g.Log(), "were not refreshed") })
	await(t, g, ref, http.StatusOK)
	put(right)
	written = time.Now().Add(-2 * time.Hour)
	put(append(right, '\n'))
	await(t, g, ref, http.StatusServiceUnavailable) // nobody knows whether it is still right
	if at := g.Metric(t, "pullgate_trust_root_refreshed_timestamp_seconds", "root", "acme"); time.Unix(int64(at), 0).Sub(written).Abs() > 2*time.Second {
		t.Errorf("the metric says %f, expected %d", at, written.Unix())
	}
}

// A trust root comes from a TUF mirror in the background, and stays while the mirror is
// down, is broken, or must not be asked.
func TestTrustRootByTUF(t *testing.T) {
	right, wrong := vectorRoots(t)
	m := newTUFMirror(t)
	m.publish(right)
	m.set(true)
	mirror := harness.NewUpstream(t, m)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "root.json"), m.files["/1.root.json"], 0o600); err != nil {
		t.Fatal(err)
	}
	extra := fmt.Sprintf("state_dir: %q\ntrust_roots: [{name: acme, max_age: 1h, tuf: {mirror: %q, root: %q}}]", dir, mirror.URL, filepath.Join(dir, "root.json"))
	g, ref := rootGate(t, extra)
	await(t, g, ref, http.StatusServiceUnavailable) // there is none yet
	m.set(false)
	hup(t, g)
	await(t, g, ref, http.StatusOK)
	if age := time.Since(time.Unix(int64(g.Metric(t, "pullgate_trust_root_refreshed_timestamp_seconds", "root", "acme")), 0)); age < 0 || age > time.Minute {
		t.Errorf("the root is said to be %s old", age)
	}
	m.publish(wrong)
	hup(t, g)
	await(t, g, ref, http.StatusForbidden)
	m.publish(right)
	hup(t, g)
	await(t, g, ref, http.StatusOK)

	kept, err := filepath.Glob(filepath.Join(dir, "trust_roots", "*", "timestamp.json"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("found %q, %v", kept, err)
	}
	if err := os.WriteFile(kept[0], []byte(`{"signed":{"_type":"timestamp"}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	m.publish(wrong)
	hup(t, g)
	await(t, g, ref, http.StatusForbidden)
	if !strings.Contains(g.Log(), "timestamp.json cannot be read") {
		t.Error("nothing is said about the broken file")
	}
	m.publish(right)
	hup(t, g)
	await(t, g, ref, http.StatusOK)

	m.set(true)
	hup(t, g)
	g.Process.WaitUntil(t, "complaint about the mirror", func() bool { return strings.Contains(g.Log(), "were not refreshed") })
	await(t, g, ref, http.StatusOK)
	g.Stop(t)
	m.set(false)
	asked := m.count()
	offline, ref := rootGate(t, extra+"\noffline: true")
	await(t, offline, ref, http.StatusOK)
	hup(t, offline)
	offline.Process.WaitUntil(t, "reload", func() bool { return strings.Contains(offline.Log(), "SIGHUP") })
	time.Sleep(2 * time.Second)
	if n := m.count() - asked; n != 0 {
		t.Errorf("%d requests while offline", n)
	}
}
