"""Draws doc/demo.jpg: a harbour scene, so that the demo and the tests have a picture that belongs to the project.

Usage: make_demo_image.py OUT.jpg   (needs numpy, pillow)
"""
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

W, H = 640, 480


def main(out):
    rng = np.random.default_rng(20)
    y, x = np.mgrid[0:H, 0:W].astype(np.float64)
    t = np.clip(y / 300, 0, 1)[..., None]
    sky = (1 - t) * np.array([64, 120, 190]) + t * np.array([240, 205, 160])
    glow = np.exp(-((x - 470) ** 2 + (y - 190) ** 2) / 9000)[..., None] * np.array([90, 60, 10])
    im = Image.fromarray(np.clip(sky + glow, 0, 255).astype(np.uint8))
    d = ImageDraw.Draw(im)
    d.ellipse((448, 168, 492, 212), fill=(255, 236, 170))
    ridge = 250 + 30 * np.sin(np.arange(W) / 70) + 14 * np.sin(np.arange(W) / 23 + 1)
    d.polygon([(0, 300)] + [(i, float(ridge[i])) for i in range(W)] + [(W, 300)], fill=(74, 92, 110))
    d.rectangle((0, 296, W, H), fill=(38, 84, 120))
    for i in range(260):
        px, py = rng.integers(0, W), rng.integers(300, H)
        n = int(4 + (py - 300) / 9)
        c = (250, 220, 160) if abs(px - 470) < 30 + (py - 300) / 3 and i % 2 else (66, 118, 152)
        d.line((px, py, px + n, py), fill=c, width=1 + (py > 390))
    for bx, by, s, hull, sail in ((150, 330, 1.0, (160, 46, 38), (245, 240, 228)), (330, 312, 0.55, (60, 60, 66), (228, 190, 90))):
        d.polygon([(bx - 60 * s, by), (bx + 70 * s, by), (bx + 46 * s, by + 26 * s), (bx - 40 * s, by + 26 * s)], fill=hull)
        d.line((bx, by, bx, by - 120 * s), fill=(70, 50, 30), width=max(2, int(5 * s)))
        d.polygon([(bx + 5 * s, by - 116 * s), (bx + 5 * s, by - 8 * s), (bx + 62 * s, by - 8 * s)], fill=sail)
        d.polygon([(bx - 5 * s, by - 100 * s), (bx - 5 * s, by - 8 * s), (bx - 44 * s, by - 8 * s)], fill=tuple(int(v * 0.9) for v in sail))
    d.rectangle((0, 410, W, 430), fill=(110, 84, 58))
    for i in range(0, W, 40):
        d.rectangle((i, 410, i + 3, 430), fill=(84, 62, 42))
        d.rectangle((i + 14, 428, i + 24, H), fill=(92, 70, 48))
    d.rectangle((520, 330, 610, 410), fill=(198, 190, 178))
    d.polygon([(510, 332), (565, 290), (620, 332)], fill=(130, 52, 44))
    d.rectangle((552, 362, 578, 410), fill=(74, 52, 40))
    d.rectangle((530, 348, 546, 364), fill=(250, 222, 120))
    for px in (232, 268):
        d.ellipse((px - 7, 372, px + 7, 386), fill=(196, 150, 120))
        d.rectangle((px - 8, 386, px + 8, 412), fill=(200, 60, 50) if px == 232 else (50, 90, 160))
    a = np.asarray(im.filter(ImageFilter.GaussianBlur(0.6))).astype(np.float64) + rng.normal(0, 2.2, (H, W, 1))
    Image.fromarray(np.clip(a, 0, 255).astype(np.uint8)).save(out, quality=82)


main(sys.argv[1])
