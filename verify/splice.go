package verify

import (
	"bytes"
	"encoding/json"
)

// inPlace stands where an extension requirement is, for readers that know none:
// should anything be mixed up, it denies.
const inPlace = `{"type":"reject"}`

// splice replaces each extension requirement of a policy.json by one that the
// library knows, and leaves every other byte as it is, so that the library's strict
// parser sees them all. What is not shaped like a policy is returned unchanged: the
// library says what is wrong with it.
func splice(data []byte) []byte {
	s := &splicer{data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	if !s.value(nil) {
		return data
	}
	s.out.Write(data[s.done:])
	return s.out.Bytes()
}

type splicer struct {
	data []byte
	dec  *json.Decoder
	out  bytes.Buffer
	done int // bytes of data that are in out
}

// value walks one value at a path of keys. It returns false when it is not shaped
// like a policy.
func (s *splicer) value(path []string) bool {
	t, err := s.dec.Token()
	if err != nil {
		return false
	}
	switch t {
	case json.Delim('{'):
		if len(path) > 2 {
			return false
		}
		for s.dec.More() {
			k, err := s.dec.Token()
			if err != nil || !s.value(append(path[:len(path):len(path)], k.(string))) {
				return false
			}
		}
	case json.Delim('['):
		if !(len(path) == 1 && path[0] == "default" || len(path) == 3 && path[0] == "transports") {
			return false
		}
		for s.dec.More() {
			if !s.requirement() {
				return false
			}
		}
	default:
		return true
	}
	_, err = s.dec.Token()
	return err == nil
}

func (s *splicer) requirement() bool {
	var raw json.RawMessage
	if s.dec.Decode(&raw) != nil {
		return false
	}
	if !isExtension(raw) {
		return true
	}
	end := int(s.dec.InputOffset())
	s.out.Write(s.data[s.done : end-len(raw)])
	s.out.WriteString(inPlace)
	s.done = end
	return true
}

// isExtension tells whether a requirement is of a type that the library does not
// know and this package does.
func isExtension(raw json.RawMessage) bool {
	return extensionTypes[typeOf(raw)]
}
