#!/bin/sh
# The command line as people meet it: exact messages, exit codes, help, and runs over a small random checkpoint.
# Usage: cli.sh EYELET MAKE_CHECKPOINT [WRAPPER…]   (the wrapper runs foreign programs, for instance under qemu)
set -u
eyelet=$1
make=$2
shift 2
wrapper="$*"
. "$(dirname "$0")/lib.sh"

# Exit code, exact stdout, exact stderr of a command.
exactly() { # title, code, stdout, stderr, arguments…
    title=$1 code=$2 out=$3 err=$4
    shift 4
    run "$@"
    if [ "$rc" = "$code" ] && [ "$(cat "$tmp/out")" = "$out" ] && [ "$(cat "$tmp/err")" = "$err" ]; then good; else bad "$title (exit $rc)"; fi
}
usage() { # stderr, arguments…
    err=$1
    shift
    exactly "$*" 2 "" "eyelet: $err" "$@"
}
fails() { # part of stderr, arguments…
    part=$1
    shift
    run "$@"
    if [ "$rc" = 1 ] && [ ! -s "$tmp/out" ] && grep -qF -- "$part" "$tmp/err" && [ "$(wc -l <"$tmp/err")" = 1 ] &&
        grep -q '^eyelet: ' "$tmp/err"; then good; else bad "$* (exit $rc, expected: $part)"; fi
}
prints() { # part of stdout, arguments…
    part=$1
    shift
    run "$@"
    if [ "$rc" = 0 ] && grep -qF -- "$part" "$tmp/out"; then good; else bad "$* (exit $rc, expected: $part)"; fi
}
same() { # title, command line a and b as two quoted strings: same stdout
    # shellcheck disable=SC2086
    run $2 && cp "$tmp/out" "$tmp/first" && run $3
    if [ "$rc" = 0 ] && [ -s "$tmp/out" ] && cmp -s "$tmp/first" "$tmp/out"; then good; else bad "$1"; fi
}

# ---- usage ----
usage 'no command; see "eyelet help"'
usage 'unknown command "rn", did you mean "run"; see "eyelet help"' rn
usage 'unknown command "zzzzz"; see "eyelet help"' zzzzz
usage 'unknown option "--model" before a command; see "eyelet help"' --model x run
usage 'unknown option "--tmp", did you mean "--temp"; see "eyelet help run"' run --tmp 1
usage 'unknown option "--quux"; see "eyelet help run"' run --quux
usage 'unknown option "-Z"; see "eyelet help run"' run -Z
usage 'option "-n" needs a value: N; see "eyelet help run"' run -n
usage 'option "--json" takes no value; see "eyelet help run"' run --json=1
usage '-n is "x", expected a whole number from 0 to 16777216; see "eyelet help run"' run -n x
usage '-n is "5x", expected a whole number from 0 to 16777216; see "eyelet help run"' run -n5x
usage '--top-p is "2", expected a number from 0 to 1; see "eyelet help run"' run --top-p=2
usage '-s is "-1", expected a whole number from 0 to 18446744073709551615; see "eyelet help run"' run -s -1
usage '--kv is "f64", expected one of auto, f16, f32, i8; see "eyelet help run"' run --kv f64
usage 'unexpected argument "x"; see "eyelet help run"' run x
usage 'nothing to do: give an image (-i), a prompt (-p) or both; see "eyelet help run"' run
usage '--raw needs a prompt (-p); see "eyelet help run"' run --raw -i x.png
usage '--logprobs shows in --json only; see "eyelet help run"' run -p x --logprobs 2
usage '"b" is one argument too many (TEXT); see "eyelet help tokens"' tokens a b
usage 'nothing to do: give TEXT, --file or --decode; see "eyelet help tokens"' tokens
usage '--decode is "1 x", expected token ids; see "eyelet help tokens"' tokens --decode "1 x"
usage '--stage is missing; see "eyelet help probe"' probe
usage '-o is missing: the .npy file to write; see "eyelet help probe"' probe --stage logits
EYELET_TOP_K=many usage 'EYELET_TOP_K is "many", expected a whole number from 0 to 2147483647; see "eyelet help run"' run -p x

# ---- help ----
run version
if [ "$rc" = 0 ] && grep -qxE 'eyelet [0-9]+\.[0-9]+\.[0-9]+' "$tmp/out"; then good; else bad version; fi
prints 'Usage: eyelet COMMAND [OPTIONS]' help
names=$(sed -n 's/^  \([a-z][a-z0-9-]*\)\( [a-z][a-z0-9-]*\)\{0,1\}  *[^ ].*/\1\2/p' "$tmp/out" | grep -vx help | tr ' ' '+') # data+check
for c in $names; do
    c=$(echo "$c" | tr + ' ')
    # shellcheck disable=SC2086
    prints "Usage: eyelet $c " help $c
    # shellcheck disable=SC2086
    prints "Usage: eyelet $c " $c --help
    if awk 'length($0) > 128 { exit 1 }' "$tmp/out"; then good; else bad "help of $c is wider than 128 columns"; fi
done

# ---- manual pages, completion: from the same tables ----
for c in '' $names; do
    c=$(echo "$c" | tr + ' ')
    # shellcheck disable=SC2086
    run help --man $c
    cp "$tmp/out" "$tmp/man"
    for section in NAME SYNOPSIS ENVIRONMENT 'EXIT STATUS'; do
        if grep -qx ".SH $section" "$tmp/man"; then good; else bad "manual page $c has no $section"; fi
    done
    if command -v groff >/dev/null && [ -n "$(groff -man -Tutf8 -Kutf8 -ww -z "$tmp/man" 2>&1)" ]; then bad "manual page $c: groff warns"; else good; fi
    [ -n "$c" ] || continue
    # shellcheck disable=SC2086
    run help $c
    for option in $(sed -n 's/^  .. *,* *--\([a-z0-9-]*\).*/\1/p' "$tmp/out"); do
        if sed 's/\\//g' "$tmp/man" | grep -q -- "fB--$option"; then good; else bad "manual page $c lacks --$option"; fi
    done
done
usage 'completion for "tcsh", expected bash, zsh or fish; see "eyelet help"' help --completion tcsh
for shell in bash zsh fish; do
    run help --completion $shell
    cp "$tmp/out" "$tmp/completion.$shell"
    command -v $shell >/dev/null || continue
    if $shell -n "$tmp/completion.$shell" 2>"$tmp/err" && [ ! -s "$tmp/err" ]; then good; else bad "$shell cannot read its completion"; fi
