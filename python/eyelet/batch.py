"""A batch: many requests at once over one stream of the model's weights, from any thread, each answered by a future."""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import ctypes
import itertools
import os
import queue
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Union

from . import _c, errors
from ._run import checked
from .images import ImageLike
from .session import Options, Query, Result, _asked, _borrowed_query, _options, _result

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .model import Model

_Pieces = Union["queue.SimpleQueue[str | None]", None]  # None in it: no more
_inside = threading.local()  # answering: this thread is in a callback of the library


@dataclass(frozen=True)
class BatchStats:
    """See struct eye_batch_stats."""

    n_slots: int
    n_queued: int
    n_active: int
    n_decoding: int
    kv_positions: int
    kv_used: int
    image_cache_bytes: int
    image_cache_cap: int
    prefix_cache_bytes: int
    prefix_cache_cap: int
    n_submitted: int
    n_done: int
    n_cancelled: int
    n_failed: int
    n_prompt_tok: int
    n_cached_tok: int
    n_tokens: int
    n_image_hits: int
    n_image_misses: int
    n_rounds: int
    n_rows: int
    vision_us: int
    decoder_us: int


class Answer(concurrent.futures.Future[Result]):
    """The answer that is to come: a future, so concurrent.futures.wait and as_completed take it, and asyncio.wrap_future."""

    def __init__(self, state: _State) -> None:
        super().__init__()
        self._batch = state
        self._id: int | None = None
        self.set_running_or_notify_cancel()

    def cancel(self) -> bool:
        """Ends the request soon; result() then raises eyelet.CancelledError, whose `result` is what there was. False: it is
        over."""
        if self.done() or self._id is None:
            return False
        return self._batch.cancel(self._id)


@dataclass
class _Request:
    answer: Answer
    pieces: _Pieces
    keep: Any  # the grammar
    pictures: contextlib.ExitStack  # borrowed by the library until the answer is there


class _State:
    """What a batch, its thread and the library's callbacks share. Knows no Batch: one that is forgotten ends its thread."""

    def __init__(self, handle: ctypes.c_void_p, keep: Any) -> None:
        self.handle: ctypes.c_void_p | None = handle
        self.keep = keep  # the model's gate: it outlives the batch
        self.pid = os.getpid()
        self.changed = threading.Condition()
        self.ended = False  # nobody may begin a call any more
        self.n_using = 0
        self.over = threading.Event()  # the batch is freed
        self.keys = itertools.count(1)
        self.requests: dict[int, _Request] = {}
        self.on_done = _c.struct("eye_done_fn")(self._on_done)
        self.on_text = _c.struct("eye_text_fn")(self._on_text)

    def work(self) -> None:
        """The thread that runs the batch, and frees it in the end: what is left is answered as cancelled from there."""
        _c.lib().eye_batch_run(self.handle, False)
        with self.changed:
            self.changed.wait_for(lambda: self.n_using == 0)
            handle, self.handle = self.handle, None
        _c.lib().eye_batch_free(handle)
        self.over.set()

    def stop(self) -> None:
        with self.changed:
            self.ended = True
            if self.handle and self.pid == os.getpid():
                _c.lib().eye_batch_stop(self.handle)

    @contextlib.contextmanager
    def used(self) -> Iterator[ctypes.c_void_p]:
        """For one call of the library; the batch is not freed meanwhile. Any number of threads at once."""
        if self.pid != os.getpid():
            raise RuntimeError("a batch is of the process that opened its model: open both here")
        with self.changed:
            if self.ended or self.handle is None:
                raise ValueError("the batch is closed")
            self.n_using += 1
            handle = self.handle
        try:
            yield handle
        finally:
            with self.changed:
                self.n_using -= 1
                self.changed.notify_all()

    def cancel(self, number: int) -> bool:
        try:
            with self.used() as handle:
                _c.lib().eye_batch_cancel(handle, number)
        except (RuntimeError, ValueError):
            return False
        return True

    # ---- from the library's threads ----

    def _on_text(self, key: int, text: bytes, n: int) -> bool:
        request = self.requests.get(key)
        if request and request.pieces:
            request.pieces.put(text[:n].decode("utf-8", "replace"))
        return False

    def _on_done(self, key: int, result: Any, status: int, err: Any) -> None:
        request = self.requests.pop(key)
        _inside.answering = True
        try:
            value = _result(result.contents)
            errors.check(status, err.contents)
            request.answer.set_result(value)
        except errors.CancelledError as e:
            e.result = value
            request.answer.set_exception(e)
        except BaseException as e:
            request.answer.set_exception(e)
        finally:
            _inside.answering = False
            request.pictures.close()
            if request.pieces:
                request.pieces.put(None)


def _wait(pid: int, over: threading.Event) -> None:
    if pid == os.getpid():
        over.wait()


