package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.podman.io/image/v5/signature"

	"github.com/pullgate/pullgate/verify/discover"
)

const (
	maxPolicyFile = 16 << 20 // bytes of policy.json
	maxKeyFile    = 8 << 20  // bytes of one key or certificate file
	maxKeyBytes   = 64 << 20 // bytes of all of them, each time that one is named
)

// loader turns policy.json into requirements and collects everything that is
// wrong on the way.
type loader struct {
	file string // policy.json, for messages
	dir  string // where relative paths count from
	weak bool
	now  time.Time
	// roots are the names of trust roots that may be named.
	roots map[string]bool

	faults   Faults
	warnings []Warning
	files    []string
	keyBytes int // of what was read so far
}

// parsed is the outcome of a loader without faults.
type parsed struct {
	byDefault []*requirement
	scopes    map[string]map[string][]*requirement
	// bases are those of the lists, by transport and scope, and of the default list.
	bases        map[string]map[string]basis
	defaultBasis basis
	inlined      []byte // canonical policy.json with all keys in it
}

// rawPolicy is policy.json down to the requirement objects.
type rawPolicy struct {
	Default    []json.RawMessage                       `json:"default"`
	Transports map[string]map[string][]json.RawMessage `json:"transports,omitempty"`
}

func (l *loader) fault(key, problem, fix string) {
	l.faults = append(l.faults, Fault{File: l.file, Key: key, Problem: problem, Fix: fix})
}

func (l *loader) warn(key, problem, fix string) {
	l.warnings = append(l.warnings, Warning{File: l.file, Key: key, Problem: problem, Fix: fix})
}

// load parses policy.json. The library parses it strictly twice: as it is written,
// so that a misspelt or repeated key is an error, and again with all keys inlined,
// so that nothing is read from disk when images are judged.
func (l *loader) load(data []byte) parsed {
	if err := syntax(data); err != nil {
		l.fault("", err.Error(), "")
		return parsed{}
	}
	_, strict := signature.NewPolicyFromBytes(splice(data))
	var raw rawPolicy
	if err := json.Unmarshal(data, &raw); err != nil && strict == nil {
		strict = err
	}
	out := parsed{scopes: map[string]map[string][]*requirement{}}
	out.byDefault = l.list(raw.Default, "default", strict != nil)
	for _, transport := range slices.Sorted(maps.Keys(raw.Transports)) {
		l.lintTransport(transport)
		out.scopes[transport] = map[string][]*requirement{}
		for _, scope := range slices.Sorted(maps.Keys(raw.Transports[transport])) {
			l.lintScope(transport, scope)
			key := fmt.Sprintf("transports.%s.%q", transport, scope)
			out.scopes[transport][scope] = l.list(raw.Transports[transport][scope], key, strict != nil)
		}
	}
	if strict != nil && len(l.faults) == 0 {
		l.fault("", strict.Error(), "see containers-policy.json(5)")
	}
	if len(l.faults) > 0 {
		return parsed{}
	}
	l.attach(&out, raw)
	return out
}

// list reads the requirements of one scope and replaces each raw object by its
// inlined form. suspect says that the file as a whole was refused: each object is
// then tried alone, to say which one is to blame.
func (l *loader) list(raws []json.RawMessage, key string, suspect bool) []*requirement {
	if len(raws) == 0 {
		l.fault(key, "expected a list of at least one requirement, found none", `write [{"type": "reject"}] to deny everything`)
	}
	out := make([]*requirement, 0, len(raws))
	for i, raw := range raws {
		at := fmt.Sprintf("%s[%d]", key, i)
		if isExtension(raw) {
			r, inlined, err := l.extend(at, raw, 0)
			if err != nil {
				l.fault(at, err.Error(), "see docs/policy.md, extension requirements")
				continue
			}
			raws[i] = inlined
			out = append(out, r)
			continue
		}
		if problem, fix := typeProblem(raw); problem != "" {
			l.fault(at, problem, fix)
			continue
		}
		if suspect {
			if err := tryAlone(raw); err != nil {
				l.fault(at, err.Error(), "see containers-policy.json(5)")
				continue
			}
		}
		r, inlined, err := l.requirement(at, raw)
		if err != nil {
			l.fault(at, err.Error(), "see containers-policy.json(5)")
			continue
		}
		raws[i] = inlined
		out = append(out, r)
	}
	return out
}

