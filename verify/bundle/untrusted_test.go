package bundle

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/verify/discover"
)

// TestUntrustedStatement: what an envelope holds, whoever signed it; signatures hold
// nothing.
func TestUntrustedStatement(t *testing.T) {
	payload := base64.StdEncoding.EncodeToString([]byte("{}"))
	envelope := func(kind string) string {
		return fmt.Sprintf(`{"payloadType":%q,"payload":%q,"signatures":[]}`, kind, payload)
	}
	const bundleOf = `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",%s}`
	for name, c := range map[string]struct {
		kind discover.Kind
		doc  string
		want string
	}{
		"envelope":           {discover.KindDSSE, envelope(intotoType), "{}"},
		"bundle":             {discover.KindBundle, fmt.Sprintf(bundleOf, `"dsseEnvelope":`+envelope(intotoType)), "{}"},
		"signature":          {discover.KindBundle, fmt.Sprintf(bundleOf, `"messageSignature":{}`), ""},
		"another payload":    {discover.KindDSSE, envelope("text/plain"), "expected payload type"},
		"no JSON":            {discover.KindDSSE, "x", "malformed JSON"},
		"no bundle":          {discover.KindBundle, `{"a":1}`, "expected a sigstore bundle"},
		"payload twice":      {discover.KindDSSE, `{"payload":"","payload":""}`, "is there twice"},
		"large":              {discover.KindDSSE, strings.Repeat(" ", maxDocument+1), "expected at most"},
		"large bundle":       {discover.KindBundle, strings.Repeat(" ", maxDocument+1), "expected at most"},
		"notation signature": {discover.KindNotation, "x", "expected a bundle or a DSSE envelope"},
	} {
		s, err := UntrustedStatement(discover.Document{Kind: c.kind, Bytes: []byte(c.doc)})
		if err == nil && string(s) != c.want || err != nil && (c.want == "" || !strings.Contains(err.Error(), c.want) || s != nil) {
			t.Errorf("%s: expected %q, found %q, %v", name, c.want, s, err)
		}
	}
}
