//go:build e2e

package e2e

import (
	"path/filepath"
	"testing"

	"github.com/pullgate/pullgate/e2e/harness"
)

// vectorCase is one vector under one policy.
type vectorCase struct {
	name    string
	vector  string
	require []harness.Requirement
	// denied is part of the reason; empty: allowed.
	denied string
	// moved: the vector's evidence lies beside another image.
	moved bool
}

const (
	slsaV1   = "https://slsa.dev/provenance/v1"
	vulnScan = "https://cosign.sigstore.dev/attestation/vuln/v1"
	builder  = "x509.subject: C=US, ST=WA, O=acme.example, CN=build"
	anybody  = "x509.subject: C=US, ST=WA, O=acme.example"
)

// trustFile is the path of a public key, certificate or list of the vectors.
func trustFile(t *testing.T, name string) string {
	path, err := filepath.Abs(filepath.Join(vectorTrust, name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func all(r ...harness.Requirement) []harness.Requirement { return r }

// with returns a requirement with one more member.
func with(r harness.Requirement, key string, value any) harness.Requirement {
	out := harness.Requirement{key: value}
	for k, v := range r {
		if k != key {
			out[k] = v
		}
	}
	return out
}

// bundleSigned asks for a signature by one of these keys.
func bundleSigned(t *testing.T, keys ...string) harness.Requirement {
	var paths []string
	for _, k := range keys {
		paths = append(paths, trustFile(t, k))
	}
	return harness.Requirement{"type": "bundleSigned", "keyPaths": paths}
}

// attested asks for an attestation by a key.
func attested(t *testing.T, key, predicateType, condition string) harness.Requirement {
	return harness.Requirement{"type": "attested", "predicateType": predicateType, "condition": condition,
		"signedBy": map[string]any{"keyPath": trustFile(t, key)}}
}

// notationSigned asks for a signature under one authority.
func notationSigned(t *testing.T, ca, identity string) harness.Requirement {
	return harness.Requirement{"type": "notationSigned", "trustStores": map[string]any{"ca": []string{trustFile(t, ca)}},
		"trustedIdentities": []string{identity}, "revocation": "skip"}
}

func bundleCases(t *testing.T) []vectorCase {
	signed, other := all(bundleSigned(t, "cosign.pub")), all(bundleSigned(t, "other.pub"))
	var out []vectorCase
	for _, v := range []string{"cosign2-key", "cosign2-referrer", "cosign3-key", "cosign3-fallback"} {
		out = append(out,
			vectorCase{"signed", v, signed, "", false},
			vectorCase{"by another key", v, other, "key", false},
			vectorCase{"by one of two keys", v, all(bundleSigned(t, "other.pub", "cosign.pub")), "", false},
			vectorCase{"of another image", v, signed, "digest", true})
	}
	for _, v := range []string{"cosign2-index", "cosign3-index", "cosign3-two-keys", "everything"} {
		out = append(out, vectorCase{"signed", v, signed, "", false})
	}
	return append(out,
		vectorCase{"both keys", "cosign3-two-keys", append(signed, other...), "", false},
		vectorCase{"both keys", "cosign3-key", append(signed, other...), "key", false},
		vectorCase{"signed", "unsigned", signed, "no sigstore bundles or signatures", false},
		vectorCase{"signed", "notation-jws", signed, "no sigstore bundles or signatures", false},
		// An attestation says something about an image, not that it may run.
		vectorCase{"attestation as signature", "cosign2-attest", signed, "no sigstore bundles or signatures", false},
		vectorCase{"attestation as signature", "cosign3-attest", signed, "which is no signature", false},
		vectorCase{"attestation as signature", "cosign3-attest-fallback", signed, "which is no signature", false})
}

func attestedCases(t *testing.T) []vectorCase {
	const (
		built    = `predicate.buildDefinition.buildType == 'https://acme.example/build/v1' && predicate.runDetails.builder.id.startsWith('https://acme.example/')`
		fromMain = `predicate.buildDefinition.externalParameters.ref == 'refs/heads/main'`
		clean    = `predicate.scanner.result.critical == 0 && !predicate.scanner.result.findings.exists(f, f == 'CVE-2026-9999')`
	)
	a := func(predicateType, condition string) []harness.Requirement {
		return all(attested(t, "cosign.pub", predicateType, condition))
	}
	var out []vectorCase
	for _, v := range []string{"cosign2-attest", "cosign3-attest", "cosign3-attest-fallback"} {
		out = append(out,
			vectorCase{"provenance", v, a(slsaV1, built), "", false},
			vectorCase{"provenance and scan", v, append(a(slsaV1, fromMain), a(vulnScan, clean)...), "", false},
			vectorCase{"no condition", v, a(slsaV1, ""), "", false},
			vectorCase{"of this digest", v, a(slsaV1, "image.digest == 'sha256:' + statement.subject[0].digest.sha256"), "", false},
			vectorCase{"condition is false", v, a(vulnScan, "predicate.scanner.result.high == 0"), "does not hold", false},
			vectorCase{"condition cannot be evaluated", v, a(slsaV1, "predicate.scanner.result.critical == 0"), "cannot be evaluated", false},
			vectorCase{"another predicate type", v, a("https://slsa.dev/provenance/v0.2", ""), "expected https://slsa.dev/provenance/v0.2", false},
			vectorCase{"by another key", v, all(attested(t, "other.pub", slsaV1, "")), "key", false},
			vectorCase{"age that nothing proves", v, all(with(attested(t, "cosign.pub", slsaV1, ""), "maxAge", "87600h")), "nothing proves when", false},
			vectorCase{"of another image", v, a(slsaV1, ""), "digest", true})
	}
	return append(out,
		vectorCase{"signature as attestation", "cosign2-key", a(slsaV1, ""), "no attestations found", false},
		vectorCase{"signature as attestation", "cosign3-key", a(slsaV1, ""), "expected " + slsaV1, false},
		vectorCase{"attested", "unsigned", a(slsaV1, ""), "no attestations found", false})
}

func notationCases(t *testing.T) []vectorCase {
	stores := func(ca, authority, tsa string) harness.Requirement {
		s := map[string]any{}
		for kind, name := range map[string]string{"ca": ca, "signingAuthority": authority, "tsa": tsa} {
			if name != "" {
				s[kind] = []string{trustFile(t, name)}
			}
		}
		return with(notationSigned(t, "ca.crt", anybody), "trustStores", s)
	}
	crl := func(name string) harness.Requirement {
		return with(with(notationSigned(t, "ca.crt", builder), "revocation", "enforce"), "crlPaths", []string{trustFile(t, name)})
	}
	signed := all(notationSigned(t, "ca.crt", builder))
	var out []vectorCase
	for _, v := range []string{"notation-jws", "notation-cose", "notation-fallback"} {
		out = append(out,
			vectorCase{"signed", v, signed, "", false},
			vectorCase{"by part of the subject", v, all(notationSigned(t, "ca.crt", anybody)), "", false},
			vectorCase{"under another root", v, all(notationSigned(t, "other-ca.crt", builder)), "trust", false},
			vectorCase{"by another subject", v, all(notationSigned(t, "ca.crt", anybody+", CN=somebody")), "expected a signer", false},
			vectorCase{"root of another scheme", v, all(stores("", "ca.crt", "")), "trust", false},
			vectorCase{"not revoked", v, all(crl("none-revoked.crl")), "", false},
			vectorCase{"revoked", v, all(crl("build-revoked.crl")), "revoked", false},
			vectorCase{"of another image", v, signed, "expected a signature of", true})
	}
	return append(out,
		vectorCase{"expired", "notation-expired", all(notationSigned(t, "ca.crt", anybody)), "expired", false},
		vectorCase{"expired with a timestamp", "notation-timestamped", all(stores("ca.crt", "", "tsa.crt")), "", false},
		vectorCase{"no trust in the timestamp", "notation-timestamped", all(stores("ca.crt", "", "")), "expired", false},
		vectorCase{"another timestamp authority", "notation-timestamped", all(stores("ca.crt", "", "other-ca.crt")), "timestamp", false},
		vectorCase{"expired, and no timestamp", "notation-expired", all(stores("ca.crt", "", "tsa.crt")), "timestamp", false},
		vectorCase{"signed", "unsigned", signed, "no notation signatures", false},
		vectorCase{"signed", "cosign3-key", signed, "no notation signatures", false})
}

func togetherCases(t *testing.T) []vectorCase {
	bundle, notation := bundleSigned(t, "cosign.pub"), notationSigned(t, "ca.crt", builder)
	scanned := attested(t, "cosign.pub", vulnScan, "predicate.scanner.result.critical == 0")
	either := harness.Requirement{"type": "anyOf", "of": [][]harness.Requirement{{notation}, {bundle, scanned}}}
	return []vectorCase{
		{"all of them", "everything", all(bundle, notation, scanned), "", false},
		{"all, one by another key", "everything", all(bundleSigned(t, "other.pub"), notation, scanned), "key", false},
		{"all, and a condition is false", "everything", all(bundle, notation, attested(t, "cosign.pub", vulnScan, "predicate.scanner.result.high == 0")), "does not hold", false},
		{"all of them, moved", "everything", all(bundle, notation, scanned), "digest", true},
		{"one of two", "notation-cose", all(either), "", false},
		{"the other one of two", "everything", all(either), "", false},
		{"half of one", "cosign3-key", all(either), "alternative 2: an attestation of type", false},
	}
}

// keyless asks for signatures of the workflow with a timestamp.
func keyless(subject string, more ...string) map[string]any {
	id := map[string]string{"issuer": harness.VectorIssuer, "subject": subject}
	for i := 0; i+1 < len(more); i += 2 {
		id[more[i]] = more[i+1]
	}
	if id["subjectRegExp"] != "" {
		delete(id, "subject")
	}
	return map[string]any{"trustRoot": "acme", "identities": []any{id}, "thresholds": map[string]int{"tlog": 0, "sct": 0, "timestamps": 1}}
}

// trustRootCases need the trust root "acme".
func trustRootCases(t *testing.T) []vectorCase {
	signed := func(by map[string]any) []harness.Requirement {
		return all(with(by, "type", "bundleSigned"))
	}
	by := func(by map[string]any, maxAge string) []harness.Requirement {
		r := harness.Requirement{"type": "attested", "predicateType": slsaV1, "signedBy": by}
		if maxAge != "" {
			r["maxAge"] = maxAge
		}
		return all(r)
	}
	key := func(name string, timestamps int) map[string]any {
		return map[string]any{"keyPath": trustFile(t, name), "trustRoot": "acme", "thresholds": map[string]int{"timestamps": timestamps}}
	}
	var out []vectorCase
	for _, v := range []string{"cosign2-keyless", "cosign3-keyless"} {
		out = append(out,
			vectorCase{"workflow", v, signed(keyless(harness.VectorSubject)), "", false},
			vectorCase{"expression", v, signed(keyless("", "subjectRegExp", `https://github\.com/acme/app/.+`)), "", false},
			vectorCase{"expression for a part", v, signed(keyless("", "subjectRegExp", `github\.com/acme/`)), "expected subject github", false},
			vectorCase{"fields", v, signed(keyless(harness.VectorSubject, "sourceRepositoryURI", "https://github.com/acme/app", "sourceRepositoryRef", "refs/heads/main", "runnerEnvironment", "github-hosted")), "", false},
			vectorCase{"another field", v, signed(keyless(harness.VectorSubject, "sourceRepositoryRef", "refs/heads/dev")), "expected sourceRepositoryRef refs/heads/dev", false},
			vectorCase{"another workflow", v, signed(keyless("https://github.com/acme/app/.github/workflows/test.yml@refs/heads/main")), "expected subject http", false},
			vectorCase{"log asked for", v, signed(with(keyless(harness.VectorSubject), "thresholds", map[string]int{"tlog": 1, "sct": 0, "timestamps": 1})), "log", false},
			vectorCase{"certificate's log asked for", v, signed(with(keyless(harness.VectorSubject), "thresholds", map[string]int{"tlog": 0, "sct": 1, "timestamps": 1})), "certificate", false},
			vectorCase{"defaults", v, signed(map[string]any{"trustRoot": "acme", "identities": keyless(harness.VectorSubject)["identities"]}), "log", false},
			vectorCase{"by a key", v, all(bundleSigned(t, "cosign.pub")), "key", false},
			vectorCase{"of another image", v, signed(keyless(harness.VectorSubject)), "digest", true})
	}
	return append(out,
		vectorCase{"workflow", "cosign3-key", signed(keyless(harness.VectorSubject)), "signed by a key, expected a certificate", false},
		vectorCase{"attested by the workflow", "cosign3-attest-keyless", by(keyless(harness.VectorSubject), "87600h"), "", false},
		vectorCase{"attested by another workflow", "cosign3-attest-keyless", by(keyless(harness.VectorSubject+"x"), ""), "expected subject http", false},
		vectorCase{"attestation as signature", "cosign3-attest-keyless", signed(keyless(harness.VectorSubject)), "which is no signature", false},
		vectorCase{"with a timestamp", "cosign3-timestamped", by(key("cosign.pub", 1), "87600h"), "", false},
		vectorCase{"too old", "cosign3-timestamped", by(key("cosign.pub", 1), "1s"), "older than 1s", false},
		vectorCase{"by another key", "cosign3-timestamped", by(key("other.pub", 1), ""), "key", false},
		vectorCase{"timestamp asked for", "cosign3-attest", by(key("cosign.pub", 1), ""), "timestamp", false},
		vectorCase{"age that nothing proves", "cosign3-attest", by(key("cosign.pub", 0), "87600h"), "nothing proves when", false})
}