done
completes() { # words typed, the last one in progress; wanted as one line
    want=$2
    # shellcheck disable=SC2016
    bash -c '. "$1"; COMP_WORDS=($2); [[ $2 == *" " ]] && COMP_WORDS+=(""); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _eyelet
        echo "${COMPREPLY[*]}"' - "$tmp/completion.bash" "$1" >"$tmp/out" 2>"$tmp/err"
    if [ "$(cat "$tmp/out")" = "$want" ] && [ ! -s "$tmp/err" ]; then good; else bad "completion of \"$1\""; fi
}
if command -v bash >/dev/null; then
    completes 'eyelet do' doctor
    completes 'eyelet help con' convert
    completes 'eyelet run --im' '--image --image-position --image-side --image-tokens --image-merge'
    completes 'eyelet run --kv ' 'auto f16 f32 i8'
    completes 'eyelet run -m ' ''
    completes 'eyelet data ch' check
    completes 'eyelet data check --no' --no-images
fi

# ---- data sets ----
usage '"data" needs a second word: info, check, split, cache, synth, tokenizer; see "eyelet help"' data
usage '"data chek": expected data and one of info, check, split, cache, synth, tokenizer; see "eyelet help"' data chek
usage 'LIST|DIR is missing; see "eyelet help data check"' data check
usage '-o is missing: the folder to write; see "eyelet help data synth"' data synth
usage '--pad-colour is "12345", expected six hexadecimal digits; see "eyelet help data cache"' data cache -o x --pad-colour 12345 y
fails '/nowhere: cannot open' data info /nowhere
printf 'neither\001fish' >"$tmp/fish"
fails 'fish: not a known list: accepted are COCO captions JSON' data check "$tmp/fish"
exactly 'data synth' 0 "$tmp/shapes: 70 pictures, 350 captions" "" data synth -o "$tmp/shapes" --train 50 --dev 10 --test 10
prints '0 errors, ' data check "$tmp/shapes"
prints '"errors": 0' data check "$tmp/shapes" --json
prints 'train              50        250' data info "$tmp/shapes"
prints '"train": 56, "dev": 7, "test": 7, "kept_together": 0, "unreadable": 0' data split "$tmp/shapes" -o "$tmp/lists" --json
prints 'test                7         35' data info "$tmp/shapes" --train "$tmp/lists/train.txt" --dev "$tmp/lists/dev.txt" \
    --test "$tmp/lists/test.txt"
prints '70 pictures, ' data cache "$tmp/shapes" -o "$tmp/shapes.pixels" --side 32
prints 'up to date, every picture verified' data cache "$tmp/shapes" -o "$tmp/shapes.pixels" --side 32
(ulimit -f 100 && fails 'shapes.pixels: cannot write: File too large' data cache "$tmp/shapes" -o "$tmp/shapes.pixels" --side 512
    [ "$n_bad" = 0 ]) && prints 'up to date' data cache "$tmp/shapes" -o "$tmp/shapes.pixels" --side 32 || bad 'a full disk leaves the old cache'
prints ' tokens from 250 texts of ' data tokenizer "$tmp/shapes" --vocab 300 -o "$tmp/tokenizer.json"
printf '{"image": "test_000000.png", "caption": "a dog"}\n' >"$tmp/theirs.jsonl"
prints 'synthetic scenes: 0.0% of captions say exactly what is there; right are count 0.0%' \
    eval --captions "$tmp/theirs.jsonl" -d "$tmp/shapes" --split test
prints '"scenes": {"exact": 0.0' eval --captions "$tmp/theirs.jsonl" -d "$tmp/shapes" --split test --json
printf 'x.ppm\ta cat\ttrain\ny.ppm\ta cat\ttest\nz.ppm\tnone\ttrain\n' >"$tmp/leak.tsv"
printf 'P6 2 2 255\nabcdefghijkl' | tee "$tmp/x.ppm" >"$tmp/y.ppm"
run data check "$tmp/leak.tsv"
if [ "$rc" = 1 ] && grep -q 'error           1  the same picture in two splits (duplicate_across)' "$tmp/out" &&
    grep -q 'error           1  missing pictures (image_missing)' "$tmp/out" && grep -q '(leak)' "$tmp/out" &&
    grep -qx '3 errors, 0 warnings' "$tmp/out" && [ ! -s "$tmp/err" ]; then good; else bad "data check of leaking splits"; fi

# ---- failures ----
fails '/nowhere: ' run -m /nowhere -p hello
fails '/nowhere: ' inspect /nowhere
printf 'not a model' >"$tmp/bad.gguf"
fails 'bad.gguf: ' inspect "$tmp/bad.gguf"

usage '"words", expected caption, lm, init or keys; see "eyelet help train"' train words r.json -o x
usage 'the recipe is missing: a JSON file; see "eyelet help train"' train caption -o x
usage '-o is missing: the folder of the run; see "eyelet help distill"' distill joint r.json
fails '/nowhere.json: ' train caption /nowhere.json -o "$tmp/run"
prints '- `label_smoothing` (' train keys
usage 'OWNER/NAME[@REVISION] is missing; see "eyelet help pull"' pull
usage '"x", expected OWNER/NAME or OWNER/NAME@REVISION; see "eyelet help pull"' pull x

# ---- a model ----
model=$tmp/model
# shellcheck disable=SC2086
$wrapper "$make" --size tiny -o "$model" || exit 1
printf 'P6 5 3 255\n' >"$tmp/a.ppm"
printf 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRS' >>"$tmp/a.ppm"

text='Hello <|im_end|> wörld 12'
run tokens -m "$model" "$text" && ids=$(cat "$tmp/out")
exactly 'tokens round trip' 0 "$text" "" tokens -m "$model" --decode "$ids"
printf '%s' "$text" >"$tmp/text"
exactly 'tokens --file' 0 "$ids" "" tokens -m "$model" --file "$tmp/text"
EYELET_MODEL=$model exactly 'the model from the environment' 0 "$ids" "" tokens "$text"
exactly 'tokens of nothing' 0 "" "" tokens -m "$model" ""
run tokens -m "$model" --plain "$text"
if [ "$rc" = 0 ] && [ "$(cat "$tmp/out")" != "$ids" ]; then good; else bad 'tokens --plain'; fi
prints '"tokens": [' tokens -m "$model" --json "$text"
fails 'nofile: ' tokens -m "$model" --file "$tmp/nofile"

greedy="run -m $model -i $tmp/a.ppm -n 12 --ignore-eos"
same 'the same answer twice' "$greedy" "$greedy"
same 'one thread or three' "$greedy -t 1" "$greedy -t 3"
same 'mapped or read' "$greedy" "$greedy --no-mmap"
same 'a seed is a seed' "$greedy --temp 1 -s 5" "$greedy --temp 1.0 --seed=5"
run run -m "$model" -p hi -n 5 --ignore-eos && cp "$tmp/out" "$tmp/first"
EYELET_PREDICT=3 run run -m "$model" -p hi -n 5 --ignore-eos
if cmp -s "$tmp/first" "$tmp/out"; then good; else bad 'the command line wins over the environment'; fi
EYELET_PREDICT=5 run run -m "$model" -p hi --ignore-eos
if cmp -s "$tmp/first" "$tmp/out"; then good; else bad 'a number from the environment'; fi
run run -m "$model" -i "$tmp/a.ppm" -p What -n 4 --ignore-eos --json --logprobs 2 --profile "$tmp/profile.json"
if [ "$rc" = 0 ] && [ "$(wc -l <"$tmp/out")" = 1 ] && grep -q '"finish_reason": "length"' "$tmp/out" &&
    grep -q '"image_tokens": ' "$tmp/out" && grep -q '"logprobs": ' "$tmp/out" && [ ! -s "$tmp/err" ]; then good; else bad 'run --json'; fi
