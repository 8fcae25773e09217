package notation

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

const (
	maxCRLs    = 64
	maxRevoked = 2_000_000 // entries of all lists together
)

var (
	oidIssuingDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidDeltaCRLIndicator        = asn1.ObjectIdentifier{2, 5, 29, 27}
)

// ParseCRLs reads the revocation lists of a file: one in DER, or any number in PEM
// with no other PEM block beside them.
func ParseCRLs(b []byte) ([]*x509.RevocationList, error) {
	if block, _ := pem.Decode(b); block == nil {
		list, err := x509.ParseRevocationList(b)
		if err != nil {
			return nil, fmt.Errorf("expected a CRL in DER or PEM: %w", err)
		}
		return []*x509.RevocationList{list}, nil
	}
	var out []*x509.RevocationList
	for rest := b; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			// A list that cannot be read must not be left out without a word.
			if bytes.Contains(rest, []byte("-----BEGIN ")) {
				return nil, fmt.Errorf("expected nothing after the last of %d CRLs, found a PEM block that is broken", len(out))
			}
			return out, nil
		}
		if block.Type != "X509 CRL" {
			return nil, fmt.Errorf("expected PEM blocks X509 CRL, found a %s", clean(block.Type))
		}
		if len(out) == maxCRLs {
			return nil, fmt.Errorf("expected at most %d CRLs, found more", maxCRLs)
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("CRL %d: %w", len(out)+1, err)
		}
		out = append(out, list)
	}
}

// crl is a revocation list that can be asked.
type crl struct {
	list    *x509.RevocationList
	revoked map[string]struct{} // serial numbers
	scope   scope
}

// scope is the part of an issuer's certificates that a list is about: the issuing
// distribution point (RFC 5280, section 5.2.5). The zero scope: all of them.
type scope struct {
	URIs     []string // distribution points; nil when the list names none
	OnlyUser bool
	OnlyCA   bool
}

// indexCRLs makes lists ready to be asked, and refuses those that cannot be
// understood or are only a part of what has been revoked.
func indexCRLs(lists []*x509.RevocationList) ([]crl, error) {
	if len(lists) > maxCRLs {
		return nil, fmt.Errorf("CRLs: expected at most %d, found %d", maxCRLs, len(lists))
	}
	var out []crl
	total := 0
	for i, list := range lists {
		if list == nil {
			return nil, fmt.Errorf("CRL %d: expected a CRL, found nothing", i+1)
		}
		if total += len(list.RevokedCertificateEntries); total > maxRevoked {
			return nil, fmt.Errorf("CRLs: expected at most %d revoked certificates, found more", maxRevoked)
		}
		c, err := indexCRL(list)
		if err != nil {
			return nil, fmt.Errorf("CRL %d: %w", i+1, err)
		}
		out = append(out, c)
	}
	return out, nil
}

func indexCRL(list *x509.RevocationList) (crl, error) {
	if list.NextUpdate.IsZero() {
		return crl{}, fmt.Errorf("issued by %.200q: expected the time of its next update, found none", list.Issuer)
	}
	c := crl{list: list, revoked: make(map[string]struct{}, len(list.RevokedCertificateEntries))}
	for _, ext := range list.Extensions {
		var err error
		switch {
		case ext.Id.Equal(oidDeltaCRLIndicator):
			err = errors.New("expected a complete CRL, found a delta CRL")
		case ext.Id.Equal(oidIssuingDistributionPoint):
			c.scope, err = parseScope(ext.Value)
		case ext.Critical:
			err = fmt.Errorf("expected no critical extension that is not known, found %s", ext.Id)
		}
		if err != nil {
			return crl{}, fmt.Errorf("issued by %.200q: %w", list.Issuer, err)
		}
	}
	for _, e := range list.RevokedCertificateEntries {
		for _, ext := range e.Extensions {
			// The issuer of an indirect CRL's entry is such an extension.
			if ext.Critical {
				return crl{}, fmt.Errorf("issued by %.200q: expected no entry with a critical extension, found %s", list.Issuer, ext.Id)
			}
		}
		c.revoked[serialKey(e.SerialNumber)] = struct{}{}
	}
	return c, nil
}

// serialKey is a serial number as a key of a map.
func serialKey(n *big.Int) string {
	if n.Sign() < 0 {
		return "-" + string(n.Bytes())
	}
	return "+" + string(n.Bytes())
}

