#!/bin/sh
# Devices, with a pretend adb: what is listed, and each thing that can be missing, by its exact line; a question on a pretend phone, a
# folder here, with eyelet in the place of the vendor's programs; and what goes wrong on the way.
# Usage: device.sh EYELET MAKE_CHECKPOINT [WRAPPER…]
set -u
eyelet=$(realpath "$1")
make=$2
shift 2
wrapper="$*"
. "$(dirname "$0")/lib.sh"
unset QNN_SDK_ROOT QAIRT_SDK_ROOT ANDROID_NDK_ROOT

# adb: $tmp/devices is what "adb devices -l" prints after its headline; $tmp/shell what the shell answers, without it commands run
# here; $tmp/fails what all of it says and fails with, $tmp/fails.push what push does, $tmp/breaks the file in whose middle the
# connection breaks; $tmp/pushed lists what was pushed, $tmp/serials the devices that were named.
cat >"$tmp/adb" <<'SHIM'
#!/bin/sh
here=$(dirname "$0")
if [ "$1" = -s ]; then echo "$2" >>"$here/serials"; shift 2; fi
if [ -f "$here/fails" ]; then cat "$here/fails" >&2; exit 1; fi
case $1 in
devices) printf 'List of devices attached\n'; cat "$here/devices"; printf '\n' ;;
shell) if [ -f "$here/shell" ]; then cat "$here/shell"; elif [ -f "$here/offline" ]; then echo 'error: device offline' >&2; exit 1; else sh -c "$2"; fi ;;
push) if [ -f "$here/fails.push" ]; then cat "$here/fails.push" >&2; exit 1; fi
    name=$(basename "$3"); echo "$name" >>"$here/pushed"
    if [ -f "$here/breaks" ] && [ "$(cat "$here/breaks")" = "$name" ]; then
        head -c "$(($(wc -c <"$2") / 2))" "$2" >"$3"; echo "adb: error: failed to copy '$2' to '$3': remote Connection reset by peer" >&2; exit 1; fi
    cp -L "$2" "$3" ;;
pull) cp -r "$2" "$3" ;;
esac
SHIM
chmod +x "$tmp/adb"

exactly() { # code, exact stdout, exact stderr, arguments
    code=$1 out=$2 err=$3
    shift 3
    run "$@"
    if [ "$rc" = "$code" ] && [ "$(cat "$tmp/out")" = "$out" ] && [ "$(cat "$tmp/err")" = "$err" ]; then good; else bad "$* (exit $rc)"; fi
}
list() { exactly "$1" "$2" "$3" device list --adb "$tmp/adb"; }

: >"$tmp/devices"
list 1 '' 'eyelet: no device; connect one and allow USB debugging on it'
printf 'R5CX12 device product:x model:Pretend_Phone device:y transport_id:1\r\n192.168.0.7:5555 unauthorized transport_id:2\n' >"$tmp/devices"
list 0 'R5CX12                   ready          Pretend_Phone
192.168.0.7:5555         unauthorized   ' ''
exactly 0 '{"devices": [{"serial": "R5CX12", "state": "ready", "model": "Pretend_Phone"}, {"serial": "192.168.0.7:5555", "state": "unauthorized", "model": ""}]}' '' \
    device list --adb "$tmp/adb" --json
echo 'error: cannot connect to daemon' >"$tmp/fails"
list 1 '' 'eyelet: adb devices: adb'\''s server does not start; "adb kill-server", then again'
echo 'adb: something else' >"$tmp/fails"
list 1 '' 'eyelet: adb devices: adb: something else'
rm "$tmp/fails"
exactly 1 '' "eyelet: $tmp/none: cannot be started: not found; install Android's platform tools, or name it with --adb" device list --adb "$tmp/none"