for key in init-time num-prompt-tokens prompt-processing-rate time-to-first-token num-generated-tokens token-generation-rate \
    token-generation-time image-decode-time preprocess-time vision-time projector-time peak-rss; do
    if grep -q "\"$key\": {\"value\": " "$tmp/profile.json"; then good; else bad "profile: no $key"; fi
done
fails 'do not fit' run -m "$model" -p "one two three four five six seven eight nine ten" -c 30
fails 'context of' run -m "$model" -p x -c 100000
fails 'marks, but 0 images' run -m "$model" --raw -p 'a <image> b'
fails 'nopic.png: ' run -m "$model" -i "$tmp/nopic.png"
fails 'image side 100' run -m "$model" -p x --image-side 100

# ---- merged image rows ----
usage '--image-merge is "x", expected one of similar, pool; see "eyelet help run"' run -p y --image-merge x
usage '--image-tokens is "-1", expected a whole number from 0 to 16777216; see "eyelet help run"' run -p y --image-tokens -1
for how in pool similar; do
    merge="--image-tokens 1 --image-merge $how"
    # shellcheck disable=SC2086
    prints '"image_tokens": 1,' run -m "$model" -i "$tmp/a.ppm" -p What -n 2 --ignore-eos --json $merge
    same "merged rows by $how: one thread or three" "$greedy $merge -t 1" "$greedy $merge -t 3"
done
prints ' 1 tokens' inspect "$model" --image-tokens 1
EYELET_IMAGE_TOKENS=1 prints ' 1 tokens' inspect "$model"

# ---- cache, chat ----
usage '-o is missing: the file to write; see "eyelet help cache"' cache -m x -i y
usage 'nothing to do: give an image (-i), a prefix (-p) or both; see "eyelet help cache"' cache -o x
usage '--cache brings its images: no -i beside it; see "eyelet help run"' run --cache x -i y
usage '--raw and --image-position belong to "eyelet cache": they are in the file; see "eyelet help run"' run --cache x --raw -p y
asked="-n 12 --ignore-eos"
prints "$tmp/c.bin: " cache -m "$model" -i "$tmp/a.ppm" -p 'What is' -o "$tmp/c.bin"
for q in ' it, then?' 's there?' '!'; do
    run run -m "$model" -i "$tmp/a.ppm" -p "What is$q" $asked && cp "$tmp/out" "$tmp/first"
    run run -m "$model" --cache "$tmp/c.bin" -p "$q" $asked
    if [ "$rc" = 0 ] && [ -s "$tmp/out" ] && cmp -s "$tmp/first" "$tmp/out"; then good; else bad "run --cache: $q"; fi
done
prints '"cached_tokens": ' run -m "$model" --cache "$tmp/c.bin" -p x -n 2 --json
prints '"positions": ' cache -m "$model" -p 'What is' -o "$tmp/d.bin" --json
fails 'made with another model' run -m "$model" --cache "$tmp/c.bin" -p x --kv i8
head -c 1000 "$tmp/c.bin" >"$tmp/cut.bin"
fails 'cut off?' run -m "$model" --cache "$tmp/cut.bin" -p x
fails 'not a cache file' run -m "$model" --cache "$tmp/a.ppm" -p x
same 'a picture seen before' "$greedy" "$greedy --cache-dir $tmp/rows"
same 'a picture from the cache' "$greedy" "$greedy --cache-dir $tmp/rows"
if [ "$(ls "$tmp/rows" | wc -l)" = 1 ]; then good; else bad 'one file per picture'; fi
chat() { # stdin, arguments…
    lines=$1
    shift
    # shellcheck disable=SC2059,SC2086
    printf "$lines" | $wrapper "$eyelet" chat -m "$model" -n 6 --ignore-eos "$@" >"$tmp/out" 2>"$tmp/err"
    rc=$?
}
chat "/image $tmp/a.ppm\nWhat?\n/save $tmp/s.bin\nAnd?\n/load $tmp/s.bin\nAnd?\n/stats\n/help\n/quit\nnever read\n" --json
if [ "$rc" = 0 ] && [ "$(wc -l <"$tmp/out")" = 3 ] && [ "$(sed -n 2p "$tmp/out")" = "$(sed -n 3p "$tmp/out")" ] &&
    grep -q 'positions saved' "$tmp/err" && grep -q '2 questions\|3 questions' "$tmp/err"; then good; else bad "chat (exit $rc)"; fi
