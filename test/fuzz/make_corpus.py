"""Writes the seed files of the format targets: python make_corpus.py (in test/fuzz). Standard library only.

Valid files that reach every branch of the readers, and a few that must be refused. What a fuzzer finds is added by hand.
"""
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent / "corpus"


def put(target, name, data):
    folder = HERE / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


# ---- safetensors ----
SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


def safetensors(tensors, metadata=None, pad=0, length=None):
    """tensors: (name, dtype, shape); pad: blanks after the header; length: a false header length."""
    header, at = ({"__metadata__": metadata} if metadata else {}), 0
    for name, dtype, shape in tensors:
        n = SIZES.get(dtype, 1)
        for d in shape:
            n *= d
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(header, separators=(",", ":")).encode() + b" " * pad
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(i % 256 for i in range(at))


put("safetensors", "all_types", safetensors([(t.lower(), t, [2, 3]) for t in SIZES], {"format": "pt", "note": "x"}))
for blanks in (1, 2, 4):
    put("safetensors", f"misaligned_{blanks}", safetensors([("w", "F64", [3]), ("v", "BF16", [1, 5])], pad=blanks))
put("safetensors", "scalar_and_empty", safetensors([("s", "I64", []), ("e", "F32", [0, 7]), ("r5", "U8", [1, 2, 1, 2, 1])]))
put("safetensors", "f8", safetensors([("w", "F8_E4M3", [4])]))
put("safetensors", "long_header", safetensors([("w", "U8", [4])], length=2**64 - 1))
put("safetensors", "no_tensors", safetensors([]))
put("safetensors", "lfs", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")


# ---- gguf ----
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<B", 10: "<Q", 11: "<q", 12: "<d"}


def string(s):
    return struct.pack("<Q", len(s)) + s.encode()


def value(kind, v):
    return string(v) if kind == 8 else struct.pack(SCALARS[kind], v)


def key(name, kind, v):
    return string(name) + struct.pack("<I", kind) + value(kind, v)


def array(name, kind, items):
    return string(name) + struct.pack("<IIQ", 9, kind, len(items)) + b"".join(value(kind, v) for v in items)


def gguf(keys, tensors, alignment=32, version=3):
    """keys: encoded; tensors: (name, dims innermost first, ggml type, bytes)."""
    infos, data = b"", b""
    for name, dims, kind, n in tensors:
        infos += string(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims) + struct.pack("<IQ", kind, len(data))
        data += bytes(i % 256 for i in range(n)) + bytes(-n % alignment)
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys) + infos
    return head + bytes(-len(head) % alignment) + data


every_key = [key(f"k{kind}", kind, 1) for kind in SCALARS] + [key("text", 8, "qwen2")]
every_array = [array(f"a{kind}", kind, [0, 1]) for kind in SCALARS] + [array("texts", 8, ["a", "", "bc"]), array("none", 8, [])]
put("gguf", "all_keys", gguf(every_key + every_array, []))
put("gguf", "all_types", gguf([], [("f32", [3, 2], 0, 24), ("f16", [2], 1, 4), ("bf16", [2], 30, 4), ("f64", [1], 28, 8),
                                   ("i8", [5], 24, 5), ("i16", [1], 25, 2), ("i32", [1], 26, 4), ("i64", [1], 27, 8),
                                   ("q8_0", [32, 2], 8, 68), ("q4_0", [64], 2, 36), ("short", [33], 2, 36)]))
for align in (1, 8, 64):
    put("gguf", f"alignment_{align}", gguf([key("general.alignment", 4, align)], [("a", [3], 0, 12), ("b", [1], 28, 8)], align))
put("gguf", "version_2", gguf([key("general.architecture", 8, "llama")], [("t", [4], 0, 16)], version=2))
put("gguf", "q4_k", gguf([], [("t", [256], 12, 144)]))
put("gguf", "nested", gguf([string("n") + struct.pack("<IIQ", 9, 9, 1) + struct.pack("<IQ", 0, 0)], []))
put("gguf", "counts", b"GGUF" + struct.pack("<IQQ", 3, 2**60 + 1, 2**61 + 1) + bytes(64))

