package discover

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// listOf is a JSON list of at least size bytes.
func listOf(value string, size int) string {
	return "[" + strings.Repeat(value+",", size/(len(value)+1)) + value + "]"
}

func TestValuesAreCounted(t *testing.T) {
	const room = 4 << 20
	tests := map[string]struct {
		json string
		ok   bool
	}{
		"few":                       {`{"a":[1,2]}`, true},
		"as many as bytes allow":    {listOf("1", MaxValues-4), true},
		"a long text":               {`{"a":"` + strings.Repeat(`,[{\"\\`, room/8) + `"}`, true},
		"many":                      {listOf("1", 2*MaxValues+4), false},
		"many empty objects":        {`{"manifests":` + listOf("{}", room) + `}`, false},
		"many empty lists":          {listOf("[]", room), false},
		"many after a text":         {`["\\",` + listOf("[]", room) + `]`, false},
		"many after a quoted quote": {`["\"",` + listOf("[]", room) + `]`, false},
		"many members":              {`{"x":1` + strings.Repeat(`,"a":1`, MaxValues+1) + `}`, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if err := CheckValues([]byte(test.json)); (err == nil) != test.ok {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestManifestOfManyLayers reads a manifest that anybody may tag or list beside an
// image. In a list it is no evidence, at the .sig tag nobody can tell.
func TestManifestOfManyLayers(t *testing.T) {
	_, err := imageManifest([]byte(`{"schemaVersion":2,"config":{},"layers":` + listOf("{}", 3<<20) + `}`))
	if !errors.Is(err, errNoManifest) || !strings.Contains(err.Error(), "values") {
		t.Errorf("%v", err)
	}
}

// FuzzCheckValues holds the count against the decoder's: what passes has no more
// values than allowed.
func FuzzCheckValues(f *testing.F) {
	f.Add([]byte(`{"a":[1,{"b":"\",["}],"c":[[],{}]}`), uint8(3))
	f.Add([]byte(`"\\"`), uint8(200))
	f.Fuzz(func(t *testing.T, b []byte, times uint8) {
		if !json.Valid(b) {
			return
		}
		b = []byte(listOf(string(b), int(times)<<13))
		if len(b) > 4<<20 || CheckValues(b) != nil {
			return
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		n := 0
		for {
			tok, err := dec.Token()
			if err != nil {
				break
			}
			if tok != json.Delim(']') && tok != json.Delim('}') {
				n++ // names of members too
			}
		}
		if n > 2*MaxValues {
			t.Errorf("%d values and names passed", n)
		}
	})
}
