#!/bin/sh
# `eyelet fastvlm …`: the whole NPU flow from one command, over tiny checkpoints of both formats: an answer, that of `eyelet run`; a state
# that is asked on; the decoder's graph and the script that compiles it; and what is said when something is missing.
# Usage: fastvlm.sh EYELET MAKE_CHECKPOINT [WRAPPER…]
set -u
eyelet=$(realpath "$1")
make=$(realpath "$2")
shift 2
wrapper="$*"
. "$(dirname "$0")/lib.sh"
unset MODEL_DIR IMAGE_PATH PROMPT MAX_NEW_TOKENS
cd "$tmp" || exit 1

answers() { # file with the answer, arguments
    want=$1
    shift
    run "$@"
    if [ "$rc" = 0 ] && cmp -s out "$want"; then good; else bad "$* (exit $rc)"; fi
}
exactly() { # code, stdout, stderr, arguments
    code=$1 want=$2 complaint=$3
    shift 3
    run "$@"
    if [ "$rc" = "$code" ] && [ "$(cat out)" = "$want" ] && [ "$(cat err)" = "$complaint" ]; then good; else bad "$* (exit $rc)"; fi
}
has() { if grep -qF "$2" "$1"; then good; else bad "$1 lacks $2"; fi; }

awk 'BEGIN { printf "P3 31 17 255\n"; for (i = 0; i < 31 * 17 * 3; i++) print (i * 37 + int(i / 29) * 11) % 256 }' >picture.ppm
for format in hf apple; do
    # shellcheck disable=SC2086
    $wrapper "$make" --size tiny --format $format -o $format >/dev/null || exit 1
    run run -m $format -i picture.ppm -p 'What is this?' -n 12
    cp out want-$format
    answers want-$format fastvlm e2e picture.ppm 'What is this?' 12 -m $format -d g-$format -c 512 -o run-$format
    for f in tokens.json vision_out/Result_0/image_features.raw embed_out/Result_0/output_0.raw combined_embeddings_fp32.raw genie_config.json profile.json; do
        if [ -s run-$format/$f ]; then good; else bad "run-$format/$f is missing"; fi
    done
    answers want-$format fastvlm cache picture.ppm 'What is this?' -m $format -d g-$format -c 512 -n 12 -o kept-$format
    has err "kept-$format/state: 42 positions, "
    has err 'first token after '
done

# ---- the folder is made once, and anew when the model changed or another kind is asked for ----
again() { # words on stderr, arguments
    words=$1
    shift
    run fastvlm e2e picture.ppm 'What is this?' -d g-hf -c 512 -o run-hf -n 4 -v "$@"
    if [ "$rc" = 0 ] && grep -q "^export  *$words" err; then good; else bad "again: $words ($*)"; fi
}
again 'g-hf, as it is' -m hf
again 'g-hf, as it is' -m ./hf/
again '[0-9]* ms' -m hf --lut int8
again 'g-hf, as it is' -m hf --lut int8
again '[0-9]* ms' -m hf --fresh
again '[0-9]* ms' -m hf --decoder-precision fp16
again '[0-9]* ms' -m apple
again '[0-9]* ms' -m hf
touch -d '+1 hour' hf/config.json
again '[0-9]* ms' -m hf

# ---- variables of the field's scripts, and a run folder of its own ----
MODEL_DIR=hf IMAGE_PATH=picture.ppm PROMPT='What is this?' MAX_NEW_TOKENS=12 answers want-hf fastvlm e2e -d g-hf -c 512
if [ -s "$(echo g-hf/run_outputs/2*_*/profile.json)" ]; then good; else bad 'a run folder with the time'; fi
MAX_NEW_TOKENS=many exactly 1 '' 'eyelet: MAX_NEW_TOKENS is "many", expected a whole number' fastvlm e2e picture.ppm -m hf
run fastvlm e2e picture.ppm 'What is this?' 12 256 fp32 fp16 -m hf -d g-16 -c 512 --json -o run-16
if [ "$rc" = 0 ] && grep -q '"image_tokens": 16, "prompt_tokens": 57, "first_token_ms": [0-9.]*, "run": "run-16", "genie": "g-16"}$' out; then good; else bad json; fi

