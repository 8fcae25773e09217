package attest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

const (
	hexA = "9ba7531bd80fb0a858632727cf7a112fbfd19b17e94c4e84ced81e24ef1a0dbc"
	hexB = "a9b24b67dc83b3383d22a14941c2b2b2ca6a103d805cac6820fd1355943beaf1"
)

// TestParseImageURI reads what build tools write.
func TestParseImageURI(t *testing.T) {
	const a = "@sha256:" + hexA
	for uri, want := range map[string]string{
		// BuildKit, util/purl: familiar names, the platform escaped.
		"pkg:docker/debian@12?platform=linux%2Famd64":                                                    "docker.io/library/debian:12",
		"pkg:docker/debian@12?digest=sha256:" + hexA + "&platform=linux%2Famd64":                         "docker.io/library/debian:12" + a,
		"pkg:docker/alpine?digest=sha256:" + hexA:                                                        "docker.io/library/alpine" + a,
		"pkg:docker/user/test@v2":                                                                        "docker.io/user/test:v2",
		"pkg:docker/ghcr.io/foo/bar@v2":                                                                  "ghcr.io/foo/bar:v2",
		"pkg:docker/registry.example.com%3A5000/base/os@9":                                               "registry.example.com:5000/base/os:9",
		"pkg:docker/registry.example.com:5000/base/os@9":                                                 "registry.example.com:5000/base/os:9",
		"pkg:docker/localhost/x@Tag_1.2":                                                                 "localhost/x:Tag_1.2",
		"pkg:docker/sources@1?ref_type=blob":                                                             "-",
		"pkg:docker/sources@1?ref_type=bundle&vcs_url=https://github.com/a/b":                            "-",
		"pkg:oci/local/image@1?platform=linux%2Famd64":                                                   "-", // an OCI layout on the builder
		"PKG:Docker/alpine@3":                                                                            "docker.io/library/alpine:3",
		"pkg://docker/alpine@3":                                                                          "docker.io/library/alpine:3",
		"pkg:docker/index.docker.io/my_image:latest@sha256:" + hexA:                                      "docker.io/library/my_image:latest" + a,
		"pkg:docker/customer/dockerimage@sha256%3A" + hexA + "?repository_url=gcr.io":                    "gcr.io/customer/dockerimage" + a,
		"pkg:oci/debian@sha256%3A" + hexA + "?repository_url=docker.io/library/debian&arch=amd64&tag=12": "docker.io/library/debian:12" + a,
		"pkg:oci/static@sha256:" + hexA + "?repository_url=gcr.io%2Fdistroless%2Fstatic":                 "gcr.io/distroless/static" + a,
		"pkg:oci/builder-image?repository_url=gcr.io":                                                    "gcr.io/builder-image",
		"pkg:oci/nginx@sha256:" + hexA + "?repository_url=docker.io/library":                             "docker.io/library/nginx" + a,
		"pkg:oci/x@sha256:" + hexA + "?repository_url=example.com/notx":                                  "example.com/notx/x" + a,
		"oci://quay.io/team/base":                                                                        "quay.io/team/base",
		"oci://registry.example.com/base/os@sha256:" + hexA:                                              "registry.example.com/base/os" + a,
		"docker://python:3.12-slim":                                                                      "docker.io/library/python:3.12-slim",
		"docker-image://docker.io/library/golang:1.26@sha256:" + hexA:                                    "docker.io/library/golang:1.26" + a,
		"gcr.io/cloud-builders/docker@sha256:" + hexA:                                                    "gcr.io/cloud-builders/docker" + a,
		"registry.example.com/base/os:9":                                                                 "registry.example.com/base/os:9",
		"git+https://github.com/acme/app@refs/heads/main":                                                "-",
		"https://registry.example.com/base/os:9":                                                         "-",
		"pkg:github/moby/buildkit@v0.11":                                                                 "-",
		"pkg:npm/%40angular/core@1":                                                                      "-",
		"main.go":                                                                                        "-",
		"docker.io/busybox@sha256:" + hexA:                                                               "docker.io/library/busybox" + a, // Cloud Build
		"quay.io/containers/skopeo:v1.16.1@sha256:" + hexA:                                               "quay.io/containers/skopeo:v1.16.1" + a,
		"cmd/app/main.go":                                                                                "-",
		"./Dockerfile":                                                                                   "-",
		"a.example.com/b c":                                                                              "-",
		"debian:12":                                                                                      "-", // no scheme: it could be anything
		"":                                                                                               "-",
		"pkg:":                                                                                           "-",
		"pkg:docker":                                                                                     "!",
		"pkg:docker/":                                                                                    "!",
		"pkg:docker/@12":                                                                                 "!",
		"pkg:docker/UPPER@1":                                                                             "!",
		"pkg:docker/a%2F..%2Fb@1":                                                                        "!",
		"pkg:docker/../../etc@1":                                                                         "!",
		"pkg:docker/debian@1 2":                                                                          "!",
		"pkg:docker/debian@%zz":                                                                          "!",
		"pkg:docker/debian@sha256:12":                                                                    "!",
		"pkg:docker/debian@md5:12":                                                                       "!",
		"pkg:docker/debian@12?digest=sha256:" + hexA + "&digest=sha256:" + hexB:                          "!",
		"pkg:docker/debian@sha256:" + hexA + "?digest=sha256:" + hexB:                                    "!",
		"pkg:docker/debian:11@12":                                                                        "!",
		"pkg:docker/debian@12?tag=11":                                                                    "!",
		"pkg:docker/debian@12?repository_url=https://gcr.io":                                             "!",
		"pkg:docker/debian@" + strings.Repeat("1", maxImageURI):                                          "!",
		"docker://":                    "!",
		"oci://user:secret@host/a":     "!",
		"docker://registry/a\x1b[31mb": "!",
	} {
		img, err := ParseImageURI(uri)
		got := "!"
		switch {
		case errors.Is(err, ErrNoImage):
			got = "-"
		case err == nil:
			got = img.text()
		}
		if got != want {
			t.Errorf("%q: expected %s, found %s (%v)", uri, want, got, err)
		}
		if err != nil && (len(err.Error()) > 2*maxReason || strings.ContainsRune(err.Error(), '\x1b')) {
			t.Errorf("%.40q: not to be shown: %q", uri, err)
		}
	}
}

