package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/pullgate/pullgate/config"
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
		o.Roots = append(o.Roots, trustroot.Source{Name: r.Name, File: r.TrustedRoot, MaxAge: r.MaxAge,
			TUF: trustroot.TUF{Mirror: r.TUF.Mirror, Root: r.TUF.Root, Target: r.TUF.Target}})
	}
	set, err := trustroot.Open(o)
	if err != nil {
		return nil, fmt.Errorf("trust_roots: %w", err)
	}
	return set, nil
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
	seen, next := fingerprintOf(files), time.Time{}
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
	}
	for _, name := range g.roots.Names() {
		if r, _ := g.roots.Get(name); !r.Refreshed.IsZero() {
			g.metrics.TrustRoot(name, r.Refreshed)
		}
	}
	return err
}
