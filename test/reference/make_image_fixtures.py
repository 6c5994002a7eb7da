#!/usr/bin/env python3
"""Writes test/golden/image/: small pictures in every format and variant that eyelet reads, and what Pillow makes of them.

    python test/reference/make_image_fixtures.py        (needs Pillow >= 13, numpy, transformers, cc, libjpeg-turbo)

All pictures are drawn here by a formula that test_image.c knows too. PNG, BMP and PNM variants come from encoders of our own
below, because no library writes them all. golden.txt has one case per line (crc is zlib's crc32 of packed RGB rows):

    decode  FILE WIDTH HEIGHT CRC ORIENTATION WIDTH HEIGHT CRC           as stored, then upright
    resize  WIDTH HEIGHT NEW_WIDTH NEW_HEIGHT FILTER CRC                 0 bicubic, 1 bilinear, 2 lanczos
    tiles   WIDTH HEIGHT LONGEST TILE SPLIT ROWS COLS CRC                of all tiles, one after the other
    preproc WIDTH HEIGHT SIDE MODE FILTER CRC_U8 CRC_F32                 0 pad, 1 crop, 2 squash; f32 in C,H,W

Where Pillow cannot read a variant, or reads it in a way that is of no use (16-bit grey saturates at 255), the expectation is
the drawing itself.
"""
import io
import os
import struct
import subprocess
import tempfile
import zlib

import numpy as np
from PIL import Image, ImageOps

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "image")
MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
lines = []