func (i Image) text() string {
	out := i.Repository.Name()
	if i.Tag != "" {
		out += ":" + i.Tag
	}
	if i.Digest != "" {
		out += "@" + i.Digest.String()
	}
	return out
}

// TestMaterialImage: the digest beside the URI belongs to it.
func TestMaterialImage(t *testing.T) {
	a, b := digest.Digest("sha256:"+hexA), digest.Digest("sha256:"+hexB)
	for uri, c := range map[string]struct {
		beside []digest.Digest
		want   digest.Digest
		fails  bool
	}{
		"pkg:docker/a@1":                         {[]digest.Digest{a}, a, false},
		"pkg:docker/b@1":                         {nil, "", false},
		"pkg:docker/c@1?digest=" + a.String():    {[]digest.Digest{a}, a, false},
		"pkg:docker/d@1?digest=" + a.String():    {nil, a, false},
		"pkg:docker/e@1?digest=" + a.String():    {[]digest.Digest{b}, "", true},
		"git+https://example.com/a@refs/heads/b": {[]digest.Digest{a}, "", true},
	} {
		img, err := Material{URI: uri, Digest: c.beside}.Image()
		if (err != nil) != c.fails || img.Digest != c.want {
			t.Errorf("%s: expected %q, found %q, %v", uri, c.want, img.Digest, err)
		}
	}
}

