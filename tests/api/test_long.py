"""Sessions longer than a file of their path (4,096 tokens): whatever is read back from those files,
answers are those of a server without a cache, bit for bit."""
import json
import shutil
import tempfile
import unittest

from common import DEMO, DEMO7, Server
from test_cache import HYBRID, ids

ASK = dict(max_tokens=4, temperature=0, ignore_eos=True, logprobs=2, return_token_ids=True)


class Long(unittest.TestCase):
    model = DEMO7

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="recurd-api-")
        self.s = self.start("--state-dir", self.dir)
        self.plain = self.start("--state-memory", "0")

    def tearDown(self):
        codes = self.s.stop(), self.plain.stop()
        shutil.rmtree(self.dir)
        self.assertEqual(codes, (0, 0), self.s.text()[-4000:])

    def start(self, *more):
        return Server(["--model", self.model, "--slots", "4", "--context", "16384"] + list(more))

    def restart(self):
        self.s.wait_written()
        self.s.kill()
        self.s = self.start("--state-dir", self.dir)

    def check(self, session, path, cost, n=20, **fields):
        """A turn of n new tokens after path: costs at most so many, and is what it should be."""
        new = ids(n, len(path))
        mine = self.s.complete(new, session=session, **dict(ASK, **fields))
        want = self.plain.complete(path + new, **dict(ASK, **fields))
        u = mine["usage"]
        self.assertLessEqual(u["prompt_tokens"] - u["prompt_tokens_details"]["cached_tokens"], cost)
        mine, want = mine["choices"][0], want["choices"][0]
        self.assertEqual(mine["logprobs"]["token_logprobs"], want["logprobs"]["token_logprobs"])
        self.assertEqual(mine["token_ids"], want["token_ids"])
        return path + new + mine["token_ids"]

    def test_every_way_back_into_a_long_path(self):
        s, path = self.s.post("/v1/sessions", {})["id"], []
        for i in range(5):
            new = ids(1000, 50 + i)
            r = self.s.complete(new, session=s, **ASK)
            path += new + r["choices"][0]["token_ids"]
        self.assertEqual((r["session"]["position"], r["session"]["persist"]), (5020, "durable"))
        path = self.check(s, path, 20)
        self.restart()
        path = self.check(s, path, 20)
        # A fork in the middle of the first file, one at its end; penalties count all of a path.
        for at in (3333, 4096, 4700):
            fork = self.s.post("/v1/sessions/%s/fork" % s, {"position": at})
            self.assertEqual(fork["position"], at)
            once = self.check(fork["id"], path[:at], 20 + 64 + (len(path) - at) // 4)
            self.check(fork["id"], once, 20, presence_penalty=0.7, frequency_penalty=0.3)
        # The same text as a prompt of its own goes on where the session was.
        r = self.s.complete(path[:4500] + ids(30, 7), **ASK)
        want = self.plain.complete(path[:4500] + ids(30, 7), **ASK)
        self.assertEqual(r["choices"][0]["logprobs"], want["choices"][0]["logprobs"])
        self.assertGreater(r["usage"]["prompt_tokens_details"]["cached_tokens"], 4095)
        status, _, blob = self.s.request("GET", "/v1/sessions/%s/state" % s)
        self.assertEqual(status, 200)
        status, _, data = self.s.request("DELETE", "/v1/sessions/" + s)
        self.assertEqual(status, 200)
        status, _, data = self.s.request("PUT", "/v1/sessions", blob,
                                         {"Content-Type": "application/octet-stream"})
        self.assertEqual(status, 200, data[:300])
        moved = json.loads(data)
        self.assertEqual(moved["position"], len(path))
        path = self.check(moved["id"], path, 20)
        self.restart()
        at = self.s.post("/v1/sessions/%s/rewind" % moved["id"], {"position": 2500})
        self.assertEqual((at["position"], at["persist"]), (2500, "durable"))
        self.check(moved["id"], path[:2500], 20 + 64 + (len(path) - 2500) // 4)


class LongOfGatedDeltanet(Long):
    model = DEMO


class LongOfAHybrid(Long):
    model = HYBRID


if __name__ == "__main__":
    unittest.main()