chat 'Hi\n' && cp "$tmp/out" "$tmp/first"
chat 'Ho\n/reset\nHi' -q
if [ "$rc" = 0 ] && [ ! -s "$tmp/err" ] && [ "$(sed -n '$p' "$tmp/out")" = "$(sed -n '$p' "$tmp/first")" ]; then good; else bad 'chat /reset'; fi
cat >"$tmp/own.jinja" <<'END'
{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
END
chat "/image $tmp/a.ppm\nWhat?\nAnd?\n" --chat-template chatml && cp "$tmp/out" "$tmp/first"
chat "/image $tmp/a.ppm\nWhat?\nAnd?\n" --chat-template "$tmp/own.jinja"
if [ "$rc" = 0 ] && cmp -s "$tmp/out" "$tmp/first"; then good; else bad "chat with a template file (exit $rc)"; fi
chat '/lode x\n/load\n/load /nowhere\nHi\n'
if [ "$rc" = 1 ] && [ -s "$tmp/out" ] && grep -q 'did you mean /load' "$tmp/err" && grep -q '/load: the file name is missing' "$tmp/err" &&
    grep -q '/nowhere: cannot open' "$tmp/err"; then good; else bad "chat errors (exit $rc)"; fi
chat 'Hi\nHi\nHi\nHi\nHi\nHi\nHi\nHi\n' -c 60
if [ "$rc" = 1 ] && grep -q 'of 60 positions are in use; /reset' "$tmp/err"; then good; else bad "chat overflow (exit $rc)"; fi

# ---- answers that are JSON ----
schema='{"properties": {"n": {"type": "integer"}, "kind": {"enum": ["photo", "drawing"]}}, "required": ["n", "kind"]}'
printf '\n %s\n' "$schema" >"$tmp/schema.json"
is_of_schema() { # title; the answer is in $tmp/out
    if [ "$rc" = 0 ] && tr -d ' \n' <"$tmp/out" | grep -qxE '(\{"n":(0|-?[1-9][0-9]*|-0),"kind":"(photo|drawing)"\})+'; then good; else bad "$1 (exit $rc)"; fi
}
for seed in 1 2 3; do
    run run -m "$model" -p What -n 60 -j "$schema" --temp 2 -s $seed
    is_of_schema "run -j, seed $seed"
done
same 'a schema in a file' "run -m $model -p What -n 60 --temp 2 -s 4 -j $tmp/schema.json" \
    "run -m $model -p What -n 60 --temp 2 -s 4 --json-schema=$tmp/schema.json"
is_of_schema 'a schema in a file'
EYELET_JSON_SCHEMA=$schema run run -m "$model" -i "$tmp/a.ppm" -n 60
is_of_schema 'a schema from the environment'
run run -m "$model" -p What -n 20 --json-object --temp 2 -s 1
if [ "$rc" = 0 ] && head -c 1 "$tmp/out" | grep -q '{' && tail -c 2 "$tmp/out" | grep -q '}'; then good; else bad '--json-object'; fi
chat 'Hi\nHo\n' -n 60 -j "$schema" --temp 2
is_of_schema 'chat -j'
usage '--json-object asks for any object, --json-schema for some: which of them?; see "eyelet help run"' \
    run -p x --json-object -j '{}'
fails 'the keyword "not" is not done' run -m "$model" -p x -j '{"not": {}}'
fails 'schema' run -m "$model" -p x -j '{"type": '
fails '/nowhere.json: cannot open' run -m "$model" -p x -j /nowhere.json
fails 'none are searched under a grammar' run -m "$model" -p x --json-object --beams 2

# ---- probe ----
probe() { # shape, arguments…
    shape=$1
    shift
    exactly "probe $*" 0 "$tmp/x.npy: float32 $shape" "" probe -m "$model" -i "$tmp/a.ppm" -o "$tmp/x.npy" "$@"
}
probe '[3, 256, 256]' --stage pixels
run probe -m "$model" --stage list
layer=$(sed -n 2p "$tmp/out")
for stage in vision projected "layer:$layer" layer:t.norm embeddings logits; do
    run probe -m "$model" -i "$tmp/a.ppm" -p What -o "$tmp/x.npy" --stage "$stage"
    if [ "$rc" = 0 ] && [ -s "$tmp/x.npy" ]; then good; else bad "probe --stage $stage"; fi
done
run probe -m "$model" --tokens "1 2 3" --stage logits --last -o "$tmp/x.npy"
if [ "$rc" = 0 ] && grep -q 'float32 \[1, ' "$tmp/out"; then good; else bad 'probe --tokens --last'; fi
fails 'needs an image' probe -m "$model" --stage vision -o "$tmp/x.npy"
fails 'no layer "nope"' probe -m "$model" -i "$tmp/a.ppm" --stage layer:nope -o "$tmp/x.npy"

run probe -m "$model" --stage list --json
if [ "$rc" = 0 ] && [ "$(wc -l <"$tmp/out")" = 1 ] && grep -q '^{"layers": \["' "$tmp/out"; then good; else bad 'probe --stage list --json'; fi
exactly 'probe --json' 0 "{\"file\": \"$tmp/x.npy\", \"dtype\": \"float32\", \"shape\": [3, 256, 256]}" "" \
    probe -m "$model" -i "$tmp/a.ppm" --stage pixels -o "$tmp/x.npy" --json
prints '{"version": "' version --json

# ---- convert ----
usage '-o is missing: the .gguf file to write; see "eyelet help convert"' convert "$model"
fails '/nowhere: ' convert /nowhere -o "$tmp/x.gguf"
run convert "$model" -o "$tmp/model.gguf" --decoder q8_0 --vision bf16 -q
if [ "$rc" = 0 ] && grep -q 'model.gguf: [0-9]* tensors, ' "$tmp/out" && [ ! -s "$tmp/err" ]; then good; else bad convert; fi
same 'folder = GGUF' "run -m $model -i $tmp/a.ppm -n 12 --ignore-eos --decoder q8_0 --vision bf16" \
    "run -m $tmp/model.gguf -i $tmp/a.ppm -n 12 --ignore-eos"
same 'the tokenizer travels along' "tokens -m $model --template hello" "tokens -m $tmp/model.gguf --template hello"
prints 'gguf, ' inspect "$tmp/model.gguf"
prints 'eyelet.' inspect "$tmp/model.gguf" --metadata --no-tensors

# ---- the default model ----
mkdir -p "$tmp/prefix/bin" "$tmp/prefix/share/eyelet"
cp "$eyelet" "$tmp/prefix/bin/eyelet"
given=$eyelet
eyelet=$tmp/prefix/bin/eyelet
run inspect --no-tensors --json
if [ "$rc" = 1 ]; then # else one is installed on this machine
    none="no default model: captioner.gguf is neither beside the program ($tmp/prefix/bin), in share/eyelet of its prefix, nor in "
    for c in 'run -p x' 'tokens x' 'probe --stage list' bench 'bench --hpml' "bench --caption $tmp" inspect; do
        # shellcheck disable=SC2086
        fails "no model given (-m, or EYELET_MODEL), and $none" $c
    done
    prints "model        $none" doctor
    prints '"model": null' doctor --json
fi
run tokens -m "$tmp/model.gguf" "$text" && cp "$tmp/out" "$tmp/first"
cp "$tmp/model.gguf" "$tmp/prefix/share/eyelet/captioner.gguf"
by_default() { # file that is found
    run tokens "$text"
    if [ "$rc" = 0 ] && cmp -s "$tmp/out" "$tmp/first"; then good; else bad "the default model $1"; fi
    prints "file            $1" inspect --no-tensors
}
by_default "$tmp/prefix/bin/../share/eyelet/captioner.gguf"
prints "model        $tmp/prefix/bin/../share/eyelet/captioner.gguf (the default): fast_vlm" doctor
prints '"default": true, ' doctor --json
run run -i "$tmp/a.ppm" -n 4 -v
if [ "$rc" = 0 ] && grep -q "the default model: $tmp/prefix/bin/../share" "$tmp/err"; then good; else bad 'run -v names the default model'; fi
cp "$tmp/model.gguf" "$tmp/prefix/bin/captioner.gguf"
by_default "$tmp/prefix/bin/captioner.gguf"
EYELET_MODEL=$model prints "file            $model" inspect --no-tensors
prints "file            $tmp/prefix/share/eyelet/captioner.gguf" inspect --no-tensors "$tmp/prefix/share/eyelet/captioner.gguf"
EYELET_MODEL=/nowhere fails '/nowhere: ' run -p x
: >"$tmp/prefix/bin/captioner.gguf"
fails "$tmp/prefix/bin/captioner.gguf: the file is empty" run -p x
rm -r "$tmp/prefix"
eyelet=$given
shipped=$(dirname "$eyelet")/captioner.gguf
if [ -e "$shipped" ]; then
    if [ "$(wc -c <"$shipped")" -le 12000000 ]; then good; else bad 'the default model has at most 12 MB'; fi
    photo=$(dirname "$0")/../../doc/demo.jpg
    same 'a caption by the default model, one thread or three' "run -i $photo -t 1" "run -i $photo -t 3"
    if [ "$(wc -l <"$tmp/out")" = 1 ] && [ "$(wc -w <"$tmp/out")" -ge 3 ]; then good; else bad 'a caption of some words'; fi
    prints '"finish_reason": "stop"' run -i "$photo" --json
fi

# ---- compile ----
usage '-o is missing: the file to write; see "eyelet help compile"' compile "$model"
fails '/nowhere: ' compile /nowhere -o "$tmp/x.eyelet"
prints ' matrices packed for ' compile "$model" -o "$tmp/x.eyelet" --decoder q8_0 --vision bf16 -q
same 'folder = compiled file' "run -m $model -i $tmp/a.ppm -n 12 --ignore-eos --decoder q8_0 --vision bf16" \
    "run -m $tmp/x.eyelet -i $tmp/a.ppm -n 12 --ignore-eos"
same 'mapped = copied' "run -m $tmp/x.eyelet -i $tmp/a.ppm -n 12 --ignore-eos" \
    "run -m $tmp/x.eyelet -i $tmp/a.ppm -n 12 --ignore-eos --no-mmap"
prints 'compiled, ' inspect "$tmp/x.eyelet" --check
fails 'only compiled files have sums to check' inspect "$tmp/model.gguf" --check
fails 'for running only; give the model it was made from' convert "$tmp/x.eyelet" -o "$tmp/y.gguf"
fails 'only as its kernels want it' run -m "$tmp/x.eyelet" -p x --decoder q4_0

# ---- convert: calibration and its report ----
fails 'vision int8: ranges come from pictures' convert "$model" -o "$tmp/x.gguf" --vision int8
fails 'q8_0' convert "$model" -o "$tmp/x.gguf" --decoder int8
fails 'has no int8 ranges' run -m "$model" -i "$tmp/a.ppm" --vision int8
mkdir "$tmp/pictures" "$tmp/no-pictures"
for i in 1 2 3 4 5; do
    printf 'P3 2 2 255 %d 0 90 0 %d 9 200 7 %d 40 50 60\n' $((i * 50)) $((i * 40)) $((i * 30)) >"$tmp/pictures/p$i.ppm"
    printf 'p%d.ppm\tpicture number %d\n' $i $i >>"$tmp/pictures/captions.tsv"
done
usage '--judge shows in --report only; see "eyelet help convert"' convert "$model" -o "$tmp/c.gguf" --judge "$tmp/pictures"
fails 'no pictures; expected ' convert "$model" -o "$tmp/c.gguf" --decoder q4_0 --calibration "$tmp/no-pictures"
fails "the decoder's type is exact; expected q8_0, q4_0 or q4_k" convert "$model" -o "$tmp/c.gguf" --calibration "$tmp/pictures"
fails 'decoder_snr_db (--decoder-snr): what matrices lose is measured on pairs of picture and text: give a folder of them (--calibration DIR)' \
    convert "$model" -o "$tmp/c.gguf" --decoder q4_0 --decoder-snr 30
fails "(--decoder-snr): the decoder's type is q8_0; expected q4_0 or q4_k" \
    convert "$model" -o "$tmp/c.gguf" --decoder q8_0 --calibration "$tmp/pictures" --decoder-snr 30
usage '--decoder-snr is "81", expected a number from 0 to 80; see "eyelet help convert"' \
    convert "$model" -o "$tmp/c.gguf" --decoder q4_0 --decoder-snr 81
usage '--decoder-snr is "-1", expected a number from 0 to 80; see "eyelet help convert"' \
    convert "$model" -o "$tmp/c.gguf" --decoder q4_0 --decoder-snr -1
for line in 'blk.0.attn_q.weight  *q4_0 .* %.* %.* % *[0-9.]* dB$' 'calibrated on  *4 pairs, ' 'judged on  *1 pairs held out, ' 'KL divergence  *[0-9]' \
    'greedy answers ' 'vision features  *cosine 1.000000, SNR inf dB' 'matrices as stored$'; do
    [ -s "$tmp/report" ] || run convert "$model" -o "$tmp/c.gguf" --decoder q4_0 --calibration "$tmp/pictures" --report "$tmp/report" -q
    if grep -q -- "$line" "$tmp/report"; then good; else bad "a report without $line"; cat "$tmp/report"; fi
done
run convert "$model" -o "$tmp/c.gguf" --decoder q4_0 --calibration "$tmp/pictures" --decoder-snr 31 --report "$tmp/report"
if [ "$rc" = 0 ] && grep -q '[0-9] of 14 matrices of the decoder.s layers are q8_0: in 4 bits their outputs would have less than 31 dB' "$tmp/err"
then good; else bad 'matrices in 8 bits are counted'; fi
for line in 'blk.0.attn_k.weight  *q8_0 .* [3-9][0-9]\.[0-9] dB  *2[0-9]\.[0-9] dB$' 'in 8 bits  *[0-9]* of 14 matrices' \
    'blk.0.ffn_down.weight  *q4_0 .* 3[1-9]\.[0-9] dB  *3[1-9]\.[0-9] dB$'; do
    if grep -q -- "$line" "$tmp/report"; then good; else bad "a report without $line"; cat "$tmp/report"; fi
done
prints 'q4_0 x ' inspect "$tmp/c.gguf"
prints 'q8_0 x ' inspect "$tmp/c.gguf"
prints 'decoder q4_0' doctor -m "$tmp/c.gguf"
run compile "$tmp/c.gguf" -o "$tmp/c.eyelet" -q
same 'a decoder of two types, 1 thread = compiled, 3' "run -m $tmp/c.gguf -i $tmp/a.ppm -n 12 --ignore-eos -t 1" \
    "run -m $tmp/c.eyelet -i $tmp/a.ppm -n 12 --ignore-eos -t 3"
fails 'only as its kernels want it' run -m "$tmp/c.eyelet" -p x --decoder q4_0
run export onnx "$tmp/c.gguf" -o "$tmp/two-types"
if [ "$rc" = 0 ] && [ -s "$tmp/two-types/decoder_kv.onnx" ]; then good; else bad 'a decoder of two types as ONNX'; cat "$tmp/err"; fi
prints '"output_snr_db_4bit": ' convert "$model" -o "$tmp/c.gguf" --decoder q4_k --calibration "$tmp/pictures" --decoder-snr 31 --report - --json -q
echo broken >"$tmp/pictures/p0.jpg"
run convert "$model" -o "$tmp/i8.gguf" --vision int8 --calibration "$tmp/pictures" --calibration-method minmax --max-pairs 3
if [ "$rc" = 0 ] && grep -q 'warning: 1 pictures could not be read and were left out; the first: .*p0.jpg' "$tmp/err"; then good; else bad 'a broken picture'; fi
rm "$tmp/pictures/p0.jpg"
same 'int8 vision, 1 and 3 threads' "run -m $tmp/i8.gguf -i $tmp/a.ppm -n 12 --ignore-eos -t 1" \
    "run -m $tmp/i8.gguf -i $tmp/a.ppm -n 12 --ignore-eos -t 3 --vision int8"
prints 'end to end           not measured: no pictures' convert "$model" -o "$tmp/c.gguf" --decoder q4_0 --report - -q
prints 'judged on            1 pairs held out' convert "$model" -o "$tmp/c.gguf" --decoder q4_k --report - --judge "$tmp/pictures" -q
fails '/nowhere/r' convert "$model" -o "$tmp/c.gguf" --report /nowhere/r -q
prints '"end_to_end": {' convert "$model" -o "$tmp/c.gguf" --decoder q8_0 --calibration "$tmp/pictures" --report - --json -q
run convert "$model" -o "$tmp/c.gguf" --report "$tmp/r.json" --json -q
if grep -q '"end_to_end_missing": "no pictures' "$tmp/r.json"; then good; else bad 'a report in JSON'; fi

# ---- calibrate ----
usage '--images is missing: a folder of pictures (or --random, for noise); see "eyelet help calibrate"' calibrate "$model" -o "$tmp/set"
usage '--images or --random, not both; see "eyelet help calibrate"' calibrate "$model" -o "$tmp/set" --images "$tmp" --random
fails 'no pictures; expected ' calibrate "$model" -o "$tmp/set" --images "$tmp/no-pictures"
echo broken >"$tmp/pictures/p0.jpg"
run calibrate "$model" -o "$tmp/set" --images "$tmp/pictures" --samples 3
if [ "$rc" = 0 ] && grep -q 'left out: .*p0.jpg' "$tmp/err" && grep -q 'warning: 1 pictures cannot be read' "$tmp/err"; then good; else bad 'a broken picture in a set'; fi
rm "$tmp/pictures/p0.jpg"
ok=yes
while read -r f; do [ -s "$f" ] || ok=no; done <"$tmp/set/input_list.txt"
if [ $ok = yes ] && [ "$(wc -l <"$tmp/set/input_list.txt")" = 3 ] && [ "$(ls "$tmp/set"/*.raw | wc -l)" = 3 ]; then good; else bad 'list and files'; fi
run calibrate "$model" -o "$tmp/set" --random --samples 2 --layout hwc-u8
if [ "$rc" = 0 ] && grep -q 'warning: these samples are noise' "$tmp/err" && [ "$(ls "$tmp/set"/*.raw | wc -l)" = 2 ]; then good; else bad 'noise'; fi
prints '"removed": 0' calibrate "$model" -o "$tmp/set" --random --samples 2 --layout hwc-u8 --json -q

# ---- export ----
usage '-o is missing: the folder to write to; see "eyelet help export onnx"' export onnx "$model"
usage '"export" needs a second word: onnx, genie, lut, qai-hub, qai-jobs; see "eyelet help"' export
usage '--graph "decode" is not known, did you mean decoder; see "eyelet help export onnx"' export onnx "$model" -o "$tmp/onnx" --graph decode
usage '--step is "x,4" there, expected at most 8 numbers with commas; see "eyelet help export onnx"' export onnx "$model" -o "$tmp/onnx" --step 1,x,4
fails '/nowhere: ' export onnx /nowhere -o "$tmp/onnx"
fails 'dynamic axes do not go with it' export onnx "$model" -o "$tmp/onnx" --target qnn --axes dynamic
prints 'decoder_kv_ar8.onnx: decoder-kv, ' export onnx -m "$model" -o "$tmp/onnx" --graph decoder-kv --step 1,8 --kv-style genie --precision fp16
prints '"data": "decoder_kv.data"' export onnx "$model" -o "$tmp/onnx" --graph decoder-kv --step 1,8 --json -q

# ---- inspect, bench ----
prints 'architecture' inspect "$model"
prints '"memory_bytes": ' inspect "$model" --json
prints 'token' inspect "$model/model.safetensors"
prints 'peak_memory' bench -m "$model" -r 2 --decode 4
prints 'prefill,' bench -m "$model" -r 1 --decode 2 --csv
prints '"ops": ' bench -m "$model" -r 1 --decode 2 --json --ops

prints 'same picture           2' bench -m "$model" --concurrent 2 --captions 4 -c 128
usage '--concurrent measures whole requests: no --hpml, --image, --csv, --ops or --roofline beside it; see "eyelet help bench"' \
    bench -m "$model" --concurrent 2 --ops
prints 'workers captions/s      p50      p95' bench -m "$model" --caption "$tmp/pictures" --captions 6 -t 2 -c 64
if [ "$(wc -l <"$tmp/out")" = 4 ]; then good; else bad 'captions a second of one worker and of two'; fi
usage '--hpml has its own picture and types: no --image, --caption, --csv, --ops, --decoder or --vision; see "eyelet help bench"' \
    bench -m "$model" --hpml --ops
# Four rows; the tower ran in each, as many products as in the first or more, and another picture gives other logits.
hpml() { # model
    TMPDIR=$tmp/scratch run bench --hpml -m "$1" -r 1 -t 2
    if [ "$rc" = 0 ] && awk '$1 == "plain" || $1 == "quantized" || $1 == "compiled" || $1 == "both" {
            n++; bad += !($8 > 10 && $9 > 0.9 && $10 > 0 && $2 > 0) } END { exit n != 4 || bad }' "$tmp/out"; then good; else bad "bench --hpml of $1 (exit $rc)"; fi
}
mkdir "$tmp/scratch"
hpml "$model"
hpml "$tmp/i8.gguf"
if [ -z "$(ls "$tmp/scratch")" ]; then good; else bad 'bench --hpml leaves its copy behind'; fi
run compile "$model" -o "$tmp/hpml.eyelet"
fails 'hpml.eyelet: a compiled file has its weights in one form; name what it was compiled from' bench --hpml -m "$tmp/hpml.eyelet"
TMPDIR=/nowhere fails '/nowhere/eyelet-' bench --hpml -m "$model"

