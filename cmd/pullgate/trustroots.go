package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/pullgate/pullgate/config"
	"github.com/pullgate/pullgate/proxy/admin"
	"github.com/pullgate/pullgate/verify"
	"github.com/pullgate/pullgate/verify/trustroot"
)

// How often trust roots are read again, and how long one look may take. Files are
// looked at as often as the policy's; TUF mirrors are asked less often.
const (
	rootsEvery   = time.Hour
	rootsRetry   = time.Minute // after one that did not work
	rootsTimeout = 2 * time.Minute
)

// openRoots reads the trust roots of the configuration; nil when there are none.
func openRoots(cfg *config.Config, web trustroot.Web, logger *slog.Logger) (*trustroot.Set, error) {
	if len(cfg.TrustRoots) == 0 {
		return nil, nil
	}
	o := trustroot.Options{StateDir: cfg.StateDir, Offline: cfg.Offline, Web: web,
		Warn: func(text string) { logger.Warn("trust roots", "warning", text) }}
	for _, r := range cfg.TrustRoots {
		o.Roots = append(o.Roots, rootSource(r))
	}
	set, err := trustroot.Open(o)
	if err != nil {
		return nil, fmt.Errorf("trust_roots: %w", err)
	}
	return set, nil
}

func rootSource(r config.TrustRoot) trustroot.Source {
	return trustroot.Source{Name: r.Name, File: r.TrustedRoot, MaxAge: r.MaxAge,
		TUF: trustroot.TUF{Mirror: r.TUF.Mirror, Root: r.TUF.Root, Target: r.TUF.Target}}
}

// noWeb is the client of those who only look at what is on disk.
type noWeb struct{}

func (noWeb) Get(context.Context, string) (io.ReadCloser, error) {
	return nil, errors.New("nothing is fetched to look at a configuration")
}

// rootFaults says which trust roots cannot be used, where they are configured and
// what to write. Items with a fault that is known already are left out.
func rootFaults(cfg *config.Config, known config.Faults) []error {
	var out []error
	for i, r := range cfg.TrustRoots {
		at := fmt.Sprintf("trust_roots[%d]", i)
		if known.Has(at) {
			continue
		}
		_, err := trustroot.Open(trustroot.Options{StateDir: cfg.StateDir, Offline: cfg.Offline, Web: noWeb{}, Roots: []trustroot.Source{rootSource(r)}})
		var faults trustroot.Faults
		if !errors.As(err, &faults) {
			continue
		}
		for _, f := range faults {
			key, fix := at+".tuf", "start once without offline, or bring trust_roots of the state_dir of a gate that is online"
			switch {
			case f.File != "" && f.File == r.TrustedRoot:
				key, fix = at+".trusted_root", "put a trusted_root.json of the sigstore instance there, or name another file"
			case f.File != "" && f.File == r.TUF.Root:
				key, fix = at+".tuf.root", "put a root.json of the TUF repository there that was received in a way that is trusted"
			}
			out = append(out, cfg.Fault(key, fmt.Sprintf("trust root %s: %v", r.Name, f.Err), fix))
		}
	}
	return out
}

// inForce makes of a set what the policy is judged with; nil when none are configured.
func inForce(set *trustroot.Set) verify.Roots {
	if set == nil {
		return nil
	}
	return set
}

// rooted is what a policy is with the trust roots of a configuration.
type rooted struct {
	revision string   // that a gate has
	notes    []string // what there is to say about it
	warnings []string // of trust roots
}

// withRoots looks at the trust roots that are there, without dialling.
func withRoots(cfg *config.Config, policy *verify.Policy) (rooted, error) {
	set, err := openRoots(cfg, noWeb{}, slog.New(slog.DiscardHandler))
	if err != nil {
		return rooted{}, err
	}
	return rooted{verify.Revision(policy, inForce(set)), rootNotes(set), rootWarnings(policy, set)}, nil
}

