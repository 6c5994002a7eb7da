"""`eyelet serve` and the official `openai` client, unchanged.

Usage: serve_openai.py EYELET [MODEL]      needs: pip install openai

Starts the server on a free port (the default model where none is named) and asks what programs ask: a chat about a picture, the same as
a stream, log probabilities, stop strings, seeds, many at once, completions, models, errors as the client's exceptions, a key.
Prints one line per comparison and ends with "N passed, N failed".
"""
import base64
import concurrent.futures
import json
import os
import subprocess
import sys
import time
import urllib.request

import openai

HERE = os.path.dirname(os.path.abspath(__file__))
IMAGE = os.path.join(HERE, "..", "..", "doc", "demo.jpg")
KEY = "sk-test-0123456789"


class Server:
    def __init__(self, eyelet, *args):
        self.process = subprocess.Popen([eyelet, "serve", "--port", "0", "--json", "-q", *args], stdout=subprocess.PIPE, text=True)
        self.url = json.loads(self.process.stdout.readline())["url"]
        for _ in range(600):
            try:
                urllib.request.urlopen(self.url + "/health")
                return
            except urllib.error.HTTPError as e:
                assert e.code == 503 and "error" in json.load(e)
                time.sleep(0.05)
        raise TimeoutError("the model does not load")

    def client(self, **kw):
        return openai.OpenAI(base_url=self.url + "/v1", **{"api_key": "none", "max_retries": 0, **kw})

    def metric(self, name, key=None):
        request = urllib.request.Request(self.url + "/metrics", headers={"Authorization": f"Bearer {key}"} if key else {})
        for line in urllib.request.urlopen(request).read().decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise KeyError(name)

    def close(self):
        self.process.terminate()
        return self.process.wait(20)


class Suite:
    passed = failed = 0

    def check(self, ok, text):
        print(("ok   " if ok else "FAIL ") + text, flush=True)
        self.passed += bool(ok)
        self.failed += not ok

    def raises(self, kind, text, call, **has):
        try:
            call()
        except kind as e:
            got = {k: getattr(e, k) for k in has}
            self.check(got == has and isinstance(e.message, str), f"{text}: {kind.__name__} {got}")
        except Exception as e:  # noqa: BLE001
            self.check(False, f"{text}: {type(e).__name__}, not {kind.__name__}: {e}")
        else:
            self.check(False, f"{text}: no {kind.__name__}")


def picture(as_string=False):
    with open(IMAGE, "rb") as f:
        url = "data:image/jpeg;base64," + base64.b64encode(f.read()).decode()
    return {"type": "image_url", "image_url": url if as_string else {"url": url}}


def about(*parts):
    return [{"role": "user", "content": list(parts)}]


def answers(s, c):
    ask = lambda **kw: c.chat.completions.create(**{"model": "any", "messages": about(picture()), **kw})  # noqa: E731
    r = ask(extra_body={"n_beams": 1})
    text = r.choices[0].message.content
    s.check(len(text) > 10 and r.choices[0].message.role == "assistant" and r.choices[0].finish_reason == "stop", f"chat: {text!r}")
    s.check(r.usage.total_tokens == r.usage.prompt_tokens + r.usage.completion_tokens, f"usage: {r.usage.total_tokens} tokens")
    s.check(r.model_extra["timings"]["predicted_n"] == r.usage.completion_tokens, "timings")
    s.check(ask(messages=about(picture(True)), extra_body={"n_beams": 1}).choices[0].message.content == text, "image_url as a string")
    said, usage, roles, ends = "", None, [], []
    for chunk in ask(stream=True, stream_options={"include_usage": True}, extra_body={"n_beams": 1}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            said += choice.delta.content or ""
            roles += [choice.delta.role] if choice.delta.role else []
            ends += [choice.finish_reason] if choice.finish_reason else []
    s.check(said == text and roles == ["assistant"] and ends == ["stop"], f"stream: {said!r}")
    s.check(usage.completion_tokens == r.usage.completion_tokens, "usage of a stream")
    with c.chat.completions.stream(model="any", messages=about(picture()), extra_body={"n_beams": 1}) as stream:
        s.check(stream.get_final_completion().choices[0].message.content == text, "the client's stream helper")
    r = ask(logprobs=True, top_logprobs=3, max_tokens=5)
    lp = r.choices[0].logprobs.content
    s.check(len(lp) == 5 and all(len(t.top_logprobs) == 3 and t.logprob <= 0 for t in lp), "logprobs")
    s.check("".join(t.token for t in lp) == r.choices[0].message.content and r.choices[0].finish_reason == "length", "their tokens")
    s.check(all(bytes(t.bytes).decode() == t.token for t in lp if t.bytes is not None), "their bytes")
    word = text.split()[2]
    s.check(ask(stop=word, extra_body={"n_beams": 1}).choices[0].message.content == text[:text.index(word)], f"stop before {word!r}")
    draw = lambda seed: ask(temperature=1.5, seed=seed, max_completion_tokens=8).choices[0].message.content  # noqa: E731
    s.check(draw(7) == draw(7), "the same seed, the same answer")
    s.check(len({draw(i) for i in range(6)}) > 1, "other seeds, other answers")
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda _: ask(extra_body={"n_beams": 1}).choices[0].message.content, range(32)))
    s.check(set(got) == {text}, "16 at once, the same answer")
    r = c.completions.create(model="any", prompt="two people are", max_tokens=4, logprobs=2)
    lp = r.choices[0].logprobs
    s.check("".join(lp.tokens) == r.choices[0].text and len(lp.top_logprobs[0]) == 2, f"completion: {r.choices[0].text!r}")
    parts = [k.choices[0].text for k in c.completions.create(model="any", prompt="two people are", max_tokens=4, stream=True,
                                                             extra_body={"n_beams": 1})]  # as with log probabilities
    s.check("".join(parts) == r.choices[0].text, "completion as a stream")


