package auth

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
)

// Kind says by what a client is known. The zero value is nobody: it may nothing
// as soon as anything is configured.
type Kind string

// Kinds of identities.
const (
	User        Kind = "user"        // name and password, or a token that was issued for them
	Certificate Kind = "certificate" // verified TLS client certificate
	Network     Kind = "network"     // address in a trusted network
	Anonymous   Kind = "anonymous"   // nothing is configured: nobody is asked
)

// Identity is who a client is. The zero value is nobody.
type Identity struct {
	Kind  Kind
	Name  string   // user name; for certificates the first of Names
	Names []string // every name of a certificate: common name, DNS, email and URI alternative names
	// Addr is the client's address, X-Forwarded-For of trusted proxies counted.
	// It is the zero Addr when a trusted proxy sent a header that cannot be read:
	// then no network matches.
	Addr netip.Addr

	bearer    bool     // known by a token,
	access    []string // which is limited to these repositories
	challenge string   // that asks for a token which holds another repository
}

// String writes an identity for logs: user:alice, certificate:node1.example,
// network:10.0.0.7, and "" for nobody in particular. Names with characters
// other than letters, digits and plain punctuation are quoted.
func (i Identity) String() string {
	switch i.Kind {
	case User, Certificate:
		return string(i.Kind) + ":" + plain(i.Name)
	case Network:
		return string(i.Kind) + ":" + i.Addr.String()
	}
	return ""
}

// maxPrinted bounds what one name adds to a log line or a message.
const maxPrinted = 255

// plain returns a name as it is when it cannot be mistaken for anything around
// it, else quoted.
func plain(name string) string {
	if len(name) > maxPrinted {
		name = name[:maxPrinted] + "..."
	}
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-@+/:%~=", r))
	}
	if name == "" || strings.ContainsFunc(name, odd) {
		return strconv.QuoteToASCII(name)
	}
	return name
}

// Refusal is the answer to a client that is not known or may not pull: 401 with
// a Challenge, 407 with one for Proxy-Authenticate, 403 without, 400 for a
// request that cannot be read, 503 when passwords cannot be checked now.
type Refusal struct {
	Status    int
	Challenge string // of WWW-Authenticate (Proxy-Authenticate with 407), "" when none is sent
	Message   string // for the client: no secrets
}

func (r *Refusal) Error() string { return r.Message }

// Place is what a request is for. It shapes the challenge. Registry and Name are
// "" for /v2/ itself.
type Place struct {
	Registry string // that the place stands for, "" when the name says it
	Name     string // of the repository, as in the request's path

	// NoChallenge: never ask for credentials (403 instead of 401). Clients of
	// mirrors answer a challenge with their password for the registry itself.
	NoChallenge bool
	// IgnoreAuthorization: the Authorization header is meant for the upstream and
	// not looked at. Nothing is asked for either.
	IgnoreAuthorization bool
}

// Rule lets whoever it names pull from its scopes. It must name somebody and at
// least one scope. A client matches when any of its three lists does.
type Rule struct {
	Users        []string       // user names; "*": every user
	Certificates []string       // names in certificates; *.domain for names below it; "*": every certificate
	Networks     []netip.Prefix // address of the client, whatever it is known by
	Scopes       []string       // registry, registry/ns, registry/ns/repo, *.domain for registries below it, or "*"
}

// TokenOptions describe the gate's own token endpoint.
type TokenOptions struct {
	Enabled bool
	KeyFile string        // PEM, EC private key on P-256; made with mode 0600 when absent
	Realm   string        // absolute URL of the endpoint; "": made of each request's scheme and Host
	Service string        // name of the gate in tokens and challenges; "": pullgate
	TTL     time.Duration // of access tokens, 1m to 1h; 0: 5m
}

// Options say who may pull. With none of HtpasswdFile, Token, TrustedNetworks,
// Certificates and Rules everybody may.
type Options struct {
	HtpasswdFile    string // lines user:bcrypt, see htpasswd(1) -B
	Token           TokenOptions
	TrustedNetworks []netip.Prefix // clients that need no credentials
	TrustedProxies  []netip.Prefix // whose X-Forwarded-For and X-Forwarded-Proto count
	Certificates    bool           // verified client certificates are identities
	Rules           []Rule         // none: every identified client may pull everything

	// Resolve names the repository that a token scope of this request means.
	// registry is what the realm's path says ("" when it says none), name the
	// repository as in request paths. Needed with Token.
	Resolve func(r *http.Request, registry, name string) (reference.Named, error)

	Logger *slog.Logger     // nil: nothing is logged
	Now    func() time.Time // nil: time.Now
}
