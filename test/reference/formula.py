"""The weights' formula of test/support/make_checkpoint.c in numpy: bit for bit the same numbers."""
import numpy as np

U64 = np.uint64
GOLDEN = U64(0x9E3779B97F4A7C15)


def mix(z):
    z = (z ^ (z >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> U64(27))) * U64(0x94D049BB133111EB)
    return z ^ (z >> U64(31))


def uniform(name, seed, n):
    """Elements 0..n-1 of the tensor name, in [-1, 1)."""
    with np.errstate(over="ignore"):
        h = U64(0xCBF29CE484222325)
        for b in name.encode():
            h = (h ^ U64(b)) * U64(0x100000001B3)
        stream = mix(h + U64(seed + 1) * GOLDEN)
        z = mix(stream + (np.arange(n, dtype=U64) + U64(1)) * GOLDEN)
    return (z >> U64(11)).astype(np.float64) * 2.0 ** -52 - 1
