// Package config reads and checks the gate's settings.
//
// Settings come from a YAML file, PULLGATE_… environment variables and command
// line flags; a flag wins over the environment, the environment over the file,
// the file over the defaults. [Load] is strict: an unknown or repeated key, a
// value of the wrong shape and a path that cannot be read are faults, and every
// fault is reported at once with the place it comes from and what to write
// instead.
//
// It promises that a [Config] returned by Load is complete and checked: paths are
// absolute, defaults are filled in, names are in their normal form. It never
// guesses: no setting has a default that lets an unjudged image pass. It never
// reads policy.json, keys of signers or credentials, only whether they can be
// read, and it changes nothing on disk.
package config

import (
	"slices"
	"time"
)

// Config holds every setting. The names in the mapstructure tags are the keys of
// the file. The zero value is not usable: it names no policy.
type Config struct {
	// Listen is the address of the registry API, host:port; an empty host is every
	// address, port 0 any free port. Default 127.0.0.1:5000.
	Listen string `mapstructure:"listen"`
	// TLS makes the registry API speak HTTPS. Default: plain HTTP.
	TLS TLS `mapstructure:"tls"`
	// Admin is the second listener.
	Admin Admin `mapstructure:"admin"`
	// Hosts says which registry a request means by the host that it names.
	// Default: none, every host is the gate's own.
	Hosts []Host `mapstructure:"hosts"`
	// Listeners are more addresses of the registry API, each for one registry.
	// Default: none.
	Listeners []Listener `mapstructure:"listeners"`
	// Intercept is the HTTP proxy that terminates TLS of registries. Default: off.
	Intercept Intercept `mapstructure:"intercept"`
	// StateDir is where the gate keeps what it makes itself: the authority of
	// Intercept, the key of Auth.Token, and what TrustRoots were fetched by TUF. It is
	// looked at only when one of them is kept there. Default /var/lib/pullgate.
	StateDir string `mapstructure:"state_dir"`
	// Auth says who may pull. Default: everybody.
	Auth Auth `mapstructure:"auth"`
	// Policy is the path of the signature policy, containers-policy.json(5).
	// Required, without a default.
	Policy string `mapstructure:"policy"`
	// RegistriesD is the directory that says where signatures are stored,
	// containers-registries.d(5). Default: none, and no other place is searched.
	RegistriesD string `mapstructure:"registries_d"`
	// DefaultRegistry holds the repositories that are asked for without a registry
	// (gate/library/nginx). It must be served. Default docker.io.
	DefaultRegistry string `mapstructure:"default_registry"`
	// Upstreams are the registries the gate forwards to. Default: none.
	Upstreams []Upstream `mapstructure:"upstreams"`
	// OtherRegistries says what becomes of registries not in Upstreams: OthersDeny
	// or OthersAllow. Anything but OthersAllow denies. Default OthersDeny.
	OtherRegistries string `mapstructure:"other_registries"`
	// AuthFile holds credentials for upstreams, containers-auth.json(5). Default:
	// none, upstreams are asked anonymously.
	AuthFile string `mapstructure:"auth_file"`
	// CertsD lists directories of CA and client certificates for upstreams, laid
	// out by containers-certs.d(5). Default /etc/containers/certs.d and
	// /etc/docker/certs.d, which need not exist.
	CertsD []string `mapstructure:"certs_d"`
	// ReportOnly lists scopes of the policy ("default" for its default list) that
	// are judged and audited but not enforced. Default: none.
	ReportOnly []string `mapstructure:"report_only"`
	// Verdicts bounds how many verdicts are kept and for how long.
	Verdicts Verdicts `mapstructure:"verdicts"`
	// Tags bounds how long the digest behind a tag is believed.
	Tags Tags `mapstructure:"tags"`
	// Audit is the record of decisions.
	Audit Audit `mapstructure:"audit"`
	// TrustRoots are what the policy's identities are verified against. Default: none.
	TrustRoots []TrustRoot `mapstructure:"trust_roots"`
	// SignatureRepositories say where signatures of which images are that are not kept
	// beside them. Default: none.
	SignatureRepositories []SignatureRepository `mapstructure:"signature_repositories"`
	// Offline says that nothing is asked for trust material: trust roots are used as
	// they were last fetched. Registries and signature servers are not meant. Default
	// false.
	Offline bool `mapstructure:"offline"`
	// InsecureWeakSignatures accepts SHA-1 signatures and RSA keys under 2048
	// bits. Default false.
	InsecureWeakSignatures bool `mapstructure:"insecure_weak_signatures"`
	// Log is the operators' log on standard error.
	Log Log `mapstructure:"log"`

	// Warnings says what looks wrong but is no fault, one line each: environment
	// variables that start with PULLGATE_ and set nothing, and settings that expose
	// the gate.
	Warnings []string `mapstructure:"-"`

	// origins says where each key's value comes from, for the faults of Validate.
	origins origins
}

