#!/usr/bin/env python3
"""Writes test/golden/text/: small byte-level BPE tokenizers trained here, and what the `tokenizers` library makes of torture.

    python test/reference/make_text_fixtures.py [--data ../shared/data]

tokenizer files   modern.json (Qwen2's pipeline), gpt2.json (ByteLevel with its own regex, old "a b" merges, added tokens of
                  every kind), odd.json (Digits, prefix space, ignore_merges, unk for missing bytes, Llama 3's regex,
                  a post-processor's template); SentencePiece style with byte fallback: meta.json (Metaspace "first"),
                  legacy.json (Prepend and Replace normalizers), partial.json (bytes missing, unknowns not fused, words split)
cases_*.json      encode: [text, ids] with text a string, or {"hex": ...} where it is no UTF-8, or {"repeat": [string, n]};
                  decode: [ids, text, text without special tokens]; see test_text.c
sp.model          SentencePiece's own format, and cases_sp.json: what that library makes of the torture
real_*.json       with --data: ids of the modern set under the real Qwen2 and GPT-2 vocabularies (ids only)
"""
import argparse
import json
import os
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
CONTRACTIONS = "'s|'t|'re|'ve|'m|'ll|'d"
QWEN2 = (r"(?i:" + CONTRACTIONS + r")|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")

ADJECTIVES = "small large red blue bright dark old young quiet busy wooden striped sunny wet tall narrow".split()
NOUNS = "dog cat child woman man bird boat train street table window field river tree ball bicycle kitchen market".split()
VERBS = "runs sits stands waits plays looks sleeps jumps swims rests walks".split()
PLACES = ["near the water", "on the grass", "under a bridge", "by the wall", "in the snow", "behind the house",
          "at the station", "in the rain"]
FOREIGN = ["der Hund läuft über die Straße", "une forêt en été, près de l'eau", "¿dónde está el niño?", "собака бежит по снегу",
           "小さな犬が走る", "一只狗在草地上", "강아지가 눈 위에", "ο σκύλος τρέχει", "كلب صغير يجري", "כלב קטן רץ", "कुत्ता दौड़ता है"]


def corpus(n=2500, seed=4):
    rng = random.Random(seed)
    for i in range(n):
        s = f"A {rng.choice(ADJECTIVES)} {rng.choice(NOUNS)} {rng.choice(VERBS)} {rng.choice(PLACES)}"
        if i % 3 == 0:
            s += f", and the {rng.choice(NOUNS)} isn't {rng.choice(ADJECTIVES)}; it's {rng.randint(0, 2030)}"
        yield s + rng.choice([".", "!", "?", ".\n", "...\n\n"])
        if i % 7 == 0:
            yield rng.choice(FOREIGN) + " " + rng.choice(FOREIGN)
        if i % 11 == 0:
            yield f"    if (x[{rng.randint(0, 9)}] == '{rng.choice(NOUNS)}') {{\n\treturn y++;\n    }}\n"


def special(text, **kw):
    return AddedToken(text, special=True, normalized=False, **kw)


def train(n_merges, pre):
    tk = Tokenizer(models.BPE())
    tk.pre_tokenizer = pre
    tk.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=256 + n_merges, show_progress=False, min_frequency=2,
                                                         initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    model = json.loads(tk.to_str())["model"]
    return model["vocab"], [tuple(m) for m in model["merges"]]


