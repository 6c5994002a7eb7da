#!/bin/sh
# Sets up, builds and runs every suite that needs no download; the last line is "N passed, N failed".
# Usage: scripts/test.sh [quick]     quick: the native suites only. BUILD=folder chooses the build folder.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${BUILD:-build}
mode=${1:-full}
scripts/setup.sh test || exit 1
passed=0
failed=0
failures= # their names and what they said, once more at the end: the suites print thousands of lines

# Runs `meson test` in a build folder and adds its counts; a build that fails counts as one failed test.
suite() { # title, folder, meson test arguments...
    title=$1
    dir=$2
    shift 2
    printf '\n== %s\n' "$title"
    if ! ninja -C "$dir" >"$dir/ninja.log" 2>&1; then
        tail -40 "$dir/ninja.log"
        failed=$((failed + 1))
        failures="$failures
== $title: does not build
$(grep -m5 -E 'error|FAILED' "$dir/ninja.log")"
        return
    fi
    meson test -C "$dir" --no-rebuild --print-errorlogs "$@" >"$dir/test.log" 2>&1
    cat "$dir/test.log"
    count() { awk -v k="$1" 'BEGIN { n = 0 } $1 == k { n += $2 } END { print n }' "$dir/test.log"; }
    passed=$((passed + $(count Ok:) + $(count "Expected")))
    bad=$(($(count Fail:) + $(count Timeout:) + $(awk '$1 == "Unexpected" { n += $3 } END { print n + 0 }' "$dir/test.log")))
    [ $bad = 0 ] || failures="$failures
== $title: $bad failed
$(grep -E '^ *[0-9]+/[0-9]+ .* (FAIL|TIMEOUT|UNEXPECTEDPASS|ERROR) |^ *(not ok|err:|\[  FAILED|E  )|ERROR: |[Ee]rror: ' "$dir/test.log" | awk '!seen[$0]++' | head -50)"
    failed=$((failed + bad))
}

# A build folder of its own for one configuration, made once.
configure() { # folder, meson arguments...
    dir=$1
    shift
    test -e "$dir/build.ninja" || meson setup "$dir" "$@" >"$dir.log" 2>&1 || { cat "$dir.log"; failed=$((failed + 1)); return 1; }
}

if [ -e "$build/build.ninja" ]; then
    meson setup --reconfigure "$build" >"$build.log" 2>&1 || { cat "$build.log"; exit 1; } # the demo may have made it without cmocka
fi
configure "$build" && suite "native" "$build"
if [ "$mode" = full ]; then
    if configure "$build-asan" -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false -Ddefault_library=static; then
        suite "address and undefined-behaviour sanitizers" "$build-asan" --timeout-multiplier 6 --suite unit --suite kernels --suite fuzz --suite soak
    fi
    if configure "$build-tsan" -Dbuildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false -Ddefault_library=static; then
        suite "thread sanitizer" "$build-tsan" --timeout-multiplier 6 base engine
    fi
    if command -v aarch64-linux-gnu-gcc >/dev/null && command -v qemu-aarch64-static >/dev/null; then
        if configure "$build-arm64" --cross-file cross/aarch64-linux.ini; then
            suite "aarch64 under qemu" "$build-arm64" --timeout-multiplier 10 --no-suite native
        fi
    fi
fi
[ -z "$failures" ] || printf '\n== what failed%s\n' "$failures"
printf '\n%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
