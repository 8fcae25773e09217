package conformance_test

import (
	"slices"
)

// rekor2Checkpoints are cases about the checkpoint of a Rekor v2 log: origin, size,
// root hash, an empty line, signatures (C2SP.org/tlog-checkpoint).
func rekor2Checkpoints() map[string]made {
	lines := func(edit func([]string) []string) func(*document) {
		return func(b *document) { firstTime(b); b.lines(edit) }
	}
	without := func(i int) func(*document) {
		return lines(func(l []string) []string { return slices.Delete(l, i, i+1) })
	}
	with := func(at int, more ...string) func(*document) {
		return lines(func(l []string) []string { return slices.Insert(l, at, more...) })
	}
	const origin = "log2025-alpha1.rekor.sigstage.dev"
	return map[string]made{
		"rekor2-checkpoint-missing-origin_fail":        {from: twice, edit: without(0), why: "failed to verify signatures on checkpoint"},
		"rekor2-checkpoint-missing-size_fail":          {from: twice, edit: without(1), why: "failed to verify signatures on checkpoint"},
		"rekor2-checkpoint-missing-root-hash_fail":     {from: twice, edit: without(2), why: "failed to verify signatures on checkpoint"},
		"rekor2-checkpoint-missing-log-signature_fail": {from: twice, edit: without(4), why: "failed to verify signatures on checkpoint"},
		"rekor2-checkpoint-no-matching-signature_fail": {from: twice, why: "failed to verify signatures on checkpoint",
			edit: lines(editNote(func(_ string, s []byte) string { return noteLine("other.example", s) }))},

		"rekor2-checkpoint-cosigned":             {from: twice, edit: with(5, witness("witness.example"))},
		"rekor2-checkpoint-multiple-cosigs":      {from: twice, edit: with(5, witness("witness.example"), witness("other.example"))},
		"rekor2-checkpoint-origin-not-first":     {from: twice, edit: with(4, witness("witness.example"))},
		"rekor2-checkpoint-two-sigs-from-origin": {from: twice, edit: with(5, witness(origin))},
		"rekor2-checkpoint-two-sigs-cosigned":    {from: twice, edit: with(5, witness(origin), witness("witness.example"))},
	}
}

// rekor2Times are cases about timestamps, which alone prove the time of an entry in
// a Rekor v2 log. The first timestamp is of 2025-06-12T12:02:20Z.
func rekor2Times() map[string]made {
	const authorities = "timestampAuthorities"
	ends := func(at string) func(*document) {
		return func(r *document) { r.set(authorities+".0.validFor.end", at) }
	}
	otherAuthority := func(r *document) {
		r.set(authorities, read(r.t, "trusted_root.json").get(authorities))
	}
	return map[string]made{
		"rekor2-timestamp-with-embedded-cert":       {from: twice, edit: firstTime},
		"rekor2-timestamp-with-incorrect-time_fail": {from: twice, edit: secondTime, why: "its certificate was not valid when it was signed"},
		"rekor2-timestamp-payload-mismatch_fail": {from: twice, why: "hashed messages don't match",
			edit: func(b *document) { b.set(stamps, bundleOf(b.t, "rekor2-dsse-happy-path").get(stamps)) }},
		"rekor2-timestamp-outside-trust-root-tsa-validity_fail": {from: twice, edit: firstTime, root: ends("2025-06-01T00:00:00Z"), why: "timestamp is after the validity period end"},
		"rekor2-timestamp-wrong-tsa-validity-borrow_fail": {from: twice, edit: firstTime, why: "cert chain is empty",
			root: func(r *document) {
				r.top = read(r.t, "rekor2-timestamp-wrong-tsa-validity-borrow_fail", "trusted_root.json").top
			}},
		"rekor2-timestamp-untrusted-tsa-with-embedded-cert_fail":    {from: twice, edit: firstTime, root: otherAuthority, why: "does not match the provided TSA certificate"},
		"rekor2-timestamp-without-embedded-cert":                    {from: twice, edit: func(b *document) { firstTime(b); bareTime(b) }},
		"rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail": {from: twice, edit: func(b *document) { firstTime(b); bareTime(b) }, root: otherAuthority, why: "No certificate for signer"},
		"trust-root-tsa-validity-end-inclusive":                     {from: twice, edit: firstTime, root: ends("2025-06-12T12:02:20Z")},
	}
}
