#!/bin/sh
# Makes e2e/testdata/vectors anew: images and the evidence about them as real signers
# leave it in a registry. Builds the signers where the cache does not have them
# (cosign takes some minutes), with nothing but Go and its module proxy; needs
# docker-registry and openssl beside that. `sh deploy/test-vectors.sh --build` only
# builds them, and prints their directory.
set -eu

cosign2=v2.6.5
cosign3=v3.1.3
notation=v1.3.2

base="${XDG_CACHE_HOME:-$HOME/.cache}/pullgate-vectors"
key="$(echo "$cosign2 $cosign3 $notation $(uname -m)" | tr ' ' '_')"
bin="$base/$key"

fail() {
	echo "test-vectors: $*" >&2
	exit 1
}

# build puts the command of a module into the cache under a name. Modules whose
# go.mod has replacements must be the main module to be built.
build() {
	[ ! -x "$bin/$1" ] || return 0
	echo "test-vectors: building $1" >&2
	at="$(cd "$work" && go mod download -json "$2" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')"
	[ -d "$at" ] || fail "no source of $2"
	cp -r "$at" "$work/$1"
	chmod -R u+w "$work/$1"
	(cd "$work/$1" && CGO_ENABLED=0 GOFLAGS=-mod=mod GOWORK=off go build -trimpath -ldflags '-s -w' -o "$work/$1.bin" "$3") >&2
	mv "$work/$1.bin" "$bin/$1"
}

for c in go docker-registry openssl; do
	command -v "$c" >/dev/null 2>&1 || fail "$c is missing"
done
mkdir -p "$bin"
exec 9>"$base/lock"
flock 9
work="$(mktemp -d "$base/new.XXXXXX")"
trap 'rm -rf "$work"' EXIT
build notation "github.com/notaryproject/notation@$notation" ./cmd/notation
build cosign2 "github.com/sigstore/cosign/v2@$cosign2" ./cmd/cosign
build cosign3 "github.com/sigstore/cosign/v3@$cosign3" ./cmd/cosign

if [ "${1:-}" = --build ]; then
	echo "$bin"
	exit 0
fi
cd "$(dirname "$0")/.."
PULLGATE_SIGNERS="$bin" CGO_ENABLED=0 go test -count=1 -timeout 20m -tags e2e,containers_image_openpgp -run '^TestVectors$' ./e2e/