# The three rows of a report before and after rounding: of the same model, each file smaller, each number a number.
EYELET="$wrapper $eyelet" EYELET_CTX_SIZE=128 EYELET_PREDICT=4 EYELET_LIMIT=4 EYELET_THREADS=2 N=2 \
    "$(dirname "$0")/../../scripts/before_after.sh" "$model" "$tmp/shapes" "$tmp/rounded" >"$tmp/out" 2>"$tmp/err"
rc=$?
if [ "$rc" = 0 ] && awk -F '|' '/^[|] (f32|int8)/ { n++; size = $3 + 0; bad += !(NF == 13 && (!last || size < last)); last = size
        for (i = 4; i < 13; i++) bad += $i !~ /^ [0-9.]+ $/ } END { exit n != 3 || bad }' "$tmp/out"; then good; else bad "before_after.sh (exit $rc)"; fi

# ---- one JSON object each ----
is_json() { # arguments…
    run "$@"
    if [ "$rc" = 0 ] && [ ! -s "$tmp/err" ] && [ "$(wc -l <"$tmp/out")" = 1 ] && grep -q '^{.*}$' "$tmp/out" &&
        { ! command -v python3 >/dev/null || python3 -m json.tool "$tmp/out" >/dev/null 2>"$tmp/err"; }; then good; else bad "$* (exit $rc): no JSON"; fi
}
odd=$tmp/$(printf 'no\377utf8')
is_json version --json
is_json doctor --json -m "$model"
is_json run --json -m "$model" -i "$tmp/a.ppm" -n 4 --logprobs 3 --temp 2 -s 3
is_json tokens --json -m "$model" "$text"
is_json tokens --json -m "$model" --decode "$ids"
is_json probe --json -m "$model" --stage list
is_json probe --json -m "$model" --tokens "1 2" --stage logits -o "$odd.npy"
is_json convert --json "$model" -o "$odd.gguf"
is_json compile --json "$odd.gguf" -o "$odd.eyelet"
is_json bench --json -m "$odd.gguf" -r 1 --decode 2 --roofline
is_json inspect --json --metadata "$odd.gguf"
is_json inspect --json "$model"
is_json bench --json -m "$odd.gguf" -r 1 --decode 2 --ops
is_json bench --json -m "$model" --hpml -r 1
is_json bench --json -m "$model" --concurrent 2 --captions 4 -c 128
is_json bench --json -m "$model" --caption "$tmp/pictures" --captions 3 -t 2 -c 64
for c in 'run -p x' 'tokens x' 'probe --stage list' bench; do
    # shellcheck disable=SC2086
    run $c --json -m /nowhere
    if [ "$rc" = 1 ] && [ ! -s "$tmp/out" ] && grep -q '^eyelet: /nowhere: ' "$tmp/err"; then good; else bad "$c --json that fails"; fi
