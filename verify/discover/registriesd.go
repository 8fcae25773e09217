package discover

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"go.yaml.in/yaml/v3"
)

// DefaultLookaside is where signatures are looked for when registries.d says
// nothing (containers-registries.d(5)).
const DefaultLookaside = "file:///var/lib/containers/sigstore"

const (
	maxRegistriesFile  = 1 << 20 // bytes of one file of registries.d
	maxRegistriesFiles = 1000
)

// Lookasides is a parsed registries.d directory: where the signatures of which
// images are stored. It is immutable. The zero value knows only the default.
type Lookasides struct {
	defaultDocker *namespace
	docker        map[string]namespace
	origin        map[string]string // namespace → file, for messages
	files         []string
}

// registriesFile is one file of registries.d.
type registriesFile struct {
	DefaultDocker *namespace           `yaml:"default-docker" json:"default-docker"`
	Docker        map[string]namespace `yaml:"docker" json:"docker"`
}

// namespace is one entry. The staging fields are for signers, sigstore and
// sigstore-staging are older names, and use-sigstore-attachments is accepted but
// not needed: attachments are looked up whenever a requirement could use one.
type namespace struct {
	Lookaside        string `yaml:"lookaside" json:"lookaside"`
	LookasideStaging string `yaml:"lookaside-staging" json:"-"`
	SigStore         string `yaml:"sigstore" json:"sigstore"`
	SigStoreStaging  string `yaml:"sigstore-staging" json:"-"`
	UseAttachments   *bool  `yaml:"use-sigstore-attachments" json:"-"`
}

// base is where signatures are read from; empty when the entry does not say.
func (n namespace) base() string {
	if n.Lookaside != "" {
		return n.Lookaside
	}
	return n.SigStore
}

// LoadLookasides reads every *.yaml file of a registries.d directory, in the
// order of their names. An empty dir means no configuration. Unlike
// containers/image it takes an unknown key for a fault: a misspelt "lookaside"
// would otherwise look like an image without signatures.
func LoadLookasides(dir string) (*Lookasides, []Fault) {
	l := &Lookasides{docker: map[string]namespace{}, origin: map[string]string{}}
	if dir == "" {
		return l, nil
	}
	l.files = append(l.files, dir)
	entries, err := os.ReadDir(dir)
	if err != nil {
		fix := "make the directory readable"
		if errors.Is(err, fs.ErrNotExist) {
			fix = "create it, or leave registries_d empty"
		}
		return nil, []Fault{{File: dir, Problem: err.Error(), Fix: fix}}
	}
	var faults []Fault
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".yaml") {
			continue
		}
		if len(l.files) > maxRegistriesFiles {
			return nil, append(faults, Fault{File: dir, Problem: fmt.Sprintf("more than %d files", maxRegistriesFiles)})
		}
		name := filepath.Join(dir, e.Name())
		l.files = append(l.files, name)
		b, err := ReadRegular(name, maxRegistriesFile)
		if err != nil {
			faults = append(faults, Fault{File: name, Problem: err.Error(), Fix: "make it a readable file"})
			continue
		}
		faults = append(faults, l.merge(name, b)...)
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return l, nil
}

// merge adds one file's entries. Two files that configure the same namespace are
// a fault, as in containers/image.
func (l *Lookasides) merge(name string, b []byte) []Fault {
	c, err := parseRegistriesFile(b)
	if err != nil {
		return []Fault{{File: name, Problem: err.Error(), Fix: "see containers-registries.d(5)"}}
	}
	var faults []Fault
	if c.DefaultDocker != nil {
		if l.defaultDocker != nil {
			faults = append(faults, Fault{File: name, Key: "default-docker",
				Problem: "already defined in " + l.origin[""], Fix: "define it in one file only"})
		}
		l.defaultDocker, l.origin[""] = c.DefaultDocker, name
		faults = append(faults, c.DefaultDocker.faults(name, "default-docker")...)
	}
	for ns, n := range c.Docker {
		key := fmt.Sprintf("docker.%q", ns)
		if first, ok := l.origin[ns]; ok && ns != "" {
			faults = append(faults, Fault{File: name, Key: key,
				Problem: "already defined in " + first, Fix: "define it in one file only"})
		}
		l.docker[ns] = n
		if ns != "" {
			l.origin[ns] = name
		}
		faults = append(faults, n.faults(name, key)...)
	}
	slices.SortStableFunc(faults, func(a, b Fault) int { return strings.Compare(a.Key, b.Key) })
	return faults
}

