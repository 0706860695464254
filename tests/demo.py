#!/usr/bin/env python3
"""Starts the daemon on the bundled model, streams a story and a second turn, and stops it.

    demo.py build/recurd [MODEL_DIR]
"""
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_ready(port, process):
    for _ in range(300):
        try:
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            c.request("GET", "/health")
            if c.getresponse().status == 200:
                return
        except OSError:
            pass
        if process.poll() is not None:
            sys.exit("recurd ended with %d" % process.returncode)
        time.sleep(0.05)
    sys.exit("recurd did not become ready")


def stream(port, body):
    """Posts a chat request, prints the text as it comes, returns it."""
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = dict(body, stream=True, stream_options={"include_usage": True})
    c.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    r = c.getresponse()
    if r.status != 200:
        sys.exit("%d: %s" % (r.status, r.read().decode()))
    text, usage, t0 = "", {}, time.monotonic()
    for line in r:
        if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
            continue
        event = json.loads(line[6:])
        usage = event.get("usage") or usage
        for choice in event["choices"]:
            piece = choice["delta"].get("content") or ""
            text += piece
            print(piece, end="", flush=True)
    seconds = time.monotonic() - t0
    print("\n  [%s prompt tokens, %s of them cached; %s new tokens, %.0f a second]\n" % (
        usage.get("prompt_tokens"), usage.get("prompt_tokens_details", {}).get("cached_tokens", 0),
        usage.get("completion_tokens"), usage.get("completion_tokens", 0) / seconds))
    return text


def log_of(process):
    """Shows what the daemon logs, but for its line about each request: that would fall into the story."""
    for line in process.stderr:
        if " info request " not in line:
            print(line, end="", flush=True)


def main():
    port = free_port()
    command = [sys.argv[1], "--listen", "127.0.0.1:%d" % port]
    if len(sys.argv) > 2:
        command += ["--model", sys.argv[2]]
    print("$ " + " ".join(command), flush=True)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace")
    log = threading.Thread(target=log_of, args=(process,), daemon=True)
    log.start()
    try:
        wait_ready(port, process)
        c = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        c.request("GET", "/v1/models")
        model = json.loads(c.getresponse().read())["data"][0]["id"]
        messages = []
        for turn in ("Tell me a story about a brave mouse.", "Write a story about a dog and a ball."):
            print("> " + turn)
            messages.append({"role": "user", "content": turn})
            text = stream(port, {"model": model, "messages": messages, "max_tokens": 250,
                                 "temperature": 0.6, "seed": 1})
            messages.append({"role": "assistant", "content": text})
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=40)
        log.join(10)
    print("recurd stopped with exit code %d" % process.returncode)
    print("\nNext: %s --port 8080, or with a model of yours: %s -m FILE.gguf --port 8080;\n"
          "then http://127.0.0.1:8080/ is a page for your browser, and http://127.0.0.1:8080/v1 the base URL\n"
          "for any OpenAI client. etc/guide has the rest." % (sys.argv[1], sys.argv[1]))
    sys.exit(process.returncode)


main()
