package proxy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/proxy/upstream"
)

// patterned is a blob in which every part is different from its neighbours.
func patterned(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 31 >> (i % 5))
	}
	return b
}

type deadlines struct{ set []time.Time }

func (d *deadlines) at(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

func TestTheLastChunkIsHeldBackUntilTheDigestIsKnown(t *testing.T) {
	const c = blobChunk
	for _, size := range []int{0, 1, 2, c - 1, c, c + 1, 2 * c, 2*c + 7} {
		blob := patterned(size)
		wrong := bytes.Clone(blob)
		if size > 0 {
			wrong[size-1] ^= 0x80
		}
		spans := []byteRange{{0, int64(size) - 1, false}}
		for _, s := range [][2]int{{0, 0}, {size / 2, size - 1}, {size - 1, size - 1}, {c - 1, c}, {c, c}, {1, size - 2}} {
			if s[0] >= 0 && s[0] <= s[1] && s[1] < size {
				spans = append(spans, byteRange{int64(s[0]), int64(s[1]), true})
			}
		}
		for _, span := range spans {
			for _, announced := range []int64{int64(size), -1} {
				if announced < 0 && span.partial {
					continue
				}
				for name, reader := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "data and EOF": iotest.DataErrReader} {
					t.Run(fmt.Sprintf("%d of %d, %+v, %s", announced, size, span, name), func(t *testing.T) {
						run := func(b []byte) (string, error) {
							var out bytes.Buffer
							d := &deadlines{}
							h := &heldBack{begin: func() {}, w: &out, deadline: d.at, span: span, size: announced, hash: digest.SHA256.Hash()}
							err := h.copy(reader(bytes.NewReader(b)), digest.FromBytes(blob))
							if h.sent != int64(out.Len()) {
								t.Errorf("%d bytes were sent, %d counted", out.Len(), h.sent)
							}
							for _, at := range d.set {
								if until := time.Until(at); until < chunkWriteTime-time.Minute || until > chunkWriteTime {
									t.Errorf("a chunk may take %s", until)
								}
							}
							if out.Len() > 0 && len(d.set) == 0 {
								t.Error("chunks are written without a deadline")
							}
							return out.String(), err
						}
						want := string(blob[span.first : span.last+1])
						if got, err := run(blob); err != nil || got != want {
							t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
						}
						if size == 0 {
							return
						}
						var mismatch *apiError
						if got, err := run(wrong); !errors.As(err, &mismatch) || len(got) >= len(want) {
							t.Errorf("wrong: %d bytes of %d, %v", len(got), len(want), err)
						}
						if got, err := run(append(bytes.Clone(blob), 'x')); !errors.As(err, &mismatch) || len(got) >= len(want) {
							t.Errorf("longer: %d bytes of %d, %v", len(got), len(want), err)
						}
						if got, err := run(blob[:size-1]); err == nil || len(got) >= len(want) && span.last == int64(size)-1 {
							t.Errorf("shorter: %d bytes of %d, %v", len(got), len(want), err)
						}
					})
				}
			}
		}
	}
}

type stuck struct{}

func (stuck) Write([]byte) (int, error) { return 0, errors.New("write deadline") }

func TestAClientThatDoesNotReadIsGivenUp(t *testing.T) {
	blob := patterned(3 * blobChunk)
	h := &heldBack{begin: func() {}, w: stuck{}, deadline: (&deadlines{}).at, span: byteRange{0, int64(len(blob)) - 1, false}, size: int64(len(blob)), hash: digest.SHA256.Hash()}
	if err := h.copy(bytes.NewReader(blob), digest.FromBytes(blob)); !errors.Is(err, errClientGone) {
		t.Errorf("got %v", err)
	}
}

func TestABodyThatFailsIsNotTakenForItsEnd(t *testing.T) {
	blob := patterned(2*blobChunk + 5)
	var out bytes.Buffer
	h := &heldBack{begin: func() {}, w: &out, deadline: (&deadlines{}).at, span: byteRange{0, 1<<63 - 2, false}, size: -1, hash: digest.SHA256.Hash()}
	broken := io.MultiReader(bytes.NewReader(blob), iotest.ErrReader(errors.New("reset")))
	if err := h.copy(broken, digest.FromBytes(blob)); err == nil || out.Len() >= len(blob) {
		t.Errorf("%d bytes, %v", out.Len(), err)
	}
}

func TestASmallBlobIsReadToItsEnd(t *testing.T) {
	repo, err := reference.WithName("registry.example.com/x")
	if err != nil {
		t.Fatal(err)
	}
	ref, err := withDigest(repo, digest.FromString("abc").String())
	if err != nil {
		t.Fatal(err)
	}
	for body, size := range map[string]int64{"abc": 3, "abcd": 3, "ab": 3, "abd": 3} {
		b, err := readWhole(&upstream.Blob{Body: io.NopCloser(strings.NewReader(body)), Size: size}, ref)
		if good := body == "abc"; good != (err == nil) || good && string(b) != body {
			t.Errorf("%q for %d bytes: %q, %v", body, size, b, err)
		}
	}
}
