"""The page of `eyelet serve` in a real browser: chromium by chromedriver (Debian: chromium, chromium-driver), a fake camera.

Usage: page.py --build BUILD [--shots DIR] [--only NAME] [--rate MIN] [--seconds S]

Starts the server with the default model, and with small made checkpoints where many turns are needed; goes through chat, live
camera, phone width, dark colours, keyboard, names of controls, contrast, https, and what is said when something fails. Writes
screenshots for people to look at. The live view has to give MIN answers a second (15) over S seconds (10) with the default model,
pictures that never repeat, browser and server on this machine: the figure is printed. Ends with "N passed, N failed".
"""
import argparse
import io
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from PIL import Image, ImageEnhance

from webdriver import Browser, Failure

HERE = os.path.dirname(os.path.abspath(__file__))
DEMO = os.path.join(HERE, "..", "..", "doc", "demo.jpg")
CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
PAIRS = [("ink", "paper"), ("ink", "sheet"), ("muted", "paper"), ("muted", "sheet"), ("accent", "sheet"), ("accent", "paper"),
         ("accent", "tint"), ("on-accent", "accent"), ("ink", "tint"), ("bad", "sheet"), ("bad", "bad-tint"), ("ink", "bad-tint")]
READY = "return document.getElementById('model').dataset.state === 'ready'"
ANSWERS = "return document.querySelectorAll('.turn.assistant .tools').length"
CONTROLS = ["button", "input", "select", "textarea", "[role=tab]", "[role=tabpanel]"]


class Server:
    """eyelet serve on a free port; url is what it prints."""

    def __init__(self, build, *args, cache=None):
        env = dict(os.environ, XDG_CACHE_HOME=cache) if cache else None
        self.process = subprocess.Popen([os.path.join(build, "eyelet"), "serve", "--port", "0", "--json", *args], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=env)
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"eyelet serve: {self.process.stderr.read()}")
        self.said = json.loads(line)
        self.url = self.said["url"] + "/"
        self.port = self.said["port"]
        if self.url.startswith("http:"):
            self.wait()

    def wait(self):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5).close()
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
        raise SystemExit("eyelet serve: not ready within a minute")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


def moving_video(path, frames):
    """A walk over the demo picture in 640 x 480, brighter and darker: no two frames are equal, so no cache can answer."""
    big = Image.open(DEMO).convert("RGB").resize((960, 720), Image.BICUBIC)
    with open(path, "wb") as out:
        for i in range(frames):
            w = 560 + 80 * math.sin(i / 23)
            x, y = (160 + 150 * math.sin(i / 17), 120 + 110 * math.cos(i / 11.3))
            frame = big.resize((640, 480), Image.BILINEAR, box=(x, y, x + w, y + w * 0.75))
            frame = ImageEnhance.Brightness(frame).enhance(1 + 0.25 * math.sin(i / 7.1))
            data = io.BytesIO()
            frame.save(data, "JPEG", quality=85)
            out.write(data.getvalue())


def still_video(path):
    data = io.BytesIO()
    Image.open(DEMO).convert("RGB").resize((640, 480), Image.BICUBIC).save(data, "JPEG", quality=90)
    with open(path, "wb") as out:
        for _ in range(30):
            out.write(data.getvalue())