doctor() { # code, stdout, stderr, arguments
    code=$1 out=$2 err=$3
    shift 3
    exactly "$code" "$out" "$err" device doctor --adb "$tmp/adb" "$@"
}
no_sdk='missing      the QAIRT SDK; set QNN_SDK_ROOT; without it the flow runs by eyelet'\''s stand-ins only'
doctor 1 "missing      a choice of device; several are connected: name one with -s SERIAL
$no_sdk" ''
doctor 1 "missing      192.168.0.7:5555; accept this computer's key on its screen
$no_sdk" '' -s 192.168.0.7:5555
doctor 1 "missing      nobody; connect it and allow USB debugging on it
$no_sdk" '' -s nobody
: >"$tmp/offline"
doctor 1 "serial       R5CX12
missing      the device's shell; see the line above
$no_sdk" 'eyelet: adb shell: the device is offline; reconnect it, or "adb reconnect"' -s R5CX12
printf 'Pretend Phone\nSM8750\narm64-v8a\n/dev/block/dm-5 115343360 52428800 62914560 46%% /data\nMemTotal:       11534336 kB\n' >"$tmp/shell"
phone='serial       R5CX12
device       Pretend Phone
soc          SM8750
abi          arm64-v8a
free         60.00 GiB
memory       11.00 GiB'
doctor 1 "$phone
$no_sdk" '' -s R5CX12
sdk=$tmp/sdk
mkdir -p "$sdk/bin/aarch64-android" "$sdk/lib/aarch64-android" "$sdk/lib/hexagon-v79/unsigned"
for f in bin/aarch64-android/qnn-net-run bin/aarch64-android/genie-t2t-run lib/hexagon-v79/unsigned/libQnnHtpV79Skel.so; do : >"$sdk/$f"; done
for f in Htp HtpPrepare System Cpu GenAiTransformer GenAiTransformerModel GenAiTransformerCpuOpPkg HtpV79Stub; do : >"$sdk/lib/aarch64-android/libQnn$f.so"; done
doctor 1 "$phone
sdk          $sdk
missing      libGenie.so; it belongs into the SDK; is this one whole?
missing      Android's NDK; set ANDROID_NDK_ROOT: Genie's programs need its libc++_shared.so" '' -s R5CX12 --sdk "$sdk"
: >"$sdk/lib/aarch64-android/libGenie.so"
export ANDROID_NDK_ROOT="$tmp"
doctor 0 "$phone
sdk          $sdk
nothing is missing" '' -s R5CX12 --sdk "$sdk"
doctor 0 "{\"found\": {\"serial\": \"R5CX12\", \"device\": \"Pretend Phone\", \"soc\": \"SM8750\", \"abi\": \"arm64-v8a\", \"free\": \"60.00 GiB\", \"memory\": \"11.00 GiB\", \"sdk\": \"$sdk\"}, \"missing\": []}" '' \
    -s R5CX12 --sdk "$sdk" --json
rm "$tmp/shell" "$tmp/offline"

# ---- a run on a pretend phone ----
phone=$tmp/phone/data dir=$tmp/genie model=$tmp/model
# shellcheck disable=SC2086
$wrapper "$make" --size tiny --format hf -o "$model" || exit 1
awk 'BEGIN { printf "P3 31 17 255\n"; for (i = 0; i < 31 * 17 * 3; i++) print (i * 37 + int(i / 29) * 11) % 256 }' >"$tmp/picture.ppm"
run export genie "$model" -o "$dir" -c 512 --embed-tokens 128 -q
run run -m "$model" -i "$tmp/picture.ppm" -p 'What is this?' -n 12
cp "$tmp/out" "$tmp/want"
mkdir -p "$tmp/bin"
if [ -n "$wrapper" ]; then printf '#!/bin/sh\nexec %s %s "$@"\n' "$wrapper" "$eyelet" >"$tmp/bin/eyelet"; else ln -s "$eyelet" "$tmp/bin/eyelet"; fi
for n in qnn-net-run:net-run genie-t2t-run:genie-t2t-run; do
    printf '#!/bin/sh\nexec %s %s %s "$@"\n' "$wrapper" "$eyelet" "${n#*:}" >"$tmp/bin/${n%:*}"
done
chmod +x "$tmp/bin/"*
printf '# programs\n%s\n%s\n' "$tmp/bin/qnn-net-run" "$tmp/bin/genie-t2t-run" >"$tmp/tools"
ask() { run device run --adb "$tmp/adb" -m "$model" -d "$dir" --remote-dir "$phone" -n 12 "$tmp/picture.ppm" 'What is this?' "$@"; }
answers() { # title
    if [ "$rc" = 0 ] && cmp -s "$tmp/out" "$tmp/want"; then good; else bad "$1 (exit $rc)"; fi
}
ask --backend cpu --eyelet "$tmp/bin/eyelet" -o "$tmp/run1"
answers 'the phone says what run says'
for f in combined_embeddings_fp32.raw genie_config.json tokens.json profile.json vision_out/Result_0/image_features.raw embed_out/Result_0/output_0.raw; do
    if [ -s "$tmp/run1/$f" ]; then good; else bad "$f is not in the run folder"; fi
