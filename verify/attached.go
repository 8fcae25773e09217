package verify

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pullgate/pullgate/verify/discover"
)

// Annotations of a sigstore attachment (cosign, SIGNATURE_SPEC.md).
const (
	annotationSignature   = "dev.cosignproject.cosign/signature"
	annotationCertificate = "dev.sigstore.cosign/certificate"
	annotationChain       = "dev.sigstore.cosign/chain"
)

// maxCertPEM bounds the certificates that a signature brings along.
const maxCertPEM = 256 << 10

// sigstoreFinding is what one sigstore attachment holds, seen by one requirement.
type sigstoreFinding struct {
	claims
	signer  string
	signers []string
	expires time.Time
	problem string
}

// inspectSigstore says who signed an attachment and whether a weak key did. It is
// stricter than containers/image, never more lenient: what it finds no fault with
// still has to be accepted there.
func inspectSigstore(s *discover.Sigstore, t *sigstoreTrust, allowWeak bool, now time.Time) (f sigstoreFinding) {
	if s.MIMEType != discover.SimpleSigningMIMEType {
		f.problem = fmt.Sprintf("not a cosign signature: media type %s", clean(s.MIMEType))
		return f
	}
	if len(s.Payload) > maxPayload {
		f.problem = fmt.Sprintf("malformed signature: its payload is larger than %d bytes", maxPayload)
		return f
	}
	var ok bool
	if f.claims, ok = parseClaims(s.Payload); !ok {
		f.problem = "malformed signature: its payload is not a simple signing payload"
		return f
	}
	sig, err := base64.StdEncoding.DecodeString(s.Annotations[annotationSignature])
	if err != nil || len(sig) == 0 {
		f.problem = "malformed signature: no base64 in annotation " + annotationSignature
		return f
	}
	leaf, chain, problem := certificates(s)
	if leaf != nil {
		f.signer = certName(leaf)
	}
	if len(t.keys) > 0 {
		f.byKey(t, sig, s.Payload, allowWeak)
		return f
	}
	switch {
	case problem != "":
		f.problem = problem
	case leaf == nil:
		f.problem = "signed with a key; a certificate is required"
	default:
		f.byCertificate(t, leaf, chain, allowWeak, now)
	}
	return f
}

// byKey looks for the trusted key that signed the payload.
func (f *sigstoreFinding) byKey(t *sigstoreTrust, sig, payload []byte, allowWeak bool) {
	weak := ""
	for _, k := range t.keys {
		if k.verifier.VerifySignature(bytes.NewReader(sig), bytes.NewReader(payload)) != nil {
			continue
		}
		if k.weak != "" && !allowWeak {
			weak = fmt.Sprintf("signed with %s key %s, which is refused (under %d bits)", k.weak, shortKey(k.name), minRSABits)
			continue
		}
		f.signer, f.signers = shortKey(k.name), []string{"sigstore-key:" + k.name}
		return
	}
	switch {
	case weak != "":
		f.problem = weak
	case f.signer != "":
		f.problem = fmt.Sprintf("signed by %s, which is none of the keys that this scope trusts", f.signer)
	default:
		f.problem = "signed by a key that this scope does not trust, or altered"
	}
}

// byCertificate names the signer by its certificate, refuses weak keys in the
// chain, and notes when a chain that is checked at the time of judging ends.
func (f *sigstoreFinding) byCertificate(t *sigstoreTrust, leaf *x509.Certificate, chain []*x509.Certificate, allowWeak bool, now time.Time) {
	f.signers = []string{f.signer}
	if !allowWeak {
		for _, c := range append([]*x509.Certificate{leaf}, chain...) {
			if w := weakPublicKey(c.PublicKey); w != "" {
				f.problem = fmt.Sprintf("signed with a certificate that has an %s key, which is refused (under %d bits)", w, minRSABits)
				return
			}
		}
	}
	if t.pki {
		f.expires = endOfChain(t, leaf, chain, now)
	}
}

// endOfChain is when the last valid chain from leaf to a trusted root ends.
func endOfChain(t *sigstoreTrust, leaf *x509.Certificate, chain []*x509.Certificate, now time.Time) time.Time {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range t.roots {
		roots.AddCert(c)
	}
	for _, c := range append(slices.Clone(t.intermediates), chain...) {
		intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}})
	if err != nil {
		return leaf.NotAfter // the library refuses it; whatever it says, no longer than this
	}
	var last time.Time
	for _, c := range chains {
		end := c[0].NotAfter
		for _, x := range c[1:] {
			if x.NotAfter.Before(end) {
				end = x.NotAfter
			}
		}
		if end.After(last) {
			last = end
		}
	}
	return last
}

// certificates reads what certificates an attachment brings along.
func certificates(s *discover.Sigstore) (leaf *x509.Certificate, chain []*x509.Certificate, problem string) {
	cert, ok := s.Annotations[annotationCertificate]
	if !ok {
		return nil, nil, ""
	}
	rest := s.Annotations[annotationChain]
	if len(cert)+len(rest) > maxCertPEM {
		return nil, nil, fmt.Sprintf("malformed signature: its certificates are larger than %d bytes", maxCertPEM)
	}
	leaves, err := parseCerts([]byte(cert))
	if err != nil || len(leaves) != 1 {
		return nil, nil, "malformed signature: expected one certificate in annotation " + annotationCertificate
	}
	if strings.TrimSpace(rest) != "" {
		if chain, err = parseCerts([]byte(rest)); err != nil {
			return leaves[0], nil, "malformed signature: the certificate chain cannot be read"
		}
	}
	return leaves[0], chain, ""
}

// certName names the holder of a certificate for people: e-mail or other subject,
// and the issuer that vouched for it.
func certName(c *x509.Certificate) string {
	var names []string
	names = append(names, c.EmailAddresses...)
	for _, u := range c.URIs {
		names = append(names, u.Redacted())
	}
	names = append(names, c.DNSNames...)
	if len(names) == 0 {
		names = append(names, c.Subject.String())
	}
	issuer := oidcIssuer(c)
	if issuer == "" {
		issuer = c.Issuer.String()
	}
	return clean(fmt.Sprintf("%s (issuer %s)", someOf(names, ", "), issuer))
}

// judgeSigstore judges one attachment by one sigstoreSigned requirement: it has to
// be good by inspectSigstore and accepted by containers/image. An error is a
// failure of this machine.
func (e *Engine) judgeSigstore(ctx context.Context, p *Policy, r *requirement, j *judged, s *discover.Sigstore) (sigstoreFinding, error) {
	f := inspectSigstore(s, r.trust, p.allowWeak, e.now())
	if f.problem != "" {
		return f, nil
	}
	blob, err := s.Blob()
	if err != nil {
		return f, err
	}
	allowed, err := evaluateSigstore(ctx, e.tempDirs, r.native, j, blob)
	if ctx.Err() != nil {
		return f, ctx.Err()
	}
	if local, ok := err.(*localError); ok {
		return f, local
	}
	if !allowed {
		f.problem = refusal(f.claims, r, j, err)
	}
	return f, nil
}
