"""A headless Chromium, spoken to over a pipe (the DevTools protocol): no packages are needed."""
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time


def find():
    return shutil.which("chromium") or shutil.which("google-chrome")


class Browser:
    """One page. Coordinates are CSS pixels; patience: seconds an event may take."""

    def __init__(self, url, width=1200, height=800, patience=60):
        self.patience, self.n, self.rest, self.problems = patience, 0, b"", []
        self.requested = set()
        self.profile = tempfile.mkdtemp(prefix="recurd-page-")
        ours, theirs = os.pipe(), os.pipe()

        def pipes():  # descriptors 3 and 4 are what the browser reads and writes
            a, b = os.dup(ours[0]), os.dup(theirs[1])
            os.dup2(a, 3)
            os.dup2(b, 4)
        self.proc = subprocess.Popen(
            [find(), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--remote-debugging-pipe", "--user-data-dir=" + self.profile, "--no-first-run",
             "--window-size=%d,%d" % (width, height), "about:blank"],
            preexec_fn=pipes, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(ours[0])
        os.close(theirs[1])
        self.out, self.inp = ours[1], theirs[0]
        self.session = None
        target = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"][0]
        self.session = self.call("Target.attachToTarget", targetId=target["targetId"],
                                 flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")
        self.size(width, height)
        self.go(url)

    def close(self):
        self.proc.kill()
        self.proc.wait()
        os.close(self.out)
        os.close(self.inp)
        shutil.rmtree(self.profile, ignore_errors=True)

    # ---- the protocol ----

    def _receive(self, end):
        while b"\0" not in self.rest:
            if not select.select([self.inp], [], [], max(end - time.time(), 0))[0]:
                raise AssertionError("the browser says nothing")
            piece = os.read(self.inp, 1 << 20)
            if not piece:
                raise AssertionError("the browser is gone")
            self.rest += piece
        text, self.rest = self.rest.split(b"\0", 1)
        m = json.loads(text)
        p = m.get("params", {})
        if m.get("method") == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(p["exceptionDetails"])[:600])
        elif m.get("method") == "Log.entryAdded" and p["entry"]["source"] in ("security", "violation"):
            self.problems.append(p["entry"]["text"])
        elif m.get("method") == "Network.requestWillBeSent":
            self.requested.add(p["request"]["url"])
        elif m.get("method") == "Page.javascriptDialogOpening":
            self.problems.append("a dialog of the browser: " + p["message"])
        return m

    def call(self, method, **params):
        self.n += 1
        m = {"id": self.n, "method": method, "params": params}
        if self.session:
            m["sessionId"] = self.session
        os.write(self.out, json.dumps(m).encode() + b"\0")
        end = time.time() + self.patience
        while True:
            m = self._receive(end)
            if m.get("id") == self.n:
                if "error" in m:
                    raise AssertionError("%s: %s" % (method, m["error"]["message"]))
                return m["result"]

    # ---- what a person does and sees ----

    def run(self, script):
        r = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in r:
            raise AssertionError("%s: %s" % (script, r["exceptionDetails"]))
        return r["result"].get("value")

    def until(self, script, what=None):
        """The value of script, once it is true."""
        end = time.time() + self.patience
        while True:
            value = self.run("(async v => (v = await v) instanceof Node ? true : v)(%s)" % script)
            if value:
                return value
            if time.time() > end:
                raise AssertionError("it never came: %s\n%s" % (what or script, self.text()[:2000]))
            time.sleep(0.05)

    def go(self, url):
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def reload(self):
        self.run("window.old = true")
        self.call("Page.reload")
        self.until("!window.old && document.readyState === 'complete'")

    def text(self, selector="body"):
        return self.run("document.querySelector(%s)?.innerText ?? ''" % json.dumps(selector))

    def count(self, selector):
        return self.run("document.querySelectorAll(%s).length" % json.dumps(selector))

    def click(self, selector, text=None):
        """With a real mouse: what is covered or out of sight is not clicked."""
        find = ("[...document.querySelectorAll(%s)].filter(e => e.checkVisibility() && %s)[0]" %
                (json.dumps(selector), "true" if text is None else
                 "e.textContent.trim() === %s" % json.dumps(text)))
        self.until(find + " !== undefined", "%s %s" % (selector, text or ""))
        # A person waits for a button that moves: it must be under the mouse for two frames.
        x, y = self.until(
            "(async () => { const e = %s; if (!e) return null;"
            " e.scrollIntoView({block: 'nearest'});"
            " const at = () => { const r = e.getBoundingClientRect();"
            " return [r.x + r.width / 2, r.y + r.height / 2]; };"
            " const frame = () => new Promise(requestAnimationFrame);"
            " const before = at(); await frame(); await frame(); const [x, y] = at();"
            " const top = document.elementFromPoint(x, y);"
            " return e.isConnected && x === before[0] && y === before[1] && top &&"
            " (e.contains(top) || top.contains(e)) ? [x, y] : null; })()" % find,
            "%s %s stands still" % (selector, text or ""))
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text):
        self.call("Input.insertText", text=text)

    def key(self, name, code=0, modifiers=0):
        more = {"text": "\r"} if name == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=name, code=name,
                      windowsVirtualKeyCode=code, modifiers=modifiers, **more)

    def enter(self):
        self.key("Enter", 13)

    def set(self, selector, text):
        """Empties a field and types."""
        self.until("document.querySelector(%s)" % json.dumps(selector) + " !== null")
        self.run("(e => { e.focus(); e.select(); })(document.querySelector(%s))" %
                 json.dumps(selector))
        self.type(text)
        self.run("document.querySelector(%s).dispatchEvent(new Event('change'))" %
                 json.dumps(selector))

    def size(self, width, height, mobile=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=mobile)

    def dark(self, is_dark):
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}])

    def picture(self, path):
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
