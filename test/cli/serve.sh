#!/bin/sh
# eyelet serve as a program: what it says where, what it refuses, how it ends. What it answers is test_serve.c's.
# Usage: serve.sh EYELET MAKE_CHECKPOINT [WRAPPER…]
set -u
eyelet=$(realpath "$1")
make=$2
shift 2
wrapper="$*"
. "$(dirname "$0")/lib.sh"

check() { # what, a test that holds
    what=$1
    shift
    if "$@" >/dev/null 2>&1; then good; else bad "$what"; fi
}
fails() { # code, text of the error, arguments
    code=$1 says=$2
    shift 2
    run serve "$@"
    check "$* (exit $rc)" test "$rc" = "$code"
    check "$*: says $says" grep -qF -- "$says" "$tmp/err"
}
start() { # arguments; waits for the address
    : >"$tmp/out" >"$tmp/err" # what came before is not this one's
    # shellcheck disable=SC2086
    $wrapper "$eyelet" serve -m "$tmp/model" --port 0 "$@" >"$tmp/out" 2>"$tmp/err" </dev/null &
    child=$!
    for _ in $(seq 600); do
        [ -s "$tmp/out" ] && break
        kill -0 "$child" 2>/dev/null || break
        sleep 0.1
    done
}
stop() { # signal: ends with status 0
    kill "-$1" "$child"
    wait "$child"
    rc=$?
    child=
    check "$1 ends it with $rc" test "$rc" = 0
}

# shellcheck disable=SC2086
$wrapper "$make" --size tiny -o "$tmp/model" || exit 1
fails 2 'from 0 to 65535' --port 70000
fails 2 'parallel' --parallel 0
fails 1 'host "nowhere.invalid"' --host nowhere.invalid -m "$tmp/model"
fails 1 'cannot open' --api-key-file "$tmp/none" -m "$tmp/model"
: >"$tmp/keys"
fails 1 'no key in it' --api-key-file "$tmp/keys" -m "$tmp/model"
fails 1 "$tmp/nothing" --port 0 -m "$tmp/nothing"

start
check 'an address' grep -qE '^http://127\.0\.0\.1:[0-9]+$' "$tmp/out"
port=$(sed 's/.*://' "$tmp/out")
cp "$tmp/out" "$tmp/first"
fails 1 "port $port: Address already in use" --port "$port" -m "$tmp/model"
cp "$tmp/first" "$tmp/out"
stop TERM
start --json -q --alias small --host 127.0.0.2
check 'JSON' grep -qE '^\{"url": "http://127\.0\.0\.2:[0-9]+", "port": [0-9]+, "model": "small"\}$' "$tmp/out"
check 'quiet' test ! -s "$tmp/err"
stop INT
start --host 0.0.0.0
for _ in $(seq 100); do [ -s "$tmp/err" ] && break || sleep 0.1; done
check 'a warning' grep -q 'without --api-key everybody' "$tmp/err"
stop TERM

finish
