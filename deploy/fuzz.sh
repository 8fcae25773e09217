#!/bin/sh
# Runs every fuzz target for a while, one after the other: fuzz.sh [time].
set -eu
time=${1:-10s}
grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do
	dir=$(dirname "$file")
	sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file" | while read -r target; do
		echo "== $dir $target"
		go test -tags containers_image_openpgp -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$dir"
	done
done