vocab = [array("tokenizer.ggml.tokens", 8, ["a", "b", "ab", "<|end|>"]), array("tokenizer.ggml.token_type", 5, [1, 1, 1, 3]),
         array("tokenizer.ggml.merges", 8, ["a b"]), key("tokenizer.ggml.model", 8, "gpt2"), key("tokenizer.ggml.bos_token_id", 4, 3)]
for arch, pre in (("qwen2", "qwen2"), ("llama", "llama-bpe"), ("llama", "smollm"), ("llama", "unknown")):
    sizes = [key(f"{arch}.{k}", 4, 2) for k in ("embedding_length", "block_count", "attention.head_count", "feed_forward_length")]
    put("gguf_folder", f"{arch}_{pre}", gguf([key("general.architecture", 8, arch), key("tokenizer.ggml.pre", 8, pre),
                                             key("tokenizer.chat_template", 8, "{{ x }}"), key(f"{arch}.rope.freq_base", 6, 1e4),
                                             *sizes, *vocab], [("token_embd.weight", [2, 4], 0, 32)]))

put("gguf_folder", "llama_pieces", gguf([
    key("general.architecture", 8, "llama"), key("tokenizer.ggml.model", 8, "llama"), *sizes,
    array("tokenizer.ggml.tokens", 8, ["<unk>", "<s>", "<0x41>", "\u2581a"]), array("tokenizer.ggml.scores", 6, [0, 0, 0, -1]),
    array("tokenizer.ggml.token_type", 5, [2, 3, 6, 4]), key("tokenizer.ggml.bos_token_id", 4, 1)],
    [("token_embd.weight", [2, 4], 0, 32)]))
GENIE = [key("general.architecture", 8, "generic"), key("model.size.vocabulary", 5, 4), key("generic.context_length", 4, 8),
         key("generic.embedding_length", 4, 2), key("generic.feed_forward_length", 4, 2), key("generic.block_count", 4, 1),
         key("generic.attention.head_count", 4, 1), key("generic.rope.freq_base", 6, 10000.0),
         key("model.operation.normalization", 8, "RMS-norm"), key("model.operation.normalization_epsilon", 6, 1e-6)]
for kind, size in ((0, 32), (1, 16), (201, 16), (4038, 16)):
    put("gguf_folder", f"genie_{kind}", gguf(GENIE, [("token_embd.weight", [2, 4], kind, size)], version=2))
put("gguf_folder", "mmproj", gguf([
    key("general.architecture", 8, "clip"), key("clip.projector_type", 8, "mlp"),
    *[key(f"clip.vision.{k}", 4, v) for k, v in (("image_size", 4), ("patch_size", 2), ("embedding_length", 2),
                                                 ("feed_forward_length", 4), ("attention.head_count", 1))],
    key("clip.vision.attention.layer_norm_epsilon", 6, 1e-5), array("clip.vision.image_mean", 6, [0.5] * 3),
    array("clip.vision.image_std", 6, [0.5] * 3)],
    [("mm.0.weight", [2, 4], 0, 32), ("v.blk.0.ffn_down.weight", [2, 4], 0, 32), ("v.blk.0.ln1.weight", [2], 0, 8)]))



# ---- compiled ----
def compiled(drop=(), **changed):
    """A small compiled file; changed: other items of these lists."""
    lists = {"forms": (8, ["gemm_f32_f32_f32", "i8"]), "kernels": (8, ["ref", ""]), "layouts": (10, [1, 2**64 - 1]),
             "weights": (8, ["a.weight", "b.weight"]), "types": (4, [0, 8]), "dims": (11, [2, 3, 0, 0, 4, 32, 0, 0]),
             "sums": (10, [3, 4, 5])}
    keys = [key("eyelet.compiled.version", 4, changed.get("version", 1)), key("eyelet.compiled.cpu", 8, "avx2"),
            key("eyelet.compiled.decoder", 4, changed.get("decoder", 2))]
    keys += [array(f"eyelet.compiled.{name}", kind, changed.get(name, items)) for name, (kind, items) in lists.items()
             if name not in drop]
    return gguf(keys, changed.get("tensors", [("n", [2], 0, 8), ("packed.gemm_f32_f32_f32.a.weight", [64], 24, 64),
                                              ("packed.i8.b.weight", [192], 24, 192)]))