// TLS are the certificate files of the registry API, PEM. Cert and Key stand or
// fall together.
type TLS struct {
	Cert string `mapstructure:"cert"` // certificate chain, leaf first
	Key  string `mapstructure:"key"`  // private key of the leaf
	// ClientCA holds the authorities of client certificates. When Auth has nothing
	// configured, every client must show one; otherwise a certificate is one of the
	// ways to say who one is, and a client may show none. Default: none are asked
	// for.
	ClientCA string `mapstructure:"client_ca"`
}

// Enabled reports whether the registry API speaks HTTPS.
func (t TLS) Enabled() bool { return t.Cert != "" && t.Key != "" }

// Admin is the listener of /healthz, /readyz and /metrics. It has no
// authentication and tells nothing secret.
type Admin struct {
	Listen string `mapstructure:"listen"` // host:port; default 127.0.0.1:5001
}

// Upstream is a registry that the gate forwards to.
type Upstream struct {
	// Registry is its name in references and in the policy: docker.io,
	// registry.example.com:5000. Lower case. Required.
	Registry string `mapstructure:"registry"`
	// Prefix is one more first path element under which clients reach it, as a port
	// cannot stand in a path. Default: only its name.
	Prefix string `mapstructure:"prefix"`
	// Endpoint is where it is: https://host[:port], http://host[:port], oci:/path
	// of an OCI image layout, dir:/path of a directory of images. Default
	// [DefaultEndpoint] of Registry.
	Endpoint string `mapstructure:"endpoint"`
	// Transport is the section of the policy that judges its images:
	// TransportDocker or TransportAtomic. Default TransportDocker.
	Transport string `mapstructure:"transport"`
	// Credentials says whose credentials the upstream sees: CredentialsGate or
	// CredentialsClient. Default CredentialsGate.
	Credentials string `mapstructure:"credentials"`
}

// Host maps the host that a request names (its Host header, and the name of its
// TLS handshake) to a registry.
type Host struct {
	// Host is a DNS name in lower case, with the port when clients write one, or
	// *.domain for every name with one more label.
	Host string `mapstructure:"host"`
	// Registry is the registry that is meant, served by the gate. It may be empty
	// for *.domain only: the label is then the name of one of Upstreams with - for
	// each . and : (docker-io.gate.example is docker.io).
	Registry string `mapstructure:"registry"`
}

// Listener is an address of the registry API at which every request means one
// registry.
type Listener struct {
	Listen   string `mapstructure:"listen"`   // host:port, like Config.Listen; required
	Registry string `mapstructure:"registry"` // served by the gate; required
	// Mirror refuses in the form that keeps docker from asking Docker Hub instead.
	// Registry is docker.io then, as docker has mirrors of nothing else.
	Mirror bool `mapstructure:"mirror"`
	// PlainHTTP leaves out the TLS that the main listener has.
	PlainHTTP bool `mapstructure:"plain_http"`
}

// Intercept is the HTTP proxy for clients whose image names stay as they are.
// Hosts of registries are terminated and judged, those of Tunnel are passed
// through, everything else is refused.
type Intercept struct {
	Listen string `mapstructure:"listen"` // host:port; default: empty, no proxy
	// CA issues the certificates that are shown for registries.
	CA CA `mapstructure:"ca"`
	// Tunnel lists where clients may connect to through the proxy: host and
	// *.domain (port 443), host:port, an address, address:port, or a CIDR. Default:
	// none.
	Tunnel []string `mapstructure:"tunnel"`
}

// CA are the files of the certificate authority, PEM. They stand or fall together.
// Default: both in StateDir, see [Config.CAFiles].
type CA struct {
	Cert string `mapstructure:"cert"` // certificate of the authority
	Key  string `mapstructure:"key"`  // its private key
}

// Auth says who may pull. The zero value lets everybody pull everything that the
// policy allows.
type Auth struct {
	// Htpasswd is a file of users with bcrypt passwords, htpasswd(1).
	Htpasswd string `mapstructure:"htpasswd"`
	// Token is the gate's own token endpoint.
	Token Token `mapstructure:"token"`
	// TrustedNetworks may pull without saying who they are: addresses and CIDRs.
	TrustedNetworks []string `mapstructure:"trusted_networks"`
	// TrustedProxies are believed about the client's address (X-Forwarded-For):
	// addresses and CIDRs.
	TrustedProxies []string `mapstructure:"trusted_proxies"`
	// Rules say who may pull what. Default: none, who may pull at all may pull
	// everything.
	Rules []Rule `mapstructure:"rules"`
}

