"""`eyelet serve` under many clients at once, honest ones and hostile ones. Python's standard library alone; scripts/soak.sh runs it
on a server with sanitizers.

Usage: serve_soak.py EYELET [--seconds S] [--clients N] [--model MODEL | --checkpoint MAKE_CHECKPOINT] [--brief] [--json FILE]

N clients in a closed loop ask for captions of pictures that never repeat and of some that do, whole and as streams, for answers
that are JSON of a schema, about several pictures, in several turns, with log probabilities and seeds, for tokens, models, metrics.
Beside them N / 8 hostile ones: a byte now and then, bodies of 100 MB, broken JSON, base64 and pictures, clients that leave, foreign
origins and hosts. Every request has the status that it must have, the same question the same answer, every JSON its schema; the
server's memory stays where it is, it ends with status 0 and says nothing. --brief: nothing is judged by the clock, and who dawdles
is not waited for. Ends with "N passed, N failed".
"""
import argparse
import base64
import http.client
import json
import os
import random
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
DEMO = os.path.join(HERE, "..", "..", "doc", "demo.jpg")
CHAT = "/v1/chat/completions"
SCHEMA = {"type": "object", "properties": {"people": {"type": "integer", "minimum": 0, "maximum": 99}, "outdoors": {"type": "boolean"},
          "kind": {"enum": ["photo", "drawing"]}}, "required": ["people", "outdoors", "kind"]}
BIG = 100 << 20     # bytes of a body that is too large
READ_S = 10         # --read-timeout
CACHE_MIB = 16      # --cache-ram: full within seconds, so that memory can be compared from then on
QUARANTINE_MIB = 16  # of AddressSanitizer, for the same reason
PATIENCE_S = 300    # of a client


# ---- pictures ----

def segments(jpeg):
    at = 2
    while jpeg[at + 1] != 0xDA:
        n = struct.unpack(">H", jpeg[at + 2:at + 4])[0]
        yield jpeg[at + 1], at + 4, n - 2
        at += 2 + n


def varied(jpeg, rng):
    """Another picture of the same scene: entries of the quantization tables changed, so brightness, contrast and texture."""
    out = bytearray(jpeg)
    for kind, at, n in segments(jpeg):
        if kind == 0xDB and jpeg[at] < 16:  # tables of 8 bits
            for table in range(at, at + n, 65):
                for k in rng.sample(range(64), 8) + [0]:
                    out[table + 1 + k] = max(1, min(255, out[table + 1 + k] + rng.randint(-2, 3)))
    return "jpeg", bytes(out)


