package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// engine is a docker daemon, asked by its API (docs.docker.com/reference/api/engine).
// The command line will not do: it writes docker.io/pullgate.invalid/… without
// docker.io, which is another registry then.
type engine struct {
	host   string
	client *http.Client
	base   string
}

// newEngine takes an address as DOCKER_HOST has it: unix:///path or tcp://host:port.
func newEngine(host string) (*engine, error) {
	u, err := url.Parse(host)
	if err != nil {
		return nil, errors.New("expected a docker host like unix:///var/run/docker.sock")
	}
	var d net.Dialer
	tr := &http.Transport{DisableKeepAlives: true}
	e := &engine{host: redact(host), client: &http.Client{Transport: tr}}
	switch {
	case u.Scheme == "unix" && u.Path != "":
		e.base = "http://docker"
		tr.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", u.Path) }
	case u.Scheme == "tcp" && u.Host != "":
		e.base = "http://" + u.Host
	default:
		return nil, fmt.Errorf("expected a docker host like unix:///var/run/docker.sock or tcp://127.0.0.1:2375, found scheme %q", u.Scheme)
	}
	return e, nil
}

// do makes one request and returns the answer's status and bounded body.
func (e *engine) do(ctx context.Context, timeout time.Duration, method, target string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, e.base+target, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := e.client.Do(req)
	if err == nil {
		defer resp.Body.Close()
		var t tail
		_, err = io.Copy(&t, resp.Body)
		if err == nil {
			return resp.StatusCode, t, nil
		}
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return 0, nil, err
}

// info asks the daemon for its version, image store and mirrors.
func (e *engine) info(ctx context.Context) (dockerFacts, error) {
	status, b, err := e.do(ctx, 10*time.Second, http.MethodGet, "/info")
	if err != nil {
		return dockerFacts{}, err
	}
	var info struct {
		ServerVersion  string
		DriverStatus   [][]string
		RegistryConfig struct{ Mirrors []string }
	}
	if status != http.StatusOK || json.Unmarshal(b, &info) != nil || info.ServerVersion == "" {
		return dockerFacts{}, fmt.Errorf("expected what docker info shows, found status %d", status)
	}
	f := dockerFacts{version: info.ServerVersion, store: storeGraph, mirrors: info.RegistryConfig.Mirrors}
	for _, s := range info.DriverStatus {
		if len(s) == 2 && s[0] == "driver-type" && strings.HasPrefix(s[1], "io.containerd.snapshotter") {
			f.store = storeContainerd
		}
	}
	return f, nil
}

// pull pulls an image and takes it away again when it came. The answer is a stream
// of JSON objects, the last of which has the error.
func (e *engine) pull(ctx context.Context, timeout time.Duration, name, tag string) (ran, string) {
	target := "/images/create?" + url.Values{"fromImage": {name}, "tag": {tag}}.Encode()
	command := "POST " + e.host + target
	status, b, err := e.do(ctx, timeout, http.MethodPost, target)
	if err != nil {
		return ran{exit: -1, err: err}, command
	}
	text, failed := pullText(b)
	if status == http.StatusOK && !failed {
		_, _, _ = e.do(ctx, 30*time.Second, http.MethodDelete, "/images/"+name+":"+tag+"?force=1")
		return ran{output: text, exit: 0}, command
	}
	return ran{output: text, exit: 1}, command
}

// pullText is what the command line would show of an answer, and whether it tells
// of an error. What cannot be read is an error.
func pullText(b []byte) (string, bool) {
	var out strings.Builder
	failed := len(b) == 0
	for _, l := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
		var m struct {
			Status  string `json:"status"`
			Error   string `json:"error"`
			Message string `json:"message"`
		}
		if json.Unmarshal(l, &m) != nil {
			failed = true
			out.Write(l)
		}
		failed = failed || m.Error != "" || m.Message != ""
		for _, s := range []string{m.Status, m.Error, m.Message} {
			if s != "" {
				out.WriteString(s + "\n")
			}
		}
	}
	return out.String(), failed
}
