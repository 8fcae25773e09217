package cache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"

	"github.com/pullgate/pullgate/cache"
	"github.com/pullgate/pullgate/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a time that only tests move.
type clock struct{ now atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.now.Store(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *clock) Now() time.Time               { return time.Unix(0, c.now.Load()) }
func (c *clock) pass(d time.Duration)         { c.now.Add(int64(d)) }
func (c *clock) in(d time.Duration) time.Time { return c.Now().Add(d) }

// policy is a verifier that answers as a test tells it.
type policy struct {
	mu       sync.Mutex
	revision string
	basis    map[string]string // by repository
	asked    int
	answer   func(ctx context.Context, s verify.Subject) (verify.Verdict, error)
}

func (p *policy) Revision() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.revision
}

// Basis of everything is unknown until a test says it.
func (p *policy) Basis(s verify.Subject) (string, string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.revision, p.basis[s.Ref.Name()]
}

func (p *policy) set(revision string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.revision = revision
}

func (p *policy) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked
}

func (p *policy) Verify(ctx context.Context, s verify.Subject) (verify.Verdict, error) {
	p.mu.Lock()
	p.asked++
	revision := p.revision
	p.mu.Unlock()
	v, err := p.answer(ctx, s)
	if v.Revision == "" {
		v.Revision = revision
	}
	return v, err
}

func always(v verify.Verdict) func(context.Context, verify.Subject) (verify.Verdict, error) {
	return func(context.Context, verify.Subject) (verify.Verdict, error) { return v, nil }
}

var allowed, denied = verify.Verdict{Decision: verify.Allowed, Scope: "a"}, verify.Verdict{Scope: "d"}

func subject(t testing.TB, ref string) verify.Subject {
	t.Helper()
	named, err := reference.ParseNamed(ref)
	if err != nil {
		t.Fatal(err)
	}
	return verify.Subject{Ref: named, Digest: digest.FromString("manifest")}
}

