"""The process: flags, failures at start, the service manager's part, signals, draining."""
import http.client
import io
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import common
from common import DEMO, ROOT, Server, Stream, command, in_threads, server, wait_for

LONG = {"prompt": "Once upon a time", "max_tokens": 1000000, "ignore_eos": True, "stream": True}


def run(*args, env=None):
    p = subprocess.run(command(list(args)), capture_output=True, text=True, env=env,
                       timeout=common.Settings.patience(30))
    return p.returncode, p.stdout, p.stderr


class Flags(unittest.TestCase):
    def test_help_version_and_the_shipped_configuration(self):
        code, out, err = run("--help")
        self.assertEqual((code, err), (0, ""))
        for flag in ("--model", "--listen", "--state-dir", "--device", "--slots", "--threads",
                     "--load-format", "--config", "--check-config", "--describe"):
            self.assertIn(flag, out)
        self.assertTrue(run("--version")[1].startswith("recurd 0."))
        self.assertEqual(run("-V"), run("--version"))
        self.assertEqual(run("-h"), run("--help"))
        with open(os.path.join(ROOT, "etc", "recurd.conf")) as f:
            self.assertEqual(run("--default-config")[1], f.read())

    def test_file_then_flags(self):
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
            f.write("# a comment\nslots = 3\nqueue = 5\nlisten = 127.0.0.1:1\n")
            f.flush()
            code, out, _ = run("--queue", "7", "--config", f.name, "--check-config")
        self.assertEqual(code, 0)
        self.assertIn("slots = 3\n", out)
        self.assertIn("queue = 7\n", out)

    def test_the_password_of_a_url_is_not_printed(self):
        for url, shown in (("redis://me:se:cr@et@host:1/2", "redis://me:***@host:1/2"),
                           ("redis://:secret@host", "redis://:***@host"),
                           ("redis+unix://me@/a:b@c", "redis+unix://me@/a:b@c"),
                           ("redis://host:6379/0", "redis://host:6379/0")):
            code, out, err = run("--shared", url, "--check-config")
            self.assertEqual((code, err), (0, ""))
            self.assertIn("shared = %s\n" % shown, out)

    def test_every_mistake_is_one_sentence_and_code_2(self):
        rows = [(["--slots", "0"], "slots"), (["--slots", "x"], "slots"), (["--slots", "4097"], "slots"),
                (["--slots", "1e3"], "slots"), (["--slots"], "slots"), (["--what", "1"], "what"),
                (["extra"], "extra"), (["--config", "/nonexistent"], "/nonexistent"),
                (["--load-format", "gguf"], "load-format"), (["--quantize", "q3"], "quantize"),
                (["--log-level", "loud"], "log-level"), (["--replica", "a b"], "replica"),
                (["--slots", "99999999999999999999"], "slots")]
        for args, word in rows:
            code, out, err = run(*args, "--check-config")
            self.assertEqual((code, out), (2, ""), args)
            self.assertEqual(err.count("\n"), 1, err)
            self.assertIn(word, err)
        for text, word in [("slots = x\n", "slots"), ("nothing = 1\n", "nothing"), ("slots\n", "line 1"),
                           ("[a]\nslots = 1\n", "[a]"), ("slots = 1\nslots = 2\n", "slots"),
                           ("slots = 1\n  2\n", "slots"), ("x" * 300, "line 1"), ("a\0b", "line 1"),
                           ("model =\n", "model")]:
            with tempfile.NamedTemporaryFile("w", suffix=".conf") as f:
                f.write(text)
                f.flush()
                code, out, err = run("--config", f.name, "--check-config")
            self.assertEqual((code, out, err.count("\n")), (2, "", 1), (text, err))
            self.assertIn(word, err)

    def test_describe_says_what_a_session_costs(self):
        code, out, err = run("--describe", "--model", DEMO)
        self.assertEqual(code, 0, err)
        for word in ("gated_deltanet", "session bytes, fixed: 598016", "per token: 0", "kernels:",
                     "arithmetic: cpu-"):
            self.assertIn(word, out)
        self.assertNotIn("16 bits", out)

    def test_describe_says_how_quantised_weights_are_multiplied(self):
        flags = ("--describe", "--model", DEMO, "--quantize", "q8", "--device", "cpu")
        for kernels, ends in (("int16,float32", "+int16/%s, quantised weights by inputs of 16 bits"),
                              ("float32", "/%s")):
            code, out, err = run(*flags, "--kernels", kernels)
            self.assertEqual(code, 0, err)
            says = re.search(r"^arithmetic: cpu-\w+(\+int16/|/)(\d+)(.*)$", out, re.M)
            self.assertEqual(says.group(1) + says.group(2) + says.group(3), ends % says.group(2))


