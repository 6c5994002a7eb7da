"""Many questions at once: futures, streams, order, errors, endings; and answers that are JSON, alone and in a batch."""

import asyncio
import concurrent.futures
import gc
import json
import subprocess
import sys
import threading

import eyelet
import pytest

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 3, "maximum": 17},
                                           "kind": {"enum": ["photo", "drawing"]}}, "required": ["n", "kind"]}


def holds(text):
    value = json.loads(text)
    return set(value) == {"n", "kind"} and 3 <= value["n"] <= 17 and value["kind"] in ("photo", "drawing")


@pytest.fixture(scope="module")
def small(tiny):
    with eyelet.Model(tiny, n_parallel=4, n_ctx=512) as m:
        yield m


@pytest.fixture
def batch(small):
    with eyelet.Batch(small, n_slots=4) as b:
        yield b


# ---- answers that are JSON ----


def test_a_schema(small):
    with small.session() as s:
        for seed in range(6):
            s.reset()
            schema = SCHEMA if seed % 2 else json.dumps(SCHEMA)
            r = s.generate("What is there?", schema=schema, temperature=2.0, seed=seed, n_predict=60)
            assert r.finish == "stop" and holds(r.text)
        assert len(small._grammars._kept) == 1
        s.reset()
        assert isinstance(json.loads(s.generate("And?", schema={"type": "object"}, temperature=2.0, n_predict=60).text), dict)
        s.reset()
        assert holds("".join(s.stream("And?", schema=SCHEMA, n_predict=60)))


def test_a_caption_of_a_schema(model, demo):
    assert holds(model.caption(demo, schema=SCHEMA))


def test_schemas_that_are_refused(small):
    with small.session() as s:
        with pytest.raises(eyelet.UnsupportedError, match="not"):
            s.generate("x", schema={"not": {}})
        with pytest.raises(eyelet.CorruptError):
            s.generate("x", schema="{")
        with pytest.raises(TypeError):
            s.generate("x", schema=object())
        with pytest.raises(eyelet.ArgumentError, match="beams"):
            s.generate("x", schema=SCHEMA, n_beams=2)
        assert s.generate("x", n_predict=1).tokens is not None


def test_grammars_end_with_their_model(tiny):
    m = eyelet.Model(tiny)
    with m.session() as s:
        for i in range(20):
            s.reset()
            s.generate("x", schema={"const": i}, n_predict=8)
    held = m._grammars.get({"const": 19})
    assert len(m._grammars._kept) == 16
    m.close()
    assert not held.free.alive
    with pytest.raises(ValueError, match="closed"):
        m._grammars.get(SCHEMA)


# ---- batches ----


def test_answers_are_those_of_a_session(small, batch, demo):
    asked = [("What is this?", [demo]), ("Go on.", []), ("What is this?", [demo]), ("And then?", [])] * 2
    options = [{"n_predict": 9, "seed": i, "temperature": 1.5 if i % 3 else 0.0, "n_logprobs": 2, "n_beams": 1}
               for i in range(len(asked))]
    answers = [batch.submit(text, images, **o) for (text, images), o in zip(asked, options)]
    with small.session() as s:
        for (text, images), o, answer in zip(asked, options, answers):
            s.reset()
            want, got = s.generate(text, images, **o), answer.result(60)
            assert (got.text, got.tokens, got.logprobs, got.finish) == (want.text, want.tokens, want.logprobs, want.finish)
    stats = batch.stats()
    assert stats.n_slots == 4 and stats.n_done == stats.n_submitted == len(asked) and stats.n_image_misses >= 1


def test_from_many_threads(batch):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        texts = list(pool.map(lambda i: batch.submit(f"Number {i % 4}?", n_predict=5, n_beams=1).result(60).text, range(32)))
    assert texts == texts[:4] * 8
    answers = [batch.submit("Go on.", n_predict=i % 4 + 1, ignore_eos=True) for i in range(9)]
    assert {len(a.result().tokens) for a in concurrent.futures.as_completed(answers, 60)} == {1, 2, 3, 4}


def test_map_keeps_the_order(batch):
    taken = []

    def queries():
        for i in range(30):
            taken.append(i)
            yield eyelet.Query(f"Number {i}?")

    with_ahead = batch.map(queries(), n_predict=3, ignore_eos=True)
    first = next(with_ahead)
    assert len(taken) <= 8
    rest = list(with_ahead)
    assert len(rest) == 29 and all(len(r.tokens) == 3 for r in [first, *rest])
    with pytest.raises(eyelet.LimitError):
        list(batch.map([eyelet.Query("word " * 3000)]))


