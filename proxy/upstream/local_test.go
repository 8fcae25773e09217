package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The images of these tests: two platforms, an index of both, a signature for
// the first platform, and what another repository holds.
var (
	amd64     = imageManifest(`,"annotations":{"a":"amd64"}`)
	arm64     = imageManifest(`,"annotations":{"a":"arm64"}`)
	multi     = indexOf("", amd64, arm64)
	signature = imageManifest(withSubject(amd64))
	foreign   = imageManifest(`,"annotations":{"a":"foreign"}`)
)

func hexOf(b []byte) string { return digest.FromBytes(b).Encoded() }

// dirImage writes an image as a copy to dir: does.
func dirImage(t *testing.T, dir string, manifest []byte, children ...[]byte) {
	t.Helper()
	write(t, filepath.Join(dir, "version"), []byte("Directory Transport Version: 1.1\n"))
	write(t, filepath.Join(dir, "manifest.json"), manifest)
	write(t, filepath.Join(dir, hexOf(emptyConfig)), emptyConfig)
	for _, c := range children {
		write(t, filepath.Join(dir, hexOf(c)+".manifest.json"), c)
	}
}

// dirTree is a dir: upstream with the test's images.
func dirTree(t *testing.T) string {
	root := t.TempDir()
	dirImage(t, filepath.Join(root, "team/app/v1"), amd64)
	dirImage(t, filepath.Join(root, "team/app/multi"), multi, amd64, arm64)
	dirImage(t, filepath.Join(root, "team/app/sha256-"+hexOf(amd64)+".sig"), signature)
	dirImage(t, filepath.Join(root, "team/other/v1"), foreign)
	dirImage(t, filepath.Join(root, "team/app/sub/v9"), foreign) // the repository team/app/sub
	dirImage(t, filepath.Join(root, "team/app/-no-tag"), foreign)
	write(t, filepath.Join(root, "team/app/file"), nil)
	write(t, filepath.Join(root, "team/other/v1", hexOf([]byte("foreign blob"))), []byte("foreign blob"))
	return root
}

// layoutOf writes an OCI layout: entries by ref.name, which may repeat as "#2".
func layoutOf(t *testing.T, dir string, entries map[string][]byte, more ...[]byte) {
	t.Helper()
	var list []string
	for name, m := range entries {
		name, _, _ = strings.Cut(name, "#")
		write(t, filepath.Join(dir, "blobs/sha256", hexOf(m)), m)
		annotations := ""
		if name != "" {
			annotations = fmt.Sprintf(`,"annotations":{%q:%q}`, ocispec.AnnotationRefName, name)
		}
		list = append(list, fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d%s}`, parseLocal(m).mediaType(), digest.FromBytes(m), len(m), annotations))
	}
	for _, m := range append(more, emptyConfig) {
		write(t, filepath.Join(dir, "blobs/sha256", hexOf(m)), m)
	}
	write(t, filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`))
	write(t, filepath.Join(dir, "index.json"), []byte(`{"schemaVersion":2,"manifests":[`+strings.Join(list, ",")+`]}`))
}

func ociTree(t *testing.T) string {
	root := t.TempDir()
	layoutOf(t, filepath.Join(root, "team/app"), map[string][]byte{"v1": amd64, "multi": multi,
		"sha256-" + hexOf(amd64) + ".sig": signature}, arm64)
	layoutOf(t, filepath.Join(root, "team/other"), map[string][]byte{"v1": foreign}, []byte("foreign blob"))
	return root
}

func ociShared(t *testing.T) string {
	root := t.TempDir()
	layoutOf(t, root, map[string][]byte{"r.example/team/app:v1": amd64, "team/app:multi": multi,
		"team/app:sha256-" + hexOf(amd64) + ".sig": signature,
		"r.example/team/other:v1":                  foreign,
		"other.example/team/app:v1":                foreign,
		"v1":                                       foreign}, arm64)
	return root
}

func openLocal(t *testing.T, endpoint string) *Client {
	t.Helper()
	return open(t, Options{Registries: []Registry{{Name: "r.example", Endpoint: endpoint}}})
}

