package conformance_test

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// document is a JSON document that is changed member by member. A place is named by
// members and list positions with dots between them.
type document struct {
	t   *testing.T
	top any
}

// Places in a bundle.
const (
	entry      = "verificationMaterial.tlogEntries.0"
	proof      = entry + ".inclusionProof"
	checkpoint = proof + ".checkpoint.envelope"
	stamps     = "verificationMaterial.timestampVerificationData.rfc3161Timestamps"
	leaf       = "verificationMaterial.certificate"
	chain      = "verificationMaterial.x509CertificateChain.certificates"
	signature  = "messageSignature.signature"
)

// read reads a file below the cases.
func read(t *testing.T, elem ...string) *document {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{cases}, elem...)...))
	must(t, err)
	d := &document{t: t}
	must(t, json.Unmarshal(b, &d.top))
	return d
}

func bundleOf(t *testing.T, name string) *document {
	t.Helper()
	return read(t, name, "bundle.sigstore.json")
}

// write puts the document into a file and returns its path.
func (d *document) write() string {
	d.t.Helper()
	b, err := json.Marshal(d.top)
	must(d.t, err)
	name := filepath.Join(d.t.TempDir(), "document.json")
	must(d.t, os.WriteFile(name, b, 0o600))
	return name
}

// get returns what is at a place, which must exist.
func (d *document) get(place string) any {
	d.t.Helper()
	v := d.top
	for name := range strings.SplitSeq(place, ".") {
		switch in := v.(type) {
		case map[string]any:
			if v = in[name]; v == nil {
				d.t.Fatalf("%s: no %s", place, name)
			}
		case []any:
			i, err := strconv.Atoi(name)
			must(d.t, err)
			v = in[i]
		default:
			d.t.Fatalf("%s: %s is in a %T", place, name, v)
		}
	}
	return v
}

func (d *document) text(place string) string {
	d.t.Helper()
	s, ok := d.get(place).(string)
	if !ok {
		d.t.Fatalf("%s: expected a string", place)
	}
	return s
}

// holder is the object or list that a place is in, and the place's last name.
func (d *document) holder(place string) (any, string) {
	d.t.Helper()
	i := strings.LastIndexByte(place, '.')
	if i < 0 {
		return d.top, place
	}
	return d.get(place[:i]), place[i+1:]
}

// set puts v at a place, whose holder must exist.
func (d *document) set(place string, v any) {
	d.t.Helper()
	in, name := d.holder(place)
	switch in := in.(type) {
	case map[string]any:
		in[name] = v
	case []any:
		i, err := strconv.Atoi(name)
		must(d.t, err)
		in[i] = v
	}
}

// drop takes a member away, which must exist.
func (d *document) drop(place string) {
	d.t.Helper()
	d.get(place)
	in, name := d.holder(place)
	delete(in.(map[string]any), name)
}

// flip changes one bit in the middle of base64 bytes: still base64, and of a
// signature still its form.
func (d *document) flip(place string) {
	d.t.Helper()
	b, err := base64.StdEncoding.DecodeString(d.text(place))
	must(d.t, err)
	b[len(b)/3] ^= 1
	d.set(place, base64.StdEncoding.EncodeToString(b))
}

// lines changes a checkpoint line by line.
func (d *document) lines(edit func([]string) []string) {
	d.t.Helper()
	d.set(checkpoint, strings.Join(edit(strings.Split(d.text(checkpoint), "\n")), "\n"))
}

// asChain turns the certificate into a chain, as bundles before v0.3 have it, with
// more certificates after it.
func (d *document) asChain(mediaType string, more ...any) {
	d.t.Helper()
	certificate := d.get(leaf)
	d.drop(leaf)
	d.set("verificationMaterial.x509CertificateChain", map[string]any{"certificates": append([]any{certificate}, more...)})
	d.set("mediaType", mediaType)
}
