//go:build e2e

package e2e

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/e2e/harness"
)

// A client that does not come to the end of its request is cut off within these
// bounds.
const (
	slowAtLeast = 8 * time.Second // a slow network is no attack
	slowAtMost  = 14 * time.Second
)

// dialer opens a connection to an address.
type dialer func(addr string) (net.Conn, error)

func plainly(addr string) (net.Conn, error) { return net.Dial("tcp", addr) }

// speaking opens connections with TLS and a protocol.
func speaking(pki *harness.PKI, proto string) dialer {
	return func(addr string) (net.Conn, error) {
		cfg := pki.Trusting(nil)
		cfg.NextProtos = []string{proto}
		c, err := tls.Dial("tcp", addr, cfg)
		if err == nil && c.ConnectionState().NegotiatedProtocol != proto {
			err = fmt.Errorf("expected %s, found %q", proto, c.ConnectionState().NegotiatedProtocol)
		}
		return c, err
	}
}

// Clients that hold connections without ever finishing a request lose them. A
// download that goes on steadily is not cut, however long it takes.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	reg, _ := newAccessRegistry(t)
	blob := make([]byte, 8<<20)
	rand.Read(blob) // never fails
	reg.Push(t, "big/app", "v1", harness.NewArtifact(t, "application/vnd.example.big", "application/vnd.example.blob", blob, nil))
	passwords := harness.NewHtpasswd(t, accessUsers)
	auth := fmt.Sprintf("auth: {htpasswd: %q, token: {enabled: true}, trusted_networks: [127.0.0.1]}", passwords.Path)
	g, pki := startTLSGate(t, reg, auth)
	plain := startAccessGate(t, reg, auth)

	const headers = "GET /v2/ HTTP/1.1\r\nHost: gate\r\nX-A: "
	const post = "POST /token HTTP/1.1\r\nHost: gate\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n"
	const get = "GET /v2/ HTTP/1.1\r\nHost: gate\r\nContent-Length: 1000\r\n\r\n"
	var wg sync.WaitGroup
	for name, c := range map[string]struct {
		gate        *harness.Gate
		dial        dialer
		begin, goOn string
		atLeast     time.Duration
	}{
		"headers, HTTP":            {plain, plainly, headers, "a", slowAtLeast},
		"headers, HTTPS":           {g, speaking(pki, "http/1.1"), headers, "a", slowAtLeast},
		"nothing, HTTP":            {plain, plainly, "", "", slowAtLeast},
		"nothing before TLS":       {g, plainly, "", "", slowAtLeast},
		"a slow TLS handshake":     {g, plainly, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "\x00", slowAtLeast},
		"nothing after TLS, h2":    {g, speaking(pki, "h2"), "", "", slowAtLeast},
		"body of a token request":  {plain, plainly, post, "a", slowAtLeast},
		"the same by HTTPS":        {g, speaking(pki, "http/1.1"), post, "a", slowAtLeast},
		"body that nobody asks of": {plain, plainly, get, "a", 0},
	} {
		wg.Go(func() {
			took, err := cutAfter(c.dial, c.gate.Addr, c.begin, c.goOn)
			if err != nil || took < c.atLeast || took > slowAtMost {
				t.Errorf("%s: cut after %v (%v), expected %v to %v", name, took, err, c.atLeast, slowAtMost)
			}
		})
	}
	for _, http2 := range []bool{false, true} {
		client := slowReader(t, pki, http2)
		wg.Go(func() {
			if err := steadyDownload(client, g, http2, digest.FromBytes(blob), len(blob)); err != nil {
				t.Errorf("steady download, HTTP/2 %t: %v", http2, err)
			}
		})
	}
	wg.Wait()
	if a := accessGet(t, harness.HTTPS(t, pki.Trusting(nil), true), g.URL+"/v2/"); a.Code != http.StatusOK {
		t.Errorf("afterwards: %+v", a)
	}
}

// cutAfter sends the beginning of something and goes on with a few bytes a second,
// until the other side ends the connection.
func cutAfter(dial dialer, addr, begin, goOn string) (time.Duration, error) {
	c, err := dial(addr)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer c.Close() // which ends the writer
	if _, err := io.WriteString(c, begin); err != nil {
		return 0, err
	}
	wg.Go(func() {
		for err := error(nil); err == nil && goOn != ""; time.Sleep(300 * time.Millisecond) {
			_, err = io.WriteString(c, goOn)
		}
	})
	if err := c.SetReadDeadline(start.Add(2 * slowAtMost)); err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return time.Since(start), errors.New("not cut")
	}
	return time.Since(start), nil
}

// slowReader is a client for which little waits in between: the gate has to wait
// for whoever reads.
func slowReader(t *testing.T, pki *harness.PKI, http2 bool) *http.Client {
	t.Helper()
	client := harness.HTTPS(t, pki.Trusting(nil), http2)
	tr := client.Transport.(*http.Transport)
	tr.HTTP2 = &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 64 << 10}
	tr.DialContext = (&net.Dialer{Control: smallBuffer}).DialContext
	return client
}

// steadyDownload reads a blob so slowly that it takes longer than clients may take
// for their requests.
func steadyDownload(client *http.Client, g *harness.Gate, http2 bool, d digest.Digest, size int) error {
	const takes, parts = slowAtMost - 2*time.Second, 100            // the gate's patience for headers is 10 s
	manifest, err := client.Get(g.URL + "/v2/big/app/manifests/v1") // without it there is no blob
	if err != nil {
		return err
	}
	manifest.Body.Close()
	resp, err := client.Get(g.URL + "/v2/big/app/blobs/" + d.String())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	start, hash := time.Now(), d.Algorithm().Digester()
	for n := range parts {
		if _, err := io.CopyN(hash.Hash(), resp.Body, int64(size/parts)); err != nil {
			return fmt.Errorf("cut after %v at part %d of %d: %w", time.Since(start), n, parts, err)
		}
		time.Sleep(takes / parts)
	}
	if _, err := io.Copy(hash.Hash(), resp.Body); err != nil || hash.Digest() != d {
		return fmt.Errorf("at the end: %v, digest %s", err, hash.Digest())
	}
	if (resp.ProtoMajor == 2) != http2 || time.Since(start) < takes {
		return fmt.Errorf("%s in %v", resp.Proto, time.Since(start))
	}
	return nil
}

// smallBuffer bounds what a connection takes before its reader does.
func smallBuffer(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 64<<10) }); e != nil {
		return e
	}
	return err
}
