"""A model: open it, ask what is in it, turn text into tokens and back, make sessions."""

from __future__ import annotations

import ctypes
import logging
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _c, errors
from ._run import Gate, checked, free_here
from .grammar import Grammars
from .images import ImageLike, borrowed, text_bytes
from .session import _IDS, Ids, Options, Query, Session

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .batch import Batch

log = logging.getLogger("eyelet")


@dataclass(frozen=True)
class ModelInfo:
    """See struct eye_model_info."""

    architecture: str
    file_format: str
    tokenizer: str
    chat_template: str
    n_params: int
    file_bytes: int
    n_vocab: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    hidden: int
    ffn: int
    n_ctx_trained: int
    n_ctx: int
    image_side: int
    image_tokens: int
    vision_channels: int
    n_threads: int
    decoder_type: str
    vision_type: str
    cache_type: str
    fit: str
    default_prompt: str  # what an image is asked when nobody asks


@dataclass(frozen=True)
class Memory:
    """Bytes; see struct eye_memory."""

    files: int
    weights: int
    cache: int
    activations: int
    total: int


def default_model() -> str:
    """$EYELET_MODEL if it is set; else the model that came in this package; else where the C library finds its own."""
    packaged = os.path.join(os.path.dirname(os.path.abspath(__file__)), "captioner.gguf")
    if not os.environ.get("EYELET_MODEL") and os.path.exists(packaged):
        return packaged
    path, err = ctypes.create_string_buffer(4096), errors.new_err()
    errors.check(_c.lib().eye_default_model(path, len(path), err), err)
    return os.fsdecode(path.value)


_ENUMS = {"decoder_type": ("eye_weight_type", "EYE_WEIGHT_"), "vision_type": ("eye_weight_type", "EYE_WEIGHT_"),
          "cache_type": ("eye_cache_type", "EYE_CACHE_"), "fit": ("eye_fit", "EYE_FIT_"),
          "image_merge": ("eye_image_merge", "EYE_MERGE_")}


