package trustroot_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/pullgate/pullgate/verify/trustroot"
)

// trustedRoot is a trusted_root.json with one certificate authority.
func trustedRoot(t testing.TB, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(nil, `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","certificateAuthorities":[{"uri":"https://%s",`+
		`"certChain":{"certificates":[{"rawBytes":"%s"}]},"validFor":{"start":"2020-01-01T00:00:00Z"}}]}`, name, base64.StdEncoding.EncodeToString(der))
}

func write(t testing.TB, path string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// mirror is a TUF repository that is its own web.
type mirror struct {
	t       *testing.T
	mu      sync.Mutex
	files   map[string][]byte
	down    error
	asked   []string
	keys    map[string]ed25519.PrivateKey // by role
	root    *metadata.Metadata[metadata.RootType]
	version int64
	expires time.Time
}

const mirrorURL = "https://tuf.example/repo"

func newMirror(t *testing.T, target []byte) *mirror {
	t.Helper()
	m := &mirror{t: t, files: map[string][]byte{}, keys: map[string]ed25519.PrivateKey{}, expires: time.Now().Add(24 * time.Hour)}
	m.root = metadata.Root(m.expires)
	for _, role := range []string{"root", "timestamp", "snapshot", "targets"} {
		m.key(role)
	}
	m.publishRoot(1, m.keys["root"])
	m.publish(target)
	return m
}

func (m *mirror) check(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// key makes a role's key anew.
func (m *mirror) key(role string) {
	m.t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	m.check(err)
	key, err := metadata.KeyFromPublicKey(public)
	m.check(err)
	if r := m.root.Signed.Roles[role]; r != nil {
		for _, id := range append([]string(nil), r.KeyIDs...) {
			m.check(m.root.Signed.RevokeKey(id, role))
		}
	}
	m.check(m.root.Signed.AddKey(key, role))
	m.keys[role] = private
}

func sign[T metadata.Roles](m *mirror, md *metadata.Metadata[T], keys ...ed25519.PrivateKey) []byte {
	m.t.Helper()
	md.ClearSignatures()
	for _, k := range keys {
		s, err := signature.LoadSigner(k, crypto.Hash(0))
		m.check(err)
		_, err = md.Sign(s)
		m.check(err)
	}
	b, err := md.ToBytes(false)
	m.check(err)
	return b
}

func (m *mirror) put(name string, b []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[mirrorURL+"/"+name] = b
}

func (m *mirror) publishRoot(version int64, keys ...ed25519.PrivateKey) []byte {
	m.t.Helper()
	m.root.Signed.Version = version
	m.root.Signed.Expires = m.expires
	b := sign(m, m.root, keys...)
	m.put(fmt.Sprintf("%d.root.json", version), b)
	return b
}

// publish makes the next version of everything, with this trusted root.
func (m *mirror) publish(target []byte) {
	m.t.Helper()
	m.version++
	sum := sha256.Sum256(target)
	m.put("targets/"+hex.EncodeToString(sum[:])+".trusted_root.json", target)

	targets := metadata.Targets(m.expires)
	targets.Signed.Version = m.version
	info, err := (&metadata.TargetFiles{}).FromBytes("trusted_root.json", target, "sha256")
	m.check(err)
	targets.Signed.Targets["trusted_root.json"] = info
	m.put(fmt.Sprintf("%d.targets.json", m.version), sign(m, targets, m.keys["targets"]))

	snapshot := metadata.Snapshot(m.expires)
	snapshot.Signed.Version = m.version
	snapshot.Signed.Meta["targets.json"] = metadata.MetaFile(m.version)
	m.put(fmt.Sprintf("%d.snapshot.json", m.version), sign(m, snapshot, m.keys["snapshot"]))

	timestamp := metadata.Timestamp(m.expires)
	timestamp.Signed.Version = m.version
	timestamp.Signed.Meta["snapshot.json"] = metadata.MetaFile(m.version)
	m.put("timestamp.json", sign(m, timestamp, m.keys["timestamp"]))
}

// Get implements trustroot.Web.
func (m *mirror) Get(_ context.Context, url string) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, url)
	if m.down != nil {
		return nil, m.down
	}
	b, ok := m.files[url]
	if !ok {
		return nil, fmt.Errorf("%s: %w", url, fs.ErrNotExist)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

// state is all that is published, to go back to.
func (m *mirror) state() map[string][]byte {
	out := map[string][]byte{}
	for k, v := range m.files {
		out[k] = v
	}
	return out
}

// world is a set of one TUF root, the mirror and the disk.
type world struct {
	t      *testing.T
	mirror *mirror
	clock  *clock
	opt    trustroot.Options
}

func newWorld(t *testing.T, target []byte) *world {
	t.Helper()
	dir := t.TempDir()
	w := &world{t: t, mirror: newMirror(t, target), clock: &clock{t: time.Now()}}
	first := write(t, filepath.Join(dir, "root.json"), w.mirror.files[mirrorURL+"/1.root.json"])
	w.opt = trustroot.Options{
		Roots: []trustroot.Source{{Name: "acme", MaxAge: time.Hour,
			TUF: trustroot.TUF{Mirror: mirrorURL, Root: first, Target: "trusted_root.json"}}},
		StateDir: filepath.Join(dir, "state"), Web: w.mirror, Now: w.clock.now,
	}
	return w
}

func (w *world) open() *trustroot.Set {
	w.t.Helper()
	s, err := trustroot.Open(w.opt)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// state is the path of a file that is kept of the root.
func (w *world) state(name string) string {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.opt.StateDir, "trust_roots", "*", name))
	if err != nil || len(files) != 1 {
		w.t.Fatalf("found %q, %v", files, err)
	}
	return files[0]
}

func refresh(t *testing.T, s *trustroot.Set) bool {
	t.Helper()
	changed, err := s.Refresh(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return changed
}

func get(t *testing.T, s *trustroot.Set, name string) trustroot.Root {
	t.Helper()
	r, ok := s.Get(name)
	if !ok {
		t.Fatalf("no root %s", name)
	}
	return r
}

var errDown = errors.New("the mirror is down")
