"""One exception per status of the C API; the text is the library's line: where, what, expected, got, hint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _c

if TYPE_CHECKING:
    from .session import Result


class Error(Exception):
    """Base of all that follow. `status` is the C name, "EYE_E_CORRUPT"."""

    status = "EYE_OK"


class ArgumentError(Error, ValueError):
    """An argument is unusable."""

    status = "EYE_E_ARG"


class OutOfMemoryError(Error, MemoryError):
    """An allocation failed."""

    status = "EYE_E_NOMEM"


class FileError(Error, OSError):
    """The operating system refused: open, read, write, map."""

    status = "EYE_E_IO"


class CorruptError(Error):
    """Bytes contradict their format."""

    status = "EYE_E_CORRUPT"


class UnsupportedError(Error):
    """Valid, but nothing that eyelet can run."""

    status = "EYE_E_UNSUPPORTED"


class LimitError(Error):
    """Would exceed a configured bound: pixels, bytes, the context."""

    status = "EYE_E_LIMIT"


class CancelledError(Error):
    """cancel() was called. `result` is what a generation had so far, None for other calls."""

    status = "EYE_E_CANCELLED"
    result: Result | None = None


_BY_STATUS: list[type[Error]] = [
    Error, ArgumentError, OutOfMemoryError, FileError, CorruptError, UnsupportedError, LimitError, CancelledError,
]


def new_err() -> Any:
    return _c.struct("eye_err")()


def check(status: int, err: Any) -> None:
    """Raises what a status other than EYE_OK says."""
    if status:
        kind = _BY_STATUS[status] if status < len(_BY_STATUS) else Error
        raise kind(err.text.decode("utf-8", "replace") or f"status {status}")
