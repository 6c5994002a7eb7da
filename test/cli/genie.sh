#!/bin/sh
# The NPU flow step by step from a shell, under the names of the vendor's programs as scripts call them: its files, exact standard
# output, and the same tokens as eyelet run.
# Usage: genie.sh EYELET MAKE_CHECKPOINT [WRAPPER…]   (the wrapper runs foreign programs, for instance under qemu)
set -u
eyelet=$(realpath "$1")
make=$2
shift 2
wrapper="$*"
. "$(dirname "$0")/lib.sh"
mkdir "$tmp/bin"
for name in genie-t2t-run qnn-net-run qnn-context-binary-utility; do ln -s "$eyelet" "$tmp/bin/$name"; done

run() { program "$@"; } # program, arguments
works() { # program, arguments
    run "$@"
    if [ "$rc" = 0 ] && [ ! -s "$tmp/err" ]; then good; else bad "$* (exit $rc)"; fi
}
says() { # code, exact stderr, program, arguments
    code=$1 text=$2
    shift 2
    run "$@"
    if [ "$rc" = "$code" ] && [ "$(cat "$tmp/err")" = "$text" ]; then good; else bad "$* (exit $rc, expected: $text)"; fi
}

model=$tmp/model dir=$tmp/genie out=$tmp/run
# shellcheck disable=SC2086
$wrapper "$make" --size tiny --format hf -o "$model" || exit 1
awk 'BEGIN { printf "P3 31 17 255\n"; for (i = 0; i < 31 * 17 * 3; i++) print (i * 37 + int(i / 29) * 11) % 256 }' >"$tmp/picture.ppm"

# ---- export ----
says 2 'eyelet: -o is missing: the folder to write; see "eyelet help export genie"' "$eyelet" export genie "$model"
works "$eyelet" export genie "$model" -o "$dir" -c 512 --embed-tokens 128
for f in decoder.bin LUT.bin tokenizer.json composer_config.json genie_config.json genie_config_htp.json htp_backend_ext_config.json \
    vision_encoder.bin vision_ctx_info.json embed_tokens.bin embed_ctx_info.json manifest.json; do
    if [ -s "$dir/$f" ]; then good; else bad "$f is missing"; fi
done
# every file but the manifest itself is in it, with its hash
for f in decoder.bin LUT.bin tokenizer.json vision_encoder.bin genie_config.json; do
    if grep -A3 "\"file\": \"$f\"" "$dir/manifest.json" | grep -q "$(sha256sum "$dir/$f" | cut -d' ' -f1)"; then good; else bad "hash of $f"; fi
done
if cmp -s "$dir/tokenizer.json" "$model/tokenizer.json"; then good; else bad 'the tokenizer is the model'\''s'; fi
works "$eyelet" export lut "$model" -o "$tmp/lut8" --type int8
if [ "$(wc -c <"$tmp/lut8")" = "$(($(wc -c <"$dir/LUT.bin") / 4))" ] && grep -q ': int8 \[640, 64\], scale 0\.0' "$tmp/out"; then good; else bad 'lut int8'; fi

# ---- the steps ----
works "$eyelet" genie prepare -m "$model" -d "$dir" -i "$tmp/picture.ppm" -p 'What is this?' -o "$out"
if [ "$(wc -c <"$out/input_ids.raw")" = 512 ] && [ "$(wc -c <"$out/pixel_values.raw")" = 786432 ]; then good; else bad 'sizes of raw files'; fi
says 1 "eyelet: $out/embed_out: no Result_*: this step did not run (net-run --output_dir)" "$eyelet" genie combine -d "$dir" "$out"
for step in vision:vision_encoder embed:embed_tokens; do
    works "$tmp/bin/qnn-net-run" --backend libQnnHtp.so --retrieve_context "$dir/${step#*:}.bin" --input_list "$out/${step%:*}_input_list.txt" \
        --use_native_input_files --use_native_output_files --output_dir "$out/${step%:*}_out" --num_inferences 1
done
if [ -s "$out/vision_out/Result_0/image_features.raw" ] && [ -s "$out/embed_out/Result_0/output_0.raw" ] &&
    [ -s "$out/vision_out/execution_metadata.yaml" ]; then good; else bad 'results of net-run'; fi
works "$eyelet" genie combine -d "$dir" "$out" -n 12
if grep -qx "$out/combined_embeddings_fp32.raw: 57 rows, 16 of the image; room for 12 tokens" "$tmp/out"; then good; else bad combine; fi

works "$tmp/bin/genie-t2t-run" --config "$out/genie_config.json" --embedding_file "$out/combined_embeddings_fp32.raw" \
    --embedding_table "$dir/LUT.bin" --embedding_query_output_type token --profile "$out/profile.json"
cp "$tmp/out" "$tmp/t2t"
run "$eyelet" run -m "$model" -i "$tmp/picture.ppm" -p 'What is this?' -n 12 --json
tokens=$(sed 's/.*"tokens": \[\([0-9, ]*\)\].*/\1/; s/,//g' "$tmp/out")
version=$("$eyelet" version 2>/dev/null | cut -d' ' -f2)
[ -n "$version" ] || version=$($wrapper "$eyelet" version | cut -d' ' -f2)
printf 'Using libGenie.so version %s-eyelet\n\nEmbedding file size: 14592 bytes\n\n[BEGIN]: %s [END]\n\n' "$version" "$tokens" >"$tmp/want"
if cmp -s "$tmp/want" "$tmp/t2t"; then good; else
    cp "$tmp/t2t" "$tmp/out"
    bad "tokens of the flow are those of run ($tokens)"
