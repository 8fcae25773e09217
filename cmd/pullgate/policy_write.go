package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pullgate/pullgate/verify"
)

// wanted is one requirement as policy.json has it.
type wanted struct {
	Type              string           `json:"type,omitempty"` // empty in signedBy of attested
	PredicateType     string           `json:"predicateType,omitempty"`
	KeyType           string           `json:"keyType,omitempty"`
	KeyPath           string           `json:"keyPath,omitempty"`
	KeyPaths          []string         `json:"keyPaths,omitempty"`
	TrustRoot         string           `json:"trustRoot,omitempty"`
	Identities        []wantedIdentity `json:"identities,omitempty"`
	Thresholds        *thresholds      `json:"thresholds,omitempty"`
	TrustStores       *trustStores     `json:"trustStores,omitempty"`
	TrustedIdentities []string         `json:"trustedIdentities,omitempty"`
	Revocation        string           `json:"revocation,omitempty"`
	CRLPaths          []string         `json:"crlPaths,omitempty"`
	SignedBy          *wanted          `json:"signedBy,omitempty"`
	SignedIdentity    *identityMatch   `json:"signedIdentity,omitempty"`
	Of                [][]wanted       `json:"of,omitempty"`
}

type wantedIdentity struct {
	Issuer              string `json:"issuer"`
	Subject             string `json:"subject"`
	SourceRepositoryURI string `json:"sourceRepositoryURI,omitempty"`
	SourceRepositoryRef string `json:"sourceRepositoryRef,omitempty"`
	RunnerEnvironment   string `json:"runnerEnvironment,omitempty"`
}

type thresholds struct {
	TLog       int `json:"tlog"`
	SCT        int `json:"sct"`
	Timestamps int `json:"timestamps"`
}

type trustStores struct {
	CA               []string `json:"ca,omitempty"`
	SigningAuthority []string `json:"signingAuthority,omitempty"`
	TSA              []string `json:"tsa,omitempty"`
}

// placeholders are the files that only a person can put in place.
type placeholders struct {
	scope string // whose requirements are written
	root  string // the only trust root that is configured, if there is one
	names []string
	what  map[string]string
	under []string // authorities that are taken to be in the root
}

// replace starts the names of what nobody but a person can fill in.
const replace = "REPLACE-"

// file returns a placeholder for what is described, the same for the same.
func (f *placeholders) file(prefix, suffix, what string) string {
	for _, name := range f.names {
		if f.what[name] == what {
			return name
		}
	}
	name := fmt.Sprintf("%s%s-%d%s", replace, prefix, len(f.names)+1, suffix)
	if f.what == nil {
		f.what = map[string]string{}
	}
	f.names, f.what[name] = append(f.names, name), what
	return name
}

// either is met by each of the offers: requirements of one kind are joined, others
// become alternatives.
func (f *placeholders) either(chosen []offer, sets []offered) []wanted {
	var classes [][]offer
next:
	for _, o := range chosen {
		for i, c := range classes {
			if c[0].class() == o.class() {
				classes[i] = append(c, o)
				continue next
			}
		}
		classes = append(classes, []offer{o})
	}
	if len(classes) == 1 {
		return []wanted{f.requirement(classes[0], sets)}
	}
	out := wanted{Type: "anyOf"}
	for _, c := range classes {
		out.Of = append(out.Of, []wanted{f.requirement(c, sets)})
	}
	return []wanted{out}
}

// class is equal for offers that one requirement can name together.
func (o offer) class() offer {
	if o.subject != "" {
		o.issuer, o.subject = "certificate", "certificate"
	}
	o.signer = ""
	return o
}

// requirement accepts each of the offers, which are of one class.
func (f *placeholders) requirement(chosen []offer, sets []offered) wanted {
	o := chosen[0]
	var w wanted
	switch o.requirement {
	case typeNotation:
		w = f.notation(chosen, sets)
	case typeSignedBy:
		w = wanted{KeyType: "GPGKeys"}
		w.keys(chosen, func(x offer) string { return f.file("key", ".gpg", "the public key "+x.signer) })
	default:
		if o.subject != "" {
			w = f.certificates(chosen, sets)
		} else {
			w.keys(chosen, func(x offer) string { return f.file("cosign", ".pub", f.sigstoreKeyOf(x)) })
		}
	}
	if o.match.Type != "" {
		w.SignedIdentity = &o.match
	}
	if o.requirement == typeAttested {
		by := w
		w = wanted{PredicateType: o.predicate, SignedBy: &by}
	}
	w.Type = o.requirement
	return w
}

// notation trusts the authority of the signers' certificates. A timestamp is asked for
// when all signatures have one: certificates end, and what was signed before stays good.
func (f *placeholders) notation(chosen []offer, sets []offered) wanted {
	o := chosen[0]
	lists, stores := "its current revocation list", &trustStores{}
	authority := []string{f.file("ca", ".crt", fmt.Sprintf("the certificate of the authority that issued the notation signers' certificates, which say that it is %q", o.authority))}
	if o.byAuthority {
		stores.SigningAuthority = authority
	} else {
		stores.CA = authority
	}
	if !o.byAuthority && allHave(chosen, sets, func(e verify.Evidence) bool { return e.Timestamped }) {
		stores.TSA = []string{f.file("tsa", ".crt", "the root certificate of the timestamp authority that the notation signers use")}
		lists = "its current revocation list, with that of the timestamp authority"
	}
	w := wanted{TrustStores: stores, Revocation: "enforce",
		CRLPaths: []string{f.file("revoked", ".crl", lists+`; without one write "revocation": "skip" and leave crlPaths out`)}}
	for _, x := range chosen {
		w.TrustedIdentities = append(w.TrustedIdentities, x.signer)
	}
	return w
}

