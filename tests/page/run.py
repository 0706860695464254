#!/usr/bin/env python3
"""The page at /, used as a person would: a real browser, its mouse and its keyboard.

usage: run.py [--recurd build/recurd] [--pictures DIR] [NAME...]

Skipped where there is no Chromium. Nothing here depends on how fast the machine is. --pictures
keeps screenshots of desktop, phone, dark and right-to-left to look at.
"""
import argparse
import json
import os
import re
import sys
import tempfile
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "api")]
import browser  # noqa: E402
from common import DEMO, Server, Settings  # noqa: E402

PICTURES = None


def picture(b, name):
    if PICTURES:
        os.makedirs(PICTURES, exist_ok=True)
        b.picture(os.path.join(PICTURES, name + ".png"))


def page(s, path="", **size):
    return browser.Browser("http://127.0.0.1:%d/%s" % (s.port, path), patience=Settings.patience(60), **size)


def say(b, text):
    b.until("document.querySelector('#send')?.checkVisibility()")
    b.click("#prompt")
    b.type(text)
    b.enter()


def answered(b, turns):
    b.until("document.querySelectorAll('.turn.assistant').length === %d && "
            "document.querySelector('#send').checkVisibility()" % turns)


def sound(b, s):
    """No script failed, no policy was broken, and nothing was asked of another origin."""
    assert not b.problems, b.problems
    ours = "http://127.0.0.1:%d/" % s.port
    others = [u for u in b.requested if not u.startswith((ours, "data:", "blob:" + ours))]
    assert not others, others


def test_a_chat_from_first_word_to_reload():
    s = Server(["--model", DEMO])
    b = page(s)
    try:
        assert b.until("document.title").startswith(("recurd", "gated-deltanet"))
        say(b, "Tell me a story.")                                    # 1 send by the keyboard
        answered(b, 1)
        assert "tokens" in b.text(".turn.assistant .soft"), b.text()
        first = b.text(".turn.assistant .text")
        b.click("#prompt")                                            # 2 send by the button
        b.type("And then?\n")
        b.click("#send")
        answered(b, 2)
        assert re.search(r"prompt \d+, [1-9]\d* from the cache", b.text("main")), b.text("main")
        picture(b, "desktop")
        b.click(".turn.assistant button", "Regenerate")               # 3 the first answer again
        answered(b, 1)
        b.click(".turn.user button", "Edit")                          # 4 edit the first turn
        assert b.run("document.querySelector('#prompt').value") == "Tell me a story."
        assert b.count(".turn") == 0
        b.set("#prompt", "Say <b>hello</b> & `code`.")                # 5 text stays text
        b.click("#send")
        answered(b, 1)
        assert b.text(".turn.user .text").strip() == "Say <b>hello</b> & `code`."
        assert b.count(".turn b") == 0
        b.reload()                                                    # 6 it is still there
        b.until("document.querySelectorAll('.turn').length === 2")
        assert first
        b.click("#new")                                               # 7 another conversation
        b.until("document.querySelectorAll('.turn').length === 0")
        assert b.count(".talks a") == 2
        b.click(".talks a span", "Tell me a story.")                  # 8 and back
        b.until("document.querySelectorAll('.turn').length === 2")
        b.click(".talks a button")                                    # 9 delete, and think better of it
        b.until("document.querySelector('#ask').open")
        b.click("#ask button", "Cancel")
        assert b.count(".talks a") == 2
        b.click(".talks a button")                                    # 10 delete
        b.until("document.querySelector('#ask').open")
        b.click("#ask-ok")
        b.until("document.querySelectorAll('.talks a').length === 1")
        sound(b, s)
    finally:
        b.close()
        s.stop(9)