def gradient(w, h, rng):
    a = [rng.randrange(256) for _ in range(9)]
    rows = []
    for y in range(h):
        row = bytearray()
        for x in range(w):
            row += bytes(((a[c] + (a[c + 3] * x // w) + (a[c + 6] * y // h)) & 255) for c in range(3))
        rows.append(bytes(row))
    return rows


def png(w, h, rng):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    body = b"".join(b"\0" + row for row in gradient(min(w, 64), min(h, 48), rng)) if w < 1000 else b""
    return "png", (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0)) +
                   chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b""))


def ppm(rng):
    return "x-portable-pixmap", b"P6\n40 30\n255\n" + b"".join(gradient(40, 30, rng))


def part(kind, data, as_string=False):
    url = f"data:image/{kind};base64," + base64.b64encode(data).decode()
    return {"type": "image_url", "image_url": url if as_string else {"url": url}}


# ---- one request ----

class Reply:
    status = 0
    body = b""
    first_s = None  # to the first event of a stream

    def json(self):
        return json.loads(self.body)

    def text(self):
        if not self.body.startswith(b"data:") and not self.body.startswith(b":"):
            return self.json()["choices"][0]["message"]["content"]
        said, done, usage = "", False, None
        for event in self.body.decode().split("\n\n"):
            if event == "data: [DONE]":
                done = True
            elif event.startswith("data: "):
                o = json.loads(event[6:])
                if "error" in o:
                    raise ValueError(f"error in a stream: {o}")
                said += "".join(c["delta"].get("content") or "" for c in o["choices"])
                usage = o.get("usage") or usage
        if not done or not usage:
            raise ValueError("a stream without its end or without usage")
        return said


class Client(threading.Thread):
    """Asks until the time is up. What must hold is checked where it is asked; the first words of what does not are kept."""

    def __init__(self, soak, number):
        super().__init__(daemon=True)
        self.soak, self.rng, self.number = soak, random.Random(1000 + number), number
        self.keep = number % 2 == 0  # every other one keeps its connection
        self.connection = None
        self.n = 0
        self.kinds = [k for k in dir(self) if k.startswith("do_")]

    def run(self):
        while self.n == 0 or not self.soak.over.is_set():
            kind = self.rng.choices(self.kinds, [getattr(self, k).weight for k in self.kinds])[0]
            self.kind = kind[3:]
            try:
                getattr(self, kind)()
            except Exception as e:  # noqa: BLE001
                self.drop()
                self.soak.fail(f"{self.kind}: {type(e).__name__}: {e}")
            self.n += 1
        self.drop()

    def drop(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def ask(self, method, path, body=None, headers=None, stream=False):
        r = Reply()
        begin = time.monotonic()
        self.connection = self.connection or http.client.HTTPConnection("127.0.0.1", self.soak.port, timeout=PATIENCE_S)
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        self.connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})} if data else headers or {})
        answer = self.connection.getresponse()
        r.status = answer.status
        if stream and r.status == 200:
            r.body = answer.read1(65536)
            r.first_s = time.monotonic() - begin
        r.body += answer.read()
        if not self.keep:
            self.drop()
        r.seconds = time.monotonic() - begin
        return r

    def want(self, r, status, code=None):
        got = None
        if r.status >= 400:
            e = r.json()["error"]
            got = e["code"]
            if not isinstance(e["message"], str) or not isinstance(e["type"], str):
                raise ValueError("an error that is none")
        if r.status != status or (code and got != code):
            raise ValueError(f"status {r.status} ({got}), expected {status} ({code}): {r.body[:200]!r}")
        self.soak.count(self.kind, r)

    def chat(self, parts, **more):
        return {"messages": [{"role": "user", "content": parts}], **more}

    def fresh(self):
        k = self.rng.randrange(8)
        if k == 0:
            return png(64, 48, self.rng)
        if k == 1:
            return ppm(self.rng)
        return varied(self.soak.demo, self.rng)


def weight(n):
    def mark(f):
        f.weight = n
        return f
    return mark