def byte_level(prefix=False, regex=True):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def make_modern():
    pre = pre_tokenizers.Sequence([split(QWEN2), byte_level(regex=False)])
    vocab, merges = train(1000, pre)
    tk = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tk.normalizer, tk.pre_tokenizer, tk.decoder = normalizers.NFC(), pre, decoders.ByteLevel()
    tk.add_special_tokens([special(s) for s in ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")])
    return tk


def make_gpt2():
    vocab, merges = train(350, byte_level())
    tk = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tk.normalizer, tk.pre_tokenizer, tk.decoder = normalizers.NFC(), byte_level(), decoders.ByteLevel()
    tk.post_processor = processors.ByteLevel(trim_offsets=False)
    tk.add_tokens([special("<|endoftext|>"), special("<l>", lstrip=True), special("<r>", rstrip=True),
                   special("<lr>", lstrip=True, rstrip=True), special("<w>", single_word=True),
                   AddedToken("<n>", normalized=True), AddedToken("<w>x", normalized=False), AddedToken("x<", normalized=False),
                   AddedToken("caf\u00e9", normalized=True),
                   AddedToken("A\u030a", normalized=True), special("e\u0301"),
                   AddedToken("dog", single_word=True, normalized=True), AddedToken("\u00e9\u00e9", normalized=False),
                   AddedToken("  ", normalized=False), special("<sn>")])
    return tk


def make_odd():
    vocab, merges = train(120, byte_level())
    missing = {"\u0100", "~", "\u00ff", "\u0142"}                     # bytes 0, '~', 0xff, 0xa0: unknown to this one
    vocab = {t: i for i, t in enumerate(t for t in sorted(vocab, key=vocab.get) if t not in missing)}
    merges = [m for m in merges if not missing & set("".join(m))]
    vocab["\u0120whole"] = len(vocab)                                # reachable by ignore_merges alone
    vocab["?"] = vocab.get("?", len(vocab))
    tk = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="?", fuse_unk=True, ignore_merges=True))
    tk.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=False), split(LLAMA3),
                                                byte_level(prefix=True, regex=False)])
    tk.decoder = decoders.ByteLevel()
    tk.add_special_tokens([special("<s>"), special("</s>")])
    tk.post_processor = processors.Sequence([processors.ByteLevel(), processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(t, tk.token_to_id(t)) for t in ("<s>", "</s>")])])
    return tk


def make_characters(name):
    """SentencePiece style: <unk> <s> </s>, byte tokens, pieces of characters."""
    tk = Tokenizer(models.BPE())
    tk.pre_tokenizer = pre_tokenizers.Metaspace()
    tk.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=340, show_progress=False, min_frequency=2))
    model = json.loads(tk.to_str())["model"]
    merges = [tuple(m) for m in model["merges"]]
    missing = {0, 0x7e, 0xc3, 0xe4} if name == "partial" else set()   # NUL, '~' and the first bytes of e-acute and of CJK
    pieces = [p for p in sorted(model["vocab"], key=model["vocab"].get) if len(p) > 1 or p.isascii() or p == "\u2581"]
    merges = [m for m in merges if all(p in pieces for p in (*m, "".join(m)))]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256) if b not in missing] + pieces
    vocab = {t: i for i, t in enumerate(tokens)}
    tk = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=name != "partial", byte_fallback=True))
    if name == "legacy":
        tk.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    elif name == "meta":
        tk.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        tk.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    tk.decoder = decoders.Metaspace() if name == "partial" else decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tk.add_special_tokens([special(t) for t in ("<unk>", "<s>", "</s>", "<image>")])
    tk.add_tokens([special("<r>", rstrip=True), special("<l>", lstrip=True), AddedToken("<n>", normalized=True)])
    tk.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tk


def sentencepiece_model(name):
    """A BPE tokenizer.model with identity normalization; without the package nothing is written."""
    try:
        import sentencepiece
    except ImportError:
        print(name, "left as it is: no sentencepiece")
        return
    path = os.path.join(HERE, "..", "golden", "text", name + ".model")
    with open(path, "wb") as out:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=corpus(400), model_writer=out, model_type="bpe", vocab_size=420, character_coverage=0.98,
            normalization_rule_name="identity", remove_extra_whitespaces=False, byte_fallback=True, minloglevel=2)
    sp = sentencepiece.SentencePieceProcessor(model_file=path)
    rng, out = random.Random(6), {"encode": [fold(sp.encode(text)) for _, text in torture(30)], "decode": []}
    for _ in range(60):
        ids = [rng.choice([0, 1, 2, sp.piece_to_id("\u2581")]) if rng.random() < .2 else
               rng.randrange(259 if rng.random() < .5 else 420) for _ in range(rng.randint(1, 12))]
        out["decode"].append([ids, sp.decode(ids)])
    write(f"cases_{name}.json", out)


# ---- torture ----