put("compiled", "whole", compiled())
put("compiled", "version_2", compiled(version=2))
put("compiled", "no_kernels", compiled(drop=["kernels"]))
put("compiled", "no_weights", compiled(drop=["weights", "types", "dims", "sums"]))
put("compiled", "dims", compiled(dims=[2**62, 2**62, 2, 0, -1, 0, 0, 0]))
put("compiled", "type", compiled(types=[0, 999]))
put("compiled", "there", compiled(weights=["n", "b.weight"]))
put("compiled", "decoder", compiled(decoder=0))
put("compiled", "floats", compiled(tensors=[("packed.i8.b.weight", [48], 0, 192)]))


# ---- tokenizer_lists ----
def lists(tokens, merges, order=None, counts=None):
    """tokens: strings, None = a hole; merges: ids; counts: other numbers at the head."""
    text = "".join(t or "" for t in tokens).encode()
    here = [i for i, t in enumerate(tokens) if t is not None]
    order = sorted(here, key=lambda i: tokens[i].encode()) if order is None else order
    words = list(counts or (len(tokens), len(here), len(merges), len(text)))
    words += [2**32 - 1 if t is None else len(t.encode()) for t in tokens] + order + [i for m in merges for i in m]
    return struct.pack(f"<{len(words)}I", *words) + text


abc = ["a", "b", "c", "ab", None, "abc", "\u0120", "\u00c3\u00a4", ""]
put("tokenizer_lists", "whole", lists(abc, [(0, 1, 3), (3, 2, 5)]))
put("tokenizer_lists", "no_merges", lists(["a"], []))
put("tokenizer_lists", "merge_of_a_hole", lists(abc, [(0, 4, 3)]))
put("tokenizer_lists", "order_outside", lists(abc, [], order=[0, 1, 2, 3, 99, 5, 6, 7]))
put("tokenizer_lists", "counts", lists(abc, [], counts=(2**32 - 1, 2**32 - 1, 2**32 - 1, 5)))
put("tokenizer_lists", "split_character", lists(["\u00e4"], [])[:16] + struct.pack("<II", 1, 0) + b"\xc3\xa4")

# ---- json ----
put("json", "config", json.dumps({"hidden_size": 896, "eps": 1e-6, "tied": True, "name": "x\u0000\u00e4", "none": None,
                                  "list": [1, 2.0, -3], "text_config": {"layers": [{"x": 1}, {"x": "y"}]}}))
put("json", "big_integers", '{"a":1000000000000000019884624838656,"b":-9223372036854775809,"c":9223372036854775807,"d":1e308}')
put("json", "deep", "[" * 64 + "]" * 64)
put("json", "too_deep", "[" * 65 + "]" * 65)
put("json", "duplicate", '{"a":1,"a":2}')
put("json", "escapes", r'["\ud83d\ude00", "\ud800", "\"[[\\"]')
put("json", "tokenizer", json.dumps({"version": "1.0", "model": {"vocab": {"a": 0, "b": 1}, "merges": [["a", "b"], "a b"]}}))


