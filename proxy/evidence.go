package proxy

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/fxamacker/cbor/v2"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Bounds of evidence that is passed to clients.
const (
	maxEvidenceBlob   = 4 << 20
	maxEvidenceBlobs  = 127
	maxEvidenceConfig = 64 << 10
	maxListedEvidence = 64
	maxSignatureBlob  = 256 << 10 // of one that holds no statement
	maxManifestClaims = 16 << 20  // bytes that one manifest of evidence lists
	maxIndexEvidence  = 16 << 20  // bytes of evidence looked at for one index
)

// evidenceParsers reads a payload of each media type that evidence comes in and
// returns the digests of the manifests it is about. A payload that is not wholly
// that kind of evidence is an error: an image layer under another name must not
// pass.
var evidenceParsers = map[string]func([]byte) ([]digest.Digest, error){
	"application/vnd.dev.cosign.simplesigning.v1+json": simpleSigningSubjects,
	"application/vnd.dsse.envelope.v1+json":            dsseSubjects,
	"application/vnd.in-toto+json":                     statementSubjects,
	"application/vnd.dev.sigstore.bundle.v0.3+json":    bundleSubjects,
	"application/vnd.dev.sigstore.bundle+json":         bundleSubjects, // with ;version=0.1, 0.2, 0.3
	"application/jose+json":                            jwsSubjects,
	"application/cose":                                 coseSubjects,
}

func evidenceParser(mediaType string) func([]byte) ([]digest.Digest, error) {
	base, _, _ := strings.Cut(mediaType, ";")
	return evidenceParsers[base]
}

// evidenceLimit is how large a blob of evidence may be: a signature over a digest
// is small, a statement may hold a whole bill of materials.
func evidenceLimit(mediaType string) int64 {
	base, _, _ := strings.Cut(mediaType, ";")
	switch base {
	case "application/vnd.dev.cosign.simplesigning.v1+json", "application/jose+json", "application/cose":
		return maxSignatureBlob
	}
	return maxEvidenceBlob
}

// evidenceShaped reports whether a manifest says that all it holds is evidence.
// It says nothing about its content.
func evidenceShaped(m *Manifest) bool {
	layers := evidenceLayers(m)
	if m.doc.index || m.doc.lazy || len(layers) == 0 || len(layers) > maxEvidenceBlobs || evidenceSize(m) > maxManifestClaims {
		return false
	}
	for _, l := range layers {
		if evidenceParser(l.MediaType) == nil {
			return false
		}
	}
	return true
}

// evidenceSize is the sum of what m says that its blobs have. No more than that
// is read of any of them.
func evidenceSize(m *Manifest) (sum int64) {
	for _, b := range m.doc.blobs {
		if b.Size > maxManifestClaims {
			return maxManifestClaims + 1
		}
		sum += b.Size
	}
	return sum
}

func evidenceLayers(m *Manifest) []ocispec.Descriptor {
	if m.doc.config == nil {
		return m.doc.blobs // an artifact manifest has no config
	}
	return m.doc.blobs[1:]
}

// admitEvidence is rule 6: m may be sent when its content is evidence and the
// manifest that it is about may be sent. Otherwise the outcome denies, and m is
// judged like any other manifest.
func (g *gate) admitEvidence(ctx context.Context, m *Manifest) (Outcome, error) {
	subject, err := g.evidenceSubject(ctx, m)
	if err != nil || subject == "" {
		return Outcome{Digest: m.digest}, err
	}
	ref, err := reference.WithDigest(reference.TrimNamed(m.repo), subject)
	if err != nil {
		return Outcome{}, err
	}
	about, err := g.manifest(ctx, ref)
	if errors.Is(err, fs.ErrNotExist) {
		return Outcome{Digest: m.digest}, nil // nothing that could be allowed
	}
	if err != nil {
		return Outcome{}, err
	}
	out, err := g.admitDigest(ctx, ref, about)
	out.Digest, out.Via = m.digest, "evidence for "+subject.String()
	return out, err
}

// admitListed is rule 6 for an index of evidence, which clients keep at a fallback
// tag where there is no referrers API: it may be sent when all that it lists may.
func (g *gate) admitListed(ctx context.Context, m *Manifest) (Outcome, error) {
	out := Outcome{Digest: m.digest}
	if !m.doc.index || len(m.children) == 0 || len(m.children) > maxListedEvidence {
		return out, nil
	}
	var listed []*Manifest
	budget := int64(maxIndexEvidence)
	for _, d := range m.children {
		child, err := g.byDigest(ctx, m.repo, d)
		if errors.Is(err, fs.ErrNotExist) {
			return out, nil
		}
		if err != nil {
			return Outcome{}, err
		}
		if budget -= evidenceSize(child); budget < 0 || !evidenceShaped(child) {
			return out, nil
		}
		listed = append(listed, child)
	}
	for _, child := range listed {
		var err error
		if out, err = g.admitEvidence(ctx, child); err != nil || !out.Forward() {
			return Outcome{Digest: m.digest}, err
		}
	}
	out.Digest, out.Via = m.digest, "list of evidence"
	return out, nil
}

