package main

import (
	"os"
	"path/filepath"
	"testing"
)

// The version counts when the program says one before 23, and nothing else does.
func TestDockerBefore23(t *testing.T) {
	tests := map[string]struct{ dockerd, docker, want string }{
		"an old daemon":        {"echo Docker version 20.10.24+dfsg1, build 297e128", "", "20.10.24"},
		"the last old one":     {"echo Docker version 22.06.0-beta.0, build x", "", "22.06.0"},
		"a new daemon":         {"echo Docker version 23.0.1, build x", "", ""},
		"a new one, old tools": {"echo Docker version 28.5.1, build x", "echo Docker version 20.10.24, build x", ""},
		"tools alone":          {"", "echo Docker version 19.03.15, build x", "19.03.15"},
		"podman's docker":      {"", "echo podman version 4.3.1", ""},
		"nobody":               {"", "", ""},
		"an error":             {"echo Docker version 20.10.24; exit 1", "", ""},
		"no version":           {"echo Docker version v20", "", ""},
		"much to say":          {"echo Docker version 20.10.24, build x; head -c 100000 /dev/zero", "", "20.10.24"},
	}
	path := os.Getenv("PATH")
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for program, script := range map[string]string{"dockerd": tt.dockerd, "docker": tt.docker} {
				if script == "" {
					script = "exit 127"
				}
				if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			t.Setenv("PATH", dir+":"+path)
			if got := dockerBefore23(t.Context()); got != tt.want {
				t.Errorf("found %q, expected %q", got, tt.want)
			}
		})
	}
}