# ---- npy ----
def npy(descr, shape, data, order="False", version=1):
    text = f"{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}".encode()
    size = "<H" if version == 1 else "<I"
    total = 8 + struct.calcsize(size) + len(text) + 1
    text += b" " * (-total % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(size, len(text)) + text + data


put("npy", "f4", npy("<f4", "(2, 3)", bytes(24)))
put("npy", "i4_version_2", npy("<i4", "(2,)", bytes(8), version=2))
put("npy", "u1_scalar", npy("|u1", "()", b"x"))
put("npy", "f8_empty", npy("<f8", "(0, 5)", b""))
put("npy", "fortran", npy("<f4", "(2, 3)", bytes(24), order="True"))
put("npy", "big_endian", npy(">f4", "(2, 3)", bytes(24)))
put("npy", "huge", npy("<f4", "(4611686018427387905, 4)", bytes(16)))
put("npy", "double_quotes", b"\x93NUMPY\x01\x00\x37\x00" + b'{"shape":(1,),"descr":"<f2","fortran_order":False}     \n')


# ---- state (the target makes the checksum right) ----
def state(kind, n, text=b"", data=b"", pending=-1, flags=0, version=1, ids=None, data_bytes=None):
    if ids is None:
        ids = struct.pack(f"<{n}i", *range(n)) if kind == 2 else b""
    return (b"EYELETST" + struct.pack("<II", version, kind) + bytes(range(64)) +
            struct.pack("<IiIIIIQ", n, pending, flags, 1 if flags else 0, len(text), 0,
                        len(data) if data_bytes is None else data_bytes) + ids +
            (struct.pack("<II", 640, 480) if flags and kind == 2 else b"") + text + data + bytes(8))


put("state", "image", state(1, 2, data=bytes(32)))
put("state", "session", state(2, 3, data=bytes(24), pending=7))
put("state", "prefix", state(2, 3, b"Look: ", bytes(24), flags=7))
put("state", "no_data", state(2, 1))
put("state", "version", state(1, 2, version=2))
put("state", "huge_count", state(2, 2**32 - 1, ids=bytes(16)))
put("state", "huge_data", state(2, 1, data_bytes=2**64 - 1))
put("state", "nul_in_text", state(2, 1, b"a\0b", flags=1))

# ---- lists of captions ----
put("dataset", "coco", json.dumps({"info": {"x": [1, "]}"]}, "annotations": [
    {"image_id": 7, "id": 1, "caption": "A cat."}, {"image_id": 8, "id": 2, "caption": "nobody"},
    {"image_id": 7, "id": 3, "caption": "  "}, {"image_id": "x"}], "images": [{"id": 7, "file_name": "7.jpg"}, {"id": 5}]}))
put("dataset", "coco_twice", '{"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}], "annotations": []}')
put("dataset", "karpathy", json.dumps({"images": [
    {"filename": "a.jpg", "filepath": "val2014", "split": "restval", "sentences": [{"raw": "One."}, {"raw": 2}]},
    {"filename": "", "split": "test", "sentences": []}, {"filename": "c.jpg", "split": "no", "sentences": []}]}))
put("dataset", "llava", json.dumps([
    {"image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat is it here?"},
                                         {"from": "gpt", "value": "It is here"}]},
    {"image": "a.jpg", "conversations": [{"from": "human", "value": "Is it here now?\n<image>"},
                                         {"from": "gpt", "value": "is it here"}]},
    {"conversations": [{"from": "gpt", "value": "first"}]}, {"conversations": [{"from": "who", "value": "x"}]}, 3]))
put("dataset", "cut_off", '[{"conversations": [{"from": "human", "val')
put("dataset", "no_utf8", b'[{"conversations": [{"from": "human", "value": "\xff"}, '
                          b'{"from": "gpt", "value": "\xc3\x83\xc2\xa9"}]}]')
put("dataset", "nested", "[" * 200)
put("dataset", "token", "a.jpg#0\tA dog .\na.jpg#1\tA hound\r\n\nbroken\n#0\tno name\na.jpg#2\t\n")
put("dataset", "csv", 'image,caption\r\na.jpg,A dog .\r\na.jpg,"A ""big"" dog, and\na man"\nb.jpg,one,two\n,x\nb.jpg,""\n')
put("dataset", "csv_split", "split,file_name,caption\ntrain,a.jpg,x\nnowhere,b.jpg,y\n")
put("dataset", "csv_quote", 'image,caption\na.jpg,"never closed\n')
put("dataset", "tsv", "a.png\ta cat\ttrain\nb.png\ta dog\ttest\nb.png\tbad\tnowhere\nc.png\tno split\n")
put("dataset", "text", b"A man, a plan\n\xef\xbb\xbfmark \xff byte\n\x01\nlast")


# ---- onnx: protobuf by hand ----
def varint(v):
    v %= 1 << 64
    out = b""
    while v > 127:
        out, v = out + bytes([v & 127 | 128]), v >> 7
    return out + bytes([v])


def num(field, v):
    return varint(field << 3) + varint(v)


def span(field, *parts):
    body = b"".join(p.encode() if isinstance(p, str) else p for p in parts)
    return varint(field << 3 | 2) + varint(len(body)) + body


