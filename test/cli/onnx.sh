#!/bin/sh
# `eyelet onnx …` as people meet it: exact output of every complaint, over small files made on the spot.
# Usage: onnx.sh EYELET MAKE_ONNX MAKE_CHECKPOINT [WRAPPER…]   (the wrapper runs foreign programs, for instance under qemu)
set -u
eyelet=$(realpath "$1")
make=$(realpath "$2")
make_checkpoint=$(realpath "$3")
shift 3
wrapper="$*"
. "$(dirname "$0")/lib.sh"
cd "$tmp" || exit 1

make() { # file, words
    # shellcheck disable=SC2086
    $wrapper "$make" "$@" || exit 1
}
run() { program "$eyelet" onnx "$@"; } # arguments of eyelet onnx
exactly() { # title, code, stdout, stderr, arguments
    title=$1 code=$2 want=$3 complaint=$4
    shift 4
    run "$@"
    if [ "$rc" = "$code" ] && [ "$(cat out)" = "$want" ] && [ "$(cat err)" = "$complaint" ]; then good; else bad "$title (exit $rc)"; fi
}
fails() { # stderr, arguments
    want=$1
    shift
    exactly "$*" 1 "" "eyelet: $want" "$@"
}

# ---- check: what is right ----
for style in plain dot genie; do
    make $style.onnx kv:$style:2:15
    exactly "check $style" 0 "Signature validation OK
Inputs validated: 7
Outputs validated: 5
Sizes: layers=2 n=1 hidden=8 cache=15 head_dim=4 kv_heads=2 vocab=32" "" \
        check $style.onnx --signature decoder-kv --kv-style $style --cache-len 15 --layers 2 --size hidden=8
done
exactly "check without signature" 0 "Graph validation OK
Inputs validated: 7
Outputs validated: 5" "" check plain.onnx
make rope.onnx in:inputs_embeds:f16:1,1,8 in:attention_mask:f16:1,1,1,16 in:position_ids_sin:f16:1,1,1,2 in:position_ids_cos:f16:1,1,1,2 \
    in:past_key_0_in:f16:1,2,4,15 in:past_value_0_in:f16:1,2,15,4 out:logits:f16:1,1,32 out:past_key_0_out:f16:1,2,4,15 \
    out:past_value_0_out:f16:1,2,15,4 node:Identity:inputs_embeds:logits node:Identity:past_key_0_in:past_key_0_out \
    node:Identity:past_value_0_in:past_value_0_out
exactly "sin and cos, float mask, whole cache out" 0 "Signature validation OK
Inputs validated: 6
Outputs validated: 3
Sizes: layers=1 n=1 hidden=8 cache=15 head_dim=4 kv_heads=2 vocab=32" "" check rope.onnx --signature decoder-kv --kv-style genie
make joint.onnx in:vision_features:f32:batch,rows,8 in:input_ids:i64:batch,text out:logits:f32:batch,all,32 node:Identity:vision_features:logits
exactly "dynamic axes" 0 "Signature validation OK
Inputs validated: 2
Outputs validated: 1
Sizes: batch=? rows=? width=8 n=? vocab=32" "" check joint.onnx --signature decoder-with-projection
run print plain.onnx --signature && cp out good.json
exactly "a file's own signature" 0 "Signature validation OK
Inputs validated: 7
Outputs validated: 5" "" check plain.onnx --signature good.json

# ---- check: what is wrong ----
exactly "another style" 1 "Signature validation FAILED
Missing inputs:
  - past_key_values.0.key
  - past_key_values.0.value
Unexpected inputs:
  - past_key_0_in
  - past_value_0_in
  - past_key_1_in
  - past_value_1_in
Missing outputs:
  - present.0.key
  - present.0.value
Unexpected outputs:
  - past_key_0_out
  - past_value_0_out
  - past_key_1_out
  - past_value_1_out" "eyelet: genie.onnx: not as signature decoder-kv: 2 missing inputs, 4 unexpected inputs, 2 missing outputs, 4 unexpected outputs" \
    check genie.onnx --signature decoder-kv --kv-style dot