// parseScope reads an issuing distribution point. Lists for some reasons only, for
// other issuers' certificates or for attribute certificates are refused.
func parseScope(der []byte) (scope, error) {
	var idp struct {
		Point struct {
			FullName     []asn1.RawValue `asn1:"optional,tag:0"`
			RelativeName asn1.RawValue   `asn1:"optional,tag:1"`
		} `asn1:"optional,tag:0"`
		OnlyUser      bool           `asn1:"optional,tag:1"`
		OnlyCA        bool           `asn1:"optional,tag:2"`
		OnlyReasons   asn1.BitString `asn1:"optional,tag:3"`
		Indirect      bool           `asn1:"optional,tag:4"`
		OnlyAttribute bool           `asn1:"optional,tag:5"`
	}
	rest, err := asn1.Unmarshal(der, &idp)
	if err != nil || len(rest) > 0 {
		return scope{}, errors.New("expected an issuing distribution point (RFC 5280, section 5.2.5), found something else")
	}
	if idp.OnlyReasons.BitLength > 0 || idp.Indirect || idp.OnlyAttribute {
		return scope{}, errors.New("expected a CRL of all reasons for its issuer's certificates, found one that is partial or indirect")
	}
	s := scope{OnlyUser: idp.OnlyUser, OnlyCA: idp.OnlyCA}
	if len(idp.Point.RelativeName.FullBytes) > 0 {
		return scope{}, errors.New("expected a distribution point named by URI, found a relative name")
	}
	for _, name := range idp.Point.FullName {
		// GeneralName, [6] uniformResourceIdentifier.
		if name.Class == asn1.ClassContextSpecific && name.Tag == 6 {
			s.URIs = append(s.URIs, string(name.Bytes))
		}
	}
	if len(idp.Point.FullName) > 0 && s.URIs == nil {
		return scope{}, errors.New("expected a distribution point named by URI, found another name")
	}
	return s, nil
}

// covers tells whether a certificate of the list's issuer would be on it.
func (s scope) covers(c *x509.Certificate) bool {
	if s.OnlyUser && c.IsCA || s.OnlyCA && !c.IsCA {
		return false
	}
	return s.URIs == nil || slices.ContainsFunc(c.CRLDistributionPoints, func(uri string) bool {
		return slices.Contains(s.URIs, uri)
	})
}

// checkRevoked asks the lists about each certificate of a chain but the root,
// leaf first, and returns until when their answer holds: zero when there was
// nothing to ask. A certificate that is revoked, or that no current list of its
// issuer covers, is an error.
//
// Revoked is revoked: a signature that was made before counts no more than one
// after, and neither an invalidity date nor the list's own end change that.
func checkRevoked(chain []*x509.Certificate, lists []crl, now time.Time) (time.Time, error) {
	if len(chain) == 0 {
		return time.Time{}, errors.New("expected a certificate chain, found none")
	}
	var until time.Time
	for i, c := range chain[:len(chain)-1] {
		next, err := askLists(c, chain[i+1], lists, now)
		if err != nil {
			return time.Time{}, err
		}
		until = earlier(until, next)
	}
	return until, nil
}

// askLists asks for one certificate; the time is the latest next update of the
// lists that answered.
func askLists(c, issuer *x509.Certificate, lists []crl, now time.Time) (time.Time, error) {
	var until time.Time
	found := "none"
	for _, l := range lists {
		if !bytes.Equal(l.list.RawIssuer, c.RawIssuer) {
			continue
		}
		if err := l.list.CheckSignatureFrom(issuer); err != nil {
			found = "one that it did not sign: " + clean(err.Error())
			continue
		}
		if _, ok := l.revoked[serialKey(c.SerialNumber)]; ok {
			return time.Time{}, fmt.Errorf("%s was revoked by %.200q", subjectOf(c), c.Issuer)
		}
		switch {
		case !l.scope.covers(c):
			found = "one that is about other certificates"
		case now.Before(l.list.ThisUpdate):
			found = "one that begins at " + l.list.ThisUpdate.UTC().Format(time.RFC3339)
		case !now.Before(l.list.NextUpdate):
			found = "one that ended at " + l.list.NextUpdate.UTC().Format(time.RFC3339)
		case l.list.NextUpdate.After(until):
			until = l.list.NextUpdate
		}
	}
	if until.IsZero() {
		return time.Time{}, fmt.Errorf("cannot tell whether %s was revoked: expected a current CRL of %.200q, found %s", subjectOf(c), c.Issuer, found)
	}
	return until, nil
}

// earlier returns the earlier of two times; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
