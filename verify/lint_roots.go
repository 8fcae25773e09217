package verify

import (
	"fmt"

	"github.com/pullgate/pullgate/verify/bundle"
)

// RootWarnings lists the requirements of p that no evidence can meet under trust
// roots as they are now, since those lack the logs or the authorities, of certificates
// or of timestamps, that are asked for.
// Roots that are not there yet are left out.
func RootWarnings(p *Policy, r Roots) []Warning {
	if r == nil {
		return nil
	}
	var out []Warning
	p.each(func(at string, req *requirement) {
		var t *bundleTrust
		switch x := req.ext.(type) {
		case *bundleSigned:
			t = x.trust
		case *attested:
			t, at = x.trust, at+".signedBy"
		}
		if t == nil || t.root == "" {
			return
		}
		root, ok := r.Get(t.root)
		if !ok || root.Material == nil {
			return
		}
		m := root.Material
		if len(t.Identities) > 0 && len(m.FulcioCertificateAuthorities()) == 0 {
			out = append(out, Warning{File: p.file(), Key: at + ".identities",
				Problem: fmt.Sprintf("no image can be judged, and each is answered with 503: identities are of certificates, and trust root %s has no certificate authority", clean(t.root)),
				Fix:     "complete the trust root with the authority that issues the certificates, or trust keys instead"})
		}
		for _, problem := range t.unmet(len(m.RekorLogs()), len(m.CTLogs()), len(m.TimestampingAuthorities())) {
			out = append(out, Warning{File: p.file(), Key: at + ".thresholds",
				Problem: fmt.Sprintf("denies every image: it %s of trust root %s, which has %s", problem.asks, clean(t.root), problem.has), Fix: problem.fix})
		}
	})
	return out
}

// unmet is a threshold that a trust root cannot meet.
type unmet struct{ asks, has, fix string }

// unmet holds the thresholds against how many there are in a trust root.
func (t *bundleTrust) unmet(logs, cts, stamps int) []unmet {
	identities := len(t.Identities) > 0
	var out []unmet
	sum := 0
	for _, x := range []struct {
		key, what       string
		said, by, there int
	}{
		{"tlog", "transparency logs", t.TLog, 1, logs},
		{"sct", "certificate transparency logs", t.SCT, 1, cts},
		{"timestamps", "timestamp authorities", t.Timestamps, 0, stamps},
	} {
		n, byDefault := x.said, ""
		switch {
		case n == bundle.None:
			n = 0
		case n == 0 && identities && x.by > 0:
			n, byDefault = x.by, ", the default,"
		}
		if x.key != "sct" {
			sum += n
		}
		if n > x.there {
			out = append(out, unmet{fmt.Sprintf("asks for %d (%s)%s of the %s", n, x.key, byDefault, x.what), fmt.Sprint(x.there),
				fmt.Sprintf(`write %q: %d into thresholds if this instance has no more, or complete the trust root`, x.key, x.there)})
		}
	}
	if identities && sum == 0 && logs+stamps == 0 {
		out = append(out, unmet{"needs one proof of the time, by a transparency log or a timestamp authority", "neither", "complete the trust root"})
	}
	return out
}

// each visits all requirements, those within others too, and says where they stand.
func (p *Policy) each(visit func(at string, r *requirement)) {
	var walk func(at string, reqs []*requirement)
	walk = func(at string, reqs []*requirement) {
		for i, r := range reqs {
			key := fmt.Sprintf("%s[%d]", at, i)
			visit(key, r)
			if x, ok := r.ext.(*anyOf); ok {
				for n, alt := range x.of {
					walk(alternativeKey(key, n, alt.dated()), alt.all)
				}
			}
		}
	}
	for _, transport := range []string{TransportAtomic, TransportDocker} {
		for _, scope := range p.Scopes(transport) {
			walk(scopeKey(transport, scope), p.scopes[transport][scope])
		}
	}
	walk(DefaultScope, p.byDefault)
}

// file is the policy.json.
func (p *Policy) file() string {
	if len(p.files) == 0 {
		return ""
	}
	return p.files[0]
}