class Honest(Client):
    @weight(6)
    def do_caption(self):
        r = self.ask("POST", CHAT, self.chat([part(*self.fresh())], max_tokens=24))
        self.want(r, 200)
        if not r.json()["usage"]["completion_tokens"]:
            raise ValueError("an empty answer")

    @weight(6)
    def do_stream(self):
        r = self.ask("POST", CHAT, self.chat([part(*self.fresh(), as_string=True)], n_beams=1, max_tokens=24, stream=True,
                                             stream_options={"include_usage": True}), stream=True)
        self.want(r, 200)
        r.text()

    @weight(4)
    def do_again(self):
        """One of a few questions: the same answer whenever it is asked, whoever else is there, whole or as a stream."""
        i = self.rng.randrange(8)
        stream = self.rng.random() < 0.5
        body = self.chat([part(*varied(self.soak.demo, random.Random(i)))], seed=i, max_tokens=24)
        if i % 2:
            body.update(n_beams=1, temperature=0.8 * (i % 4 == 1))  # else the model's own number, which may be 1
        if stream:
            body.update(stream=True, stream_options={"include_usage": True})
        r = self.ask("POST", CHAT, body, stream=stream)
        self.want(r, 200)
        self.soak.same(i, r.text())

    @weight(3)
    def do_schema(self):
        body = self.chat([part(*self.fresh())], max_tokens=48, response_format={"type": "json_schema", "json_schema": {"schema": SCHEMA}})
        r = self.ask("POST", CHAT, body)
        self.want(r, 200)
        o = json.loads(r.text())
        if list(o) != SCHEMA["required"] or not 0 <= o["people"] <= 99 or not isinstance(o["outdoors"], bool):
            raise ValueError(f"not of the schema: {o}")

    @weight(1)
    def do_any_json(self):
        r = self.ask("POST", CHAT, self.chat([part(*self.fresh())], max_tokens=32, response_format={"type": "json_object"}))
        self.want(r, 200)
        if not isinstance(json.loads(r.text()), dict):
            raise ValueError("not an object")

    @weight(2)
    def do_several(self):
        """As many pictures as the context has room for, and one more than that."""
        fit = min(self.soak.fit, 3)
        n = self.rng.choice([fit, self.soak.fit + 1]) if self.soak.fit < 15 else fit
        r = self.ask("POST", CHAT, self.chat([part(*self.fresh()) for _ in range(n)], n_beams=1, max_tokens=8))
        self.want(r, 200 if n <= self.soak.fit else 400, None if n <= self.soak.fit else "context_length_exceeded")

    @weight(2)
    def do_turns(self):
        """The beginning is everybody's, so the cache of prompts has it."""
        said = ["a man and a dog", "on a beach", "in the sun", f"number {self.rng.randrange(50)}"]
        talk = [{"role": role, "content": text} for role, text in zip(["system", "user", "assistant", "user"], said)]
        r = self.ask("POST", CHAT, {"messages": talk, "max_tokens": 6})
        self.want(r, 200)

    @weight(2)
    def do_logprobs(self):
        r = self.ask("POST", "/v1/completions", {"prompt": "two people are", "max_tokens": 6, "logprobs": 3, "temperature": 1.2,
                                                 "ignore_eos": True})
        self.want(r, 200)
        c = r.json()["choices"][0]
        said = re.sub(r"<\|[^|]*\|>", "", "".join(c["logprobs"]["tokens"]))  # special ones are no text
        if len(c["logprobs"]["tokens"]) != 6 or (said.isascii() and said != c["text"]):
            raise ValueError("log probabilities of another text")

    @weight(2)
    def do_native(self):
        """llama-server's own way."""
        prompt = {"prompt_string": "<__media__> a", "multimodal_data": [base64.b64encode(self.fresh()[1]).decode()]}
        stream = self.rng.random() < 0.5
        r = self.ask("POST", "/completion", {"prompt": prompt, "n_predict": 8, "stream": stream, "n_probs": self.rng.randrange(3)})
        self.want(r, 200)
        if stream and not json.loads(r.body.decode().split("\n\n")[-2][6:])["stop"]:
            raise ValueError("a stream without its end")

    @weight(2)
    def do_small(self):
        path = self.rng.choice(["/health", "/v1/models", "/props", "/metrics", "/"])
        self.want(self.ask("GET", path), 200)

    @weight(1)
    def do_tokens(self):
        text = f"a red ball and {self.rng.randrange(10)} dogs"
        r = self.ask("POST", "/tokenize", {"content": text})
        self.want(r, 200)
        r = self.ask("POST", "/detokenize", r.json())
        self.want(r, 200)
        if r.json()["content"].strip() != text:
            raise ValueError(f"{text!r} came back as {r.json()['content']!r}")