def errors(s, c):
    ask = lambda **kw: c.chat.completions.create(**{"model": "any", "messages": about(picture()), **kw})  # noqa: E731
    bad = openai.BadRequestError
    s.raises(bad, "an unknown part", lambda: ask(messages=about({"type": "image", "data": "x"})), status_code=400,
             code="unknown_image_field")
    s.raises(bad, "an unknown image field", lambda: ask(extra_body={"images": ["x"]}), code="unknown_image_field", param="images")
    s.raises(bad, "not a picture", lambda: ask(messages=about({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}})),
             code="invalid_image")
    s.raises(bad, "a remote picture", lambda: ask(messages=about({"type": "image_url", "image_url": {"url": "http://127.0.0.1/"}})),
             code="remote_image")
    s.raises(bad, "too long", lambda: ask(messages=[{"role": "user", "content": "a b c " * 40000}]), code="context_length_exceeded")
    s.raises(bad, "no messages", lambda: ask(messages=[]), param="messages")
    s.raises(bad, "temperature", lambda: ask(temperature=-1), param="temperature")
    s.raises(bad, "tools", lambda: ask(tools=[{"type": "function", "function": {"name": "f"}}]), param="tools")
    s.raises(openai.NotFoundError, "a model that is not here", lambda: c.models.retrieve("other"), code="model_not_found")
    s.raises(openai.NotFoundError, "a route that is not here", lambda: c.embeddings.create(model="m", input="x"), status_code=404)
    s.raises(openai.APIStatusError, "a body too large", lambda: ask(messages=[{"role": "user", "content": "x" * (40 << 20)}]),
             status_code=413, code="body_too_large")
    s.check(ask(max_tokens=2).choices[0].message.content, "the next one is answered")


def run(eyelet, *model):
    s = Suite()
    server = Server(eyelet, *model)
    c = server.client()
    models = c.models.list().data
    one = c.models.retrieve(models[0].id)
    s.check(len(models) == 1 and models[0].object == "model" and one.id == models[0].id, f"models: {one.id}")
    answers(s, c)
    errors(s, c)
    s.check(server.close() == 0, "ends with status 0")
    server = Server(eyelet, "--api-key", KEY, *model)
    s.raises(openai.AuthenticationError, "another key", lambda: server.client(api_key="sk-other").models.list(), code="invalid_api_key")
    s.check(server.client(api_key=KEY).models.list().data, "the right key")
    s.check(server.metric("eyelet_ready", KEY) == 1, "metrics with the key")
    server.close()
    return s


if __name__ == "__main__":
    suite = run(sys.argv[1], *(["-m", sys.argv[2]] if len(sys.argv) > 2 else []))
    print(f"{suite.passed} passed, {suite.failed} failed")
    sys.exit(suite.failed > 0)
