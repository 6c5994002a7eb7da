#!/bin/sh
# QAI Hub: the script that `eyelet export qai-hub` writes, its plan word for word; the script itself, run with a pretend client; and what
# `export qai-jobs` makes of the lists that come back, its complaints by their exact text.
# Usage: qai_hub.sh EYELET MAKE_ONNX [WRAPPER…]
set -u
eyelet=$(realpath "$1")
make=$(realpath "$2")
shift 2
wrapper="$*"
. "$(dirname "$0")/lib.sh"
cd "$tmp" || exit 1

exactly() { # title, code, stdout, stderr, program, arguments
    title=$1 code=$2 want=$3 complaint=$4
    shift 4
    "$@" >out 2>err </dev/null
    rc=$?
    if [ "$rc" = "$code" ] && [ "$(cat out)" = "$want" ] && [ "$(cat err)" = "$complaint" ]; then good; else bad "$title (exit $rc)"; fi
}
export_() { # code, stdout, stderr, arguments of eyelet export
    code=$1 want=$2 complaint=$3
    shift 3
    # shellcheck disable=SC2086
    exactly "$*" "$code" "$want" "$complaint" $wrapper "$eyelet" export "$@"
}
make() { # shellcheck disable=SC2086
    $wrapper "$make" "$@" || exit 1
}

# ---- the plan ----
mkdir npu
make npu/kv.onnx kv:genie:1:15
make npu/vision.onnx --external in:pixels:f32:batch,3,4,4 init:w:f32:64,64 node:Identity:pixels:rows out:rows:f32:batch,3,4,4 \
    node:Identity:w:unused out:unused:f32:64,64
hash() { sha256sum "$1" | cut -d' ' -f1; }
export_ 0 'kv: 5 inputs, 3 outputs, --target_runtime qnn_context_binary --truncate_64bit_io
vision: 1 inputs, 2 outputs, --target_runtime qnn_context_binary --quantize_full_type float16' \
    'next, where qai-hub is configured: python3 npu/qai_hub_compile.py' qai-hub npu/kv.onnx npu/vision.onnx -o npu --job-prefix fastvlm_ --size batch=1
plan() { sed -n "/^PLAN = /,/^}''')/p" "$1" | sed "1s/.*/{/; s/^}''')/}/"; }
plan npu/qai_hub_compile.py | tr -d ' \n' >out
: >err
if [ "$(cat out)" = "$(tr -d ' \n' <<END
{"device":"Snapdragon 8 Elite QRD","os":"15","bins":"qaihub_bins","graphs":[
{"name":"kv","job":"fastvlm_kv","onnx":"kv.onnx","onnx_sha256":"$(hash npu/kv.onnx)","data":[],
"options":"--target_runtime qnn_context_binary --truncate_64bit_io --output_names logits,past_key_0_out,past_value_0_out",
"input_specs":{"inputs_embeds":[[1,1,8],"float16"],"attention_mask":[[1,1,1,16],"int64"],"position_ids":[[1,1],"int64"],
"past_key_0_in":[[1,2,4,15],"float16"],"past_value_0_in":[[1,2,15,4],"float16"]},
"output_names":["logits","past_key_0_out","past_value_0_out"]},
{"name":"vision","job":"fastvlm_vision","onnx":"vision.onnx","onnx_sha256":"$(hash npu/vision.onnx)","data":["vision.onnx.data"],
"options":"--target_runtime qnn_context_binary --quantize_full_type float16 --output_names rows,unused",
"input_specs":{"pixels":[[1,3,4,4],"float32"]},"output_names":["rows","unused"]}]}
END
)" ]; then good; else bad 'the plan'; fi
export_ 0 '{"folder": "elsewhere", "script": "qai_hub_compile.py", "graphs": [{"graph": "kv", "options": "--target_runtime tflite", "inputs": 5, "outputs": 3, "refused": 0}]}' '' \
    qai-hub npu/kv.onnx -o elsewhere --options '--target_runtime tflite' --json
if grep -qF "\"onnx\": \"$tmp/npu/kv.onnx\"" elsewhere/qai_hub_compile.py; then good; else bad 'a graph elsewhere is absolute'; fi

