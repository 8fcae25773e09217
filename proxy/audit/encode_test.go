package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// full is a record with every field.
func full() Record {
	return Record{
		Time:      time.Date(2026, 3, 1, 12, 30, 15, 123456789, time.FixedZone("", 3600)),
		RequestID: "0f8fad5bd9cb469f",
		Kind:      KindManifest,
		Client:    "192.0.2.7",
		Identity:  "user:alice", Login: "basic:corp", Mode: "intercept",
		UserAgent:  "containers/5.36.2 (github.com/containers/image)",
		Method:     "GET",
		Registry:   "docker.io",
		Repository: "library/nginx",
		Reference:  "1.27",
		Digest:     "sha256:" + strings.Repeat("ab", 32),
		Scope:      "docker.io/library",
		Decision:   Allowed,
		Reasons:    []string{"signed by a key of the scope"},
		Signers:    []string{"GPG key 0123456789ABCDEF"},
		Evidence:   []string{"sha256:00"},
		Status:     200,
		DurationMS: 1.2345678,
		Cached:     true,
		Revision:   "5f6e7d8c",
	}
}

func TestARecordAsItIsWritten(t *testing.T) {
	r := full()
	want := `{"time":"2026-03-01T11:30:15.123456789Z","request_id":"0f8fad5bd9cb469f","kind":"manifest","client":"192.0.2.7","identity":"user:alice","login":"basic:corp","mode":"intercept",` +
		`"user_agent":"containers/5.36.2 (github.com/containers/image)","method":"GET","registry":"docker.io",` +
		`"repository":"library/nginx","reference":"1.27","digest":"sha256:` + strings.Repeat("ab", 32) + `","scope":"docker.io/library",` +
		`"decision":"allowed","reasons":["signed by a key of the scope"],"signers":["GPG key 0123456789ABCDEF"],"evidence":["sha256:00"],` +
		`"status":200,"duration_ms":1.235,"cached":true,"revision":"5f6e7d8c"}` + "\n"
	if got := string(appendRecord(nil, &r)); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestAnEmptyRecordHasTheFieldsThatAlwaysStand(t *testing.T) {
	want := `{"time":"0001-01-01T00:00:00Z","request_id":"","decision":"denied","status":0,"duration_ms":0,"cached":false}` + "\n"
	if got := string(appendRecord(nil, &Record{})); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

// Every field must be written by hand: one that is added to Record and forgotten
// in appendRecord fails here.
func TestEveryFieldIsWritten(t *testing.T) {
	r := full()
	v := reflect.ValueOf(r)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			t.Errorf("the sample has no %s", v.Type().Field(i).Name)
		}
	}
	r.DurationMS = 1.235
	r.Time = r.Time.UTC()
	want, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := appendRecord(nil, &r); string(got) != string(want)+"\n" {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestHostileTextsStayInTheirPlace(t *testing.T) {
	for name, test := range map[string]struct{ in, want string }{
		"a line of its own":  {"x\n{\"decision\":\"allowed\"}\r\n", `x\u000a{\"decision\":\"allowed\"}\u000d\u000a`},
		"end of the string":  {`","decision":"allowed`, `\",\"decision\":\"allowed`},
		"backslashes":        {`\",\\`, `\\\",\\\\`},
		"terminal sequences": {"\x1b[2J\x00\x7f", `\u001b[2J\u0000\u007f`},
		"8-bit controls":     {"\u009b2J\u0085", `\u009b2J\u0085`},
		"no UTF-8":           {"a\xffb\xc3", `a\ufffdb\ufffd`},
		"half a surrogate":   {"\xed\xa0\x80", `\ufffd\ufffd\ufffd`},
		"line separators":    {"\u2028\u2029", `\u2028\u2029`},
		"reversed order":     {"\u202egnp.exe", `\u202egnp.exe`},
		"invisible":          {"\u200b\ufeff\U000e0041", `\u200b\ufeff\udb40\udc41`},
		"plain":              {"żółć 漢字 🎉 <&>", "żółć 漢字 🎉 <&>"},
	} {
		if got := string(appendText(nil, test.in)); got != `"`+test.want+`"` {
			t.Errorf("%s: got %s, expected %s", name, got, test.want)
		}
	}
}

func TestTextsAndListsAreBounded(t *testing.T) {
	exact := strings.Repeat("x", maxText)
	for in, want := range map[string]string{
		exact:                             exact,
		exact + "y":                       exact + cutMark,
		exact[1:] + "ż":                   exact[1:] + cutMark, // never half a character
		exact[3:] + "🎉":                   exact[3:] + cutMark,
		exact[4:] + "🎉":                   exact[4:] + "🎉",
		strings.Repeat("\x80", 1_000_000): strings.Repeat(`\ufffd`, maxText-utf8.UTFMax) + cutMark,
	} {
		if got := string(appendText(nil, in)); got != `"`+want+`"` {
			t.Errorf("%.20q…: got %d bytes, expected %d", in, len(got), len(want)+2)
		}
	}

	list := make([]string, maxItems)
	if got := appendList(nil, "", list); bytes.Count(got, []byte(",")) != maxItems-1 || bytes.Contains(got, []byte("more")) {
		t.Errorf("a list of %d: %s", maxItems, got)
	}
	if got := string(appendList(nil, "[", append(list, "", ""))); !strings.HasSuffix(got, `,"","…[3 more]"]`) || strings.Count(got, ",") != maxItems-1 {
		t.Errorf("a list of %d: %s", maxItems+2, got)
	}
}

func TestDurationsThatAreNone(t *testing.T) {
	for in, want := range map[float64]string{
		math.NaN(): "0", math.Inf(1): "0", math.Inf(-1): "0", -1: "0", 1e300: "0",
		0.0004: "0", 0.0005: "0.001", 12: "12", 1.5: "1.5", 86_400_000.0004: "86400000",
	} {
		line := string(appendRecord(nil, &Record{DurationMS: in}))
		if !strings.Contains(line, `"duration_ms":`+want+`,`) {
			t.Errorf("%g: expected %s in %s", in, want, line)
		}
	}
}

// bounded is what appendRecord writes of a text, without its escaping.
func bounded(s string) string {
	if len(s) > maxText {
		end := maxText
		for end > maxText-utf8.UTFMax && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end] + cutMark
	}
	return s
}

// The line must be what encoding/json would make of the bounded record, on one
// line, whatever clients send.
func FuzzRecord(f *testing.F) {
	f.Add("curl/8", "v1", "reason", int64(200), 1.5, true)
	f.Add("a\n\"\\\x00\x1f\x7f\u0085\u2028\u202e\U000e0001", "\xff\xed\xa0\x80", strings.Repeat("ż", 400), int64(-1), math.NaN(), false)
	f.Add(strings.Repeat("\xf0\x9f\x8e", 200), "<script>&amp;", "", int64(math.MaxInt64), 1e21, true)
	f.Fuzz(func(t *testing.T, agent, ref, reason string, status int64, ms float64, cached bool) {
		r := Record{UserAgent: agent, Reference: ref, Reasons: []string{reason, ref}, Status: int(status), DurationMS: ms, Cached: cached, Decision: Denied}
		line := appendRecord(nil, &r)
		if bytes.IndexByte(line, '\n') != len(line)-1 || !utf8.Valid(line) {
			t.Fatalf("not one line of UTF-8: %q", line)
		}
		for _, c := range string(line[:len(line)-1]) {
			if !unicode.IsPrint(c) {
				t.Fatalf("%U is written as it is: %q", c, line)
			}
		}
		r.UserAgent, r.Reference, r.DurationMS = bounded(agent), bounded(ref), milliseconds(ms)
		r.Reasons = []string{bounded(reason), bounded(ref)}
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var got, want Record
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %+v\nwant %+v", got, want)
		}
	})
}

func BenchmarkAppendRecord(b *testing.B) {
	r := full()
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = appendRecord(buf[:0], &r)
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, where := range []string{"/dev/null", "file"} {
		b.Run(fmt.Sprint(where), func(b *testing.B) {
			path := where
			if path == "file" {
				path = b.TempDir() + "/audit.jsonl"
			}
			f, err := Open(path, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			r := full()
			b.ReportAllocs()
			for b.Loop() {
				if err := f.Write(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