exactly "another cache length" 1 "Signature validation FAILED
Mismatched inputs:
  - attention_mask: expected=((1, 1, 1, 1024), 7), actual=((1, 1, 1, 16), 7)  # dim 3 is 1024, got 16
  - past_key_0_in: expected=((1, 2, 4, 1023), 10), actual=((1, 2, 4, 15), 10)  # dim 3 is 1023, got 15
  - past_value_0_in: expected=((1, 2, 1023, 4), 10), actual=((1, 2, 15, 4), 10)  # dim 2 is 1023, got 15
  - past_key_1_in: expected=((1, 2, 4, 1023), 10), actual=((1, 2, 4, 15), 10)  # dim 3 is 1023, got 15
  - past_value_1_in: expected=((1, 2, 1023, 4), 10), actual=((1, 2, 15, 4), 10)  # dim 2 is 1023, got 15" \
    "eyelet: genie.onnx: not as signature decoder-kv: 5 mismatched inputs" check genie.onnx --signature decoder-kv --kv-style genie --cache-len 1023
make odd.onnx in:inputs_embeds:f16:1,1,8 in:attention_mask:u8:1,1,1,16 in:position_ids:i64:1 in:past_key_0_in:f16:1,2,4,15 \
    in:past_value_0_in:f32:1,2,15,4 in:extra:i64:- out:logits:f16:1,n,32 out:past_key_0_out:f16:1,3,4,1 \
    node:Identity:inputs_embeds:logits node:Identity:past_key_0_in:past_key_0_out
exactly "each kind of mismatch" 1 "Signature validation FAILED
Unexpected inputs:
  - extra
Mismatched inputs:
  - attention_mask: expected=((1, 1, 1, 16), 7), actual=((1, 1, 1, 16), 2)  # type i64, got u8
  - position_ids: expected=((1, 1), 7), actual=((1,), 7)  # rank 2, got 1
  - past_value_0_in: expected=((1, 2, 15, 4), 10), actual=((1, 2, 15, 4), 1)  # type f16, got f32
Missing outputs:
  - past_value_0_out
Mismatched outputs:
  - logits: expected=((1, 1, 32), 10), actual=((1, 'n', 32), 10)  # dim 1 is 1, got a symbolic one
  - past_key_0_out: expected=((1, 2, 4, 1), 10), actual=((1, 3, 4, 1), 10)  # dim 1 is 2, got 3" \
    "eyelet: odd.onnx: not as signature decoder-kv: 1 unexpected input, 3 mismatched inputs, 1 missing output, 2 mismatched outputs" \
    check odd.onnx --signature decoder-kv --kv-style genie
exactly "layers" 1 "Signature validation FAILED
Missing inputs:
  - past_key_values.2.key
  - past_key_values.2.value
Missing outputs:
  - present.2.key
  - present.2.value" "eyelet: plain.onnx: not as signature decoder-kv: 2 missing inputs, 2 missing outputs" \
    check plain.onnx --signature decoder-kv --layers 3
make broken.onnx in:x:f32:1 in:x:f32:1 out:y:f32:1 out:z:f32:1 node:Neg:w:y node:other/Neg:x:y
exactly "a graph that is none" 1 "Graph validation FAILED
Broken graph:
  - x: an input twice
  - w: used, and nothing before makes it
  - Neg_y: its operator set is not imported
  - y: made twice
  - z: an output that nothing makes" "eyelet: broken.onnx: 5 graph faults" check broken.onnx
make weights.onnx --external in:x:f32:4 out:y:f32:4 init:w:f32:4 node:Add:x,w:y
exactly "weights outside" 0 "Graph validation OK
Inputs validated: 1
Outputs validated: 1" "" check weights.onnx
dd if=weights.onnx.data of=short bs=1 count=15 2>/dev/null && mv short weights.onnx.data
fails 'weights.onnx: tensor "w": bytes 0 to 0+16 of "weights.onnx.data", which has 15 (truncated?)' check weights.onnx
rm weights.onnx.data
fails './weights.onnx.data: not there; "w" of weights.onnx has its weights in it' check weights.onnx
fails 'no signature is called "decoder-xy"; expected vision, vision-tower, projector, embedder, decoder, decoder-with-projection, prefill, decoder-kv or a .json file' \
    check plain.onnx --signature decoder-xy
