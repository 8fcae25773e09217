package verify

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
)

// sigstoreSigned inlines the keys and certificates of a sigstoreSigned
// requirement.
func (l *loader) sigstoreSigned(at string, o object, r *requirement) error {
	t := &sigstoreTrust{}
	if err := l.sigstoreKeys(at, o, t); err != nil {
		return err
	}
	if err := l.rekorKeys(at, o, t); err != nil {
		return err
	}
	if err := l.nested(at, o, "fulcio", t, r, l.fulcio); err != nil {
		return err
	}
	if err := l.nested(at, o, "pki", t, r, l.ownPKI); err != nil {
		return err
	}
	if len(t.keys) > 0 && !l.weak && allWeak(t.keys) {
		r.denies = fmt.Sprintf("all its keys are RSA keys under %d bits, which are refused", minRSABits)
	}
	if r.denies == "" {
		r.trust = t
	}
	return nil
}

// allWeak tells whether no key may be used.
func allWeak(keys []sigstoreKey) bool {
	for _, k := range keys {
		if k.weak == "" {
			return false
		}
	}
	return true
}

// sigstoreKeys inlines keyPath and keyPaths as keyDatas.
func (l *loader) sigstoreKeys(at string, o object, t *sigstoreTrust) error {
	srcs, present, _ := l.sources(at, o, "key")
	if !present {
		return nil
	}
	var datas [][]byte
	for _, s := range srcs {
		k, extra, err := parseSigstoreKey(s.data)
		if err != nil {
			l.fault(s.key, fmt.Sprintf("%s %v", s.name, err), "write the public key as PEM, for example cosign.pub")
			continue
		}
		if extra {
			l.warn(s.key, s.name+" holds more than one PEM block: only the first counts", "put each key into a file of its own and list them in keyPaths")
		}
		if k.weak != "" {
			l.warn(s.key, fmt.Sprintf("%s: key %s is %s, under %d bits", s.name, shortKey(k.name), k.weak, minRSABits), l.keyFix(" under "))
		}
		t.keys = append(t.keys, k)
		datas = append(datas, s.data)
	}
	return o.set("keyDatas", datas)
}

// rekorKeys inlines rekorPublicKeyPath and rekorPublicKeyPaths.
func (l *loader) rekorKeys(at string, o object, t *sigstoreTrust) error {
	srcs, present, _ := l.sources(at, o, "rekorPublicKey")
	if !present {
		return nil
	}
	var datas [][]byte
	for _, s := range srcs {
		if err := parseRekorKey(s.data); err != nil {
			l.fault(s.key, fmt.Sprintf("%s %v", s.name, err), "write the transparency log's public key as PEM")
			continue
		}
		datas = append(datas, s.data)
	}
	t.logged = true
	return o.set("rekorPublicKeyDatas", datas)
}

// nested inlines the members of an inner object.
func (l *loader) nested(at string, o object, member string, t *sigstoreTrust, r *requirement,
	inline func(at string, o object, t *sigstoreTrust, r *requirement) error) error {
	raw, there := o[member]
	if !there {
		return nil
	}
	inner := object{}
	if err := json.Unmarshal(raw, &inner); err != nil {
		return fmt.Errorf("%s: %w", member, err)
	}
	if err := inline(at+"."+member, inner, t, r); err != nil {
		return err
	}
	return o.set(member, inner)
}

// fulcio inlines a Fulcio CA.
func (l *loader) fulcio(at string, o object, t *sigstoreTrust, r *requirement) error {
	t.fulcio, t.issuer, t.email = true, o.text("oidcIssuer"), o.text("subjectEmail")
	_, err := l.certs(at, o, "ca", r)
	return err
}

// ownPKI inlines a CA that is not Fulcio.
func (l *loader) ownPKI(at string, o object, t *sigstoreTrust, r *requirement) (err error) {
	t.pki, t.email, t.hostname = true, o.text("subjectEmail"), o.text("subjectHostname")
	if t.roots, err = l.certs(at, o, "caRoots", r); err != nil {
		return err
	}
	t.intermediates, err = l.certs(at, o, "caIntermediates", nil)
	return err
}

// certs inlines the certificates under base as PEM. Certificates with weak keys
// are left out unless those are allowed, so that nothing can chain to them; when
// none is left, r can never be met.
func (l *loader) certs(at string, o object, base string, r *requirement) ([]*x509.Certificate, error) {
	srcs, present, _ := l.sources(at, o, base)
	if !present {
		return nil, nil
	}
	var all []*x509.Certificate
	for _, s := range srcs {
		certs, err := parseCerts(s.data)
		if err != nil {
			l.fault(s.key, fmt.Sprintf("%s %v", s.name, err), "write the CA certificates as PEM")
			continue
		}
		strong, weak := strongCerts(certs)
		for _, w := range weak {
			l.warn(s.key, fmt.Sprintf("%s: %s, under %d bits", s.name, w, minRSABits), l.keyFix(" under "))
		}
		if !l.weak {
			if len(strong) == 0 && r != nil {
				r.denies = fmt.Sprintf("all its CA certificates have RSA keys under %d bits, which are refused", minRSABits)
			}
			if len(strong) > 0 || r == nil {
				certs = strong
			}
		}
		all = append(all, certs...)
	}
	if len(all) == 0 {
		return nil, nil // no intermediate is left; without roots a fault was recorded
	}
	return all, o.set(base+"Data", encodeCerts(all))
}
