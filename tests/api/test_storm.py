"""Many clients that leave at random moments: nothing of them stays."""
import json
import random
import socket
import threading
import time
import unittest

import common
from common import DEMO, server

CLIENTS = 1000
AT_ONCE = 32
# Heap that the allocator keeps for the next burst; a leak of 1,000 requests would be far more:
# the event ring of one is 45 kB.
SLACK_BYTES = 8 << 20


def one(s, rng):
    """One client: connects, sends some of a request, reads some of the reply, leaves."""
    body = {"prompt": rng.choice(["Once upon a time", [5] * rng.choice([1, 2000, 30000]), ["a", "b"]]),
            "max_tokens": rng.choice([1, 10, 50, 2000]), "stream": rng.random() < 0.7,
            "n": rng.choice([1, 1, 2]), "logprobs": rng.choice([None, 0, 20]),
            "echo": rng.random() < 0.2}
    data = json.dumps(body).encode()
    raw = (b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
           b"Content-Length: %d\r\n\r\n" % len(data)) + data
    sock = s.connect()
    try:
        cut = rng.choice([len(raw), len(raw), len(raw), rng.randrange(len(raw))])
        sock.sendall(raw[:cut])
        sock.settimeout(rng.choice([0.001, 0.02, 0.1, 0.3]))
        want = rng.choice([0, 1, 300, 5000, 1 << 30])
        got = 0
        while got < want:
            piece = sock.recv(4096)
            if not piece:
                break
            got += len(piece)
    except (socket.timeout, ConnectionError):
        pass
    if rng.random() < 0.5:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


class Storm(unittest.TestCase):
    def wave(self, s, clients, seed):
        todo = list(range(clients))

        def work(i):
            rng = random.Random(seed * 1000 + i)
            while True:
                try:
                    todo.pop()
                except IndexError:
                    return
                one(s, rng)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(AT_ONCE)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        return s.wait_idle(30)

    def test_clients_that_leave_at_random_moments_leave_nothing(self):
        # Little memory for states: what grows is then a leak, not a cache that fills.
        s = server("--model", DEMO, "--slots", "16", "--state-memory", "4")
        n = common.Settings.rounds(CLIENTS)
        self.wave(s, n // 4, 1)  # the heap finds its size
        before = self.wave(s, n // 4, 2)
        t = time.time()
        after = self.wave(s, n, 3)
        grown = after["process_resident_memory_bytes"] - before["process_resident_memory_bytes"]
        print("\n%d clients in %.1f s: %d sequences, %d cancelled, %d refused; resident memory %.1f "
              "-> %.1f MiB" %
              (n, time.time() - t,
               after["recurd_requests_total"] - before["recurd_requests_total"],
               after["recurd_requests_cancelled_total"] - before["recurd_requests_cancelled_total"],
               after["recurd_requests_rejected_total"] - before["recurd_requests_rejected_total"],
               before["process_resident_memory_bytes"] / 2**20,
               after["process_resident_memory_bytes"] / 2**20))
        if not common.Settings.slow:  # a sanitizer's heap keeps what is freed
            self.assertLess(grown, SLACK_BYTES)
        self.assertEqual(after["recurd_slots_used"], 0)
        self.assertEqual(after["recurd_requests_total"],
                         after["recurd_requests_finished_total"] +
                         after["recurd_requests_cancelled_total"] +
                         after["recurd_requests_failed_total"] +
                         after["recurd_requests_timeout_total"])
        self.assertEqual(s.complete("Once", max_tokens=2, ignore_eos=True)
                         ["usage"]["completion_tokens"], 2)


if __name__ == "__main__":
    unittest.main()
