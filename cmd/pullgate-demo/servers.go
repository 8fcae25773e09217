package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/pullgate/pullgate/cmd/pullgate-demo/hello"
)

// servers are the registry and the signature server, on loopback.
type servers struct {
	registry, signatures string // base URLs
	running              []*http.Server
}

// serveWorld starts both servers and fills the registry.
func serveWorld(w *world) (*servers, error) {
	reg := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := &servers{}
	var errReg, errSig error
	s.registry, errReg = s.listen(tampering(reg, w))
	s.signatures, errSig = s.listen(signatureHandler(w.signatures))
	err := errors.Join(errReg, errSig)
	for _, e := range w.entries {
		if err == nil {
			err = upload(s.registry, e.repo, tag, e.image)
		}
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// listen serves h on a free loopback port and returns its base URL.
func (s *servers) listen(h http.Handler) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	s.running = append(s.running, srv)
	go func() { _ = srv.Serve(l) }() // ends with close
	return "http://" + l.Addr().String(), nil
}

func (s *servers) close() {
	for _, srv := range s.running {
		_ = srv.Close()
	}
}

// upload pushes an image and all its parts into the registry at base.
func upload(base, repo, ref string, img hello.Image) error {
	for _, child := range img.Children {
		if err := upload(base, repo, child.Digest.String(), child); err != nil {
			return err
		}
	}
	for d, b := range img.Blobs {
		if err := send(http.MethodPost, base+"/v2/"+repo+"/blobs/uploads/?digest="+d.String(), "application/octet-stream", b); err != nil {
			return err
		}
	}
	return send(http.MethodPut, base+"/v2/"+repo+"/manifests/"+ref, img.MediaType, img.Manifest)
}

func send(method, url, mediaType string, body []byte) error {
	r, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", mediaType)
	client := &http.Client{Timeout: 10 * time.Second}
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)) // only to explain
		return fmt.Errorf("%s %s: status %d, expected 201: %s", method, url, resp.StatusCode, text)
	}
	return nil
}

// tampering makes the registry the accomplice: asked for demo/tampered by the
// digest that was signed, it claims that digest and sends the altered manifest.
func tampering(next http.Handler, w *world) http.Handler {
	altered := w.image(tamperedRepo)
	path := "/v2/" + tamperedRepo + "/manifests/" + w.original.Digest.String()
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path {
			next.ServeHTTP(rw, r)
			return
		}
		rw.Header().Set("Content-Type", altered.MediaType)
		rw.Header().Set("Docker-Content-Digest", w.original.Digest.String())
		rw.Header().Set("Content-Length", strconv.Itoa(len(altered.Manifest)))
		if r.Method == http.MethodGet {
			_, _ = rw.Write(altered.Manifest)
		}
	})
}

// signatureHandler is a lookaside server (containers-registries.d(5)): files by
// path, and 404 for everything else, which means "no (further) signature".
func signatureHandler(files map[string][]byte) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		b, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(rw, r)
			return
		}
		rw.Header().Set("Content-Type", "application/octet-stream")
		_, _ = rw.Write(b)
	})
}
