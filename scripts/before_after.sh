#!/bin/sh
# What rounding does to a captioner: size, perplexity, BLEU-4, CIDEr-D and speed in f32, in int8 everywhere, and with 4-bit matrices in
# the decoder. Prints a table (Markdown), which is OUT/before_after.md too; leaves OUT/f32.gguf, int8.gguf and int4.gguf.
# Usage: scripts/before_after.sh STUDENT DATASET OUT
#   STUDENT  checkpoint folder, for instance run/student
#   DATASET  as `eyelet eval -d` takes it; a folder, with its pictures in images/
# SPLIT=test: what is judged. CALIBRATION=DATASET: pictures and captions that ranges come from. N=200: captions that are timed.
# BUILD=build, or EYELET=program. Options of eyelet by their variables: EYELET_LIMIT=100 judges 100 pictures.
set -eu
if [ $# != 3 ]; then
    sed -n '4,6p' "$0" >&2
    exit 2
fi
student=$1
data=$2
out=$3
eyelet=${EYELET:-$(dirname "$0")/../${BUILD:-build}/eyelet}
calibration=${CALIBRATION:-$data}
mkdir -p "$out"

number() { # file, what stands before it; the k-th
    grep -o "$2[0-9.e+-]*" "$1" | sed -n "${3:-1}p" | sed "s/.*[^0-9.e+-]//"
}
row() { # title, name of the file; further arguments: of eyelet convert
    title=$1
    file=$out/$2
    shift 2
    # shellcheck disable=SC2086
    {
        $eyelet convert "$student" -o "$file.gguf" -q "$@" >&2
        $eyelet eval -m "$file.gguf" -d "$data" --split "${SPLIT:-test}" --perplexity --json >"$file.eval.json"
        $eyelet bench -m "$file.gguf" --caption "$data/images" --captions "${N:-200}" --json >"$file.bench.json"
    }
    awk -v title="$title" -v size="$(wc -c <"$file.gguf")" -v true="$(number "$file.eval.json" '"true": {"per_token": ')" \
        -v other="$(number "$file.eval.json" '"shuffled": {"per_token": ')" \
        -v bleu="$(number "$file.eval.json" '"bleu": \[[0-9.e+-]*, [0-9.e+-]*, [0-9.e+-]*, ')" -v cider="$(number "$file.eval.json" '"cider": ')" \
        -v one="$(number "$file.bench.json" '"captions_per_s": ')" -v two="$(number "$file.bench.json" '"captions_per_s": ' 2)" \
        -v p50="$(number "$file.bench.json" '"p50_ms": ')" -v p95="$(number "$file.bench.json" '"p95_ms": ')" 'BEGIN {
        if (true == "" || bleu == "" || cider == "" || one == "") exit 1
        printf "| %s | %.2f MB | %.2f | %.2f | %.2f | %.3f | %.3f | %.1f | %s | %.1f | %.1f |\n", title, size / 1e6, true, other, other / true,
            bleu, cider, one, two == "" ? "-" : sprintf("%.1f", two), p50, p95 }'
}
{
    echo "| $(basename "$student") | file | perplexity | another's picture | times | BLEU-4 | CIDEr-D | captions/s, 1 core | 2 cores | p50 of 1, ms | p95 |"
    echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    row f32 f32 --decoder f32 --vision f32
    row "int8 everywhere" int8 --decoder q8_0 --vision int8 --calibration "$calibration"
    row "int8, 4-bit decoder" int4 --decoder q4_0 --vision int8 --calibration "$calibration"
} >"$out/before_after.md"
cat "$out/before_after.md"