class Model:
    """An open model. Threads may share it: everything but close() may be called at any time, and each thread makes its own
    session. Opening maps the files; weights are packed when the first session is made. Calls let go of the GIL. Use it in a
    `with` block, or close() it, which closes its sessions too; what was forgotten is freed with the object.

    path  a checkpoint folder, a .gguf or a compiled file; None = default_model().
    The options are those of struct eye_model_opts; types and fit by name: decoder_type="q4_0", vision_type="int8",
    cache_type="f16", fit="pad", image_merge="pool". progress(what, done) is called while weights are packed. Warnings go to
    logging's "eyelet"."""

    def __init__(self, path: str | os.PathLike[str] | None = None, *, n_threads: int = 0, cpu_features: str | None = None,
                 n_ctx: int = 0, n_parallel: int = 0, image_side: int = 0, image_tokens: int = 0, image_merge: str = "similar",
                 no_mmap: bool = False, decoder_type: str = "stored", vision_type: str = "stored", cache_type: str = "auto",
                 fit: str = "model", mmproj: str | None = None, tokenizer: str | None = None, chat_template: str | None = None,
                 cache_dir: str | None = None, cache_bytes: int = 0,
                 progress: Callable[[str, float], object] | None = None) -> None:
        self.path = os.fspath(path) if path is not None else default_model()
        self._gate = Gate("model")
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._batches: weakref.WeakSet[Batch] = weakref.WeakSet()
        self._own: Session | None = None  # of caption()
        self._own_lock = threading.Lock()
        o = _c.struct("eye_model_opts")()
        o.n_threads, o.n_ctx, o.n_parallel, o.image_side, o.no_mmap = n_threads, n_ctx, n_parallel, image_side, no_mmap
        o.image_tokens = image_tokens
        o.cache_bytes, o.cancel, o.cancel_ctx = cache_bytes, self._gate.cancel_fn(), self._gate.cancel_ctx()
        for name, word in {"decoder_type": decoder_type, "vision_type": vision_type, "cache_type": cache_type, "fit": fit,
                           "image_merge": image_merge}.items():
            try:
                setattr(o, name, _c.enum_value(*_ENUMS[name], word))
            except ValueError as e:
                raise errors.ArgumentError(f"{name}: {e}") from None
        for name, text in {"cpu_features": cpu_features, "mmproj": mmproj, "tokenizer": tokenizer, "chat_template": chat_template,
                           "cache_dir": cache_dir}.items():
            setattr(o, name, None if text is None else text_bytes(text))
        callbacks = _callbacks(o, progress)
        handle = ctypes.c_void_p()
        checked(self._gate, _c.lib().eye_model_open, text_bytes(self.path), ctypes.byref(o), ctypes.byref(handle))
        self._handle = handle
        # Of the gate, which forgotten sessions keep until they are freed themselves: a model must outlive its sessions.
        self._free = weakref.finalize(self._gate, free_here, self._gate.pid, _c.lib().eye_model_close, handle,
                                      (self._gate.flag, callbacks))
        self._grammars = Grammars(self._gate, handle)
        self.info = self._read_info()

    def _read_info(self) -> ModelInfo:
        raw = _c.struct("eye_model_info")()
        _c.lib().eye_model_get_info(self._handle, ctypes.byref(raw))
        values: dict[str, Any] = {}
        for name in ModelInfo.__dataclass_fields__:
            value = getattr(raw, name)
            if name in _ENUMS:
                value = _c.enum_word(*_ENUMS[name], value)
            values[name] = (value or b"").decode("utf-8", "replace") if isinstance(value, (bytes, type(None))) else value
        return ModelInfo(**values)

    # ---- life ----

    def close(self) -> None:
        """Closes the sessions and batches that are left, then the model. Fine twice. RuntimeError while a call runs."""
        if self._gate.closed or self._gate.pid != os.getpid():
            return
        for session in list(self._sessions):
            session.close()
        for batch in list(self._batches):
            batch.close()
        with self._gate.used(wait=True):
            self._gate.closed = True
            self._grammars.clear()
            self._free()

    def cancel(self) -> None:
        """Stops the packing of weights that a new session waits for. From any thread."""
        self._gate.flag.value = 1

    def __enter__(self) -> Model:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError("a model does not travel between processes: send its path and open it there")

    def session(self, *, n_ctx: int = 0, with_images: bool = False) -> Session:
        """A new context of n_ctx positions (0 = the model's)."""
        return Session(self, n_ctx=n_ctx, with_images=with_images)

    # ---- simple ----

    def caption(self, image: ImageLike, prompt: str | None = None, **options: Unpack[Options]) -> str:
        """A picture in, what the model says about it out. From any thread: callers wait for each other."""
        with self._own_lock:
            if self._own is None:
                self._own = Session(self)
            self._own.reset()
            return self._own.generate(query=Query(prompt, [image]), **options).text

    # ---- what is in it ----

    def memory(self, n_ctx: int = 0) -> Memory:
        """What one session of n_ctx positions (0 = the default) needs, before any of it is allocated."""
        self._gate.usable()
        raw, err = _c.struct("eye_memory")(), errors.new_err()
        errors.check(_c.lib().eye_model_memory(self._handle, n_ctx, ctypes.byref(raw), err), err)
        return Memory(**{name: getattr(raw, name) for name in Memory.__dataclass_fields__})

    def image_rows(self, image: ImageLike) -> int:
        """Rows of the context that this picture takes."""
        with borrowed([image]) as array:
            return self._image_rows(array[0])

    def _image_rows(self, image: Any) -> int:
        self._gate.usable()
        return int(_c.lib().eye_model_image_rows(self._handle, ctypes.byref(image)))

    # ---- text ----

    def tokenize(self, text: str, *, special: bool = False, bos: bool = False) -> list[int]:
        """Text to ids. special: "<|im_end|>" in the text is that token; bos: with what the tokenizer puts around a whole text."""
        self._gate.usable()
        data = text.encode("utf-8", "replace")
        cap, n, err = len(data) + 8, ctypes.c_size_t(), errors.new_err()
        while True:
            ids = (ctypes.c_int32 * cap)()
            flags = (1 if special else 0) | (2 if bos else 0)
            errors.check(_c.lib().eye_model_tokenize(self._handle, data, len(data), flags, ids, cap, ctypes.byref(n), err), err)
            if n.value <= cap:
                return list(ids[: n.value])
            cap = n.value

    def detokenize(self, ids: Ids) -> str:
        """Ids to text, special tokens as they are written."""
        array = np.ascontiguousarray(ids, np.int32)
        pointer = array.ctypes.data_as(_IDS)
        return self._text(lambda *out: _c.lib().eye_model_detokenize(self._handle, pointer, array.size, *out))

    def chat_text(self, user: str, n_images: int = 0) -> str:
        """One user's turn in the model's chat template, ready for an answer; "<image>" marks each image's place."""
        data = text_bytes(user)
        return self._text(lambda *out: _c.lib().eye_model_chat_text(self._handle, data, n_images, *out))

    def _text(self, call: Callable[..., int]) -> str:
        self._gate.usable()
        cap, n, err = 256, ctypes.c_size_t(), errors.new_err()
        while True:
            out = ctypes.create_string_buffer(cap)
            errors.check(call(out, cap, ctypes.byref(n), err), err)
            if n.value <= cap:
                return out.raw[: n.value].decode("utf-8", "replace")
            cap = n.value


def _callbacks(o: Any, progress: Callable[[str, float], object] | None) -> Sequence[Any]:
    """Sets log and progress; returns the callbacks, which must live as long as the model: packing waits for its first session."""

    def on_log(_: Any, level: int, event: bytes, text: bytes) -> None:
        word = logging.INFO if _c.enum_word("eye_log_level", "EYE_LOG_", level) == "info" else logging.WARNING
        log.log(word, "%s: %s", event.decode(), text.decode("utf-8", "replace"))

    def on_progress(_: Any, what: bytes, done: float) -> None:
        if progress:
            progress(what.decode("utf-8", "replace"), done)

    o.log = _c.struct("eye_log_fn")(on_log)
    if progress:
        o.progress = _c.struct("eye_progress_fn")(on_progress)
    return [o.log, o.progress]


_default: dict[int, Model] = {}
_default_lock = threading.Lock()


def caption(image: ImageLike, prompt: str | None = None, **options: Unpack[Options]) -> str:
    """What the default model says about a picture. The model stays open for the next call; a process has its own."""
    with _default_lock:
        model = _default.get(os.getpid())
        if model is None:
            model = _default[os.getpid()] = Model()
    return model.caption(image, prompt, **options)
