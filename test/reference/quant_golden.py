"""Golden hashes of q8_0 and q4_0 blocks for test/unit/test_tensor.c, made by the gguf package (pip install gguf xxhash).

Usage: EYE_TEST_DUMP=x.f32 test_tensor; python quant_golden.py x.f32
"""
import sys

import numpy as np
import xxhash
from gguf import GGMLQuantizationType as T
from gguf.quants import quantize

x = np.fromfile(sys.argv[1], np.float32).reshape(1, -1)
for t in (T.Q8_0, T.Q4_0):
    print(f"#define HASH_{t.name} 0x{xxhash.xxh64(quantize(x, t).tobytes(), seed=0).hexdigest()}u")
