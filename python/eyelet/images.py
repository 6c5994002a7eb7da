"""Pictures in: whatever Python has them in, as the C API's struct eye_image; and files out as arrays."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import numpy.typing as npt

from . import _c, errors

if TYPE_CHECKING:
    import PIL.Image

ImageLike = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, "npt.NDArray[np.uint8]", "PIL.Image.Image"]


def _pixels(image: Any) -> npt.NDArray[np.uint8]:
    """An array or a PIL picture as [height, width, 3] uint8 whose rows are whole; arrays that are so already are not copied."""
    if not isinstance(image, np.ndarray):
        from PIL import Image, ImageOps

        if not isinstance(image, Image.Image):
            raise TypeError(f"an image is a path, bytes of a file, an array or a PIL picture, not {type(image).__name__}")
        image = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))  # as a file would be read
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise errors.ArgumentError(f"an image array is [height, width, 3] uint8 (R, G, B), not {list(image.shape)} {image.dtype}")
    height, width, _ = image.shape
    if height and width and (image.strides[1:] != (3, 1) or image.strides[0] < 3 * width):
        image = np.ascontiguousarray(image)
    return image  # type: ignore[no-any-return]


def _fill(out: Any, image: ImageLike) -> Any:
    """Fills a zeroed struct eye_image; returns what must live as long as it. eye_image_free is right for it in any case."""
    err = errors.new_err()
    if isinstance(image, (str, os.PathLike)):
        name = os.fspath(image)
        path = os.path.join(".", name) if name == "-" else name  # standard input is the program's, not ours
        errors.check(_c.lib().eye_image_load(text_bytes(path), None, out, err), err)
        return None
    if isinstance(image, (bytes, bytearray, memoryview)):
        data = bytes(image)
        errors.check(_c.lib().eye_image_decode(data, len(data), None, out, err), err)
        return None
    array = _pixels(image)
    height, width, _ = array.shape
    rgb = array.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
    errors.check(_c.lib().eye_image_wrap(out, rgb, width, height, array.strides[0] if height and width else 0, err), err)
    return array


@contextlib.contextmanager
def borrowed(images: Sequence[ImageLike]) -> Iterator[Any]:
    """A C array of the pictures, for the length of a with block."""
    array = (_c.struct("eye_image") * len(images))()
    keep = []
    try:
        for out, image in zip(array, images):
            keep.append(_fill(out, image))
        yield array
    finally:
        for out in array:
            _c.lib().eye_image_free(out)


def load_image(image: ImageLike) -> npt.NDArray[np.uint8]:
    """A picture's pixels, [height, width, 3] uint8, as the model will see them: upright by EXIF, alpha dropped."""
    with borrowed([image]) as array:
        i = array[0]
        rows = np.ctypeslib.as_array(i.rgb, shape=((i.height - 1) * i.stride + 3 * i.width,))
        view = np.lib.stride_tricks.as_strided(rows, shape=(i.height, i.width, 3), strides=(i.stride, 3, 1))
        return np.array(view)


def thumbnail(image: ImageLike, side: int = 160) -> bytes:
    """A small copy as the bytes of a WebP file (PNG, in a build without libwebp). side: pixels of its longer side at most, up to
    1024; a smaller picture keeps its size."""
    cap, n, err = 4096 + 4 * min(max(side, 1), 1024) ** 2, ctypes.c_size_t(), errors.new_err()
    out = (ctypes.c_uint8 * cap)()
    with borrowed([image]) as array:
        errors.check(_c.lib().eye_image_thumbnail(array, side, out, cap, ctypes.byref(n), err), err)
    return bytes(memoryview(out)[: n.value])


def text_bytes(text: str | os.PathLike[str]) -> bytes:
    """Text for a C string: a NUL inside would cut it there, so it is refused."""
    data = os.fspath(text).encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise errors.ArgumentError("a text holds a NUL character")
    return data
