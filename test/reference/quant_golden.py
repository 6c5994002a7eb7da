"""Golden hashes of blocks, written (q8_0, q4_0) and read (the others), for test/unit/test_tensor.c, made by the gguf package (pip install gguf xxhash).

Usage: EYE_TEST_DUMP=x.f32 test_tensor; python quant_golden.py x.f32
"""
import sys

import numpy as np
import xxhash
from gguf import GGMLQuantizationType as T
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize

x = np.fromfile(sys.argv[1], np.float32).reshape(1, -1)
for t in (T.Q8_0, T.Q4_0):
    print(f"#define HASH_{t.name} 0x{xxhash.xxh64(quantize(x, t).tobytes(), seed=0).hexdigest()}u")

# Reading: the same bytes as blocks_of_ggml_read_alike() makes, as f32.
for t, f16_at in ((T.Q4_1, (0, 2)), (T.Q5_0, (0,)), (T.Q5_1, (0, 2)), (T.Q4_K, (0, 2)), (T.Q5_K, (0, 2)), (T.Q6_K, (208,))):
    elems, size = GGML_QUANT_SIZES[t]
    state, raw = 1, bytearray()
    for i in range(64 * size):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        raw.append(state >> 56)
    for block in range(64):
        for at in f16_at:
            raw[block * size + at + 1] &= 0xBF  # below 2, finite
    y = dequantize(np.frombuffer(bytes(raw), np.uint8).reshape(1, -1), t)
    assert y.dtype == np.float32 and y.size == 64 * elems
    print(f"{{EYE_{t.name}, {f16_at}, 0x{xxhash.xxh64(y.tobytes(), seed=0).hexdigest()}u}},")
