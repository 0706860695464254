"""Every malformed request gets a 4xx whose body names the field; the next request is served."""
import json
import threading
import unittest

from common import DEMO, server, wait_for

BIG = 1 << 63
NUMBERS = {
    # field: (smallest, largest, is an integer)
    "temperature": (0, 2, False), "top_p": (0, 1, False), "min_p": (0, 1, False),
    "presence_penalty": (-2, 2, False), "frequency_penalty": (-2, 2, False),
    "repetition_penalty": (0.01, 100, False), "n": (1, 128, True), "max_tokens": (-1, 1 << 24, True),
    "logprobs": (0, 20, True), "min_tokens": (0, 16, True), "top_k": (-1, 1 << 20, True),
    "seed": (-BIG, BIG - 1, True), "priority": (-1000, 1000, True),
}

# body fields that are refused, and the field the error names
COMPLETIONS = [
    ({}, "prompt"), ({"prompt": None}, "prompt"), ({"prompt": 7}, "prompt"),
    ({"prompt": {}}, "prompt"), ({"prompt": []}, "prompt"), ({"prompt": [[]]}, "prompt"),
    ({"prompt": [1, "a"]}, "prompt"), ({"prompt": ["a", 1]}, "prompt"),
    ({"prompt": [1.5]}, "prompt"), ({"prompt": [-1]}, "prompt"), ({"prompt": [4096]}, "prompt"),
    ({"prompt": [BIG - 1]}, "prompt"), ({"prompt": [True]}, "prompt"),
    ({"prompt": [[1], [None]]}, "prompt"), ({"prompt": [[[1]]]}, "prompt"),
    ({"prompt": ["a"] * 129}, "prompt"), ({"prompt": ["a"] * 65, "n": 2}, "n"),
    ({"prompt": "a", "model": 5}, "model"),
    ({"prompt": "a", "stream": "yes"}, "stream"), ({"prompt": "a", "stream": 1}, "stream"),
    ({"prompt": "a", "stream_options": {"include_usage": True}}, "stream_options"),
    ({"prompt": "a", "stream": True, "stream_options": []}, "stream_options"),
    ({"prompt": "a", "stream": True, "stream_options": {"include_usage": 1}}, "include_usage"),
    ({"prompt": "a", "echo": "x"}, "echo"), ({"prompt": "a", "ignore_eos": 0}, "ignore_eos"),
    ({"prompt": "a", "stop": 5}, "stop"), ({"prompt": "a", "stop": ["", 1]}, "stop"),
    ({"prompt": "a", "stop": ["x"] * 64}, "stop"), ({"prompt": "a", "stop": ["x" * 129]}, "stop"),
    ({"prompt": "a", "stop": [None]}, "stop"),
    ({"prompt": "a", "stop_token_ids": [4096]}, "stop_token_ids"),
    ({"prompt": "a", "stop_token_ids": "x"}, "stop_token_ids"),
    ({"prompt": "a", "stop_token_ids": [1] * 65}, "stop_token_ids"),
    ({"prompt": "a", "logit_bias": [[]]}, "logit_bias"),
    ({"prompt": "a", "logit_bias": {"x": 1}}, "logit_bias"),
    ({"prompt": "a", "logit_bias": {"4096": 1}}, "logit_bias"),
    ({"prompt": "a", "logit_bias": {"-1": 1}}, "logit_bias"),
    ({"prompt": "a", "logit_bias": {" 1": 1}}, "logit_bias"),
    ({"prompt": "a", "logit_bias": {"1": 101}}, "logit_bias"),
    ({"prompt": "a", "logit_bias": {"1": "x"}}, "logit_bias"),
    ({"prompt": "a", "logit_bias": {str(i): 1 for i in range(1025)}}, "logit_bias"),
    ({"prompt": "a", "best_of": 2, "stream": True}, "best_of"),
    ({"prompt": "a", "n": 2, "best_of": 1}, "best_of"), ({"prompt": "a", "best_of": 0}, "best_of"),
    ({"prompt": ["a"] * 9, "best_of": 128}, "best_of"),
    ({"prompt": "a", "suffix": "end"}, "suffix"),
    ({"prompt": "a", "min_tokens": 17}, "min_tokens"),
    ({"prompt": "a", "guided_json": {"not": {}}}, "guided_json"),
    ({"prompt": "a", "use_beam_search": True}, "use_beam_search"),
    ({"prompt": "a", "response_format": {"type": "json"}}, "response_format"),
    ({"prompt": "a", "return_token_ids": 1}, "return_token_ids"),
]