// All kinds of layouts hold the same images and must answer alike.
func TestLocalLayouts(t *testing.T) {
	for kind, endpoint := range map[string]string{"dir": "dir:" + dirTree(t), "tree": "oci:" + ociTree(t), "shared": "oci:" + ociShared(t)} {
		t.Run(kind, func(t *testing.T) {
			c, ctx := openLocal(t, endpoint), t.Context()
			for tag, want := range map[string][]byte{"v1": amd64, "multi": multi, "sha256-" + hexOf(amd64) + ".sig": signature} {
				m, err := c.Manifest(ctx, named(t, "r.example/team/app:"+tag))
				if err != nil || !bytes.Equal(m.Bytes, want) || m.ContentType != parseLocal(want).MediaType {
					t.Errorf("%s: %q, %v", tag, m.Bytes, err)
				}
				if d, err := c.ResolveTag(ctx, tagged(t, "r.example/team/app:"+tag)); err != nil || d != digest.FromBytes(want) {
					t.Errorf("%s resolves to %s, %v", tag, d, err)
				}
			}
			for _, want := range [][]byte{amd64, multi, arm64, signature} {
				if b, err := c.ManifestBytes(ctx, of(t, "r.example/team/app", want)); err != nil || !bytes.Equal(b, want) {
					t.Errorf("by digest: %q, %v", b, err)
				}
			}
			page, err := c.Tags(ctx, named(t, "r.example/team/app"), TagCursor{N: 0, Last: ""})
			if want := []string{"multi", "sha256-" + hexOf(amd64) + ".sig", "v1"}; err != nil || !slices.Equal(page.Tags, want) || page.Next != nil {
				t.Errorf("tags %v, %v", page, err)
			}
			page, err = c.Tags(ctx, named(t, "r.example/team/app"), TagCursor{N: 1, Last: "multi"})
			if err != nil || len(page.Tags) != 1 || page.Next == nil || *page.Next != (TagCursor{N: 1, Last: page.Tags[0]}) {
				t.Errorf("second page %v, %v", page, err)
			}
			config := of(t, "r.example/team/app", emptyConfig)
			if b, err := c.BlobBytes(ctx, config, 2); err != nil || !bytes.Equal(b, emptyConfig) {
				t.Errorf("blob: %q, %v", b, err)
			}
			_, err = c.BlobBytes(ctx, config, 1)
			wantKind(t, err, Invalid)
			if n, err := c.StatBlob(ctx, config); err != nil || n != 2 {
				t.Errorf("size of a blob: %d, %v", n, err)
			}
			refs, err := c.Referrers(ctx, of(t, "r.example/team/app", amd64))
			if err != nil || len(refs) != 1 || refs[0].Digest != digest.FromBytes(signature) || refs[0].ArtifactType != "application/x.sig" {
				t.Errorf("referrers: %v, %v", refs, err)
			}
			if refs, err := c.Referrers(ctx, of(t, "r.example/team/app", arm64)); err != nil || refs == nil || len(refs) != 0 {
				t.Errorf("referrers of a manifest without any: %v, %v", refs, err)
			}
			if _, supported, err := c.ExtensionSignatures(ctx, config); supported || err != nil {
				t.Errorf("signature extension: %v, %v", supported, err)
			}
		})
	}
}

// What one repository holds is not there in another, nor under names that the
// layout does not give it.
func TestLocalRepositoriesAreApart(t *testing.T) {
	for kind, endpoint := range map[string]string{"dir": "dir:" + dirTree(t), "tree": "oci:" + ociTree(t), "shared": "oci:" + ociShared(t)} {
		t.Run(kind, func(t *testing.T) {
			c, ctx := openLocal(t, endpoint), t.Context()
			for _, ref := range []string{"r.example/team/app:none", "r.example/team/none:v1", "r.example/team:app", "r.example/team/app/v1:latest",
				"r.example/team/app:sub", "r.example/blobs/sha256:x", "r.example/team/app:blobs", "r.example/team/app:index.json",
				"r.example/v1:v1", "r.example/team/app@" + digest.FromBytes(foreign).String(), "r.example/team/other@" + digest.FromBytes(amd64).String(),
				"r.example/team/app@" + digest.FromBytes(emptyConfig).String(), "r.example/none@" + digest.FromBytes(amd64).String()} {
				_, err := c.Manifest(ctx, named(t, ref))
				if wantKind(t, err, NotFound); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: %v", ref, err)
				}
			}
			for _, repo := range []string{"r.example/none", "r.example/team", "r.example/team/app/v1"} {
				_, err := c.Tags(ctx, named(t, repo), TagCursor{N: 0, Last: ""})
				wantKind(t, err, NotFound)
				_, err = c.Blob(ctx, of(t, repo, emptyConfig))
				wantKind(t, err, NotFound)
				if refs, err := c.Referrers(ctx, of(t, repo, amd64)); err != nil || len(refs) != 0 {
					t.Errorf("referrers in %s: %v, %v", repo, refs, err)
				}
			}
			_, err := c.Blob(ctx, of(t, "r.example/team/app", []byte("foreign blob")))
			wantKind(t, err, NotFound)
		})
	}
}