fails 'nowhere.json: cannot open: No such file or directory' check plain.onnx --signature nowhere.json
fails 'signature decoder-kv has no size called "width"' check plain.onnx --signature decoder-kv --size width=3
fails 'size "hidden=x": expected NAME=NUMBER' check plain.onnx --signature decoder-kv --size hidden=x
fails 'signature vision has no layers' check plain.onnx --signature vision --layers 3
fails 'signature vision has no size called "cache"' check plain.onnx --signature vision --cache-len 3
echo '[]' >bad.json
fails 'bad.json: (top level): expected an object with "inputs" and "outputs"' check plain.onnx --signature bad.json
echo '{"inputs": [{"name": "x", "type": "f33"}], "outputs": []}' >bad.json
fails 'bad.json: inputs[0].type: expected a type ("f32", "i64", "float", "int", …) or a list of them' check plain.onnx --signature bad.json
echo '{"inputs": [{"name": "x", "type": "f32", "shape": ["a-b"]}], "outputs": [], "x": "y"}' >bad.json
run check plain.onnx --signature bad.json # a name like another: any but + and / may be in it
[ "$rc" = 1 ] && grep -q '^  - x$' out && good || bad "names of sizes"
echo '{"inputs": [{"name": "x", "type": "f32", "shape": ["n/0"]}], "outputs": []}' >bad.json
fails 'bad.json: inputs[0].shape[0]: expected a number, a name, a sum of them, or null' check plain.onnx --signature bad.json
echo '{"outputs": []}' >bad.json
fails 'bad.json: inputs: expected a list of tensors' check plain.onnx --signature bad.json
echo '{"inputs": [{"name": "x", "type": "f32", "shapes": [1]}], "outputs": []}' >bad.json
fails 'bad.json: inputs[0].shapes[0]: expected a list of dims' check plain.onnx --signature bad.json
echo '{"inputs": [{"name": "x", "type": "f32", "shape": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}], "outputs": []}' >bad.json
fails 'bad.json: inputs[0].shape: too many dims, or shapes' check plain.onnx --signature bad.json
awk 'BEGIN { printf "{\"inputs\": ["; for (i = 0; i < 257; i++) printf "%s{\"name\": \"x%d\", \"type\": \"f32\"}", i ? "," : "", i; print "], \"outputs\": []}" }' >bad.json
fails 'bad.json: inputs[256]: more than 256 tensors (one with {i} stands for many)' check plain.onnx --signature bad.json
make half.onnx in:vision_features:f32:n,rows,8 in:input_ids:i64:1,text out:logits:f32:1,all,32 node:Identity:vision_features:logits
exactly "symbolic here, numbers there" 1 "Signature validation FAILED
Mismatched inputs:
  - vision_features: expected=((1, 'rows', 8), 1), actual=(('n', 'rows', 8), 1)  # dim 0 is 1, got a symbolic one" \
    "eyelet: half.onnx: not as signature decoder-with-projection: 1 mismatched input" check half.onnx --signature decoder-with-projection
make half.onnx in:vision_features:f32:1,rows,8 in:input_ids:i64:n,text out:logits:f32:n,all,32 node:Identity:vision_features:logits
exactly "a number here, symbolic there" 1 "Signature validation FAILED
Mismatched inputs:
  - vision_features: expected=(('batch', 'rows', 8), 1), actual=((1, 'rows', 8), 1)  # dim 0 is symbolic elsewhere, got 1" \
    "eyelet: half.onnx: not as signature decoder-with-projection: 1 mismatched input" check half.onnx --signature decoder-with-projection
make nothing.onnx in:x:f32:1 out:y:f32:1 node::x:y
exactly "a node of nothing" 1 "Graph validation FAILED
Broken graph:
  - _y: a node without an operator" "eyelet: nothing.onnx: 1 graph fault" check nothing.onnx
exactly usage 2 "" 'eyelet: --cache-len, --layers and --size need a --signature; see "eyelet help onnx check"' check plain.onnx --cache-len 3
printf 'hello, world' >text.onnx
fails 'text.onnx: byte 2, ModelProto: a wire type that ONNX does not use; is this an ONNX file, and whole?' check text.onnx
run check odd.onnx --signature decoder-kv --kv-style genie --json
[ "$rc" = 1 ] && grep -q '"ok": false, "signature": "decoder-kv", "inputs": 6, "outputs": 2, "findings": \[{"kind": "unexpected input", "name": "extra"' out &&
    good || bad "check --json"