// TestMaterials reads both versions of provenance, and nothing that could be read in
// two ways.
func TestMaterials(t *testing.T) {
	const one = `[{"uri":"pkg:docker/debian@12?platform=linux%2Famd64","digest":{"sha256":"` + hexA + `"}}]`
	for predicate, c := range map[string]struct {
		kind, want string
	}{
		`{"materials":` + one + `}`:                                                       {ProvenanceV02, "1"},
		`{"buildDefinition":{"resolvedDependencies":` + one + `}}`:                        {ProvenanceV1, "1"},
		`{"buildDefinition":{"resolvedDependencies":` + one + `},"runDetails":{}}`:        {ProvenanceV02, "0"},
		`{"materials":` + one + `,"x":1}`:                                                 {ProvenanceV1, "expected buildDefinition to be an object, found nothing"},
		`{"materials":` + one + `,"y":1}`:                                                 {"https://slsa.dev/provenance/v0.1", "expected SLSA provenance"},
		`{"builder":{}}`:                                                                  {ProvenanceV02, "0"},
		`{"materials":null}`:                                                              {ProvenanceV02, "0"},
		`{"materials":{}}`:                                                                {ProvenanceV02, "expected materials to be a list"},
		`{"materials":["x"]}`:                                                             {ProvenanceV02, "materials[0]: expected an object"},
		`{"materials":[{"uri":1}]}`:                                                       {ProvenanceV02, "expected uri to be a string"},
		`{"materials":[{"uri":"x","URI":"y"}]}`:                                           {ProvenanceV02, "which some read as"},
		`{"materials":[],"Materials":[]}`:                                                 {ProvenanceV02, "which some read as"},
		`{"buildDefinition":{"resolved_dependencies":[]}}`:                                {ProvenanceV1, "which some read as"},
		`{"buildDefinition":{},"BuildDefinition":{}}`:                                     {ProvenanceV1, "which some read as"},
		`{"materials":[{"uri":"x","digest":"` + hexA + `"}]}`:                             {ProvenanceV02, "expected digest to be an object"},
		`{"materials":[{"uri":"x","digest":{"sha256":"789abc"}}]}`:                        {ProvenanceV02, "in lower case hex"},
		`{"materials":[{"uri":"git+https://x","digest":{"sha1":"1"}}]}`:                   {ProvenanceV02, "1"},
		`{"materials":[{"uri":"x","digest":{}}]}`:                                         {ProvenanceV02, "1"},
		`{"buildDefinition":{"resolvedDependencies":[{"name":"a","content":"aGVsbG8"}]}}`: {ProvenanceV1, "1"},
		`null`: {ProvenanceV02, "expected predicate to be an object, found nothing"},
		`[]`:   {ProvenanceV1, "expected predicate to be an object"},
	} {
		s, err := ParseStatement(fmt.Appendf(nil, `{"_type":%q,"predicateType":%q,"subject":[{"name":"a","digest":{"sha256":%q}}],"predicate":%s}`,
			StatementV01, c.kind, hexB, predicate))
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.Materials()
		got := fmt.Sprint(len(m))
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) || err == nil && got != c.want {
			t.Errorf("%s as %s: expected %s, found %s", predicate, c.kind, c.want, got)
		}
	}
}

// FuzzParseImageURI: what is read as an image has a name, and a tag and digest that fit
// into one.
func FuzzParseImageURI(f *testing.F) {
	for _, s := range []string{
		"pkg:docker/debian@12?digest=sha256:" + hexA + "&platform=linux%2Famd64",
		"pkg:oci/static@sha256%3A" + hexA + "?repository_url=gcr.io/distroless/static&tag=latest",
		"oci://registry.example.com:5000/base/os@sha256:" + hexA, "docker://python:3", "gcr.io/a/b:c", "git+https://x/y@z", "pkg:/docker//a@@",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		img, err := ParseImageURI(uri)
		if err != nil {
			if img.Repository != nil || img.Tag != "" || img.Digest != "" {
				t.Fatalf("%q: %+v beside %v", uri, img, err)
			}
			return
		}
		again, err := ParseImageURI("docker://" + img.text())
		if err != nil || again.text() != img.text() {
			t.Fatalf("%q is read as %s, which is read as %+v, %v", uri, img.text(), again, err)
		}
	})
}

// TestTooManyMaterials: each is parsed as a name, for a statement that nobody signed.
func TestTooManyMaterials(t *testing.T) {
	for n, want := range map[int]bool{maxMaterials: true, maxMaterials + 1: false} {
		list := strings.TrimSuffix(strings.Repeat(`{"uri":"a.b/c"},`, n), ",")
		s, err := ParseStatement(fmt.Appendf(nil, `{"_type":%q,"predicateType":%q,"subject":[{"digest":{"sha256":%q}}],"predicate":{"materials":[%s]}}`,
			StatementV01, ProvenanceV02, hexA, list))
		if err != nil {
			t.Fatal(err)
		}
		if m, err := s.Materials(); (err == nil) != want || want && len(m) != n {
			t.Errorf("%d materials: read %d, %v", n, len(m), err)
		}
	}
}
