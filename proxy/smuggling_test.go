package proxy_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// Behind a proxy, several clients' requests share a connection. Where one request
// ends must not be a matter of opinion: what stands behind an ambiguous end is never
// answered as a request of its own.
func TestSmugglingToTheAPI(t *testing.T) {
	w := newWorld(t)
	w.signed(imageOf("good"), "v1")
	const good = "/v2/" + app + "/manifests/v1"
	const next = "GET " + good + " HTTP/1.1\r\nHost: gate\r\nX-Next: 1\r\n\r\n"
	const post = "POST /v2/ HTTP/1.1\r\nHost: gate\r\n"
	const get = "GET /v2/ HTTP/1.1\r\nHost: gate\r\n"
	ask := func(raw string) int {
		t.Helper()
		conn, err := net.Dial("tcp", w.gate.Listener.Addr().String())
		w.must(err)
		defer conn.Close()
		w.must(conn.SetDeadline(time.Now().Add(10 * time.Second)))
		_, err = io.WriteString(conn, raw)
		w.must(err)
		w.must(conn.(*net.TCPConn).CloseWrite())
		answers, _ := io.ReadAll(conn) // until the gate closes it
		return strings.Count("\r\n"+string(answers), "\r\nHTTP/1.") + strings.Count(string(answers), "}HTTP/1.")
	}
	if n := ask(get + "\r\n" + next); n != 2 {
		t.Fatalf("%d answers to two requests: the test shows nothing", n)
	}
	before := len(w.records.snapshot())
	for name, raw := range map[string]string{
		"length and chunks":        post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next,
		"chunks of GET and length": get + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next,
		"two lengths":              post + "Content-Length: 0\r\nContent-Length: 5\r\n\r\n" + next,
		"two encodings":            post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + next,
		"an unknown encoding":      post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + next,
		"an encoding in HTTP/1.0":  "POST /v2/ HTTP/1.0\r\nHost: gate\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + next,
		"a folded header":          post + "Transfer-Encoding:\r\n chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + next,
		"a space before the colon": post + "Content-Length : 0\r\n\r\n" + next,
		"a signed length":          post + "Content-Length: +0\r\n\r\n" + next,
		"a bad chunk":              post + "Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n" + next,
		"two hosts":                get + "Host: other.example\r\n\r\n" + next,
	} {
		if n := ask(raw); n != 1 {
			t.Errorf("%s: %d answers", name, n)
		}
	}
	if pulls := w.records.snapshot()[before:]; len(pulls) > 0 {
		t.Errorf("a hidden request was answered: %+v", pulls)
	}
}
