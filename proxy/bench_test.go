//go:build unix

package proxy_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pullgate/pullgate/proxy"
	"github.com/pullgate/pullgate/proxy/admin"
	"github.com/pullgate/pullgate/proxy/audit"
	"github.com/pullgate/pullgate/verify/trustroot"
)

// settled is what costs nothing that grows: the real audit log, to a file, and the
// real metrics.
func settled(w *world, s *settings) {
	w.t.Helper()
	records, err := audit.Open(filepath.Join(w.dir, "audit.log"), nil)
	w.must(err)
	w.t.Cleanup(func() { records.Close() })
	s.audit = records
	s.metrics, err = admin.NewMetrics(prometheus.NewRegistry(), []string{registryName, "docker.io"})
	w.must(err)
	s.tagsTTL = time.Hour
}

// scopes adds scopes to the policy until it has n, none of which is about the
// image that is pulled.
func scopes(n int) func(*world, *settings) {
	return func(_ *world, s *settings) {
		for i := len(s.policy); i < n; i++ {
			s.policy[fmt.Sprintf("%s/team/app-%d", registryName, i)] = list{reject}
		}
	}
}

// reportOnly names n scopes besides those that are about the image.
func reportOnly(n int) func(*world, *settings) {
	return func(_ *world, s *settings) {
		for i := range n {
			s.reportOnly = append(s.reportOnly, fmt.Sprintf("%s/trial/app-%d", registryName, i))
		}
	}
}

// served adds n registries that have a prefix, an endpoint and a Host of their own
// before those that the images are in.
func served(n int) func(*world, *settings) {
	return func(_ *world, s *settings) {
		var more []proxy.RegistryName
		for i := range n {
			name := fmt.Sprintf("registry-%d.example.net", i)
			more = append(more, proxy.RegistryName{Name: name, Prefix: fmt.Sprintf("r%d", i), Host: "10.0.0.1:" + fmt.Sprint(1000+i)})
			s.names.Hosts = append(s.names.Hosts, proxy.HostName{Host: fmt.Sprintf("r%d.gate.example", i), Registry: name})
		}
		s.names.Registries = append(more, s.names.Registries...)
	}
}

// layered is an image of many layers.
func layered(text string, layers int) image {
	var blobs [][]byte
	for i := range layers {
		blobs = append(blobs, fmt.Appendf(nil, "layer %d of %s", i, text))
	}
	return imageWith([]byte(`{"architecture":"amd64","os":"linux","author":"`+text+`"}`), blobs...)
}

// warmCase is one way to ask for something that was judged before.
type warmCase struct {
	name   string
	change []func(*world, *settings)
	// prepare puts images into the registries and returns what is asked for: the
	// name of the image, and the paths that are pulled before, in order.
	prepare func(*world) (image string, before []string)
	denied  bool
}

func warmCases() []warmCase {
	signed := func(w *world) (string, []string) {
		w.signed(imageOf("bench"), "v1")
		return app + ":v1", nil
	}
	unsigned := func(w *world) (string, []string) {
		w.unsigned(imageOf("bench"), "v1")
		return app + ":v1", nil
	}
	by := func(c ...func(*world, *settings)) []func(*world, *settings) { return c }
	return []warmCase{
		{"1 scope", by(), signed, false},
		{"100 scopes", by(scopes(100)), signed, false},
		{"10000 scopes", by(scopes(10_000)), signed, false},
		{"10000 scopes and report-only", by(scopes(10_000), reportOnly(10_000)), signed, false},
		{"200 registries and hosts", by(served(200)), signed, false},
		{"denied", by(), unsigned, true},
		{"denied, 10000 scopes and report-only", by(scopes(10_000), reportOnly(10_000)), unsigned, true},
		{"100 layers", by(), func(w *world) (string, []string) {
			w.signed(layered("bench", 100), "v1")
			return app + ":v1", nil
		}, false},
		{"by digest", by(), func(w *world) (string, []string) {
			img := w.signed(imageOf("bench"), "v1")
			return app + "@" + img.digest.String(), []string{manifestPath(app, "v1")}
		}, false},
		{"child of an index", by(), func(w *world) (string, []string) {
			child := imageOf("child")
			w.signed(indexOf(child, imageOf("other")), "v1")
			return app + "@" + child.digest.String(), []string{manifestPath(app, "v1")}
		}, false},
		{"by digest, 64 tags and 64 indexes", by(), func(w *world) (string, []string) {
			var before []string
			pulled := func(img image, tag string) {
				w.signed(img, tag)
				before = append(before, manifestPath(app, tag))
			}
			child := imageOf("bench")
			for i := range 64 {
				pulled(indexOf(child, imageOf(fmt.Sprint("other ", i))), fmt.Sprint("index-", i))
				pulled(child, fmt.Sprint("v", i))
			}
			return app + "@" + child.digest.String(), before
		}, false},
		{"trust roots", by(), func(w *world) (string, []string) {
			w.engine.UseRoots(noRoots{})
			return signed(w)
		}, false},
	}
}

