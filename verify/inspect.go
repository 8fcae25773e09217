package verify

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/fulcio/certificate"

	"github.com/pullgate/pullgate/verify/attest"
	"github.com/pullgate/pullgate/verify/bundle"
	"github.com/pullgate/pullgate/verify/discover"
	"github.com/pullgate/pullgate/verify/notation"
)

// Kinds of [Evidence], as [Signature.Kind] names them.
const (
	KindSimple      = "simple signing"
	KindSigstore    = "sigstore"
	KindBundle      = "sigstore bundle"
	KindNotation    = "notation"
	KindAttestation = "attestation" // a DSSE envelope as cosign 2 attaches it
	KindStatement   = "unsigned statement"
)

// Evidence is one piece of evidence that an image carries, as it describes itself.
// Nothing in it is verified: anybody who may push can have written it.
type Evidence struct {
	Signature
	// About tells whether it says to be about the image. What says otherwise can
	// never meet a requirement.
	About bool `json:"about"`
	// Origin is the kind of place it was found in.
	Origin discover.Origin `json:"origin"`
	// PredicateType is what an attestation says that it is about; for a sigstore
	// signature [bundle.SignType].
	PredicateType string `json:"predicateType,omitempty"`
	// Issuer and Subject are the certificate's, exactly as they would have to stand in
	// an identity of policy.json; empty when it was signed with a key or they cannot
	// be read.
	Issuer  string `json:"issuer,omitempty"`
	Subject string `json:"subject,omitempty"`
	// Fields are those that Fulcio wrote into the certificate, by their names in an
	// identity of policy.json; what cannot be shown as it is, is left out.
	Fields map[string]string `json:"fields,omitempty"`
	// Authority is who issued the certificate, or the last one that came with a notation
	// signature, as it says.
	Authority string `json:"authority,omitempty"`
	// SigningAuthority tells that a notation signature is of the scheme whose signers
	// are looked for in the trust store signingAuthority.
	SigningAuthority bool `json:"signingAuthority,omitempty"`
	// Hint says which key signed, when the evidence does: sha256:… as policies name
	// keys, where it can be read as such.
	Hint string `json:"hint,omitempty"`
	// Logged, SCT and Timestamped tell what proof it brings along: an entry of a
	// transparency log, a certificate timestamp, an RFC 3161 timestamp.
	Logged      bool `json:"logged,omitempty"`
	SCT         bool `json:"sct,omitempty"`
	Timestamped bool `json:"timestamped,omitempty"`
}

// Inspection is everything that an image carries.
type Inspection struct {
	Evidence []Evidence
	Looked   []string // the places that were asked
}

// Inspect asks every place where evidence about s can be, whatever the policy
// requires, and describes what is there. It verifies nothing and decides nothing. An
// error means that a place could not be asked ([*Inconclusive]) or that the subject
// does not hold together; nothing but Looked is returned beside it.
func (e *Engine) Inspect(ctx context.Context, s Subject) (out Inspection, err error) {
	defer func() {
		if r := recover(); r != nil {
			out.Evidence, err = nil, fmt.Errorf("reading the evidence panicked: %s", clean(fmt.Sprint(r)))
		}
	}()
	p := e.policy.Load()
	if p == nil {
		return Inspection{}, errors.New("no policy is in force")
	}
	j, err := newJudged(s, e.now())
	if err != nil {
		return Inspection{}, err
	}
	found, err := e.find(ctx, p, j, []*requirement{{ext: everything{}}})
	out.Looked = found.Looked
	if err != nil {
		return out, err
	}
	for _, sig := range found.Signatures {
		x := e.inspectSignature(sig)
		x.About = j.isAbout(x.Digest)
		out.Evidence = append(out.Evidence, x)
	}
	for _, d := range found.Documents {
		x := inspectDocument(d)
		x.About = j.isAbout(x.Digest) || aboutByStatement(d, j.canonical)
		out.Evidence = append(out.Evidence, x)
	}
	return out, nil
}

// isAbout tells whether a digest that evidence claims is the image's.
func (j *judged) isAbout(claimed string) bool {
	d := digest.Digest(claimed)
	return d.Validate() == nil && j.sameImage(d)
}

// aboutByStatement tells whether a statement is about d among other images.
func aboutByStatement(doc discover.Document, d digest.Digest) bool {
	type envelope struct {
		Payload []byte `json:"payload"`
	}
	var b struct {
		envelope
		DSSE *envelope `json:"dsseEnvelope"`
	}
	if doc.Kind == discover.KindNotation || json.Unmarshal(doc.Bytes, &b) != nil {
		return false
	}
	if b.DSSE != nil {
		b.envelope = *b.DSSE
	}
	s, err := attest.ParseStatement(b.Payload)
	return err == nil && s.About(d)
}

// everything is an extension that wants all evidence. It is never judged: what it
// does not override panics.
type everything struct{ extension }

func (everything) wants(q *discover.Query, _ *judged) {
	q.Stored, q.Attachments, q.Attestations, q.Referrers = true, true, true, true
}

func (e *Engine) inspectSignature(s discover.Signature) Evidence {
	if s.Simple != nil {
		return Evidence{Signature: e.describeSimple(s), Origin: s.Origin}
	}
	out := Evidence{Signature: describeSigstore(s), Origin: s.Origin, PredicateType: bundle.SignType}
	out.annotated(s.Sigstore.Annotations)
	return out
}

