"""eyelet: vision-language models on edge devices.

    import eyelet

    print(eyelet.caption("photo.jpg"))                      # the default model

    with eyelet.Model("FastVLM-0.5B") as model, model.session() as session:
        for piece in session.stream("What is on the table?", ["photo.jpg"], n_predict=64):
            print(piece, end="", flush=True)

Images are paths, bytes of a file, arrays [height, width, 3] uint8 or PIL pictures. See doc/PYTHON.md.
"""

from . import _c
from .batch import Answer, Batch, BatchStats, BatchStream
from .errors import (
    ArgumentError, CancelledError, CorruptError, Error, FileError, LimitError, OutOfMemoryError, UnsupportedError,
)
from .grammar import Schema
from .images import ImageLike, load_image, thumbnail
from .model import Memory, Model, ModelInfo, caption, default_model
from .session import IMAGE_ROW, Logprob, Message, Options, Query, Result, Session, Stream, Timings

__version__ = _c.VERSION
__all__ = [
    "IMAGE_ROW", "Answer", "ArgumentError", "Batch", "BatchStats", "BatchStream", "CancelledError", "CorruptError", "Error",
    "FileError", "ImageLike", "LimitError", "Logprob", "Memory", "Message", "Model", "ModelInfo", "Options", "OutOfMemoryError",
    "Query", "Result", "Schema", "Session", "Stream", "Timings", "UnsupportedError", "caption", "default_model", "load_image",
    "thumbnail",
]
