"""receipt: what a reply was computed from, as a chain of digests; recurd-eval --verify computes it
again, in other steps and on other kernels, and says that it is equal or where it is not."""
import copy
import json
import os
import signal
import struct
import subprocess
import tempfile
import unittest

from blake3 import blake3
from common import DEMO, DEMO7, ROOT, Server, Settings, Stream, in_threads, server
from test_eval import load_npy

EVAL = os.path.join(os.path.dirname(Settings.recurd), "recurd-eval")
HYBRID = os.path.join(ROOT, "tests", "golden", "hf", "hf_qwen3_5")
SAMPLED = dict(temperature=0.9, top_p=0.95, top_k=50, seed=11, presence_penalty=0.4,
               frequency_penalty=0.3, repetition_penalty=1.1, logit_bias={"7": -3.5, "90": 1.25})


def verify(model, reply, *flags, stdin=False):
    """-> (exit code, what was said). reply: anything with receipts, or its text."""
    if Settings.device and "--device" not in flags:
        flags += ("--device", Settings.device)
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "r.json")
        text = reply if isinstance(reply, str) else json.dumps(reply)
        with open(path, "w") as f:
            f.write(text)
        r = subprocess.run([EVAL, "--model", model, "--verify", "-" if stdin else path] +
                           list(flags), input=text if stdin else None, capture_output=True,
                           text=True, timeout=Settings.patience(120))
        return r.returncode, r.stdout + r.stderr


def head(x):
    """As scheduler/receipt.h says it, for a request that names no rare sampler."""
    p = x["sampling"]
    rare = struct.pack("<ffffffiffiffii", 0, 1, 0, 0.1, 0, 1, 0, 5, 0.1, -1, 0, 1.75, 2, -1)
    text = b"recurd receipt 1"
    for name in ("build", "numerics"):
        text += struct.pack("<I", len(x[name])) + x[name].encode()
    text += bytes.fromhex(x["model"]) + struct.pack("<I", x["vocab"])
    text += struct.pack("<fffifff", p["temperature"], p["top_p"], p["min_p"], p["top_k"],
                        p["repetition_penalty"], p["presence_penalty"], p["frequency_penalty"])
    text += rare + struct.pack("<QI", int(p["seed"]), len(p["bias"]))
    for b in p["bias"]:
        text += struct.pack("<if", *b)
    text += struct.pack("<III", 0, x["min_tokens"], len(x["ends"]))
    text += struct.pack("<%di" % len(x["ends"]), *x["ends"]) + bytes([x["constrained"]])
    prompt = x["tokens"][:x["prompt_tokens"]]
    return blake3(text + struct.pack("<Q%di" % len(prompt), len(prompt), *prompt))


def chain(x, rows):
    """x with head, links and digest as the header has them; rows: of logits, of every position."""
    link, links, n = head(x), b"", x["prompt_tokens"]
    x = dict(x, head=link.hex())
    for i, token in enumerate(x["tokens"][n:]):
        link = blake3(link + struct.pack("<i", token) + blake3(rows[n - 1 + i].tobytes()))
        links += link[:8]
    return dict(x, links=links.hex(), digest=link.hex())


def logits(model, ids):
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "ids.json")
        with open(path, "w") as f:
            json.dump(ids, f)
        subprocess.run([EVAL, "--model", model, "--tokens", path, "--logits", tmp + "/l.npy"] +
                       (["--device", Settings.device] if Settings.device else []),
                       check=True, timeout=Settings.patience(60))
        return load_npy(tmp + "/l.npy")


