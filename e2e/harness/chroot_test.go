package harness

import (
	"slices"
	"strings"
	"testing"
)

func TestOverlayOptions(t *testing.T) {
	for _, c := range []struct{ lower, want, failure string }{
		{"/cache/forky/root", "lowerdir=/cache/forky/root,upperdir=/u,workdir=/w", ""},
		{"/cache,redirect_dir=on/root", "", "no commas"},
		{"/cache:/etc", "", "no commas"}, // a colon separates layers
		{`/cache\`, "", "no commas"},
	} {
		got, err := overlayOptions(c.lower, "/u", "/w")
		if c.failure != "" {
			if err == nil || !strings.Contains(err.Error(), c.failure) {
				t.Errorf("%s: %q, %v; expected an error with %q", c.lower, got, err, c.failure)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("%s: %q, %v; expected %q", c.lower, got, err, c.want)
		}
	}
}

// What is closed in one version and open in another must not be mixed up: an
// open mode taken for a closed one fails the matrix, the other way round it
// would show nothing.
func TestModesOf(t *testing.T) {
	for _, c := range []struct {
		kind          ClientKind
		version, mode string
		closed        bool
	}{
		{ContainerdCRI, "1.7", modeServerOnly, false},
		{ContainerdCRI, "2.1", modeServerOnly, true},
		{DockerContainerd, "26.1", storeHosts + "_default/hosts.toml: server gate", false},
		{DockerContainerd, "28.5", storeHosts + "_default/hosts.toml: server gate", true},
		{DockerContainerd, "26.1", modeStorePlan, false},
		{DockerContainerd, "28.5", modeStorePlan, true},
		{DockerStoreBuild, "26.1", modeStorePlan, false},
		{DockerGraph, "28.5", modeMirrorListener, true},
		{DockerBuild, "28.5", modeMirrorListener, false},
		{DockerBuild, "28.5", Mode{Name: modeMirrorListener}.unreachable().Name, true},
		{BuildKitKind, "0.34", "gate.example/docker.io/…", true},
		{BuildKitKind, "0.34", "buildkitd.toml: mirrors", false},
	} {
		modes := ModesOf(t, c.kind, c.version)
		i := slices.IndexFunc(modes, func(m Mode) bool { return m.Name == c.mode })
		if i < 0 || modes[i].Closed != c.closed {
			t.Errorf("%s %s, %q: found at %d, expected a mode that is closed: %v", c.kind, c.version, c.mode, i, c.closed)
		}
	}
}
