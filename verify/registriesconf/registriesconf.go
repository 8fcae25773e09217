// Package registriesconf reads registries.conf as podman, buildah, skopeo and CRI-O
// do, with the library that they read it with (containers-registries.conf(5),
// containers-registries.conf.d(5)): which registry, mirror or block an image's name
// leads to.
//
// It promises to say what these programs would do with the same files. It reads the
// files it is given and nothing else of the machine, and it never decides what an
// image is: the policy knows images by their own names.
package registriesconf

import (
	"fmt"

	"go.podman.io/image/v5/pkg/sysregistriesv2"
	"go.podman.io/image/v5/types"
)

// Conf is what several files say together.
type Conf = sysregistriesv2.V2RegistriesConf

// Registry is one [[registry]] with its mirrors.
type Registry = sysregistriesv2.Registry

// Endpoint is one place where a registry or a mirror is.
type Endpoint = sysregistriesv2.Endpoint

// Files are the main file and the directory of drop-ins, *.conf in the order of
// their names; a directory that is not there has none.
type Files struct{ Main, DropIns string }

func (f Files) context() *types.SystemContext {
	return &types.SystemContext{SystemRegistriesConfPath: f.Main, SystemRegistriesConfDirPath: f.DropIns}
}

// Load reads the files anew.
func Load(f Files) (*Conf, error) {
	sysregistriesv2.InvalidateCache()
	defer sysregistriesv2.InvalidateCache()
	conf, err := sysregistriesv2.TryUpdatingCache(f.context())
	if err != nil {
		return nil, fmt.Errorf("reading registries.conf: %w", err)
	}
	return conf, nil
}

// Find reads the files anew and returns the registry that an image's name leads to,
// nil when no [[registry]] is about it.
func Find(f Files, image string) (*Registry, error) {
	sysregistriesv2.InvalidateCache()
	defer sysregistriesv2.InvalidateCache()
	r, err := sysregistriesv2.FindRegistry(f.context(), image)
	if err != nil {
		return nil, fmt.Errorf("reading registries.conf: %w", err)
	}
	return r, nil
}