def tensor(name, kind, dims, *data):
    return (*[num(1, d) for d in dims], num(2, kind), span(8, name), *data)


def tensor_type(kind, *dims):
    shape = [span(1, num(1, d) if isinstance(d, int) else span(2, d)) for d in dims]
    return span(2, span(1, num(1, kind), span(2, *shape)))


def node(op, ins, outs, *attrs, domain="", name="n"):
    return span(1, *[span(1, i) for i in ins], *[span(2, o) for o in outs], span(3, name), span(4, op),
                *([span(7, domain)] if domain else []), *attrs)


def attr(name, kind, *value):
    return span(5, span(1, name), num(20, kind), *value)


def model(*graph, functions=()):
    return b"".join([num(1, 8), span(2, "corpus"), span(7, *graph, span(2, "g")), span(8, span(1, ""), num(2, 17)),
                     span(8, span(1, "com.microsoft"), num(2, 1)), *functions])


F32 = struct.pack
x, y = span(11, span(1, "x"), tensor_type(1, 1, "n", 4)), span(12, span(1, "y"), tensor_type(1, 1, "n", 4))
gamma = span(5, *tensor("gamma", 1, [4], span(9, F32("<4f", 1, 2, 3, 4))))
put("onnx", "mul", model(x, y, gamma, node("Mul", ["x", "gamma"], ["y"])))
put("onnx", "types", model(x, y, *[
    span(5, *tensor(name, kind, [2], data)) for name, kind, data in [
        ("f32", 1, span(4, F32("<2f", 1, 2))), ("i32", 6, span(5, varint(1), varint(-1))), ("i64", 7, span(7, varint(-1), varint(3))),
        ("f16", 10, span(5, varint(15360), varint(1))), ("f64", 11, span(10, F32("<2d", 1, 2))), ("u64", 13, span(11, varint(1), varint(2))),
        ("u8", 2, span(9, b"\1\2")), ("bool", 9, num(5, 1) + num(5, 0)), ("text", 8, span(6, "a") + span(6, "b")), ("later", 99, b"")]],
    node("Identity", ["x"], ["y"])))
branch = [span(2, "then"), node("Neg", ["x"], ["t"]), span(12, span(1, "t"))]
put("onnx", "subgraph", model(x, y, span(5, *tensor("c", 9, [], span(9, b"\1"))),
                              node("If", ["c"], ["y"], attr("then_branch", 5, span(6, *branch)), attr("else_branch", 5, span(6, *branch)))))
put("onnx", "attributes", model(x, y, node("Odd", ["x", "", "gamma"], ["y", ""], attr("f", 1, b"\x15" + F32("<f", 0.5)), attr("i", 2, num(3, -1)),
                                           attr("s", 3, span(4, "half")), attr("ints", 7, num(8, 1), span(8, varint(2), varint(300))),
                                           attr("floats", 6, span(7, F32("<2f", 1, 2))), attr("strings", 8, span(9, "a")),
                                           attr("t", 4, span(5, *tensor("", 7, [1], span(7, varint(2))))),
                                           attr("tp", 13, span(14, span(4, span(1, span(1, num(1, 1)))))), domain="com.example")))
put("onnx", "external", model(x, y, span(5, *tensor("w", 1, [4], *[span(13, span(1, k), span(2, v)) for k, v in [
    ("location", "w.bin"), ("offset", "4096"), ("length", "16")]], num(14, 1)))))
put("onnx", "external_up", model(x, y, span(5, *tensor("w", 1, [4], span(13, span(1, "location"), span(2, "../w")), num(14, 1)))))
put("onnx", "unknown_fields", model(x, y) + span(1000, "later") + num(1001, 5) + b"\xbd\x3e1234" + b"\xc1\x3e12345678")
put("onnx", "function", model(x, y, node("F", ["x"], ["y"], domain="local"), functions=[
    span(25, span(1, "F"), span(4, "a"), span(5, "b"), span(10, "local"), span(7, span(1, "a"), span(2, "b"), span(4, "Neg")))]))