// rootStatus is the state of each trust root for the readiness detail.
func rootStatus(set *trustroot.Set) []admin.TrustRootStatus {
	if set == nil {
		return nil
	}
	var out []admin.TrustRootStatus
	for _, name := range set.Names() {
		if r, ok := set.Get(name); ok {
			out = append(out, admin.TrustRootStatus{Name: name, Stale: r.Stale, Error: r.Problem, RefreshedAt: r.Refreshed})
		}
	}
	return out
}

// rootNotes names the trust roots that are still to be fetched.
func rootNotes(set *trustroot.Set) []string {
	if set == nil {
		return nil
	}
	var out []string
	for _, name := range set.Names() {
		if r, _ := set.Get(name); r.Material == nil {
			out = append(out, fmt.Sprintf("trust root %s was not fetched yet and is not in state_dir: the gate gets another revision than this one when it has it, and answers 503 until then where it is needed", name))
		}
	}
	return out
}

// rootWarnings says which trust roots are stale, and which requirements cannot be met
// by those that there are.
func rootWarnings(policy *verify.Policy, set *trustroot.Set) []string {
	if set == nil {
		return nil
	}
	var out []string
	for _, name := range set.Names() {
		if r, _ := set.Get(name); r.Stale && r.Material != nil {
			out = append(out, fmt.Sprintf("trust_roots: trust root %s is stale, and what needs it is answered with 503: %s", name, r.Problem))
		}
	}
	for _, w := range verify.RootWarnings(policy, set) {
		out = append(out, w.Error())
	}
	return out
}

// rootNames are the trust roots that the policy may name.
func rootNames(cfg *config.Config) []string {
	var names []string
	for _, r := range cfg.TrustRoots {
		names = append(names, r.Name)
	}
	return names
}

// rootFiles are those whose change makes trust roots be read again.
func rootFiles(cfg *config.Config) []string {
	var files []string
	for _, r := range cfg.TrustRoots {
		if r.TrustedRoot != "" {
			files = append(files, r.TrustedRoot)
		}
	}
	return files
}

// refreshRoots reads the trust roots again until ctx ends: when a file of theirs
// changes, at intervals, and when asked.
func (g *gate) refreshRoots(ctx context.Context, asked <-chan struct{}) {
	if g.roots == nil {
		return
	}
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	files := rootFiles(g.cfg)
	seen, next, failed := fingerprintOf(files), time.Time{}, false
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
		case <-tick.C:
			now := fingerprintOf(files)
			if now == seen && time.Now().Before(next) {
				continue
			}
			seen = now
		}
		err := g.refreshRootsOnce(ctx)
		if failed && err == nil { // also when they are what they were before
			g.logger.Info("trust roots can be read again", "revision", g.engine.Revision())
		}
		failed = err != nil
		next = time.Now().Add(refreshAfter(g.cfg.TrustRoots, err))
	}
}

// refreshAfter is when trust roots are read again: in time for the one that gets too
// old first, and soon when it did not work.
func refreshAfter(roots []config.TrustRoot, err error) time.Duration {
	after := rootsEvery
	for _, r := range roots {
		if r.TUF.Mirror != "" && r.MaxAge > 0 {
			after = min(after, r.MaxAge/2)
		}
	}
	if err != nil {
		after = min(after, rootsRetry)
	}
	return max(after, pollInterval)
}

func (g *gate) refreshRootsOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, rootsTimeout)
	defer cancel()
	changed, err := g.roots.Refresh(ctx)
	if err != nil {
		g.logger.Error("trust roots were not refreshed; the last good ones stay in force until max_age", "error", err)
	}
	if changed {
		g.logger.Info("trust roots refreshed", "revision", g.engine.Revision())
		for _, w := range rootWarnings(g.engine.Policy(), g.roots) {
			g.logger.Warn("trust roots", "warning", w)
		}
	}
	loaded, _ := g.policy.state()
	g.metrics.PolicyLoaded(g.engine.Revision(), loaded) // a root may have got stale since, too
	for _, name := range g.roots.Names() {
		if r, _ := g.roots.Get(name); !r.Refreshed.IsZero() {
			g.metrics.TrustRoot(name, r.Refreshed)
		}
	}
	return err
}
