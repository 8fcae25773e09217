#!/bin/sh
# Makes what `make test-clients` runs: root file systems of newer Debian releases
# with their registry clients, and BuildKit, which Debian has no package of. Prints
# the directory that holds them, with these below it:
#
#	<release>/root      a file system to enter with chroot
#	<release>/packages  the versions of the clients in it, "name version" a line
#
# They are made once and kept in the user's cache, under a hash of everything that
# is decided here. Needs root, apt, Go and the network, and fails when something is
# not to be had: a client that is not there must not count as a client that passed.
#
#	PULLGATE_TEST_RELEASES  releases to make, all of them when unset
#	DEBIAN_MIRROR           where packages come from
set -eu

# The newest (docker 28, containerd 2, podman 5.8) and the stable one.
releases="${PULLGATE_TEST_RELEASES:-forky trixie}"
mirror="${DEBIAN_MIRROR:-http://deb.debian.org/debian}"
packages="docker.io docker-cli docker-buildx containerd podman buildah skopeo runc ca-certificates"
buildkit=v0.34.2

base="${XDG_CACHE_HOME:-$HOME/.cache}/pullgate-test-clients"
key="$({ cat "$0" && uname -m; } | sha256sum | cut -c1-16)"
cache="$base/$key"
built="buildkit-$buildkit-$(uname -m)"

fail() {
	echo "test-clients: $*" >&2
	exit 1
}

# tools installs what makes the roots.
tools() {
	command -v mmdebstrap >/dev/null 2>&1 && return
	command -v apt-get >/dev/null 2>&1 || fail "mmdebstrap is missing, and apt-get to install it with"
	apt-get update -qq >&2
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mmdebstrap >&2
}

# apt_options writes those of this machine's settings that decide how packages can
# be had, which mmdebstrap does not read.
apt_options() {
	for name in Acquire::Check-Valid-Until Acquire::http::Proxy Acquire::Retries; do
		apt-config dump --format '%F "%v";%n' "$name"
	done
	echo 'APT::Install-Recommends "false";'
}

# make_buildkit builds buildkitd and buildctl in $1. Its go.mod has directives that
# `go install` refuses in a module that is not the main one, so it becomes that.
make_buildkit() {
	export GOFLAGS="-mod=mod -modcacherw" GOMODCACHE="$1/modules" GOWORK=off
	at="$(cd "$1" && go mod download -json "github.com/moby/buildkit@$buildkit" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')"
	[ -d "$at" ] || fail "no source of BuildKit $buildkit"
	(cd "$at" && CGO_ENABLED=0 go build -trimpath -o "$1" \
		-ldflags "-s -w -X github.com/moby/buildkit/version.Version=$buildkit" ./cmd/buildkitd ./cmd/buildctl) >&2
	rm -rf "$1/modules"
	unset GOFLAGS GOMODCACHE GOWORK
}

# make_root makes the root of release $1 in $2.
make_root() {
	apt_options >"$work/apt.conf"
	mmdebstrap --quiet --mode=root --variant=apt --include="$(echo "$packages" | tr ' ' ',')" --aptopt="$work/apt.conf" \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		"$1" "$2/root" "$mirror" >&2
	cp "$base/$built/buildkitd" "$base/$built/buildctl" "$2/root/usr/local/bin/"
	{
		# shellcheck disable=SC2086 # a list of words
		dpkg-query --admindir="$2/root/var/lib/dpkg" -W -f '${Package} ${Version}\n' $packages
		echo "buildkit $buildkit"
	} >"$2/packages"
}

complete() {
	for release in $releases; do
		[ -e "$cache/$release/packages" ] || return 1
	done
}

[ "$(id -u)" = 0 ] || fail "needs root: the clients' daemons do"
mkdir -p "$base"
exec 9>"$base/lock"
flock 9
if ! complete; then
	tools
	work="$(mktemp -d "$base/new.XXXXXX")"
	trap 'rm -rf "$work"' EXIT
	if [ ! -e "$base/$built" ]; then
		mkdir "$work/$built"
		make_buildkit "$work/$built"
		mv "$work/$built" "$base/$built"
	fi
	for release in $releases; do
		[ ! -e "$cache/$release/packages" ] || continue
		mkdir "$work/$release"
		make_root "$release" "$work/$release"
		mkdir -p "$cache"
		rm -rf "${cache:?}/$release"
		mv "$work/$release" "$cache/$release"
	done
	# What other versions of this file made.
	find "$base" -mindepth 1 -maxdepth 1 -type d ! -name "$key" ! -name "$built" ! -path "$work" -exec rm -rf {} +
fi
echo "$cache"
