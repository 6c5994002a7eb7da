"""Grammars: schemas of which answers are, compiled for a model's tokens, once each."""

from __future__ import annotations

import collections
import ctypes
import json
import threading
import weakref
from collections.abc import Mapping
from typing import Any, Union

from . import _c, errors
from ._run import Gate, free_here
from .images import text_bytes

Schema = Union[str, Mapping[str, Any]]  # JSON Schema: its text, or what json.loads makes of that
_KEPT = 16  # of a model, those used last


class Grammar:
    """One that is compiled. Who uses it holds it; freed with the object, or by its model's close()."""

    def __init__(self, gate: Gate, model: ctypes.c_void_p, text: bytes) -> None:
        self.handle = ctypes.c_void_p()
        err = errors.new_err()
        errors.check(_c.lib().eye_grammar_json_schema(model, text, ctypes.byref(self.handle), err), err)
        self.free = weakref.finalize(self, free_here, gate.pid, _c.lib().eye_grammar_free, self.handle, gate)


class Grammars:
    """A model's."""

    def __init__(self, gate: Gate, model: ctypes.c_void_p) -> None:
        self._gate, self._model = gate, model
        self._lock = threading.Lock()
        self._kept: collections.OrderedDict[bytes, Grammar] = collections.OrderedDict()
        self._all: weakref.WeakSet[Grammar] = weakref.WeakSet()  # those still held by someone else too

    def get(self, schema: Schema) -> Grammar:
        text = text_bytes(schema if isinstance(schema, str) else json.dumps(schema, ensure_ascii=False))
        with self._lock:
            self._gate.usable()
            grammar = self._kept.pop(text, None) or Grammar(self._gate, self._model, text)
            self._kept[text] = grammar  # behind the others: used last
            self._all.add(grammar)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return grammar

    def clear(self) -> None:
        with self._lock:
            for grammar in list(self._all):
                grammar.free()
            self._kept.clear()