def test_streams(batch):
    stream = batch.stream("Go on.", n_predict=12, ignore_eos=True, n_beams=1)
    pieces = list(stream)
    assert "".join(pieces) == stream.result.text and list(stream) == []
    with batch.stream("Go on.", ignore_eos=True, n_beams=1) as stopped:
        next(stopped)
    with pytest.raises(eyelet.CancelledError) as e:
        stopped.answer.result(60)
    assert e.value.result.tokens


def test_schemas_in_a_batch(batch):
    answers = [batch.submit("What is there?", schema=SCHEMA, temperature=2.0, seed=i, n_predict=60) for i in range(8)]
    assert all(holds(a.result(60).text) for a in answers)


def test_cancel(batch):
    answers = [batch.submit("Go on.", ignore_eos=True) for _ in range(6)]  # two of them wait
    assert all(a.cancel() for a in answers)
    for a in answers:
        with pytest.raises(eyelet.CancelledError):
            a.result(60)
    assert not answers[0].cancel() and batch.stats().n_cancelled == 6


def test_asyncio(batch):
    async def ask():
        return await asyncio.gather(*(asyncio.wrap_future(batch.submit("Go on.", n_predict=2, ignore_eos=True)) for _ in range(5)))

    assert [len(r.tokens) for r in asyncio.run(ask())] == [2] * 5


def test_what_is_wrong_is_said_at_once(small, batch, tmp_path):
    with pytest.raises(OSError):
        batch.submit("x", [tmp_path / "none.jpg"])
    with pytest.raises(eyelet.UnsupportedError):
        batch.submit("x", schema={"not": {}})
    with pytest.raises(TypeError, match="temprature"):
        batch.submit("x", temprature=1)
    with pytest.raises(eyelet.ArgumentError, match="n_slots"):
        eyelet.Batch(small, n_slots=1000)
    assert not batch._state.requests
    with eyelet.Batch(small, n_slots=1, max_queued=1) as b:
        answers = []
        with pytest.raises(eyelet.LimitError):
            for _ in range(50):
                answers.append(b.submit("Go on.", ignore_eos=True))
        assert answers


def whole_or_cancelled(answer):
    """It may be over before this thread gets so far."""
    try:
        assert answer.result(60).finish == "context"
    except eyelet.CancelledError as error:
        assert len(error.result.tokens) < 512


def test_closing(tiny):
    m = eyelet.Model(tiny, n_ctx=512)
    b, seen = eyelet.Batch(m, n_slots=2), []
    answers = [b.submit("Go on.", ignore_eos=True) for _ in range(5)]
    answers[0].add_done_callback(lambda a: seen.append(pytest.raises(RuntimeError, b.close)))
    m.close()
    b.close()
    for a in answers:
        whole_or_cancelled(a)
    assert len(seen) == 1 and not answers[1].cancel()
    for call in (b.stats, lambda: b.submit("x")):
        with pytest.raises(ValueError, match="closed"):
            call()


def test_a_forgotten_batch_ends(small):
    b = eyelet.Batch(small, n_slots=1)
    over, answer = b._state.over, b.submit("Go on.", ignore_eos=True)
    del b
    gc.collect()
    assert over.wait(60)
    whole_or_cancelled(answer)
    assert not any(t.name == "eyelet-batch" and t.is_alive() for t in threading.enumerate())


def test_a_program_may_end_in_the_middle(tiny):
    program = f"""
import eyelet
m = eyelet.Model({tiny!r}, n_ctx=512)
b = eyelet.Batch(m, n_slots=2)
answers = [b.submit("Go on.", ignore_eos=True) for _ in range(4)]
print("end")
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert out.returncode == 0 and out.stdout == "end\n", out.stderr


# ---- thumbnails ----


def test_thumbnails(demo):
    data = eyelet.thumbnail(demo, 64)
    small = eyelet.load_image(data)
    assert max(small.shape[:2]) == 64 and len(data) < 20000
    assert eyelet.load_image(eyelet.thumbnail(small, 160)).shape == small.shape
    with pytest.raises(eyelet.ArgumentError):
        eyelet.thumbnail(demo, 0)
