package bundle_test

import (
	"crypto"
	"crypto/elliptic"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/verify/bundle"
)

// The reason of a signature by a key that is not trusted says whose it is, when the
// bundle says so, and else whose it is not.
func TestReasonOfAnotherKey(t *testing.T) {
	signer := newECDSA(t, elliptic.P256())
	weak := newRSA(t, 1024)
	keys := []crypto.Signer{newECDSA(t, elliptic.P256()), newECDSA(t, elliptic.P384()), newRSA(t, 2048), newECDSA(t, elliptic.P256())}
	hint := func(k crypto.Signer) string {
		id := keyID(t, k.Public())
		return base64.StdEncoding.EncodeToString(id[:])
	}
	short := func(k crypto.Signer) string {
		id := keyID(t, k.Public())
		return fmt.Sprintf("sha256:%x…", id[:8])
	}
	for name, c := range map[string]struct {
		hint  string
		trust []crypto.Signer
		want  string
	}{
		"the key is named":  {hint(signer), keys[:2], "signed by key " + short(signer) + " (hint), which this scope does not trust"},
		"it is not":         {"", keys[:1], "signed by another key than " + short(keys[0]) + " that this scope trusts, or altered"},
		"it is, by words":   {"build key", keys[:2], "signed by another key than " + short(keys[0]) + ", " + short(keys[1]) + " that this scope trusts, or altered"},
		"many are trusted":  {"", keys, short(keys[2]) + ", 1 more that this scope trusts, or altered"},
		"a hint that lies":  {hint(keys[1]), keys[:2], "expected a signature by key " + short(keys[1]) + ", which it names (hint), found one by another key or something altered"},
		"a weak key":        {hint(weak), []crypto.Signer{weak, keys[0]}, "key " + short(weak) + ": expected an RSA key of at least 2048 bits, found RSA-1024"},
		"a weak key beside": {hint(signer), []crypto.Signer{weak, keys[0]}, "found RSA-1024; signed by key " + short(signer) + " (hint)"},
		"too long a hint":   {strings.Repeat("A", 88), keys[:1], "signed by another key than"},
	} {
		t.Run(name, func(t *testing.T) {
			b := byKey(t, signer, signed())
			b.VerificationMaterial.GetPublicKey().Hint = c.hint
			v, err := bundle.Verify(marshal(t, b), subject, keyTrust(t, c.trust...))
			denied(t, v, err, c.want)
			for _, not := range []string{"threshold", "envelope", "failed to", "\n"} {
				if strings.Contains(err.Error(), not) {
					t.Errorf("expected no %q in %s", not, err)
				}
			}
			if n := strings.Count(err.Error(), "signed by"); n > 1 {
				t.Errorf("expected one reason, found %s", err)
			}
		})
	}
	// The hint is for people: one that is true makes nothing good, and none is needed.
	b := byKey(t, signer, signed())
	b.VerificationMaterial.GetPublicKey().Hint = hint(keys[0])
	_, err := bundle.Verify(marshal(t, b), subject, keyTrust(t, signer))
	must(t, err)
	// Keys are described in the form in which policies name them.
	who, _, _ := bundle.Describe(marshal(t, b))
	if want := "a key " + keyTrust(t, keys[0]).Keys[0].Name; who != want {
		t.Errorf("expected %q, found %q", want, who)
	}
}

func TestHintName(t *testing.T) {
	sum := strings.Repeat("A", 43) + "="
	for hint, want := range map[string]string{
		"":                "",
		sum:               "sha256:" + strings.Repeat("00", 32),
		sum[:43]:          sum[:43],            // no padding
		"A" + sum:         "A" + sum,           // no base64
		sum[:42] + "B=":   sum[:42] + "B=",     // two texts for one digest
		"build\x1b[31m\n": "build\ufffd[31m; ", // as everything that strangers write
	} {
		if got := bundle.HintName(hint); got != want {
			t.Errorf("%q: expected %q, found %q", hint, want, got)
		}
	}
}