SHORT = [
    "", " ", "  ", "   ", "\n", "\r", "\r\n", "\t", "a", " a", "a ", "  a", "a  ", "\n\n\n", " \n", "\n ", " \n ", " \n \n a",
    "\n\t x", "a\r\nb\rc", "x \r\n\r\n  y", "\u3000\n\u3000a", "\xa0\xa0b", "Good night, moon?", "two  blanks   three",
    "tail   ",
    "!\n\n", "!\r\n x", " .\n .", "a!\n", "?\n\n\n  ", "they're I've we'd you'll that's can't I'm",
    "THEY'RE I'VE WE'D YOU'LL THAT'S CAN'T I'M", "'s'T're'VE", "''s", "'sx 'lx", "x'\u017f 'L\u017f", "x'\u017fa", "\u2019s",
    "'", "' ", "a'",
    "'r", "'v'l'", "123", "1234567", "a1b22c333", "3.14e-10", "v1.2-rc3", " 42", "  42", "\u0661\u0662\u0663\u0664",
    "x\xb2\xbd\u2167\u2460\u3007", "\uff11\uff12", "\u0967\u0968\u0969\u096a", "\U0001d7d8\U0001d7d9", "caf\xe9", "cafe\u0301",
    "\u212b\xc5A\u030a", "\u2126", "u\u0301\u0323x u\u0323\u0301x", "\u1100\u1161\u11a8 \uac01\u11a8", "\uac00\u11a7",
    "\u1100\u1161\u11a7\u11a8", "\u1112\u1175\u11c2", "\u0958", "\ufb1d", "\uf900\uf901", "\u0344", "\u0f71\u0f72\u0f74",
    "a\u0300\u0301\u0302\u0303\u0304", "q\u0307\u0323", "\u1e9b\u0323", "\ufb01\uff21", "\u0301", " \u0301a", "\n\u0301",
    "\u0301\u0301", "o\u0328\u0304", "\u01ed\u0323", "\u0cc6\u0cc2\u0cd5", "\U0001d15e\U0001d165", "\u0b47\u0b3e",
    "\u0130\u0131", "\u1dfa\u0301", "\U00011938\U00011935\U00011930", "\u65e9\u4e0a\u3002\u72d7\u8dd1\uff1f",
    "\u3053\u3093\u306b\u3061\u306f", "\u30cf\u309a\u30ab\u3099", "\uc548\ub155\ud558\uc138\uc694",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0643", "\u05e9\u05dc\u05d5\u05dd \u200f!", "\u202eabc\u202c",
    "\u0915\u094d\u0937\u0947\u0924\u094d\u0930", "\u0e19\u0e49\u0e33\u0e1b\u0e48\u0e32",
    "\u0bb5\u0ba3\u0b95\u0bcd\u0b95\u0bae\u0bcd", "\U0001f600", "\U0001f469\u200d\U0001f469\u200d\U0001f467",
    "\U0001f1eb\U0001f1f7\U0001f1ef", "\u2764\ufe0f", "\U0001f44d\U0001f3fd ok", "1\ufe0f\u20e3",
    "\U0001f3f4\U000e0067\U000e0062\U000e007f", "\U00020000\U0002a6d6\U0003134a", "\U0001d400\U0001d552", "\U00010330",
    "\U0001e900\u0378", "\U000e0100\U000f0000\U0010ffff", "\ufdd0\ufffe\uffff", "a\xa0b", "a\u2003b", "a\u200bb",
    "a\x85b\x85\x85", "a\u2028\u2029b", "\u1680\u202f\u205f", "a\u180eb", "\x00", "\x7f\x1f\x1e \x1d\x1c\x02\x00", "a\x00b",
    "\x0b\x0c", "\ufeffBOM", "\ufffd", "\xad\u200e\u2060", "...?!?!??", " !!", "  !!", "a!!b", "{x}(y)<z>[w]", "a--b", "__c__",
    "$100 \u20ac50 #t @u", "C:\\p\\f.txt", "ftp://q.r/s#t?u=1", "while (*p) {\n\t*q++ = *p++;\n\t}\n",
    "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n", "<|im_end|><|im_start|><|im_end|>", "<|im_st|",
    "end<|endoftext|>start",
    "  <|im_end|>\n", "<<|im_end|>>", "<image>", "<image>\nWhat?", "1<image>2", "<|im_<|im_end|>end|>", "<|endoftext|",
    "<IMAGE>", "<|im_end|>\u0301", "a dog", "A small dog runs near the water.", "whole", " whole", "1whole 1 whole",
    "12 whole", "  <l>  <r>  <lr>  <w>  ", "a<w>b <w> .<w>. <w>", "\u0301<w>", "<w>\u4e2d", "_<w>", "<w>x<n>x<", "x<n>",
    "<n><n>", "x<l>x<r>", "caf\xe9 cafe\u0301s", "A\u030a\xc5", "dog dogs dog.", "e\u0301 \xe9", "\xe9\xe9\xe9",
    "<r>     <r>   x", "  <l>", "<lr>\u3000\n<lr>\xa0.", "<s>dog</s>", "~", "a~b~~c", "~ ~", "\xa0~", "\u0100\x00~",
]
LONG = [
    ('a', 300), (' ', 300), ('\n', 100), (' \n', 60), ('0', 100), ('ab', 200), ('\u4e2d', 100), ('!', 200), ('the ', 60),
    ('\u0301', 60), ('a\u0301\u0323', 40), ('\U0001f600', 40), ('\r\n', 50), ('<|im_end|>', 10), ('dog ', 50), ("'s", 50),
    ('\u3000', 50), ('\u1100\u1161\u11a8', 30), ('~', 50), ('ing', 100),
]
BROKEN = [
    "ff", "c3", "c328", "e28228", "e282", "f09f98", "f09f9861", "80", "8080c3a9", "c0af", "eda080", "edbfbf61", "f4908080",
    "f8a1a1a1a1", "61ffffff62", "20c320", "e0a0c3a9", "f0808080", "efbbbf", "e4bda0e5a5", "c3a9c3", "f1f1f1", "fffe4100",
    "e3818fe3",
]