USER = [{"role": "user", "content": "hi"}]
CHAT = [
    ({}, "messages"), ({"messages": []}, "messages"), ({"messages": "hi"}, "messages"),
    ({"messages": [5]}, "messages"), ({"messages": [{}]}, "messages"),
    ({"messages": [{"content": "a"}]}, "messages"),
    ({"messages": [{"role": 5, "content": "x"}]}, "messages"),
    ({"messages": [{"role": "user", "content": 7}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "messages"),
    ({"messages": [{"role": "assistant", "content": "", "tool_calls": [{}]}]}, "messages"),
    ({"messages": USER * 1025}, "messages"),
    ({"messages": USER, "tools": [{"type": "function"}]}, "tools"),
    ({"messages": USER, "tool_choice": "required"}, "tool_choice"),
    ({"messages": USER, "functions": [{}]}, "functions"),
    ({"messages": USER, "response_format": {"type": "json_schema"}}, "response_format"),
    ({"messages": USER, "response_format": "text"}, "response_format"),
    ({"messages": USER, "modalities": ["audio"]}, "modalities"),
    ({"messages": USER, "logprobs": 1}, "logprobs"),
    ({"messages": USER, "top_logprobs": 2}, "top_logprobs"),
    ({"messages": USER, "logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"messages": USER, "max_tokens": 0}, "max_tokens"),
    ({"messages": USER, "max_tokens": 3, "max_completion_tokens": 4}, "max_completion_tokens"),
    ({"messages": USER, "echo": True}, "echo"), ({"messages": USER, "n": 0}, "n"),
    ({"messages": USER, "chat_template": "{{ x }}"}, "chat_template"),
]

# bodies that are no JSON object of ours at all
BROKEN = [
    b"", b" ", b"{", b"}", b"[]", b"null", b"5", b'"x"', b"{}{}", b"{'a':1}", b'{"a":1,}',
    b'{"prompt":"a"} x', b'{"prompt":"a","prompt":"b"}', b'{"a":{"b":1,"b":2}}',
    b'{"prompt":"\xff"}', b'{"prompt":"\xc0\xaf"}', b'{"prompt":"\xed\xa0\x80"}',
    b'{"prompt":"\\ud800"}', b'{"stop":"\\u0000"}', b'{"prompt":"a\nb"}', b'{"prompt":"\x00"}',
    b"\xef\xbb\xbf{}", b'{"temperature":NaN}', b'{"temperature":1e999}', b'{"seed":1%s}' % (b"0" * 30),
    b'{"prompt":' + b"[" * 80 + b"]" * 80 + b"}", b"[" * 100000, b'{"a":' * 5000,
    b'{"prompt":[' + b"1," * 1000001 + b"1]}", b"\x00" * 100, b"--1", b'{"prompt"',
]


class BadInput(unittest.TestCase):
    def setUp(self):
        self.s = server("--model", DEMO)

    def check(self, path, body, status, param, raw=None):
        data = raw if raw is not None else json.dumps(body).encode()
        got, headers, reply = self.s.request("POST", path, data)
        label = "%s %r" % (path, data[:120])
        self.assertEqual(got, status, label + " -> " + repr(reply[:300]))
        e = json.loads(reply)["error"]
        self.assertEqual(sorted(e), ["code", "message", "param", "type"], label)
        self.assertEqual(e["param"], param, label + " -> " + e["message"])
        self.assertTrue(e["message"] and e["type"] and e["code"], label)
        self.assertTrue(headers["x-request-id"])
        if param:
            self.assertIn(param, e["message"])
        return e

    def test_completions(self):
        for body, param in COMPLETIONS:
            with self.subTest(body=str(body)[:80]):
                self.check("/v1/completions", body, 400, param)

    def test_chat(self):
        for body, param in CHAT:
            with self.subTest(body=str(body)[:80]):
                self.check("/v1/chat/completions", body, 400, param)

    def test_every_number_out_of_range_or_of_another_type(self):
        for field, (low, high, whole) in NUMBERS.items():
            wrong = ["1", True, [1], {}, high * 2 + 1, 1 << 62] + ([0.5] if whole else [])
            wrong += [low - 1] if low > -BIG else []
            if field == "seed":
                wrong = ["1", True, [1], 0.5]
            for v in wrong:
                with self.subTest(field=field, value=v):
                    self.check("/v1/completions", {"prompt": "a", field: v}, 400, field)
            for v in (low, high):
                if field not in ("n", "max_tokens") or v == low:
                    with self.subTest(field=field, value=v):
                        self.s.complete("a", **dict({"max_tokens": 16 if field == "min_tokens" else 1},
                                                    **{field: v}))

    def test_broken_json(self):
        for raw in BROKEN:
            with self.subTest(raw=raw[:60]):
                e = self.check("/v1/completions", None, 400, None, raw)
                self.assertEqual(e["code"], "invalid_json")
                self.assertNotIn("zebra", e["message"])

    def test_an_unknown_model_is_404(self):
        e = self.check("/v1/completions", {"prompt": "a", "model": "gpt-4"}, 404, "model")
        self.assertEqual(e["code"], "model_not_found")
        self.check("/v1/chat/completions", {"messages": USER, "model": ""}, 404, "model")

    def test_tokenize(self):
        for body, param in [({}, "prompt"), ({"prompt": 5}, "prompt"), ({"prompt": ["a"]}, "prompt"),
                            ({"messages": {}}, "messages"), ({"prompt": "a", "return_token_strs": 1},
                                                             "return_token_strs")]:
            self.check("/tokenize", body, 400, param)
        for body in ({}, {"tokens": "x"}, {"tokens": [-1]}, {"tokens": [4096]}, {"tokens": [[1]]}):
            self.check("/detokenize", body, 400, "tokens")

    def test_deep_and_wide_json_is_refused_quickly(self):
        good, status = self.s.processor_time("/tokenize", {"prompt": "Once upon a time. " * 40000})
        self.assertEqual(status, 200)
        for raw in (b"[" * 4000000, b'{"prompt":[' + b"[]," * 1300000 + b"[]]}"):
            self.check("/v1/completions", None, 400, None, raw)
            self.assertLess(self.s.processor_time("/v1/completions", raw)[0], good)

    def test_a_long_prompt_is_fine_and_a_longer_one_is_not(self):
        self.s.complete([5] * 5000, max_tokens=1)
        self.check("/v1/completions", {"prompt": [5] * (256 * 1024 + 1)}, 400, "prompt")

    def refused(self, path, body, status, code, method="POST"):
        got, _, data = self.s.request(method, path, body)
        self.assertEqual((got, json.loads(data)["error"]["code"]), (status, code), data)

    def test_a_session_request_that_contradicts_itself_is_not_worth_a_second_try(self):
        """A 409 would be sent again by every official client, for ever."""
        session = self.s.post("/v1/sessions", {})["id"]
        for fields in ({"n": 2}, {"prompt": ["a", "b"]}, {"echo": True}):
            self.refused("/v1/completions", dict({"prompt": "a", "session": session}, **fields),
                         400, "invalid_value")
        for fields in ({"turn_id": "x"}, {"expected_position": 3}, {"expected_generation": 3}):
            self.refused("/v1/completions", dict(fields, prompt="a"), 400, "invalid_value")
        for turn in ("", "x" * 65):
            self.refused("/v1/completions", {"prompt": "a", "session": session, "turn_id": turn},
                         400, "invalid_value")
        for limit in ("10abc", "1e9", "0", "-1", "9" * 30):
            self.refused("/v1/sessions?limit=" + limit, None, 400, "invalid_value", "GET")

    def test_a_session_deleted_while_its_turn_runs_is_no_fault_of_the_server(self):
        for stream in (False, True):
            status, data = 200, b""
            for _ in range(50):  # the turn may end before the session goes
                if b'"error"' in data:
                    break
                status, data = self.turn_of_a_deleted_session(stream)
            self.assertIn(b'"code":"session_not_found"', data)
            self.assertEqual(status, 200 if stream else 404, data)

    def turn_of_a_deleted_session(self, stream):
        session = self.s.post("/v1/sessions", {})["id"]
        replies = []
        turn = threading.Thread(target=lambda: replies.append(self.s.request(
            "POST", "/v1/completions", {"prompt": "a", "max_tokens": 400, "ignore_eos": True,
                                        "session": session, "stream": stream})))
        turn.start()
        while turn.is_alive() and not self.s.get("/v1/sessions/" + session)[1]["busy"]:
            pass
        self.s.request("DELETE", "/v1/sessions/" + session)
        turn.join()
        return replies[0][0], replies[0][2]

    def test_the_server_is_well_after_all_this(self):
        self.s.complete("Once", max_tokens=1)
        wait_for(lambda: self.s.metrics()["recurd_slots_used"] == 0)


if __name__ == "__main__":
    unittest.main()