# ---- rename ----
exactly "rename to genie" 0 "Wrote renamed ONNX: g.onnx" "8 tensors renamed" rename dot.onnx g.onnx --layers 2
run check g.onnx --signature decoder-kv --kv-style genie
[ "$rc" = 0 ] && good || bad "renamed to genie"
exactly "and back, in place" 0 "Wrote renamed ONNX: g.onnx" "" rename g.onnx g.onnx --to plain -q
run check g.onnx --signature decoder-kv --kv-style dot
[ "$rc" = 0 ] && cmp -s g.onnx dot.onnx && good || bad "renamed back"
exactly "pairs that change places" 0 "Wrote renamed ONNX: s.onnx" "2 tensors renamed" rename joint.onnx s.onnx vision_features=input_ids input_ids=vision_features
fails 'joint.onnx: nothing to rename: no tensor is called like "past_key_values.{i}.key" or "present.{i}.key"' rename joint.onnx x.onnx
fails 'genie.onnx: nothing to rename: no tensor is called like "past_key_values.{i}.key" or "present.{i}.key"' rename genie.onnx x.onnx --to genie
fails 'joint.onnx: no tensor is called "nobody"' rename joint.onnx x.onnx nobody=me
fails 'joint.onnx: "logits" cannot become "input_ids": another tensor is called so' rename joint.onnx x.onnx logits=input_ids
fails 'joint.onnx: two tensors would become "a", one of them "input_ids"' rename joint.onnx x.onnx input_ids=a vision_features=a
fails 'plain.onnx: "past_key_values.{i}.key" is there for 2 layers, expected 24' rename plain.onnx x.onnx --to genie --layers 24
exactly usage 2 "" 'eyelet: "ab": expected FROM=TO; see "eyelet help onnx rename"' rename joint.onnx x.onnx ab
[ ! -e x.onnx ] && good || bad "a refused rename leaves no file"

# ---- print, lint ----
make fused.onnx import:com.microsoft:1 in:x:f64:1,n,4 out:y:f64:1,n,4 init:gamma:f64:1,1,1,1,1,4 init:i:i64:2 info:h:u64:1 \
    node:com.microsoft/SkipSimplifiedLayerNormalization:x,x,gamma:h:epsilon=1e-6 node:NonZero:h:a node:Gather:a,i:b node:Foo:b:y \
    node:ScatterND:y,a,b:c
exactly print 0 "file       fused.onnx
graph      made, by eyelet, IR version 8
operators  ai.onnx 17
           com.microsoft 1
weights    6 in 2 initializers, 48 B
inputs     x                                            f64    [1, n, 4]
outputs    y                                            f64    [1, n, 4]
nodes      5
         1 Foo
         1 Gather
         1 NonZero
         1 ScatterND
         1 com.microsoft.SkipSimplifiedLayerNormalization" "" print fused.onnx
run print fused.onnx --json
[ "$rc" = 0 ] && grep -q '"operator_sets": {"": 17, "com.microsoft": 1}' out && grep -q '"shape": "\[1, n, 4\]"' out && good || bad "print --json"
exactly "lint plain" 1 "Refused operators:
  - SkipSimplifiedLayerNormalization_h: com.microsoft.SkipSimplifiedLayerNormalization: fused; \"eyelet onnx patch\" takes it apart" \
    "eyelet: fused.onnx: not for plain: 1 refused operator" lint fused.onnx
exactly "lint qnn" 1 "Refused operators:
  - SkipSimplifiedLayerNormalization_h: com.microsoft.SkipSimplifiedLayerNormalization: fused; \"eyelet onnx patch\" takes it apart
  - NonZero_a: NonZero: the result's shape depends on numbers
  - Gather_b: Gather: other than rows of a constant by an input
  - Foo_y: Foo: not in the NPU's list
  - ScatterND_c: ScatterND: writes into a tensor at places only known when the graph runs: let the caller own the cache
Refused types:
  - x: f64
  - y: f64
  - h: u64
  - gamma: f64