def fuzz(n, seed=9):
    rng = random.Random(seed)

    def span(a, b):
        return lambda: chr(rng.randint(a, b))
    tokens = ["<image>", "<|im_end|>", "<w>", "<l>", "<r>", "<lr>", "<n>", "x<", "cafe\u0301", "dog", "  ", "</s>", "~",
              "\x00", "\u00ff"]
    ranges = [(32, 126), (0xa0, 0x24f), (0x300, 0x36f), (0x370, 0x5ff), (0x600, 0x6ff), (0x900, 0xdff), (0xe00, 0x10ff),
              (0x1100, 0x11ff), (0x1e00, 0x22ff), (0x3000, 0x30ff), (0x4e00, 0x9fff), (0xac00, 0xd7a3), (0xf900, 0xffff),
              (0x1f300, 0x1faff), (0x10000, 0x1ffff), (0x20000, 0x10ffff), (0, 0x20)]
    pools = [span(*r) for r in ranges]
    pools += [lambda: rng.choice(" \t\n\r  "), lambda: rng.choice("'sStTdDmMlLrReEvV"), lambda: rng.choice(ADJECTIVES),
              lambda: " " + rng.choice(NOUNS), lambda: str(rng.randint(0, 99999)), lambda: rng.choice(FOREIGN)[:6],
              lambda: rng.choice(tokens)]
    for _ in range(n):
        use = rng.sample(pools, rng.randint(1, 5))
        yield "".join(rng.choice(use)() for _ in range(rng.randint(1, 14)))


def torture(n_fuzz):
    for s in SHORT:
        yield s, s
    for unit, n in LONG:
        yield {"repeat": [unit, n]}, unit * n
    for h in BROKEN:
        yield {"hex": h}, bytes.fromhex(h).decode("utf-8", "replace")
    for s in fuzz(n_fuzz):
        yield s, s


def encode(tk, text, **kw):
    return tk.encode(text, add_special_tokens=False, **kw).ids


def fold(ids):
    """Ids with what repeats written once: [n, id, ...] in the place of n times those ids."""
    out, i = [], 0
    while i < len(ids):
        best, period, n = 0, 1, 1
        for p in range(1, 17):
            k = 1
            while ids[i + k * p:i + (k + 1) * p] == ids[i:i + p]:
                k += 1
            if k > 4 and (k - 1) * p > best:
                best, period, n = (k - 1) * p, p, k
        out.append([n] + ids[i:i + period] if best else ids[i])
        i += period * n
    return out