class FailuresAtStart(unittest.TestCase):
    def one_sentence(self, args, code, *words):
        got, out, err = run("--listen", "127.0.0.1:0", *args)
        self.assertEqual(got, code, err)
        lines = [l for l in err.splitlines() if l.startswith("recurd: ")]
        self.assertEqual(len(lines), 1, err)
        for w in words:
            self.assertIn(w, err)

    def copy(self):
        d = tempfile.mkdtemp(prefix="recurd-test-")
        self.addCleanup(shutil.rmtree, d)
        for f in os.listdir(DEMO):
            shutil.copy(os.path.join(DEMO, f), d)
        return d

    def test_a_port_in_use(self):
        s = server("--model", DEMO)
        got, _, err = run("--model", DEMO, "--listen", "127.0.0.1:%d" % s.port)
        self.assertEqual(got, 3, err)
        self.assertIn(str(s.port), err)

    def test_addresses_that_are_none(self):
        for spec in ("8080", "127.0.0.1", "127.0.0.1:x", "256.0.0.1:80", "127.0.0.1:99999", "unix:",
                     "unix:/nonexistent/dir/sock", "192.0.2.1:8080"):
            got, _, err = run("--model", DEMO, "--listen", spec)
            self.assertEqual(got, 3, spec + err)

    def test_a_missing_model(self):
        self.one_sentence(["--model", "/nonexistent"], 4, "/nonexistent")

    def test_damaged_files_of_every_kind(self):
        for name, damage in [("config.json", b"{"), ("config.json", b""),
                             ("model.safetensors", b"\xff" * 100), ("model.safetensors", b""),
                             ("tokenizer.model", b"garbage" * 50), ("tokenizer.model", b""),
                             ("tokenizer_config.json", b"[]"), ("generation_config.json", b"nope")]:
            d = self.copy()
            with open(os.path.join(d, name), "wb") as f:
                f.write(damage)
            with self.subTest(name=name, damage=damage[:8]):
                self.one_sentence(["--model", d], 4, name)

    def test_a_cut_weight_file(self):
        d = self.copy()
        path = os.path.join(d, "model.safetensors")
        os.truncate(path, os.path.getsize(path) - 1)
        self.one_sentence(["--model", d], 4, "model.safetensors")

    def test_an_unknown_device_or_architecture(self):
        self.one_sentence(["--model", DEMO, "--device", "abacus"], 5, "abacus")
        d = self.copy()
        with open(os.path.join(d, "config.json")) as f:
            c = json.load(f)
        c["model_type"] = "transformer9"
        with open(os.path.join(d, "config.json"), "w") as f:
            json.dump(c, f)
        self.one_sentence(["--model", d], 4, "transformer9")

    def test_the_bundled_model_is_the_default(self):
        s = Server([])
        self.assertEqual(s.get("/v1/models")[1]["data"][0]["id"], "gated-deltanet")
        self.assertEqual(s.stop(), 0)


