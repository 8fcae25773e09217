package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
)

// guide is what the demonstration prints when the gate is ready: what there is,
// what to try and what each command will say.
func guide(w *world, binary, config, listen, admin string) string {
	host := publicHost(listen)
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("")
	p("Pullgate listens on %s, in front of a registry that the policy calls %s.", listen, registryName)
	p("The policy: images of %s must be signed by the demo's release key (%s);", registryName, w.trustedID)
	p("everything else is rejected. Below, > says what to expect.")
	p("")
	p("Pull with docker:")
	for _, e := range []struct{ repo, expect string }{
		{signedRepo, "pulled: signed by the release key"},
		{multiarchRepo, "pulled: the index for amd64 and arm64 is signed, and stands for its images"},
		{unsignedRepo, "denied (403): no signatures found"},
		{wrongkeyRepo, "denied (403): signed by key " + w.wrongID + ", which the policy does not trust"},
		{tamperedRepo, "denied (403): altered after signing; the signature is for another digest"},
	} {
		p("  docker pull %s/%s:%s", host, e.repo, tag)
		p("    > %s", e.expect)
	}
	p("  docker run --rm %s/%s:%s", host, signedRepo, tag)
	p("    > Hello from an image that passed the gate.")
	p("")
	p("The same with skopeo and podman:")
	p("  skopeo inspect --tls-verify=false docker://%s/%s:%s", host, signedRepo, tag)
	p("    > the image's details")
	p("  skopeo copy --src-tls-verify=false docker://%s/%s:%s dir:/tmp/unsigned", host, unsignedRepo, tag)
	p("    > denied, and why")
	p("  podman pull --tls-verify=false %s/%s:%s", host, signedRepo, tag)
	p("    > pulled")
	p("")
	p("What goes over the wire:")
	p("  curl -i http://%s/v2/%s/manifests/%s", host, signedRepo, tag)
	p("    > HTTP/1.1 200 OK and the manifest, byte for byte as the registry sent it")
	p("  curl -i http://%s/v2/%s/manifests/%s", host, wrongkeyRepo, tag)
	p("    > HTTP/1.1 403 with the reason in the status line, and what would pass in the body")
	p("  curl -i http://%s/v2/%s/manifests/%s", host, tamperedRepo, w.original.Digest)
	p("    > HTTP/1.1 502: the digest that was signed, but the registry sends other bytes for it")
	p("")
	p("The gate's judgement without a pull (exit status 0 allowed, 1 denied, 2 could not tell):")
	p("  %s check %s/%s:%s --config %s", binary, registryName, signedRepo, tag, config)
	p("    > allowed")
	p("  %s check %s/%s:%s --config %s", binary, registryName, tamperedRepo, tag, config)
	p("    > denied, with each signature found and where")
	p("")
	p("Configuration, policy and log are in %s until the demo ends; metrics at", filepath.Dir(config))
	p("http://%s/metrics. Ctrl-C stops everything. Decisions follow as they are made:", admin)
	p("")
	return b.String()
}

// publicHost is the gate's address as people type it. Docker and others treat
// localhost as a registry that needs no TLS.
func publicHost(listen string) string {
	host, port, err := net.SplitHostPort(dialable(listen))
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); ip.IsLoopback() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