done

# ---- what people give in place of a model, a picture, a disk ----
folder() { # name, files of the model to take
    mkdir "$tmp/$1"
    # shellcheck disable=SC2086
    [ -z "$2" ] || (cd "$model" && cp $2 "$tmp/$1/")
}
folder empty ''
fails 'no config.json in this folder: expected a checkpoint as Hugging Face keeps them' run -m "$tmp/empty" -p x
folder tok 'tokenizer*.json'
fails 'no config.json in this folder: only a tokenizer' run -m "$tmp/tok" -p x
folder onnx ''
: >"$tmp/onnx/model.onnx"
fails 'no config.json in this folder: ONNX files' run -m "$tmp/onnx" -p x
folder adapter ''
: >"$tmp/adapter/adapter_config.json"
fails 'no config.json in this folder: a LoRA adapter; merge it' run -m "$tmp/adapter" -p x
folder hub ''
mkdir "$tmp/hub/snapshots"
fails 'no config.json in this folder: a hub'"'"'s cache; name the folder below snapshots/' run -m "$tmp/hub" -p x
folder weights '*.safetensors'
fails 'no config.json in this folder: weights alone' run -m "$tmp/weights" -p x
folder noweights '*.json'
fails 'no weights: expected model.safetensors' run -m "$tmp/noweights" -p x
folder lfs '*.json'
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 15\n' >"$tmp/lfs/model.safetensors"
fails 'a git-lfs pointer, not the weights: run `git lfs pull`' run -m "$tmp/lfs" -p x
folder notok 'config.json *.safetensors'
fails 'no tokenizer: expected tokenizer.json' run -m "$tmp/notok" -p x
fails 'chat template "vicuna13" is not known, expected one of raw, qwen2' run -m "$model" -p x --chat-template vicuna13
printf '{%% for m in messages %%}{{ m.content | dictsort }}{%% endfor %%}' >"$tmp/odd.jinja"
fails 'odd.jinja:1:39: the filter "dictsort" is not supported' run -m "$model" -p x --chat-template "$tmp/odd.jinja"
fails 'model.onnx: an ONNX file; expected a checkpoint folder' run -m "$tmp/onnx/model.onnx" -p x
fails 'config.json: one file of a checkpoint: name its folder' run -m "$model/config.json" -p x
: >"$tmp/zero.gguf"
fails 'the file is empty (interrupted download?)' run -m "$tmp/zero.gguf" -p x
fails 'expected a file, got a folder' run -m "$model" -i "$tmp/empty"
: >"$tmp/zero.png"
fails 'zero.png: empty file, expected an image' run -m "$model" -i "$tmp/zero.png"
fails 'not a known image (begins ' run -m "$model" -i "$model/config.json"
if [ "$(id -u)" != 0 ]; then
    printf x >"$tmp/secret.png" && chmod 0 "$tmp/secret.png"
    fails 'secret.png: cannot open: Permission denied' run -m "$model" -i "$tmp/secret.png"