def lan_address():
    """An address of this machine that is not loopback; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("10.255.255.255", 9))
            address = s.getsockname()[0]
        except OSError:
            return None
    return None if address.startswith(("127.", "0.")) else address


def luminance(colour):
    parts = [int(colour[i:i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


class Suite:
    def __init__(self, o, work):
        self.o, self.work, self.passed, self.failed = o, work, 0, 0

    def check(self, ok, text):
        print(("ok   " if ok else "FAIL ") + text, flush=True)
        self.passed += bool(ok)
        self.failed += not ok

    def shot(self, b, name):
        b.screenshot(os.path.join(self.o.shots, f"{name}.png"))

    def quiet(self, b, where):
        """Nothing in the console: no script error, nothing that the security policy refused."""
        said = [m for m in b.log() if "favicon" not in m]
        self.check(not said, f"{where}: the console is empty" + "".join(f"\n       {m}" for m in said[:5]))

    def load(self, b, url):
        b.open(url)
        b.wait(READY, "the model's name")

    def make(self, name, *args):
        out = os.path.join(self.work, name)
        subprocess.run([os.path.join(self.o.build, "test/support/make_checkpoint"), *args, "-o", out], check=True, stdout=subprocess.DEVNULL)
        return out

    def say(self, b, text):
        """Sends a message and waits for its answer."""
        before = b.js(ANSWERS)
        b.type("#words", text + "\ue007")
        b.wait(f"return document.querySelectorAll('.turn.assistant .tools').length > {before}", "an answer", 60)

    # ---- chat ----

    def captions(self):
        """A picture by file, paste and drop; the default model's caption."""
        with Server(self.o.build) as s, Browser() as b:
            self.load(b, s.url)
            b.dark(False)
            self.shot(b, "chat-empty-light")
            b.type("#file", os.path.abspath(DEMO))
            b.wait("return document.querySelectorAll('#pictures img').length === 1", "the picture")
            size = b.js("const i = document.querySelector('#pictures img'); return [i.naturalWidth, i.naturalHeight, i.src.length]")
            side = json.load(urllib.request.urlopen(s.url + "props"))["image_side"]
            self.check(min(size[:2]) == side, f"chat: the picture goes with its short side at the model's {side} px ({size[0]} x {size[1]})")
            b.js("""const c = document.createElement('canvas'); c.width = c.height = 300;
                c.getContext('2d').fillRect(0, 0, 150, 300);
                window.made = new Promise((r) => c.toBlob((x) => r(new File([x], 'made.png', {type: 'image/png'}))));""")
            b.js("""window.made.then((file) => { const d = new DataTransfer(); d.items.add(file);
                window.dispatchEvent(new ClipboardEvent('paste', {clipboardData: d, bubbles: true, cancelable: true})); })""")
            b.wait("return document.querySelectorAll('#pictures img').length === 2", "the pasted picture")
            b.js("""window.made.then((file) => { const d = new DataTransfer(); d.items.add(file);
                document.body.dispatchEvent(new DragEvent('dragenter', {dataTransfer: d, bubbles: true})); })""")
            b.wait("return !document.getElementById('drop').hidden", "the drop mark")
            self.shot(b, "chat-drop")
            b.js("""window.made.then((file) => { const d = new DataTransfer(); d.items.add(file);
                document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: d, bubbles: true, cancelable: true})); })""")
            b.wait("return document.querySelectorAll('#pictures img').length === 3", "the dropped picture")
            self.check(b.js("return document.getElementById('drop').hidden"), "chat: file, paste and drop give a picture each")
            for _ in range(2):
                b.click("#pictures li:last-child button")
            b.click("#send")
            b.wait(ANSWERS + " === 1", "a caption", 60)
            text = b.text(".turn.assistant .body")
            self.check(len(text.split()) >= 4, f"chat: a caption: {text}")
            self.check("tok/s" in b.text(".turn.assistant .tools"), f"chat: its timings: {b.text('.turn.assistant .tools span')}")
            self.shot(b, "chat-caption-light")
            b.dark(True)
            self.shot(b, "chat-caption-dark")
            b.click(".turn.assistant .tools button")
            b.wait("return document.querySelector('.toast.note')?.textContent.includes('Copied')", "the word that it is copied")
            self.check(True, "chat: copy")
            self.bad_files(b)
            self.quiet(b, "chat")
            self.stopped_server(b, s)

    def bad_files(self, b):
        path = os.path.join(self.work, "notes.txt")
        with open(path, "w", encoding="ascii") as f:
            f.write("not a picture")
        b.type("#file", path)
        said = b.wait("return document.querySelector('.toast.error')?.textContent", "an error for a text file")
        self.check("not a picture" in said, f"chat: a text file: {said}")
        path = os.path.join(self.work, "broken.jpg")
        with open(path, "wb") as f:
            f.write(b"\xff\xd8\xff\xe0 and then nothing")
        b.type("#file", path)
        said = b.wait("return [...document.querySelectorAll('.toast.error')].find((t) => t.textContent.includes('broken'))?.textContent",
                      "an error for a broken picture")
        self.check("cannot read broken.jpg" in said, f"chat: a broken JPEG: {said}")
        self.shot(b, "chat-errors-dark")

    def stopped_server(self, b, s):
        s.process.send_signal(signal.SIGINT)
        s.process.wait(30)
        b.type("#words", "still there?\ue007")
        said = b.wait("return [...document.querySelectorAll('.toast')].find((t) => t.textContent.includes('answer'))?.textContent", "an error")
        self.check("does not answer" in said, f"chat: no server: {said}")
        self.check(b.js("return document.getElementById('words').value") == "still there?", "chat: the question is back where it was written")

    def turns(self):
        """A made chat model: turns, system prompt, streaming, Stop, keyboard."""
        model = self.make("turns", "--size", "tiny")
        with Server(self.o.build, "-m", model) as s, Browser() as b:
            self.load(b, s.url)
            self.say(b, "one")
            self.say(b, "two")
            self.say(b, "three")
            n = b.js("return document.querySelectorAll('.turn').length")
            self.check(n == 6, f"chat: three questions, three answers ({n} turns)")
            b.click("#new-chat")
            self.check(b.js("return document.querySelectorAll('.turn').length") == 0, "chat: New chat empties it")
            b.click("#open-settings")
            b.js("const e = document.getElementById('max-tokens'); e.value = '8000'")
            self.names(b, "settings", "#settings")  # the rest is inert behind it
            self.shot(b, "settings-light")
            b.press("Escape")
            b.type("#words", "on and on\ue007")
            b.wait("return document.querySelector('.turn.writing .body')?.textContent.length > 20", "streamed text")
            b.press("Escape")
            b.wait(ANSWERS + " === 1", "the end of a stopped answer", 10)
            self.check("stopped" in b.text(".turn.assistant .tools"), "chat: text streams, Escape stops it")
            self.shot(b, "chat-stopped-light")
            time.sleep(0.5)
            busy = [line for line in urllib.request.urlopen(s.url + "metrics").read().decode().splitlines()
                    if "requests_processing" in line and not line.startswith("#")]
            self.check(all(line.split()[-1] in ("0", "0.0") for line in busy) and busy, f"chat: the server stopped too: {busy}")
            self.keyboard(b)
            self.quiet(b, "turns")

    def keyboard(self, b):
        b.js("document.activeElement.blur()")
        seen = []
        for _ in range(14):
            b.press("Tab")
            seen.append(b.js("const e = document.activeElement; return e.id || e.textContent"))
        for want in ("tab-chat", "open-settings", "thread", "attach", "words", "send", "new-chat"):
            self.check(want in seen, f"keyboard: Tab reaches {want}")
        outline = b.js("const e = document.getElementById('words'); e.focus(); return getComputedStyle(e).outlineStyle")
        self.check(outline == "solid", "keyboard: the focus is visible")
        b.js("document.getElementById('tab-chat').focus()")
        b.press("Right")
        self.check(b.js("return document.activeElement.id === 'tab-live' && !document.getElementById('view-live').hidden"),
                   "keyboard: arrows go from tab to tab")

    def names(self, b, where, root="body"):
        nameless = []
        for e in b.find_all(", ".join(f"{root} {c}" for c in CONTROLS)):
            if b.js("const e = arguments[0]; return e.checkVisibility() && !e.closest('[aria-hidden=true]') && !e.ariaHidden",
                    {"element-6066-11e4-a52e-4f735466cecf": e}) and not b.label(e):
                nameless.append(b.js("return arguments[0].outerHTML.slice(0, 80)", {"element-6066-11e4-a52e-4f735466cecf": e}))
        self.check(not nameless, f"{where}: every control has a name {nameless or ''}")

    def answers_as_json(self):
        """The sample schema, if the server does constrained answers."""
        model = self.make("json", "--size", "tiny")
        with Server(self.o.build, "-m", model) as s, Browser() as b:
            formats = json.load(urllib.request.urlopen(s.url + "props")).get("response_formats", [])
            if "json_schema" not in formats:
                print("skipped: the server has no json_schema")
                return
            self.load(b, s.url)
            b.click("#open-settings")
            b.js("document.getElementById('format').value = 'json_schema'; document.getElementById('max-tokens').value = '512'")
            b.press("Escape")
            self.say(b, "what is there?")
            keys = b.js("return [...document.querySelectorAll('.turn.assistant dl.json dt')].map((e) => e.textContent)")
            self.check({"caption", "people", "outdoors"} <= set(keys), f"chat: an answer by the schema: {keys}")
            self.shot(b, "chat-json-light")

    # ---- colours and sizes ----

    def looks(self):
        """Contrast, widths, reduced motion."""
        with Server(self.o.build) as s:
            with Browser(CAMERA) as b:
                self.load(b, s.url)
                for dark in (False, True):
                    b.dark(dark)
                    for a, c in PAIRS:
                        x, y = b.js("const s = getComputedStyle(document.documentElement); return arguments[0].map((n) => "
                                    "s.getPropertyValue('--' + n).trim().replace(/^#(.)(.)(.)$/, '#$1$1$2$2$3$3'))", [a, c])
                        ratio = contrast(x, y)
                        self.check(ratio >= 4.5, f"contrast, {'dark' if dark else 'light'}: {a} on {c}: {ratio:.1f} >= 4.5")
                self.names(b, "chat")
                b.click("#tab-live")
                self.names(b, "live")
            with Browser(CAMERA, phone=(360, 740)) as b:
                self.load(b, s.url)
                b.type("#file", os.path.abspath(DEMO))
                b.wait("return document.querySelector('#pictures img')", "the picture")
                b.click("#send")
                b.wait(ANSWERS + " === 1", "a caption", 60)
                self.width(b, "chat")
                self.shot(b, "phone-chat-light")
                b.click("#open-settings")
                self.width(b, "settings")
                self.shot(b, "phone-settings-light")
                b.js("document.getElementById('settings').close()")
                b.dark(True)
                b.click("#tab-live")
                b.click("#live-start")
                b.wait("return document.getElementById('answer').dataset.state === 'some'", "a live answer", 60)
                time.sleep(2)
                self.width(b, "live")
                self.shot(b, "phone-live-dark")
                b.js("document.getElementById('chart').scrollIntoView({block: 'center'})")
                time.sleep(0.5)
                self.shot(b, "phone-live-dark-chart")
                self.quiet(b, "phone")

    def width(self, b, where):
        wide = b.js("return [document.documentElement.scrollWidth, innerWidth, [...document.querySelectorAll('button, input, select, "
                    "textarea, canvas, img')].filter((e) => e.checkVisibility() && !e.classList.contains('off') && "
                    "e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.id || e.outerHTML.slice(0, 60))]")
        self.check(wide[0] <= wide[1] == 360 and not wide[2], f"phone, {where}: nothing is wider than 360 px {wide[2] or ''}")

    # ---- live ----

    def live(self):
        """Answers a second with the default model; the newest frame only; leaving stops the camera."""
        video = os.path.join(self.work, "moving.mjpeg")
        moving_video(video, int(30 * (self.o.seconds + 25)))
        with Server(self.o.build) as s, Browser([*CAMERA, f"--use-file-for-fake-video-capture={video}"]) as b:
            self.load(b, s.url)
            b.dark(False)
            b.click("#tab-live")
            b.click("#live-start")
            b.wait("return document.getElementById('counts').textContent.match(/(\\d+) answered/)?.[1] >= 5", "five live answers", 60)
            print(f"measuring {os.getpid()}", flush=True)
            time.sleep(1)
            count = "const m = document.getElementById('counts').textContent.match(/\\d+/g).map(Number); return [performance.now(), ...m]"
            first = b.js(count)
            time.sleep(self.o.seconds)
            last = b.js(count)
            t, frames, answered, unchanged, dropped = [y - x for x, y in zip(first, last)]
            rate = answered * 1000 / t
            stages = b.js("return [...document.getElementById('stages').rows].map((r) => [...r.cells].map((c) => c.textContent).join(' '))")
            load = os.getloadavg()[0]
            print(f"live: {rate:.1f} answers/s over {t / 1000:.1f} s: {frames} frames, {answered} answered, {unchanged} unchanged, {dropped} "
                  f"replaced; {len(os.sched_getaffinity(0))} cores, load {load:.1f}; last and median ms: {', '.join(stages)}", flush=True)
            self.check(rate >= self.o.rate, f"live: {rate:.1f} answers/s >= {self.o.rate:g}")
            self.check(frames >= answered + unchanged, "live: no more answers than frames")
            self.shot(b, "live-light")
            b.dark(True)
            time.sleep(1)
            self.shot(b, "live-dark")
            b.js("const e = document.getElementById('alert'); e.value = '/./'; e.dispatchEvent(new Event('input', {bubbles: true}))")
            b.wait("return document.querySelector('#log li.alert')", "a marked answer")
            self.check(True, "live: answers are marked by a regular expression")
            b.js("const e = document.getElementById('alert'); e.value = '/(/'; e.dispatchEvent(new Event('input', {bubbles: true}))")
            self.check(b.js("return document.getElementById('alert').getAttribute('aria-invalid')") == "true", "live: a broken pattern is told")
            b.click("#tab-chat")
            self.check(b.js("return document.getElementById('video').srcObject === null"), "live: leaving the view stops the camera")
            self.quiet(b, "live")

    def still(self):
        """A picture that does not change is asked about once."""
        video = os.path.join(self.work, "still.mjpeg")
        still_video(video)
        with Server(self.o.build) as s, Browser([*CAMERA, f"--use-file-for-fake-video-capture={video}"]) as b:
            self.load(b, s.url)
            b.click("#tab-live")
            b.click("#live-start")
            b.wait("return document.getElementById('counts').textContent.match(/(\\d+) unchanged/)?.[1] >= 20", "unchanged frames", 60)
            said = b.text("#counts")
            self.check(" 1 answered" in said, f"live: a still picture is asked about once: {said}")
            b.js("const e = document.getElementById('skip'); e.value = '0'; e.dispatchEvent(new Event('input', {bubbles: true}))")
            b.wait("return document.getElementById('counts').textContent.match(/(\\d+) answered/)?.[1] >= 4", "answers without skipping", 60)
            self.check(True, "live: at 0 % every frame counts")
            s.process.send_signal(signal.SIGINT)
            s.process.wait(30)
            said = b.wait("const e = document.getElementById('badge'); return !e.hidden && e.textContent.includes('does not answer') && "
                          "e.textContent", "word of a lost server", 20)
            self.check(True, f"live: no server: {said}")

    # ---- phones ----

    def https(self):
        """Over plain http from another address the page says why it has no camera; with --tls-self-signed it has one."""
        address = lan_address()
        if not address:
            print("skipped: this machine has no address but loopback")
            return
        cache = os.path.join(self.work, "cache")
        with Server(self.o.build, "--host", "0.0.0.0") as s, Browser(CAMERA) as b:
            self.load(b, f"http://{address}:{s.port}/#live")
            said = b.text("#why")
            self.check("--tls-self-signed" in said and b.js("return document.getElementById('live-start').disabled"),
                       f"http: why there is no camera: {said}")
            self.shot(b, "live-no-camera-light")
        prints = []
        for i in range(2):
            with Server(self.o.build, "--host", "0.0.0.0", "--tls-self-signed", cache=cache) as s:
                prints.append(s.said["fingerprint"])
                if i == 1:
                    continue
                self.check(s.url.startswith("https:") and any(address in u for u in s.said["addresses"]),
                           f"https: addresses are printed: {s.said['addresses']}")
                mode = os.stat(os.path.join(cache, "eyelet", "tls.pem")).st_mode & 0o777
                self.check(mode == 0o600, f"https: the key is kept with mode {mode:o}")
                with Browser(CAMERA, insecure_certs=True) as b:
                    self.load(b, f"https://{address}:{s.port}/#live")
                    b.click("#live-start")
                    b.wait("return document.getElementById('answer').dataset.state === 'some'", "a live answer over https", 60)
                    self.check(True, f"https: the camera works at another address: {b.text('#answer')}")
                    self.quiet(b, "https")
        self.check(prints[0] == prints[1] and len(prints[0]) == 95, f"https: the certificate is kept: {prints[0]}")


PARTS = ["captions", "turns", "answers_as_json", "looks", "live", "still", "https"]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", required=True)
    p.add_argument("--shots")
    p.add_argument("--only", choices=PARTS, action="append")
    p.add_argument("--rate", type=float, default=15)
    p.add_argument("--seconds", type=float, default=10)
    o = p.parse_args()
    o.shots = o.shots or os.path.join(o.build, "page-shots")
    with tempfile.TemporaryDirectory(prefix="eyelet-page-") as work:
        suite = Suite(o, work)
        for part in o.only or PARTS:
            try:
                getattr(suite, part)()
            except Failure as e:
                suite.check(False, f"{part}: {e}")
    print(f"{suite.passed} passed, {suite.failed} failed")
    return suite.failed != 0


if __name__ == "__main__":
    sys.exit(main())
