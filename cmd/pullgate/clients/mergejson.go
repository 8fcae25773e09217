package clients

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// member is one key of a JSON object with its value as it was written.
type member struct {
	key   string
	value json.RawMessage
}

// object is a JSON object in the order of its keys.
type object []member

func (o object) get(key string) (json.RawMessage, bool) {
	i := slices.IndexFunc(o, func(m member) bool { return m.key == key })
	if i < 0 {
		return nil, false
	}
	return o[i].value, true
}

func (o object) set(key string, value json.RawMessage) object {
	if i := slices.IndexFunc(o, func(m member) bool { return m.key == key }); i >= 0 {
		o[i].value = value
		return o
	}
	return append(o, member{key, value})
}

// parseObject reads a JSON object. A key that is there twice, or in another case,
// is an error: readers do not agree on which one counts.
func parseObject(b []byte) (object, error) {
	if len(bytes.TrimSpace(b)) == 0 {
		return nil, nil // dockerd reads an empty file as no settings
	}
	if !utf8.Valid(b) {
		return nil, errors.New("is not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil {
		return nil, notJSON(b)
	} else if t != json.Delim('{') {
		return nil, errors.New("expected a JSON object")
	}
	var o object
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, notJSON(b)
		}
		key, _ := t.(string)
		if i := slices.IndexFunc(o, func(m member) bool { return strings.EqualFold(m.key, key) }); i >= 0 {
			return nil, fmt.Errorf("has the key %q twice, the second time at %s", short(key), position(b, d.InputOffset()))
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, notJSON(b)
		}
		o = append(o, member{key, value})
	}
	if _, err := d.Token(); err != nil {
		return nil, notJSON(b)
	}
	end := d.InputOffset()
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("has something after the JSON object, which ends at %s", position(b, end))
	}
	return o, nil
}

// notJSON says where JSON stops to be valid. What stands there is not repeated.
func notJSON(b []byte) error {
	var raw json.RawMessage
	var at *json.SyntaxError
	if err := json.Unmarshal(b, &raw); !errors.As(err, &at) {
		return errors.New("is not valid JSON")
	}
	return fmt.Errorf("is not valid JSON: %s", position(b, at.Offset))
}

// position names the last of the first n bytes, counted from line 1 and column 1.
func position(b []byte, n int64) string {
	at := min(max(int(n)-1, 0), len(b))
	return fmt.Sprintf("line %d, column %d", bytes.Count(b[:at], []byte("\n"))+1, at-bytes.LastIndexByte(b[:at], '\n'))
}

// otherCase is the error of a key that is there in another case. Go programs read
// both, and which one counts depends on their order.
func (o object) otherCase(key string) error {
	for _, m := range o {
		if m.key != key && strings.EqualFold(m.key, key) {
			return fmt.Errorf("has the key %q; expected %q: write it so", short(m.key), key)
		}
	}
	return nil
}

func (o object) encode() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(m.key)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(m.value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// mergeJSON adds the keys of ours to the object that is there: order and unknown
// keys stay, objects are merged one level deep. A key that has another value is an
// error, as is anything that is no JSON object. Values that are there are never
// repeated in errors: proxies have passwords.
func mergeJSON(path string, there, ours []byte) (merged []byte, changed bool, err error) {
	fault := func(err error) ([]byte, bool, error) { return nil, false, fmt.Errorf("%s: %w", path, err) }
	have, err := parseObject(there)
	if err != nil {
		return fault(err)
	}
	want, err := parseObject(ours)
	if err != nil {
		return fault(err)
	}
	for _, m := range want {
		value, differs, err := mergeMember(have, m)
		if err != nil {
			return fault(err)
		}
		if differs {
			have, changed = have.set(m.key, value), true
		}
	}
	if !changed {
		return nil, false, nil
	}
	raw, err := have.encode()
	if err != nil {
		return fault(err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, raw, "", "  "); err != nil {
		return fault(err)
	}
	b.WriteByte('\n')
	return b.Bytes(), true, nil
}

// mergeMember returns the value of one key with ours in it.
func mergeMember(have object, ours member) (json.RawMessage, bool, error) {
	if err := have.otherCase(ours.key); err != nil {
		return nil, false, err
	}
	old, ok := have.get(ours.key)
	if !ok || string(bytes.TrimSpace(old)) == "null" {
		return ours.value, true, nil
	}
	there, err := parseObject(old)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", ours.key, err)
	}
	want, err := parseObject(ours.value)
	if err != nil {
		return nil, false, err
	}
	changed := false
	for _, w := range want {
		if err := there.otherCase(w.key); err != nil {
			return nil, false, fmt.Errorf("%s: %w", ours.key, err)
		}
		is, ok := there.get(w.key)
		switch {
		case ok && jsonEqual(is, w.value):
		case !ok || string(bytes.TrimSpace(is)) == `""` || onlyPassword(is, w.value):
			there, changed = there.set(w.key, w.value), true
		default:
			return nil, false, fmt.Errorf("%s.%s is set to something else; expected %s: set it to that, or remove it", ours.key, w.key, masked(string(w.value)))
		}
	}
	value, err := there.encode()
	return value, changed, err
}

func jsonEqual(a, b json.RawMessage) bool {
	var x, y string
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && x == y
}