done
if grep -q '^answer       12.0 tokens$' "$tmp/err" && grep -q '^first token  [0-9.]* ms$' "$tmp/err"; then good; else bad 'the profile is shown'; fi
: >"$tmp/pushed"
ask --backend cpu --eyelet "$tmp/bin/eyelet" -o "$tmp/run2"
answers 'a second time'
if [ "$(sort "$tmp/pushed" | tr '\n' ' ')" = 'combined_embeddings_fp32.raw embed_input_list.txt genie_config.json input_ids.raw pixel_values.raw vision_input_list.txt ' ]; then good; else
    cp "$tmp/pushed" "$tmp/out"
    bad 'what the device has is not pushed again'
fi
ask --backend cpu --eyelet "$tmp/bin/eyelet" -o "$tmp/run5" -n 3 12 256 fp32 fp16
answers 'arguments as scripts give them'
echo damaged >"$phone/LUT.bin"
SKIP_PUSH=1
export SKIP_PUSH
ask --backend cpu -o "$tmp/run3"
if [ "$rc" = 1 ] && grep -q '^eyelet: decoder step: ' "$tmp/err"; then good; else bad 'SKIP_PUSH=1 pushes no model'; fi
unset SKIP_PUSH
ask --tools "$tmp/tools" --vision-context "$dir/vision_encoder.bin" --embed-context "$dir/embed_tokens.bin" -o "$tmp/run4"
answers "by the vendor's names"
ask --tools "$tmp/tools" --vision-context "$dir/vision_encoder.bin" --embed-context "$dir/embed_tokens.bin"
if [ "$rc" = 0 ] && ls "$dir/run_outputs/"*/combined_embeddings_fp32.raw >/dev/null 2>&1; then good; else bad 'a run folder of its own'; fi

# ---- each stage against this computer ----
verify() { run device verify -d "$dir" "$@"; }
says() { # title, exit code, a line of stdout (a basic regular expression), exact stderr
    if [ "$rc" = "$2" ] && { [ -z "$3" ] || grep -q "$3" "$tmp/out"; } && [ "$(cat "$tmp/err")" = "$4" ]; then good; else bad "$1 (exit $rc, expected: $3 | $4)"; fi
}
verify "$tmp/run1"
says 'a run on the CPU' 0 '^answer    ok  12 tokens, 0 not the likeliest here, by 0 nats (at most 0.5)$' ''
for s in vision embed combined; do
    if grep -q "^$s *ok  cosine 1.000000 (at least 0.99*), largest error 0 (at most 0.[01]*)$" "$tmp/out"; then good; else bad "$s of a run on the CPU"; fi