// Nothing outside the directory is served, whatever the files there are.
func TestLocalLayoutsAreNotLeft(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	write(t, secret, amd64)
	outside := t.TempDir()
	dirImage(t, filepath.Join(outside, "v1"), amd64)
	layoutOf(t, outside, map[string][]byte{"v1": amd64})
	link := func(to, name string) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(to, path); err != nil {
				t.Fatal(err)
			}
		}
	}
	pipe := func(name string) func(*testing.T, string) {
		return func(t *testing.T, root string) {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	directory := func(name string) func(*testing.T, string) {
		return func(t *testing.T, root string) { write(t, filepath.Join(root, name, "x"), nil) }
	}
	tests := map[string]struct {
		scheme string
		make   func(*testing.T, string)
	}{
		"dir: manifest linked":    {"dir", link(secret, "x/v1/manifest.json")},
		"dir: tag linked":         {"dir", link(outside+"/v1", "x/v1")},
		"dir: repository linked":  {"dir", link(outside, "x")},
		"dir: by dots":            {"dir", link("../../"+filepath.Base(outside), "x")},
		"dir: manifest a pipe":    {"dir", pipe("x/v1/manifest.json")},
		"dir: manifest a folder":  {"dir", directory("x/v1/manifest.json")},
		"tree: repository linked": {"oci", link(outside, "x")},
		"tree: index linked":      {"oci", link(outside+"/index.json", "x/index.json")},
		"tree: index a pipe":      {"oci", pipe("x/index.json")},
		"shared: index linked":    {"oci", link(outside+"/index.json", "index.json")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			tt.make(t, root)
			c := openLocal(t, tt.scheme+":"+root)
			for _, ref := range []string{"r.example/x:v1", "r.example/x@" + digest.FromBytes(amd64).String()} {
				if _, err := c.Manifest(t.Context(), named(t, ref)); err == nil || errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: %v", ref, err)
				}
			}
		})
	}
	t.Run("blobs", func(t *testing.T) {
		blob := []byte("blob")
		root := t.TempDir()
		dirImage(t, filepath.Join(root, "x/v1"), amd64)
		link(secret, "x/v1/"+hexOf(blob))(t, root)
		if _, err := openLocal(t, "dir:"+root).Blob(t.Context(), of(t, "r.example/x", blob)); err == nil {
			t.Error("a linked blob was served")
		}
		root = t.TempDir()
		layoutOf(t, filepath.Join(root, "x"), map[string][]byte{"v1": amd64})
		pipe("x/blobs/sha256/"+hexOf(blob))(t, root)
		if _, err := openLocal(t, "oci:"+root).Blob(t.Context(), of(t, "r.example/x", blob)); err == nil {
			t.Error("a pipe was served")
		}
	})
}

// That the directory is gone (a disk that is not mounted) does not mean that
// there is no such image.
func TestLocalDirectoryGone(t *testing.T) {
	for _, scheme := range []string{"dir", "oci"} {
		root := filepath.Join(t.TempDir(), "mount")
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		c := openLocal(t, scheme+":"+root)
		if err := os.Remove(root); err != nil {
			t.Fatal(err)
		}
		_, err := c.Manifest(t.Context(), named(t, "r.example/x:v1"))
		if wantKind(t, err, Unavailable); errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v reads as missing", err)
		}
		_, err = c.Referrers(t.Context(), of(t, "r.example/x", nil))
		if wantKind(t, err, Unavailable); errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v reads as missing", err)
		}
	}
}