func newVerdicts(t testing.TB, p *policy, c *clock, change ...func(*cache.VerdictOptions)) *cache.Verdicts {
	t.Helper()
	o := cache.VerdictOptions{Size: 100, AllowedTTL: time.Hour, DeniedTTL: time.Minute, Now: c.Now}
	for _, f := range change {
		f(&o)
	}
	v, err := cache.NewVerdicts(p, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// ask expects a decision, and that the policy behind was asked as often as told.
func ask(t testing.TB, v *cache.Verdicts, p *policy, s verify.Subject, want verify.Decision, asked int) verify.Verdict {
	t.Helper()
	before := p.count()
	got, err := v.Verify(t.Context(), s)
	if err != nil || got.Decision != want {
		t.Errorf("%s: %v, %v, want %v", s.Ref, got.Decision, err, want)
	}
	if n := p.count() - before; n != asked || got.Cached != (asked == 0) {
		t.Errorf("%s: the policy was asked %d times, want %d; cached %t", s.Ref, n, asked, got.Cached)
	}
	return got
}

func TestVerdictsAreKeptForTheirTime(t *testing.T) {
	c := newClock()
	p := &policy{revision: "1", answer: always(allowed)}
	v := newVerdicts(t, p, c)
	s := subject(t, "r.example/x:v1")
	ask(t, v, p, s, verify.Allowed, 1)
	c.pass(time.Hour - 1)
	ask(t, v, p, s, verify.Allowed, 0)
	c.pass(1)
	ask(t, v, p, s, verify.Allowed, 1)

	p.answer = always(denied)
	s = subject(t, "r.example/y:v1")
	ask(t, v, p, s, verify.Denied, 1)
	c.pass(48*time.Second - 1) // a fifth less at most
	ask(t, v, p, s, verify.Denied, 0)
	c.pass(12*time.Second + 1)
	ask(t, v, p, s, verify.Denied, 1)
	if v.Revision() != "1" {
		t.Errorf("revision %q", v.Revision())
	}
}

// Denials that were made together are not all asked for again together.
func TestDenialsEndAtDifferentTimes(t *testing.T) {
	c := newClock()
	p := &policy{revision: "1", answer: always(denied)}
	v := newVerdicts(t, p, c)
	const n = 64
	for i := range n {
		ask(t, v, p, subject(t, fmt.Sprintf("r.example/x:v%d", i)), verify.Denied, 1)
	}
	c.pass(54 * time.Second)
	before := p.count()
	for i := range n {
		_, _ = v.Verify(t.Context(), subject(t, fmt.Sprintf("r.example/x:v%d", i)))
	}
	if again := p.count() - before; again == 0 || again == n {
		t.Errorf("%d of %d denials had ended", again, n)
	}
}

func TestAVerdictIsNotKeptLongerThanWhatItRestsOn(t *testing.T) {
	c := newClock()
	p := &policy{revision: "1"}
	v := newVerdicts(t, p, c)
	for ref, limit := range map[string]time.Duration{"soon": time.Minute, "late": 2 * time.Hour, "now": 0, "past": -time.Hour} {
		with := allowed
		with.Expires = c.in(limit)
		p.answer = always(with)
		s := subject(t, "r.example/x:"+ref)
		ask(t, v, p, s, verify.Allowed, 1)
		if limit <= 0 {
			ask(t, v, p, s, verify.Allowed, 1)
			continue
		}
		end := min(limit, time.Hour)
		c.pass(end - 1)
		ask(t, v, p, s, verify.Allowed, 0)
		c.pass(1)
		p.answer = always(denied)
		ask(t, v, p, s, verify.Denied, 1)
	}
}

func TestNoTimeMeansNoMemory(t *testing.T) {
	c := newClock()
	p := &policy{revision: "1", answer: always(allowed)}
	v := newVerdicts(t, p, c, func(o *cache.VerdictOptions) { o.AllowedTTL, o.DeniedTTL = 0, 0 })
	s := subject(t, "r.example/x:v1")
	ask(t, v, p, s, verify.Allowed, 1)
	ask(t, v, p, s, verify.Allowed, 1)
	p.answer = always(denied)
	ask(t, v, p, s, verify.Denied, 1)
	ask(t, v, p, s, verify.Denied, 1)
}

func TestWhatIsInDoubtIsNeverKept(t *testing.T) {
	c := newClock()
	p := &policy{revision: "1"}
	v := newVerdicts(t, p, c)
	s := subject(t, "r.example/x:v1")
	for name, answer := range map[string]func(context.Context, verify.Subject) (verify.Verdict, error){
		"error":                     func(context.Context, verify.Subject) (verify.Verdict, error) { return denied, errors.New("down") },
		"error beside an allowance": func(context.Context, verify.Subject) (verify.Verdict, error) { return allowed, errors.New("down") },
		"panic":                     func(context.Context, verify.Subject) (verify.Verdict, error) { panic("tripped") },
	} {
		p.answer = answer
		for range 2 {
			before := p.count()
			if got, err := v.Verify(t.Context(), s); err == nil || got.Decision != verify.Denied || got.Revision != "" || p.count() != before+1 {
				t.Errorf("%s: %+v, %v, asked %d times", name, got, err, p.count()-before)
			}
		}
	}
	p.answer = always(allowed)
	ask(t, v, p, s, verify.Allowed, 1)
	ask(t, v, p, s, verify.Allowed, 0)
}

func TestAVerdictWithoutARevisionIsNone(t *testing.T) {
	p := &policy{revision: "", answer: always(allowed)}
	v := newVerdicts(t, p, newClock())
	if got, err := v.Verify(t.Context(), subject(t, "r.example/x:v1")); err == nil || got.Decision != verify.Denied {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestEverythingThatAVerdictDependsOnTellsVerdictsApart(t *testing.T) {
	c := newClock()
	p := &policy{revision: "1", answer: always(allowed)}
	v := newVerdicts(t, p, c)
	d := digest.FromString("manifest").String()
	base := subject(t, "r.example/x:v1")
	other := base
	other.Digest = digest.FromString("other")
	transport := base
	transport.Transport = verify.TransportAtomic
	all := []verify.Subject{base, other, transport, subject(t, "r.example/x:v2"), subject(t, "r.example/y:v1"), subject(t, "s.example/x:v1"),
		subject(t, "r.example/x@"+d), subject(t, "r.example/x:v1@"+d), subject(t, "r.example/x:v2@"+d), subject(t, "r.example/x@"+other.Digest.String())}
	for _, s := range all {
		ask(t, v, p, s, verify.Allowed, 1)
	}
	for _, s := range all {
		ask(t, v, p, s, verify.Allowed, 0)
	}
	p.set("2")
	for _, s := range all {
		ask(t, v, p, s, verify.Allowed, 1)
	}
	for _, s := range all {
		ask(t, v, p, s, verify.Allowed, 0)
	}
	if _, err := v.Verify(t.Context(), subject(t, "r.example/x")); err == nil {
		t.Error("a name without tag and digest was judged")
	}
}

func TestAPolicyThatIsReplacedWhileItJudges(t *testing.T) {
	p := &policy{revision: "1"}
	v := newVerdicts(t, p, newClock())
	s := subject(t, "r.example/x:v1")
	// The old policy allows, the new one denies, and comes while the old one judges.
	p.answer = func(context.Context, verify.Subject) (verify.Verdict, error) {
		if p.Revision() == "1" {
			p.set("2")
			out := allowed
			out.Revision = "1"
			return out, nil
		}
		return denied, nil
	}
	got, err := v.Verify(t.Context(), s)
	if err != nil || got.Decision != verify.Denied || got.Revision != "2" || p.count() != 2 {
		t.Errorf("%+v, %v, asked %d times", got, err, p.count())
	}
	ask(t, v, p, s, verify.Denied, 0)
}

// The question is asked under one policy and answered by the next.
func TestAVerdictIsOfThePolicyThatJudged(t *testing.T) {
	p := &policy{revision: "1"}
	v := newVerdicts(t, p, newClock())
	s := subject(t, "r.example/x:v1")
	p.answer = func(context.Context, verify.Subject) (verify.Verdict, error) {
		p.set("2")
		out := denied
		out.Revision = "2"
		return out, nil
	}
	ask(t, v, p, s, verify.Denied, 1)
	ask(t, v, p, s, verify.Denied, 0)
	p.set("1")
	p.answer = always(allowed)
	ask(t, v, p, s, verify.Allowed, 1)
}

// A policy that is replaced ends the verdicts that rest on what was changed, and no
// others.
func TestAReloadEndsExactlyWhatItChanges(t *testing.T) {
	c := newClock()
	p := &policy{revision: "1", basis: map[string]string{"r.example/x": "x1", "r.example/y": "y1"}}
	p.answer = func(_ context.Context, s verify.Subject) (verify.Verdict, error) {
		out := allowed
		_, out.Basis = p.Basis(s)
		return out, nil
	}
	v := newVerdicts(t, p, c)
	x, y, z := subject(t, "r.example/x:v1"), subject(t, "r.example/y:v1"), subject(t, "r.example/z:v1")
	for _, s := range []verify.Subject{x, y, z} {
		ask(t, v, p, s, verify.Allowed, 1)
	}
	c.pass(30 * time.Minute)
	p.answer = always(denied)
	p.basis = map[string]string{"r.example/x": "x2", "r.example/y": "y1"}
	p.set("2")
	if got := ask(t, v, p, y, verify.Allowed, 0); got.Revision != "2" {
		t.Errorf("a verdict that holds under revision 2 says %s", got.Revision)
	}
	ask(t, v, p, x, verify.Denied, 1)
	ask(t, v, p, z, verify.Denied, 1) // what is not known to be the same is not
	c.pass(30*time.Minute - 1)
	ask(t, v, p, y, verify.Allowed, 0)
	c.pass(1)
	ask(t, v, p, y, verify.Denied, 1) // kept no longer for it
}

func TestPoliciesThatReplaceOneAnotherWithoutEndDecideNothing(t *testing.T) {
	p := &policy{revision: "0"}
	p.answer = func(context.Context, verify.Subject) (verify.Verdict, error) {
		out := allowed
		out.Revision = p.Revision()
		p.set(out.Revision + "0")
		return out, nil
	}
	v := newVerdicts(t, p, newClock())
	if got, err := v.Verify(t.Context(), subject(t, "r.example/x:v1")); err == nil || got.Decision != verify.Denied || !strings.Contains(err.Error(), "policy changed") || p.count() > 5 {
		t.Errorf("%+v, %v, asked %d times", got, err, p.count())
	}
}

func TestOneVerificationForAllWhoWait(t *testing.T) {
	open, begun := make(chan struct{}), make(chan struct{})
	var once sync.Once
	p := &policy{revision: "1", answer: func(ctx context.Context, _ verify.Subject) (verify.Verdict, error) {
		once.Do(func() { close(begun) })
		select {
		case <-open:
			return allowed, nil
		case <-ctx.Done():
			return denied, ctx.Err()
		}
	}}
	v := newVerdicts(t, p, newClock())
	s := subject(t, "r.example/x:v1")
	first, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := v.Verify(first, s)
		gone <- err
	}()
	<-begun
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if got, err := v.Verify(t.Context(), s); err != nil || got.Decision != verify.Allowed {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	cancel()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Errorf("who went away: %v", err)
	}
	time.Sleep(10 * time.Millisecond)
	close(open)
	wg.Wait()
	if p.count() != 1 {
		t.Errorf("the policy was asked %d times", p.count())
	}
}

// What nobody can tell with one client's credentials is no answer to another client,
// who waits at the same time; a verdict is one for both.
func TestADoubtIsOfOneAsker(t *testing.T) {
	began, end := make(chan struct{}), make(chan struct{})
	p := &policy{revision: "p1", answer: func(_ context.Context, s verify.Subject) (verify.Verdict, error) {
		if s.Asker == "mallory" {
			close(began)
			<-end
			return verify.Verdict{}, errors.New("403 for mallory")
		}
		return allowed, nil
	}}
	v := newVerdicts(t, p, newClock())
	s := subject(t, "registry.example.com/app:v1")
	s.Asker = "mallory"
	lesser := make(chan error)
	go func() {
		_, err := v.Verify(t.Context(), s)
		lesser <- err
	}()
	<-began
	s.Asker = "alice"
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if got, err := v.Verify(ctx, s); err != nil || got.Decision != verify.Allowed {
		t.Errorf("%v, %v", got.Decision, err)
	}
	close(end)
	if err := <-lesser; err == nil {
		t.Error("expected an error for who may not read the evidence")
	}
	s.Asker = "mallory"
	ask(t, v, p, s, verify.Allowed, 0)
}

func TestAVerificationEnds(t *testing.T) {
	p := &policy{revision: "1", answer: func(ctx context.Context, _ verify.Subject) (verify.Verdict, error) {
		<-ctx.Done()
		return denied, ctx.Err()
	}}
	v := newVerdicts(t, p, newClock(), func(o *cache.VerdictOptions) { o.Timeout = 20 * time.Millisecond })
	if _, err := v.Verify(t.Context(), subject(t, "r.example/x:v1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestVerdictsAreBounded(t *testing.T) {
	p := &policy{revision: "1", answer: always(allowed)}
	v := newVerdicts(t, p, newClock(), func(o *cache.VerdictOptions) { o.Size = 3 })
	tag := func(i int) verify.Subject { return subject(t, fmt.Sprintf("r.example/x:v%d", i)) }
	for i := range 3 {
		ask(t, v, p, tag(i), verify.Allowed, 1)
	}
	ask(t, v, p, tag(0), verify.Allowed, 0)
	ask(t, v, p, tag(3), verify.Allowed, 1) // in place of 1, which was used longest ago
	ask(t, v, p, tag(0), verify.Allowed, 0)
	ask(t, v, p, tag(2), verify.Allowed, 0)
	ask(t, v, p, tag(1), verify.Allowed, 1)
}

func TestObserveIsToldOfHitsAndMisses(t *testing.T) {
	c := newClock()
	p := &policy{revision: "1"}
	var told []string
	v := newVerdicts(t, p, c, func(o *cache.VerdictOptions) {
		o.Observe = func(hit bool, took time.Duration, v verify.Verdict, err error) {
			told = append(told, fmt.Sprint(hit, " ", took, " ", v.Decision, " ", err))
		}
	})
	s := subject(t, "r.example/x:v1")
	p.answer = func(context.Context, verify.Subject) (verify.Verdict, error) { return denied, errors.New("down") }
	_, _ = v.Verify(t.Context(), s)
	p.answer = func(context.Context, verify.Subject) (verify.Verdict, error) {
		c.pass(time.Second)
		return allowed, nil
	}
	_, _ = v.Verify(t.Context(), s)
	_, _ = v.Verify(t.Context(), s)
	if got, want := strings.Join(told, ", "), "false 0s denied down, false 1s allowed <nil>, true 0s allowed <nil>"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestCachesNeedASize(t *testing.T) {
	for _, size := range []int{0, -1} {
		if _, err := cache.NewVerdicts(&policy{}, cache.VerdictOptions{Size: size}); err == nil {
			t.Errorf("verdicts of size %d", size)
		}
		if _, err := cache.NewGraph(size); err == nil {
			t.Errorf("graph of size %d", size)
		}
		if _, err := cache.NewTags(size, time.Minute, nil); err == nil {
			t.Errorf("tags of size %d", size)
		}
		if _, err := cache.NewContent(int64(size), func([]byte) int64 { return 0 }); err == nil {
			t.Errorf("content of %d bytes", size)
		}
	}
	if _, err := cache.NewContent[[]byte](100, nil); err == nil {
		t.Error("content without a measure")
	}
}

func TestVerdictsUnderLoad(t *testing.T) {
	c := newClock()
	p := &policy{revision: "0"}
	p.answer = func(_ context.Context, s verify.Subject) (verify.Verdict, error) {
		if strings.HasSuffix(s.Ref.String(), "3") {
			return denied, errors.New("down")
		}
		return allowed, nil
	}
	v := newVerdicts(t, p, c, func(o *cache.VerdictOptions) { o.Size = 5 })
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 300 {
				s := subject(t, fmt.Sprintf("r.example/x:v%d", (i+g)%10))
				got, err := v.Verify(t.Context(), s)
				if bad := strings.HasSuffix(s.Ref.String(), "3"); bad != (err != nil) && (err == nil || !strings.Contains(err.Error(), "policy changed")) || err != nil && got.Decision != verify.Denied {
					t.Errorf("%s: %+v, %v", s.Ref, got, err)
				}
				if i%50 == 0 {
					p.set(fmt.Sprint(g, i))
					c.pass(time.Minute)
				}
			}
		})
	}
	wg.Wait()
}

// Anybody can store signatures, many and long: what is remembered of a verdict does
// not grow with them.
func TestTheInventoryIsNotRemembered(t *testing.T) {
	full := verify.Verdict{Decision: verify.Denied, Scope: "s", Revision: "r", Requirements: []verify.Result{{Type: "signedBy"}},
		Signatures: make([]verify.Signature, 127), Looked: []string{"somewhere"}}
	c, err := cache.NewVerdicts(fixedVerdict{full}, cache.VerdictOptions{Size: 1, DeniedTTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ref, err := reference.ParseNormalizedNamed("registry.example.com/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{127, 0} {
		v, err := c.Verify(t.Context(), verify.Subject{Ref: ref, Digest: "sha256:x"})
		if err != nil || len(v.Signatures) != want || len(v.Requirements) != 1 || len(v.Looked) != 1 || v.Cached != (i > 0) {
			t.Errorf("answer %d: %d signatures, %d requirements, cached %t, %v", i, len(v.Signatures), len(v.Requirements), v.Cached, err)
		}
	}
}

type fixedVerdict struct{ v verify.Verdict }

func (f fixedVerdict) Revision() string { return f.v.Revision }

func (f fixedVerdict) Basis(verify.Subject) (string, string) { return f.v.Revision, "" }

func (f fixedVerdict) Verify(context.Context, verify.Subject) (verify.Verdict, error) {
	return f.v, nil
}
