#!/bin/sh
# Devices, with a pretend adb: what is listed, and each thing that can be missing, by its exact line.
# Usage: device.sh EYELET [WRAPPER…]
set -u
eyelet=$(realpath "$1")
shift
wrapper="$*"
n_ok=0
n_bad=0
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
for v in $(env | sed -n 's/^\(EYELET_[A-Z_]*\)=.*/\1/p') QNN_SDK_ROOT QAIRT_SDK_ROOT ANDROID_NDK_ROOT; do unset "$v"; done

# adb: $tmp/devices is what "adb devices -l" prints after its headline; $tmp/shell what the shell answers; $tmp/fails what it says and
# fails with.
cat >"$tmp/adb" <<'SHIM'
#!/bin/sh
here=$(dirname "$0")
[ "$1" = -s ] && shift 2
if [ -f "$here/fails" ]; then cat "$here/fails" >&2; exit 1; fi
case $1 in
devices) printf 'List of devices attached\n'; cat "$here/devices"; printf '\n' ;;
shell) if [ -f "$here/shell" ]; then cat "$here/shell"; else echo 'error: device offline' >&2; exit 1; fi ;;
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
printf '%d passed, %d failed\n' "$n_ok" "$n_bad"
[ "$n_bad" = 0 ]
