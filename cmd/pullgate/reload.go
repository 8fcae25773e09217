package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pullgate/pullgate/verify"
)

// Files are looked at by polling: it sees renames, bind mounts and the symlink
// swaps of Kubernetes alike, on every file system.
const (
	pollInterval  = time.Second
	retryInterval = 5 * time.Second // of a policy that could not be used
)

// reloadState is what became of the last attempt to load the policy.
type reloadState struct {
	mu      sync.Mutex
	at      time.Time // when the policy in force was loaded
	failure string    // of the last attempt, empty when it worked
}

func (s *reloadState) loaded(*verify.Policy) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.failure = time.Now(), ""
}

func (s *reloadState) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = err.Error()
}

func (s *reloadState) state() (time.Time, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at, s.failure
}

// reloadLoop loads the policy again on SIGHUP and when one of its files changes,
// until ctx ends.
func (g *gate) reloadLoop(ctx context.Context, rootsAsked chan<- struct{}) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	// What the files looked like before the policy was read is not known here: the
	// first look may reload a policy that has not changed, never miss one that has.
	seen, tried := "", time.Now()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-hup:
			asked = true
			g.logger.Info("SIGHUP: reloading")
			if err := g.audit.Reopen(); err != nil {
				g.logger.Error("audit log not reopened", "error", err)
			}
			g.reloadKeys(true)
			select {
			case rootsAsked <- struct{}{}:
			default: // it is being done
			}
		case <-tick.C:
			g.reloadKeys(false)
			now := g.fingerprint()
			_, failure := g.policy.state()
			if now == seen && (failure == "" || time.Since(tried) < retryInterval) {
				continue
			}
			seen = now
		}
		tried = time.Now()
		g.reload(asked)
	}
}

// reload puts a new policy in force, or keeps the old one and says why. A look
// that finds nothing new counts only when somebody asked for it.
func (g *gate) reload(asked bool) {
	p, err := verify.LoadPolicy(policyOptions(g.cfg))
	_, before := g.policy.state()
	if err != nil {
		g.policy.failed(err)
		g.metrics.PolicyReload(false)
		if err.Error() != before || asked {
			g.logger.Error("the new policy cannot be used; the old one stays in force", "revision", g.engine.Revision(), "error", err)
		}
		return
	}
	old := g.engine.Revision()
	if p.Revision() == g.engine.Policy().Revision() && before == "" && !asked {
		return
	}
	g.engine.Replace(p)
	g.policy.loaded(p)
	g.metrics.PolicyReload(true)
	g.metrics.PolicyLoaded(g.engine.Revision(), time.Now())
	g.logger.Info("policy reloaded", "revision", g.engine.Revision(), "was", old)
	for _, w := range append(p.Warnings(), verify.RootWarnings(p, inForce(g.roots))...) {
		g.logger.Warn("policy", "warning", w.Error())
	}
}

// reloadKeys reads certificates and passwords again when they have changed.
func (g *gate) reloadKeys(asked bool) {
	if g.certs != nil {
		switch tried, err := g.certs.reload(asked); {
		case err != nil:
			g.logger.Error("the new certificates cannot be used; the old ones stay in force", "error", err)
		case tried:
			g.logger.Info("certificates reloaded")
		}
	}
	if now := fingerprintOf(g.access.Files()); asked || now != g.accessSeen {
		first := g.accessSeen == ""
		g.accessSeen = now
		switch err := g.access.Reload(); {
		case err != nil:
			g.logger.Error("the new passwords cannot be used; the old ones stay in force", "error", err)
		case !first && now != "":
			g.logger.Info("passwords reloaded")
		}
	}
}

// fingerprint changes when a file that the policy in force was made of changes,
// appears or goes.
func (g *gate) fingerprint() string {
	files := slices.Clone(g.engine.Policy().Files())
	if dir := g.cfg.RegistriesD; dir != "" {
		names, _ := filepath.Glob(filepath.Join(dir, "*.yaml")) // a bad pattern is not possible here
		files = append(files, names...)
	}
	return fingerprintOf(files)
}

// fingerprintOf changes when one of the files changes, appears or goes.
func fingerprintOf(files []string) string {
	slices.Sort(files)
	var b strings.Builder
	for _, f := range slices.Compact(files) {
		info, err := os.Stat(f)
		if err != nil {
			fmt.Fprintf(&b, "%s gone\n", f)
			continue
		}
		var inode uint64
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			inode = st.Ino
		}
		fmt.Fprintf(&b, "%s %d %d %d\n", f, info.Size(), info.ModTime().UnixNano(), inode)
	}
	return b.String()
}
