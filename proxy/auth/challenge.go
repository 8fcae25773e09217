package auth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

const (
	tokenPath      = "/token"
	defaultService = "pullgate"
	basicChallenge = `Basic realm="pullgate"`
)

// Only what these let through gets into a challenge: a quote or a line break would
// end the parameter it stands in.
var (
	hostPort      = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9._-]{0,253}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?$`)
	serviceName   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._:/@+-]{0,254}$`)
	challengeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,254}$`)
)

// checkToken checks the settings of the token endpoint and fills in what has a
// default.
func (o *Options) checkToken() error {
	t := &o.Token
	if !t.Enabled {
		return nil
	}
	if t.Service == "" {
		t.Service = defaultService
	}
	if t.TTL == 0 {
		t.TTL = defaultTTL
	}
	switch {
	case t.KeyFile == "":
		return errors.New("tokens need a key file")
	case o.Resolve == nil:
		return errors.New("tokens need a way to resolve the names in their scopes")
	case t.TTL < minTTL || t.TTL > maxTTL:
		return fmt.Errorf("token ttl %s: expected %s to %s", t.TTL, minTTL, maxTTL)
	case !serviceName.MatchString(t.Service):
		return fmt.Errorf("token service %.40q: expected letters, digits, spaces and . _ : / @ + -", t.Service)
	case t.Realm == "":
		return nil
	}
	realm, err := checkRealm(t.Realm)
	t.Realm = realm
	return err
}

// checkRealm returns the URL of the token endpoint without a slash at its end.
func checkRealm(realm string) (string, error) {
	const expected = "token realm: expected an absolute URL without user, query and fragment, as in https://gate.example/token"
	u, err := url.Parse(realm)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || !hostPort.MatchString(u.Host) ||
		u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(realm, "#") {
		return "", errors.New(expected)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if u.Path == "" {
		u.Path = tokenPath
	}
	out := (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	if strings.ContainsAny(out, "\"\\ ") {
		return "", errors.New(expected)
	}
	return out, nil
}

// challenge returns what to ask a client for, "" when it is not asked: Bearer with
// tokens, else Basic. code is one of RFC 6750, section 3.1, or "". An error is the
// refusal of a request whose Host no challenge can hold.
func (a *Authority) challenge(r *http.Request, p Place, code string) (string, error) {
	s := a.current()
	if p.NoChallenge || p.IgnoreAuthorization || s.users == nil {
		return "", nil
	}
	if s.key == nil {
		return basicChallenge, nil
	}
	realm, err := a.realm(r, p.Registry)
	if err != nil {
		return "", err
	}
	c := fmt.Sprintf("Bearer realm=%q,service=%q", realm, a.opts.Token.Service)
	if challengeName.MatchString(p.Name) {
		c += fmt.Sprintf(",scope=%q", "repository:"+p.Name+":pull")
	}
	if code != "" {
		c += fmt.Sprintf(",error=%q", code)
	}
	return c, nil
}

// realm returns the URL where a client gets tokens for a place. The registry is
// part of it, so that names in scopes mean what they mean in the requests.
func (a *Authority) realm(r *http.Request, registry string) (string, error) {
	base := a.opts.Token.Realm
	if base == "" {
		if !hostPort.MatchString(r.Host) {
			return "", &Refusal{Status: http.StatusBadRequest, Message: "the Host header is not a host name or address with or without port"}
		}
		scheme := "http"
		if a.secure(r) {
			scheme = "https"
		}
		base = scheme + "://" + r.Host + tokenPath
	}
	if registry != "" {
		base += "/" + url.PathEscape(registry)
	}
	return base, nil
}