# a name that would end the string it stands in, and run as Python
make "quote.onnx" "in:x''' + boom():f32:1" "node:Identity:x''' + boom():y" out:y:f32:1
export_ 0 'quote: 1 inputs, 1 outputs, --target_runtime qnn_context_binary --quantize_full_type float16' '' qai-hub quote.onnx -o quoted -q
exactly 'names are no Python' 0 '[["x'\'\'\'' + boom()"]]' '' python3 -c "
import json, subprocess, sys
plan = json.loads(subprocess.run([sys.executable, 'quoted/qai_hub_compile.py', '--dry-run'], capture_output=True, check=True).stdout)
print(json.dumps([list(g['input_specs']) for g in plan['graphs']]))"

# ---- graphs that it refuses ----
refuses() { # stderr, arguments
    complaint="eyelet: $1"
    shift
    export_ 1 '' "$complaint" qai-hub "$@" -o npu
}
export_ 2 '' 'eyelet: -o is missing: the folder of the script; see "eyelet help export qai-hub"' qai-hub npu/kv.onnx
refuses 'npu/vision.onnx: input "pixels": dim 0 is symbolic, batch; an NPU wants numbers: --size batch=N' npu/vision.onnx
refuses 'npu/vision.onnx: input "pixels": dim 0 is symbolic, batch; an NPU wants numbers: --size batch=N' npu/vision.onnx --size batch=one
make f64.onnx in:x:f64:2 node:Identity:x:y out:y:f64:2
refuses 'f64.onnx: input "x" is f64, which the client has no word for' f64.onnx
make comma.onnx in:x:f32:2 node:Identity:x:a_b out:a_b:f32:2
sed 's/a_b/a b/g' comma.onnx >blank.onnx
refuses 'blank.onnx: output 0: "--output_names" would take its name apart; "eyelet onnx rename" gives it another' blank.onnx
refuses 'npu/../npu/kv.onnx: a second graph called kv' npu/kv.onnx npu/../npu/kv.onnx
cp f64.onnx 'a b.onnx'
refuses 'a b.onnx: a job is called after it: letters, digits, "._-" only' 'a b.onnx'
make broken.onnx in:x:f32:2 node:Add:x,none:y out:y:f32:2
refuses 'broken.onnx: none: used, and nothing before makes it' broken.onnx
refuses '"a/b": folders beside the script are called so: no /, no dot in front' npu/kv.onnx --bins a/b

# ---- the script, with a pretend client: jobs named …vision fail ----
mkdir fake
cat >fake/qai_hub.py <<'END'
import os
class Device:
    def __init__(self, name="", os=""):
        self.name, self.os = name, os
class Model:
    def __init__(self, model_id):
        self.model_id = model_id
def upload_model(model, name=None):
    files = sorted(os.listdir(model)) if os.path.isdir(model) else [os.path.basename(model)]
    with open(os.environ["FAKE_LOG"], "a") as f:
        f.write(f"upload {name} {' '.join(files)}\n")
    return Model("m" + name)
def get_model(model_id):
    return Model(model_id)
class Status:
    def __init__(self, ok):
        self.success, self.message = ok, None if ok else "no room\non  the chip"
class Job:
    def __init__(self, name):
        self.name, self.job_id, self.url = name, "j" + name, "https://example.invalid/" + name
    def wait(self):
        return Status(not self.name.endswith("vision"))
    def download_target_model(self, filename):
        with open(filename, "w") as f:
            f.write("a binary")
        return filename
def submit_compile_job(model, device, name=None, input_specs=None, options=""):
    with open(os.environ["FAKE_LOG"], "a") as f:
        f.write(f"compile {model.model_id} {device.name}/{device.os} {name} {list(input_specs.items())[0]} {options.split()[1]}\n")
    return Job(name)
