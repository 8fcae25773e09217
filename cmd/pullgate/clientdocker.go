package main

import (
	"context"
	"os/exec"
	"regexp"
	"strconv"
	"time"
)

// dockerVersionTime bounds asking a program for its version.
const dockerVersionTime = 10 * time.Second

// dockerBefore23 is the version of this machine's docker when it says one before 23,
// which does not know proxies in daemon.json; "" for any other one and when nobody
// tells.
func dockerBefore23(ctx context.Context) string {
	for _, program := range []string{"dockerd", "docker"} {
		if version, major := versionOfDocker(ctx, program); version != "" {
			if major < 23 {
				return version
			}
			return ""
		}
	}
	return ""
}

// dockerVersion is how dockerd and docker begin: Docker version 20.10.24+dfsg1, build
// 297e128.
var dockerVersion = regexp.MustCompile(`^Docker version ((\d{1,4})(?:\.\d{1,4}){1,2})\b`)

func versionOfDocker(ctx context.Context, program string) (version string, major int) {
	ctx, cancel := context.WithTimeout(ctx, dockerVersionTime)
	defer cancel()
	var out head
	c := exec.CommandContext(ctx, program, "--version")
	c.Stdout = &out
	c.WaitDelay = time.Second
	if c.Run() != nil {
		return "", 0
	}
	m := dockerVersion.FindSubmatch(out)
	if m == nil {
		return "", 0
	}
	major, err := strconv.Atoi(string(m[2]))
	if err != nil {
		return "", 0
	}
	return string(m[1]), major
}

// head keeps the first bytes that are written to it, enough for a version.
type head []byte

func (h *head) Write(p []byte) (int, error) {
	*h = append(*h, p[:min(len(p), 256-len(*h))]...)
	return len(p), nil
}
