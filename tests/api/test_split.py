"""Layers split over several devices: a session goes on there that one device began, after a kill,
and back again; every answer has the bits of a single device."""
import shutil
import tempfile
import unittest

from common import DEMO, Server
from test_cache import HYBRID, ids

DEVICES = ("cpu", "cpu+cpu+rows=9", "cpu", "cpu+cpu")


class Split(unittest.TestCase):
    def turns(self, model):
        place = tempfile.mkdtemp(prefix="recurd-split-")
        args = ["--model", model, "--slots", "4", "--context", "4096", "--state-dir", place]
        plain = Server(["--model", model, "--state-memory", "0", "--context", "4096",
                        "--device", "cpu"])
        ask = dict(max_tokens=5, temperature=0, ignore_eos=True, logprobs=3, return_token_ids=True)
        session, path = None, []
        for turn, device in enumerate(DEVICES):
            s = Server(args + ["--device", device])
            if session is None:
                session = s.post("/v1/sessions", {})["id"]
            new = ids(90 + turn, 50 + turn)
            reply = s.complete(new, session=session, expected_position=len(path), **ask)
            mine = reply["choices"][0]
            want = plain.complete(path + new, **ask)["choices"][0]
            self.assertEqual(mine["logprobs"]["token_logprobs"],
                             want["logprobs"]["token_logprobs"], device)
            if path:  # what another device left was used
                self.assertGreater(reply["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
            path += new + mine["token_ids"]
            s.wait_written()
            s.kill()
        self.assertEqual(plain.stop(), 0)
        shutil.rmtree(place)

    def test_recurrent_model(self):
        self.turns(DEMO)

    def test_hybrid_model(self):
        self.turns(HYBRID)

    def test_arithmetics_do_not_mix(self):
        with self.assertRaisesRegex(AssertionError, "one model needs one arithmetic"):
            Server(["--model", DEMO, "--device", "cpu+ref"]).stop()


if __name__ == "__main__":
    unittest.main()