def test_settings_stop_and_errors():
    s = Server(["--model", DEMO])
    b = page(s)
    try:
        b.click("#settings summary")                                  # 11 settings
        b.set("[name=temperature]", "0")
        b.set("[name=max_tokens]", "3")
        b.set("[name=system]", "You are short.")
        say(b, "Hello")
        answered(b, 1)
        assert "3 tokens" in b.text(".turn.assistant") and "cut" in b.text(".turn.assistant")
        b.set("[name=max_tokens]", "100000")                          # 12 stop
        b.run("fetch = ((f) => (u, o) => f(u, o?.body ? {...o, body: JSON.stringify("
              "{...JSON.parse(o.body), ignore_eos: true})} : o))(fetch)")
        say(b, "A very long story, please.")
        b.until("document.querySelectorAll('.turn.assistant')[1]?.innerText.length > 40")
        b.click("#stop")
        b.until("document.querySelectorAll('.turn.assistant')[1].innerText.includes('stopped')")
        end = time.time() + Settings.patience(30)
        while s.metrics()["recurd_requests_running"]:
            assert time.time() < end, "the server goes on"
            time.sleep(0.1)
        say(b, "Another one.")                                        # 13 stop by Escape
        b.until("document.querySelectorAll('.turn.assistant')[2]?.innerText.length > 40")
        b.key("Escape", 27)
        b.until("document.querySelectorAll('.turn.assistant')[2].innerText.includes('stopped')")
        b.set("[name=max_tokens]", "5")
        b.set("[name=tools]", "[{")                                   # 14 a fault of the user's
        say(b, "Hello")
        b.until("document.querySelector('.bad')?.innerText.startsWith('Tools:')")
        b.set("[name=tools]", '[{"type":"function"}]')                # 15 a fault the server tells
        say(b, "Hello")
        b.until("document.querySelectorAll('.bad').length === 2")
        assert "tools" in b.text(".turn:last-child .bad"), b.text()
        b.set("[name=tools]", "")
        s.stop(9)
        say(b, "Are you there?")                                      # 16 the server is gone
        b.until("[...document.querySelectorAll('.bad')].at(-1).innerText.includes('cannot be reached')")
        sound(b, s)
    finally:
        b.close()
        s.stop(9)


def test_the_text_playground():
    s = Server(["--model", DEMO])
    b = page(s, "#play")
    try:
        b.set("#text", "Once upon a time")                            # 17 a text goes on
        b.click("#go")
        b.until("document.querySelector('#use').checkVisibility()")
        assert b.count("#tokens button") > 10
        written = b.run("document.querySelector('#tokens').textContent")
        b.click("#tokens button")                                     # 18 what else it could have been
        b.until("document.querySelectorAll('.bar').length >= 8")
        b.click("#use")                                               # 19 it goes behind the text
        assert b.run("document.querySelector('#text').value") == "Once upon a time" + written
        sound(b, s)
    finally:
        b.close()
        s.stop(9)


def test_sessions_are_a_tree():
    s = Server(["--model", DEMO])
    b = page(s, "#sessions")
    try:
        b.click("#create")                                            # 20 create
        b.until("document.querySelectorAll('.tree li').length === 1")
        b.click(".tree a")                                            # 21 a turn in it
        b.until("document.querySelector('#turn')")
        for turn in ("Hello.", "And more."):
            b.set("#turn", turn)
            b.click("#say")
            b.until("document.querySelector('#view').innerText.includes('› ' + %s)" % json.dumps(turn))
        b.until("document.querySelector('.tree').innerText.includes(' 2 turns')")
        b.click(".tree button", "Fork")                               # 22 fork: below its parent
        b.until("document.querySelectorAll('.tree li li').length === 1")
        b.click(".tree button", "Rewind")                             # 23 rewind the first
        b.until("document.querySelector('#ask').open")
        b.enter()
        b.until("/ 1 turns.* 2 turns/s.test(document.querySelector('.tree').innerText)")
        folder = tempfile.mkdtemp(prefix="recurd-page-")
        b.call("Page.setDownloadBehavior", behavior="allow", downloadPath=folder)
        b.click(".tree button", "Export")                             # 24 export and import
        end = time.time() + Settings.patience(30)
        while not [n for n in os.listdir(folder) if n.endswith(".recurd")]:
            assert time.time() < end, "nothing was exported"
            time.sleep(0.1)
        root = b.call("DOM.getDocument")["root"]["nodeId"]
        field = b.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
        b.call("DOM.setFileInputFiles", nodeId=field,
               files=[os.path.join(folder, os.listdir(folder)[0])])
        b.until("document.querySelectorAll('.tree li').length === 3")
        picture(b, "sessions")
        b.click(".tree button", "Delete")                             # 25 delete
        b.until("document.querySelector('#ask').open")
        b.click("#ask-ok")
        b.until("document.querySelectorAll('.tree li').length === 2")
        sound(b, s)
    finally:
        b.close()
        s.stop(9)


