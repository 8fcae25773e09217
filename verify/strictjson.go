package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxNesting bounds how deep the objects of an extension requirement may nest.
const maxNesting = 16

// strictObject reads one JSON object of policy.json that the library does not read:
// a member that is there twice, at any depth, or that is not known is an error.
func strictObject(raw json.RawMessage, known ...string) (object, error) {
	if err := noDuplicates(raw); err != nil {
		return nil, err
	}
	o := object{}
	if err := json.Unmarshal(raw, &o); err != nil || o == nil {
		return nil, errors.New("expected an object")
	}
	for k := range o {
		if !slices.Contains(known, k) {
			return nil, fmt.Errorf("unknown key %q; known keys here: %s", clean(k), strings.Join(known, ", "))
		}
	}
	return o, nil
}

// noDuplicates refuses objects in which a member stands twice: of two readers each
// could see another one.
func noDuplicates(raw []byte) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := walkValue(dec, 0); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("expected one JSON value, found more")
	}
	return nil
}

func walkValue(dec *json.Decoder, depth int) error {
	if depth > maxNesting {
		return fmt.Errorf("expected at most %d levels of nesting, found more", maxNesting)
	}
	t, err := dec.Token()
	if err != nil {
		return err
	}
	switch t {
	case json.Delim('{'):
		seen := map[string]bool{}
		for dec.More() {
			k, err := dec.Token()
			if err != nil {
				return err
			}
			name, _ := k.(string)
			if seen[name] {
				return fmt.Errorf("key %q stands here twice", clean(name))
			}
			seen[name] = true
			if err := walkValue(dec, depth+1); err != nil {
				return err
			}
		}
	case json.Delim('['):
		for dec.More() {
			if err := walkValue(dec, depth+1); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = dec.Token() // the closing delimiter
	return err
}

// strictText reads a member that must be a string when it is there.
func (o object) strictText(key string) (string, error) {
	raw, there := o[key]
	if !there {
		return "", nil
	}
	var s *string
	if json.Unmarshal(raw, &s) != nil || s == nil {
		return "", fmt.Errorf("%s: expected a string", key)
	}
	return *s, nil
}

// strictTexts reads a member that must be a list of strings when it is there.
func (o object) strictTexts(key string) ([]string, error) {
	raw, there := o[key]
	if !there {
		return nil, nil
	}
	var list []*string
	if json.Unmarshal(raw, &list) != nil || list == nil {
		return nil, fmt.Errorf("%s: expected a list of strings", key)
	}
	out := make([]string, len(list))
	for i, s := range list {
		if s == nil {
			return nil, fmt.Errorf("%s[%d]: expected a string", key, i)
		}
		out[i] = *s
	}
	return out, nil
}

// strictCount reads a member that must be a whole number from 0 to 16 when it is
// there; there tells whether it is.
func (o object) strictCount(key string) (n int, there bool, err error) {
	raw, there := o[key]
	if !there {
		return 0, false, nil
	}
	var v *int
	if json.Unmarshal(raw, &v) != nil || v == nil || *v < 0 || *v > 16 {
		return 0, true, fmt.Errorf("%s: expected a whole number from 0 to 16", key)
	}
	return *v, true, nil
}
