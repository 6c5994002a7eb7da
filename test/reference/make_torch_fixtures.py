"""Small files as torch.save writes them, for test/unit/test_torch_zip.c and the fuzz corpus: python make_torch_fixtures.py

plain.pth: every dtype, a scalar, an empty tensor, a view into another's storage, tied names, a Parameter, module metadata.
The tensor "w" holds 0, 1, 2, … so that tests need no other reference.
"""
import pathlib
import sys
import zipfile

import torch

OUT = pathlib.Path(__file__).parents[1] / "golden" / "torch"
OUT.mkdir(parents=True, exist_ok=True)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(3, 2)
        self.fc.weight.data = torch.arange(6, dtype=torch.float32).reshape(2, 3)
        self.fc.bias.data = torch.tensor([0.5, -0.5])
        self.tied = self.fc
        self.register_buffer("steps", torch.tensor(7))


torch.save(Net().state_dict(), OUT / "module.pth")
w = torch.arange(12, dtype=torch.float32).reshape(3, 4)
types = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]
plain = {"w": w, "rows": w[1:], "tied": w, "parameter": torch.nn.Parameter(torch.ones(2)), "scalar": torch.tensor(2.5),
         "empty": torch.zeros(0, 4), "one_column": w[:, :1][:1], "epoch": 3, "note": "text", "loss": 0.25, "list": [1, None, True],
         "big": 2**40, **{str(t)[6:]: torch.ones(5, dtype=t) for t in types}}
torch.save(plain, OUT / "plain.pth")
torch.save({"state_dict": {"a": torch.ones(2)}, "epoch": 1}, OUT / "lightning.ckpt")
# Must fail.
torch.save({"w": w.t()}, OUT / "strided.bad")
torch.save({"w": w[:, 1:3]}, OUT / "columns.bad")
torch.save({"w": torch.zeros(1, 1, 1, 1, 1, 2)}, OUT / "six_dims.bad")
torch.save({"path": pathlib.PurePosixPath("/")}, OUT / "other_class.bad")
torch.save({"w": w}, OUT / "old_format.bad", _use_new_zipfile_serialization=False)
torch.save([w], OUT / "list.bad")
torch.save({"w": torch.zeros(2, dtype=torch.complex64)}, OUT / "complex.bad")


class Evil:
    def __reduce__(self):
        return (__import__("os").system, ("touch eyelet-was-here",))


torch.save({"w": w, "x": Evil()}, OUT / "runs_code.bad")
print(sum(f.stat().st_size for f in OUT.iterdir()), "bytes in", OUT, file=sys.stderr)

# The pickles alone, seeds of their own fuzz target.
SEEDS = OUT.parents[1] / "fuzz" / "corpus" / "pickle"
SEEDS.mkdir(parents=True, exist_ok=True)
for name in ("plain.pth", "module.pth", "runs_code.bad"):
    archive = zipfile.ZipFile(OUT / name)
    member = next(n for n in archive.namelist() if n.endswith("data.pkl"))
    (SEEDS / name.split(".")[0]).write_bytes(archive.read(member))
