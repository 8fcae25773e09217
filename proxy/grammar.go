package proxy

import (
	"strings"

	"github.com/distribution/reference"
)

// The grammar of names is read by hand. It is asked for each request, and regular
// expressions that say the same take as long as all the rest of an answer from
// memory. Tests hold it to them.

// isRepositoryPath reports whether s is a <name> of the OCI distribution
// specification, section "Pulling manifests":
//
//	[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*
func isRepositoryPath(s string) bool {
	for {
		word := 0
		for word < len(s) && isLowerOrDigit(s[word]) {
			word++
		}
		if word == 0 {
			return false
		}
		if s = s[word:]; s == "" {
			return true
		}
		between := separator(s)
		if between == 0 {
			return false
		}
		s = s[between:]
	}
}

// separator is the length of what s begins with and may stand between two words: a
// slash, a dot, one or two underscores, any number of dashes.
func separator(s string) int {
	switch {
	case s[0] == '/', s[0] == '.':
		return 1
	case strings.HasPrefix(s, "__"):
		return 2
	case s[0] == '_':
		return 1
	}
	return len(s) - len(strings.TrimLeft(s, "-"))
}

func isLowerOrDigit(c byte) bool { return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' }

// isRegistry reports whether s before a slash is what reference.ParseNormalizedNamed
// takes for the registry of an image, as it is: a host name or IPv6 address in
// brackets that cannot be the first element of a name in docker.io.
func isRegistry(s string) bool {
	if s == "index.docker.io" || !strings.ContainsAny(s, ".:") && s != "localhost" && strings.ToLower(s) == s {
		return false
	}
	host, port, has := s, "", false
	if !strings.HasSuffix(s, "]") { // the colons in an address are no port's
		if i := strings.LastIndexByte(s, ':'); i >= 0 {
			host, port, has = s[:i], s[i+1:], true
		}
	}
	if has && (port == "" || strings.Trim(port, "0123456789") != "") {
		return false
	}
	if address, ok := strings.CutPrefix(host, "["); ok {
		address, ok = strings.CutSuffix(address, "]")
		return ok && address != "" && strings.Trim(address, "0123456789abcdefABCDEF:") == ""
	}
	for label := range strings.SplitSeq(host, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}

// isLabel reports whether s is one label of a host name.
func isLabel(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isLowerOrDigit(c) && (c < 'A' || c > 'Z') && c != '-' {
			return false
		}
	}
	return s != "" && s[0] != '-' && s[len(s)-1] != '-'
}

// repositoryOf is reference.ParseNormalizedNamed of registry/path, where [isRegistry]
// accepts the registry; false when path is no repository's.
func repositoryOf(registry, path string) (reference.Named, bool) {
	if registry == hub && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	if len(path) > reference.RepositoryNameTotalLengthMax || !isRepositoryPath(path) {
		return nil, false
	}
	return reference.TrimNamed(parts{registry, path}), true
}

// parts is a repository whose parts were checked: what reference.TrimNamed makes the
// library's own kind of name of.
type parts struct{ domain, path string }

func (p parts) Domain() string { return p.domain }
func (p parts) Path() string   { return p.path }
func (p parts) Name() string   { return p.domain + "/" + p.path }
func (p parts) String() string { return p.Name() }