class Manager:
    """Plays the service manager: a datagram socket that hears what the daemon says, at once: one
    that nobody reads is full after ten messages, and a daemon that loads for long waits for it."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="recurd-notify-")
        self.path = os.path.join(self.dir, "notify")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.heard = queue.Queue()
        self.ear = threading.Thread(target=self.listen, daemon=True)
        self.ear.start()

    def listen(self):
        for message in iter(lambda: self.sock.recv(4096), b"the end"):
            self.heard.put(message.decode())

    def next(self, seconds):
        """None: nothing came."""
        try:
            return self.heard.get(timeout=max(0.01, seconds))
        except queue.Empty:
            return None

    def wait_for(self, word, seconds=20):
        end = time.time() + common.Settings.patience(seconds)
        heard = []
        while time.time() < end:
            message = self.next(end - time.time())
            heard += [message] if message else []
            if message and word in message:
                return message
        raise AssertionError("no %s; heard %s" % (word, heard))

    def close(self):
        self.sock.sendto(b"the end", self.path)
        self.ear.join()
        self.sock.close()
        shutil.rmtree(self.dir)


class Service(unittest.TestCase):
    def setUp(self):
        self.m = Manager()
        self.addCleanup(self.m.close)

    def start(self, *args, **env):
        s = Server(["--model", DEMO] + list(args), env=dict(env, NOTIFY_SOCKET=self.m.path))
        self.addCleanup(lambda: s.proc.poll() is None and s.proc.kill())
        return s

    def test_ready_comes_when_requests_are_served(self):
        s = self.start()
        message = self.m.wait_for("READY=1")
        self.assertIn("STATUS=serving gated-deltanet", message)
        s.complete("Once", max_tokens=1)
        s.proc.send_signal(signal.SIGTERM)
        self.m.wait_for("STOPPING=1")
        self.assertEqual(s.stop(), 0)

    def test_the_watchdog_is_fed_idle_and_busy_and_not_by_a_stopped_process(self):
        limit = int(common.Settings.patience(1) * 1e6)
        s = self.start(WATCHDOG_USEC=str(limit))
        self.m.wait_for("READY=1")
        for _ in range(3):
            self.m.wait_for("WATCHDOG=1", 2)
        st = Stream(s, "/v1/completions", LONG)
        for _ in range(3):
            self.m.wait_for("WATCHDOG=1", 2)
        st.reset()
        if not common.Settings.valgrind:
            s.proc.send_signal(signal.SIGSTOP)
            time.sleep(0.2)
            while self.m.next(0):
                pass
            self.assertIsNone(self.m.next(1.5))
            s.proc.send_signal(signal.SIGCONT)
        self.assertEqual(s.stop(), 0)

    def test_running_requests_finish_and_new_ones_are_refused_while_draining(self):
        s = self.start()
        self.m.wait_for("READY=1")
        idle = [s.connection() for _ in range(20)]
        for c in idle:
            c.request("GET", "/health")
            c.getresponse().read()
        st = Stream(s, "/v1/completions", dict(LONG, max_tokens=400))
        events = st.events()
        next(events)
        endless = Stream(s, "/v1/completions", LONG)  # the other may end before we look
        s.proc.send_signal(signal.SIGTERM)
        self.m.wait_for("STOPPING=1")

        def refused():
            c = idle.pop()  # each may ask once: whatever it hears, it is told to close
            c.request("POST", "/v1/completions", json.dumps({"prompt": "a", "max_tokens": 1}),
                      {"Content-Type": "application/json"})
            r = c.getresponse()
            self.assertEqual(r.getheader("Connection"), "close")
            return r.status == 503 and json.loads(r.read())["error"]["code"]
        self.assertEqual(wait_for(refused, every=0.1), "shutting_down")
        with self.assertRaises(OSError):
            s.connect().recv(1) or (_ for _ in ()).throw(OSError())
        endless.reset()
        rest = list(events)
        self.assertTrue(st.done)
        self.assertEqual(rest[-1]["choices"][0]["finish_reason"], "length")
        st.close()
        self.assertEqual(s.stop(), 0)

    def test_what_does_not_finish_gets_an_error_event_and_the_exit_is_clean(self):
        s = self.start("--drain", "1")
        self.m.wait_for("READY=1")
        streams = [Stream(s, "/v1/completions", LONG) for _ in range(8)]
        iterators = [st.events() for st in streams]
        for it in iterators:
            next(it)
        whole = []

        def wait_whole():
            whole.append(s.request("POST", "/v1/completions", dict(LONG, stream=False)))

        def stop():
            wait_for(lambda: s.metrics()["recurd_requests_running"] == len(streams) + 1)
            return s.stop()

        # Whoever takes long to read what waits there would not hear the end of it.
        results = in_threads([wait_whole, stop] + [st.file.read for st in streams])
        self.assertEqual(results[1], 0, s.text())
        self.assertEqual(whole[0][0], 503)
        for st, it, data in zip(streams, iterators, results[2:]):
            st.file = io.BytesIO(data)
            events = list(it)
            self.assertEqual(events[-1]["error"]["code"], "shutting_down")
            self.assertFalse(st.done)
            st.close()

    def test_a_second_signal_ends_the_draining(self):
        s = self.start()
        self.m.wait_for("READY=1")
        st = Stream(s, "/v1/completions", LONG)
        it = st.events()
        next(it)
        s.proc.send_signal(signal.SIGTERM)
        self.m.wait_for("STOPPING=1")
        s.proc.send_signal(signal.SIGINT)
        self.assertEqual(list(it)[-1]["error"]["code"], "shutting_down")
        self.assertEqual(s.stop(), 0)
        st.close()

    def test_sighup_changes_nothing(self):
        s = self.start()
        for _ in range(20):
            s.proc.send_signal(signal.SIGHUP)
        s.complete("Once", max_tokens=1)
        self.assertEqual(s.stop(signal.SIGINT), 0)

    def test_an_inherited_socket_is_served(self):
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        port = listener.getsockname()[1]
        # The pid check of the protocol needs the child's own pid: a shell sets it and execs.
        script = 'exec 3<&%d; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"' % listener.fileno()
        with tempfile.TemporaryFile() as log:
            p = subprocess.Popen(["bash", "-c", script, "sh"] + command(["--model", DEMO]),
                                 stdout=log, stderr=log, pass_fds=[listener.fileno()])
            c = socket.create_connection(("127.0.0.1", port), timeout=common.Settings.patience(20))
            c.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            self.assertIn(b"200 OK", c.recv(4096))  # it waited in the backlog until READY
            c.close()
            p.send_signal(signal.SIGTERM)
            self.assertEqual(p.wait(common.Settings.patience(20)), 0)
        listener.close()

    def test_whoever_comes_to_an_inherited_socket_while_draining_is_served_by_the_next_process(self):
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        script = 'exec 3<&%d; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"' % listener.fileno()
        args = ["bash", "-c", script, "sh"] + command(["--model", DEMO, "--drain", "2"])
        get = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

        def connect():
            c = socket.create_connection(listener.getsockname(), timeout=common.Settings.patience(20))
            c.sendall(get)
            return c

        env = dict(os.environ, NOTIFY_SOCKET=self.m.path)
        with tempfile.TemporaryFile() as log:
            first = subprocess.Popen(args, stdout=log, stderr=log, env=env,
                                     pass_fds=[listener.fileno()])
            self.assertIn(b"200 OK", connect().recv(4096))
            body = json.dumps(LONG).encode()
            busy = socket.create_connection(listener.getsockname())  # keeps it draining
            busy.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                         b"Content-Length: %d\r\n\r\n" % len(body) + body)
            self.assertIn(b"200 OK", busy.recv(4096))
            first.send_signal(signal.SIGTERM)
            self.m.wait_for("STOPPING=1")  # from here on it accepts nobody
            late = connect()
            late.settimeout(0.3)
            with self.assertRaises(socket.timeout):
                late.recv(1)
            self.assertEqual(first.wait(common.Settings.patience(20)), 0)
            second = subprocess.Popen(args, stdout=log, stderr=log, pass_fds=[listener.fileno()])
            late.settimeout(common.Settings.patience(20))
            self.assertIn(b"200 OK", late.recv(4096))
            second.send_signal(signal.SIGTERM)
            self.assertEqual(second.wait(common.Settings.patience(20)), 0)
            busy.close()
            late.close()
        listener.close()

    def test_a_stop_while_clients_ask_is_clean(self):
        """Requests that come while the server closes neither wait in it nor stop it badly."""
        for i in range(common.Settings.rounds(20)):
            s = Server(["--model", DEMO, "--state-memory", "0", "--drain", "0"])
            done = []

            def ask():
                c = s.connection()
                try:
                    while not done:
                        c.request("GET", "/v1/sessions")
                        c.getresponse().read()
                except (OSError, http.client.HTTPException):
                    pass  # it is gone
                c.close()

            threads = [threading.Thread(target=ask) for _ in range(4)]
            for t in threads:
                t.start()
            time.sleep(0.01 * (i % 4))
            code = s.stop()
            done.append(True)
            for t in threads:
                t.join()
            self.assertEqual(code, 0, s.text())

    def test_a_unix_socket_is_served_and_a_stale_one_replaced(self):
        path = os.path.join(self.m.dir, "http")
        for _ in range(2):
            s = self.start("--listen", "unix:" + path)
            c = socket.socket(socket.AF_UNIX)
            c.connect(path)
            c.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            self.assertIn(b"200 OK", c.recv(4096))
            c.close()
            self.assertEqual(s.stop(), 0)
            self.assertFalse(os.path.exists(path))
        with socket.socket(socket.AF_UNIX) as stale:  # of one that could not clean up
            stale.bind(path)
        s = self.start("--listen", "unix:" + path)
        self.assertEqual(s.stop(), 0)


if __name__ == "__main__":
    unittest.main()
