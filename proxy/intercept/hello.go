package intercept

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// maxHello bounds the bytes of a ClientHello with its records.
const maxHello = 64 << 10

// extensionECH is encrypted_client_hello (RFC 9849): with it the name in the
// clear is not the one that the server answers for.
const extensionECH = 0xfe0d

// errTooLong is a ClientHello that does not end.
var errTooLong = fmt.Errorf("expected a TLS ClientHello of at most %d bytes, found more", maxHello)

// recorder keeps what is read from a connection and writes nothing to it.
type recorder struct {
	net.Conn
	seen []byte
}

func (r *recorder) Read(p []byte) (int, error) {
	room := maxHello - len(r.seen)
	if room <= 0 {
		return 0, errTooLong
	}
	n, err := r.Conn.Read(p[:min(len(p), room)])
	r.seen = append(r.seen, p[:n]...)
	return n, err
}

func (r *recorder) Write(p []byte) (int, error) { return len(p), nil }

// Close does nothing: the connection goes on when its start was read.
func (r *recorder) Close() error { return nil }

// errRead ends the handshake that only serves to read the ClientHello.
var errRead = errors.New("the ClientHello was read")

// readHello reads a ClientHello with the parser of crypto/tls, which refuses what
// is ambiguous (repeated extensions, several names). It returns every byte that it
// took from the connection.
func readHello(c net.Conn, wait time.Duration) (hello *tls.ClientHelloInfo, seen []byte, err error) {
	_ = c.SetReadDeadline(time.Now().Add(wait))
	rec := &recorder{Conn: c}
	config := &tls.Config{GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		hello = h
		return nil, errRead
	}}
	err = tls.Server(rec, config).HandshakeContext(context.Background())
	_ = c.SetReadDeadline(time.Time{})
	if hello != nil {
		return hello, rec.seen, nil
	}
	if len(rec.seen) >= maxHello {
		err = errTooLong
	}
	return nil, rec.seen, err
}

// openingOf reads what the client sends first through a tunnel and returns it when
// it is a ClientHello for the target.
func (h *Handler) openingOf(c net.Conn, t target) ([]byte, error) {
	hello, seen, err := readHello(c, h.opts.seams.helloWait)
	if err != nil {
		return nil, notTLS(err, h.opts.seams.helloWait)
	}
	if err = sniFault(t, hello.ServerName, false); err == nil && slices.Contains(hello.Extensions, extensionECH) {
		err = errors.New("expected the server's name in the clear, found an encrypted ClientHello; " +
			"what would pass: a client with encrypted client hello turned off")
	}
	if err != nil {
		_ = c.SetWriteDeadline(time.Now().Add(answerWait))
		_, _ = c.Write(alertDenied) // the client may be gone
		return nil, err
	}
	return seen, nil
}

// alertDenied is the TLS record of a fatal access_denied alert (RFC 8446, section 6).
var alertDenied = []byte{21, 3, 3, 0, 2, 2, 49}

func notTLS(err error, wait time.Duration) error {
	var header tls.RecordHeaderError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("expected a TLS ClientHello within %s, found none; only TLS passes", wait)
	case errors.Is(err, errTooLong):
		return errTooLong
	case errors.As(err, &header):
		return errors.New("expected a TLS ClientHello, found something else; only TLS passes")
	}
	return fmt.Errorf("expected a TLS ClientHello: %w; only TLS passes", err)
}

// sniFault checks the name in a ClientHello against the one that the client
// connected to. Clients send none for addresses (RFC 6066, section 3).
func sniFault(t target, sni string, mayMiss bool) error {
	switch {
	case t.addr.IsValid() && sni == "", mayMiss && sni == "":
		return nil
	case t.addr.IsValid():
		return fmt.Errorf("expected no server name, as CONNECT was to the address %s, found %s", t.host, quote(sni))
	case sni == "":
		return fmt.Errorf("expected the server name %s in the ClientHello, found none", t.host)
	case strings.ToLower(sni) != t.host:
		return fmt.Errorf("expected the server name %s, as in CONNECT, found %s", t.host, quote(sni))
	}
	return nil
}