def drawing(w, h):
    """Ramps, a chequerboard and noise; integers only, so that C draws the same."""
    y, x = np.mgrid[0:h, 0:w].astype(np.uint64)
    planes = []
    for c in range(3):
        smooth = [x * 255 // max(w - 1, 1), y * 255 // max(h - 1, 1), ((x // 8 + y // 8) & 1) * 255][c]
        n = (x * 73856093 ^ y * 19349663 ^ np.uint64((c + 1) * 83492791)) & 0xFFFFFFFF
        n = (n * 2654435761 & 0xFFFFFFFF) >> 24
        planes.append((smooth * 3 + n) // 4)
    return np.stack(planes, -1).astype(np.uint8)


def crc(a):
    return "%08x" % zlib.crc32(np.ascontiguousarray(a).tobytes())


def pillow(data):
    im = Image.open(io.BytesIO(data))
    stored = np.asarray(im.convert("RGB"))
    orientation = im.getexif().get(0x0112, 1)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    return stored, orientation if 1 <= orientation <= 8 else 1, upright


def put(name, data, expect=None):
    with open(os.path.join(OUT, name), "wb") as f:
        f.write(data)
    if expect is None:
        stored, orientation, upright = pillow(data)
    else:
        stored, orientation, upright = expect, 1, expect
    lines.append(f"decode {name} {stored.shape[1]} {stored.shape[0]} {crc(stored)} {orientation} "
                 f"{upright.shape[1]} {upright.shape[0]} {crc(upright)}")


def saved(im, fmt, **kw):
    b = io.BytesIO()
    im.save(b, fmt, **kw)
    return b.getvalue()


# ---- EXIF ----
def exif(orientation, big=False):
    e = ">" if big else "<"
    entries = [(0x010F, 2, 4, b"eye\0"), (0x0112, 3, 1, struct.pack(e + "HH", orientation, 0)), (0x0128, 3, 1, struct.pack(e + "HH", 2, 0))]
    ifd = struct.pack(e + "H", len(entries)) + b"".join(struct.pack(e + "HHI", t, ty, n) + v for t, ty, n, v in entries)
    return (b"MM\0*" if big else b"II*\0") + struct.pack(e + "I", 8) + ifd + bytes(4)


# ---- JPEG, WebP ----
def make_jpeg():
    im = Image.fromarray(drawing(45, 31))
    for sub, name in (("4:4:4", "444"), ("4:2:2", "422"), ("4:2:0", "420"), ("4:1:1", "411")):
        put(f"jpeg_{name}.jpg", saved(im, "JPEG", quality=80, subsampling=sub))
    put("jpeg_progressive.jpg", saved(im, "JPEG", quality=70, progressive=True))
    put("jpeg_progressive_grey.jpg", saved(im.convert("L"), "JPEG", quality=70, progressive=True))
    put("jpeg_optimized.jpg", saved(im, "JPEG", quality=30, optimize=True))
    put("jpeg_grey.jpg", saved(im.convert("L"), "JPEG", quality=60))
    put("jpeg_restart.jpg", saved(im, "JPEG", quality=60, restart_marker_blocks=2))
    put("jpeg_rgb.jpg", saved(im, "JPEG", quality=60, keep_rgb=True))
    put("jpeg_cmyk.jpg", saved(im.convert("CMYK"), "JPEG", quality=80))
    put("jpeg_1x1.jpg", saved(im.crop((0, 0, 1, 1)), "JPEG"))
    small = Image.fromarray(drawing(20, 13))
    for o in range(1, 9):
        put(f"jpeg_exif_{o}.jpg", saved(small, "JPEG", quality=50, exif=b"Exif\0\0" + exif(o, big=o % 2 == 0)))
    put("jpeg_exif_99.jpg", saved(small, "JPEG", quality=50, exif=b"Exif\0\0" + exif(99)))


def make_odd_jpegs():
    """What Pillow does not write; see make_odd_jpegs.c."""
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "make_odd_jpegs.c")
    with tempfile.TemporaryDirectory() as d:
        tool = os.path.join(d, "make_odd_jpegs")
        subprocess.run(["cc", "-o", tool, source, "-ljpeg"], check=True)
        subprocess.run([tool, d, "45", "31"], check=True, input=drawing(45, 31).tobytes())
        for name in sorted(n for n in os.listdir(d) if n.endswith(".jpg")):
            with open(os.path.join(d, name), "rb") as f:
                data = f.read()
            # One is no picture; of the other, libjpeg-turbo 2 and 3 guess the missing scans differently.
            if name in ("jpeg_two_components.jpg", "jpeg_dc_only.jpg"):
                with open(os.path.join(OUT, name), "wb") as f:
                    f.write(data)
            else:
                put(name, data)


def make_webp():
    im = Image.fromarray(drawing(45, 31))
    rgba = im.convert("RGBA")
    rgba.putalpha(im.convert("L"))
    put("webp_lossy.webp", saved(im, "WEBP", quality=60))
    put("webp_lossless.webp", saved(im.resize((20, 13)), "WEBP", lossless=True))
    put("webp_alpha.webp", saved(rgba, "WEBP", quality=60, exact=True))
    put("webp_alpha_lossless.webp", saved(rgba.resize((20, 13)), "WEBP", lossless=True, exact=True))
    put("webp_exif_6.webp", saved(im, "WEBP", quality=40, exif=exif(6)))
    frames = [im.resize((24, 16)), im.resize((24, 16)).transpose(Image.Transpose.ROTATE_180)]
    put("webp_animated.webp", saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True))