class Hostile(Client):
    def run(self):
        self.keep = False
        super().run()

    def dial(self):
        return socket.create_connection(("127.0.0.1", self.soak.port), timeout=PATIENCE_S)

    def reset(self, s):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()

    def post(self, data, status, code=None, path=CHAT, headers=None):
        r = self.ask("POST", path, data if isinstance(data, (bytes, dict)) else data.encode(), headers)
        self.want(r, status, code)

    def request_of(self, n=None, **more):
        body = json.dumps(self.chat([part(*self.fresh())], max_tokens=40, **more)).encode()
        return (f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
                f"{len(body) if n is None else n}\r\n\r\n").encode() + body

    @weight(3)
    def do_dawdle(self):
        """A byte now and then, in the first line, the headers or the body: closed by the server."""
        begin = self.rng.choice([b"GE", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", self.request_of(10 ** 6)])
        end = time.monotonic() + READ_S + 60
        with self.dial() as s:
            s.sendall(begin)
            while not self.soak.over.is_set():
                try:
                    closed = select.select([s], [], [], 0.3)[0] or not s.send(b"x")  # or told why
                except OSError:
                    closed = True
                if closed:
                    self.soak.count(self.kind, None)
                    return
                if time.monotonic() > end and not self.soak.brief:
                    raise ValueError("nobody closed a connection that dawdles")

    @weight(1)
    def do_large(self):
        """Sent to its end: only then many clients read."""
        with self.dial() as s:
            s.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {BIG}\r\n"
                      "Connection: close\r\n\r\n".encode())
            block = b" " * (1 << 20)
            for _ in range(BIG >> 20):
                s.sendall(block)
            said = s.recv(65536)
        if b" 413 " not in said[:40] or b"body_too_large" not in said:
            raise ValueError(f"100 MB: {said[:200]!r}")
        self.soak.count(self.kind, None)

    @weight(3)
    def do_bad_json(self):
        good = json.dumps(self.chat("hello")).encode()
        bad = self.rng.choice([good[:-self.rng.randrange(1, 40)], b"[" * 5000, b"", b"\xff\xfe{}", b'{"messages":1}', b"nonsense",
                               b'{"messages":[{"role":"user","content":[{"type":"image"}]}]}', b'{"a":' * 40 + b"1" + b"}" * 40])
        self.post(bad, 400)

    @weight(3)
    def do_bad_base64(self):
        kind, data = self.fresh()
        text = base64.b64encode(data).decode()
        at = self.rng.randrange(8, len(text) - 8)
        bad = self.rng.choice([text[:at] + "*" + text[at:], text[:at] + "=" + text[at:], text[:len(text) // 4 * 4 - 3], ""])
        url = f"data:image/{kind};base64,{bad}"
        self.post(self.chat([{"type": "image_url", "image_url": {"url": url}}]), 400, "invalid_image")

    @weight(3)
    def do_bad_picture(self):
        demo = self.soak.demo
        bad = self.rng.choice([demo[:200], b"\xff\xd8\xff\xe0 and then nothing", demo[:2] + os.urandom(500), b"GIF89a" + demo,
                               os.urandom(2000)])
        self.post(self.chat([part("jpeg", bad)]), 400, "invalid_image")

    @weight(2)
    def do_flipped(self):
        """Decodes to something, or does not: an answer or an error, nothing else."""
        data = bytearray(self.soak.demo)
        for _ in range(self.rng.randrange(1, 20)):
            data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        r = self.ask("POST", CHAT, self.chat([part("jpeg", bytes(data))], max_tokens=4))
        self.want(r, r.status if r.status in (200, 400, 413) else 200)

    @weight(1)
    def do_huge_picture(self):
        self.post(self.chat([part(*png(50000, 50000, self.rng))]), 413, "image_too_large")

    @weight(2)
    def do_refused(self):
        what = self.rng.randrange(8)
        if what == 0:
            self.post({"messages": [], "images": ["x"]}, 400)
        elif what == 1:
            self.post(self.chat([{"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.jpg"}}]), 400, "remote_image")
        elif what == 2:
            self.post("{}", 415, headers={"Content-Type": "text/plain"})
        elif what == 3:
            self.post("{}", 404, "not_found", path="/v1/nothing")
        elif what == 4:
            self.want(self.ask("GET", CHAT), 405)
        elif what == 5:
            self.want(self.ask("GET", "/v1/models", headers={"Origin": "https://evil.example"}), 403, "foreign_origin")
        elif what == 6:
            self.want(self.ask("GET", "/v1/models", headers={"Host": "evil.example"}), 403, "wrong_host")
        else:
            self.post(self.chat("a " * 40000), 400, "context_length_exceeded")

    @weight(6)
    def do_leave(self):
        """In the middle of a request, before an answer, in the middle of a stream; by FIN or by RST."""
        request = self.request_of(stream=self.rng.random() < 0.5, n_beams=1)
        cut = self.rng.choice([5, len(request) // 2, len(request), len(request)])
        s = self.dial()
        s.sendall(request[:cut])
        if cut == len(request) and self.rng.random() < 0.5:
            s.recv(300)
        else:
            time.sleep(self.rng.random() * 0.2)
        if self.rng.random() < 0.5:
            self.reset(s)
        else:
            s.close()
        self.soak.count(self.kind, None)

    @weight(1)
    def do_garbage(self):
        with self.dial() as s:
            s.sendall(os.urandom(self.rng.randrange(1, 5000)) + b"\r\n\r\n")
            s.shutdown(socket.SHUT_WR)
            try:
                said = s.recv(4096)
            except ConnectionError:
                said = b""
        if said and not said.startswith(b"HTTP/1."):
            raise ValueError(f"garbage: {said[:100]!r}")
        self.soak.count(self.kind, None)

    @weight(1)
    def do_headers(self):
        with self.dial() as s:
            try:
                s.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"y" * 100000 + b"\r\n\r\n")
                said = s.recv(4096)
            except ConnectionError:
                said = b""  # it did not read to the end
        if said and b" 431 " not in said[:40]:
            raise ValueError(f"headers: {said[:100]!r}")
        self.soak.count(self.kind, None)


# ---- the whole ----

def quantile(v, q):
    return sorted(v)[min(len(v) - 1, int(q * len(v)))] if v else 0


class Soak:
    def __init__(self, o, work):
        self.o, self.brief = o, o.brief
        self.over, self.lock = threading.Event(), threading.Lock()
        self.kinds, self.answers, self.failures, self.n_failed = {}, {}, [], 0
        self.rss = []  # (seconds, bytes)
        self.passed = self.failed = 0
        with open(DEMO, "rb") as f:
            self.demo = f.read()
        self.said = os.path.join(work, "stderr")
        sanitizers = {"ASAN_OPTIONS": f"quarantine_size_mb={QUARANTINE_MIB}:detect_leaks=1:exitcode=99",
                      "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}
        args = [o.eyelet, "serve", "--port", "0", "--json", "-q", "--cache-ram", str(CACHE_MIB)]
        args += ["-m", o.model] if o.model else []
        args += [] if o.brief else ["--read-timeout", str(READ_S)]
        with open(self.said, "wb") as err:
            self.process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=err, text=True, env={**sanitizers, **os.environ})
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"eyelet serve: {open(self.said).read()}")
        self.port = json.loads(line)["port"]
        while self.get("/health").status == 503:
            time.sleep(0.05)
        props = json.loads(self.get("/props").read())
        room = props["default_generation_settings"]["n_ctx"] - 24  # for the rest of a template, and an answer
        self.fit = min(room // max(props["image_tokens"], 1), 16)

    def get(self, path):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        c.request("GET", path)
        return c.getresponse()

    def check(self, ok, text):
        print(("ok   " if ok else "FAIL ") + text, flush=True)
        self.passed += bool(ok)
        self.failed += not ok

    # of the clients' threads

    def fail(self, text):
        with self.lock:
            self.n_failed += 1
            if len(self.failures) < 20:
                self.failures.append(text)

    def count(self, kind, r):
        with self.lock:
            k = self.kinds.setdefault(kind, {"n": 0, "s": [], "first": [], "status": {}})
            k["n"] += 1
            if r:
                k["s"].append(r.seconds)
                k["status"][r.status] = k["status"].get(r.status, 0) + 1
                if r.first_s is not None:
                    k["first"].append(r.first_s)

    def same(self, key, text):
        with self.lock:
            if self.answers.setdefault(key, text) != text:
                raise ValueError(f"{key}: {text!r}, before {self.answers[key]!r}")

    # of the main thread

    def resident(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def run(self):
        n_hostile = max(1, self.o.clients // 8)
        clients = [Honest(self, i) for i in range(self.o.clients)]
        all_of_them = clients + [Hostile(self, 10 ** 4 + i) for i in range(n_hostile)]
        print(f"{self.o.clients} clients, {n_hostile} hostile ones, {self.o.seconds} s", flush=True)
        begin = time.monotonic()
        for c in all_of_them:
            c.start()
        while time.monotonic() - begin < self.o.seconds and self.process.poll() is None:
            time.sleep(min(1, self.o.seconds))
            if self.process.poll() is None:
                self.rss.append((time.monotonic() - begin, self.resident()))
        self.over.set()
        for c in all_of_them:
            c.join(PATIENCE_S)
        self.check(not any(c.is_alive() for c in all_of_them), "every client came to its end")
        self.seconds = time.monotonic() - begin
        self.each = [c.n for c in clients]

    def tell(self):
        print(f"\n{'':14}{'n':>7}  {'p50 s':>8}{'p95 s':>8}{'first p50':>11}{'p95':>8}  status")
        for kind, k in sorted(self.kinds.items()):
            first = f"{quantile(k['first'], 0.5):11.3f}{quantile(k['first'], 0.95):8.3f}" if k["first"] else f"{'':19}"
            times = f"{quantile(k['s'], 0.5):8.3f}{quantile(k['s'], 0.95):8.3f}" if k["s"] else f"{'':16}"
            print(f"{kind:14}{k['n']:7}  {times}{first}  {' '.join(f'{s}: {n}' for s, n in sorted(k['status'].items()))}")
        n = sum(self.each)
        print(f"{n} requests of honest clients in {self.seconds:.0f} s; of one client {min(self.each)} to {max(self.each)}")
        step = max(1, len(self.rss) // 15)
        print("resident MiB: " + ", ".join(f"{t:.0f} s {b / 2 ** 20:.0f}" for t, b in self.rss[::step]))

    def judge_memory(self):
        """The last minute against the first (its first fifth aside: caches fill), where there are that many. What may differ is what
        clients have under way: a body, its picture's pixels, text; and what the allocator keeps of freed memory."""
        minute = min(60, self.o.seconds / 3)
        end = self.rss[-1][0]
        early = [b for t, b in self.rss if minute / 5 <= t <= minute]
        late = [b for t, b in self.rss if t >= end - minute]
        each = 4 * len(self.demo) + 640 * 480 * 3
        slack = self.o.clients * each + (QUARANTINE_MIB << 20)
        grown = sum(late) / len(late) - sum(early) / len(early)
        print(f"first minute {sum(early) / len(early) / 2 ** 20:.1f} MiB, last {sum(late) / len(late) / 2 ** 20:.1f}")
        self.check(grown <= slack, f"memory: {grown / 2 ** 20:+.1f} MiB, at most {slack / 2 ** 20:.0f}: {self.o.clients} requests of "
                                   f"{each / 2 ** 20:.1f} and {QUARANTINE_MIB} of the sanitizer's quarantine")

    def end(self):
        alive = self.process.poll() is None
        self.check(alive, "the server is there")
        if alive:
            while any(line.startswith("eyelet_requests_processing") and not line.endswith(" 0")
                      for line in self.get("/metrics").read().decode().splitlines()):
                time.sleep(0.1)  # those that were left
            wrong = [line for line in self.get("/metrics").read().decode().splitlines() if 'code="5' in line and "/health" not in line]
            self.check(not wrong, f"no status 5xx {wrong or ''}")
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE_S)
        with open(self.said, encoding="utf-8", errors="replace") as f:
            said = f.read()
        self.check(status == 0, f"the server ends with status {status}")
        self.check(not said, f"it said nothing: no report, no leak{': ' + said[:4000] if said else ''}")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("eyelet")
    p.add_argument("--seconds", type=float, default=300)
    p.add_argument("--clients", type=int, default=64)
    p.add_argument("--model")
    p.add_argument("--checkpoint", help="test/support/make_checkpoint: a small made model")
    p.add_argument("--brief", action="store_true")
    p.add_argument("--json")
    o = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="eyelet-soak-") as work:
        if o.checkpoint:
            o.model = os.path.join(work, "model")
            subprocess.run([o.checkpoint, "--size", "tiny", "-o", o.model], check=True, stdout=subprocess.DEVNULL)
        s = Soak(o, work)
        try:
            s.run()
            s.tell()
            s.check(s.n_failed == 0, f"requests that went wrong: {s.n_failed}" + "".join(f"\n     {f}" for f in s.failures))
            s.check(all(s.each), "every client was answered")
            if not o.brief:
                s.judge_memory()
            s.end()
        finally:
            if s.process.poll() is None:
                s.process.kill()
                s.process.wait()
    if o.json:
        kinds = {k: {"n": v["n"], "status": v["status"], "p50_s": quantile(v["s"], 0.5), "p95_s": quantile(v["s"], 0.95),
                     "first_p50_s": quantile(v["first"], 0.5), "first_p95_s": quantile(v["first"], 0.95)}
                 for k, v in sorted(s.kinds.items())}
        with open(o.json, "w", encoding="utf-8") as f:
            json.dump({"clients": o.clients, "seconds": o.seconds, "requests": sum(s.each), "per_client": [min(s.each), max(s.each)],
                       "kinds": kinds, "resident_mib": [[round(t), round(b / 2 ** 20, 1)] for t, b in s.rss]}, f, indent=1)
            f.write("\n")
    print(f"{s.passed} passed, {s.failed} failed")
    sys.exit(s.failed > 0)


if __name__ == "__main__":
    main()
