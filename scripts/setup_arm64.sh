#!/bin/sh
# Debian 12 on x86-64: what cross/aarch64-linux.ini needs. Run as root.
set -eu
dpkg --add-architecture arm64
apt-get update
apt-get install -y --no-install-recommends gcc-aarch64-linux-gnu qemu-user-static pkg-config \
    libc6-dev:arm64 libjansson-dev:arm64 libjpeg62-turbo-dev:arm64 libspng-dev:arm64 libwebp-dev:arm64 libcmocka-dev:arm64