done
verify "$tmp/run4" --json
says "a run by the vendor's names" 0 '^{"runs": \[{"run": ".*/run4", "good": true, "first_off": null, "stages": \[{"stage": "vision", "verdict": "good", "cosine": 1.0, ' ''
ask --backend cpu --eyelet "$tmp/bin/eyelet" -o "$tmp/run6" --verify --json
says 'run and verify' 0 '"profile": {.*"verify": {"run": ".*/run6", "good": true' "$(cat "$tmp/err")"
if [ "$(sed 's/^{"text": "\(.*\)", "run": .*/\1/; s/\\u00[01][0-9a-f]//g' "$tmp/out")" = "$(tr -d '\001-\011\013-\037' <"$tmp/want")" ]; then good; else bad 'the answer as JSON'; fi
if grep -q '"backend": "cpu"' "$tmp/run6/manifest.json" && grep -q '"file": "combined_embeddings_fp32.raw"' "$tmp/run6/manifest.json"; then good; else bad 'the manifest of a run'; fi
spoil() { # name: a copy of run1
    rm -rf "$tmp/off"
    cp -r "$tmp/run1" "$tmp/off"
}
first_off() { # stage, what its line begins with
    verify "$tmp/off"
    if [ "$rc" = 1 ] && grep -q "^eyelet: $tmp/off: $1 is off: $2" "$tmp/err" && [ "$(grep -c . "$tmp/err")" = 1 ]; then good; else bad "$1 is off (exit $rc)"; fi
}
rows=vision_out/Result_0/image_features.raw
spoil
{ tail -c 256 "$tmp/run1/$rows"; head -c -256 "$tmp/run1/$rows"; } >"$tmp/off/$rows" # rows one place further
first_off vision 'cosine -*0.[0-9]*, expected at least 0.99 (row [0-9]*: '
verify "$tmp/off" --vision-cosine 0.001 --vision-error 1000
says 'limits can be given' 0 '^vision    ok ' ''
verify "$tmp/run1" "$tmp/off"
if [ "$rc" = 1 ] && [ "$(grep -c '^answer    ok' "$tmp/out")" = 2 ] && grep -qx "$tmp/off" "$tmp/out"; then good; else bad 'several run folders'; fi
spoil
{ printf '\0\0\300\177'; tail -c +5 "$tmp/run1/$rows"; } >"$tmp/off/$rows"
first_off vision 'values that are no numbers, first in row 0'
spoil
{ head -c 256 /dev/zero; tail -c +257 "$tmp/run1/embed_out/Result_0/output_0.raw"; } >"$tmp/off/embed_out/Result_0/output_0.raw"
first_off embed 'cosine 0.9'
spoil
cp "$tmp/run1/combined_embeddings_fp32.raw" "$tmp/c"
{ tail -c +257 "$tmp/c"; head -c 256 "$tmp/c"; } >"$tmp/off/combined_embeddings_fp32.raw"
first_off combined 'cosine '
spoil
sed 's/^\(\[BEGIN\]: .\{9\}\).*\[END\]/\1 and nothing more[END]/' "$tmp/run1/genie_stdout.txt" >"$tmp/off/genie_stdout.txt"
first_off answer 'after [0-9]* tokens the device says '
spoil
sed 's/^\(\[BEGIN\]: .\{9\}\).*\[END\]/\1[END]/' "$tmp/run1/genie_stdout.txt" >"$tmp/off/genie_stdout.txt"
first_off answer 'after [0-9]* tokens the device '
spoil
sed 's/\[END\].*//' "$tmp/run1/genie_stdout.txt" >"$tmp/off/genie_stdout.txt"
first_off answer 'the answer has no \[END\]: it broke off$'
spoil
echo short >"$tmp/off/$rows"
verify "$tmp/off"
says 'a file of another size' 1 '' "eyelet: $tmp/off/$rows: 6 bytes, expected 4096 (float32) or 4096 (float32)"
spoil
rm -r "$tmp/off/vision_out" "$tmp/off/genie_stdout.txt"
verify "$tmp/off"
says 'what is not there is not compared' 0 '^answer    -   not compared: no genie_stdout.txt, what genie-t2t-run printed$' ''
rm -r "$tmp/off/embed_out" "$tmp/off/combined_embeddings_fp32.raw"
verify "$tmp/off"
says 'nothing to compare' 1 '' "eyelet: $tmp/off: nothing of a device's in it: no vision_out, embed_out, combined_embeddings_fp32.raw or genie_stdout.txt"
verify "$tmp/none"
says 'no run folder' 1 '' "eyelet: $tmp/none/tokens.json: cannot open: No such file or directory"
run device verify "$tmp/run1"
says 'no -d' 2 '' 'eyelet: -d is missing: the folder of "eyelet export genie"; see "eyelet help device verify"'

# ---- push ----
: >"$tmp/devices"
rm -rf "$phone" "$tmp/serials"
push() { run device push -d "$dir" --adb "$tmp/adb" --remote-dir "$phone" --backend cpu --eyelet "$tmp/bin/eyelet" "$@"; }
push -s R5CX12
says 'push' 0 '^pushed   decoder.bin$' ''
if [ "$(grep -c '^pushed' "$tmp/out")" = 6 ] && [ "$(sort -u "$tmp/serials")" = R5CX12 ]; then good; else bad 'what is pushed, and to whom'; fi
echo vision_encoder.bin >"$tmp/breaks"
rm "$phone/vision_encoder.bin"
push
says 'the connection breaks in mid-push' 1 '^' 'eyelet: push: the connection to the device broke off; reconnect it, then again: what is whole there stays'
rm "$tmp/breaks"
push --json
says 'then again: only what is not whole' 0 '^{"pushed": \["vision_encoder.bin"\], "kept": \["decoder.bin", "LUT.bin", "tokenizer.json", "eyelet", "embed_tokens.bin"\]}$' ''
push w4
says 'a decoder precision' 2 '' 'eyelet: decoder_precision is "w4", expected fp32, fp16, int8 (z8) or int4 (q4); see "eyelet help device push"'
run device push -d "$dir"
says 'what qnn needs' 2 '' 'eyelet: --backend qnn needs --tools, --vision-context and --embed-context; see "eyelet help device push"'