func TestMalformedLayouts(t *testing.T) {
	big := imageManifest(`,"annotations":{"a":"` + strings.Repeat("x", 4<<20) + `"}`)
	deep := amd64
	var levels [][]byte
	for range maxLocalDepth + 2 {
		levels = append(levels, deep)
		deep = bytes.Replace(indexOf("", deep), []byte(`"manifests":[{"mediaType":"`+ocispec.MediaTypeImageManifest), []byte(`"manifests":[{"mediaType":"`+ocispec.MediaTypeImageIndex), 1)
	}
	tests := map[string]func(t *testing.T, dir string){
		"not JSON": func(t *testing.T, dir string) { write(t, filepath.Join(dir, "index.json"), []byte("{")) },
		"bad digest": func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "index.json"), []byte(`{"manifests":[{"digest":"sha256:../../x"}]}`))
		},
		"oversize": func(t *testing.T, dir string) { layoutOf(t, dir, map[string][]byte{"v1": big}) },
		"oversize index": func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, "index.json"), make([]byte, maxLocalIndex+1))
		},
		"two of a name": func(t *testing.T, dir string) { layoutOf(t, dir, map[string][]byte{"v1#1": amd64, "v1#2": arm64}) },
		"bottomless":    func(t *testing.T, dir string) { layoutOf(t, dir, map[string][]byte{"v1": deep}, levels...) },
		"manifest lost": func(t *testing.T, dir string) {
			layoutOf(t, dir, map[string][]byte{"v1": amd64})
			os.RemoveAll(filepath.Join(dir, "blobs"))
		},
		"too many": func(t *testing.T, dir string) { write(t, filepath.Join(dir, "index.json"), manyEntries(t)) },
		"other bytes": func(t *testing.T, dir string) {
			layoutOf(t, dir, map[string][]byte{"v1": multi})
			write(t, filepath.Join(dir, "blobs/sha256", hexOf(multi)), indexOf("", foreign))
		},
		"children lacking": func(t *testing.T, dir string) {
			layoutOf(t, dir, map[string][]byte{"v1": []byte(`{"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[{"digest":"x"}]}`)})
		},
	}
	for name, make := range tests {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			make(t, filepath.Join(root, "x"))
			c := openLocal(t, "oci:"+root)
			_, byTag := c.ManifestBytes(t.Context(), named(t, "r.example/x:v1"))
			_, byDigest := c.ManifestBytes(t.Context(), of(t, "r.example/x", foreign))
			if byTag == nil && byDigest == nil {
				t.Fatal("a malformed layout passed")
			}
			for _, err := range []error{byTag, byDigest} {
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					wantKind(t, err, Invalid)
					return
				}
			}
			t.Errorf("%v, %v", byTag, byDigest)
		})
	}
}

