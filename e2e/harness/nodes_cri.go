package harness

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// criCall makes one unary gRPC call over a Unix socket: HTTP/2 without TLS, a
// message with five bytes in front of it, the outcome in trailers
// (github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md). The two calls that
// the tests make do not call for a library.
func criCall(socket, method string, message []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	tr := &http.Transport{
		Protocols: new(http.Protocols),
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}
	tr.Protocols.SetUnencryptedHTTP2(true)
	defer tr.CloseIdleConnections()
	body := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://cri"+method, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	status, text := resp.Trailer.Get("Grpc-Status"), resp.Trailer.Get("Grpc-Message")
	if status == "" { // an answer without a message has no trailers
		status, text = resp.Header.Get("Grpc-Status"), resp.Header.Get("Grpc-Message")
	}
	if status != "0" {
		if plain, err := url.PathUnescape(text); err == nil {
			text = plain
		}
		return nil, fmt.Errorf("%s: HTTP %d, gRPC status %q: %s", method, resp.StatusCode, status, text)
	}
	return answer, nil
}

// protoField is a field with a length (a string, bytes or a message) of a
// protobuf message.
func protoField(number byte, content []byte) []byte {
	const lengthDelimited = 2
	return append(binary.AppendUvarint([]byte{number<<3 | lengthDelimited}, uint64(len(content))), content...)
}