// evidenceSubject returns the manifest that m is evidence about, found in its
// checked content, or "" when m is not evidence. Content never changes, so the
// answer is remembered.
func (g *gate) evidenceSubject(ctx context.Context, m *Manifest) (digest.Digest, error) {
	repo := m.name
	if s := g.graph.Subject(repo, m.digest); s != "" {
		return s, nil
	}
	if m.doc.config != nil {
		if ok, err := g.harmlessConfig(ctx, m); err != nil || !ok {
			return "", err
		}
	}
	var common []digest.Digest
	for i, l := range evidenceLayers(m) {
		payload, err := g.evidenceBlob(ctx, m, l, evidenceLimit(l.MediaType))
		if err != nil || payload == nil {
			return "", err
		}
		about, err := evidenceParser(l.MediaType)(payload)
		if err != nil || looksLikeArchive(payload) {
			return "", nil // not that evidence: judged as what it is, a manifest
		}
		if i == 0 {
			common = about
			continue
		}
		common = slices.DeleteFunc(common, func(d digest.Digest) bool { return !slices.Contains(about, d) })
	}
	subject := g.chooseSubject(m, common)
	if subject != "" {
		g.graph.Evidence(repo, m.digest, subject)
	}
	return subject, nil
}

// chooseSubject picks the manifest among those that all payloads are about: the
// declared one, or one that is known, or the first.
func (g *gate) chooseSubject(m *Manifest, about []digest.Digest) digest.Digest {
	if s := m.doc.subject; s != nil {
		if slices.Contains(about, s.Digest) {
			return s.Digest
		}
		return ""
	}
	for _, d := range about {
		if g.graph.IsManifest(m.name, d) {
			return d
		}
	}
	if len(about) > 0 {
		return about[0]
	}
	return ""
}

// harmlessConfig checks that the config of an evidence manifest is one small JSON
// object that no client would run: cosign and BuildKit write image configs for no
// platform, with nothing to execute.
func (g *gate) harmlessConfig(ctx context.Context, m *Manifest) (bool, error) {
	b, err := g.evidenceBlob(ctx, m, *m.doc.config, maxEvidenceConfig)
	if err != nil || b == nil {
		return false, err
	}
	var config struct {
		Architecture string                     `json:"architecture"`
		OS           string                     `json:"os"`
		Config       map[string]json.RawMessage `json:"config"`
	}
	if unambiguousJSON(b, configSpelling) != nil || json.Unmarshal(b, &config) != nil || looksLikeManifest(b) {
		return false, nil
	}
	nowhere := func(s string) bool { return s == "" || s == "unknown" }
	return nowhere(config.Architecture) && nowhere(config.OS) && len(config.Config) == 0, nil
}

// configSpelling are the members of an image config that say what runs where.
var configSpelling = newSpelling([]string{"history", "rootfs"}, "architecture", "os", "config")

// evidenceBlob returns a blob of m, or nil when it is too large to be evidence or
// does not exist.
func (g *gate) evidenceBlob(ctx context.Context, m *Manifest, d ocispec.Descriptor, limit int64) ([]byte, error) {
	if d.Size > limit {
		return nil, nil
	}
	limit = d.Size // what it says is what was counted
	if b, ok := g.blobs.Get(m.name, d.Digest); ok {
		if int64(len(b)) > limit {
			return nil, nil
		}
		return b, nil
	}
	ref, err := reference.WithDigest(reference.TrimNamed(m.repo), d.Digest)
	if err != nil {
		return nil, err
	}
	b, err := g.upstream.BlobBytes(ctx, ref, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading evidence %s: %w", d.Digest, err)
	}
	g.blobs.Put(m.name, d.Digest, b)
	return b, nil
}

// evidenceSpelling are the members that readers of evidence act on.
var evidenceSpelling = newSpelling(
	[]string{"predicate", "optional", "annotations", "content", "verificationMaterial", "header"},
	"critical", "type", "image", "docker-manifest-digest", "identity", "docker-reference", "payloadType", "payload", "signatures",
	"_type", "subject", "name", "uri", "digest", "downloadLocation", "mediaType", "predicateType", "dsseEnvelope",
	"messageSignature", "messageDigest", "algorithm", "signature", "protected", "targetArtifact", "size")