// parseRegistriesFile parses one file strictly: one document, known keys only.
func parseRegistriesFile(b []byte) (registriesFile, error) {
	var c registriesFile
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil && err != io.EOF {
		return c, oneLine(err)
	}
	var rest any
	if err := dec.Decode(&rest); err != io.EOF {
		return c, errors.New("expected one YAML document, found more")
	}
	if _, ok := c.Docker[""]; ok {
		return c, errors.New(`docker: the empty namespace never matches; fix: use "default-docker"`)
	}
	return c, nil
}

// oneLine words a YAML error without line breaks and names of Go types.
func oneLine(err error) error {
	var te *yaml.TypeError
	if !errors.As(err, &te) {
		return err
	}
	lines := make([]string, len(te.Errors))
	for i, e := range te.Errors {
		lines[i], _, _ = strings.Cut(e, " in type ")
		lines[i], _, _ = strings.Cut(lines[i], " into ")
	}
	return errors.New(strings.Join(lines, "; "))
}

// faults checks the addresses of one entry.
func (n namespace) faults(file, key string) []Fault {
	var out []Fault
	for _, f := range []struct{ name, value string }{
		{"lookaside", n.Lookaside}, {"lookaside-staging", n.LookasideStaging},
		{"sigstore", n.SigStore}, {"sigstore-staging", n.SigStoreStaging},
	} {
		if f.value == "" {
			continue
		}
		if _, err := parseBase(f.value); err != nil {
			out = append(out, Fault{File: file, Key: key + "." + f.name, Problem: err.Error(),
				Fix: "write https://host/path, http://host/path or file:///absolute/path"})
		}
	}
	return out
}

// parseBase parses the address of a signature server. Its error never repeats
// the address, which may hold a password.
func parseBase(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	switch u.Scheme {
	case "file":
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") {
			return nil, errors.New("a file URL needs an absolute path and no host")
		}
	case "http", "https":
		if u.Host == "" {
			return nil, errors.New("the URL has no host")
		}
	default:
		return nil, fmt.Errorf("unsupported URL scheme %q", u.Scheme)
	}
	return u, nil
}

// Base returns the address below which the signatures of ref are stored: the
// repository's path without its host is already part of it. The most specific
// entry wins; an entry without an address falls through to the next.
func (l *Lookasides) Base(ref reference.Named) (*url.URL, error) {
	u, err := parseBase(l.topLevel(ref))
	if err != nil {
		return nil, fmt.Errorf("lookaside of %s: %w", ref.Name(), err)
	}
	u.Path += "/" + reference.Path(ref)
	return u, nil
}

// topLevel is the address configured for ref, without the repository's path.
func (l *Lookasides) topLevel(ref reference.Named) string {
	for _, name := range Candidates(ref) {
		if b := l.docker[name].base(); b != "" {
			return b
		}
	}
	if l.defaultDocker != nil {
		if b := l.defaultDocker.base(); b != "" {
			return b
		}
	}
	return DefaultLookaside
}

// Namespaces lists the configured namespaces and the file of each.
func (l *Lookasides) Namespaces() map[string]string {
	out := make(map[string]string, len(l.docker))
	for ns := range l.docker {
		out[ns] = l.origin[ns]
	}
	return out
}

// Files lists the directory and the files that were read.
func (l *Lookasides) Files() []string { return slices.Clone(l.files) }

// Canonical returns bytes that are equal for configurations that read signatures
// from the same places.
func (l *Lookasides) Canonical() ([]byte, error) {
	return json.Marshal(registriesFile{DefaultDocker: l.defaultDocker, Docker: l.docker})
}
