"""Questions in, answers out: every way to give a picture, streaming, options, prefixes, conversations, rows and logits by hand."""

import io
import pathlib

import eyelet
import numpy as np
import pytest


@pytest.fixture(scope="module")
def answer(model, demo):
    return model.caption(demo)


def test_caption_is_words(answer):
    assert len(answer.split()) >= 3


def test_every_way_to_give_a_picture_is_the_same(model, demo, answer):
    pixels = eyelet.load_image(demo)
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
    data = pathlib.Path(demo).read_bytes()
    for image in (pathlib.Path(demo), data, bytearray(data), memoryview(data), pixels):
        assert model.caption(image) == answer
    assert eyelet.caption(demo) == answer


def test_arrays_with_odd_strides(demo, session):
    pixels = eyelet.load_image(demo)
    rows = session.encode_image(pixels)
    wide = np.zeros((pixels.shape[0], pixels.shape[1] + 5, 3), np.uint8)
    wide[:, :-5] = pixels
    for same in (wide[:, :-5], np.asfortranarray(pixels), pixels[:, :, ::-1].copy()[:, :, ::-1], pixels[::-1].copy()[::-1]):
        assert np.array_equal(session.encode_image(same), rows)
    assert not np.array_equal(session.encode_image(pixels[:, ::-1]), rows)


def test_pil_pictures(model, demo, answer):
    image = pytest.importorskip("PIL.Image")
    with image.open(demo) as picture:
        assert model.caption(picture) == answer
    with image.open(demo) as picture:
        grey = picture.convert("L")
    assert model.caption(grey) == model.caption(grey.convert("RGB"))


def test_pil_orientation_is_applied(demo):
    image = pytest.importorskip("PIL.Image")
    with image.open(demo) as picture:
        exif = picture.getexif()
        exif[0x0112] = 6
        out = io.BytesIO()
        picture.save(out, "PNG", exif=exif)
    data = out.getvalue()
    with image.open(io.BytesIO(data)) as turned:
        mine = eyelet.load_image(turned)
        assert mine.shape[0] == turned.size[0]
    plain = eyelet.load_image(demo)
    assert mine.shape[:2] == plain.shape[1::-1]


def test_stream_is_the_answer(session, demo, answer):
    stream = session.stream(None, [demo])
    with pytest.raises(RuntimeError):
        stream.result  # noqa: B018
    pieces = list(stream)
    assert len(pieces) > 1
    assert "".join(pieces) == stream.result.text == answer


def test_result(session, demo, answer):
    r = session.generate(None, [demo], n_logprobs=2)
    assert r.text == answer and r.finish == "stop"
    assert r.n_image_tok == session.model.image_rows(demo) and r.n_prompt_tok >= r.n_image_tok
    assert r.timings.vision_us > 0 and r.timings.first_token_us > 0
    assert len(r.logprobs) == len(r.tokens)
    for token, (chosen, best, second) in zip(r.tokens, r.logprobs):
        assert chosen.token == token and 0 >= best.logprob >= second.logprob
        assert chosen.logprob <= best.logprob
    assert session.n_past > 0
    session.reset()
    assert session.n_past == 0


def test_options(session, demo):
    r = session.generate(None, [demo], n_predict=3)
    assert len(r.tokens) == 3 and r.finish == "length"
    session.reset()
    whole = session.generate(None, [demo], n_beams=1)
    word = whole.text.split()[2]
    session.reset()
    cut = session.generate(None, [demo], n_beams=1, stop=[word])
    assert cut.text == whole.text[: whole.text.index(word)]
    drawn = []
    for seed in (1, 1, 2, 3, 4):
        session.reset()
        drawn.append(session.generate(None, [demo], temperature=2.0, seed=seed).text)
    assert drawn[0] == drawn[1] and len(set(drawn)) > 1
    with pytest.raises(TypeError, match="temprature"):
        session.generate(None, [demo], temprature=1.0)


def test_by_hand_is_generate(session, demo):
    want = session.generate(None, [demo], n_beams=1).tokens
    session.reset()
    rows = session.encode_image(demo)
    info = session.model.info
    assert rows.dtype == np.float32 and rows.shape == (session.model.image_rows(demo), info.hidden)
    ids = session.assemble(None, [demo])
    assert (ids == eyelet.IMAGE_ROW).sum() == len(rows)
    logits = session.prefill(ids, rows)
    assert logits.shape == (info.n_vocab,) and logits.dtype == np.float32
    got = []
    while len(got) < len(want):
        got.append(int(np.argmax(logits)))
        logits = session.step(got[-1])
    assert got == want
    with pytest.raises(eyelet.ArgumentError):
        session.prefill(ids)
    with pytest.raises(eyelet.ArgumentError):
        session.prefill(ids, rows[:-1])


def test_tokens(model):
    text = "a man rides a horse"
    ids = model.tokenize(text)
    assert ids and all(isinstance(i, int) for i in ids)
    assert model.detokenize(ids).strip() == text
    assert model.detokenize(np.array(ids)).strip() == text
    assert model.tokenize("") == [] and model.detokenize([]) == ""
    many = "word " * 5000
    assert model.detokenize(model.tokenize(many)).strip() == many.strip()


def test_prefix_save_load(tiny, demo, tmp_path):
    with eyelet.Model(tiny) as m, m.session() as a, m.session() as b:
        want = a.generate("What is this? One word.", [demo], n_predict=6).tokens
        a.prefix("What is this?", [demo])
        n = a.n_past
        a.save(tmp_path / "prefix")
        b.load(tmp_path / "prefix")
        assert b.n_past == n
        r = b.generate(" One word.", n_predict=6)
        assert r.tokens == want and r.n_cached_tok > 0


def test_messages(tiny, demo):
    with eyelet.Model(tiny) as m, m.session() as s:
        plain = s.generate("What is this?", [demo], n_predict=4)
        s.reset()
        same = s.generate(query=eyelet.Query(messages=[{"role": "user", "text": "What is this?", "images": [demo]}]), n_predict=4)
        assert same.tokens == plain.tokens
        s.reset()
        longer = eyelet.Query(messages=[{"role": "user", "text": "What is this?", "images": [demo]},
                                        {"role": "assistant", "text": "A thing."}, {"role": "user", "text": "Sure?"}])
        assert s.generate(query=longer, n_predict=4).n_prompt_tok > plain.n_prompt_tok
        with pytest.raises(ValueError, match="robot"):
            s.generate(query=eyelet.Query(messages=[{"role": "robot", "text": "hm"}]))


def test_model_options(tiny):
    with eyelet.Model(tiny, n_ctx=512, n_threads=1, decoder_type="q8_0", cache_type="i8", fit="crop") as m:
        i = m.info
        assert (i.n_ctx, i.n_threads, i.decoder_type, i.cache_type, i.fit) == (512, 1, "q8_0", "i8", "crop")
        assert m.memory().total > m.memory(256).total > 0
        assert "<image>" in m.chat_text("What?", 1)
        with m.session(n_ctx=300) as s:
            assert s.n_ctx == 300