def cases(tk, n_fuzz, n_decode):
    rng = random.Random(2)
    n = tk.get_vocab_size()
    out = {"encode": [fold(encode(tk, text)) for _, text in torture(n_fuzz)], "decode": []}
    tk.encode_special_tokens = True
    out["encode_no_special"] = [[key, encode(tk, text)] for key, text in torture(0) if isinstance(key, str) and "<" in key]
    tk.encode_special_tokens = False
    out["encode_with_template"] = [tk.encode(s).ids for s in SHORT[:24]]
    special_ids = [i for i, t in tk.get_added_tokens_decoder().items() if t.special]
    for _ in range(n_decode):
        ids = [rng.choice(special_ids) if rng.random() < .05 else rng.randrange(256 if rng.random() < .6 else n + 20)
               for _ in range(rng.randint(1, 12))]
        out["decode"].append([ids, tk.decode(ids, skip_special_tokens=False), tk.decode(ids, skip_special_tokens=True)])
    return out


CHATS = [[["user", "Describe the image.", 1]], [["user", "What is 2+2?", 0]], [["user", "", 1]],
         [["system", "Be brief.", 0], ["user", "  Hi\n", 2]],
         [["user", "What is this?", 1], ["assistant", "A dog.", 0], ["user", "\nAnd its colour? <|im_end|>", 0]]]


def chats(tk):
    """Prompts of FastVLM's conversation "qwen_2": text parts around images tokenized alone, -200 for an image."""
    out = []
    for turns in CHATS:
        text = "" if turns[0][0] == "system" else "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        for role, body, n_images in turns:
            text += f"<|im_start|>{role}\n" + "<image>\n" * n_images + body + "<|im_end|>\n"
        text += "<|im_start|>assistant\n"
        ids = []
        for i, part in enumerate(text.split("<image>")):
            ids += ([-200] if i else []) + encode(tk, part)
        out.append({"turns": turns, "text": text, "ids": ids})
    return out


def write(name, data, ascii_only=True):
    def compact(value):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=ascii_only)
    path = os.path.join(HERE, "..", "golden", "text", name)
    with open(path, "w", encoding="utf-8") as f:
        rows = []
        for key, value in data.items():
            text = "[\n" + ",\n".join(map(compact, value)) + "\n]" if isinstance(value, list) else compact(value)
            rows.append(f"{json.dumps(key)}:{text}")
        f.write("{" + ",\n".join(rows) + "}\n")
    print(name, os.path.getsize(path))


def save(name, tk, old_merges=False, ascii_only=True):
    data = json.loads(tk.to_str())
    if old_merges:
        data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
    again = Tokenizer.from_str(json.dumps(data))
    write(name, data, ascii_only)
    return again


def real(data, name, reference, n_fuzz):
    folder = os.path.join(data, "tokenizers", name)
    tk = Tokenizer(models.BPE.from_file(os.path.join(folder, "vocab.json"), os.path.join(folder, "merges.txt")))
    tk.normalizer, tk.pre_tokenizer, tk.decoder = reference
    tk.add_special_tokens([special("<|endoftext|>")] + [special(s) for s in ("<|im_start|>", "<|im_end|>") if name == "qwen2"])
    write(f"real_{name}.json", {"ids": [fold(encode(tk, text)) for _, text in torture(n_fuzz)]})


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--data", help="folder with tokenizers/qwen2 and tokenizers/gpt2: vocab.json, merges.txt")
    args = ap.parse_args()
    write("texts.json", {"texts": [key for key, _ in torture(90)]})  # each list of ids is of the first of them
    modern = save("modern.json", make_modern(), ascii_only=False)
    gpt2 = save("gpt2.json", make_gpt2(), old_merges=True)
    odd = save("odd.json", make_odd(), old_merges=True)
    out = cases(modern, 90, 60)
    out["chat"] = chats(modern)
    write("cases_modern.json", out)
    write("cases_gpt2.json", cases(gpt2, 40, 30))
    write("cases_odd.json", cases(odd, 40, 30))
    for name in ("meta", "legacy", "partial"):
        write(f"cases_{name}.json", cases(save(f"{name}.json", make_characters(name)), 15, 30))
    sentencepiece_model("sp")
    if args.data:
        real(args.data, "qwen2", (normalizers.NFC(), modern.pre_tokenizer, decoders.ByteLevel()), 90)
        real(args.data, "gpt2", (None, byte_level(), decoders.ByteLevel()), 90)


if __name__ == "__main__":
    main()