fi
for key in '"GENIE_PROFILE"' '"GenieDialog_create"' '"GenieDialog_query"' '"time-to-first-token": {"value": ' \
    '"num-generated-tokens": {"value": 12,' '"num-prompt-tokens": {"value": 57,'; do
    if grep -qF "$key" "$out/profile.json"; then good; else bad "profile: $key"; fi
done
works "$tmp/bin/genie-t2t-run" -c "$out/genie_config.json" -e "$out/combined_embeddings_fp32.raw" -t "$dir/LUT.bin"
sed -n '/^\[BEGIN\]: /,$p' "$tmp/out" | sed '1s/^\[BEGIN\]: //' >"$tmp/t2t"
run "$eyelet" run -m "$model" -i "$tmp/picture.ppm" -p 'What is this?' -n 12
printf '%s[END]\n\n' "$(cat "$tmp/out")" >"$tmp/want"
if cmp -s "$tmp/want" "$tmp/t2t"; then good; else bad 'text of the flow is that of run'; fi

# ---- text, states ----
run "$tmp/bin/genie-t2t-run" -c "$out/genie_config.json" -p 'a fox' -s "$tmp/state"
if [ "$rc" = 0 ] && grep -qx '\[PROMPT\]: a fox' "$tmp/out" && grep -q '^\[BEGIN\]: ' "$tmp/out" && grep -q '\[END\]$' "$tmp/out" &&
    [ "$(head -c 8 "$tmp/state/kv-cache.primary.qnn-cpu" | od -An -tx1 | tr -d ' \n')" = 04000000dec00000 ]; then good; else bad 'a prompt in words'; fi
works "$tmp/bin/genie-t2t-run" -c "$out/genie_config.json" -p ' and a dog' -r "$tmp/state"
printf '5 6 7\n' >"$tmp/ids"
run "$eyelet" genie-t2t-run -c "$out/genie_config.json" --tokens_file "$tmp/ids" --embedding_query_output_type token
if [ "$rc" = 0 ] && grep -qx '\[PROMPT TOKENS\]: 5 6 7 ' "$tmp/out" && grep -qxE '\[BEGIN\]: ([0-9]+ )+\[END\]' "$tmp/out"; then good; else bad 'tokens in'; fi

# ---- information ----
works "$tmp/bin/qnn-context-binary-utility" --context_binary "$dir/vision_encoder.bin" --json_file "$tmp/info.json"
if cmp -s "$tmp/info.json" "$dir/vision_ctx_info.json"; then good; else bad 'ctx-info is what the export wrote'; fi
works "$eyelet" ctx-info --context_binary "$dir/embed_tokens.bin"
if cmp -s "$tmp/out" "$dir/embed_ctx_info.json"; then good; else bad 'ctx-info on stdout'; fi

# ---- errors ----
t2t="$tmp/bin/genie-t2t-run"
says 2 'eyelet: --config is missing; see "eyelet help genie-t2t-run"' "$t2t" -p x
says 2 'eyelet: ERROR:: Please provide prompt using --prompt or --prompt_file.; see "eyelet help genie-t2t-run"' "$t2t" -c x
says 2 'eyelet: ERROR:: Please provide only one of --prompt or --prompt_file.; see "eyelet help genie-t2t-run"' "$t2t" -c x -p x --prompt_file y
says 2 'eyelet: ERROR:: Please do not provide a text/token prompt and embedding prompt at the same time.; see "eyelet help genie-t2t-run"' "$t2t" -c x -p x -e y
says 2 'eyelet: ERROR:: Please provide an embedding file using --embedding_file.; see "eyelet help genie-t2t-run"' "$t2t" -c x -t y
says 1 "eyelet: Failed to create the dialog. File $tmp/none doesn't exists or is in bad shape." "$t2t" -c "$tmp/none" -p x
sed 's/"type": "basic"/"type": "basic", "colour": 1/' "$out/genie_config.json" >"$tmp/bad.json"
says 1 "eyelet: Failed to create the dialog. $tmp/bad.json: Unknown dialog config key: colour (GENIE_STATUS_ERROR_JSON_SCHEMA)" "$t2t" -c "$tmp/bad.json" -p x
says 1 'eyelet: ERROR: invalid datatype: int4' "$t2t" -c "$out/genie_config.json" -e "$out/combined_embeddings_fp32.raw,int4,1,0"
says 1 "eyelet: $model: no part of a model made by \"eyelet export genie\" (a QNN context binary runs on its NPU only)" \
    "$eyelet" net-run --retrieve_context "$model" --input_list x
says 1 "eyelet: $dir/vision_encoder.bin: one part of a model, which \"eyelet net-run\" runs; expected a whole one" \
    "$eyelet" run -m "$dir/vision_encoder.bin" -p x
says 1 "eyelet: $dir/decoder.bin: no tokenizer: expected tokenizer.json, vocab.json and merges.txt, or tokenizer.model" \
    "$eyelet" run -m "$dir/decoder.bin" -p x
run "$eyelet" run -m "$dir/decoder.bin" --tokenizer "$dir/tokenizer.json" -p hi -n 4
if [ "$rc" = 0 ] && [ -s "$tmp/out" ]; then good; else bad 'the decoder file is a model of text'; fi

finish
