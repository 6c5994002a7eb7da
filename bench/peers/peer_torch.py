"""eyelet and PyTorch in turns.

Usage: peer_torch.py --build BUILD [--model FOLDER] [--student FOLDER] [--small FOLDER --pictures DIR] [--runs 5]
           [--threads 2] [--fifo P] [--json FILE] [--keep DIR] [--only NAME]
Groups:
  tower    FastViTHD of --model (FastVLM-0.5B shaped): f32 and bf16 against eager, channels_last
  hpml     one forward of the HPML study's network over ten tokens, the picture seen: `bench --hpml` of --student
           (recipes/hpml.json) against PyTorch as the study has it: plain, quantized (dynamic int8 of nn.Linear), traced, both
  caption  --small (small.py): picture in, 16 tokens out with cached keys, int8, against a loop by hand over traced graphs:
           tower frozen in f32, every matrix of the decoder in dynamic int8
Needs torch, torchvision, transformers; tower what test/reference needs.
"""

import copy
import os
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "test", "reference"))
import torch_env  # noqa: E402, F401: before torchvision
import torch  # noqa: E402
import torchvision  # noqa: E402
import transformers  # noqa: E402
from harness import N_CAPTION, Contest  # noqa: E402
from torch import nn  # noqa: E402


def options(ap):
    ap.add_argument("--model")
    ap.add_argument("--student")
    ap.add_argument("--small")
    ap.add_argument("--pictures", help="folder that calibrates the int8 tower of --small")


def tower(c):
    import fastvlm

    model = fastvlm.FastVLM(c.a.model)
    side = model.side()
    x = torch.rand(1, 3, side, side).contiguous(memory_format=torch.channels_last)
    f32 = model.vision.to(memory_format=torch.channels_last)
    nets = {"f32": (f32, x), "bf16": (copy.deepcopy(f32).bfloat16(), x.bfloat16())}
    for kind, (net, inp) in nets.items():
        c.one_row(
            f"FastViTHD {side}, {kind}",
            "ms",
            None,
            lambda: c.vision_ms(c.a.model, kind, 1),
            {"PyTorch": lambda: c.median_ms(lambda: net.forward_features(inp), 1)},
        )


def hpml_network():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.eyes = torchvision.models.mobilenet_v3_small()
            self.eyes.classifier[3] = nn.Linear(1024, 768)
            self.projector = nn.Linear(768, 768)
            config = transformers.GPT2Config(
                vocab_size=50257, n_positions=4096, n_embd=768, n_layer=6, n_head=12, use_cache=False
            )
            self.decoder = transformers.GPT2Model(config)
            self.head = nn.Linear(768, 32000)

        def forward(self, pixels, ids):
            rows = self.projector(self.eyes(pixels))[:, None]
            x = torch.cat([rows, self.decoder.wte(ids)], 1)
            return self.head(self.decoder(inputs_embeds=x, return_dict=False)[0][:, 1:])

    return Network().eval()


def hpml(c):
    x = torch.rand(1, 3, 336, 336), torch.randint(0, 32000, (1, 10))
    plain = hpml_network()
    quantized = torch.ao.quantization.quantize_dynamic(plain, {nn.Linear}, dtype=torch.qint8)
    nets = {
        "plain": plain,
        "quantized": quantized,
        "compiled": torch.jit.trace(plain, x),
        "both": torch.jit.trace(quantized, x),
    }
    rows = {name: f"HPML study's forward, {name}" for name in nets}
    c.group(
        "ms",
        {r: 0.5 if n == "both" else None for n, r in rows.items()},
        lambda: {rows[r["name"]]: r["ms"] for r in c.bench(c.a.student, "--hpml", "-r", 5)["rows"]},
        {"PyTorch": lambda: {rows[n]: c.median_ms(lambda: net(*x), 5) for n, net in nets.items()}},
    )


class Decoder(nn.Module):
    """GPT-2's blocks with their keys and values as arguments: k, v [layers, 1, heads, past, 64], past 0 for the first rows."""

    def __init__(self, d=768, layers=6, vocab=50257):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, d), nn.Embedding(1024, d)
        self.norm = nn.ModuleList(nn.LayerNorm(d) for _ in range(2 * layers + 1))
        self.qkv = nn.ModuleList(nn.Linear(d, 3 * d) for _ in range(layers))
        self.out = nn.ModuleList(nn.Linear(d, d) for _ in range(layers))
        self.up = nn.ModuleList(nn.Linear(d, 4 * d) for _ in range(layers))
        self.down = nn.ModuleList(nn.Linear(4 * d, d) for _ in range(layers))
        self.head = nn.Linear(d, vocab, bias=False)

    def forward(self, x, at, k, v):
        x = x + self.wpe(at)
        keys, values = [], []
        for i, qkv in enumerate(self.qkv):
            q, kk, vv = (y.unflatten(-1, (12, 64)).transpose(1, 2) for y in qkv(self.norm[2 * i](x)).chunk(3, -1))
            first = bool(k.size(3) == 0)
            if not first:
                kk, vv = torch.cat([k[i], kk], 2), torch.cat([v[i], vv], 2)
            y = nn.functional.scaled_dot_product_attention(q, kk, vv, is_causal=first)
            x = x + self.out[i](y.transpose(1, 2).flatten(2))
            x = x + self.down[i](nn.functional.gelu(self.up[i](self.norm[2 * i + 1](x)), approximate="tanh"))
            keys.append(kk)
            values.append(vv)
        return self.head(self.norm[-1](x[:, -1:])), torch.stack(keys), torch.stack(values)


def caption(c):
    x = torch.rand(1, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    eyes = torchvision.models.mobilenet_v3_large()
    eyes.classifier[3] = nn.Linear(1280, 768)
    eyes = nn.Sequential(eyes, nn.Linear(768, 768)).eval().to(memory_format=torch.channels_last)
    eyes = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(eyes, x)))
    decoder = Decoder().eval()
    words = decoder.wte.weight.detach().clone()
    decoder = torch.ao.quantization.quantize_dynamic(decoder, {nn.Linear}, dtype=torch.qint8)
    none = torch.zeros(6, 1, 12, 0, 64)
    begin = torch.jit.trace(decoder, (torch.rand(1, 2, 768), torch.arange(2)[None], none, none))
    step = torch.jit.trace(
        decoder, (torch.rand(1, 1, 768), torch.tensor([[2]]), torch.rand(6, 1, 12, 2, 64), torch.rand(6, 1, 12, 2, 64))
    )

    def run():
        rows = torch.cat([eyes(x)[:, None], words[None, 1:2]], 1)
        _, k, v = begin(rows, torch.arange(2)[None], none, none)
        for i in range(1, N_CAPTION):
            _, k, v = step(words[None, 7 * i : 7 * i + 1], torch.tensor([[1 + i]]), k, v)

    c.caption_row(run)


c = Contest(__doc__, "PyTorch", options)
torch.set_num_threads(c.a.threads)
with torch.no_grad():
    c.run({tower: c.a.model, hpml: c.a.student, caption: c.a.small})
c.finish({"torch": torch.__version__})
