#!/usr/bin/env python3
"""A fake OpenAI-compatible server with known delays and known faults, for testing recurd-bench.

The model name of a request says how to behave: "ttft=200;itl=20;close=3". Every reply is logged
with the moments at which its parts were written (CLOCK_MONOTONIC, the client's own clock), so a
test can compare what the client reports with what happened. Standard library only.

  ttft, itl        milliseconds before the first and between further tokens
  together         no token before so many requests were open at once
  spread           each delay is multiplied by 1 .. 1+spread, evenly over the requests
  stall_at, stall  seconds since the first request: nothing is written in [stall_at, +stall]
  cut              bytes of one write; the rest follows after a turn of the event loop
  eol              lf, crlf or cr: line ends of the event stream
  length           the stream has a content-length; until_close: it has neither length nor chunks
  every            the fault below hits every n-th request only (default: all)
  status           this status and an error body
  malformed, error, close, reset, half, hang, nodone
                   after so many tokens: a broken event, an error event, a close, a reset, a
                   half-close that leaves the socket open, silence, an end without [DONE]
  garbage          something that is not HTTP; hugehead: a header that never ends
  drop             closes the kept-alive connection after the reply without saying so
  die              kills the server when so many requests are over
  wrong            logprobs change in the last digit when other requests are open
  notids           no token ids in the reply
"""
import argparse
import asyncio
import hashlib
import json
import os
import signal
import socket
import struct
import sys
import time