fi
fails 'and an answer do not fit: the context has room for 9 and one; raise it (n_ctx, -c), shorten the text, or let it be cut (truncate, --truncate)' \
    run -m "$model" -p "one two three" -c 10
prints '"truncated": true' run -m "$model" -p "one two three four five six seven eight nine ten" -c 40 --truncate --json -n 1
fails 'the model was made for at most ' run -m "$model" -p x -c 1000000
fails 'cpu_features (--cpu) is "foo", expected a list of ' run -m "$model" -p x --cpu foo
fails '--prefill 5000 and --decode 64 do not fit the context of 4096; raise it (-c)' bench -m "$model" --prefill 5000
usage '--json and --csv exclude each other; see "eyelet help bench"' bench -m "$model" --json --csv
for t in -1 9999 1.5 ''; do
    usage "-t is \"$t\", expected a whole number from 0 to 1024; see \"eyelet help run\"" run -m "$model" -p x -t "$t"
done
(
    ulimit -f 100 # blocks of 512 or 1024 bytes; the file would be larger
    run convert "$model" -o "$tmp/full.gguf"
    [ "$rc" = 1 ] && grep -q 'full.gguf: cannot write: File too large' "$tmp/err"
)
rc=$?
if [ "$rc" = 0 ] && ! ls "$tmp"/full* >/dev/null 2>&1; then good; else bad 'a convert that cannot write leaves nothing behind'; fi
if [ -w /dev/full ] && [ -z "$wrapper" ]; then
    "$eyelet" version >/dev/full 2>"$tmp/err"
    rc=$?
    if [ "$rc" = 1 ] && grep -q '^eyelet: standard output: cannot write: No space left' "$tmp/err"; then good; else bad 'a full disk for stdout'; fi
