"""A small client of chromedriver: the W3C WebDriver protocol over HTTP, with what the page's test needs. No packages."""
import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's key of an element's id
SWITCHES = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
            "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--lang=en"]
KEYS = {"Enter": "\ue007", "Escape": "\ue00c", "Tab": "\ue004", "Left": "\ue012", "Right": "\ue014", "Shift": "\ue008"}


class Failure(Exception):
    pass


class Browser:
    """One Chromium with an empty profile. switches: more of its command line; phone: (width, height) of an emulated one."""

    def __init__(self, switches=(), phone=None, size=(1280, 860), insecure_certs=False):
        self.profile = tempfile.mkdtemp(prefix="eyelet-page-")
        self.session = None
        self.driver = subprocess.Popen([shutil.which("chromedriver"), "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        port = None
        for line in self.driver.stdout:
            if "successfully on port" in line:
                port = line.rstrip().rstrip(".").rsplit(" ", 1)[1]
                break
        if not port:
            raise Failure("chromedriver did not start")
        self.base = f"http://127.0.0.1:{port}"
        options = {"binary": shutil.which("chromium"),
                   "args": SWITCHES + [f"--user-data-dir={self.profile}", f"--window-size={size[0]},{size[1]}", *switches]}
        if phone:
            options["mobileEmulation"] = {"deviceMetrics": {"width": phone[0], "height": phone[1], "pixelRatio": 2, "touch": True}}
        want = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"},
                "acceptInsecureCerts": insecure_certs}
        try:
            self.session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": want}})["sessionId"]
        except Failure:
            self.close()
            raise

    def call(self, method, path, body=None):
        if self.session and not path.startswith("/session"):
            path = f"/session/{self.session}/{path}"
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as e:
            value = json.load(e)["value"]
            raise Failure(f"{path}: {value['error']}: {value['message'].splitlines()[0]}") from None

    def close(self):
        try:
            if self.session:
                self.call("DELETE", f"/session/{self.session}")
        except (Failure, OSError):
            pass
        self.driver.terminate()
        self.driver.wait()
        shutil.rmtree(self.profile, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def open(self, url):
        self.call("POST", "url", {"url": url})

    def js(self, script, *args):
        """Runs a function's body in the page and gives what it returns; args are arguments[0], ..."""
        return self.call("POST", "execute/sync", {"script": script, "args": list(args)})

    def find(self, css):
        return self.call("POST", "element", {"using": "css selector", "value": css})[ELEMENT]

    def find_all(self, css):
        return [e[ELEMENT] for e in self.call("POST", "elements", {"using": "css selector", "value": css})]

    def click(self, css):
        self.call("POST", f"element/{self.find(css)}/click")

    def type(self, css, text):
        self.call("POST", f"element/{self.find(css)}/value", {"text": text})

    def press(self, *names):
        """Keys, one after the other, to what has the focus."""
        actions = []
        for name in names:
            key = KEYS.get(name, name)
            actions += [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self.call("POST", "actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def text(self, css):
        return self.js("return document.querySelector(arguments[0])?.textContent ?? ''", css)

    def label(self, element):
        return self.call("GET", f"element/{element}/computedlabel")

    def wait(self, script, what, seconds=30):
        """Until the script gives something true, which is returned."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.js(script)
            if value:
                return value
            time.sleep(0.1)
        raise Failure(f"{what}: not within {seconds} s")

    def dark(self, on):
        self.call("POST", "goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {
            "features": [{"name": "prefers-color-scheme", "value": "dark" if on else "light"}]}})

    def log(self):
        """What the console has said since the last call, as texts."""
        return [f"{m['level']}: {m['message']}" for m in self.call("POST", "se/log", {"type": "browser"})]

    def screenshot(self, path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.call("GET", "screenshot")))