// looksLikeArchive reports whether some reader of layers would take b for one.
// Evidence has room for bytes of the publisher's choice, so that an archive can be
// evidence at the same time, word for word.
//
// A tar archive begins with a block that carries its own checksum (pax(1), "ustar
// Interchange Format"); readers differ in what they make of the digits, so every
// reading counts, and that of Go, which clients use, is asked itself. Compressed
// archives begin with fixed bytes that no evidence begins with, but the formats that
// are read in parts begin at their end.
func looksLikeArchive(b []byte) bool {
	const block, sumAt, sumLen, tail = 512, 148, 8, 512
	end := b[max(len(b)-tail, 0):]
	for _, magic := range []string{"\x1f\x8b\x08", "\x28\xb5\x2f\xfd", "\x50\x2a\x4d\x18"} { // gzip, zstd, zstd's skippable frame
		if bytes.Contains(end, []byte(magic)) {
			return true
		}
	}
	if len(b) < block {
		return false
	}
	if _, err := tar.NewReader(bytes.NewReader(b)).Next(); err == nil {
		return true
	}
	var unsigned, signed int64 // old writers summed signed bytes
	for i, c := range b[:block] {
		if i >= sumAt && i < sumAt+sumLen {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	field := b[sumAt : sumAt+sumLen]
	cut, _, _ := bytes.Cut(field, []byte{0})
	for _, reading := range [][]byte{field, cut, bytes.Trim(field, " \x00"), bytes.TrimLeft(field, " \x00")} {
		if stated := leadingOctal(reading); stated == unsigned || stated == signed {
			return true
		}
	}
	return false
}

// leadingOctal reads the octal digits that b begins with, after spaces; none are 0,
// as some readers have it.
func leadingOctal(b []byte) (n int64) {
	for _, c := range bytes.TrimLeft(b, " ") {
		if c < '0' || c > '7' {
			break
		}
		n = n<<3 | int64(c-'0')
	}
	return n
}

// strictJSON decodes exactly one JSON value without members that v does not have.
func strictJSON(b []byte, v any) error {
	if err := unambiguousJSON(b, evidenceSpelling); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}

func oneDigest(s string) ([]digest.Digest, error) {
	d := digest.Digest(s)
	if !supportedDigest(d) {
		return nil, fmt.Errorf("evidence about %q: expected a sha256 or sha512 digest", shorten(s))
	}
	return []digest.Digest{d}, nil
}

// simpleSigningSubjects reads containers-signature(5)'s JSON, as cosign writes it.
func simpleSigningSubjects(b []byte) ([]digest.Digest, error) {
	var p struct {
		Critical struct {
			Type  string `json:"type"`
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
			Identity struct {
				Reference string `json:"docker-reference"`
			} `json:"identity"`
		} `json:"critical"`
		Optional json.RawMessage `json:"optional"`
	}
	if err := strictJSON(b, &p); err != nil {
		return nil, err
	}
	if p.Critical.Type == "" {
		return nil, errors.New("no critical.type")
	}
	return oneDigest(p.Critical.Image.Digest)
}

// dsseSubjects reads a DSSE envelope that holds an in-toto statement.
func dsseSubjects(b []byte) ([]digest.Digest, error) {
	var e struct {
		PayloadType string            `json:"payloadType"`
		Payload     []byte            `json:"payload"`
		Signatures  []json.RawMessage `json:"signatures"`
	}
	if err := strictJSON(b, &e); err != nil {
		return nil, err
	}
	if e.PayloadType != "application/vnd.in-toto+json" || len(e.Signatures) == 0 {
		return nil, fmt.Errorf("DSSE envelope of %q with %d signatures: expected an in-toto statement, signed", shorten(e.PayloadType), len(e.Signatures))
	}
	return statementSubjects(e.Payload)
}

// statementSubjects reads an in-toto statement, v0.1 or v1.
func statementSubjects(b []byte) ([]digest.Digest, error) {
	var s struct {
		Type    string `json:"_type"`
		Subject []struct {
			Name             string            `json:"name"`
			URI              string            `json:"uri"`
			Digest           map[string]string `json:"digest"`
			Content          json.RawMessage   `json:"content"`
			DownloadLocation string            `json:"downloadLocation"`
			MediaType        string            `json:"mediaType"`
			Annotations      json.RawMessage   `json:"annotations"`
		} `json:"subject"`
		PredicateType string          `json:"predicateType"`
		Predicate     json.RawMessage `json:"predicate"`
	}
	if err := strictJSON(b, &s); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(s.Type, "https://in-toto.io/Statement/") || s.PredicateType == "" {
		return nil, fmt.Errorf("statement of type %q: expected an in-toto statement", shorten(s.Type))
	}
	var out []digest.Digest
	for _, subject := range s.Subject {
		for alg, hex := range subject.Digest {
			if d := digest.Digest(alg + ":" + hex); supportedDigest(d) {
				out = append(out, d)
			}
		}
	}
	if len(out) == 0 {
		return nil, errors.New("the in-toto statement is about nothing with a digest")
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// bundleSubjects reads a sigstore bundle (protobuf-specs, sigstore_bundle.proto).
func bundleSubjects(b []byte) ([]digest.Digest, error) {
	var s struct {
		MediaType            string          `json:"mediaType"`
		VerificationMaterial json.RawMessage `json:"verificationMaterial"`
		DSSEEnvelope         json.RawMessage `json:"dsseEnvelope"`
		MessageSignature     *struct {
			MessageDigest struct {
				Algorithm string `json:"algorithm"`
				Digest    []byte `json:"digest"`
			} `json:"messageDigest"`
			Signature []byte `json:"signature"`
		} `json:"messageSignature"`
	}
	if err := strictJSON(b, &s); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(s.MediaType, "application/vnd.dev.sigstore.bundle") || s.VerificationMaterial == nil {
		return nil, errors.New("not a sigstore bundle")
	}
	switch m := s.MessageSignature; {
	case s.DSSEEnvelope != nil && m == nil:
		return dsseSubjects(s.DSSEEnvelope)
	case s.DSSEEnvelope == nil && m != nil && m.MessageDigest.Algorithm == "SHA2_256":
		return oneDigest(fmt.Sprintf("sha256:%x", m.MessageDigest.Digest))
	}
	return nil, errors.New("sigstore bundle without exactly one signature that is known")
}

// jwsSubjects reads a notation signature envelope in JWS JSON serialization
// (notaryproject specifications, signature-envelope-jws).
func jwsSubjects(b []byte) ([]digest.Digest, error) {
	var e struct {
		Payload   string          `json:"payload"`
		Protected string          `json:"protected"`
		Header    json.RawMessage `json:"header"`
		Signature string          `json:"signature"`
	}
	if err := strictJSON(b, &e); err != nil {
		return nil, err
	}
	if e.Protected == "" || e.Signature == "" {
		return nil, errors.New("not a JWS")
	}
	payload, err := base64.RawURLEncoding.DecodeString(e.Payload)
	if err != nil {
		return nil, fmt.Errorf("payload of the JWS: %w", err)
	}
	return notationSubjects(payload)
}

// coseSubjects reads a notation signature envelope in COSE_Sign1 (RFC 9052,
// section 4.2; notaryproject specifications, signature-envelope-cose).
func coseSubjects(b []byte) ([]digest.Digest, error) {
	const (
		coseSign1        = 18
		maxCOSEProtected = 16 << 10
		maxCOSESignature = 1 << 10
	)
	mode, err := cbor.DecOptions{MaxNestedLevels: 16, DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden}.DecMode()
	if err != nil {
		return nil, err
	}
	var tag cbor.RawTag
	if err := mode.Unmarshal(b, &tag); err != nil {
		return nil, fmt.Errorf("not a COSE_Sign1: %w", err)
	}
	var sign1 struct {
		_           struct{} `cbor:",toarray"`
		Protected   []byte
		Unprotected cbor.RawMessage
		Payload     []byte
		Signature   []byte
	}
	if tag.Number != coseSign1 {
		return nil, fmt.Errorf("CBOR tag %d: expected %d", tag.Number, coseSign1)
	}
	if err := mode.Unmarshal(tag.Content, &sign1); err != nil {
		return nil, fmt.Errorf("not a COSE_Sign1: %w", err)
	}
	for _, headers := range [][]byte{sign1.Protected, sign1.Unprotected} {
		var m map[any]cbor.RawMessage
		if err := mode.Unmarshal(headers, &m); err != nil {
			return nil, fmt.Errorf("headers of the COSE_Sign1: %w", err)
		}
	}
	if len(sign1.Protected) > maxCOSEProtected || len(sign1.Signature) > maxCOSESignature {
		return nil, errors.New("COSE_Sign1 with more headers or signature than there can be")
	}
	return notationSubjects(sign1.Payload)
}

func notationSubjects(payload []byte) ([]digest.Digest, error) {
	var p struct {
		TargetArtifact struct {
			MediaType   string          `json:"mediaType"`
			Digest      string          `json:"digest"`
			Size        int64           `json:"size"`
			Annotations json.RawMessage `json:"annotations"`
		} `json:"targetArtifact"`
	}
	if err := strictJSON(payload, &p); err != nil {
		return nil, err
	}
	return oneDigest(p.TargetArtifact.Digest)
}
