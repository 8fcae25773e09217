package main

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/pullgate/pullgate/cmd/pullgate-demo/hello"
)

// registryName is what the policy calls the demonstration's registry. It exists
// nowhere: the gate reaches it through the configured endpoint.
const registryName = "demo.example"

// Repositories of the demonstration; each has the one tag v1.
const (
	signedRepo    = "demo/signed"
	multiarchRepo = "demo/multiarch"
	unsignedRepo  = "demo/unsigned"
	wrongkeyRepo  = "demo/wrongkey"
	tamperedRepo  = "demo/tampered"
	tag           = "v1"
)

// entry is what the registry holds in one repository.
type entry struct {
	repo  string
	image hello.Image
}

// world is everything the two servers hold.
type world struct {
	arch    string
	entries []entry
	// original is what demo/tampered:v1 was when it was signed. The registry now
	// serves the entry's image for the tag, and for the original's digest as well.
	original hello.Image
	// signatures by path on the signature server.
	signatures map[string][]byte
	trusted    []byte // public key, armored
	trustedID  string // its key ID as people write it, 0x…
	wrongID    string
}

// hostArchitecture is the architecture of the single images: the host's, so that
// they run here, or amd64 when no program can be made for it.
func hostArchitecture() string {
	if slices.Contains(hello.Architectures(), runtime.GOARCH) {
		return runtime.GOARCH
	}
	return "amd64"
}

// buildWorld makes keys, images and signatures.
func buildWorld(arch string) (*world, error) {
	trusted, err := newKey("Pullgate demo release key")
	if err != nil {
		return nil, err
	}
	wrong, err := newKey("Pullgate demo key that no policy trusts")
	if err != nil {
		return nil, err
	}
	armored, err := trusted.armored()
	if err != nil {
		return nil, err
	}
	w := &world{arch: arch, signatures: map[string][]byte{}, trusted: armored, trustedID: trusted.id(), wrongID: wrong.id()}
	if err := w.addImages(); err != nil {
		return nil, err
	}
	return w, w.addSignatures(trusted, wrong)
}

func (w *world) addImages() error {
	for _, e := range []struct{ repo, text string }{
		{signedRepo, "Hello from an image that passed the gate.\n"},
		{unsignedRepo, "Hello from an image without a signature. It should not have passed the gate.\n"},
		{wrongkeyRepo, "Hello from an image signed by an untrusted key. It should not have passed the gate.\n"},
		{tamperedRepo, "Hello from the program that was swapped in after signing. It should not have passed the gate.\n"},
	} {
		img, err := hello.New(w.arch, e.text)
		if err != nil {
			return fmt.Errorf("image %s: %w", e.repo, err)
		}
		w.entries = append(w.entries, entry{e.repo, img})
	}
	var err error
	if w.original, err = hello.New(w.arch, "Hello from the image as it was signed.\n"); err != nil {
		return fmt.Errorf("image %s: %w", tamperedRepo, err)
	}
	var platforms []hello.Image
	for _, arch := range hello.Architectures() {
		img, err := hello.New(arch, "Hello from the "+arch+" image of a signed index.\n")
		if err != nil {
			return fmt.Errorf("image %s: %w", multiarchRepo, err)
		}
		platforms = append(platforms, img)
	}
	index, err := hello.NewIndex(platforms...)
	if err != nil {
		return fmt.Errorf("image %s: %w", multiarchRepo, err)
	}
	w.entries = append(w.entries, entry{multiarchRepo, index})
	return nil
}

// addSignatures signs what is to be signed. Of demo/multiarch only the index is,
// as most publishers do it.
func (w *world) addSignatures(trusted, wrong *key) error {
	for _, s := range []struct {
		key          *key
		repo         string
		signed, kept digest.Digest // what the signature is for, and where it lies
	}{
		{trusted, signedRepo, w.image(signedRepo).Digest, w.image(signedRepo).Digest},
		{trusted, multiarchRepo, w.image(multiarchRepo).Digest, w.image(multiarchRepo).Digest},
		{wrong, wrongkeyRepo, w.image(wrongkeyRepo).Digest, w.image(wrongkeyRepo).Digest},
		// Whoever altered the image copied the good signature along with it.
		{trusted, tamperedRepo, w.original.Digest, w.original.Digest},
		{trusted, tamperedRepo, w.original.Digest, w.image(tamperedRepo).Digest},
	} {
		sig, err := s.key.sign(registryName+"/"+s.repo+":"+tag, s.signed)
		if err != nil {
			return fmt.Errorf("signature of %s: %w", s.repo, err)
		}
		w.signatures[fmt.Sprintf("/%s@%s=%s/signature-1", s.repo, s.kept.Algorithm(), s.kept.Encoded())] = sig
	}
	return nil
}

// image returns the image that a repository's tag leads to.
func (w *world) image(repo string) hello.Image {
	for _, e := range w.entries {
		if e.repo == repo {
			return e.image
		}
	}
	return hello.Image{}
}
