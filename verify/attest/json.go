package attest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of a statement.
const (
	maxStatement = 16 << 20  // bytes
	maxDepth     = 64        // objects and lists in each other
	maxValues    = 1_000_000 // objects, lists, members and items
)

// decode reads one JSON document into what CEL takes: map[string]any, []any,
// string, bool, nil, int64 and float64. RFC 8259 leaves it to readers what a
// repeated name means and encoding/json takes the last one, so it is an error here.
func decode(b []byte) (any, error) {
	switch {
	case len(b) > maxStatement:
		return nil, fmt.Errorf("is larger than %d bytes", maxStatement)
	case !utf8.Valid(b):
		return nil, errors.New("is not UTF-8")
	case !json.Valid(b):
		return nil, errors.New("is not one JSON document")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	r := reader{dec: dec}
	return r.value(0)
}

// reader walks a document that is known to be valid JSON.
type reader struct {
	dec    *json.Decoder
	values int
}

func (r *reader) value(depth int) (any, error) {
	if r.values++; r.values > maxValues {
		return nil, fmt.Errorf("holds more than %d values", maxValues)
	}
	token, err := r.dec.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case json.Number:
		return number(t)
	case json.Delim:
		if depth == maxDepth {
			return nil, fmt.Errorf("is nested more than %d deep", maxDepth)
		}
		if t == '{' {
			return r.object(depth + 1)
		}
		return r.list(depth + 1)
	}
	return token, nil // string, bool or nil
}

func (r *reader) object(depth int) (map[string]any, error) {
	object := map[string]any{}
	for r.dec.More() {
		token, err := r.dec.Token()
		if err != nil {
			return nil, err
		}
		name, ok := token.(string)
		if !ok {
			return nil, errors.New("has a member without a name")
		}
		if _, twice := object[name]; twice {
			return nil, fmt.Errorf("has the member %q more than once in one object", plain(name))
		}
		if object[name], err = r.value(depth); err != nil {
			return nil, err
		}
	}
	_, err := r.dec.Token() // the closing brace
	return object, err
}

func (r *reader) list(depth int) ([]any, error) {
	list := []any{}
	for r.dec.More() {
		v, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := r.dec.Token() // the closing bracket
	return list, err
}

// number keeps integers exact where 64 bits can hold them, as Kubernetes does
// (k8s.io/apimachinery, util/json): 3 is an int, 3.0 and 1e3 are doubles, and so is
// an integer beyond 64 bits. A double out of range is an error.
func number(n json.Number) (any, error) {
	if !strings.ContainsAny(n.String(), ".eE") {
		if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
			return i, nil
		}
	}
	f, err := strconv.ParseFloat(n.String(), 64)
	if err != nil {
		return nil, fmt.Errorf("holds the number %s, which is out of range", plain(n.String()))
	}
	return f, nil
}
