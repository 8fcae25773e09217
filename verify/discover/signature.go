package discover

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// SimpleSigningMIMEType is the media type of a cosign signature's payload
// (cosign, SIGNATURE_SPEC.md).
const SimpleSigningMIMEType = "application/vnd.dev.cosign.simplesigning.v1+json"

// sigstorePrefix starts the stored form of a sigstore signature, as
// containers/image writes it to lookasides and dir: images.
const sigstorePrefix = "\x00sigstore-json\n"

// Signature is one piece of evidence that was found. Nothing in it is verified.
// Exactly one of Simple and Sigstore is set.
type Signature struct {
	// Source is where it was found, without credentials.
	Source string
	// Origin is the kind of place.
	Origin Origin
	// Simple is an OpenPGP message that carries a simple signing payload
	// (containers-signature(5)).
	Simple []byte
	// Sigstore is a sigstore attachment.
	Sigstore *Sigstore
}

// Sigstore is a sigstore attachment in parts.
type Sigstore struct {
	MIMEType    string            `json:"mimeType"`
	Payload     []byte            `json:"payload"`
	Annotations map[string]string `json:"annotations"`
}

// Blob returns the attachment's stored form.
func (s *Sigstore) Blob() ([]byte, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode sigstore signature: %w", err)
	}
	return append([]byte(sigstorePrefix), b...), nil
}

// errNoSignature is returned for bytes that are no stored signature at all, for
// example an error page that was sent with status 200.
var errNoSignature = errors.New("expected an OpenPGP message or a sigstore signature")

// ParseStored reads the stored form of a signature by the rules of
// containers/image: a bare OpenPGP message, known by its first byte, or a zero
// byte, the format's name, a newline and the content. Anything else is an error:
// a place that holds it cannot be taken at its word.
func ParseStored(source string, blob []byte) (Signature, error) {
	if len(blob) == 0 {
		return Signature{}, fmt.Errorf("%w, found an empty body", errNoSignature)
	}
	if startsOpenPGP(blob[0]) {
		return Signature{Source: source, Simple: blob}, nil
	}
	if blob[0] != 0 {
		return Signature{}, fmt.Errorf("%w, found %s", errNoSignature, describeStart(blob))
	}
	format, content, ok := bytes.Cut(blob[1:], []byte{'\n'})
	if !ok {
		return Signature{}, fmt.Errorf("%w, found a binary format without a name", errNoSignature)
	}
	switch string(format) {
	case "simple-signing":
		return Signature{Source: source, Simple: content}, nil
	case "sigstore-json":
		s := &Sigstore{}
		if err := json.Unmarshal(content, s); err != nil {
			return Signature{}, fmt.Errorf("%w, found malformed sigstore-json: %w", errNoSignature, err)
		}
		return Signature{Source: source, Sigstore: s}, nil
	}
	return Signature{}, fmt.Errorf("%w, found the unknown format %.32q", errNoSignature, format)
}

// describeStart words what was found instead of a signature, for those who put it
// there.
func describeStart(blob []byte) string {
	switch text := bytes.TrimSpace(blob); {
	case bytes.HasPrefix(text, []byte("-----BEGIN PGP")):
		return "an armored one; store the binary message, as gpg writes it without --armor"
	case bytes.HasPrefix(text, []byte("<")):
		return "an HTML or XML page"
	}
	return fmt.Sprintf("bytes that start with %#x", blob[0])
}

// startsOpenPGP tells whether b can start a signed OpenPGP message: a compressed
// data, one-pass signature or signature packet (RFC 4880, 4.2). The list is the
// one of containers/image.
func startsOpenPGP(b byte) bool {
	switch b {
	case 0xA0, 0xA1, 0xA2, 0xA3, 0xC8, // compressed data
		0x90, 0x91, 0x92, 0x3d, 0xC4, // one-pass signature
		0x88, 0x89, 0x8A, 0x8B, 0xC2: // signature
		return true
	}
	return false
}