# ---- int8: pictures, or noise with a warning ----
exactly 1 '' 'eyelet: --vision-precision int8: ranges come from pictures: give a folder of them (--calibration DIR), or --random to try the flow out' \
    fastvlm e2e picture.ppm x 4 256 fp32 int8 -m hf
exactly 1 '' 'eyelet: --calibration or --random, not both' fastvlm e2e picture.ppm -m hf --calibration x --random
run fastvlm e2e picture.ppm x 4 256 fp32 int8 -m hf --random -d g-8 -c 512 -o run-8
if [ "$rc" = 0 ] && [ "$(cat err)" = 'warning: calibrating on noise: its ranges are wrong for pictures' ] && [ "$(wc -c <run-8/pixel_values.raw)" = 196608 ] &&
    [ "$(wc -l <g-8/calibration/input_list.txt)" = 8 ]; then good; else bad 'int8 by noise'; fi
mkdir pictures && cp picture.ppm pictures
run fastvlm e2e picture.ppm x 4 256 fp32 int8 -m hf --calibration pictures --fresh -d g-8 -c 512 -o run-8
if [ "$rc" = 0 ] && [ ! -s err ] && [ "$(wc -l <g-8/calibration/input_list.txt)" = 1 ] && [ -s run-8/vision_out/Result_0/image_features_native.raw ]; then
    good
else bad 'int8 by pictures'; fi

# ---- the decoder for the NPU ----
exactly 0 'npu/decoder_kv.onnx
Signature validation OK
Inputs validated: 8
Outputs validated: 5' '' fastvlm export-decoder --model-dir hf --output-dir npu --cache-len 63
MODEL_DIR=hf exactly 0 'dot/decoder_kv.onnx
Signature validation OK
Inputs validated: 7
Outputs validated: 5' '' fastvlm export-decoder --output-dir dot --cache-len 63 --kv-style dot --dtype fp32 --opset 14
exactly 0 'decoder_kv: 8 inputs, 5 outputs, --target_runtime qnn_context_binary --truncate_64bit_io' \
    'next, where qai-hub is configured: python3 npu/qai_hub_compile.py' fastvlm compile --onnx npu/decoder_kv.onnx --output-dir npu
has npu/qai_hub_compile.py '"job": "fastvlm_decoder_kv"'
exactly 2 '' 'eyelet: --onnx is missing: the graph; see "eyelet help fastvlm compile"' fastvlm compile

# ---- help, and what is missing ----
want='Usage: eyelet fastvlm COMMAND [OPTIONS]

  e2e              the whole NPU flow on this machine: checkpoint, picture, answer
  cache            the NPU flow with the picture prefilled and saved, then asked
  export-decoder   the decoder for Genie'\''s NPU engine as ONNX, its signature checked
  compile          a script that compiles graphs on Qualcomm AI Hub

"eyelet help fastvlm COMMAND" tells more of one.'
exactly 0 "$want" '' fastvlm help
exactly 0 "$want" '' help fastvlm
exactly 2 '' 'eyelet: "fastvlm e2a": expected fastvlm and one of e2e, cache, export-decoder, compile; see "eyelet help"' fastvlm e2a
exactly 2 '' 'eyelet: IMAGE is missing; see "eyelet help fastvlm e2e"' fastvlm e2e
exactly 2 '' 'eyelet: PROMPT is missing: the question; see "eyelet help fastvlm cache"' fastvlm cache picture.ppm
exactly 2 '' 'eyelet: the question holds <image>: the picture stands before it already; see "eyelet help fastvlm cache"' fastvlm cache picture.ppm 'a <image>'
exactly 2 '' 'eyelet: decoder_precision is "z8", expected fp32 or fp16 (the vendor'\''s packed types are not public); see "eyelet help fastvlm e2e"' \
    fastvlm e2e picture.ppm x 4 256 z8
run fastvlm cache picture.ppm 'What is this?' 'Answer in one word.' -m hf -d g-hf -c 512 -n 4 -o other
if [ "$rc" = 0 ] && grep -q 'Answer in one word' other/tokens.json; then good; else bad 'another system turn'; fi

finish
