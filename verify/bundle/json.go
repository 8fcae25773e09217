package bundle

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDepth bounds how deep JSON may be nested.
const maxDepth = 128

// checkJSON refuses JSON that two readers could read differently: text that is not
// UTF-8, a member that is there twice, anything after the value; and what is nested
// too deep to be meant.
func checkJSON(b []byte) error {
	if !utf8.Valid(b) {
		return errors.New("expected JSON in UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := checkValue(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("expected one JSON value, found more after it")
	}
	return nil
}

// checkValue reads one value off d.
func checkValue(d *json.Decoder, depth int) error {
	t, err := d.Token()
	if err != nil {
		return fmt.Errorf("malformed JSON: %w", err)
	}
	open, nested := t.(json.Delim)
	if !nested {
		return nil
	}
	if depth == maxDepth {
		return fmt.Errorf("expected JSON nested at most %d deep", maxDepth)
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			name, err := d.Token()
			if err != nil {
				return fmt.Errorf("malformed JSON: %w", err)
			}
			s, _ := name.(string)
			if seen[s] {
				return fmt.Errorf("JSON member %.100q is there twice", s)
			}
			seen[s] = true
		}
		if err := checkValue(d, depth+1); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return fmt.Errorf("malformed JSON: %w", err)
	}
	return nil
}

// members reads an object whose members in names are taken by their exact name.
// encoding/json and the library match names without regard to case, so a name that
// differs from one of these only in case is refused: it would hide another value.
func members(b []byte, names ...string) (map[string]json.RawMessage, error) {
	var out map[string]json.RawMessage
	if err := json.Unmarshal(b, &out); err != nil || out == nil {
		return nil, errors.New("expected a JSON object")
	}
	known := map[string]string{}
	for _, n := range names {
		known[fold(n)] = n
	}
	for got := range out {
		if want, ok := known[fold(got)]; ok && got != want {
			return nil, fmt.Errorf("expected the JSON member %s, found %.100q", want, got)
		}
	}
	return out, nil
}

// exactly reads an object that has these members and no others.
func exactly(b []byte, names ...string) (map[string]json.RawMessage, error) {
	out, err := members(b, names...)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if _, there := out[n]; !there {
			return nil, fmt.Errorf("expected the member %s, found none", n)
		}
	}
	for _, got := range sortedKeys(out) {
		if !slices.Contains(names, got) {
			return nil, fmt.Errorf("member %.100q is unknown", got)
		}
	}
	return out, nil
}

// fold maps all spellings that encoding/json takes for the same name to one.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, s)
}

// text reads a JSON string.
func text(b json.RawMessage) (string, error) {
	var s *string
	if err := json.Unmarshal(b, &s); err != nil || s == nil {
		return "", errors.New("expected a JSON string")
	}
	return *s, nil
}