# ---- the answer appears as the device prints it ----
vendor() { # name, script: in the place of a program
    printf '#!/bin/sh\n%s\n' "$2" >"$tmp/bin/$1"
    chmod +x "$tmp/bin/$1"
}
qnn() { ask --tools "$tmp/tools" --vision-context "$dir/vision_encoder.bin" --embed-context "$dir/embed_tokens.bin" "$@"; }
cp "$tmp/run1/profile.json" "$tmp/profile.json" # what the pretend decoders give
speaks="cp '$tmp/profile.json' run/profile.json; printf 'Using libGenie\n\n[BEG'; sleep 0.1; printf 'IN]: One [EN'; sleep 0.1"
vendor genie-t2t-run "$speaks; printf 'D two'; i=0; while [ ! -f '$tmp/go' ] && [ \$i -lt 600 ]; do sleep 0.1; i=\$((i + 1)); done; [ -f '$tmp/go' ] || exit 1; printf ' three[EN'; sleep 0.1; printf 'D]\n\n'"
(
    qnn -o "$tmp/run7"
    exit "$rc"
) &
pid=$!
i=0
while [ "$(cat "$tmp/out" 2>/dev/null)" != 'One [END two' ] && [ $i -lt 550 ]; do sleep 0.1; i=$((i + 1)); done
early=$(cat "$tmp/out")
: >"$tmp/go"
wait "$pid"
rc=$?
if [ "$rc" = 0 ] && [ "$early" = 'One [END two' ] && [ "$(cat "$tmp/out")" = 'One [END two three' ]; then good; else bad "streaming (exit $rc, early: $early)"; fi
vendor genie-t2t-run "$speaks; : >'$tmp/speaks'; sleep 3" # an end that is asked for: no words, and the signal's exit status
# shellcheck disable=SC2086
$wrapper "$eyelet" device run --adb "$tmp/adb" -m "$model" -d "$dir" --remote-dir "$phone" --tools "$tmp/tools" -q -o "$tmp/run7" \
    --vision-context "$dir/vision_encoder.bin" --embed-context "$dir/embed_tokens.bin" "$tmp/picture.ppm" hi >"$tmp/out" 2>"$tmp/err" </dev/null &
pid=$!
i=0
while [ ! -f "$tmp/speaks" ] && [ $i -lt 550 ]; do sleep 0.1; i=$((i + 1)); done
kill -TERM $pid
wait $pid
rc=$?
says 'an end that is asked for' 143 '^One ' ''
vendor genie-t2t-run "$speaks; exit 0"
qnn -o "$tmp/run7"
says 'an answer without its end' 1 '^One \[EN$' "eyelet: decoder step: the answer has no [END]: it broke off; see $tmp/run7/genie_stdout.txt"
vendor genie-t2t-run "$speaks; kill -9 \$PPID"
qnn -o "$tmp/run7"
says 'the connection breaks while it answers' 1 '^One \[EN$' 'eyelet: decoder step: the connection to the device broke off before it ended; reconnect it, then again'
vendor genie-t2t-run 'echo nothing'
qnn -o "$tmp/run7"
says 'no answer' 1 '' "eyelet: decoder step: no [BEGIN] of an answer in what it printed; see $tmp/run7/genie_stdout.txt"
for p in 'no JSON:{' 'it has no GenieDialog_query:{"components": [{"events": []}]}'; do
    vendor genie-t2t-run "printf '[BEGIN]: Yes.[END]\n\n'; echo '${p#*:}' >run/profile.json"
    qnn -o "$tmp/run7"
    says 'a bad profile' 1 '^Yes\.$' "eyelet: $tmp/run7/profile.json: no profile of Genie's: ${p%%:*}; the answer is whole, another version of Genie may write another"
