"""How a call into the library runs: one at a time per session, stoppable from another thread and by Ctrl-C, only in the process
that opened the model."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from . import _c, errors

T = TypeVar("T")


class Gate:
    """Who owns a handle of the library and may use it now, and the byte that stops what runs (eye_cancel_flag reads it)."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.flag = ctypes.c_ubyte(0)
        self.pid = os.getpid()
        self.closed = False
        self._busy = threading.Lock()

    def cancel_fn(self) -> Any:
        """eye_cancel_flag itself, as a callback: no Python runs, so the library asks it between any two steps for nothing."""
        return ctypes.cast(_c.lib().eye_cancel_flag, _c.struct("eye_cancel_fn"))

    def cancel_ctx(self) -> int:
        return ctypes.addressof(self.flag)

    def usable(self) -> None:
        if self.pid != os.getpid():
            raise RuntimeError(f"a {self.what} is of the process that opened it: its threads did not come along with fork(); open it here")
        if self.closed:
            raise ValueError(f"the {self.what} is closed")

    @contextlib.contextmanager
    def used(self, wait: bool = False) -> Iterator[None]:
        """Holds the handle for one call. A session does not wait: waiting for a stream that this thread reads itself would never
        end."""
        self.usable()
        if not self._busy.acquire(blocking=wait):
            raise RuntimeError(f"the {self.what} is in a call already (one at a time: make a session per thread, close streams)")
        try:
            self.usable()
            self.flag.value = 0
            yield
        finally:
            self._busy.release()

    def run(self, call: Callable[[], T]) -> T:
        """call(), in a way that Ctrl-C can stop: signals reach Python only while its main thread is not inside the library."""
        if threading.current_thread() is not threading.main_thread():
            return call()
        worker = Worker(call)
        worker.wait(self.flag)
        return worker.outcome[0]()


class Worker(Generic[T]):
    """A thread that makes one call. (Thread.join will not do to wait for it: interrupted by Ctrl-C, Python 3.11's takes the thread
    for finished, and who then freed its session would pull it away from under the call.)"""

    def __init__(self, call: Callable[[], T], then: Callable[[], object] = lambda: None) -> None:
        self.outcome: list[Callable[[], T]] = []
        self._running = threading.Lock()
        self._running.acquire()

        def work() -> None:
            self.outcome.append(caught(call))
            then()
            self._running.release()

        threading.Thread(target=work, name="eyelet", daemon=True).start()

    def wait(self, flag: ctypes.c_ubyte) -> None:
        """Until the call has returned, whatever happens: what interrupts sets the flag, and is raised in the end."""
        interrupt: BaseException | None = None
        while not self.outcome:
            try:
                self._running.acquire()
            except BaseException as e:
                flag.value, interrupt = 1, e
        if interrupt:
            raise interrupt


def caught(call: Callable[[], T]) -> Callable[[], T]:
    """Runs call(); what comes back gives its value or raises its exception, in whichever thread calls it."""
    try:
        value = call()
    except BaseException as e:  # KeyboardInterrupt included: it belongs to who waits
        error = e

        def fail() -> T:
            raise error

        return fail
    return lambda: value


def checked(gate: Gate, function: Callable[..., int], *arguments: Any) -> None:
    """One call of the library whose last argument is the error, under the gate's cancel byte."""

    def call() -> None:
        err = errors.new_err()
        errors.check(function(*arguments, err), err)

    gate.run(call)


def free_here(pid: int, free: Callable[[Any], None], handle: Any, needed: Any) -> None:
    """For finalizers. needed: what the library reads until then, kept alive by being here. A child of fork() must not free what the
    parent's threads are part of."""
    if os.getpid() == pid:
        free(handle)
    del needed
