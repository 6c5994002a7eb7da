#!/bin/sh
# Installs what building eyelet needs, by Debian package; does nothing where everything is there already.
# Usage: scripts/setup.sh [test]     "test" adds what only the tests use.
set -eu
need=""
want() { # package, and a test that it is there
    pkg=$1
    shift
    if ! "$@" >/dev/null 2>&1; then need="$need $pkg"; fi
}
want gcc command -v cc
want libc6-dev test -e /usr/include/stdio.h
want meson command -v meson
want ninja-build command -v ninja
want pkgconf command -v pkg-config
want libjansson-dev pkg-config --exists jansson
want libjpeg62-turbo-dev pkg-config --exists libjpeg
want libspng-dev pkg-config --exists spng
want libwebp-dev pkg-config --exists libwebp
if [ "${1:-}" = test ]; then
    want libcmocka-dev pkg-config --exists cmocka
    want qemu-user-static command -v qemu-aarch64-static
    want gcc-aarch64-linux-gnu command -v aarch64-linux-gnu-gcc
    want libc6-dev-arm64-cross test -d /usr/aarch64-linux-gnu/include
fi
if [ -z "$need" ]; then
    echo "setup: all packages are there"
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: this is not Debian or Ubuntu; please install the equivalents of:$need" >&2
    exit 1
fi
as_root=""
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "setup: missing packages:$need; run as root: apt-get install$need" >&2
        exit 1
    fi
    as_root=sudo
fi
echo "setup: installing$need"
$as_root apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $need >/dev/null
echo "setup: done"