class Server:
    def __init__(self, log):
        self.log = log
        self.t0 = None
        self.n = 0
        self.over = 0
        self.open = 0
        self.peak = 0
        self.gathered = {}  # by how many are waited for
        self.sessions = {}
        self.ids = 0
        self.counters = {"fake_requests_total": 0, "fake_tokens_total": 0}

    async def client(self, reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            while await self.one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def one(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        method, path, _ = lines[0].split(" ", 2)
        headers = {k.lower(): v.strip() for k, v in (s.split(":", 1) for s in lines[1:] if s)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        received = time.monotonic_ns()
        if path in ("/v1/completions", "/v1/chat/completions"):
            return await self.generate(writer, path, json.loads(body), received)
        status, out = self.control(method, path)
        kind = b"text/plain" if path == "/metrics" else b"application/json"
        writer.write(b"HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" %
                     (status, kind, len(out)) + out)
        await writer.drain()
        return True

    def control(self, method, path):
        if path == "/metrics":
            text = "# HELP fake\n" + "".join("%s %d\n" % kv for kv in self.counters.items())
            return 200, text.encode() + b'fake_open{kind="a b"} %d\n' % self.open
        if path == "/version":
            return 200, b'{"version":"fake-1"}'
        if path == "/v1/models":
            return 200, b'{"object":"list","data":[{"id":"ttft=5;itl=1"}]}'
        parts = path.strip("/").split("/")
        if parts[:2] == ["v1", "sessions"]:
            if method == "DELETE" and len(parts) == 3:
                gone = self.sessions.pop(parts[2], None)
                return (200, b"{}") if gone is not None else (404, b"{}")
            base = 0
            if len(parts) == 4 and parts[3] == "fork":
                if parts[2] not in self.sessions:
                    return 404, b'{"error":{"message":"no such session"}}'
                base = self.sessions[parts[2]]
            self.ids += 1
            name = "s%032x" % self.ids
            self.sessions[name] = base
            return 200, json.dumps({"id": name}).encode()
        return 404, b'{"error":{"message":"unknown path"}}'

    async def until(self, t):
        """Sleeps until t (seconds of the loop's clock), and through the stall."""
        b = self.stall
        if b and b[0] <= t < b[1]:
            t = b[1]
        now = time.monotonic()
        if t > now:
            await asyncio.sleep(t - now)

    async def generate(self, writer, path, req, received):
        how = {}
        for part in req["model"].split(";"):
            k, _, v = part.partition("=")
            how[k] = v
        if self.t0 is None:
            self.t0 = time.monotonic()
        self.stall = None
        if "stall" in how:
            at = self.t0 + float(how["stall_at"])
            self.stall = (at, at + float(how["stall"]))
        self.n += 1
        index = self.n
        hit = index % int(how.get("every", 1)) == 0
        self.counters["fake_requests_total"] += 1
        self.open += 1
        if self.open > self.peak:
            self.peak = self.open
            if self.peak in self.gathered:
                self.gathered[self.peak].set()
        entry = {"received": received, "writes": [], "prompt": req.get("prompt") or req["messages"]}
        try:
            return await self.answer(writer, path, req, how, hit, index, entry)
        finally:
            self.open -= 1
            if self.log:
                entry.pop("prompt")
                self.log.write(json.dumps(entry) + "\n")
                self.log.flush()
            self.over += 1
            if self.over == int(how.get("die", 0)):
                os.kill(os.getpid(), signal.SIGKILL)

    def usage(self, req, n):
        prompt = req.get("prompt") or req["messages"]
        new = len(prompt) if isinstance(prompt, list) and "prompt" in req else len(
            json.dumps(prompt).split())
        cached = 0
        if req.get("session") in self.sessions:
            cached = self.sessions[req["session"]]
            self.sessions[req["session"]] = cached + new + n
        return {"prompt_tokens": cached + new, "completion_tokens": n,
                "total_tokens": cached + new + n,
                "prompt_tokens_details": {"cached_tokens": cached}}

    def choice(self, req, how, path, i):
        key = hashlib.sha256(json.dumps(req.get("prompt") or req["messages"]).encode()).hexdigest()
        number = int(hashlib.sha256(("%s %d" % (key, i)).encode()).hexdigest()[:8], 16)
        logprob = -(number % 1000000 + 1) / 1e5
        if "wrong" in how and self.open > 1:
            logprob -= 1e-8
        text = "w%d " % (number % 97)
        c = {"index": 0, "finish_reason": None}
        chat = "chat" in path
        if chat:
            c["delta"] = {"content": text}
        else:
            c["text"] = text
        if req.get("logprobs") not in (None, False):
            if chat:
                c["logprobs"] = {"content": [{"token": text, "logprob": logprob, "top_logprobs": [
                    {"token": text, "logprob": logprob}]}]}
            else:
                c["logprobs"] = {"tokens": [text], "token_logprobs": [logprob],
                                 "top_logprobs": [{text: logprob}]}
        if req.get("return_token_ids") and "notids" not in how:
            c["token_ids"] = [number % 4096]
        return c

    async def send(self, writer, how, data):
        cut = int(how.get("cut", 0))
        if not cut:
            writer.write(data)
            return
        for i in range(0, len(data), cut):
            writer.write(data[i:i + cut])
            await asyncio.sleep(0)

    async def answer(self, writer, path, req, how, hit, index, entry):
        fault = how if hit else {}
        if "garbage" in fault:
            writer.write(b"SSH-2.0-NotHTTP\r\n")
            return False
        if "hugehead" in fault:
            writer.write(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100000)
            await writer.drain()
            return False
        if "status" in fault:
            body = b'{"error":{"message":"told to fail","type":"x"}}'
            writer.write(b"HTTP/1.1 %d No\r\nContent-Type: application/json\r\nContent-Length: %d"
                         b"\r\n\r\n" % (int(fault["status"]), len(body)) + body)
            await writer.drain()
            return True
        n = req["max_tokens"]
        # the golden ratio spreads the requests evenly over 0 .. 1
        grow = 1 + float(how.get("spread", 0)) * (index * 0.6180339887498949 % 1)
        ttft = float(how.get("ttft", 0)) * grow / 1e3
        itl = float(how.get("itl", 0)) * grow / 1e3
        begin = entry["received"] / 1e9
        if not req.get("stream"):
            await self.until(begin + ttft + itl * (n - 1))
            c = [self.choice(req, how, path, i) for i in range(n)]
            one = {"index": 0, "finish_reason": "length"}
            text = "".join(x.get("text") or x["delta"]["content"] for x in c)
            one.update({"message": {"content": text}} if "chat" in path else {"text": text})
            body = json.dumps({"choices": [one], "usage": self.usage(req, n)}).encode()
            entry["writes"].append(time.monotonic_ns())
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d"
                         b"\r\n\r\n" % len(body) + body)
            await writer.drain()
            return True
        eol = {"lf": "\n", "crlf": "\r\n", "cr": "\r"}[how.get("eol", "lf")]
        framed = "until_close" not in how and "length" not in how
        held = []  # a stream with a length is written at its end

        async def event(text, comment=False):
            data = (text + eol + eol).encode()
            if "length" in how:
                held.append(data)
                return
            if framed:
                data = b"%x\r\n" % len(data) + data + b"\r\n"
            await self.send(writer, how, data)

        if "length" not in how:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
            head += b"Transfer-Encoding: chunked" if framed else b"Connection: close"
            head += b"\r\n\r\n"
            await self.send(writer, how, head)
        await event(": a comment")
        if "chat" in path:
            await event('data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}')
        together = int(how.get("together", 0))
        if self.peak < together:
            await self.gathered.setdefault(together, asyncio.Event()).wait()
        for i in range(n):
            await self.until(begin + ttft + itl * i)
            done = await self.break_off(writer, fault, i, event)
            if done is not None:
                return done
            c = self.choice(req, how, path, i)
            if i == n - 1:
                c["finish_reason"] = "length"
            entry["writes"].append(time.monotonic_ns())
            self.counters["fake_tokens_total"] += 1
            await event("data: " + json.dumps({"choices": [c]}))
            await writer.drain()
        if "nodone" not in fault:
            await event("data: " + json.dumps({"choices": [], "usage": self.usage(req, n)}))
            await event("data: [DONE]")
        if framed:
            await self.send(writer, how, b"0\r\n\r\n")
        if held:
            data = b"".join(held)
            await self.send(writer, how, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                            b"Content-Length: %d\r\n\r\n" % len(data) + data)
        await writer.drain()
        if "drop" in fault:
            return False
        return framed or bool(held)

    async def break_off(self, writer, fault, i, event):
        """None, or whether the connection goes on."""
        def at(name):
            return name in fault and int(fault[name]) == i
        if at("malformed"):
            await event('data: {"choices":[{"text":')
            await asyncio.sleep(0.2)
            return False
        if at("error"):
            await event('data: {"error":{"message":"the device is lost","type":"server_error"}}')
            await asyncio.sleep(0.2)
            return False
        if at("close"):
            await writer.drain()
            return False
        if at("reset"):
            await writer.drain()
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        if at("half"):
            await writer.drain()
            writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
            await asyncio.sleep(5)
            return False
        if at("hang"):
            await writer.drain()
            await asyncio.sleep(3600)
            return False
        return None


async def main():
    p = argparse.ArgumentParser()
    p.add_argument("--port", type=int, default=0)
    p.add_argument("--log")
    a = p.parse_args()
    server = Server(open(a.log, "w") if a.log else None)
    s = await asyncio.start_server(server.client, "127.0.0.1", a.port, backlog=16384, limit=1 << 26)
    print(s.sockets[0].getsockname()[1], flush=True)
    async with s:
        await s.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(0)