put("onnx", "fused_norm", model(x, y, gamma, span(11, span(1, "s"), tensor_type(1, 1, "n", 4)), node(
    "SkipSimplifiedLayerNormalization", ["x", "s", "gamma"], ["h", "", "", "sum"], attr("epsilon", 1, b"\x15" + F32("<f", 1e-6)),
    domain="com.microsoft"), node("SimplifiedLayerNormalization", ["h", "gamma"], ["y"], attr("axis", 2, num(3, -1)))))
deep = b""
for i in range(70):
    deep = span([1, 5, 6][(69 - i) % 3], deep)
put("onnx", "deep", span(7, deep))
put("onnx", "bomb", span(7, b"\x0a\x00" * 2000) + span(8, num(2, 17)))
for style, names in [("plain", ("past_key_values.0.key", "present.0.key")), ("genie", ("past_key_0_in", "past_key_0_out"))]:
    put("onnx", "kv_" + style, model(
        span(11, span(1, "inputs_embeds"), tensor_type(10, 1, 1, 8)), span(11, span(1, "attention_mask"), tensor_type(7, 1, 16)),
        span(11, span(1, names[0]), tensor_type(10, 1, 2, 15, 4)), span(12, span(1, names[1]), tensor_type(10, 1, 2, 1, 4)),
        span(12, span(1, "logits"), tensor_type(10, 1, 1, "v")), node("Identity", [names[0]], [names[1]]),
        node("Gather", ["inputs_embeds", "gamma"], ["logits"]), span(5, *tensor("gamma", 7, [1], span(9, b"\xff" * 8)))))
heads = [attr("num_heads", 2, num(3, 4)), attr("kv_num_heads", 2, num(3, 2)), attr("do_rotary", 2, num(3, 1))]
kv = [span(11, span(1, n), tensor_type(1, "b", 2, "p", 8)) for n in ("pk", "pv")]
table = [span(5, *tensor(n, 1, [4, 4], span(9, b"\0" * 64))) for n in ("cos", "sin")]
put("onnx", "fused_attention", model(
    span(11, span(1, "q"), tensor_type(1, "b", "s", 64)), *kv, span(11, span(1, "len"), tensor_type(6, "b")), *table,
    span(12, span(1, "y"), tensor_type(1, "b", "s", 32)), *[span(12, span(1, n), tensor_type(1, "b", 2, "t", 8)) for n in ("k", "v")],
    node("GroupQueryAttention", ["q", "", "", "pk", "pv", "len", "len", "cos", "sin"], ["y", "k", "v"], *heads, domain="com.microsoft")))
put("onnx", "fused_rope", model(
    span(11, span(1, "x"), tensor_type(1, 1, 3, 32)), span(11, span(1, "ids"), tensor_type(7, 1)), *table,
    span(12, span(1, "y"), tensor_type(1, 1, 3, 32)),
    node("RotaryEmbedding", ["x", "ids", "cos", "sin"], ["y"], attr("interleaved", 2, num(3, 1)), domain="com.microsoft")))

# ---- requests to eyelet serve ----
PIXEL = "data:image/x-portable-pixmap;base64,UDYKMSAxCjI1NQr/AAA="
talk = [{"role": "system", "content": "s"}, {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
                                     {"type": "image_url", "image_url": PIXEL}]}]
put("serve_request", "chat", json.dumps({
    "model": "m", "messages": talk, "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 7, "temperature": 0.5,
    "top_p": 0.9, "top_k": 40, "min_p": 0, "seed": 1, "stop": ["a", "b"], "logprobs": True, "top_logprobs": 2, "n": 1, "tools": [],
    "response_format": {"type": "text"}, "modalities": ["text"], "user": "u", "frequency_penalty": 0, "repeat_last_n": 64}))
put("serve_request", "completion", json.dumps({"prompt": ["once"], "logprobs": 2, "stop": "x", "echo": False, "n_beams": 2}) + "\n")
put("serve_request", "schema", json.dumps({"messages": talk[2:], "response_format": {"type": "json_schema", "json_schema": {
    "name": "n", "schema": {"type": "object", "properties": {"a": {"type": "string"}}}}}}))
put("serve_request", "remote", json.dumps({"messages": [{"role": "user", "content": [
    {"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}}]}]}))
put("serve_request", "deep", "[" * 200)
put("serve_request", "many", "{\"messages\":[" + "{}," * 3000 + "{}]}")
