package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kind is the shape of a key's value.
type kind int

const (
	kindText kind = iota
	kindBool
	kindInt
	kindDuration
	kindTexts   // list of texts
	kindObjects // list of objects, each with the keys of key.item
)

// Defaults of settings that others than Load know, too.
const (
	defaultStateDir = "/var/lib/pullgate"
	defaultService  = "pullgate"
	defaultTokenTTL = 5 * time.Minute
)

// key is one setting.
type key struct {
	name string // dotted: verdicts.size
	kind kind
	path bool  // a path, or for endpoints a text that can hold one
	def  any   // default; nil when there is none
	item []key // keys of an item, for kindObjects
	text pairs // how variables and flags write an item, for kindObjects
}

// pairs is how one text holds a list of objects: left=right items, separated by
// commas. The zero value says that only the file can hold the list.
type pairs struct {
	left, right string // keys of an item
	rightPath   bool   // right may hold a path, like endpoints
	example     string
}

// keys returns every setting, in the order of the documentation.
func keys() []key {
	return []key{
		{name: "listen", def: "127.0.0.1:5000"},
		{name: "tls.cert", path: true},
		{name: "tls.key", path: true},
		{name: "tls.client_ca", path: true},
		{name: "admin.listen", def: "127.0.0.1:5001"},
		{name: "hosts", kind: kindObjects, item: hostKeys(), text: pairs{left: "host", right: "registry", example: "hub.gate.example=docker.io"}},
		{name: "listeners", kind: kindObjects, item: listenerKeys(), text: pairs{left: "listen", right: "registry", example: "127.0.0.1:5002=docker.io"}},
		{name: "intercept.listen"},
		{name: "intercept.ca.cert", path: true},
		{name: "intercept.ca.key", path: true},
		{name: "intercept.tunnel", kind: kindTexts},
		{name: "state_dir", path: true, def: defaultStateDir},
		{name: "auth.htpasswd", path: true},
		{name: "auth.token.enabled", kind: kindBool, def: false},
		{name: "auth.token.key", path: true},
		{name: "auth.token.realm"},
		{name: "auth.token.service", def: defaultService},
		{name: "auth.token.ttl", kind: kindDuration, def: defaultTokenTTL},
		{name: "auth.trusted_networks", kind: kindTexts},
		{name: "auth.trusted_proxies", kind: kindTexts},
		{name: "auth.rules", kind: kindObjects, item: ruleKeys()},
		{name: "policy", path: true},
		{name: "registries_d", path: true},
		{name: "default_registry", def: dockerHub},
		{name: "upstreams", kind: kindObjects, item: upstreamKeys(),
			text: pairs{left: "registry", right: "endpoint", rightPath: true, example: "docker.io=https://registry-1.docker.io"}},
		{name: "other_registries", def: OthersDeny},
		{name: "auth_file", path: true},
		{name: "certs_d", kind: kindTexts, path: true, def: defaultCertsD()},
		{name: "report_only", kind: kindTexts},
		{name: "verdicts.size", kind: kindInt, def: 100_000},
		{name: "verdicts.allowed_ttl", kind: kindDuration, def: time.Hour},
		{name: "verdicts.denied_ttl", kind: kindDuration, def: 30 * time.Second},
		{name: "tags.ttl", kind: kindDuration, def: 30 * time.Second},
		{name: "audit.file", path: true, def: AuditStdout},
		{name: "audit.blobs", kind: kindBool, def: false},
		{name: "trust_roots", kind: kindObjects, item: trustRootKeys()},
		{name: "signature_repositories", kind: kindObjects, item: signatureRepositoryKeys(),
			text: pairs{left: "scope", right: "repository", example: "registry.example.com/team=sigs.example.com/team"}},
		{name: "offline", kind: kindBool, def: false},
		{name: "insecure_weak_signatures", kind: kindBool, def: false},
		{name: "log.level", def: "info"},
		{name: "log.format", def: LogText},
	}
}

// upstreamKeys returns the keys of one item of upstreams.
func upstreamKeys() []key {
	return []key{{name: "registry"}, {name: "prefix"}, {name: "endpoint", path: true}, {name: "transport"}, {name: "credentials"}}
}

// hostKeys returns the keys of one item of hosts.
func hostKeys() []key { return []key{{name: "host"}, {name: "registry"}} }

// listenerKeys returns the keys of one item of listeners.
func listenerKeys() []key {
	return []key{{name: "listen"}, {name: "registry"}, {name: "mirror", kind: kindBool}, {name: "plain_http", kind: kindBool}}
}

// ruleKeys returns the keys of one item of auth.rules.
func ruleKeys() []key {
	return []key{
		{name: "users", kind: kindTexts}, {name: "certificates", kind: kindTexts},
		{name: "networks", kind: kindTexts}, {name: "scopes", kind: kindTexts},
	}
}

func defaultCertsD() []string {
	return []string{"/etc/containers/certs.d", "/etc/docker/certs.d"}
}

// children returns the keys directly below a section ("" for the top): settings
// and sections, each once, without the section's name.
func children(all []key, section string) []string {
	var names []string
	for _, k := range all {
		rest := k.name
		if section != "" {
			var below bool
			if rest, below = strings.CutPrefix(k.name, section+"."); !below {
				continue
			}
		}
		name, _, _ := strings.Cut(rest, ".")
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// below returns the keys in a section, without the section's name.
func below(all []key, section string) []key {
	var keys []key
	for _, k := range all {
		if name, in := strings.CutPrefix(k.name, section+"."); in {
			k.name = name
			keys = append(keys, k)
		}
	}
	return keys
}

// scalar reads one value as it stands in a file, a variable or a flag. Problem is
// empty when it is good.
func scalar(k kind, text string) (value any, problem, fix string) {
	switch k {
	case kindBool:
		if text == "true" || text == "false" {
			return text == "true", "", ""
		}
		return nil, fmt.Sprintf("expected true or false, found %s", quote(text)), "write true or false"
	case kindInt:
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Sprintf("expected a whole number, found %s", quote(text)), "write digits only, like 100000"
		}
		return n, "", ""
	case kindDuration:
		return duration(text)
	}
	return text, "", ""
}

// duration reads "30s", "1h30m". A bare number is refused, as its unit would be a
// guess.
func duration(text string) (value any, problem, fix string) {
	if _, err := strconv.ParseFloat(text, 64); err == nil && len(text) <= 20 {
		return nil, fmt.Sprintf("expected a duration with a unit, found %s", quote(text)),
			fmt.Sprintf("write %q for seconds, %q for minutes or %q for hours", text+"s", text+"m", text+"h")
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, fmt.Sprintf("expected a duration, found %s", quote(text)), `write it like "30s", "5m" or "1h30m"`
	}
	return d, "", ""
}

// suggest names the nearest known key to one that is not, or lists them all.
func suggest(unknown string, known []string) string {
	if k, near := nearest(unknown, known); near {
		return fmt.Sprintf("did you mean %s?", k)
	}
	return "known keys here: " + strings.Join(known, ", ")
}

// nearest finds the known key with the fewest letters to change, when they are
// few.
func nearest(unknown string, known []string) (best string, near bool) {
	distance := math.MaxInt
	for _, k := range known {
		if d := editDistance(plain(unknown), plain(k)); d < distance {
			best, distance = k, d
		}
	}
	return best, distance <= max(1, len(best)/3)
}

// plain takes out how words are joined, so that allowedTTL is near allowed_ttl.
func plain(s string) string {
	if len(s) > 64 {
		s = s[:64] // no key is as long; bounds the work on hostile ones
	}
	return strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(s))
}

// editDistance is the Levenshtein distance in bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
