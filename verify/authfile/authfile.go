// Package authfile reads registry credentials from an auth.json or docker
// config.json (containers-auth.json(5)).
//
// It looks at the one file it is given and at the credential helpers that file
// names, never at the host's other configuration, the environment or the home
// directory. A file that cannot be read and a helper that fails are errors: they
// never end as an anonymous request. It never writes, and its errors hold no
// secrets.
package authfile

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"
	podman "go.podman.io/image/v5/docker/reference"
	"go.podman.io/image/v5/pkg/docker/config"
	"go.podman.io/image/v5/types"

	"github.com/pullgate/pullgate/verify/discover"
)

const (
	maxFile    = 4 << 20 // bytes of an auth file
	fixMissing = "create it with podman login --authfile, or leave auth_file empty for anonymous access"
	// noDirectory can never exist: procfs takes no new entries.
	noDirectory = "/proc/self/no-registries.conf.d"
)

// file is what this package itself reads of an auth file; entries are left to the
// library.
type file struct {
	Auths       map[string]json.RawMessage `json:"auths"`
	CredHelpers map[string]string          `json:"credHelpers"`
	CredsStore  string                     `json:"credsStore"`
}

// helperName is a credential helper's name: docker-credential-NAME on PATH.
var helperName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// Credentials returns a function that looks up the credentials for a repository:
// the most specific of registry/namespace/repository and its parents up to the
// registry, the registry's helper in credHelpers before that, the helper in
// credsStore last. All results are empty when there are none, and always when name
// is empty. The file is read again at each call, so a rotated secret needs no
// restart.
func Credentials(name string) func(ctx context.Context, repo reference.Named) (username, password, identityToken string, err error) {
	return func(ctx context.Context, repo reference.Named) (string, string, string, error) {
		if name == "" {
			return "", "", "", nil
		}
		c, err := lookup(ctx, name, repo)
		if err != nil {
			return "", "", "", fmt.Errorf("credentials for %s: %w", repo.Name(), err)
		}
		return c.Username, c.Password, c.IdentityToken, nil
	}
}

// Check tells whether the file can be read and the helpers it names are on PATH; it
// runs none of them. An empty name is fine.
func Check(name string) error {
	if name == "" {
		return nil
	}
	f, err := read(name)
	if err != nil {
		return err
	}
	for _, h := range f.helpers() {
		if _, err := exec.LookPath(helperPrefix + h); err != nil {
			return fmt.Errorf("auth file %s: credential helper %s: %w; fix: install it, or take it out of the file", name, h, err)
		}
	}
	return nil
}

// helpers lists the helpers that the file names, sorted, each once.
func (f file) helpers() []string {
	all := slices.Collect(maps.Values(f.CredHelpers))
	all = append(all, f.CredsStore)
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(h string) bool { return h == "" })
}

// read parses the file as far as this package needs it.
func read(name string) (file, error) {
	var f file
	b, err := discover.ReadRegular(name, maxFile)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return f, fmt.Errorf("auth file %s does not exist; fix: %s", name, fixMissing)
		}
		return f, fmt.Errorf("auth file: %w", err)
	}
	// The decoder's own error could quote a secret.
	if json.Unmarshal(b, &f) != nil {
		return f, fmt.Errorf("auth file %s: not JSON of the form {\"auths\": {…}}", name)
	}
	for registry, entry := range f.Auths {
		if err := checkEntry(registry, entry); err != nil {
			return f, fmt.Errorf("auth file %s: %w", name, err)
		}
	}
	for _, h := range f.helpers() {
		if !helperName.MatchString(h) {
			return f, fmt.Errorf("auth file %s: %.40q is not the name of a credential helper", name, h)
		}
	}
	return f, nil
}

// checkEntry refuses entries that the library would pass over as if there were
// none: an "auth" that is not base64 of user:password.
func checkEntry(registry string, raw json.RawMessage) error {
	var entry struct {
		Auth string `json:"auth"`
	}
	if json.Unmarshal(raw, &entry) != nil {
		return fmt.Errorf("auths.%.100q: expected an object with \"auth\"", registry)
	}
	decoded, err := base64.StdEncoding.DecodeString(entry.Auth)
	if err != nil || (len(decoded) > 0 && !strings.Contains(string(decoded), ":")) {
		return fmt.Errorf("auths.%.100q.auth: expected base64 of user:password", registry)
	}
	return nil
}

// lookup finds the credentials for one repository.
func lookup(ctx context.Context, name string, repo reference.Named) (types.DockerAuthConfig, error) {
	f, err := read(name)
	if err != nil {
		return types.DockerAuthConfig{}, err
	}
	registry := reference.Domain(repo)
	if h := f.CredHelpers[registry]; h != "" {
		return runHelper(ctx, h, registry)
	}
	named, err := podman.ParseNamed(reference.TrimNamed(repo).String())
	if err != nil {
		return types.DockerAuthConfig{}, err
	}
	c, err := config.GetCredentialsForRef(&types.SystemContext{
		AuthFilePath: name,
		// Nothing of the host's own configuration: an empty file, no drop-ins.
		SystemRegistriesConfPath:    os.DevNull,
		SystemRegistriesConfDirPath: noDirectory,
	}, named)
	if err != nil {
		return types.DockerAuthConfig{}, fmt.Errorf("auth file %s: %w", name, err)
	}
	if c == (types.DockerAuthConfig{}) && f.CredsStore != "" {
		return runHelper(ctx, f.CredsStore, storeKey(registry))
	}
	return c, nil
}
