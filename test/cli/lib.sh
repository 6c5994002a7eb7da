# shellcheck shell=sh disable=SC2034 # rc is the callers'
# What the scripts of this folder share. Sourced, with $eyelet and $wrapper set (what runs foreign programs, or nothing): a folder $tmp
# that goes away again with the process $child, no variables of eyelet's, and counts of what was good and what was not.
n_ok=0
n_bad=0
child=
log= # a file that explains failures too
tmp=$(realpath "$(mktemp -d)") || exit 1
trap '[ -z "$child" ] || kill "$child" 2>/dev/null; rm -rf "$tmp"' EXIT
for v in $(env | sed -n 's/^\(EYELET_[A-Z_]*\)=.*/\1/p'); do unset "$v"; done
unset http_proxy https_proxy all_proxy HTTPS_PROXY ALL_PROXY # servers here are on this machine

good() { n_ok=$((n_ok + 1)); }
bad() { # what; shows what the last program said
    n_bad=$((n_bad + 1))
    printf 'not ok: %s\n' "$1"
    sed 's/^/    out: /' "$tmp/out" | cut -c1-300
    sed 's/^/    err: /' "$tmp/err"
    [ -z "$log" ] || sed 's/^/    log: /' "$log"
}
program() { # program, arguments; leaves $tmp/out, $tmp/err, $rc
    # shellcheck disable=SC2086
    $wrapper "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    rc=$?
}
run() { program "$eyelet" "$@"; } # arguments of eyelet
is() { # title, command; the last run ended well and the command says yes
    title=$1
    shift
    if [ "$rc" = 0 ] && "$@"; then good; else bad "$title (exit $rc)"; fi
}
finish() {
    printf '%d passed, %d failed\n' "$n_ok" "$n_bad"
    [ "$n_bad" = 0 ]
}
