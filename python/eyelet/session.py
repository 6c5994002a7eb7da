"""A session: one context of a model. Images and text in, text out, at once or piece by piece; or by hand, rows in and logits out."""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Union

import numpy as np
import numpy.typing as npt

from . import _c, errors
from ._run import Gate, Worker, checked, free_here
from .grammar import Schema
from .images import ImageLike, borrowed, text_bytes

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .model import Model

IMAGE_ROW = -1  # in a list of ids: one row of an image's features
_FLOATS = ctypes.POINTER(ctypes.c_float)
_IDS = ctypes.POINTER(ctypes.c_int32)
Ids = Union[Sequence[int], "npt.NDArray[np.int32]"]


class Options(TypedDict, total=False):
    """How an answer is chosen; what is left out has the C API's default: greedy, to the end of the answer or of the context."""

    n_predict: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    repeat_penalty: float
    frequency_penalty: float
    presence_penalty: float
    penalty_last_n: int
    seed: int
    stop: Sequence[str]
    n_beams: int
    length_penalty: float
    n_lookup: int
    ignore_eos: bool
    n_logprobs: int
    schema: Schema  # the answer is JSON of it


class Message(TypedDict, total=False):
    """One message of a conversation: role "system", "user" or "assistant", its text, its pictures (in front of the text)."""

    role: str
    text: str
    images: Sequence[ImageLike]


@dataclass(frozen=True)
class Query:
    """What is asked. `text` None is "Describe this image."; `raw` takes the text without a chat template, its special tokens
    recognised; `messages` is a whole conversation in place of text and images; see struct eye_query."""

    text: str | None = None
    images: Sequence[ImageLike] = ()
    messages: Sequence[Message] = ()
    strangers: bool = False
    raw: bool = False
    images_first: bool = False
    truncate: bool = False
    next_turn: bool = False
    reserve: int = 0


class Logprob(NamedTuple):
    token: int
    logprob: float


@dataclass(frozen=True)
class Timings:
    """Microseconds; 0 = did not happen."""

    preprocess_us: int
    vision_us: int
    projector_us: int
    prefill_us: int
    first_token_us: int
    decode_us: int
    queue_us: int


@dataclass(frozen=True)
class Result:
    text: str
    tokens: list[int]
    finish: str  # "stop", "length", "context", "caller"
    n_prompt_tok: int
    n_image_tok: int
    n_cached_tok: int
    truncated: bool
    timings: Timings
    logprobs: list[list[Logprob]] | None  # per token: the chosen one, then the most likely


def _options(model: Model, options: Options) -> tuple[Any, Any]:
    """struct eye_generate_opts, and what must live as long as it."""
    unknown = set(options) - set(Options.__annotations__)
    if unknown:
        raise TypeError(f"no such option: {', '.join(sorted(unknown))}; there are {', '.join(Options.__annotations__)}")
    o = _c.struct("eye_generate_opts")()
    stops = options.get("stop", ())
    stop = [text_bytes(s) for s in ([stops] if isinstance(stops, str) else stops)]
    array = (ctypes.c_char_p * len(stop))(*stop)
    if stop:
        o.stop, o.n_stop = array, len(stop)
    grammar = model._grammars.get(options["schema"]) if options.get("schema") is not None else None
    if grammar:
        o.grammar = grammar.handle
    for name, value in options.items():
        if name not in ("stop", "schema"):
            setattr(o, name, value)
    return o, (array, grammar)


@contextlib.contextmanager
def _borrowed_query(query: Query) -> Iterator[Any]:
    """struct eye_query with its pictures decoded, for the length of a with block."""
    if query.messages and (query.images or query.text is not None):
        raise errors.ArgumentError("a query has messages, or a text and images")
    images = [image for m in query.messages for image in m.get("images", ())] if query.messages else list(query.images)
    messages = (_c.struct("eye_message") * len(query.messages))()
    for out, m in zip(messages, query.messages):
        out.role = _c.enum_value("eye_message_role", "EYE_MESSAGE_", m["role"])
        out.text = text_bytes(m["text"]) if "text" in m else None
        out.n_images = len(m.get("images", ()))
    with borrowed(images) as array:
        q = _c.struct("eye_query")()
        q.text = None if query.text is None else text_bytes(query.text)
        if images:
            q.images, q.n_images = array, len(images)
        if query.messages:
            q.messages, q.n_messages = messages, len(messages)
        q.strangers, q.raw, q.truncate, q.next_turn = query.strangers, query.raw, query.truncate, query.next_turn
        q.position = _c.enum_value("eye_image_position", "EYE_IMAGES_", "first" if query.images_first else "template")
        q.reserve = query.reserve
        yield q