// tryAlone asks the library what it thinks of a single requirement.
func tryAlone(raw json.RawMessage) error {
	_, err := signature.NewPolicyFromBytes(fmt.Appendf(nil, `{"default":[%s]}`, raw))
	return err
}

// attach parses the inlined policy and gives each requirement its native form.
func (l *loader) attach(out *parsed, raw rawPolicy) {
	var err error
	if out.inlined, err = json.Marshal(raw); err != nil {
		l.fault("", err.Error(), "")
		return
	}
	full, err := signature.NewPolicyFromBytes(splice(out.inlined))
	if err != nil {
		l.fault("", "after inlining the keys: "+err.Error(), "")
		return
	}
	pair := func(ours []*requirement, theirs signature.PolicyRequirements) {
		if len(ours) != len(theirs) {
			l.fault("", "the policy changed while its keys were inlined", "")
			return
		}
		for i, r := range ours {
			if r.ext != nil {
				continue
			}
			r.native = &signature.Policy{Default: theirs[i : i+1 : i+1]}
		}
	}
	pair(out.byDefault, full.Default)
	out.defaultBasis = basisOf(out.byDefault, raw.Default)
	out.bases = map[string]map[string]basis{}
	for transport, scopes := range out.scopes {
		out.bases[transport] = map[string]basis{}
		for scope, reqs := range scopes {
			pair(reqs, full.Transports[transport][scope])
			out.bases[transport][scope] = basisOf(reqs, raw.Transports[transport][scope])
		}
	}
}

// syntax checks that data is one JSON value and says where it is not.
func syntax(data []byte) error {
	var v json.RawMessage
	err := json.Unmarshal(data, &v)
	var se *json.SyntaxError
	if errors.As(err, &se) {
		before := data[:min(int(se.Offset), len(data))]
		hint := ""
		if strings.Contains(se.Error(), "in string escape code") {
			hint = `; in JSON a backslash is written twice: "github\\.com"`
		}
		return fmt.Errorf("not JSON: line %d: %w%s", 1+bytes.Count(before, []byte{'\n'}), err, hint)
	}
	return err
}

// read reads a key file named in policy.json. Every requirement keeps what it reads for
// itself, so that a file that is named often counts as often.
func (l *loader) read(key, name string) ([]byte, bool) {
	if l.keyBytes > maxKeyBytes {
		return nil, false // the fault is recorded
	}
	path := name
	if !filepath.IsAbs(path) {
		path = filepath.Join(l.dir, path)
	}
	if !slices.Contains(l.files, path) {
		l.files = append(l.files, path)
	}
	b, err := discover.ReadRegular(path, maxKeyFile)
	switch {
	case errors.Is(err, os.ErrNotExist):
		l.fault(key, fmt.Sprintf("file %s does not exist", path), "put the key there or name the right file; relative paths count from "+l.dir)
		return nil, false
	case err != nil:
		l.fault(key, err.Error(), fmt.Sprintf("make it a readable regular file of at most %d bytes", maxKeyFile))
		return nil, false
	case len(bytes.TrimSpace(b)) == 0:
		l.fault(key, fmt.Sprintf("file %s is empty", path), "export the public key into it")
		return nil, false
	}
	if l.keyBytes += len(b); l.keyBytes > maxKeyBytes {
		l.fault(key, fmt.Sprintf("expected at most %d bytes of keys in one policy, found more: file %s of %d bytes, and the files named before it", maxKeyBytes, path, len(b)),
			"export only the keys that are needed, or name a large file in fewer scopes")
		return nil, false
	}
	return b, true
}
