package auth

import (
	"crypto/x509"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// certificateNames returns the names of the client's certificate. Only a chain that
// TLS has verified counts: what a client merely presents says nothing.
func certificateNames(r *http.Request) []string {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return nil
	}
	return namesOf(r.TLS.VerifiedChains[0][0])
}

// namesOf returns the common name and the DNS, email and URI alternative names.
func namesOf(c *x509.Certificate) []string {
	all := slices.Concat([]string{c.Subject.CommonName}, c.DNSNames, c.EmailAddresses)
	for _, u := range c.URIs {
		all = append(all, u.String())
	}
	var names []string
	for _, n := range all {
		if n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// hostName is a name that *.domain can match: an email address or URI that ends
// like one is none.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

// below tells whether a host name lies below the domain of a pattern *.domain, by
// one label or more. Letters compare without case (RFC 4343).
func below(pattern, name string) bool {
	domain, wild := strings.CutPrefix(pattern, "*.")
	return wild && hostName.MatchString(name) && strings.HasSuffix(strings.ToLower(name), "."+strings.ToLower(domain))
}
