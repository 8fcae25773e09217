// Package conformance is a client of sigstore-conformance, the test suite for
// verifiers of sigstore bundles (github.com/sigstore/sigstore-conformance). It
// speaks the suite's command line (its docs/cli_protocol.md) and leaves every
// decision to verify/bundle. It is for tests and is not part of the product.
package conformance

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tuf"

	"github.com/pullgate/pullgate/verify/bundle"
)

// Usage is the command that is understood.
const Usage = "verify-bundle [--staging] --bundle FILE (--certificate-identity ID --certificate-oidc-issuer URL | --key FILE) [--trusted-root FILE] FILE_OR_DIGEST"

// options of verify-bundle.
type options struct {
	staging                                bool
	bundle, identity, issuer, key, trusted string
}

// Run carries out one command; args are without the program's name. Nil means
// that the bundle verifies. Without a trusted root, the one of sigstore's public
// instance, or of its staging one, is fetched from its TUF mirror.
func Run(args []string) error {
	if len(args) == 0 || args[0] != "verify-bundle" {
		return errors.New("expected " + Usage)
	}
	var o options
	flags := flag.NewFlagSet("verify-bundle", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&o.staging, "staging", false, "")
	flags.StringVar(&o.bundle, "bundle", "", "")
	flags.StringVar(&o.identity, "certificate-identity", "", "")
	flags.StringVar(&o.issuer, "certificate-oidc-issuer", "", "")
	flags.StringVar(&o.key, "key", "", "")
	flags.StringVar(&o.trusted, "trusted-root", "", "")
	if err := flags.Parse(args[1:]); err != nil {
		return fmt.Errorf("%w; expected %s", err, Usage)
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("expected one file or digest, found %d; expected %s", flags.NArg(), Usage)
	}
	trust, err := o.trust()
	if err != nil {
		return err
	}
	subject, err := subjectOf(flags.Arg(0))
	if err != nil {
		return err
	}
	doc, err := os.ReadFile(o.bundle)
	if err != nil {
		return err
	}
	_, err = bundle.Verify(doc, subject, trust)
	return err
}

// trust is what was asked for on the command line. Like a policy, it asks for no
// proof that the root cannot give: a root without certificate transparency logs
// asks for no SCT. A key asks for a log entry, or for a timestamp when the root has
// authorities alone.
func (o *options) trust() (*bundle.Trust, error) {
	r, err := o.root()
	if err != nil {
		return nil, fmt.Errorf("trusted root: %w", err)
	}
	t := &bundle.Trust{Root: r}
	if o.key != "" {
		pem, err := os.ReadFile(o.key)
		if err != nil {
			return nil, err
		}
		k, err := bundle.ParseKey(pem)
		if err != nil {
			return nil, fmt.Errorf("key: %w", err)
		}
		t.Keys = []bundle.Key{k}
		t.TLog = min(1, len(r.RekorLogs()))
		if t.TLog == 0 {
			t.Timestamps = min(1, len(r.TimestampingAuthorities()))
		}
	}
	if o.identity != "" || o.issuer != "" {
		id, err := bundle.ParseIdentity(o.issuer, "", o.identity, "", nil)
		if err != nil {
			return nil, err
		}
		t.Identities = []bundle.Identity{id}
		if len(r.CTLogs()) == 0 {
			t.SCT = bundle.None
		}
	}
	return t, nil
}

// root reads or fetches the trusted root.
func (o *options) root() (root.TrustedMaterial, error) {
	if o.trusted != "" {
		return root.NewTrustedRootFromPath(o.trusted)
	}
	mirror := tuf.DefaultOptions().WithDisableLocalCache()
	if o.staging {
		mirror = mirror.WithRoot(tuf.StagingRoot()).WithRepositoryBaseURL(tuf.StagingMirror)
	}
	return root.FetchTrustedRootWithOptions(mirror)
}

// subjectOf is the digest that arg is or, of any other argument, that the file of
// this name has.
func subjectOf(arg string) (digest.Digest, error) {
	if d, err := digest.Parse(arg); err == nil {
		if _, err := os.Stat(arg); err != nil {
			return d, nil
		}
	}
	f, err := os.Open(arg)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return digest.FromReader(f)
}