END
FAKE_LOG=$tmp/log PYTHONPATH=$tmp/fake PYTHONDONTWRITEBYTECODE=1
export FAKE_LOG PYTHONPATH PYTHONDONTWRITEBYTECODE
jobs='kv: model_id=mfastvlm_kv job_id=jfastvlm_kv status=SUCCESS url=https://example.invalid/fastvlm_kv
vision: model_id=mfastvlm_vision job_id=jfastvlm_vision status=FAILED (no room on the chip) url=https://example.invalid/fastvlm_vision'
exactly 'the script' 1 "$tmp/npu/qaihub_bins/fastvlm_kv_jfastvlm_kv/fastvlm_kv.bin" "$jobs" python3 npu/qai_hub_compile.py
exactly 'what the client was told' 0 "upload fastvlm_kv kv.onnx
compile mfastvlm_kv Snapdragon 8 Elite QRD/15 fastvlm_kv ('inputs_embeds', ((1, 1, 8), 'float16')) qnn_context_binary
upload fastvlm_vision vision.onnx vision.onnx.data
compile mfastvlm_vision Snapdragon 8 Elite QRD/15 fastvlm_vision ('pixels', ((1, 3, 4, 4), 'float32')) qnn_context_binary" '' cat log
exactly 'models that are there' 0 "$tmp/npu/qaihub_bins/fastvlm_kv_jfastvlm_kv/fastvlm_kv.bin" "$(printf '%s\n' "$jobs" | head -1)" \
    python3 npu/qai_hub_compile.py --ids npu/qaihub_bins/qaihub-model-ids.txt kv
exactly 'are not uploaded' 0 5 '' sed -n '$=' log
exactly 'another graph' 1 '' "no graph of this name: other; there are kv, vision" python3 npu/qai_hub_compile.py other
exactly 'a list that is none' 1 '' 'log:1: expected "name: model_id"' python3 npu/qai_hub_compile.py --ids log
FAKE_LOG=$tmp/log2 python3 npu/qai_hub_compile.py >out 2>err

# ---- what comes back ----
export_ 0 'kv                           SUCCESS  job jfastvlm_kv, model mfastvlm_kv
vision                       FAILED   job jfastvlm_vision, model mfastvlm_vision: no room on the chip' '' qai-jobs npu/qaihub_bins/qaihub-jobs.txt
export_ 0 'kv                           model mfastvlm_kv
vision                       model mfastvlm_vision' '' qai-jobs npu/qaihub_bins/qaihub-model-ids.txt
meta=npu/qaihub_bins/fastvlm_kv_jfastvlm_kv/metadata.json
export_ 0 'kv                           SUCCESS  job jfastvlm_kv, model mfastvlm_kv, 5 inputs, 3 outputs, fastvlm_kv.bin' '' qai-jobs $meta
export_ 0 'jfastvlm_kv is of this graph: 5 inputs, 3 outputs' '' qai-jobs $meta --onnx npu/kv.onnx
make other.onnx kv:genie:1:31
make plain.onnx kv:plain:1:15
export_ 1 'Mismatched inputs:
  - attention_mask: the job has int64 [1, 1, 1, 16], the graph int64 [1, 1, 1, 32]
  - past_key_0_in: the job has float16 [1, 2, 4, 15], the graph float16 [1, 2, 4, 31]
  - past_value_0_in: the job has float16 [1, 2, 15, 4], the graph float16 [1, 2, 31, 4]' \
    'eyelet: other.onnx: not what jfastvlm_kv was compiled from: 3 mismatched inputs' qai-jobs $meta --onnx other.onnx
export_ 1 'Missing inputs:
  - past_key_0_in
  - past_value_0_in
Unexpected inputs:
  - past_key_values.0.key
  - past_key_values.0.value
Mismatched inputs:
  - attention_mask: the job has int64 [1, 1, 1, 16], the graph int64 [1, 16]
Missing outputs:
  - past_key_0_out
  - past_value_0_out
Unexpected outputs:
  - present.0.key
  - present.0.value' 'eyelet: plain.onnx: not what jfastvlm_kv was compiled from: 2 missing inputs, 2 unexpected inputs, 1 mismatched input, 2 missing outputs, 2 unexpected outputs' \
    qai-jobs $meta --onnx plain.onnx

