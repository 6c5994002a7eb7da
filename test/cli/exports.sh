#!/bin/sh
# The shared library exports exactly what test/libeyelet.syms lists; the static one defines no global name without eye_.
# Usage: exports.sh LIBEYELET_SO LIBEYELET_A LIST
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

nm -D --defined-only "$1" | awk '{ print $NF }' | LC_ALL=C sort >"$tmp/got"
grep -v '^#' "$3" | LC_ALL=C sort >"$tmp/want"
if ! diff -u "$tmp/want" "$tmp/got"; then
    echo "exported names differ from $(basename "$3")"
    exit 1
fi
stray=$(nm -g "$2" 2>/dev/null | grep ' [ABCDGRST] ' | grep -v ' eye_' || true)
if [ -n "$stray" ]; then
    echo "global names without eye_ in the static library:"
    echo "$stray"
    exit 1
fi