// noRoots is a set of trust roots in force, of which none is asked for.
type noRoots struct{}

func (noRoots) Get(string) (trustroot.Root, bool) { return trustroot.Root{}, false }
func (noRoots) Generation() string                { return strings.Repeat("0", 64) }

// warm builds the case's gate and pulls everything once.
func (c warmCase) warm(t testing.TB) (*world, reference.Named) {
	t.Helper()
	w := newWorld(t, append(c.change, settled)...)
	image, before := c.prepare(w)
	ref, err := w.handler.Reference(image)
	w.must(err)
	path := manifestPath(ref.Name(), tagOrDigest(ref))
	for _, path := range append(before, path) {
		if got := w.get(path); (got.StatusCode == http.StatusOK) == c.denied {
			t.Fatal(got)
		}
	}
	return w, ref
}

func tagOrDigest(ref reference.Named) string {
	if c, ok := ref.(reference.Canonical); ok {
		return c.Digest().String()
	}
	return ref.(reference.Tagged).Tag()
}

// cpuTime is the processor time that this process has used. Unlike the time of the
// clock it does not count what else the machine does.
func cpuTime(tb testing.TB) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// measured runs f as often as the benchmark wants and reports its processor time too.
func measured(b *testing.B, f func()) {
	b.ReportAllocs()
	before := cpuTime(b)
	for b.Loop() {
		f()
	}
	b.ReportMetric(float64(cpuTime(b)-before)/float64(b.N), "cpu-ns/op")
}

// BenchmarkWarmVerdict decides about an image that was judged before: its manifest,
// the facts about it and its verdict are in memory.
func BenchmarkWarmVerdict(b *testing.B) {
	for _, c := range warmCases() {
		b.Run(c.name, func(b *testing.B) {
			w, ref := c.warm(b)
			measured(b, func() {
				if out, err := w.handler.Judge(b.Context(), ref); err != nil || out.Forward() == c.denied {
					b.Fatal(out, err)
				}
			})
		})
	}
}

// BenchmarkWarmVerdictCrowd decides about one image for everybody at once.
func BenchmarkWarmVerdictCrowd(b *testing.B) {
	w, ref := warmCases()[0].warm(b)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if out, err := w.handler.Judge(b.Context(), ref); err != nil || !out.Forward() {
				b.Error(out, err)
			}
		}
	})
}

// A verdict that was made before costs the same whatever else stands in the policy
// and in report_only.
func TestAWarmVerdictDoesNotGrowWithThePolicy(t *testing.T) {
	const most = 8 // allocations, of which the policy has no part
	measure := func(n int) (allowed, denied float64) {
		w := newWorld(t, scopes(n), reportOnly(n), settled)
		w.signed(imageOf("signed"), "v1")
		w.unsigned(imageOf("unsigned"), "v2")
		of := func(tag string, forward bool) float64 {
			w.get(manifestPath(app, tag))
			ref, err := w.handler.Reference(app + ":" + tag)
			w.must(err)
			return testing.AllocsPerRun(1000, func() {
				if out, err := w.handler.Judge(t.Context(), ref); err != nil || out.Forward() != forward || !out.Verdict.Cached {
					t.Fatal(out, err)
				}
			})
		}
		return of("v1", true), of("v2", false)
	}
	allowed, denied := measure(1)
	if manyAllowed, manyDenied := measure(10_000); allowed != manyAllowed || denied != manyDenied || max(allowed, denied) > most {
		t.Errorf("expected the same number of allocations and at most %d; found %v and %v (denied) with one scope, %v and %v with 10,000",
			most, allowed, denied, manyAllowed, manyDenied)
	}
}

// sink is a client that takes everything.
type sink struct {
	header http.Header
	status int
}

func (s *sink) Header() http.Header               { return s.header }
func (s *sink) WriteHeader(status int)            { s.status = status }
func (s *sink) Write(b []byte) (int, error)       { return len(b), nil }
func (s *sink) SetWriteDeadline(time.Time) error  { return nil }
func (s *sink) SetReadDeadline(t time.Time) error { return nil }

// BenchmarkWarmManifest answers a request for a manifest that was judged before,
// all of it but net/http: the record in the audit log is written.
func BenchmarkWarmManifest(b *testing.B) {
	for _, c := range warmCases() {
		b.Run(c.name, func(b *testing.B) {
			w, ref := c.warm(b)
			r := httptest.NewRequest(http.MethodGet, manifestPath(ref.Name(), tagOrDigest(ref)), nil)
			r.Host = "gate.example"
			measured(b, func() {
				s := &sink{header: http.Header{}}
				if w.handler.ServeHTTP(s, r); (s.status == http.StatusOK) == c.denied {
					b.Fatal(s.status)
				}
			})
		})
	}
}
