package verify

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/distribution/reference"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/pullgate/pullgate/verify/discover"
	"github.com/pullgate/pullgate/verify/notation"
)

// notationSigned is met by a notation signature that is good by the strict level of
// the Notary Project's trust policy.
type notationSigned struct {
	trust      *notation.Trust
	who        string
	identities []string
	anchors    []anchor
}

// Words of revocation.
const (
	revocationEnforce = "enforce"
	revocationSkip    = "skip"
)

func (l *loader) notationSigned(at string, raw json.RawMessage) (extension, object, error) {
	o, err := strictObject(raw, "type", "trustStores", "trustedIdentities", "revocation", "crlPaths", "crlDatas")
	if err != nil {
		return nil, nil, err
	}
	if o["trustStores"] == nil {
		return nil, nil, errors.New(`trustStores: expected the certificates to trust, like {"ca": ["acme.crt"]}, found none`)
	}
	stores, err := strictObject(o["trustStores"], "ca", "signingAuthority", "tsa", "caDatas", "signingAuthorityDatas", "tsaDatas")
	if err != nil {
		return nil, nil, fmt.Errorf("trustStores: %w", err)
	}
	var t notation.Options
	x := &notationSigned{}
	for _, store := range []struct {
		name string
		to   *[]*x509.Certificate
	}{{"ca", &t.CA}, {"signingAuthority", &t.SigningAuthority}, {"tsa", &t.TSA}} {
		if *store.to, err = l.store(at+".trustStores", stores, store.name); err != nil {
			return nil, nil, fmt.Errorf("trustStores: %w", err)
		}
		x.anchors = append(x.anchors, anchors(store.name, *store.to)...)
	}
	if err := o.set("trustStores", stores); err != nil {
		return nil, nil, err
	}
	if t.Identities, err = o.strictTexts("trustedIdentities"); err != nil {
		return nil, nil, err
	}
	if len(t.Identities) == 0 {
		return nil, nil, errors.New(`trustedIdentities: expected at least one, like "x509.subject: C=US, ST=WA, O=acme.example"`)
	}
	x.identities = t.Identities
	revocation, err := o.strictText("revocation")
	if err != nil {
		return nil, nil, err
	}
	switch revocation {
	case revocationEnforce:
		t.EnforceRevocation = true
	case revocationSkip:
	default:
		return nil, nil, errors.New("revocation: expected enforce or skip")
	}
	if t.CRLs, err = l.crls(at, o); err != nil {
		return nil, nil, err
	}
	if len(l.faults) > 0 {
		return x, o, nil // a file could not be read: what is missing would only confuse
	}
	if x.trust, err = notation.NewTrust(t); err != nil {
		return nil, nil, err
	}
	x.who = someOf(t.Identities, " or ")
	return x, o, nil
}

// store reads one trust store: files, or their content.
func (l *loader) store(at string, o object, name string) ([]*x509.Certificate, error) {
	srcs, err := l.files64(at, o, name, name+"Datas")
	if err != nil {
		return nil, err
	}
	var out []*x509.Certificate
	for _, s := range srcs {
		certs, err := parseCerts(s.data)
		if err != nil {
			l.fault(s.key, fmt.Sprintf("%s %v", s.name, err), "write PEM certificates")
			continue
		}
		out = append(out, certs...)
	}
	return out, nil
}

// crls reads revocation lists, PEM or DER.
func (l *loader) crls(at string, o object) ([]*x509.RevocationList, error) {
	srcs, err := l.files64(at, o, "crlPaths", "crlDatas")
	if err != nil {
		return nil, err
	}
	var out []*x509.RevocationList
	for _, s := range srcs {
		lists, err := notation.ParseCRLs(s.data)
		if err != nil {
			l.fault(s.key, fmt.Sprintf("%s %v", s.name, err), "write certificate revocation lists as PEM or DER")
			continue
		}
		out = append(out, lists...)
	}
	return out, nil
}

// files64 reads the files that one member lists, or the contents that its twin
// lists, and leaves the contents in the twin.
func (l *loader) files64(at string, o object, files, datas string) ([]source, error) {
	if err := oneOf(o, files, datas); err != nil {
		return nil, err
	}
	names, err := o.strictTexts(files)
	if err != nil {
		return nil, err
	}
	var out []source
	for i, name := range names {
		key := fmt.Sprintf("%s.%s[%d]", at, files, i)
		if b, ok := l.read(key, name); ok {
			out = append(out, source{key, "file " + name, b})
		}
	}
	if raw, there := o[datas]; there {
		var contents [][]byte
		if err := json.Unmarshal(raw, &contents); err != nil {
			return nil, fmt.Errorf("%s: expected a list of base64 texts", datas)
		}
		for i, b := range contents {
			out = append(out, source{fmt.Sprintf("%s.%s[%d]", at, datas, i), datas, b})
		}
	}
	delete(o, files)
	contents := make([][]byte, len(out))
	for i, s := range out {
		contents[i] = s.data
	}
	return out, o.set(datas, contents)
}

func (x *notationSigned) wants(q *discover.Query, _ *judged) { q.Referrers = true }

func (x *notationSigned) required() string { return "a notation signature by " + clean(x.who) }

func (x *notationSigned) wouldPass(ref reference.Named, _ time.Time) string {
	return fmt.Sprintf("a notation signature of %s by %s", clean(ref.String()), clean(x.who))
}

func (x *notationSigned) judge(ctx context.Context, in *judging) (outcome, error) {
	var o outcome
	subject := ocispec.Descriptor{MediaType: in.image.subject.MediaType, Digest: in.image.canonical, Size: int64(len(in.image.subject.Manifest))}
	for _, d := range in.found.Documents {
		if d.Kind != discover.KindNotation {
			continue
		}
		v, err := notation.Verify(ctx, d.Bytes, d.MediaType, subject, reference.TrimNamed(in.image.ref()).Name(), x.trust)
		if err == nil {
			err = in.timely(v.Times)
		}
		switch {
		case ctx.Err() != nil:
			return outcome{}, ctx.Err()
		case errors.Is(err, notation.ErrLocal):
			o.doubt = err // as with bundles
			continue
		case err != nil:
			o.Found = append(o.Found, cleaned(err.Error(), maxReason))
			continue
		}
		o.Allowed, o.Signers, o.expires, o.Evidence = true, v.Signers, v.Expires, []string{d.Digest.String()}
		return o, nil
	}
	return in.without(x, o, "notation signatures")
}