// manyEntries is an index.json with more entries than are looked at.
func manyEntries(t *testing.T) []byte {
	var index ocispec.Index
	for i := range maxLocalEntries + 1 {
		index.Manifests = append(index.Manifests, ocispec.Descriptor{Digest: digest.FromString(fmt.Sprint(i))})
	}
	b, err := json.Marshal(index)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Clients store referrers in a layout as entries without a name. In a shared
// layout they belong where their subject is, and nowhere else.
func TestNamelessReferrersInASharedLayout(t *testing.T) {
	second := imageManifest(withSubject(signature)) // a signature of the signature
	stray := imageManifest(withSubject(arm64))
	root := t.TempDir()
	layoutOf(t, root, map[string][]byte{"team/app:v1": amd64, "team/other:v1": foreign, "": signature, "#2": second, "#3": stray})
	c := openLocal(t, "oci:"+root)
	for _, m := range [][]byte{signature, second} {
		if _, err := c.ManifestBytes(t.Context(), of(t, "r.example/team/app", m)); err != nil {
			t.Error(err)
		}
		_, err := c.ManifestBytes(t.Context(), of(t, "r.example/team/other", m))
		wantKind(t, err, NotFound)
	}
	_, err := c.ManifestBytes(t.Context(), of(t, "r.example/team/app", stray))
	wantKind(t, err, NotFound)
	refs, err := c.Referrers(t.Context(), of(t, "r.example/team/app", amd64))
	if err != nil || len(refs) != 1 || refs[0].Digest != digest.FromBytes(signature) {
		t.Errorf("%v, %v", refs, err)
	}
}

func TestFallbackTagOfLocalLayouts(t *testing.T) {
	root := t.TempDir()
	dirImage(t, filepath.Join(root, "x/v1"), amd64)
	dirImage(t, filepath.Join(root, "x/sha256-"+hexOf(amd64)), indexOf("", signature, foreign), signature)
	refs, err := openLocal(t, "dir:"+root).Referrers(t.Context(), of(t, "r.example/x", amd64))
	if err != nil || len(refs) != 2 {
		t.Errorf("%v, %v", refs, err)
	}
	write(t, filepath.Join(root, "x/sha256-"+hexOf(amd64), "manifest.json"), amd64)
	_, err = openLocal(t, "dir:"+root).Referrers(t.Context(), of(t, "r.example/x", amd64))
	wantKind(t, err, Invalid)
}

func TestLocalReferrersAreBounded(t *testing.T) {
	root := t.TempDir()
	dirImage(t, filepath.Join(root, "x/v1"), amd64)
	for i := range maxReferrers + 1 {
		m := imageManifest(withSubject(amd64) + fmt.Sprintf(`,"annotations":{"n":"%d"}`, i))
		write(t, filepath.Join(root, "x/v1", hexOf(m)+".manifest.json"), m)
	}
	_, err := openLocal(t, "dir:"+root).Referrers(t.Context(), of(t, "r.example/x", amd64))
	wantKind(t, err, Invalid)
}

func TestFilesThatShrinkWhileTheyAreRead(t *testing.T) {
	root := t.TempDir()
	dirImage(t, filepath.Join(root, "x/v1"), amd64)
	blob := bytes.Repeat([]byte("x"), 1000)
	path := filepath.Join(root, "x/v1", hexOf(blob))
	write(t, path, blob)
	b, err := openLocal(t, "dir:"+root).Blob(t.Context(), of(t, "r.example/x", blob))
	if err != nil || b.Size != 1000 {
		t.Fatalf("%v, %v", b, err)
	}
	defer b.Body.Close()
	if err := os.Truncate(path, 10); err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(b.Body)
	wantKind(t, err, Unavailable)
}

func TestSchema1AndUntypedManifests(t *testing.T) {
	root := t.TempDir()
	for tag, m := range map[string]struct{ body, want string }{
		"plain":   {`{"schemaVersion":1,"name":"x"}`, mediaDockerSchema1},
		"signed":  {`{"schemaVersion":1,"signatures":[]}`, mediaDockerSigned1},
		"index":   {`{"schemaVersion":2,"manifests":[]}`, ocispec.MediaTypeImageIndex},
		"image":   {`{"schemaVersion":2,"config":{},"layers":[]}`, ocispec.MediaTypeImageManifest},
		"garbage": {`garbage`, ocispec.MediaTypeImageManifest},
	} {
		write(t, filepath.Join(root, "x", tag, "manifest.json"), []byte(m.body))
		got, err := openLocal(t, "dir:"+root).Manifest(t.Context(), named(t, "r.example/x:"+tag))
		if err != nil || got.ContentType != m.want {
			t.Errorf("%s: %s, %v", tag, got.ContentType, err)
		}
	}
}

// The layouts above are made by hand; this makes sure that they are what the
// tool that writes them in practice writes.
func TestLayoutsWrittenBySkopeo(t *testing.T) {
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Log("skopeo is not installed: its layouts are not compared with the ones made by hand")
		return
	}
	src, out := t.TempDir(), t.TempDir()
	layoutOf(t, src, map[string][]byte{"v1": multi}, amd64, arm64)
	for _, to := range []string{"dir:" + filepath.Join(out, "dir/team/app/v1"), "oci:" + filepath.Join(out, "oci/team/app") + ":v1"} {
		if err := os.MkdirAll(filepath.Join(out, "dir/team/app"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(out, "oci/team/app"), 0o755); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(skopeo, "--insecure-policy", "copy", "--all", "--preserve-digests", "oci:"+src+":v1", to)
		if msg, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, msg)
		}
	}
	for _, scheme := range []string{"dir", "oci"} {
		c := openLocal(t, scheme+":"+filepath.Join(out, scheme))
		if b, err := c.ManifestBytes(t.Context(), named(t, "r.example/team/app:v1")); err != nil || !bytes.Equal(b, multi) {
			t.Errorf("%s: %q, %v", scheme, b, err)
		}
		for _, m := range [][]byte{multi, amd64, arm64} {
			if _, err := c.ManifestBytes(t.Context(), of(t, "r.example/team/app", m)); err != nil {
				t.Errorf("%s: %v", scheme, err)
			}
		}
		if _, err := c.BlobBytes(t.Context(), of(t, "r.example/team/app", emptyConfig), 2); err != nil {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}

func FuzzLayoutIndex(f *testing.F) {
	f.Add([]byte(`{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"`+digest.FromString("x").String()+`","size":1,"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`), "v1")
	f.Add([]byte(`{"manifests":null}`), "r.example/x:v1")
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, index []byte, name string) {
		if err := os.WriteFile(filepath.Join(root, "index.json"), index, 0o644); err != nil {
			t.Fatal(err)
		}
		c := openLocal(t, "oci:"+root)
		if _, err := c.Manifest(t.Context(), named(t, "r.example/x:v1")); err == nil {
			t.Fatal("a manifest was read from a layout without blobs")
		}
		v := &view{registry: "r.example", repo: "x"}
		if tag, ours := ownEntry(v, name, true); ours && name != "x:"+tag && name != "r.example/x:"+tag && !strings.Contains(name, "x@sha") && !strings.Contains(name, "@") {
			t.Fatalf("%q is taken for ours", name)
		}
	})
}
