package clients

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

const maxPEM = 1 << 20

// certificates reads a PEM file of certificates and writes it anew, without the
// text and headers around them. Anything but certificates is refused: a private
// key must not be copied to every node. Authority asks that the first one may issue
// certificates. No input gives no output.
func certificates(what string, b []byte, authority bool) ([]byte, error) {
	if len(b) == 0 {
		return nil, nil
	}
	if len(b) > maxPEM {
		return nil, fmt.Errorf("%s: expected at most 1 MiB of PEM, found %d bytes", what, len(b))
	}
	var out bytes.Buffer
	first := true
	for rest := b; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if bytes.Contains(rest, []byte("-----BEGIN")) {
				return nil, fmt.Errorf("%s: holds a PEM block that cannot be read", what)
			}
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s: expected certificates only, found a block %q; give the certificate file, not the key", what, short(block.Type))
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: a certificate in it cannot be read", what)
		}
		if first && authority && !cert.IsCA {
			return nil, fmt.Errorf("%s: expected the certificate of an authority, found one that may not issue others; give --intercept-ca the certificate file of the gate's intercept.ca", what)
		}
		first = false
		if err := pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}); err != nil {
			return nil, err
		}
	}
	if first {
		return nil, fmt.Errorf("%s: expected PEM certificates, found none", what)
	}
	return out.Bytes(), nil
}