// allHave tells whether all evidence of the offers is of a kind.
func allHave(chosen []offer, sets []offered, has func(verify.Evidence) bool) bool {
	for _, x := range chosen {
		for _, set := range sets {
			if slices.ContainsFunc(set[x], func(e verify.Evidence) bool { return !has(e) }) {
				return false
			}
		}
	}
	return true
}

// sigstoreKeyOf describes a key. One that nothing names can be another one in each
// repository.
func (f *placeholders) sigstoreKeyOf(x offer) string {
	if x.signer == "" {
		return "the public key of who signs " + f.scope + "; nothing in the evidence says which"
	}
	return "the signer's public key, whose hint is " + x.signer
}

func (w *wanted) keys(chosen []offer, file func(offer) string) {
	for _, x := range chosen {
		w.KeyPaths = append(w.KeyPaths, file(x))
	}
	if len(w.KeyPaths) == 1 {
		w.KeyPath, w.KeyPaths = w.KeyPaths[0], nil
	}
}

// certificates names identities exactly, and asks for all proof that all evidence of
// theirs brings along.
func (f *placeholders) certificates(chosen []offer, sets []offered) wanted {
	w := wanted{TrustRoot: f.root}
	authority := chosen[0].authority
	if w.TrustRoot == "" {
		w.TrustRoot = f.file("root", "", fmt.Sprintf("the name of one of trust_roots in the configuration: the one with the authority that issued the certificates, %q%s",
			authority, instanceOf(authority)))
	} else if !slices.Contains(f.under, authority) {
		f.under = append(f.under, authority)
	}
	tlog, sct, timestamps := 1, 1, 1
	for _, x := range chosen {
		w.Identities = append(w.Identities, identityOf(x, sets))
		for _, set := range sets {
			for _, e := range set[x] {
				tlog, sct, timestamps = tlog&one(e.Logged), sct&one(e.SCT), timestamps&one(e.Timestamped)
			}
		}
	}
	if t := (thresholds{tlog, sct, timestamps}); t != (thresholds{1, 1, 0}) { // what counts when nothing is said
		w.Thresholds = &t
	}
	return w
}

// identityOf is an identity with the fields that are the same in all its certificates.
func identityOf(x offer, sets []offered) wantedIdentity {
	field := func(name string) string {
		value, first := "", true
		for _, set := range sets {
			for _, e := range set[x] {
				if first {
					value, first = e.Fields[name], false
				}
				if e.Fields[name] != value {
					return ""
				}
			}
		}
		return value
	}
	return wantedIdentity{x.issuer, x.subject, field("sourceRepositoryURI"), field("sourceRepositoryRef"), field("runnerEnvironment")}
}

// instanceOf says which sigstore instance an authority says to be of, when it is one
// that many use.
func instanceOf(authority string) string {
	switch {
	case strings.Contains(authority, "O=sigstore.dev"):
		return ", as the public good instance of sigstore calls itself"
	case strings.Contains(authority, "O=GitHub"):
		return ", as GitHub's own instance calls itself"
	}
	return ""
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// print writes the proposal for a person to approve.
func (p proposal) print(w io.Writer) error {
	if len(p.scopes) == 0 {
		_, err := io.WriteString(w, "\nnothing can be proposed\n")
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "\nThis is a proposal. Nothing was verified: whoever may push can have written what was found.\nIt is a whole policy.json; where there is one already, take over the scopes.\n\n")
	// A whole file, so that it can be checked as it is. What no scope names is refused.
	policy := struct {
		Default    []wanted                       `json:"default"`
		Transports map[string]map[string][]wanted `json:"transports"`
	}{[]wanted{{Type: "reject"}}, p.transports}
	if err := writeJSON(&b, policy); err != nil {
		return err
	}
	b.WriteByte('\n')
	for _, name := range p.files.names {
		fmt.Fprintf(&b, "%s: %s\n", name, p.files.what[name])
	}
	for _, authority := range p.files.under {
		fmt.Fprintf(&b, "trust root %s, the only one that is configured, is taken to have the authority %q%s\n", p.files.root, authority, instanceOf(authority))
	}
	for _, s := range p.scopes {
		s.print(&b)
	}
	fmt.Fprintf(&b, "Compare the signers with what the publisher says, then ask: pullgate policy lint, and pullgate check for each image.\n")
	_, err := w.Write(b.Bytes())
	return err
}

func (s scopeProposal) print(b *bytes.Buffer) {
	switch {
	case len(s.accepted) == 0:
		fmt.Fprintf(b, "%s: its images carry nothing that a requirement could accept, so all are refused\n", s.scope)
	case s.either:
		fmt.Fprintf(b, "%s: no one signer stands for all its images, so any of several will do; see which one is for which image\n", s.scope)
	}
	if len(s.accepted) > 0 && len(s.left) > 0 {
		fmt.Fprintf(b, "%s: would be denied, as nothing they carry could be accepted: %s\n", s.scope, strings.Join(s.left, ", "))
	}
	for _, a := range s.attestations {
		fmt.Fprintf(b, "%s: all its images carry an attestation too, which attested can require: %s\n", s.scope, a)
	}
}
