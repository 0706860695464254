"""Streams: framing, heartbeats, clients that leave, slow readers, gaps."""
import json
import socket
import threading
import time
import unittest

import common
from common import DEMO, Stream, in_threads, server, wait_for

LONG = {"prompt": "Once upon a time", "max_tokens": 1000000, "ignore_eos": True, "stream": True,
        "temperature": 0}


def dechunk(data):
    """The body in these chunks, of which nothing may be missing."""
    out = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        n = int(size, 16)
        assert len(data) >= n + 2 and data[n:n + 2] == b"\r\n", "a chunk of %d bytes is cut" % n
        out, data = out + data[:n], data[n + 2:]
        if n == 0:
            assert not data, "%d bytes behind the last chunk" % len(data)
            return out


class Framing(unittest.TestCase):
    def setUp(self):
        self.s = server("--model", DEMO)

    def test_every_frame_is_whole_utf8_and_json(self):
        # High temperature and a bias towards byte tokens: many broken and partial characters.
        pieces = self.s.post("/tokenize", {"prompt": "\U0001F600\u4f60\u00e9",
                                           "add_special_tokens": False})["tokens"]
        bias = {str(i): 12 for i in pieces}
        for seed in range(common.Settings.rounds(8)):
            body = {"prompt": "Hi", "max_tokens": 120, "temperature": 2, "top_p": 1, "seed": seed,
                    "ignore_eos": True, "logit_bias": bias, "logprobs": 1}
            st = Stream(self.s, "/v1/completions", dict(body, stream=True))
            text = "".join(e["choices"][0]["text"] for e in st.events())
            st.close()
            self.assertEqual(text, self.s.post("/v1/completions", body)["choices"][0]["text"])
            text.encode("utf-8")

    def test_a_silent_stream_gets_comments(self):
        s = server("--model", DEMO, "--slots", "1", "--heartbeat", "1")
        first = Stream(s, "/v1/completions", LONG)
        next(first.events())
        second = Stream(s, "/v1/completions", dict(LONG, max_tokens=2))
        frame = next(second.frames())
        self.assertTrue(frame.startswith(": "), frame)
        first.reset()
        events = list(second.events())
        self.assertTrue(events and second.done)
        second.close()
        s.wait_idle()