# ---- PNG: our own encoder, every colour type, depth and interlacing ----
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png_rows(samples, depth):
    """samples [h][w][c] ints -> packed rows, each with a filter byte; filters 0 to 4 take turns."""
    h, w, c = samples.shape
    bpp, out, prev = max(1, c * depth // 8), b"", None
    for y in range(h):
        bits = "".join(format(int(v), f"0{depth}b") for v in samples[y].reshape(-1))
        row = int(bits.ljust((len(bits) + 7) // 8 * 8, "0"), 2).to_bytes((len(bits) + 7) // 8, "big")
        prev = prev or bytes(len(row))
        kind, enc = y % 5, bytearray()
        for i, v in enumerate(row):
            a, b, d = row[i - bpp] if i >= bpp else 0, prev[i], prev[i - bpp] if i >= bpp else 0
            p = a + b - d
            paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - d), 2, d))[2]
            enc.append(v - (0, a, b, (a + b) // 2, paeth)[kind] & 255)
        out, prev = out + bytes([kind]) + bytes(enc), row
    return out


def png(samples, color, depth, interlace, extra=b"", after=b""):
    def chunk(t, d):
        return struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
    h, w, _ = samples.shape
    if interlace:
        parts = [samples[y0::dy, x0::dx] for x0, y0, dx, dy in ADAM7]
        raw = b"".join(png_rows(p, depth) for p in parts if p.size)
    else:
        raw = png_rows(samples, depth)
    pal = [(i * 255 // (2 ** min(depth, 8) - 1), (i * 91) % 256, 255 - (i * 37) % 256) for i in range(2 ** min(depth, 8))]
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, color, 0, 0, interlace))]
    if color == 3:
        chunks += [(b"PLTE", bytes(v for p in pal for v in p))]
    z = zlib.compress(raw, 9)
    chunks += extra if extra else []
    chunks += [(b"IDAT", z[:len(z) // 2]), (b"IDAT", z[len(z) // 2:])] + (after if after else []) + [(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks)


def make_png():
    w, h = 13, 9
    rgb = drawing(w, h).astype(np.int64)
    for color, name, depths in ((0, "grey", (1, 2, 4, 8, 16)), (2, "rgb", (8, 16)), (3, "palette", (1, 2, 4, 8)), (4, "greya", (8, 16)), (6, "rgba", (8, 16))):
        for depth in depths:
            top = 2 ** depth - 1
            # 16-bit samples get a low byte that rounding would notice
            wide = rgb * 256 + (255 - rgb) if depth == 16 else rgb * top // 255
            s = wide[:, :, :1] if color in (0, 3, 4) else wide
            if color in (4, 6):
                s = np.concatenate([s, wide[:, :, 2:3]], -1)
            for interlace in (0, 1):
                data = png(s, color, depth, interlace)
                grey16 = np.repeat(s[:, :, :1] >> 8, 3, -1).astype(np.uint8) if (color, depth) == (0, 16) else None
                put(f"png_{name}{depth}{'_adam7' if interlace else ''}.png", data, grey16)
    put("png_rgb8_trns.png", png(rgb, 2, 8, 0, [(b"tRNS", struct.pack(">HHH", *rgb[0, 0]))]))
    put("png_palette4_trns.png", png(rgb[:, :, :1] * 15 // 255, 3, 4, 0, [(b"tRNS", bytes(range(0, 160, 16)))]))
    put("png_gamma.png", png(rgb, 2, 8, 0, [(b"gAMA", struct.pack(">I", 100000))]))
    put("png_exif_before.png", png(rgb, 2, 8, 0, [(b"eXIf", exif(6, big=True))]))
    put("png_exif_after.png", png(rgb, 2, 8, 0, after=[(b"eXIf", exif(3))]))
    put("png_1x1.png", png(rgb[:1, :1], 2, 8, 1))


# ---- BMP: our own encoder ----
def bmp(rows, w, h, bits, compression=0, header=40, palette=b"", masks=b"", n_colors=0, raw_size=0, offset=None):
    core = struct.pack("<IHHHH", 12, w, abs(h), 1, bits)
    info = struct.pack("<IiiHHIIiiII", header, w, h, 1, bits, compression, raw_size, 2835, 2835, n_colors, 0)
    head = core if header == 12 else info
    if header > 40:
        head += (masks + bytes(16))[:16].ljust(header - 40, b"\0")[:header - 40]
        masks = b""
    at = 14 + len(head) + len(masks) + len(palette)
    return b"BM" + struct.pack("<IHHI", at + len(rows), 0, 0, at if offset is None else offset) + head + masks + palette + rows


def pad4(row):
    return row + bytes(-len(row) % 4)


def bmp_indexed(idx, bits):
    out = b""
    for r in idx[::-1]:
        s = "".join(format(int(v), f"0{bits}b") for v in r)
        out += pad4(int(s.ljust((len(s) + 7) // 8 * 8, "0"), 2).to_bytes((len(s) + 7) // 8, "big"))
    return out


def rle8(idx):
    """Runs where they pay, literal runs of 3 or more elsewhere."""
    out = b""
    for r in idx[::-1]:
        i = 0
        while i < len(r):
            n = 1
            while i + n < len(r) and r[i + n] == r[i] and n < 255:
                n += 1
            if n >= 2 or i + 3 > len(r):
                out += bytes([n, r[i]])
                i += n
            else:
                lit = bytes(int(v) for v in r[i:i + 5])
                out += bytes([0, len(lit)]) + lit + bytes(len(lit) % 2)
                i += len(lit)
        out += b"\0\0"
    return out + b"\0\1"


def rle4(idx):
    out = b""
    for r in idx[::-1]:
        for i in range(0, len(r), 7):
            lit = [int(v) for v in r[i:i + 7]]
            if len(lit) >= 3:
                b = bytes((lit[j] << 4) | (lit[j + 1] if j + 1 < len(lit) else 0) for j in range(0, len(lit), 2))
                out += bytes([0, len(lit)]) + b + bytes(len(b) % 2)
            else:
                out += bytes([len(lit), lit[0] << 4 | lit[-1]])
        out += b"\0\0"
    return out + b"\0\1"


def make_bmp():
    w, h = 13, 9
    rgb = drawing(w, h)
    pal = np.array([((i * 67) % 256, (i * 29 + 7) % 256, 255 - i) for i in range(256)], np.uint8)

    def bgrx(n):
        return b"".join(bytes([p[2], p[1], p[0], 0]) for p in pal[:n])
    for bits in (1, 4, 8):
        idx = rgb[:, :, 2].astype(int) * (2 ** bits - 1) // 255
        put(f"bmp_{bits}.bmp", bmp(bmp_indexed(idx, bits), w, h, bits, palette=bgrx(2 ** bits)))
    idx8, idx4 = rgb[:, :, 2] // 32, rgb[:, :, 2] // 32
    put("bmp_8_short_palette.bmp", bmp(bmp_indexed(idx8, 8), w, h, 8, palette=bgrx(8), n_colors=8))
    put("bmp_8_offset_0.bmp", bmp(bmp_indexed(idx8, 8), w, h, 8, palette=bgrx(256), offset=0))
    put("bmp_8_core.bmp", bmp(bmp_indexed(idx8, 8), w, h, 8, header=12, palette=b"".join(bytes(p[::-1]) for p in pal)))
    put("bmp_8_top_down.bmp", bmp(bmp_indexed(idx8[::-1], 8), w, -h, 8, palette=bgrx(256)))
    put("bmp_rle8.bmp", bmp(rle8(idx8), w, h, 8, 1, palette=bgrx(256), raw_size=len(rle8(idx8))))
    put("bmp_rle4.bmp", bmp(rle4(idx4), w, h, 4, 2, palette=bgrx(16), raw_size=len(rle4(idx4))))
    # Delta codes and an early end: what no code reaches is colour 0.
    jump = bytes([3, 5, 0, 2, 4, 2, 2, 7, 0, 0, 1, 9, 0, 1])
    seen = np.zeros((h, w), int)
    seen[h - 1, :3], seen[h - 3, 7:9], seen[h - 4, 0] = 5, 7, 9
    put("bmp_rle8_delta.bmp", bmp(jump, w, h, 8, 1, palette=bgrx(256), raw_size=len(jump)), pal[seen])

    def rows(pack, size):
        return b"".join(pad4(b"".join(pack(*(int(v) for v in p)).to_bytes(size, "little") for p in r)) for r in rgb[::-1])

    def p565(r, g, b):
        return r >> 3 << 11 | g >> 2 << 5 | b >> 3

    def p555(r, g, b):
        return r >> 3 << 10 | g >> 3 << 5 | b >> 3
    m565, m555 = struct.pack("<III", 0xF800, 0x7E0, 0x1F), struct.pack("<III", 0x7C00, 0x3E0, 0x1F)
    put("bmp_16.bmp", bmp(rows(p555, 2), w, h, 16))
    put("bmp_16_565.bmp", bmp(rows(p565, 2), w, h, 16, 3, masks=m565))
    put("bmp_16_555_v4.bmp", bmp(rows(p555, 2), w, h, 16, 3, header=108, masks=m555))
    put("bmp_24.bmp", bmp(rows(lambda r, g, b: r << 16 | g << 8 | b, 3), w, h, 24))
    put("bmp_24_no_last_padding.bmp", bmp(rows(lambda r, g, b: r << 16 | g << 8 | b, 3)[:-1], w, h, 24))
    put("bmp_32.bmp", bmp(rows(lambda r, g, b: r << 16 | g << 8 | b | 0x55000000, 4), w, h, 32))
    put("bmp_32_rgbx_v5.bmp", bmp(rows(lambda r, g, b: b << 16 | g << 8 | r | 0x77000000, 4), w, h, 32, 3, header=124,
                                  masks=struct.pack("<IIII", 0xFF, 0xFF00, 0xFF0000, 0xFF000000)))
    # Ten bits each: no layout that Pillow knows.
    wide = struct.pack("<III", 0x3FF00000, 0xFFC00, 0x3FF)
    put("bmp_32_10_bits.bmp", bmp(rows(lambda r, g, b: r * 4 + 3 << 20 | g * 4 + 1 << 10 | b * 4, 4), w, h, 32, 3, masks=wide),
        np.stack([(rgb[:, :, i].astype(int) * 4 + (3, 1, 0)[i]) * 255 // 1023 for i in range(3)], -1).astype(np.uint8))


def make_pnm():
    w, h = 13, 9
    rgb = drawing(w, h).astype(int)
    grey, bits = rgb[:, :, 0], rgb[:, :, 2] // 128

    def text(a):
        return " ".join(str(v) for v in a.reshape(-1)).encode() + b"\n"
    put("pnm_p1.pbm", b"P1\n# drawn\n13 9\n" + b"".join(b"".join(b"%d" % v for v in r) + b"\n" for r in bits))
    put("pnm_p2.pgm", b"P2 13 9 255\n" + text(grey))
    put("pnm_p2_max15.pgm", b"P2 #c\n 13\t9\r\n15\n" + text(grey // 16))
    put("pnm_p3.ppm", b"P3\n13 9\n# two\n# comments\n255\n" + text(rgb))
    packed = b"".join(int("".join(str(v) for v in r).ljust(16, "0"), 2).to_bytes(2, "big") for r in bits)
    put("pnm_p4.pbm", b"P4\n13 9\n" + packed)
    put("pnm_p5.pgm", b"P5\n13 9\n255\n" + bytes(grey.reshape(-1).tolist()))
    put("pnm_p5_max100.pgm", b"P5\n13 9\n100\n" + bytes((grey * 100 // 255).reshape(-1).tolist()))
    put("pnm_p6.ppm", b"P6 13 9 255\n" + bytes(rgb.reshape(-1).tolist()))
    put("pnm_p6_max1000.ppm", b"P6\n13 9\n1000\n" + (rgb * 1000 // 255).astype(">u2").tobytes())
    put("pnm_p6_max65535.ppm", b"P6\n13 9\n65535\n" + (rgb * 257).astype(">u2").tobytes())
    # Pillow leaves 16-bit grey at 16 bits, where convert("RGB") saturates.
    put("pnm_p5_max65535.pgm", b"P5\n13 9\n65535\n" + (grey * 257 + 100).clip(0, 65535).astype(">u2").tobytes(),
        np.repeat(np.rint((grey * 257 + 100).clip(0, 65535) / 65535 * 255).astype(np.uint8)[:, :, None], 3, -1))


# ---- resize and preprocessing ----
FILTERS = (Image.Resampling.BICUBIC, Image.Resampling.BILINEAR, Image.Resampling.LANCZOS)


def make_resize():
    sizes = [(64, 48, 32, 24), (64, 48, 64, 48), (64, 48, 64, 24), (64, 48, 32, 48), (64, 48, 200, 150), (1, 1, 7, 5), (7, 5, 1, 1), (1, 9, 4, 4),
             (9, 1, 4, 4), (2, 2, 33, 31), (33, 31, 2, 2), (100, 100, 99, 101), (97, 61, 61, 97), (300, 7, 20, 20), (7, 300, 20, 20), (7, 300, 6, 299),
             (40, 300, 80, 100), (300, 40, 100, 80), (3, 128, 3, 5), (128, 3, 5, 3), (50, 200, 40, 100), (50, 200, 40, 180), (50, 200, 40, 179),
             (31, 31, 32, 32), (32, 32, 31, 31), (256, 192, 56, 42), (56, 42, 256, 192), (129, 65, 64, 33), (5, 4, 3, 2), (3, 2, 5, 4)]
    for w, h, ow, oh in sizes:
        for f, kind in enumerate(FILTERS):
            lines.append(f"resize {w} {h} {ow} {oh} {f} {crc(np.asarray(Image.fromarray(drawing(w, h)).resize((ow, oh), kind)))}")


def preprocess(im, side, mode, kind):
    w, h = im.size
    if mode == 0 and w != h:
        square = Image.new("RGB", (max(w, h),) * 2, tuple(int(m * 255) for m in MEAN))
        square.paste(im, ((max(w, h) - w) // 2, (max(w, h) - h) // 2))
        im, w, h = square, max(w, h), max(w, h)
    size = (side, side) if mode == 2 else (side, int(side * h / w)) if w <= h else (int(side * w / h), side)
    a = np.asarray(im.resize(size, kind))
    top, left = (size[1] - side) // 2, (size[0] - side) // 2
    return a[top:top + side, left:left + side]


def make_preproc():
    for w, h in ((64, 48), (48, 64), (33, 33), (100, 31), (31, 101), (1, 40), (40, 1), (200, 3), (3, 200), (1, 1)):
        for side in (28, 56):
            for mode in range(3):
                for f, kind in enumerate(FILTERS):
                    u8 = preprocess(Image.fromarray(drawing(w, h)), side, mode, kind)
                    x = (u8.astype(np.float64) * (1 / 255)).astype(np.float32)
                    x = (x - np.asarray(MEAN, np.float32)) / np.asarray(STD, np.float32)
                    lines.append(f"preproc {w} {h} {side} {mode} {f} {crc(u8)} {crc(x.transpose(2, 0, 1))}")


def make_tiles():
    """From transformers' own processor in its Pillow variant."""
    import torch_env  # noqa: F401
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
    for w, h in ((64, 48), (48, 64), (33, 33), (100, 31), (31, 101), (1, 40), (40, 1), (200, 3), (3, 200), (1, 1), (301, 170), (47, 46)):
        for longest, tile, split in ((64, 32, 1), (96, 32, 1), (97, 28, 1), (56, 56, 1), (40, 56, 1), (64, 32, 0)):
            p = Idefics3ImageProcessorPil(size={"longest_edge": longest}, max_image_size={"longest_edge": tile}, do_image_splitting=bool(split),
                                          do_rescale=False, do_normalize=False)
            o = p(drawing(w, h), return_row_col_info=True, return_tensors="np", input_data_format="channels_last")
            tiles = np.asarray(o["pixel_values"][0]).astype(np.uint8).transpose(0, 2, 3, 1)
            lines.append(f"tiles {w} {h} {longest} {tile} {split} {o['rows'][0][0]} {o['cols'][0][0]} {crc(tiles)}")


def main():
    os.makedirs(OUT, exist_ok=True)
    for old in os.listdir(OUT):
        os.remove(os.path.join(OUT, old))
    for make in (make_jpeg, make_odd_jpegs, make_webp, make_png, make_bmp, make_pnm, make_resize, make_preproc, make_tiles):
        make()
    with open(os.path.join(OUT, "golden.txt"), "w") as f:
        f.write("\n".join(lines) + "\n")
    print(f"{len(lines)} cases, {sum(os.path.getsize(os.path.join(OUT, n)) for n in os.listdir(OUT))} bytes")


if __name__ == "__main__":
    main()
