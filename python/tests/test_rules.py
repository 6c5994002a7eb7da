"""What must not go wrong: errors by status, life and death of handles, threads, cancelling, signals, fork, pickles."""

import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref

import eyelet
import numpy as np
import pytest


def test_errors_by_status(tmp_path, model, demo):
    with pytest.raises(eyelet.FileError, match="nowhere"):
        eyelet.Model(tmp_path / "nowhere.gguf")
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises((eyelet.CorruptError, eyelet.UnsupportedError)):
        eyelet.Model(tmp_path / "bad.gguf")
    with pytest.raises(OSError):
        model.caption(tmp_path / "no.jpg")
    with pytest.raises(eyelet.CorruptError):
        with open(demo, "rb") as f:
            model.caption(f.read()[:2000])
    with pytest.raises(eyelet.UnsupportedError):
        model.caption(b"neither one nor the other")
    with pytest.raises(eyelet.ArgumentError, match="fit"):
        eyelet.Model(fit="sideways")
    for bad in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError):
            model.caption(bad)
    with pytest.raises(TypeError):
        model.caption(12)
    with pytest.raises(eyelet.ArgumentError, match="NUL"):
        model.chat_text("a\0b")
    assert issubclass(eyelet.FileError, eyelet.Error) and eyelet.FileError.status == "EYE_E_IO"


def test_too_long_is_a_limit(tiny):
    with eyelet.Model(tiny) as m, m.session(n_ctx=64) as s:
        with pytest.raises(eyelet.LimitError, match="63"):
            s.generate("word " * 500)
        assert s.generate(query=eyelet.Query("word " * 500, truncate=True), n_predict=1).truncated


def test_closed_is_closed(model):
    s = model.session()
    s.close()
    s.close()
    for call in (s.reset, lambda: s.n_past, lambda: s.step(1), lambda: s.generate("x"), lambda: next(s.stream("x"))):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_closing_a_model_closes_its_sessions(tiny):
    m = eyelet.Model(tiny)
    s = m.session()
    m.close()
    m.close()
    for call in (s.reset, m.session, lambda: m.tokenize("x"), m.memory):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_what_is_forgotten_is_freed_in_order(tiny):
    m = eyelet.Model(tiny)
    m._own = m.session()  # a cycle: the order in which its parts are finalized is not ours
    s = m.session()
    freed = [m._free, m._own._free, s._free]
    seen = weakref.ref(m)
    del m, s
    gc.collect()
    assert seen() is None and not any(f.alive for f in freed)


def test_one_call_at_a_time(session, demo):
    stream = session.stream(None, [demo])
    next(stream)
    for call in (session.reset, lambda: session.generate("x"), session.close, lambda: next(session.stream("x"))):
        with pytest.raises(RuntimeError, match="in a call"):
            call()
    stream.close()
    session.reset()
    assert session.generate(None, [demo]).finish == "stop"


def test_dropping_a_stream_stops_it(tiny):
    with eyelet.Model(tiny) as m, m.session() as s:
        for _ in range(50):  # on a busy machine an answer may be there, whole, before its second piece is read
            for i, _ in enumerate(s.stream("Go on.", ignore_eos=True)):
                if i == 2:
                    break
            past = s.n_past
            s.reset()
            if past < s.n_ctx - 100:
                break
        assert 0 < past < s.n_ctx - 100  # stopped, not run to the end of the context


def test_cancel(tiny):
    with eyelet.Model(tiny) as m, m.session() as s:
        s.cancel()  # nothing runs: nothing happens
        done = threading.Event()

        def cancel():  # again and again: one that falls between two answers does nothing
            while not done.wait(0.05):
                s.cancel()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        with pytest.raises(eyelet.CancelledError) as e:
            while True:
                s.reset()
                s.generate("Go on.", ignore_eos=True)
        done.set()
        canceller.join()
        assert e.value.result is None or isinstance(e.value.result, eyelet.Result)
        assert s.generate(query=eyelet.Query("And now?", next_turn=True), n_predict=2).tokens is not None


def test_ctrl_c(tiny):
    with eyelet.Model(tiny) as m, m.session() as s:
        threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            while True:
                s.reset()
                s.generate("Go on.", ignore_eos=True)
        s.reset()
        assert s.generate("Hello", n_predict=1).tokens is not None


def test_calls_let_go_of_the_gil(tiny):
    """Python counts on while the library works: were the GIL held, the counter would stand still for the whole call."""
    ticks, done = [], threading.Event()

    def count():
        while not done.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.001)

    inside = 0
    with eyelet.Model(tiny) as m, m.session() as s:
        counter = threading.Thread(target=count)
        counter.start()
        give_up = time.monotonic() + 20  # on a busy machine the counter may not get a core during a call or two
        while inside <= 3 and time.monotonic() < give_up:
            begin = time.monotonic()
            s._generate(eyelet.Query("Go on."), {"ignore_eos": True, "n_predict": 1500}, None)  # in this thread: no help by another
            end = time.monotonic()
            s.reset()
            inside = sum(begin < t < end for t in ticks)  # of this call alone
        done.set()
        counter.join()
    assert inside > 3, f"{inside} ticks in {end - begin:.3f} s"


def test_threads_share_a_model(model, demo):
    want, got = model.caption(demo), []

    def work():
        with model.session() as s:
            for _ in range(3):
                s.reset()
                got.append(s.generate(None, [demo]).text)
        got.append(model.caption(demo))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert got == [want] * 16


def test_does_not_travel(model, session):
    for thing in (model, session):
        with pytest.raises(TypeError, match="process"):
            pickle.dumps(thing)


def test_a_forked_child_is_told(tmp_path):
    program = """
import os, sys, eyelet
m = eyelet.Model()
s = m.session()
pid = os.fork()
if pid == 0:
    for call in (lambda: m.tokenize("x"), lambda: s.generate("x"), s.reset):
        try:
            call()
            os._exit(3)
        except RuntimeError as e:
            assert "fork" in str(e), e
    m.close()
    sys.exit(0)  # finalizers run: they must not free what the parent uses, nor wait for threads that are not here
assert os.waitpid(pid, 0)[1] == 0
s.reset()
print("parent", len(m.tokenize("x")) > 0)
"""
    try:
        eyelet.default_model()
    except eyelet.FileError:
        pytest.skip("no default model")
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert out.returncode == 0 and out.stdout == "parent True\n", out.stderr


def test_warnings_go_to_logging(tmp_path, model, demo, caplog):
    (tmp_path / "file").write_text("not a folder")
    with caplog.at_level("INFO", logger="eyelet"), eyelet.Model(model.path, cache_dir=str(tmp_path / "file")) as m:
        m.caption(demo)
    assert any(r.name == "eyelet" for r in caplog.records)


def test_progress(tiny):
    seen = []
    with eyelet.Model(tiny, progress=lambda what, done: seen.append((what, done))) as m, m.session():
        pass
    assert seen and seen[-1][1] == 1.0 and all(0 <= d <= 1 for _, d in seen)
