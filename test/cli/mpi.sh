#!/bin/sh
# Training under mpirun: two processes make the student that one makes, to the last byte; one writes the log; a wrong number of
# processes is one clear failure of all.
# Usage: mpi.sh EYELET RECIPE
set -u
eyelet=$1
recipe=$2
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
failed=0
bad() { echo "not ok: $1"; failed=1; }
# As root in a container, more processes than cores, loopback alone.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_btl=self,vader,tcp
export OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo OMPI_MCA_btl_vader_single_copy_mechanism=none
export OMPI_MCA_hwloc_base_binding_policy=none
if ! mpirun -np 2 true 2>"$tmp/err"; then
    echo "skipped: mpirun starts nothing on this machine: $(grep -m1 '[a-z]' "$tmp/err")"
    exit 77
fi
set -- --set data.synth_train=32 --set data.synth_dev=8 --set stages.0.batch=4 --set stages.0.accumulate=2 --set stages.0.steps=3 \
    --set log_every=1 -t 1 -q

"$eyelet" train caption "$recipe" -o "$tmp/one" "$@" >"$tmp/one.out" || bad "one process"
mpirun -np 2 "$eyelet" train caption "$recipe" -o "$tmp/two" "$@" >"$tmp/two.out" 2>"$tmp/err" || { cat "$tmp/err"; bad "two processes"; }
cmp "$tmp/one/student/model.safetensors" "$tmp/two/student/model.safetensors" || bad "the student of two is that of one"
[ "$(grep -c '"event": *"step"' "$tmp/two/log.jsonl")" = 3 ] || bad "one line a step"
[ "$(wc -l <"$tmp/two.out")" = 1 ] || bad "one process speaks"
if mpirun -np 3 "$eyelet" train caption "$recipe" -o "$tmp/three" "$@" >/dev/null 2>"$tmp/err"; then bad "three processes for two batches"; fi
grep -q "expected a multiple of the 3 processes" "$tmp/err" || { cat "$tmp/err"; bad "what three are told"; }
exit $failed
