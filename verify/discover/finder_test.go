package discover

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.podman.io/image/v5/directory"
)

// pgp is the beginning of an OpenPGP message, as far as discovery looks.
var pgp = []byte{0xC4, 1, 2, 3}

const (
	repo = "registry.example.com/team/app"
	hexD = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
)

// registry is a registry in memory.
type registry struct {
	mu        sync.Mutex
	manifest  []byte
	blobs     map[digest.Digest][]byte
	extension [][]byte
	supported bool
	referrers []imgspec.Descriptor
	errs      map[string]error // by operation
	asked     []string
}

func (r *registry) ask(op string, ref reference.Named) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, op+" "+ref.String())
	return r.errs[op]
}

func (r *registry) ManifestBytes(_ context.Context, ref reference.Named) ([]byte, error) {
	if err := r.ask("manifest", ref); err != nil {
		return nil, err
	}
	if r.manifest == nil {
		return nil, fs.ErrNotExist
	}
	return r.manifest, nil
}

func (r *registry) BlobBytes(_ context.Context, ref reference.Canonical, limit int64) ([]byte, error) {
	if err := r.ask("blob", ref); err != nil {
		return nil, err
	}
	b, ok := r.blobs[ref.Digest()]
	if !ok {
		return nil, fs.ErrNotExist
	}
	if int64(len(b)) > limit {
		return nil, errors.New("too large")
	}
	return b, nil
}

func (r *registry) ExtensionSignatures(_ context.Context, ref reference.Canonical) ([][]byte, bool, error) {
	if err := r.ask("extension", ref); err != nil {
		return nil, false, err
	}
	return r.extension, r.supported, nil
}

func (r *registry) Referrers(_ context.Context, ref reference.Canonical) ([]imgspec.Descriptor, error) {
	return r.referrers, r.ask("referrers", ref)
}

// web fetches from a test server as the gate's own client does: 404 means that
// the file does not exist, any other status than 200 is an error.
type web struct{ client *http.Client }

func (w web) Get(ctx context.Context, u string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return nil, err
	}
	res, err := w.client.Do(req)
	if err != nil {
		return nil, err
	}
	switch res.StatusCode {
	case http.StatusOK:
		return res.Body, nil
	case http.StatusNotFound:
		res.Body.Close()
		return nil, fs.ErrNotExist
	}
	res.Body.Close()
	return nil, fmt.Errorf("status %d", res.StatusCode)
}

func query(t *testing.T, base string) Query {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	return Query{Ref: named(t, repo+":v1"), Digest: "sha256:" + hexD, Lookaside: u, Stored: true}
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestLookasideIsReadUntilNotFound(t *testing.T) {
	var asked []string
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		if strings.HasSuffix(r.URL.Path, "/signature-3") {
			http.NotFound(w, r)
			return
		}
		w.Write(pgp)
	})
	base := strings.Replace(s.URL, "http://", "http://user:secret@", 1) + "/sigs/team/app?token=secret"
	found, err := Finder{&registry{}, web{s.Client()}}.Find(context.Background(), query(t, base))
	if err != nil || len(found.Signatures) != 2 {
		t.Fatalf("%+v, %v", found, err)
	}
	dir := "/sigs/team/app@sha256=" + hexD
	if want := []string{dir + "/signature-1", dir + "/signature-2", dir + "/signature-3"}; !slices.Equal(asked, want) {
		t.Errorf("expected %v, found %v", want, asked)
	}
	if want := []string{s.URL + dir}; !slices.Equal(found.Looked, want) {
		t.Errorf("expected %v, found %v", want, found.Looked)
	}
	if strings.Contains(fmt.Sprint(found), "secret") {
		t.Errorf("leaks: %v", found)
	}
}