def _result(r: Any) -> Result:
    n, width = r.n_tokens, 1 + r.n_logprobs
    logprobs = None
    if r.logprobs:
        logprobs = [[Logprob(r.logprobs[i * width + k].token, r.logprobs[i * width + k].logprob) for k in range(width)] for i in range(n)]
    times = Timings(**{name: getattr(r.timings, name) for name in Timings.__dataclass_fields__})
    return Result(text=(r.text or b"").decode("utf-8", "replace"), tokens=[r.tokens[i] for i in range(n)],
                  finish=_c.enum_word("eye_finish", "EYE_FINISH_", r.finish), n_prompt_tok=r.n_prompt_tok, n_image_tok=r.n_image_tok,
                  n_cached_tok=r.n_cached_tok, truncated=bool(r.truncated), timings=times, logprobs=logprobs)


class Session:
    """One context (KV cache). One call at a time: a second one, from whichever thread, raises RuntimeError; cancel() may come from
    any thread at any time. Sessions of one model may be used by different threads; their runs take turns. Calls let go of the
    GIL. Use it in a `with` block, or close() it; what was forgotten is freed with the object."""

    def __init__(self, model: Model, *, n_ctx: int = 0, with_images: bool = False) -> None:
        self.model = model
        self._gate = Gate("session")
        opts = _c.struct("eye_session_opts")(n_ctx, with_images, self._gate.cancel_fn(), self._gate.cancel_ctx())
        handle = ctypes.c_void_p()
        with model._gate.used(wait=True):  # packing listens to the model's cancel
            checked(model._gate, _c.lib().eye_session_new, model._handle, ctypes.byref(opts), ctypes.byref(handle))
        self._handle = handle
        self._free = weakref.finalize(self, free_here, self._gate.pid, _c.lib().eye_session_free, handle, (self._gate, model._gate))
        model._sessions.add(self)

    # ---- life ----

    def close(self) -> None:
        """Frees the context. Fine twice."""
        if self._gate.closed or self._gate.pid != os.getpid():
            return
        with self._gate.used():
            self._gate.closed = True
            self._free()

    def cancel(self) -> None:
        """Stops the call that runs, which raises CancelledError; nothing, if none does. From any thread."""
        self._gate.flag.value = 1

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError("a session does not travel between processes: open the model there")

    @property
    def n_ctx(self) -> int:
        """Positions of the context."""
        self._gate.usable()
        return int(_c.lib().eye_session_n_ctx(self._handle))

    @property
    def n_past(self) -> int:
        """Positions in use."""
        self._gate.usable()
        return int(_c.lib().eye_session_n_past(self._handle))

    def reset(self) -> None:
        """Forget the context."""
        with self._gate.used():
            _c.lib().eye_session_reset(self._handle)

    # ---- a question in, an answer out ----

    def _generate(self, query: Query, options: Options, piece: Callable[[str], bool] | None) -> Result:
        """In the calling thread. piece gets the text as it comes and returns True to stop."""
        o, keep = _options(self.model, options)

        def on_text(_: Any, text: bytes, n: int) -> bool:
            return piece(text[:n].decode("utf-8", "replace")) if piece else False

        callback = _c.struct("eye_text_fn")(on_text)
        if piece:
            o.on_text = callback
        out, err = _c.struct("eye_result")(), errors.new_err()
        with _borrowed_query(query) as q:
            status = _c.lib().eye_session_generate(self._handle, ctypes.byref(q), ctypes.byref(o), ctypes.byref(out), err)
        del keep, callback
        try:
            errors.check(status, err)
        except errors.CancelledError as e:
            e.result = _result(out)
            raise
        return _result(out)

    def generate(self, text: str | None = None, images: Sequence[ImageLike] = (), *, query: Query | None = None,
                 **options: Unpack[Options]) -> Result:
        """Runs a question at the end of the context, then answers it. `query` in place of text and images has every choice.
        Raises ArgumentError, LimitError (does not fit the context), CancelledError (with what there was as its result)."""
        asked = _asked(text, images, query)
        with self._gate.used():
            return self._gate.run(lambda: self._generate(asked, options, None))

    def stream(self, text: str | None = None, images: Sequence[ImageLike] = (), *, query: Query | None = None,
               **options: Unpack[Options]) -> Stream:
        """The same, as an iterator over the pieces of the answer, each of whole characters. It runs from the first piece asked
        for; leaving the loop, closing or dropping the iterator stops it."""
        return Stream(self, _asked(text, images, query), options)

    # ---- keeping what was computed ----

    def prefix(self, text: str | None = None, images: Sequence[ImageLike] = (), *, query: Query | None = None) -> None:
        """Prefills images and first words; the next generate() brings the rest: doc/CACHE.md."""
        asked = _asked(text, images, query)
        with self._gate.used(), _borrowed_query(asked) as q:
            checked(self._gate, _c.lib().eye_session_prefix, self._handle, ctypes.byref(q))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the context to a file."""
        with self._gate.used():
            checked(self._gate, _c.lib().eye_session_save, self._handle, text_bytes(path))

    def load(self, path: str | os.PathLike[str]) -> None:
        """Reads it back, in place of what the context holds."""
        with self._gate.used():
            checked(self._gate, _c.lib().eye_session_load, self._handle, text_bytes(path))

    # ---- by hand ----

    def encode_image(self, image: ImageLike) -> npt.NDArray[np.float32]:
        """A picture as the decoder's rows: [rows, hidden] float32."""
        with self._gate.used(), borrowed([image]) as array:
            rows = self.model._image_rows(array[0])
            out = np.empty((rows, self.model.info.hidden), np.float32)
            checked(self._gate, _c.lib().eye_session_encode_image, self._handle, array, out.ctypes.data_as(_FLOATS), None)
            return out

    def assemble(self, text: str | None = None, images: Sequence[ImageLike] = (), *,
                 query: Query | None = None) -> npt.NDArray[np.int32]:
        """A question's ids, int32; IMAGE_ROW stands once for each row of each image, in order."""
        asked = _asked(text, images, query)
        n, err = ctypes.c_size_t(), errors.new_err()
        with self._gate.used(), _borrowed_query(asked) as q:
            ids = np.empty(self.n_ctx, np.int32)
            status = _c.lib().eye_session_assemble(self._handle, ctypes.byref(q), ids.ctypes.data_as(_IDS), ids.size, ctypes.byref(n),
                                                   None, err)
            errors.check(status, err)
            return ids[: n.value].copy()

    def prefill(self, ids: Ids, image_rows: npt.NDArray[np.float32] | None = None, *,
                logits: bool = True) -> npt.NDArray[np.float32] | None:
        """ids through the decoder at the end of the context; the logits of the last one, [n_vocab] float32 (None if not wanted).
        image_rows [number of IMAGE_ROW in ids, hidden]: what encode_image gave, one under another."""
        array = np.ascontiguousarray(ids, np.int32)
        wanted = int((array == IMAGE_ROW).sum())
        rows = None
        if image_rows is not None:
            rows = np.ascontiguousarray(image_rows, np.float32)
        if wanted and (rows is None or rows.shape != (wanted, self.model.info.hidden)):
            got = "none" if rows is None else str(list(rows.shape))
            raise errors.ArgumentError(f"image_rows must be [{wanted}, {self.model.info.hidden}] for these ids, got {got}")
        out = np.empty(self.model.info.n_vocab, np.float32) if logits else None
        with self._gate.used():
            checked(self._gate, _c.lib().eye_session_prefill, self._handle, array.ctypes.data_as(_IDS), array.size,
                    rows.ctypes.data_as(_FLOATS) if wanted and rows is not None else None,
                    out.ctypes.data_as(_FLOATS) if out is not None else None)
        return out

    def step(self, token: int) -> npt.NDArray[np.float32]:
        """One token: the logits after it, [n_vocab] float32. Bit for bit what prefill gives."""
        out, err = np.empty(self.model.info.n_vocab, np.float32), errors.new_err()
        with self._gate.used():
            errors.check(_c.lib().eye_session_step(self._handle, token, out.ctypes.data_as(_FLOATS), err), err)
        return out


