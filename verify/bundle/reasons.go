package bundle

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// mostNamed is how many keys or identities a reason names.
const mostNamed = 3

// short names the key for people.
func (k Key) short() string {
	const enough = len("sha256:") + 16
	if len(k.Name) > enough {
		return k.Name[:enough] + "…"
	}
	return k.Name
}

// HintName is what the hint of a public key in a bundle says for people: clients write
// the base64 of the SHA-256 of the key's DER form (cosign), which is returned as
// policies name keys, sha256:hex. Another hint is returned cleaned. Anybody can write
// one: it is never for decisions.
func HintName(hint string) string {
	const sum = 32 // bytes of a SHA-256
	if raw, err := base64.StdEncoding.Strict().DecodeString(hint); err == nil && len(raw) == sum {
		return fmt.Sprintf("sha256:%x", raw)
	}
	return clean(hint)
}

// hint is what b says about the key that signed it, for people.
func hint(b *protobundle.Bundle) string {
	return HintName(b.GetVerificationMaterial().GetPublicKey().GetHint())
}

// strangerReason says that none of strangers, which are trusted, signed b; nil when
// there are none.
func (t *Trust) strangerReason(b *protobundle.Bundle, strangers []Key) error {
	if len(strangers) == 0 {
		return nil
	}
	named := func(keys []Key, name string) bool {
		return slices.ContainsFunc(keys, func(k Key) bool { return k.Name == name })
	}
	hint := hint(b)
	switch {
	case named(strangers, hint):
		return fmt.Errorf("expected a signature by key %s, which it names (hint), found one by another key or something altered", Key{Name: hint}.short())
	case named(t.Keys, hint):
		return nil // what is wrong with that key is said already
	case digest.Digest(hint).Validate() == nil:
		return fmt.Errorf("signed by key %s (hint), which this scope does not trust", Key{Name: hint}.short())
	}
	var names []string
	for _, k := range strangers[:min(len(strangers), mostNamed)] {
		names = append(names, k.short())
	}
	if n := len(strangers); n > mostNamed {
		names = append(names, fmt.Sprintf("%d more", n-mostNamed))
	}
	return fmt.Errorf("signed by another key than %s that this scope trusts, or altered", strings.Join(names, ", "))
}

// rootName names the trust root for people.
func (t *Trust) rootName() string {
	if t.RootName == "" {
		return "the trust root"
	}
	return "trust root " + clean(t.RootName)
}

// identityReason says whose signature it is, and what of that is not as expected, or
// that its certificate is of another authority, when that is what is wrong.
func (t *Trust) identityReason(e *evidence, m *material, err error) error {
	var mismatch *verify.ErrNoMatchingCertificateIdentity
	if !errors.As(err, &mismatch) {
		if why := m.issued.reason(e, t.rootName()); why != nil {
			return why
		}
		return err
	}
	c, ok := summary(e.entity.Bundle)
	if !ok {
		return err
	}
	// Identities that differ in a field behind subject and issuer are what was meant:
	// they are said first.
	var near, far []string
	for _, id := range t.Identities {
		d := id.differs(c)
		if id.match.SubjectAlternativeName.Verify(c) == nil && id.match.Issuer.Verify(c) == nil {
			near = append(near, d)
		} else {
			far = append(far, d)
		}
	}
	wanted := slices.Concat(near, far)
	if n := len(wanted); n > mostNamed {
		wanted = append(wanted[:mostNamed], fmt.Sprintf("%d more", n-mostNamed))
	}
	// What differs comes first: names can be long, and reasons are cut.
	return fmt.Errorf("expected %s: signed by %s", strings.Join(wanted, " or "), certificateSigner(e.entity.Bundle))
}

// issued is what certificate authorities said of a certificate at one time: at the
// last one that they were asked about, as the library stops at the first that none of
// them agrees to.
type issued struct {
	at   time.Time
	good bool
	weak error // one has issued it, by way of a key that is too small
}

// note takes one authority's answer down.
func (i *issued) note(at time.Time, err, weak error) {
	if !i.at.Equal(at) {
		*i = issued{at: at}
	}
	i.good = i.good || err == nil
	if weak != nil {
		i.weak = weak
	}
}

// reason says why the certificate of e is of none of the authorities of a root; nil
// when it is of one, or when they were not asked.
func (i *issued) reason(e *evidence, rootName string) error {
	if i.good || i.at.IsZero() {
		return nil
	}
	if i.weak != nil {
		return fmt.Errorf("its certificate is not one that %s can vouch for: %w", rootName, i.weak)
	}
	at := i.at.UTC().Format(time.RFC3339)
	leaf, err := e.leaf()
	if err != nil {
		return err
	}
	if i.at.Before(leaf.NotBefore) || i.at.After(leaf.NotAfter) {
		return fmt.Errorf("its certificate was not valid when it was signed, at %s: only from %s to %s",
			at, leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return fmt.Errorf("its certificate was not issued by an authority of %s, or by none that was valid at %s", rootName, at)
}