# the field's own: no status, a compile job behind a quantizing one
cat >theirs.json <<'END'
[{"model_id": "m1", "quant_job_id": "j0", "compile_job_id": "j1", "device": "Phone", "compile_options": "--x", "onnx": "a.onnx",
  "weights_dtype": "int8", "activations_dtype": "int16", "calib_samples": 1, "calib_embed_raw": null, "calib_embed_dtype": "float16",
  "input_specs": {"x": [[1, 2], "int32"]}, "output_names": ["y"]}]
END
export_ 0 '-                            SUCCESS  job j1, model m1, 1 inputs, 1 outputs' '' qai-jobs theirs.json
export_ 0 '{"jobs": [{"name": "", "status": "SUCCESS", "job_id": "j1", "model_id": "m1", "message": "", "url": "", "device": "Phone", "os": "", "options": "--x", "onnx": "a.onnx", "file": "", "input_specs": {"x": [[1, 2], "int32"]}, "output_names": ["y"]}]}' '' \
    qai-jobs theirs.json --json
export_ 1 '' 'eyelet: npu/qaihub_bins/qaihub-jobs.txt: 2 jobs; --onnx takes the metadata.json of one' \
    qai-jobs npu/qaihub_bins/qaihub-jobs.txt --onnx npu/kv.onnx

# ---- lists that it refuses ----
broken() { # complaint, bytes for printf
    # shellcheck disable=SC2059
    printf "$2" >bad
    export_ 1 '' "eyelet: $1" qai-jobs bad
}
head='device=Phone os=15\ncompile_options=--x\n\n'
broken 'bad: neither metadata.json nor a list of jobs or model ids' ''
broken 'bad: neither metadata.json nor a list of jobs or model ids' "$head"
broken 'bad:1: expected "name: model_id"' 'words\n'
broken 'bad:2: expected one model id behind the colon' '# ids\na: b c\n'
broken 'bad:1: a control character' 'a: \033[2J\n'
broken 'bad:1: a line of more than 4095 bytes' "$(printf '%5000s' x)"
broken 'bad:1: expected " os=" behind the device' 'device=Phone\n'
broken 'bad:2: expected "compile_options=…"' 'device=Phone os=15\nother=1\n'
broken 'bad:4: expected "name: model_id=… job_id=… status=… url=…"' "$head"'a: id\n'
broken 'bad:4: expected " job_id=… status="' "$head"'a: model_id=m status=SUCCESS url=u\n'
broken 'bad:4: expected "status=SUCCESS" or "status=FAILED (why)"' "$head"'a: model_id=m job_id=j status=WHO url=u\n'
broken 'bad:4: expected "status=FAILED (why)"' "$head"'a: model_id=m job_id=j status=FAILED why url=u\n'
broken 'bad:4: expected " url=" at its end' "$head"'a: model_id=m job_id=j status=SUCCESS\n'
whole='"job_id": "j", "input_specs": {"x": [[1], "int32"]}, "output_names": ["y"]'
broken 'bad: colour: a key that is not known' "{$whole, \"colour\": 1}"
broken 'bad: job_id: missing' '{"input_specs": {"x": [[1], "int32"]}, "output_names": ["y"]}'
broken 'bad: output_names: missing' '{"job_id": "j", "input_specs": {"x": [[1], "int32"]}}'
broken 'bad: input_specs: missing' '{"job_id": "j"}'
broken 'bad: status: expected SUCCESS or FAILED' "{$whole, \"status\": \"DONE\"}"
broken 'bad: device: holds a control character' "{$whole, \"device\": \"\\\\u001b\"}"
broken 'bad: input_specs.x: a type that the client lacks' '{"job_id": "j", "input_specs": {"x": [[1], "float64"]}}'
broken 'bad: input_specs.x: a dim outside 1 to 2147483647' '{"job_id": "j", "input_specs": {"x": [[0], "int32"]}}'
broken 'bad: input_specs.x: expected [[dims], "type"]' '{"job_id": "j", "input_specs": {"x": [[1]]}}'
broken 'bad: [0]: expected an object, a job'"'"'s metadata' '[1]'

finish
