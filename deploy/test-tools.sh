#!/bin/sh
# Installs the real clients, registries and signers that the tests run, where that
# is possible: as root on a system with apt. Elsewhere it says what is missing.
set -eu

packages="docker.io skopeo podman buildah containerd docker-registry gnupg curl iproute2 gcc libc6-dev wrk nginx-light"
commands="dockerd docker skopeo podman buildah containerd ctr docker-registry gpg curl ip gcc wrk nginx"

missing=""
for c in $commands; do
	PATH="$PATH:/usr/sbin:/sbin" command -v "$c" >/dev/null 2>&1 || missing="$missing $c"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	export DEBIAN_FRONTEND=noninteractive
	# A package that starts a service on installation must not start one here.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' >$policy
		chmod 755 $policy
		trap 'rm -f $policy' EXIT
	fi
	apt-get update -qq
	# shellcheck disable=SC2086 # a list of words
	apt-get install -y -qq --no-install-recommends $packages >/dev/null
	exit 0
fi

echo "missing for the tests:$missing (Debian packages: $packages)" >&2
if [ "${TEST_GAPS:-}" != allowed ]; then
	echo "TEST_GAPS=allowed leaves out the tests that need them" >&2
	exit 1
fi
