#!/bin/sh
# The server under load, with sanitizers: builds `eyelet` with AddressSanitizer and UndefinedBehaviorSanitizer, then CLIENTS clients
# (64) for SECONDS seconds (300), an eighth as many hostile ones beside them, the default model. What is asked, and what must hold:
# test/reference/serve_soak.py. Ends with "N passed, N failed".
# Usage: scripts/soak.sh [SECONDS] [CLIENTS] [arguments of serve_soak.py]     BUILD=folder, as scripts/test.sh has it
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}-asan
seconds=${1:-300}
clients=${2:-64}
[ $# -lt 2 ] || shift 2
test -e "$build/build.ninja" || meson setup "$build" -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false \
    -Ddefault_library=static
ninja -C "$build" eyelet
python3 test/reference/serve_soak.py "$build/eyelet" --model models/captioner.gguf --seconds "$seconds" --clients "$clients" "$@"