class Receipts(unittest.TestCase):
    def equal(self, model, reply, n=1, words="their draws", flags=((), ("--chunk", "1"),
                                                                ("--chunk", "7"))):
        for way in flags:
            code, out = verify(model, reply, *way)
            self.assertEqual(code, 0, out)
            self.assertEqual(out.count(": equal: "), n, out)
            self.assertEqual(out.count(words), n, out)

    def receipt(self, s, prompt, **fields):
        return s.complete(prompt, receipt=True, **fields)["choices"][0]["receipt"]

    # ---- every form of a reply ----

    def test_nobody_gets_one_unasked(self):
        s = server("--model", DEMO)
        for fields in ({}, {"receipt": False}, {"receipt": None}):
            self.assertNotIn("receipt", s.complete("Once", max_tokens=2, **fields)["choices"][0])
        for bad in ("yes", 1, {}):
            e = s.complete("Once", expect=400, receipt=bad)["error"]
            self.assertEqual(e["param"], "receipt")

    def test_completions_whole_and_streamed(self):
        s = server("--model", DEMO)
        body = dict(prompt="Once upon a time", max_tokens=20, receipt=True, **SAMPLED)
        whole = s.post("/v1/completions", body)
        self.equal(DEMO, whole)
        x = whole["choices"][0]["receipt"]
        self.assertEqual((x["version"], x["output_tokens"], len(x["links"])), (1, 20, 320))
        self.assertEqual(len(x["tokens"]), x["prompt_tokens"] + 20)
        self.assertTrue(x["digest"].startswith(x["links"][-16:]))
        told = [c["choices"][0].get("receipt")
                for c in Stream(s, "/v1/completions", dict(body, stream=True)).events()
                if c["choices"]]
        self.assertEqual(told[:-1], [None] * (len(told) - 1))
        self.assertEqual(told[-1], x)

    def test_chats_whole_and_streamed(self):
        s = server("--model", DEMO)
        body = {"messages": [{"role": "user", "content": "A story."}], "max_tokens": 15,
                "receipt": True, "min_tokens": 5, "seed": 6}
        whole = s.post("/v1/chat/completions", body)
        self.equal(DEMO, whole)
        x = whole["choices"][0]["receipt"]
        self.assertTrue(x["ends"])
        last = [c for c in Stream(s, "/v1/chat/completions", dict(body, stream=True)).events()]
        self.assertEqual(last[-1]["choices"][0]["receipt"], x)

    def test_responses_whole_streamed_and_kept(self):
        s = server("--model", DEMO)
        body = {"input": "A story.", "max_output_tokens": 15, "receipt": True, "seed": 3}
        whole = s.post("/v1/responses", body)
        self.equal(DEMO, whole)
        self.assertEqual(s.get("/v1/responses/" + whole["id"])[1]["receipt"], whole["receipt"])
        frames = list(Stream(s, "/v1/responses", dict(body, stream=True)).frames())
        last = json.loads(frames[-1].split("\n")[1][len("data: "):])
        self.assertEqual(last["response"]["receipt"], whole["receipt"])
        self.assertNotIn('"receipt"', "".join(frames[:-1]))

    def test_replies_without_a_place_for_it_say_so(self):
        s = server("--model", DEMO)
        message = [{"role": "user", "content": "Hi."}]
        for path, body in (("/v1/messages", {"messages": message, "max_tokens": 2}),
                           ("/api/chat", {"messages": message}), ("/api/generate", {"prompt": "a"}),
                           ("/completion", {"prompt": "a", "n_predict": 2})):
            status, _, text = s.request("POST", path, dict(body, receipt=True, stream=False))
            self.assertEqual(status, 400, path)
            self.assertIn(b"receipt: replies of this API have no place for it", text)

    # ---- every way to an answer ----

    def test_all_samplers_are_drawn_again(self):
        s = server("--model", DEMO)
        for more in ({"temperature": 0}, {"temperature": 1.3, "min_p": 0.05},
                     {"mirostat": 1, "mirostat_tau": 3}, {"mirostat": 2, "mirostat_eta": 0.3},
                     {"typical_p": 0.7, "xtc_probability": 0.5, "xtc_threshold": 0.05},
                     {"dry_multiplier": 0.8, "dry_allowed_length": 1, "repeat_last_n": 5,
                      "repetition_penalty": 1.2},
                     {"dynatemp_range": 0.5, "top_n_sigma": 1.5}):
            with self.subTest(more):
                self.equal(DEMO, s.complete("The cat and the cat and the", max_tokens=24, seed=8,
                                            receipt=True, ignore_eos=True, **more),
                           flags=((), ("--chunk", "5")))

    def test_several_choices_have_one_each(self):
        s = server("--model", DEMO)
        reply = s.complete(["Once", "The dog"], n=3, max_tokens=9, receipt=True, **SAMPLED)
        self.equal(DEMO, reply, n=6)
        seeds = {c["receipt"]["sampling"]["seed"] for c in reply["choices"]}
        self.assertEqual(len(seeds), 3)
        best = s.complete("Once", best_of=4, n=2, max_tokens=9, receipt=True, **SAMPLED)
        self.equal(DEMO, best, n=2)

    def test_among_others_and_from_the_cache(self):
        """The same receipt alone, in a crowd, from a state, and where all logits were kept."""
        for model in (DEMO, DEMO7, HYBRID):
            s = Server(["--model", model, "--slots", "4"])
            prompt = list(range(5, 150))
            body = dict(prompt=prompt, max_tokens=12, receipt=True, ignore_eos=True, **SAMPLED)
            alone = s.post("/v1/completions", body)
            self.assertEqual(alone["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
            self.equal(model, alone)
            want = alone["choices"][0]["receipt"]
            hit = s.post("/v1/completions", body)
            self.assertEqual(hit["usage"]["prompt_tokens_details"]["cached_tokens"], 145)
            self.assertEqual(hit["choices"][0]["receipt"], want)
            longer = s.complete(prompt + [9, 8], max_tokens=5, receipt=True)
            self.assertGreater(longer["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
            self.equal(model, longer)
            crowd = in_threads([lambda: s.post("/v1/completions", body)] +
                               [lambda i=i: s.complete(list(range(i, i + 90)), max_tokens=30,
                                                       receipt=i % 2 == 0) for i in range(6)])
            self.assertEqual(crowd[0]["choices"][0]["receipt"], want)
            self.equal(model, [c for c in crowd[1:] if "receipt" in c["choices"][0]][0])
            m = s.wait_idle()  # counters follow the replies
            self.assertGreater(m["recurd_receipt_rows_total"], 48)
            self.assertGreater(m["recurd_receipt_seconds_total"], 0)
            self.assertEqual(s.stop(), 0, s.text())

    def test_without_a_cache_the_receipt_is_the_same(self):
        body = dict(prompt=list(range(5, 60)), max_tokens=9, receipt=True, ignore_eos=True,
                    **SAMPLED)
        told = []
        for flags in ((), ("--state-memory", "0"), ("--threads", "1", "--slots", "2")):
            reply = server("--model", DEMO, *flags).post("/v1/completions", body)
            told.append(reply["choices"][0]["receipt"])
        self.assertEqual(told[0], told[1])
        self.assertEqual(told[0], told[2])

    def test_definitions_are_computed_and_not_drawn_again(self):
        s = server("--model", DEMO)
        reply = s.complete("A word:", max_tokens=20, guided_regex="[a-z]{3,9}", receipt=True)
        self.equal(DEMO, reply, words="followed a definition")

    def test_nothing_written_has_a_head(self):
        s = server("--model", DEMO)
        reply = s.complete("Once", max_tokens=0, receipt=True)
        x = reply["choices"][0]["receipt"]
        self.assertEqual((x["links"], x["digest"]), ("", x["head"]))
        self.equal(DEMO, reply)

    def test_sessions_a_repeated_turn_and_a_crash(self):
        with tempfile.TemporaryDirectory() as tmp:
            flags = ["--model", DEMO7, "--state-dir", tmp]
            s = Server(flags)
            sid = s.post("/v1/sessions", {})["id"]
            s.complete([11, 12, 13] * 6, session=sid, max_tokens=8, turn_id="a", seed=1)
            body = dict(prompt=[20, 21], session=sid, max_tokens=8, turn_id="b", receipt=True,
                        **SAMPLED)
            first = s.post("/v1/completions", body)
            x = first["choices"][0]["receipt"]
            self.assertEqual(x["prompt_tokens"], 18 + 8 + 2)
            self.equal(DEMO7, first)
            s.stop(signal.SIGKILL)
            s = Server(flags)
            again = s.post("/v1/completions", body)
            self.assertEqual(again["choices"][0]["receipt"], x)
            third = s.complete([30], session=sid, max_tokens=5, receipt=True, **SAMPLED)
            self.assertEqual(third["choices"][0]["receipt"]["tokens"][:36], x["tokens"])
            self.equal(DEMO7, third)
            self.assertEqual(s.stop(), 0, s.text())

    def test_a_repeated_turn_that_was_answered_without(self):
        s = server("--model", DEMO)
        sid = s.post("/v1/sessions", {})["id"]
        body = dict(prompt=[20, 21], session=sid, max_tokens=4, turn_id="a")
        s.post("/v1/completions", body)
        choice = s.post("/v1/completions", dict(body, receipt=True))["choices"][0]
        self.assertIsNone(choice["receipt"])
        self.assertEqual(verify(DEMO, {"choices": [choice]})[0], 2)

    # ---- verdicts ----

    def test_what_was_changed_is_named(self):
        x = self.receipt(server("--model", DEMO), list(range(5, 25)), max_tokens=10,
                         ignore_eos=True, **SAMPLED)
        n = x["prompt_tokens"]

        def token(y):
            y["tokens"][n + 4] ^= 1

        def link(y):
            y["links"] = y["links"][:16 * 6] + "0123456789abcdef" + y["links"][16 * 7:]

        def last_link(y):
            y["links"] = y["links"][:-1] + "%x" % (int(y["links"][-1], 16) ^ 1)

        def digest(y):
            y["digest"] = y["digest"][:-1] + "%x" % (int(y["digest"][-1], 16) ^ 1)

        def prompt(y):
            y["tokens"][3] ^= 1

        def seed(y):
            y["sampling"]["seed"] = "12"

        def build(y):
            y["build"] = "another"

        def arithmetic(y):
            y["numerics"] += "x"

        for edit, words in ((token, "output token 5 of 10 (position %d): its link" % (n + 4)),
                            (link, "output token 7 of 10"), (last_link, "the last link"),
                            (digest, "the digest is"), (prompt, "the head"), (seed, "the head"),
                            (build, "the head"), (arithmetic, "the head")):
            y = copy.deepcopy(x)
            edit(y)
            for flags in ((), ("--chunk", "3")):
                code, out = verify(DEMO, y, *flags)
                self.assertEqual((code, out.count("\n")), (1, 1), out)
                self.assertIn("1: differs: ", out)
                self.assertIn(words, out)

    def test_by_another_program(self):
        """The chain by another BLAKE3, over the logits that recurd-eval writes; and one that is
        right of a token that the sampler does not give."""
        s = server("--model", DEMO)
        x = self.receipt(s, [5, 6, 7, 8], max_tokens=4, ignore_eos=True, **SAMPLED)
        self.assertEqual(chain(x, logits(DEMO, x["tokens"])), x)
        tokens = list(x["tokens"])
        tokens[6] = 100 if tokens[6] != 100 else 101
        forged = chain(dict(x, tokens=tokens), logits(DEMO, tokens))
        code, out = verify(DEMO, forged)
        self.assertEqual(code, 1, out)
        self.assertIn("1: differs: output token 3 of 4 (position 6): %d is drawn, the receipt has "
                      "%d" % (x["tokens"][6], tokens[6]), out)
        code, out = verify(DEMO, chain(dict(forged, constrained=True), logits(DEMO, tokens)))
        self.assertEqual(code, 0, out)

    def test_another_model_or_arithmetic_cannot_verify(self):
        x = self.receipt(server("--model", DEMO), "Once", max_tokens=5)
        for model, flags, words in ((DEMO7, (), ["model " + x["model"][:16], ", this is "]),
                                    (DEMO, ("--quantize", "q8"), ["the answer is of model"]),
                                    (DEMO, ("--device", "ref"), ['was "%s"' % x["numerics"],
                                                                  'this is "cpu-ref'])):
            code, out = verify(model, x, *flags)
            self.assertEqual(code, 2, out)
            self.assertIn("1: cannot be verified: ", out)
            for w in words:
                self.assertIn(w, out)

    def test_plain_kernels_verify_their_own(self):
        s = server("--model", DEMO, "--device", "cpu", "--kernels", "ref")
        reply = s.complete("Once upon", max_tokens=6, receipt=True, **SAMPLED)
        self.equal(DEMO, reply, flags=(("--device", "cpu", "--kernels", "ref"),
                                       ("--device", "ref", "--chunk", "2")))

    def test_digests_alone_need_the_tokens(self):
        s = server("--model", DEMO)
        body = dict(prompt="Once upon a time", max_tokens=8, seed=4)
        told = s.post("/v1/completions", dict(body, receipt=True))["choices"][0]["receipt"]
        reply = s.post("/v1/completions", dict(body, receipt="digests"))
        x = reply["choices"][0]["receipt"]
        self.assertEqual(x, {k: v for k, v in told.items() if k != "tokens"})
        code, out = verify(DEMO, x)
        self.assertEqual(code, 2, out)
        self.assertIn("--tokens must name a file with the %d ids" % len(told["tokens"]), out)
        with tempfile.TemporaryDirectory() as tmp:
            path = os.path.join(tmp, "ids.json")
            for ids, want in ((told["tokens"], 0), (told["tokens"][:-1] + [9], 1),
                              (told["tokens"][:-1], 2), (["a"] * len(told["tokens"]), 2)):
                with open(path, "w") as f:
                    json.dump(ids, f)
                code, out = verify(DEMO, x, "--tokens", path)
                self.assertEqual(code, want, out)

    def test_other_files_end_in_one_sentence(self):
        x = self.receipt(server("--model", DEMO), "Once", max_tokens=3)
        for text, words in (("", "no JSON object"), ("[1]", "no JSON object"),
                            ("{}", "there is no receipt in it"), ("[" * 100, "nested deeper"),
                            ('{"receipt":{}}', "version is nothing"),
                            (json.dumps(dict(x, version=2)), "of version 2, and version 1"),
                            (json.dumps(dict(x, links=x["links"][1:])), "links: 47 characters"),
                            (json.dumps(dict(x, tokens=x["tokens"][1:])), "ids, "),
                            (json.dumps(dict(x, vocab=7)), "not a token id of 0 to 6")):
            code, out = verify(DEMO, text)
            self.assertEqual((code, out.count("\n")), (2, 1), out)
            self.assertIn(words, out)
        self.assertEqual(verify(DEMO, x, stdin=True)[0], 0)
        r = subprocess.run([EVAL, "--model", DEMO, "--verify", "/nowhere"], capture_output=True,
                           text=True, timeout=Settings.patience(60))
        self.assertEqual((r.returncode, r.stderr.count("\n")), (2, 1), r.stderr)


if __name__ == "__main__":
    unittest.main()