// TestOutageIsNeverUnsigned goes through what a signature server may answer. The
// first signature is good each time, and must not decide anything.
func TestOutageIsNeverUnsigned(t *testing.T) {
	hang := make(chan struct{})
	t.Cleanup(func() { close(hang) })
	for name, second := range map[string]http.HandlerFunc{
		"401":          func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) },
		"403":          func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) },
		"410":          func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(410) },
		"429":          func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) },
		"500":          func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"503":          func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) },
		"204":          func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
		"HTML 200":     func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>sign in</html>") },
		"JSON 200":     func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"error":"no"}`) },
		"empty 200":    func(http.ResponseWriter, *http.Request) {},
		"bad sigstore": func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, sigstorePrefix+"{") },
		"oversize":     func(w http.ResponseWriter, _ *http.Request) { w.Write(append(pgp, make([]byte, MaxSignatureBytes)...)) },
		"endless": func(w http.ResponseWriter, r *http.Request) {
			io.Copy(w, io.MultiReader(bytes.NewReader(pgp), endless{}))
		},
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			w.Write(pgp)
			panic(http.ErrAbortHandler)
		},
		"hanging": func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				switch {
				case strings.HasSuffix(r.URL.Path, "/signature-1"):
					w.Write(pgp)
				case strings.HasSuffix(r.URL.Path, "/signature-2"):
					second(w, r)
				default:
					http.NotFound(w, r)
				}
			})
			ctx := context.Background()
			if name == "hanging" {
				var cancel func()
				ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
			}
			found, err := Finder{&registry{}, web{s.Client()}}.Find(ctx, query(t, s.URL))
			var inc *Inconclusive
			if !errors.As(err, &inc) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("expected an inconclusive error, found %v", err)
			}
			if len(found.Signatures) != 0 || len(found.Looked) != 1 {
				t.Errorf("expected no signatures and one place, found %+v", found)
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestEndlessListIsAnError(t *testing.T) {
	for name, c := range map[string]struct {
		count int
		body  []byte
		ok    bool
	}{
		"as many as allowed": {MaxSignatures, pgp, true},
		"one more":           {MaxSignatures + 1, pgp, false},
		"too large together": {MaxPlaceBytes/MaxSignatureBytes + 1, append(pgp, make([]byte, MaxSignatureBytes-len(pgp))...), false},
	} {
		n := 0
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if n++; n > c.count {
				http.NotFound(w, r)
				return
			}
			w.Write(c.body)
		})
		found, err := Finder{&registry{}, web{s.Client()}}.Find(context.Background(), query(t, s.URL))
		if (err == nil) != c.ok || (c.ok && len(found.Signatures) != c.count) {
			t.Errorf("%s: %d signatures, %v", name, len(found.Signatures), err)
		}
	}
}

func TestFileLookaside(t *testing.T) {
	sig := func(t *testing.T, dir string) string {
		path := filepath.Join(dir, "app@sha256="+hexD)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(path, "signature-1")
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, dir string)
		count   int
		bad     bool
	}{
		"nothing there": {func(*testing.T, string) {}, 0, false},
		"a signature": {func(t *testing.T, dir string) {
			writeFile(t, filepath.Dir(sig(t, dir)), "signature-1", string(pgp))
		}, 1, false},
		"a link to one": {func(t *testing.T, dir string) {
			writeFile(t, dir, "stored", string(pgp))
			os.Symlink(filepath.Join(dir, "stored"), sig(t, dir))
		}, 1, false},
		"a directory": {func(t *testing.T, dir string) { os.Mkdir(sig(t, dir), 0o755) }, 0, true},
		"a FIFO": {func(t *testing.T, dir string) {
			if err := syscall.Mkfifo(sig(t, dir), 0o644); err != nil {
				t.Fatal(err)
			}
		}, 0, true},
		"a device": {func(t *testing.T, dir string) { os.Symlink("/dev/zero", sig(t, dir)) }, 0, true},
		"oversize": {func(t *testing.T, dir string) {
			writeFile(t, filepath.Dir(sig(t, dir)), "signature-1", string(pgp))
			os.Truncate(sig(t, dir), MaxSignatureBytes+1)
		}, 0, true},
		"a file for the directory": {func(t *testing.T, dir string) { writeFile(t, dir, "app@sha256="+hexD, "x") }, 0, true},
		"no permission": {func(t *testing.T, dir string) {
			if os.Geteuid() == 0 { // root may read everything but a link to itself
				os.Symlink(sig(t, dir), sig(t, dir))
				return
			}
			os.Chmod(filepath.Dir(sig(t, dir)), 0)
		}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c.prepare(t, dir)
			found, err := Finder{&registry{}, web{}}.Find(context.Background(), query(t, "file://"+dir+"/app"))
			var inc *Inconclusive
			if errors.As(err, &inc) != c.bad || len(found.Signatures) != c.count {
				t.Errorf("%d signatures, %v", len(found.Signatures), err)
			}
		})
	}
}

func TestExtensionReplacesLookaside(t *testing.T) {
	q := query(t, "file:///nonexistent")
	place := "the signature API of registry.example.com"
	many := make([][]byte, MaxSignatures+1)
	for name, c := range map[string]struct {
		reg  *registry
		want int
		bad  bool
	}{
		"two":       {&registry{supported: true, extension: [][]byte{pgp, []byte("<html>")}}, 2, false},
		"none":      {&registry{supported: true}, 0, false},
		"fails":     {&registry{errs: map[string]error{"extension": errors.New("status 500")}}, 0, true},
		"not found": {&registry{errs: map[string]error{"extension": fs.ErrNotExist}}, 0, true},
		"too many":  {&registry{supported: true, extension: many}, 0, true},
		"too large": {&registry{supported: true, extension: [][]byte{make([]byte, MaxSignatureBytes+1)}}, 0, true},
	} {
		found, err := Finder{c.reg, web{}}.Find(context.Background(), q)
		if (err != nil) != c.bad || errors.Is(err, fs.ErrNotExist) || len(found.Signatures) != c.want {
			t.Errorf("%s: %d signatures, %v", name, len(found.Signatures), err)
		}
		if !slices.Equal(found.Looked, []string{place}) {
			t.Errorf("%s: looked at %v", name, found.Looked)
		}
		if want := []string{"extension " + repo + "@sha256:" + hexD}; !slices.Equal(c.reg.asked, want) {
			t.Errorf("%s: asked %v", name, c.reg.asked)
		}
	}
}

// attachment builds an attachment manifest; edit changes it before it is encoded.
func attachment(t *testing.T, r *registry, payloads [][]byte, edit func(*imgspec.Manifest)) {
	t.Helper()
	m := imgspec.Manifest{MediaType: imgspec.MediaTypeImageManifest}
	m.SchemaVersion = 2
	m.Config = imgspec.Descriptor{MediaType: imgspec.MediaTypeImageConfig, Digest: "sha256:" + hexD, Size: 2}
	r.blobs = map[digest.Digest][]byte{}
	for i, p := range payloads {
		d := digest.FromBytes(p)
		r.blobs[d] = p
		m.Layers = append(m.Layers, imgspec.Descriptor{MediaType: SimpleSigningMIMEType, Digest: d, Size: int64(len(p)),
			Annotations: map[string]string{"n": fmt.Sprint(i)}})
	}
	if edit != nil {
		edit(&m)
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	r.manifest = b
}

func TestAttachments(t *testing.T) {
	some := [][]byte{[]byte("one"), []byte("two"), []byte("three"), []byte("four"), []byte("five"), []byte("six")}
	many := make([][]byte, MaxSignatures+1)
	for i := range many {
		many[i] = fmt.Append(nil, i)
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, r *registry)
		want    int
		bad     bool
	}{
		"no tag":    {func(*testing.T, *registry) {}, 0, false},
		"six":       {func(t *testing.T, r *registry) { attachment(t, r, some, nil) }, 6, false},
		"no layers": {func(t *testing.T, r *registry) { attachment(t, r, nil, nil) }, 0, false},
		"other layers are not fetched": {func(t *testing.T, r *registry) {
			attachment(t, r, some, func(m *imgspec.Manifest) { m.Layers[0].MediaType = "application/vnd.oci.image.layer.v1.tar+gzip" })
			delete(r.blobs, digest.FromBytes(some[0]))
		}, 5, false},
		"without media type": {func(t *testing.T, r *registry) {
			attachment(t, r, some, func(m *imgspec.Manifest) { m.MediaType = "" })
		}, 6, false},
		"outage":   {func(_ *testing.T, r *registry) { r.errs = map[string]error{"manifest": errors.New("status 500")} }, 0, true},
		"not JSON": {func(_ *testing.T, r *registry) { r.manifest = []byte("<html>") }, 0, true},
		"an index": {func(_ *testing.T, r *registry) {
			r.manifest = []byte(`{"schemaVersion":2,"mediaType":"` + imgspec.MediaTypeImageIndex + `","manifests":[]}`)
		}, 0, true},
		"huge": {func(t *testing.T, r *registry) {
			attachment(t, r, some, nil)
			r.manifest = append(r.manifest, bytes.Repeat([]byte(" "), maxManifestBytes)...)
		}, 0, true},
		"another media type": {func(t *testing.T, r *registry) {
			attachment(t, r, some, func(m *imgspec.Manifest) { m.MediaType = "application/vnd.docker.distribution.manifest.v2+json" })
		}, 0, true},
		"too many": {func(t *testing.T, r *registry) { attachment(t, r, many, nil) }, 0, true},
		"blob is gone": {func(t *testing.T, r *registry) {
			attachment(t, r, some, nil)
			delete(r.blobs, digest.FromBytes(some[3]))
		}, 0, true},
		"blob fails": {func(t *testing.T, r *registry) {
			attachment(t, r, some, nil)
			r.errs = map[string]error{"blob": errors.New("status 403")}
		}, 0, true},
		"blob of another digest": {func(t *testing.T, r *registry) {
			attachment(t, r, some, nil)
			r.blobs[digest.FromBytes(some[3])] = []byte("FOUR")
		}, 0, true},
		"blob longer than said": {func(t *testing.T, r *registry) {
			attachment(t, r, some, func(m *imgspec.Manifest) { m.Layers[2].Size-- })
		}, 0, true},
		"layer too large": {func(t *testing.T, r *registry) {
			attachment(t, r, some, func(m *imgspec.Manifest) { m.Layers[2].Size = MaxSignatureBytes + 1 })
		}, 0, true},
		"negative size": {func(t *testing.T, r *registry) {
			attachment(t, r, some, func(m *imgspec.Manifest) { m.Layers[2].Size = -1 })
		}, 0, true},
		"too large together": {func(t *testing.T, r *registry) {
			attachment(t, r, some, func(m *imgspec.Manifest) {
				for i := range m.Layers {
					m.Layers[i].Size = MaxSignatureBytes
				}
			})
		}, 0, true},
		"malformed digest": {func(t *testing.T, r *registry) {
			attachment(t, r, some, func(m *imgspec.Manifest) { m.Layers[2].Digest = "sha256:../../x" })
		}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := &registry{}
			c.prepare(t, r)
			q := query(t, "file:///nonexistent")
			q.Attachments = true
			found, err := Finder{r, web{}}.Find(context.Background(), q)
			var inc *Inconclusive
			if errors.As(err, &inc) != c.bad || errors.Is(err, fs.ErrNotExist) || len(found.Signatures) != c.want {
				t.Fatalf("%d signatures, %v", len(found.Signatures), err)
			}
			tag := repo + ":sha256-" + hexD + ".sig"
			if !slices.Contains(r.asked, "manifest "+tag) || (!c.bad && !slices.Contains(found.Looked, tag)) {
				t.Errorf("asked %v, looked at %v", r.asked, found.Looked)
			}
			for _, s := range found.Signatures {
				if s.Sigstore == nil || s.Sigstore.Annotations["n"] == "" {
					t.Errorf("%+v", s)
				}
			}
		})
	}
}

func TestAttachmentsKeepTheirOrder(t *testing.T) {
	r := &registry{}
	attachment(t, r, [][]byte{[]byte("a"), []byte("b"), []byte("c"), []byte("d"), []byte("e"), []byte("f"), []byte("g"), []byte("h")}, nil)
	q := query(t, "file:///nonexistent")
	q.Attachments = true
	found, err := Finder{r, web{}}.Find(context.Background(), q)
	if err != nil {
		t.Fatal(err)
	}
	var got string
	for _, s := range found.Signatures {
		got += string(s.Sigstore.Payload)
	}
	if got != "abcdefgh" {
		t.Errorf("found %s", got)
	}
}

// TestStoredFormLikeTheLibrary reads bytes both here and by containers/image.
func TestStoredFormLikeTheLibrary(t *testing.T) {
	blobs := [][]byte{
		{}, []byte("<html>"), []byte(" \n"), []byte("-----BEGIN PGP MESSAGE-----"), {0}, []byte("\x00\n"),
		[]byte("\x00simple-signing\nx"), []byte("\x00simple-signing"), []byte("\x00sigstore-json\n{}"),
		[]byte(`` + sigstorePrefix + `{"mimeType":"m","payload":"cA==","annotations":{"a":"b"}}`),
		[]byte(sigstorePrefix + `[]`), []byte(sigstorePrefix + `{"payload":"!"}`), []byte("\x00other\n{}"), []byte("\x00\xff\n{}"),
	}
	for b := range 256 {
		blobs = append(blobs, []byte{byte(b), 1, 2})
	}
	for _, b := range blobs {
		dir := t.TempDir()
		writeFile(t, dir, "signature-1", string(b))
		ref, err := directory.NewReference(dir)
		if err != nil {
			t.Fatal(err)
		}
		src, err := ref.NewImageSource(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		simple, libErr := src.GetSignatures(context.Background(), nil)
		s, err := ParseStored("x", b)
		if (err == nil) != (libErr == nil) {
			t.Errorf("%.20q: here %v, there %v", b, err, libErr)
		}
		if libErr == nil && (s.Simple != nil) != (len(simple) == 1) {
			t.Errorf("%.20q: here simple=%t, there %d", b, s.Simple != nil, len(simple))
		}
	}
}

func FuzzParseStored(f *testing.F) {
	f.Add(pgp)
	f.Add([]byte(sigstorePrefix + `{"mimeType":"m","payload":"cA==","annotations":{"a":"b"}}`))
	f.Add([]byte("\x00simple-signing\nx"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseStored("x", b)
		if err != nil {
			return
		}
		if (s.Simple == nil) == (s.Sigstore == nil) {
			t.Fatalf("expected exactly one kind: %+v", s)
		}
		if s.Sigstore != nil {
			blob, err := s.Sigstore.Blob()
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseStored("x", blob)
			if err != nil || !bytes.Equal(again.Sigstore.Payload, s.Sigstore.Payload) {
				t.Fatalf("does not survive: %v", err)
			}
		}
	})
}