Dynamic axes:
  - x: [1, n, 4]
  - y: [1, n, 4]
Refused ranks:
  - gamma: 6 dims; the NPU has at most 5" "eyelet: fused.onnx: not for qnn: 5 refused operators, 4 refused types, 2 dynamic axes, 1 refused rank" \
    lint fused.onnx --target qnn
make shapes.onnx in:x:f32:4 in:i:i64:4 out:y:i64:1 node:Shape:x:y node:Range:x,x,x:r node:Size:x:s node:ConstantOfShape:i:c node:GatherND:x,i:g \
    node:GatherElements:x,i:e node:If:x:f node:Loop:x:l node:Scan:x:n node:Unique:x:u node:ScatterElements:x,i,x:t
exactly "lint of what is only known when it runs" 1 "Refused operators:
  - Shape_y: Shape: a shape made while the graph runs
  - Range_r: Range: a shape made while the graph runs
  - Size_s: Size: a shape made while the graph runs
  - ConstantOfShape_c: ConstantOfShape: a shape made while the graph runs
  - GatherND_g: GatherND: gathers along several axes
  - GatherElements_e: GatherElements: gathers element by element
  - If_f: If: control flow
  - Loop_l: Loop: control flow
  - Scan_n: Scan: control flow
  - Unique_u: Unique: the result's shape depends on numbers
  - ScatterElements_t: ScatterElements: writes into a tensor at places only known when the graph runs: let the caller own the cache" \
    "eyelet: shapes.onnx: not for qnn: 11 refused operators" lint shapes.onnx --target qnn
make rows.onnx in:ids:i32:1,8 out:y:f32:1,8,4 init:table:f32:9,4 node:Gather:table,ids:y
exactly "lint of an embedder" 0 "Lint OK: nothing that qnn refuses" "" lint rows.onnx --target qnn
exactly "lint of what is fine" 0 "Lint OK: nothing that qnn refuses" "" lint plain.onnx --target qnn
fails 'nowhere: cannot open: No such file or directory' lint nowhere

# ---- patch ----
make old.onnx import:com.microsoft:1 in:x:f32:1,n,4 in:attention_mask:i64:1,8 in:spare:i64:1 out:y:f32:1,n,4 out:m:i64:1,8 init:gamma:f32:4 \
    node:SimplifiedLayerNormalization:x,gamma:h:epsilon=1e-6 node:com.microsoft/SkipSimplifiedLayerNormalization:h,x,gamma:y \
    node:Neg:attention_mask:m node:Neg:spare:dead
exactly patch 0 "Replaced 2 RMSNorm, 0 RotaryEmbedding, 0 GroupQueryAttention nodes. Saved to new.onnx" "" patch old.onnx new.onnx
exactly "what was dead before stays" 0 "file       new.onnx
graph      made, by eyelet, IR version 8
operators  ai.onnx 17
weights    6 in 3 initializers, 24 B
inputs     x                                            f32    [1, n, 4]
           attention_mask                               i64    [1, 8]
           spare                                        i64    [1]
outputs    y                                            f32    [1, n, 4]
           m                                            i64    [1, 8]
nodes      17
         6 Mul
         3 Add
         2 Neg
         2 Reciprocal
         2 ReduceMean
         2 Sqrt" "" print new.onnx
exactly "another type of mask, in place" 0 "Replaced 0 RMSNorm, 0 RotaryEmbedding, 0 GroupQueryAttention nodes. Saved to new.onnx" \
    "inputs: 2 changed, 0 added, 0 dropped that nothing reads any more" patch new.onnx new.onnx --mask-type i32 --mask-nonzero --size n=3
fails 'new.onnx: nothing to patch: no fused normalization, rotation or attention in it' patch new.onnx x.onnx
fails 'old.onnx: no dim is called "z"' patch old.onnx x.onnx --size z=3
fails 'size "n": expected NAME=NUMBER' patch old.onnx x.onnx --size n
fails 'joint.onnx: no input attention_mask of integers' patch joint.onnx x.onnx --mask-type i32
make gqa.onnx import:com.microsoft:1 in:q:f32:1,1,16 in:k:f32:1,1,16 in:v:f32:1,1,16 in:pk:f32:1,2,6,8 in:pv:f32:1,2,6,8 in:len:i32:1 \
    out:y:f32:1,1,16 out:nk:f32:1,2,6,8 node:com.microsoft/GroupQueryAttention:q,k,v,pk,pv,len,len:y,nk:num_heads=2:kv_num_heads=2
