package verify

import (
	"encoding/json"
	"fmt"
	"strings"
)

// object is one JSON object of policy.json whose keys the library has checked.
type object map[string]json.RawMessage

// text returns a string member, empty when it is not there.
func (o object) text(key string) string {
	var s string
	if json.Unmarshal(o[key], &s) != nil {
		return ""
	}
	return s
}

// set replaces a member.
func (o object) set(key string, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	o[key] = b
	return nil
}

// source is one key or certificate of policy.json: where it was named and its
// bytes.
type source struct {
	key  string // for messages: default[0].keyPaths[1]
	name string // for messages: file k.gpg, or keyData
	data []byte
}

// sources reads everything under base+"Path", "Paths", "Data" and "Datas" (the
// library has checked that at most one of them is there) and removes the members.
// ok is false when one could not be read; the faults are recorded, and the others
// are returned so that what is wrong with them can be said too.
func (l *loader) sources(at string, o object, base string) (out []source, present, ok bool) {
	ok = true
	file := func(key, name string) {
		if b, readable := l.read(key, name); readable {
			out = append(out, source{key, "file " + name, b})
		} else {
			ok = false
		}
	}
	members := map[string]func(raw json.RawMessage, key string) error{
		"Path": func(raw json.RawMessage, key string) error {
			var name string
			if err := json.Unmarshal(raw, &name); err != nil {
				return err
			}
			file(key, name)
			return nil
		},
		"Paths": func(raw json.RawMessage, key string) error {
			var names []string
			if err := json.Unmarshal(raw, &names); err != nil {
				return err
			}
			for i, name := range names {
				file(fmt.Sprintf("%s[%d]", key, i), name)
			}
			return nil
		},
		"Data": func(raw json.RawMessage, key string) error {
			var b []byte
			if err := json.Unmarshal(raw, &b); err != nil {
				return err
			}
			out = append(out, source{key, base + "Data", b})
			return nil
		},
		"Datas": func(raw json.RawMessage, key string) error {
			var bs [][]byte
			if err := json.Unmarshal(raw, &bs); err != nil {
				return err
			}
			for i, b := range bs {
				out = append(out, source{fmt.Sprintf("%s[%d]", key, i), base + "Datas", b})
			}
			return nil
		},
	}
	for suffix, take := range members {
		raw, there := o[base+suffix]
		if !there {
			continue
		}
		present = true
		key := at + "." + base + suffix
		if err := take(raw, key); err != nil {
			l.fault(key, err.Error(), "")
			ok = false
		}
		if ok && len(out) == 0 {
			l.fault(key, "names no key", "name at least one")
			ok = false
		}
		delete(o, base+suffix)
	}
	return out, present, ok
}

// requirement reads one requirement object and returns its form with all keys
// inlined.
func (l *loader) requirement(at string, raw json.RawMessage) (*requirement, json.RawMessage, error) {
	o := object{}
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, nil, err
	}
	r := &requirement{kind: o.text("type")}
	identity := "signedIdentity"
	if r.kind == typeBaseLayer {
		identity = "baseLayerIdentity"
	}
	var err error
	if r.match, err = parseMatcher(o[identity]); err != nil {
		return nil, nil, err
	}
	switch r.kind {
	case typeAccept:
	case typeReject:
		r.denies = "the policy rejects every image here"
	case typeBaseLayer:
		r.ext, r.denies = newBaseLayer(r.match)
	case typeSignedBy:
		err = l.signedBy(at, o, r)
	case typeSigstore:
		err = l.sigstoreSigned(at, o, r)
	default:
		err = fmt.Errorf("unknown requirement type %q", clean(r.kind))
	}
	if err != nil {
		return nil, nil, err
	}
	l.lintRequirement(at, r)
	inlined, err := json.Marshal(o)
	return r, inlined, err
}

// signedBy inlines the keys of a signedBy requirement: one keyring in keyData.
func (l *loader) signedBy(at string, o object, r *requirement) error {
	srcs, _, ok := l.sources(at, o, "key")
	if t := o.text("keyType"); t != "GPGKeys" {
		r.denies = fmt.Sprintf("keyType %s is not implemented by any verifier: it denies every image", clean(t))
		return o.set("keyData", joinData(srcs))
	}
	var rings []*keyring
	for _, s := range srcs {
		ring, err := parseKeyring(s.data)
		if err != nil {
			l.fault(s.key, fmt.Sprintf("%s %v", s.name, err), "export it with: gpg --export KEY")
			continue
		}
		for _, p := range ring.problems(l.now) {
			l.warn(s.key, fmt.Sprintf("%s: %s", s.name, p), l.keyFix(p))
		}
		rings = append(rings, ring)
	}
	if !ok || len(rings) != len(srcs) {
		return nil // the faults are recorded
	}
	ring, err := joinKeyrings(rings)
	if err != nil {
		return err
	}
	r.gpg = ring
	return o.set("keyData", ring.raw)
}

// keyFix says what to do about a problem of a key.
func (l *loader) keyFix(problem string) string {
	if strings.Contains(problem, " under ") {
		if l.weak {
			return "weak keys are allowed by configuration; replace the key"
		}
		return "its signatures are refused; sign with a stronger key"
	}
	return "replace the key"
}

// joinData joins key material that is never parsed.
func joinData(srcs []source) []byte {
	out := []byte{}
	for _, s := range srcs {
		out = append(out, s.data...)
	}
	return out
}