done
vendor genie-t2t-run "printf '[BEGIN]: Yes.[END]\n\n'"
qnn -o "$tmp/run7"
says 'no profile' 1 '^Yes\.$' "eyelet: pull: cp: cannot stat '$phone/run/profile.json': No such file or directory"
vendor genie-t2t-run 'echo "could not write: No space left on device" >&2; exit 1'
qnn -o "$tmp/run7"
says 'the disk is full while it answers' 1 '' 'eyelet: decoder step: no space left on the device; free some there'

# ---- what goes wrong ----
names() { # stderr, arguments of ask
    text=$1
    shift
    ask "$@" -o "$tmp/bad"
    if [ "$rc" != 0 ] && [ "$(cat "$tmp/err")" = "$text" ]; then good; else bad "expected: $text (exit $rc)"; fi
}
names 'eyelet: --backend cpu needs --eyelet: this program built for the device; see "eyelet help device run"' --backend cpu
names 'eyelet: --backend qnn needs --tools, --vision-context and --embed-context; see "eyelet help device run"'
names 'eyelet: max_new is "x", expected a whole number; see "eyelet help device run"' --backend cpu x
names 'eyelet: decoder_precision is "w4", expected fp32, fp16, int8 (z8) or int4 (q4); see "eyelet help device run"' 12 256 w4
names "eyelet: $dir: its vision part takes floats; export it with --vision int8" --backend cpu --eyelet "$tmp/bin/eyelet" 12 256 fp32 int8
names "eyelet: $dir/decoder_z8.bin: cannot open: No such file or directory" --backend cpu --eyelet "$tmp/bin/eyelet" 12 256 z8
vision() { # stderr, what qnn-net-run says, its exit status
    printf '#!/bin/sh\ncat <<EOF\n%s\nEOF\nexit %s\n' "$2" "$3" >"$tmp/bin/qnn-net-run"
    names "$1" --tools "$tmp/tools" --vision-context "$dir/vision_encoder.bin" --embed-context "$dir/embed_tokens.bin"
}
vision 'eyelet: vision step: a library is missing on the device (libQnnHtp.so); add it to --tools and run without --skip-push' \
    'CANNOT LINK EXECUTABLE "./qnn-net-run": library "libQnnHtp.so" not found: needed by main executable' 1
vision 'eyelet: vision step: a library is missing on the device (libQnnHtpV79Stub.so); add it to --tools and run without --skip-push' \
    'dlopen failed: library "libQnnHtpV79Stub.so" not found' 1
vision 'eyelet: vision step: a library is missing on the device; add it to --tools and run without --skip-push' 'dlopen failed: no name' 1
vision 'eyelet: vision step: the NPU could not take the context binary (DMA error); compile it for this device, or use --backend cpu' \
    'ERROR: HTP DMA error 0x3ea' 3
vision 'eyelet: vision step: something else' 'something else' 1
vision "eyelet: pull: cp: cannot stat '$phone/run/vision_out': No such file or directory" 'done nothing' 0
vision 'eyelet: vision step: a program is missing on the device; run without --skip-push' 'sh: ./qnn-net-run: inaccessible or not found' 127
cpu="--backend cpu --eyelet $tmp/bin/eyelet"
adb_says() { # what adb says, what is made of it
    echo "$1" >"$tmp/fails"
    # shellcheck disable=SC2086
    names "eyelet: adb shell: $2" $cpu
    rm "$tmp/fails"
}
adb_says 'error: device unauthorized.' "the device does not know this computer; accept its key on the device's screen"
adb_says 'adb: no devices/emulators found' 'no device; connect one and allow USB debugging on it'
adb_says 'adb: more than one device/emulator' 'several devices; choose one of "eyelet device list" with -s SERIAL'
adb_says "adb: device 'R5CX12' not found" 'no such device; "eyelet device list" shows their serials'
adb_says 'error: device offline' 'the device is offline; reconnect it, or "adb reconnect"'
adb_says 'adb: something else' 'adb: something else'
rm -rf "$phone"
echo "adb: error: failed to copy: remote No space left on device" >"$tmp/fails.push"
# shellcheck disable=SC2086
names 'eyelet: push: no space left on the device; free some there' $cpu
rm "$tmp/fails.push"
mv "$tmp/adb" "$tmp/gone"
# shellcheck disable=SC2086
names "eyelet: $tmp/adb: cannot be started: not found; install Android's platform tools, or name it with --adb" $cpu
finish
