"""recurd run: a chat in a terminal, driven over a pseudo-terminal.

With a daemon of its own on the demo model; and with a daemon played here, which waits where a real
one would be too fast and says what no real one says.
"""
import http.server
import json
import os
import pty
import re
import select
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import common
from common import DEMO, command, server


class Terminal:
    def __init__(self, *args, env=None):
        self.runtime = tempfile.TemporaryDirectory()
        full = dict(os.environ, XDG_RUNTIME_DIR=self.runtime.name, **(env or {}))
        if "RECURD_API_KEY" not in (env or {}):
            full.pop("RECURD_API_KEY", None)
        self.own, theirs = pty.openpty()
        # A session of its own with this terminal, so that its Ctrl-C is a signal.
        self.proc = subprocess.Popen(command(["run"] + list(args)), stdin=theirs, stdout=theirs, stderr=theirs,
                                     env=full, start_new_session=True,
                                     preexec_fn=lambda: __import__("fcntl").ioctl(0, 0x540E, 0))
        os.close(theirs)
        self.text = ""

    def until(self, pattern):
        """What came up to the pattern, which is taken."""
        end = time.time() + common.Settings.patience(60)
        while True:
            found = re.search(pattern, self.text)
            if found:
                before = self.text[:found.end()]
                self.text = self.text[found.end():]
                return before
            if time.time() > end or not select.select([self.own], [], [], 1)[0] and self.proc.poll() is not None:
                raise AssertionError("no %r in %r" % (pattern, self.text))
            try:
                self.text += os.read(self.own, 65536).decode("utf-8", "replace").replace("\r\n", "\n")
            except OSError:
                raise AssertionError("it ended; no %r in %r" % (pattern, self.text))

    def write(self, text):
        os.write(self.own, text.encode())

    def say(self, line):
        """Says it at the prompt; what comes until the next one, without the echo."""
        self.write(line + "\n")
        self.until(re.escape(line) + r"\n")
        return self.until(r"(?:^|\n)> ")

    def end(self, line="/exit\n"):
        self.write(line)
        code = self.proc.wait(common.Settings.patience(30))
        left = os.listdir(self.runtime.name)
        self.close()
        return code, left

    def close(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()
        os.close(self.own)
        self.runtime.cleanup()


class Played:
    """A daemon that answers as it is told: pieces of text, "wait" until the client is gone, or an error."""

    def __init__(self, *answers):
        self.answers, self.asked, self.gone = list(answers), [], threading.Event()
        played = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def reply(self, status, text):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def do_GET(self):
                self.reply(200, '{"object":"list","data":[{"id":"played"}]}')

            def do_POST(self):
                played.asked.append((json.loads(self.rfile.read(int(self.headers["Content-Length"]))),
                                     self.headers["Authorization"]))
                answer = played.answers.pop(0)
                if isinstance(answer, int):
                    return self.reply(answer, '{"error":{"message":"not so"}}')
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                for piece in answer:
                    if piece == "wait":
                        self.connection.settimeout(common.Settings.patience(60))
                        if self.connection.recv(1) == b"":
                            played.gone.set()
                        return None
                    event = piece if isinstance(piece, str) else json.dumps(piece)
                    self.wfile.write(b"data: " + event.encode() + b"\n\n")
                    self.wfile.flush()
                return None

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.at = "127.0.0.1:%d" % self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def part(**delta):
    return {"choices": [{"index": 0, "delta": delta}]}


def run(*args, env=None, text=""):
    full = dict(os.environ, **(env or {}))
    p = subprocess.run(command(list(args)), input=text, capture_output=True, text=True, env=full,
                       timeout=common.Settings.patience(60))
    return p.returncode, p.stdout, p.stderr


class OwnDaemon(unittest.TestCase):
    def setUp(self):
        if common.Settings.valgrind:
            self.skipTest("valgrind does not follow a program that starts itself")

    def test_a_chat_with_fork_rewind_and_save(self):
        t = Terminal(DEMO, "--slots", "2")
        try:
            self.assertIn("gated-deltanet; /help", t.until(r"\n> "))
            self.assertEqual(len(os.listdir(t.runtime.name)), 1)
            self.assertGreater(len(t.say("Tell me a story about a brave mouse.")), 40)
            self.assertIn("/rewind", t.say("/help"))
            self.assertIn("branch 2", t.say("/fork"))
            self.assertGreater(len(t.say("And then?")), 10)
            self.assertIn("branch 1, 2 messages", t.say("/switch 1"))
            self.assertIn("0 messages", t.say("/rewind"))
            self.assertIn("1 turns cannot be taken back, there are 0", t.say("/rewind"))
            self.assertIn("branch 2, 4 messages", t.say("/switch 2"))
            self.assertIn("only 1 to 2", t.say("/switch 3"))
            self.assertIn("2 messages", t.say("/rewind 1"))
            path = os.path.join(t.runtime.name, "said.json")
            self.assertIn("saved", t.say("/save " + path))
            self.assertIn("File exists", t.say("/save " + path))
            with open(path) as f:
                said = json.load(f)
            self.assertEqual(said["model"], "gated-deltanet")
            self.assertEqual([m["role"] for m in said["messages"]], ["user", "assistant"])
            self.assertEqual(said["messages"][0]["content"], "Tell me a story about a brave mouse.")
            os.unlink(path)
            self.assertEqual(t.end(), (0, []))
        finally:
            if t.proc.poll() is None:
                t.close()

    def test_its_daemon_ends_with_it(self):
        t = Terminal(DEMO, "--slots", "2")
        t.until(r"\n> ")
        children = subprocess.run(["ps", "--no-headers", "-o", "pid", "--ppid", str(t.proc.pid)], capture_output=True,
                                  text=True).stdout.split()
        self.assertEqual(len(children), 1)
        t.proc.send_signal(signal.SIGKILL)
        t.proc.wait()
        end = time.time() + common.Settings.patience(30)
        while os.path.exists("/proc/%s/exe" % children[0]) and time.time() < end:
            time.sleep(0.05)
        self.assertFalse(os.path.exists("/proc/%s/exe" % children[0]))
        t.close()

    def test_a_model_that_is_none_and_a_wrong_flag(self):
        code, _, err = run("run", "/nonexistent/model")
        self.assertEqual(code, 4, err)
        self.assertIn("/nonexistent/model", err)
        code, _, err = run("run", "--slotz", "3")
        self.assertEqual(code, 2)
        self.assertIn("do you mean --slots", err)
        self.assertEqual(run("run", "--describe")[0], 2)

    def test_serve_is_what_is_done_without_a_word(self):
        self.assertEqual(run("serve", "--check-config", "--slots", "3"), run("--check-config", "--slots", "3"))


class PlayedDaemon(unittest.TestCase):
    def chat(self, *answers, env=None):
        p = Played(*answers)
        self.addCleanup(p.close)
        t = Terminal("--listen", p.at, env=env)
        self.addCleanup(lambda: t.proc.poll() is None and t.close())
        self.assertIn("played", t.until(r"\n> "))
        return p, t

    def test_control_c_stops_the_answer_and_what_there_is_stays(self):
        p, t = self.chat([part(content="Once"), "wait"], [part(content="More"), "[DONE]"])
        t.write("A story\n")
        t.until("Once")
        t.write("\x03")
        t.until(r"\(stopped\)\n> ")
        self.assertTrue(p.gone.wait(common.Settings.patience(30)))
        t.say("Go on")
        self.assertEqual([m["content"] for m in p.asked[1][0]["messages"]], ["A story", "Once", "Go on"])
        self.assertTrue(p.asked[1][0]["stream"])
        t.write("half a line\x03")
        t.until(r"Ctrl-D ends\)\n> ")
        self.assertEqual(t.end("\x04"), (0, []))

    def test_a_model_does_not_steer_the_terminal(self):
        p, t = self.chat([part(content="a\x1b[2Jb\x07\u009b31mc\td\u00e9\n"), "[DONE]"])
        shown = t.say("x")
        self.assertIn("a[2Jb31mc", shown)
        self.assertIn("d\u00e9", shown)
        self.assertNotRegex(shown, "[\x00-\x08\x0b-\x1f\x7f-\x9f]")
        t.end()

    def test_thoughts_are_shown_and_not_sent_again(self):
        p, t = self.chat([part(reasoning_content="hm"), part(content="yes"), "[DONE]"],
                         [part(content="ok"), "[DONE]"])
        self.assertIn("hm", t.say("x"))
        t.say("y")
        self.assertEqual(p.asked[1][0]["messages"][1], {"role": "assistant", "content": "yes"})
        t.end()

    def test_faults_are_told_and_the_question_can_be_asked_again(self):
        p, t = self.chat(429, ["{"], [{"error": {"message": "broken"}}], [part(content="b"), "[DONE]"],
                         env={"RECURD_API_KEY": "0123456789abcdef"})
        self.assertIn("status 429: not so", t.say("x"))
        self.assertIn("could not be read", t.say("x"))
        self.assertIn("broken", t.say("x"))
        t.say("x")
        self.assertEqual(len(p.asked[3][0]["messages"]), 1)
        self.assertEqual(p.asked[3][1], "Bearer 0123456789abcdef")
        self.assertIn("no command /nope", t.say("/nope"))
        t.end()

    def test_lines_that_are_no_text(self):
        p, t = self.chat()
        os.write(t.own, b"\xff\n")
        self.assertIn("not UTF-8", t.until(r"\n> "))
        t.end()


class RunningDaemon(unittest.TestCase):
    def test_one_that_runs_is_asked(self):
        s = server()
        code, out, err = run("run", "--listen", "127.0.0.1:%d" % s.port, text="Tell me a story.\n/history")
        self.assertEqual((code, err), (0, ""))
        self.assertIn("assistant: ", out)