class Batch:
    """Many requests at once. Each is answered with what session.generate gives for it alone, bit for bit; they come from any
    thread, at any time, and are worked on by a thread of the batch's own. Use it in a `with` block, or close() it: what is not
    answered by then ends as cancelled. What was forgotten ends with the object.

    The options are those of struct eye_batch_opts. Keys and values of n_slots * n_ctx positions are taken at once: say how many
    are needed. Open the model with n_parallel of about n_slots."""

    def __init__(self, model: Model, *, n_slots: int = 0, n_ctx: int = 0, n_beams: int = 0, max_queued: int = 0,
                 prefill_tok: int = 0, n_lanes: int = 0, image_cache_bytes: int = 0, prefix_cache_bytes: int = 0) -> None:
        self.model = model
        o = _c.struct("eye_batch_opts")(n_slots, n_ctx, n_beams, max_queued, prefill_tok, n_lanes, image_cache_bytes,
                                        prefix_cache_bytes)
        handle = ctypes.c_void_p()
        with model._gate.used(wait=True):  # packing listens to the model's cancel
            checked(model._gate, _c.lib().eye_batch_new, model._handle, ctypes.byref(o), ctypes.byref(handle))
        state = self._state = _State(handle, model._gate)
        # At the end of the program finalizers run last made first: stop, then wait for the thread, before the model is closed. The
        # thread holds the state, so before that its own finalizer has nothing to wait for.
        weakref.finalize(state, _wait, state.pid, state.over)
        self._stop = weakref.finalize(self, _State.stop, state)
        threading.Thread(target=state.work, name="eyelet-batch", daemon=True).start()
        model._batches.add(self)
        slots = self.stats().n_slots
        self._ahead = slots + min(slots, max_queued or slots)

    # ---- life ----

    def close(self) -> None:
        """Returns when the batch is freed. Fine twice. Not from a callback of an answer."""
        if self._state.pid != os.getpid():
            return
        if getattr(_inside, "answering", False):
            raise RuntimeError("a batch is not closed from a callback of its answers: they come from its own thread")
        self._stop()
        self._state.over.wait()

    def __enter__(self) -> Batch:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError("a batch does not travel between processes: open the model there")

    # ---- questions in, answers out ----

    def submit(self, text: str | None = None, images: Sequence[ImageLike] = (), *, query: Query | None = None,
               **options: Unpack[Options]) -> Answer:
        """Queues a question; its pictures are read and its prompt is made here, so what is wrong with them is raised at once.
        Raises LimitError when max_queued wait already."""
        return self._submit(_asked(text, images, query), options, None)

    def stream(self, text: str | None = None, images: Sequence[ImageLike] = (), *, query: Query | None = None,
               **options: Unpack[Options]) -> BatchStream:
        """The same, as an iterator over the pieces of the answer. It begins now; leaving or dropping the iterator cancels it. With
        beams all text comes at the end: n_beams=1."""
        pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        return BatchStream(self._submit(_asked(text, images, query), options, pieces), pieces)

    def map(self, queries: Iterable[Query], **options: Unpack[Options]) -> Iterator[Result]:
        """Answers in the order of the questions, of which only as many are taken ahead as keep the slots busy. The first one that
        fails raises, and cancels those behind it."""
        waiting: collections.deque[Answer] = collections.deque()
        try:
            for query in queries:
                waiting.append(self._submit(query, options, None))
                if len(waiting) >= self._ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for answer in waiting:
                answer.cancel()

    def _submit(self, query: Query, options: Options, pieces: _Pieces) -> Answer:
        state, err, number = self._state, errors.new_err(), ctypes.c_uint64()
        with state.used() as handle, contextlib.ExitStack() as stack:
            o, keep = _options(self.model, options)
            q = stack.enter_context(_borrowed_query(query))
            answer, key = Answer(state), next(state.keys)
            if pieces:
                o.on_text, o.on_text_ctx = state.on_text, key
            request = _c.struct("eye_batch_request")(ctypes.pointer(q), ctypes.pointer(o))
            request.on_done, request.ctx = state.on_done, key
            pictures = stack.pop_all()
            state.requests[key] = _Request(answer, pieces, keep, pictures)
            status = _c.lib().eye_batch_submit(handle, ctypes.byref(request), ctypes.byref(number), err)
            if status:
                del state.requests[key]
                pictures.close()
                errors.check(status, err)
            answer._id = number.value
            return answer

    def stats(self) -> BatchStats:
        """Now, and since the batch was made."""
        raw = _c.struct("eye_batch_stats")()
        with self._state.used() as handle:
            _c.lib().eye_batch_get_stats(handle, ctypes.byref(raw))
        return BatchStats(**{name: getattr(raw, name) for name in BatchStats.__dataclass_fields__})


class BatchStream(Iterator[str]):
    """The pieces of an answer. `answer` is its future; `result` is there when the last piece has been given."""

    def __init__(self, answer: Answer, pieces: queue.SimpleQueue[str | None]) -> None:
        self.answer = answer
        self._pieces = pieces

    def __next__(self) -> str:
        piece = self._pieces.get()
        if piece is not None:
            return piece
        self._pieces.put(None)
        self.answer.result()
        raise StopIteration

    def close(self) -> None:
        """Cancels the answer, if it is not at its end; returns when it is over."""
        self.answer.cancel()
        concurrent.futures.wait([self.answer])

    def __enter__(self) -> BatchStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.answer.cancel()

    @property
    def result(self) -> Result:
        if not self.answer.done():
            raise RuntimeError("the stream has not come to its end")
        return self.answer.result()
