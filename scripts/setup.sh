#!/bin/sh
# Installs what eyelet needs, by Debian package; does nothing where everything is there already.
# Usage: scripts/setup.sh          what building needs
#        scripts/setup.sh test     and what only the tests use: cmocka, pytest, and on x86-64 the arm64 cross compiler, libraries and qemu
set -eu
need=""
want() { # package, then a test that it is there
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
want libmicrohttpd-dev pkg-config --exists libmicrohttpd
want libgnutls28-dev pkg-config --exists gnutls
want libprotobuf-c-dev pkg-config --exists libprotobuf-c
want protobuf-c-compiler command -v protoc-c
want libonnx-dev test -e /usr/include/onnx/onnx.proto # the schema, a text
want libcurl4-openssl-dev pkg-config --exists libcurl
want libstemmer-dev test -e /usr/include/libstemmer.h
arm64=no
if [ "${1:-}" = test ]; then
    want libcmocka-dev pkg-config --exists cmocka
    want g++ command -v c++
    want libopenmpi-dev pkg-config --exists ompi-c # these two: training by several processes
    want openmpi-bin command -v mpirun
    want python3-numpy /usr/bin/python3 -c "import numpy" # the three of them: tests of the Python package
    want python3-pil /usr/bin/python3 -c "import PIL"
    want python3-pytest /usr/bin/python3 -c "import pytest"
    if [ "$(uname -m)" = x86_64 ] && command -v dpkg >/dev/null 2>&1; then
        want qemu-user-static command -v qemu-aarch64-static
        want gcc-aarch64-linux-gnu command -v aarch64-linux-gnu-gcc
        for pc in jansson libmicrohttpd gnutls libcurl libjpeg spng libwebp libprotobuf-c cmocka; do
            test -e "/usr/lib/aarch64-linux-gnu/pkgconfig/$pc.pc" || arm64=yes
        done
        test -e /usr/lib/aarch64-linux-gnu/libstemmer.so || arm64=yes
        if [ $arm64 = yes ]; then
            need="$need libc6-dev:arm64 libjansson-dev:arm64 libmicrohttpd-dev:arm64 libgnutls28-dev:arm64 libcurl4-openssl-dev:arm64 libjpeg62-turbo-dev:arm64 libspng-dev:arm64 libwebp-dev:arm64 libprotobuf-c-dev:arm64 libstemmer-dev:arm64 libcmocka-dev:arm64"
        fi
    fi
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
        echo "setup: missing packages:$need; as root: scripts/setup.sh ${1:-}" >&2
        exit 1
    fi
    as_root=sudo
fi
echo "setup: installing$need"
[ $arm64 = no ] || $as_root dpkg --add-architecture arm64
$as_root apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $need >/dev/null
echo "setup: done"
