package clients

import (
	"encoding/json"
	"reflect"
	"testing"
)

// Whatever is in a daemon.json, merging keeps every key that is not ours, sets
// ours, and has nothing left to do the second time.
func FuzzMergeJSON(f *testing.F) {
	ours := []byte(`{"proxies":{"https-proxy":"http://gate.example:3128","no-proxy":"localhost"}}`)
	for _, s := range []string{"", "{}", `{"a":1,"b":[{}],"proxies":{"x":1}}`, `{"proxies":null}`, `{"proxies":{"no-proxy":""}}`, `{"a":1,"A":2}`, `{"a":"\ud800"}`, `{"\u0000":1e999}`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, there []byte) {
		merged, changed, err := mergeJSON("daemon.json", there, ours)
		if err != nil {
			return
		}
		if !changed {
			merged = there
		}
		var before, after map[string]json.RawMessage
		if len(there) > 0 && json.Unmarshal(there, &before) != nil && changed {
			before = nil // only white space
		}
		if err := json.Unmarshal(merged, &after); err != nil {
			t.Fatalf("%q: %v", merged, err)
		}
		for k, v := range before {
			var x, y any
			if k != "proxies" && json.Unmarshal(v, &x) == nil && (json.Unmarshal(after[k], &y) != nil || !reflect.DeepEqual(x, y)) {
				t.Fatalf("%s: %s became %s", k, v, after[k])
			}
		}
		var p map[string]any
		if err := json.Unmarshal(after["proxies"], &p); err != nil || p["https-proxy"] != "http://gate.example:3128" || p["no-proxy"] != "localhost" {
			t.Fatalf("%q: %v", merged, err)
		}
		if _, changed, err := mergeJSON("daemon.json", merged, ours); changed || err != nil {
			t.Fatalf("%q: changed again: %v", merged, err)
		}
	})
}
