#!/bin/sh
# Devices, with a pretend adb: what is listed, and each thing that can be missing, by its exact line; a question on a pretend phone, a
# folder here, with eyelet in the place of the vendor's programs; and what goes wrong on the way.
# Usage: device.sh EYELET MAKE_CHECKPOINT [WRAPPER…]
set -u
eyelet=$(realpath "$1")
make=$2
shift 2
wrapper="$*"
n_ok=0
n_bad=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
for v in $(env | sed -n 's/^\(EYELET_[A-Z_]*\)=.*/\1/p') QNN_SDK_ROOT QAIRT_SDK_ROOT ANDROID_NDK_ROOT; do unset "$v"; done

# adb: $tmp/devices is what "adb devices -l" prints after its headline; $tmp/shell what the shell answers, without it commands run
# here; $tmp/fails what all of it says and fails with, $tmp/fails.push what push does; $tmp/pushed lists what was pushed.
cat >"$tmp/adb" <<'SHIM'
#!/bin/sh
here=$(dirname "$0")
[ "$1" = -s ] && shift 2
if [ -f "$here/fails" ]; then cat "$here/fails" >&2; exit 1; fi
case $1 in
devices) printf 'List of devices attached\n'; cat "$here/devices"; printf '\n' ;;
shell) if [ -f "$here/shell" ]; then cat "$here/shell"; elif [ -f "$here/offline" ]; then echo 'error: device offline' >&2; exit 1; else sh -c "$2"; fi ;;
push) if [ -f "$here/fails.push" ]; then cat "$here/fails.push" >&2; exit 1; fi
    basename "$3" >>"$here/pushed"; cp -L "$2" "$3" ;;
pull) cp -r "$2" "$3" ;;
esac
SHIM
chmod +x "$tmp/adb"

exactly() { # code, exact stdout, exact stderr, arguments
    code=$1 out=$2 err=$3
    shift 3
    # shellcheck disable=SC2086
    $wrapper "$eyelet" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    rc=$?
    if [ "$rc" = "$code" ] && [ "$(cat "$tmp/out")" = "$out" ] && [ "$(cat "$tmp/err")" = "$err" ]; then n_ok=$((n_ok + 1)); else
        n_bad=$((n_bad + 1))
        printf 'not ok: %s (exit %s)\n' "$*" "$rc"
        sed 's/^/    out: /' "$tmp/out"
        sed 's/^/    err: /' "$tmp/err"
    fi
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
good() { n_ok=$((n_ok + 1)); }
bad() {
    n_bad=$((n_bad + 1))
    printf 'not ok: %s\n' "$1"
    sed 's/^/    out: /' "$tmp/out"
    sed 's/^/    err: /' "$tmp/err"
}
call() {
    # shellcheck disable=SC2086
    $wrapper "$eyelet" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    rc=$?
}
# shellcheck disable=SC2086
$wrapper "$make" --size tiny --format hf -o "$model" || exit 1
awk 'BEGIN { printf "P3 31 17 255\n"; for (i = 0; i < 31 * 17 * 3; i++) print (i * 37 + int(i / 29) * 11) % 256 }' >"$tmp/picture.ppm"
call export genie "$model" -o "$dir" -c 512 --embed-tokens 128 -q
call run -m "$model" -i "$tmp/picture.ppm" -p 'What is this?' -n 12
cp "$tmp/out" "$tmp/want"
mkdir -p "$tmp/bin"
if [ -n "$wrapper" ]; then printf '#!/bin/sh\nexec %s %s "$@"\n' "$wrapper" "$eyelet" >"$tmp/bin/eyelet"; else ln -s "$eyelet" "$tmp/bin/eyelet"; fi
for n in qnn-net-run:net-run genie-t2t-run:genie-t2t-run; do
    printf '#!/bin/sh\nexec %s %s %s "$@"\n' "$wrapper" "$eyelet" "${n#*:}" >"$tmp/bin/${n%:*}"
done
chmod +x "$tmp/bin/"*
printf '# programs\n%s\n%s\n' "$tmp/bin/qnn-net-run" "$tmp/bin/genie-t2t-run" >"$tmp/tools"
ask() { call device run --adb "$tmp/adb" -m "$model" -d "$dir" --remote-dir "$phone" -n 12 "$tmp/picture.ppm" 'What is this?' "$@"; }
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
qnn() { # stderr, what qnn-net-run says, its exit status
    printf '#!/bin/sh\necho "%s"\nexit %s\n' "$2" "$3" >"$tmp/bin/qnn-net-run"
    names "$1" --tools "$tmp/tools" --vision-context "$dir/vision_encoder.bin" --embed-context "$dir/embed_tokens.bin"
}
qnn 'eyelet: vision step: a library is missing on the device; add it to --tools and run without --skip-push' \
    'CANNOT LINK EXECUTABLE qnn-net-run: library libQnnHtp.so not found' 1
qnn 'eyelet: vision step: the NPU could not take the context binary (DMA error); compile it for this device, or use --backend cpu' \
    'ERROR: HTP DMA error 0x3ea' 3
qnn 'eyelet: vision step: something else' 'something else' 1
qnn "eyelet: pull: cp: cannot stat '$phone/run/vision_out': No such file or directory" 'done nothing' 0
echo "adb: error: failed to copy: remote No space left on device" >"$tmp/fails.push"
names 'eyelet: push: no space left on the device; free some there' --tools "$tmp/tools" --vision-context "$dir/vision_encoder.bin" \
    --embed-context "$dir/embed_tokens.bin"
rm "$tmp/fails.push"
echo 'error: device unauthorized.' >"$tmp/fails"
names "eyelet: adb shell: the device does not know this computer; accept its key on the device's screen" --backend cpu --eyelet "$tmp/bin/eyelet"
rm "$tmp/fails"
printf '%d passed, %d failed\n' "$n_ok" "$n_bad"
[ "$n_bad" = 0 ]