// Token is the token endpoint, distribution-spec "token authentication".
type Token struct {
	Enabled bool `mapstructure:"enabled"` // default false
	// Key is the private key that signs tokens, PEM, ECDSA. Default: in StateDir,
	// see [Config.TokenKeyFile].
	Key string `mapstructure:"key"`
	// Realm is the absolute URL of the endpoint as clients reach it. Default: made
	// of the host that the request names.
	Realm   string        `mapstructure:"realm"`
	Service string        `mapstructure:"service"` // name of the gate in tokens; default "pullgate"
	TTL     time.Duration `mapstructure:"ttl"`     // life of a token; default 5m
}

// Rule lets whoever is one of Users, Certificates or Networks pull Scopes.
type Rule struct {
	Users        []string `mapstructure:"users"`        // names of Auth.Htpasswd
	Certificates []string `mapstructure:"certificates"` // names of client certificates
	Networks     []string `mapstructure:"networks"`     // addresses and CIDRs
	// Scopes are written like scopes of the policy: registry, registry/namespace,
	// registry/namespace/repository, *.domain; or "*" for everything.
	Scopes []string `mapstructure:"scopes"`
}

// Verdicts bounds the verdict cache.
type Verdicts struct {
	Size       int           `mapstructure:"size"`        // verdicts kept; default 100,000
	AllowedTTL time.Duration `mapstructure:"allowed_ttl"` // default 1h; 0 keeps none
	DeniedTTL  time.Duration `mapstructure:"denied_ttl"`  // default 30s; 0 keeps none
}

// Tags bounds how long a tag's digest is believed without asking the upstream.
type Tags struct {
	TTL time.Duration `mapstructure:"ttl"` // default 30s; 0 asks every time
}

// Audit says where decisions are recorded, one JSON line each.
type Audit struct {
	File  string `mapstructure:"file"`  // path, or AuditStdout; default AuditStdout
	Blobs bool   `mapstructure:"blobs"` // log blob pulls one by one; default false, they are counted
}

// Log is the operators' log.
type Log struct {
	Level  string `mapstructure:"level"`  // debug, info, warn or error; default info
	Format string `mapstructure:"format"` // text or json; default text
}

// Words that settings take.
const (
	OthersDeny  = "deny"  // registries not listed are refused
	OthersAllow = "allow" // registries not listed are reached at DefaultEndpoint

	TransportDocker = "docker" // judged by the policy's "docker" scopes
	TransportAtomic = "atomic" // judged by the policy's "atomic" scopes

	CredentialsGate   = "gate"   // AuthFile, shared by all who may pull
	CredentialsClient = "client" // the client's own, passed through

	AuditStdout = "-" // the audit log goes to standard output

	LogText = "text" // key=value lines
	LogJSON = "json" // a JSON object a line
)

// dockerHub is the one registry whose API is not at its own name.
const (
	dockerHub         = "docker.io"
	dockerHubEndpoint = "https://registry-1.docker.io"
)

// DefaultEndpoint is where a registry without a configured endpoint is: https at
// its own name, https://registry-1.docker.io for docker.io.
func DefaultEndpoint(registry string) string {
	if registry == dockerHub {
		return dockerHubEndpoint
	}
	return "https://" + registry
}

// Upstream returns how to reach a registry, and false when the configuration does
// not let the gate reach it. A registry that is not listed is reached only when
// OtherRegistries is OthersAllow; its name is the caller's to check.
func (c *Config) Upstream(registry string) (Upstream, bool) {
	i := slices.IndexFunc(c.Upstreams, func(u Upstream) bool { return u.Registry == registry })
	if i >= 0 {
		return c.Upstreams[i], true
	}
	if c.OtherRegistries != OthersAllow || registry == "" {
		return Upstream{}, false
	}
	return Upstream{Registry: registry, Endpoint: DefaultEndpoint(registry), Transport: TransportDocker}, true
}

// Registries returns the names of the configured registries, the default
// registry included, without repetition.
func (c *Config) Registries() []string {
	var names []string
	for _, u := range c.Upstreams {
		names = append(names, u.Registry)
	}
	if c.DefaultRegistry != "" && !slices.Contains(names, c.DefaultRegistry) {
		names = append(names, c.DefaultRegistry)
	}
	return names
}