def test_live_and_looks():
    s = Server(["--model", DEMO])
    b = page(s, "#live")
    try:
        b.until("document.querySelectorAll('.card').length === 8")    # 26 numbers, and what the model is
        b.until("document.querySelector('#view').innerText.includes('gated_deltanet')")
        s.complete("Once upon a time", max_tokens=40, ignore_eos=True)
        b.until("/too short to keep\\s+1/.test(document.querySelector('#view').innerText)")
        b.dark(True)
        assert b.run("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"
        picture(b, "dark")
        b.click("#theme")                                             # 27 light though it is dark outside
        assert b.run("getComputedStyle(document.body).backgroundColor") == "rgb(251, 251, 250)"
        b.size(390, 800, mobile=True)                                 # 28 a phone: nothing is wider
        for name in ("Chat", "Text", "Sessions", "Live"):
            b.click("header nav a", name)
            b.until("document.querySelector('header nav a[aria-current]').innerText === %r" % name)
            wide = b.run("document.documentElement.scrollWidth")
            assert wide <= 390, "%s is %d wide" % (name, wide)
        b.click("header nav a", "Chat")
        say(b, "\u0645\u0631\u062d\u0628\u0627")                      # 29 right to left
        answered(b, 1)
        assert b.run("getComputedStyle(document.querySelector('.turn.user p')).direction") == "rtl"
        picture(b, "phone")
        b.key("Tab", 9)                                               # 30 the keyboard reaches all
        assert b.run("document.activeElement.tagName") in ("BUTTON", "TEXTAREA", "A")
        sound(b, s)
    finally:
        b.close()
        s.stop(9)


def test_a_long_conversation_stays_quick():
    s = Server(["--model", DEMO])
    b = page(s)
    try:
        b.run("localStorage.setItem('recurd.talks', JSON.stringify([{id: 'long', title: 'long', system: "
              "'', settings: {max_tokens: 8}, tools: '', turns: Array.from({length: 600}, (_, i) => "
              "({role: i % 2 ? 'assistant' : 'user', content: 'word '.repeat(8)}))}]))")
        b.reload()
        b.until("document.querySelectorAll('.turn').length === 600")
        say(b, "x")
        answered(b, 301)
        assert b.count(".turn") == 602
        sound(b, s)
    finally:
        b.close()
        s.stop(9)


def test_keys_are_asked_for():
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as f:
        f.write("bob a-secret-of-some-length-123\n")
        f.flush()
        os.chmod(f.name, 0o600)
        s = Server(["--model", DEMO, "--api-keys", f.name])
        b = page(s)
        try:
            b.until("document.querySelector('#ask').open")
            b.type("wrong")
            b.enter()
            b.until("document.querySelector('#ask').open && document.querySelector('#ask-input').value === ''")
            b.type("a-secret-of-some-length-123")
            b.enter()
            b.until("document.title.startsWith('gated-deltanet')")
            say(b, "Hello")
            answered(b, 1)
            assert not b.count(".bad"), b.text()
            sound(b, s)
        finally:
            b.close()
            s.stop(9)


def test_it_can_be_left_out():
    s = Server(["--model", DEMO, "--page", "0"])
    try:
        assert s.get("/")[0] == 404 and s.get("/ui/app.js")[0] == 404
    finally:
        s.stop(9)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--recurd", default=Settings.recurd)
    p.add_argument("--pictures")
    p.add_argument("names", nargs="*")
    a = p.parse_args()
    global PICTURES
    Settings.recurd, PICTURES = os.path.abspath(a.recurd), a.pictures
    if not browser.find():
        print("skipped: there is no Chromium to look at the page with (apt-get install chromium)")
        return 0
    tests = [(k, v) for k, v in globals().items()
             if k.startswith("test_") and (not a.names or any(n in k for n in a.names))]
    failed = 0
    for name, test in tests:
        t = time.monotonic()
        try:
            test()
            print("ok    %s  %.1f s" % (name, time.monotonic() - t), flush=True)
        except Exception:  # a test that breaks is a test that fails
            failed += 1
            print("FAIL  %s\n%s" % (name, traceback.format_exc()), flush=True)
    print("%d passed, %d failed" % (len(tests) - failed, failed))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