// describeDocument is how a document describes itself.
func describeDocument(d discover.Document) (s Signature, predicateType string) {
	s.Source = d.Source
	switch d.Kind {
	case discover.KindBundle:
		s.Kind = KindBundle
		s.Signer, s.Digest, predicateType = bundle.Describe(d.Bytes)
	case discover.KindDSSE:
		s.Kind = KindAttestation
		s.Signer, s.Digest, predicateType = bundle.DescribeDSSE(d.Bytes, d.Annotations)
	case discover.KindNotation:
		s.Kind = KindNotation
		n := notation.Describe(d.Bytes, d.MediaType)
		s.Signer, s.Digest = n.Signer, n.Digest
		if n.Plugin != "" {
			s.Problem = "it asks for the plugin " + n.Plugin + " to verify it, and none is ever run"
		}
	case discover.KindStatement:
		s.Kind = KindStatement
		if st, err := parseUntrusted(d.Bytes); err == nil && len(st.Subjects) > 0 {
			s.Digest, predicateType = st.Subjects[0].String(), clean(st.PredicateType)
		}
	default:
		s.Kind = clean(string(d.Kind))
	}
	if s.Digest == "" {
		s.Problem = "malformed: what it is about cannot be read"
	}
	return s, predicateType
}

// describeDocuments lists how documents describe themselves.
func describeDocuments(docs []discover.Document) []Signature {
	out := make([]Signature, len(docs))
	for i, d := range docs {
		out[i], _ = describeDocument(d)
	}
	return out
}

func inspectDocument(d discover.Document) Evidence {
	out := Evidence{Origin: d.Origin}
	out.Signature, out.PredicateType = describeDocument(d)
	switch d.Kind {
	case discover.KindBundle:
		out.bundled(d.Bytes)
	case discover.KindDSSE:
		out.annotated(d.Annotations)
	case discover.KindNotation:
		n := notation.Describe(d.Bytes, d.MediaType)
		out.Authority, out.SigningAuthority, out.Timestamped = n.Authority, n.SigningAuthority, n.Timestamped
	}
	return out
}

// bundleMaterial is what a bundle brings along beside the signature (sigstore
// protobuf-specs, bundle.proto, in JSON).
type bundleMaterial struct {
	VerificationMaterial struct {
		Certificate *rawCertificate `json:"certificate"`
		Chain       *struct {
			Certificates []rawCertificate `json:"certificates"`
		} `json:"x509CertificateChain"`
		PublicKey *struct {
			Hint string `json:"hint"`
		} `json:"publicKey"`
		Entries    []json.RawMessage `json:"tlogEntries"`
		Timestamps *struct {
			RFC3161 []json.RawMessage `json:"rfc3161Timestamps"`
		} `json:"timestampVerificationData"`
	} `json:"verificationMaterial"`
}

type rawCertificate struct {
	Bytes []byte `json:"rawBytes"`
}

// bundled reads who signed a bundle, and with what proof.
func (x *Evidence) bundled(doc []byte) {
	var b bundleMaterial
	if err := json.Unmarshal(doc, &b); err != nil {
		x.Problem = "malformed: the bundle cannot be read"
		return
	}
	m := b.VerificationMaterial
	x.Logged = len(m.Entries) > 0
	x.Timestamped = m.Timestamps != nil && len(m.Timestamps.RFC3161) > 0
	if m.PublicKey != nil {
		x.Hint = bundle.HintName(m.PublicKey.Hint)
	}
	raw := m.Certificate
	if m.Chain != nil && len(m.Chain.Certificates) > 0 {
		raw = &m.Chain.Certificates[0]
	}
	if raw != nil {
		c, err := x509.ParseCertificate(raw.Bytes)
		x.certified(c, err)
	}
}

// Annotations of an attachment that prove when it was made.
const (
	annotationLog       = "dev.sigstore.cosign/bundle"
	annotationTimestamp = "dev.sigstore.cosign/rfc3161timestamp"
)

// annotated reads what the annotations of an attachment say.
func (x *Evidence) annotated(a map[string]string) {
	x.Logged, x.Timestamped = a[annotationLog] != "", a[annotationTimestamp] != ""
	leaf, _, problem := certificates(&discover.Sigstore{Annotations: a})
	if problem != "" {
		x.Problem = problem
		return
	}
	if leaf != nil {
		x.certified(leaf, nil)
	}
}

// oidSCT is the extension in which a certificate carries its timestamps (RFC 6962,
// section 3.3).
var oidSCT = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}

// maxIdentity bounds an identity that can be proposed, in bytes.
const maxIdentity = 2048

// certified takes the identity that a certificate names. One that cannot be shown as
// it is, is left out: what a person approves must be what counts.
func (x *Evidence) certified(c *x509.Certificate, err error) {
	if err != nil {
		x.Problem = "malformed: the certificate cannot be read"
		return
	}
	for _, ext := range c.Extensions {
		x.SCT = x.SCT || ext.Id.Equal(oidSCT)
	}
	s, err := certificate.SummarizeCertificate(c)
	if err != nil {
		x.Problem = "the certificate names nobody that a policy could name: " + clean(err.Error())
		return
	}
	if !printable(s.Issuer) || !printable(s.SubjectAlternativeName) {
		x.Problem = "the certificate names nobody that a policy could name"
		return
	}
	x.Issuer, x.Subject = s.Issuer, s.SubjectAlternativeName
	x.Authority = clean(c.Issuer.String())
	if o := c.Issuer.Organization; len(o) > 0 { // intermediates change within one
		x.Authority = clean("O=" + strings.Join(o, "+O="))
	}
	x.Fields = bundle.ExtensionFields(s.Extensions)
	maps.DeleteFunc(x.Fields, func(_, v string) bool { return !printable(v) })
}

// printable tells whether s can be shown as it is.
func printable(s string) bool {
	if s == "" || len(s) > maxIdentity {
		return false
	}
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}
