#!/bin/sh
# Each public header compiles alone, as C11 and (where there is a C++ compiler) as C++11, without a warning.
# Usage: headers.sh INCLUDE_DIR CC
set -u
include=$1
cc=$2
failed=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

check() { # header, language options, compiler
    printf '#include "eyelet/%s"\n' "$(basename "$1")" >"$tmp/one"
    # shellcheck disable=SC2086
    if ! $3 $2 -Wall -Wextra -Wpedantic -Werror -I "$include" -fsyntax-only "$tmp/one"; then
        echo "not ok: $(basename "$1") ($2)"
        failed=1
    fi
}

for header in "$include"/eyelet/*.h; do
    check "$header" "-x c -std=c11" "$cc"
    if command -v c++ >/dev/null; then check "$header" "-x c++ -std=c++11" c++; fi
done
exit $failed
