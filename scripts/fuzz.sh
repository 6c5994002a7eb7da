#!/bin/sh
# Fuzzes the readers of foreign bytes (test/fuzz) with libFuzzer under the address and undefined-behaviour sanitizers, and prints
# what each target ran: executions, seconds, findings. Found inputs stay in BUILD/corpus/NAME, failures in BUILD/findings.
# Usage: scripts/fuzz.sh SECONDS [TARGET...]     SECONDS of each target; no targets: all. BUILD=folder chooses the build folder.
# Needs clang. Exit status 1: something was found.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build-fuzz}
seconds=$1
shift
if [ ! -e "$build/build.ninja" ]; then
    CC=clang meson setup "$build" -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false -Dbuildtype=debugoptimized >/dev/null
fi
ninja -C "$build" >/dev/null
seeds() { # where a target's first inputs are: as in test/fuzz/meson.build
    case $1 in
    tokenizer_json | tokenizer_model) echo test/golden/text ;;
    torch | image) echo "test/golden/$1" ;;
    *) echo "test/fuzz/corpus/$1" ;;
    esac
}
[ $# -gt 0 ] || set -- $(ls "$build"/test/fuzz/ | sed -n 's/^fuzz_\([a-z_]*\)$/\1/p')
mkdir -p "$build/findings"
total=0
found=0
printf '%-16s %14s %8s %10s %s\n' target executions seconds per_second findings
for t in "$@"; do
    mkdir -p "$build/corpus/$t"
    log=$build/fuzz_$t.log
    status=0
    "$build/test/fuzz/fuzz_$t" -max_total_time="$seconds" -max_len=65536 -rss_limit_mb=2048 -timeout=20 -print_final_stats=1 \
        -verbosity=0 -artifact_prefix="$build/findings/$t-" "$build/corpus/$t" "$(seeds "$t")" >"$log" 2>&1 || status=1
    n=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf '%-16s %14s %8s %10s %s\n' "$t" "${n:-?}" "$seconds" "$((${n:-0} / seconds))" "$([ $status = 0 ] && echo none || echo "see $log")"
    total=$((total + ${n:-0}))
    [ $status = 0 ] || found=1
done
printf '%d executions\n' "$total"
exit $found