def _asked(text: str | None, images: Sequence[ImageLike], query: Query | None) -> Query:
    if query is None:
        return Query(text, images)
    if text is not None or len(images):
        raise errors.ArgumentError("give a query, or a text and images")
    return query


class Stream(Iterator[str]):
    """The pieces of an answer. `result` is there when the last one has been given. Belongs to the thread that reads it."""

    def __init__(self, session: Session, query: Query, options: Options) -> None:
        self._result: list[Result] = []
        self._pieces = _pieces(session, query, options, self._result)

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        """Stops the answer, if it is not at its end; returns when the session is free for another call."""
        self._pieces.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def result(self) -> Result:
        if not self._result:
            raise RuntimeError("the stream has not come to its end")
        return self._result[0]


def _pieces(session: Session, query: Query, options: Options, result: list[Result]) -> Generator[str, None, None]:
    """The generator behind Stream: the library runs in a thread of its own and hands pieces over; dropping the generator ends it."""
    handed: queue.SimpleQueue[str | None] = queue.SimpleQueue()  # None: no more

    def piece(text: str) -> bool:
        handed.put(text)
        return False

    with session._gate.used():
        worker = Worker(lambda: session._generate(query, options, piece), lambda: handed.put(None))
        try:
            while (text := handed.get()) is not None:
                yield text
            result.append(worker.outcome[0]())
        finally:
            session._gate.flag.value = 1
            worker.wait(session._gate.flag)