fi

# ---- Ctrl-C, closed pipes, colors ----
interrupted() { # signal, exit code, arguments…
    signal=$1 code=$2
    shift 2
    # shellcheck disable=SC2086
    $wrapper "$eyelet" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null &
    pid=$!
    sleep "${wrapper:+1}2"
    kill -"$signal" $pid
    wait $pid
    rc=$?
    if [ "$rc" = "$code" ] && [ ! -s "$tmp/err" ]; then good; else bad "$* after $signal (exit $rc)"; fi
}
long="run -m $model -p hi -n 0 -c 32768 --ignore-eos -t 1 --cpu base"
# shellcheck disable=SC2086
interrupted INT 130 $long
if [ -s "$tmp/out" ] && [ -z "$(tail -c 1 "$tmp/out")" ]; then good; else bad 'what there was of the answer is printed, and a newline'; fi
# shellcheck disable=SC2086
interrupted INT 130 $long --json
if [ "$(wc -l <"$tmp/out")" = 1 ] && grep -q '"tokens": \[[0-9]' "$tmp/out"; then good; else bad 'interrupted --json'; fi
interrupted TERM 143 bench -m "$model" -r 1000
# Answers without an end, in a conversation: Ctrl-C ends each of two and the conversation goes on; at the prompt it ends all.
until_true() { # a condition; waits 20 s at most
    n_waits=0
    until eval "$1" || [ $((n_waits += 1)) -gt 200 ]; do sleep 0.1; done
}
type_line() { (trap '' PIPE; echo "$1" >&3) 2>/dev/null; } # the program may have ended
mkfifo "$tmp/typed"
: >"$tmp/out" >"$tmp/err"
# shellcheck disable=SC2086
$wrapper "$eyelet" chat -m "$model" -n 0 -c 32768 --ignore-eos -t 1 --cpu base <"$tmp/typed" >"$tmp/out" 2>"$tmp/err" &
pid=$!
exec 3>"$tmp/typed"
for n in 1 2; do
    size=$(wc -c <"$tmp/out")
    type_line Hi
    until_true '[ "$(wc -c <"$tmp/out")" -gt "$size" ]'
    kill -INT $pid
    type_line /stats
    until_true 'grep -q "positions, $n questions" "$tmp/err"'
    if [ "$(wc -c <"$tmp/out")" -gt "$size" ] && [ -z "$(tail -c 1 "$tmp/out")" ] &&
        grep -q "positions, $n questions" "$tmp/err"; then good; else bad "chat: Ctrl-C in answer $n"; fi
done
kill -INT $pid
exec 3>&-
wait $pid
rc=$?
if [ "$rc" = 130 ]; then good; else bad "chat: Ctrl-C at the prompt (exit $rc)"; fi
# shellcheck disable=SC2086
$wrapper "$eyelet" help run 2>"$tmp/err" | true
if [ ! -s "$tmp/err" ]; then good; else bad 'a closed pipe is no news'; fi
(trap '' PIPE; $wrapper "$eyelet" tokens -m "$model" "$text" 2>"$tmp/err" | true)
if [ ! -s "$tmp/err" ]; then good; else bad 'a closed pipe is no news, SIGPIPE ignored'; fi
pty() { # environment, arguments: stderr is a terminal
    script -qec "env TERM=xterm $1 $wrapper $eyelet $2 2>&1 >/dev/null" /dev/null </dev/null >"$tmp/out" 2>"$tmp/err"
}
esc=$(printf '\033')
if command -v script >/dev/null; then
    pty '' 'run -m /nowhere -p x'
    if grep -q "$esc" "$tmp/out"; then good; else bad 'an error on a terminal has a color'; fi
    for env in NO_COLOR=1 TERM=dumb; do
        pty $env 'run -m /nowhere -p x'
        if grep -q '^eyelet: /nowhere' "$tmp/out" && ! grep -q "$esc" "$tmp/out"; then good; else bad "$env: no color"; fi
    done
fi

# ---- variables: one of each type ----
variable() { # NAME=value, same as these arguments
    # shellcheck disable=SC2086
    run run -m "$model" -p hi -n 6 --ignore-eos --json $2 && sed 's/"timings".*//' "$tmp/out" >"$tmp/first"
    name=${1%%=*} value=${1#*=}
    eval "export $name=\$value"
    run run -m "$model" -p hi -n 6 --ignore-eos --json
    unset "$name"
    sed 's/"timings".*//' "$tmp/out" >"$tmp/second"
    if [ "$rc" = 0 ] && cmp -s "$tmp/first" "$tmp/second"; then good; else bad "$1 is not $2"; fi
}
variable EYELET_LOGPROBS=2 '--logprobs 2'
variable EYELET_TEMP=1.5 '--temp 1.5'
EYELET_TEMP=2 variable EYELET_SEED=7 '--seed 7'
variable EYELET_KV=i8 '--kv i8'
variable EYELET_RAW=1 --raw
variable EYELET_RAW=0 ''
variable EYELET_STOP=e '--stop e'
variable EYELET_THREADS=3 '-t 3'
EYELET_KV=f64 usage 'EYELET_KV is "f64", expected one of auto, f16, f32, i8; see "eyelet help run"' run -p x
EYELET_RAW=maybe usage 'EYELET_RAW is "maybe", expected 1 or 0; see "eyelet help run"' run -p x
EYELET_TEMP=hot usage 'EYELET_TEMP is "hot", expected a number from 0 to 1000; see "eyelet help run"' run -p x

# ---- doctor ----
prints 'kernels      agree with their reference' doctor
prints ' of what rounding explains' doctor -m "$model"
prints 'gemm_f32_f32_f32 ' doctor -v
EYE_CPU=base prints 'warning      EYE_CPU allows only base' doctor
EYE_CPU=quux prints 'a name in it is not known' doctor
prints 'this process may use ' doctor -t $(($(nproc) + 2))
run doctor --json -m "$model"
for key in '"cpu": {' '"huge_pages": ' '"agree": true' '"kernels": {"gemm_f32' '"opens": true' '"fits": true' '"warnings": ['; do
    if [ "$rc" = 0 ] && [ "$(wc -l <"$tmp/out")" = 1 ] && grep -qF "$key" "$tmp/out"; then good; else bad "doctor --json: $key"; fi
done
run doctor -m /nowhere
if [ "$rc" = 1 ] && grep -q '/nowhere: does not open' "$tmp/out" && ! grep -q nothing "$tmp/out"; then good; else bad 'a model that does not open is a complaint'; fi
run doctor --json -m /nowhere
if [ "$rc" = 1 ] && grep -q '"opens": false' "$tmp/out" && grep -q '^eyelet: /nowhere: ' "$tmp/err"; then good; else bad 'doctor of no model'; fi

finish