fails 'gqa.onnx: node "GroupQueryAttention_y" (GroupQueryAttention): past and present are one buffer, which only fused attention writes into: let it give the new keys and values alone (--present new)' \
    patch gqa.onnx x.onnx
run patch gqa.onnx x.onnx --present new --mask i32 --json
[ "$rc" = 0 ] && grep -q '"attentions": 1, "inputs_changed": 0, "inputs_added": 1, "inputs_dropped": 1' out && good || bad "patch --json"
run print x.onnx
grep -qx 'outputs    y                                            f32    \[1, 1, 16\]' out && grep -qx '           nk                                           f32    \[1, 2, 1, 8\]' out &&
    grep -qx '           attention_mask                               i32    \[1, 1, 1, 7\]' out && good || bad "new keys and a mask"
exactly "patched for the NPU" 0 "Lint OK: nothing that qnn refuses" "" lint x.onnx --target qnn
rm x.onnx
for refusal in smooth_softmax=1:'smooth_softmax is not taken apart' causal=0:'attention that is not causal' \
    sliding_window_cache=1:'sliding_window_cache is not taken apart' kv_cache_bit_width=8:'a quantized cache is not taken apart' \
    qk_output=1:'its output output_qk is not taken apart'; do
    make bad.onnx import:com.microsoft:1 in:q:f32:1,1,16 in:len:i32:1 out:y:f32:1,1,16 \
        node:com.microsoft/GroupQueryAttention:q,q,q,,,len,len:y:num_heads=2:kv_num_heads=2:"${refusal%%:*}"
    fails "bad.onnx: node \"GroupQueryAttention_y\" (GroupQueryAttention): ${refusal#*:}" patch bad.onnx x.onnx
done
make bad.onnx import:com.microsoft:1 in:x:f32:1,2,16 in:ids:i64:1,2 out:y:f32:1,2,16 init:cos:f32:9,4 init:sin:f32:9,4 \
    node:com.microsoft/RotaryEmbedding:x,ids,cos,sin:y:scale=2.5
fails 'bad.onnx: node "RotaryEmbedding_y" (RotaryEmbedding): scale 2.5: expected 1' patch bad.onnx x.onnx
make bad.onnx --opset 12 in:x:f32:4 out:y:f32:4 init:g:f32:4 node:SimplifiedLayerNormalization:x,g:y
fails 'bad.onnx: operator set 12: expected 13 or later' patch bad.onnx x.onnx
[ ! -e x.onnx ] && good || bad "a refused patch leaves no file"

# ---- what eyelet itself exports is what it says, and what the target takes ----
# shellcheck disable=SC2086
$wrapper "$make_checkpoint" --size tiny -o tiny >/dev/null || exit 1
own() { # arguments of export, of check
    # shellcheck disable=SC2086
    $wrapper "$eyelet" export onnx tiny -o own -q $1 >out 2>err || { bad "export $1"; return; }
    for file in own/*.onnx; do
        case $file in
        *vision_encoder*) signature=vision ;;
        *projector.onnx) signature=projector ;;
        *embedder*) signature=embedder ;;
        *with_projection*) signature=decoder-with-projection ;;
        *prefill*) signature="prefill $2" ;;
        *kv*) signature="decoder-kv $2" ;;
        *) signature=decoder ;;
        esac
        # shellcheck disable=SC2086
        run check "$file" --signature $signature
        [ "$rc" = 0 ] && good || bad "$file of export $1: check"
        run lint "$file" --target "$3"
        [ "$rc" = 0 ] && good || bad "$file of export $1: lint"
    done
    rm -r own
}
own "--graph all --target plain" "--kv-style plain" plain
own "--graph all --target qnn --precision fp16 --kv-style genie --rope-inputs --step 1,8 --cache-len 31" "--kv-style genie" qnn
own "--graph decoder-kv --target qnn --kv-style dot --mask added --kv-out window --ids int32 --cache-len 31" "--kv-style dot --cache-len 31" qnn

finish