class Leaving(unittest.TestCase):
    def setUp(self):
        self.s = server("--model", DEMO)
        self.s.wait_idle()

    def test_mid_stream_by_fin_and_by_rst(self):
        for leave in (Stream.close, Stream.reset):
            st = Stream(self.s, "/v1/completions", LONG)
            events = st.events()
            for _ in range(3):
                next(events)
            leave(st)
            self.s.wait_idle()

    def test_while_a_whole_reply_is_made(self):
        before = self.s.metrics()["recurd_requests_cancelled_total"]
        for rst in (False, True):
            sock = self.s.connect()
            body = json.dumps(dict(LONG, stream=False)).encode()
            sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json"
                         b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            wait_for(lambda: self.s.metrics()["recurd_requests_running"] == 1)
            if rst:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.close()
            self.s.wait_idle()
        after = self.s.metrics()["recurd_requests_cancelled_total"]
        self.assertEqual(after - before, 2)

    def test_during_a_long_prompt(self):
        st = Stream(self.s, "/v1/completions", dict(LONG, prompt=[5] * 200000))
        wait_for(lambda: self.s.metrics()["recurd_requests_running"] == 1)
        st.reset()
        self.s.wait_idle()

    def test_inside_headers_and_bodies(self):
        for data in (b"GET", b"GET /health HTTP/1.1\r\nHo", b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
                     b"Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"prompt\""):
            sock = self.s.connect()
            sock.sendall(data)
            sock.close()
        self.s.wait_idle()

    def test_half_a_close_keeps_a_stream(self):
        st = Stream(self.s, "/v1/completions", LONG)
        st.sock.shutdown(socket.SHUT_WR)
        drawn = self.s.metrics()["recurd_output_tokens_total"]
        for i, _ in enumerate(st.events()):  # until it must have been drawn afterwards
            if i % 100 == 99 and self.s.metrics()["recurd_output_tokens_total"] > drawn + 1000:
                break
        self.assertEqual(self.s.metrics()["recurd_http_generations"], 1)
        st.reset()
        self.s.wait_idle()
        st = Stream(self.s, "/v1/completions", dict(LONG, max_tokens=30))
        st.sock.shutdown(socket.SHUT_WR)
        self.assertGreaterEqual(len(list(st.events())), 2)
        self.assertTrue(st.done)
        st.close()

    def test_a_reader_that_stops_is_held_back_and_then_cut(self):
        s = server("--model", DEMO, "--stall-timeout", "1")
        st = Stream(s, "/v1/completions", dict(LONG, logprobs=20))
        # It never reads: buffers fill, then a second passes.
        wait_for(lambda: s.metrics()["recurd_http_timeouts_total"] >= 1)
        s.wait_idle()
        st.close()

    def test_a_reader_that_takes_too_little_over_its_request_is_cut(self):
        """It never falls silent: a little is read all the time, and more than once a second."""
        s = server("--model", DEMO, "--stall-timeout", "1")
        st = Stream(s, "/v1/completions", dict(LONG, logprobs=20))
        st.sock.settimeout(common.Settings.patience(60))
        end, cut = time.time() + common.Settings.patience(60), False
        while time.time() < end and not cut:
            try:
                cut = not st.sock.recv(1000)
            except OSError:
                cut = True
            time.sleep(0.1)
            cut = cut or s.metrics()["recurd_http_timeouts_total"] >= 1
        self.assertTrue(cut, "it is still served")
        s.wait_idle()
        st.close()

    def test_a_reader_that_comes_late_finds_every_byte(self):
        """Its socket fills in the middle of chunks, more than once; in HTTP/1.0 there are none."""
        body = {"prompt": "Once", "max_tokens": 400, "ignore_eos": True, "temperature": 0,
                "logprobs": 20}
        whole = self.s.post("/v1/completions", body)["choices"][0]["text"]
        sent = json.dumps(dict(body, stream=True)).encode()
        for version in (b"1.0", b"1.1"):
            sock = self.s.connect(60, room=4096)
            sock.sendall(b"POST /v1/completions HTTP/%s\r\nHost: localhost\r\nConnection: close\r\n"
                         b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                         % (version, len(sent), sent))
            got = b""
            while piece := sock.recv(65536):
                if len(got) < 100000:
                    time.sleep(0.01)
                got += piece
            sock.close()
            head, _, got = got.partition(b"\r\n\r\n")
            self.assertEqual(b"chunked" in head, version == b"1.1", head)
            text, events = dechunk(got) if version == b"1.1" else got, []
            for frame in text.decode().split("\n\n"):
                if frame and frame != "data: [DONE]":
                    events.append(json.loads(frame.removeprefix("data: ")))
            self.assertTrue(text.endswith(b"data: [DONE]\n\n"))
            self.assertEqual("".join(e["choices"][0]["text"] for e in events), whole)

    def drawn(self):
        return self.s.metrics()["recurd_output_tokens_total"]

    def test_one_slow_reader_does_not_slow_the_others(self):
        slow = Stream(self.s, "/v1/completions", dict(LONG, logprobs=20))
        # Its buffers fill, and nothing more is drawn for it. Whoever waited for it would not end.
        wait_for(lambda: self.drawn() == (time.sleep(0.3), self.drawn())[1])
        self.s.complete("Once", max_tokens=50, ignore_eos=True)
        slow.reset()
        self.s.wait_idle()


class Gap(unittest.TestCase):
    def test_a_stream_goes_on_while_a_long_prompt_arrives(self):
        """Counted, not timed."""
        for budget in ("512", "64"):
            self.while_a_prompt_arrives(budget, "--step-tokens", budget, "--target-gap-ms", "0")
        self.while_a_prompt_arrives("512", "--target-gap-ms", "1")
        m = self.while_a_prompt_arrives("512")
        # What streams alone take has been measured, whatever it is, and prompts kept to it.
        self.assertGreater(m["recurd_step_target_seconds"], 0)

    def while_a_prompt_arrives(self, budget, *flags):
        s = server("--model", DEMO, *flags)
        st = Stream(s, "/v1/completions", LONG)
        next(st.events())
        done = threading.Event()

        def long_prompt():
            alone = s.metrics()["recurd_steps_total"] + 300  # what its steps take is known by then
            wait_for(lambda: s.metrics()["recurd_steps_total"] > alone)
            before = s.metrics()
            try:
                s.complete([(7 * i) % 4000 + 10 for i in range(2000)], max_tokens=1)
            finally:
                done.set()
            after = s.metrics()
            return [after[k] - before[k] for k in ("recurd_steps_total",
                                                   "recurd_output_tokens_total")]

        def read():
            while not done.is_set():
                st.sock.recv(1 << 16)

        (steps, drawn), _ = in_threads([long_prompt, read])
        print("\n%s: %d steps while a 2,000-token prompt came, %d tokens drawn" %
              (" ".join(flags), steps, drawn))
        self.assertGreaterEqual(steps, 2000 // int(budget))
        # A token of the stream in every step (that of the last may not be counted yet).
        self.assertGreaterEqual(drawn, steps - 2)
        st.reset()
        return s.wait_idle()


if __name__ == "__main__":
    unittest.main()
