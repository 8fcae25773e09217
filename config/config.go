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
	// InsecureWeakSignatures accepts SHA-1 signatures and RSA keys under 2048
	// bits. Default false.
	InsecureWeakSignatures bool `mapstructure:"insecure_weak_signatures"`
	// Log is the operators' log on standard error.
	Log Log `mapstructure:"log"`

	// Warnings says what looks wrong but is no fault, one line each: environment
	// variables that start with PULLGATE_ and set nothing.
	Warnings []string `mapstructure:"-"`

	// origins says where each key's value comes from, for the faults of Validate.
	origins origins
}

// TLS are the certificate files of the registry API, PEM. Cert and Key stand or
// fall together.
type TLS struct {
	Cert string `mapstructure:"cert"` // certificate chain, leaf first
	Key  string `mapstructure:"key"`  // private key of the leaf
	// ClientCA holds the authorities whose client certificates are required of
	// every client. Default: clients need none.
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
