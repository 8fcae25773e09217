package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/opencontainers/go-digest"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pullgate/pullgate/cmd/pullgate-demo/hello"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"pullgate": func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the stories in testdata/script: each tells what somebody does
// at a shell and what they see.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"world": cmdWorld},
	})
}

// cmdWorld fills the script's directory with a dir: upstream of images and their
// signatures: app:signed, app:unsigned, app:wrongkey, app:moved (signed as
// app:signed's neighbour, tag "v1"), and the release key key.gpg.
func cmdWorld(ts *testscript.TestScript, _ bool, _ []string) {
	w := &world{root: ts.MkAbs("."), release: newKey(ts, "release"), other: newKey(ts, "other")}
	var public bytes.Buffer
	ts.Check(w.release.Serialize(&public))
	w.write(ts, "key.gpg", public.Bytes())
	// registries.d wants absolute addresses.
	if conf, err := os.ReadFile(ts.MkAbs("registries.d/default.yaml")); err == nil {
		w.write(ts, "registries.d/default.yaml", bytes.Replace(conf, []byte("/SIGS"), []byte(ts.MkAbs("sigs")), 1))
	}
	for tag, sign := range map[string]struct {
		key *openpgp.Entity
		as  string
	}{
		"signed":   {w.release, "registry.example/app:signed"},
		"unsigned": {nil, ""},
		"wrongkey": {w.other, "registry.example/app:wrongkey"},
		"moved":    {w.release, "registry.example/app:v1"},
	} {
		w.image(ts, tag, sign.key, sign.as)
	}
}

type world struct {
	root           string
	release, other *openpgp.Entity
}

func newKey(ts *testscript.TestScript, name string) *openpgp.Entity {
	e, err := openpgp.NewEntity(name, "", name+"@registry.example", nil)
	ts.Check(err)
	return e
}

func (w *world) write(ts *testscript.TestScript, path string, b []byte) {
	path = filepath.Join(w.root, path)
	ts.Check(os.MkdirAll(filepath.Dir(path), 0o755))
	ts.Check(os.WriteFile(path, b, 0o644))
}

// image writes one image as skopeo copy … dir: does, and its signature into the
// lookaside.
func (w *world) image(ts *testscript.TestScript, tag string, key *openpgp.Entity, as string) {
	img, err := hello.New("amd64", tag)
	ts.Check(err)
	dir := filepath.Join("images/app", tag)
	w.write(ts, filepath.Join(dir, "version"), []byte("Directory Transport Version: 1.1\n"))
	w.write(ts, filepath.Join(dir, "manifest.json"), img.Manifest)
	for d, b := range img.Blobs {
		w.write(ts, filepath.Join(dir, d.Encoded()), b)
	}
	if key == nil {
		return
	}
	w.write(ts, fmt.Sprintf("sigs/app@sha256=%s/signature-1", img.Digest.Encoded()), simpleSigning(ts, key, as, img.Digest))
}

// simpleSigning is a signature as containers-signature(5) describes it.
func simpleSigning(ts *testscript.TestScript, key *openpgp.Entity, as string, d digest.Digest) []byte {
	payload, err := json.Marshal(map[string]any{
		"critical": map[string]any{
			"type":     "atomic container signature",
			"image":    map[string]string{"docker-manifest-digest": d.String()},
			"identity": map[string]string{"docker-reference": as},
		},
		"optional": map[string]any{},
	})
	ts.Check(err)
	var b bytes.Buffer
	w, err := openpgp.Sign(&b, key, nil, nil)
	ts.Check(err)
	_, err = w.Write(payload)
	ts.Check(err)
	ts.Check(w.Close())
	return b.Bytes()
}
