"""Answers that had to follow a schema, judged by an independent validator (jsonschema, from PyPI):
texts that the engine lets through, walked at random, and whole answers of the daemon."""
import json
import os
import random
import re
import sys
import threading

import schemas
from engine import ids, package, vocabulary_file

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
WALK_TOKENS = 6000   # of the vocabulary of the walks
CLIENTS = 8
# Refusals that say what is wrong: the schema has no value, or asks for what nobody can enforce.
REFUSED = ("no text", "never end", "cannot be enforced", "can be enforced", "not supported", "oneOf")


def schema_of(seed):
    return schemas.make(seed, bounded=seed % 5 > 0, wide=seed % 2 == 1)


class Judge:
    """valid(text, schema) -> None, or what is wrong."""

    def __init__(self, work):
        package(work, "jsonschema", "jsonschema[format]")
        import jsonschema
        self.kind = jsonschema.Draft202012Validator
        self.checker = self.kind.FORMAT_CHECKER

    def wrong(self, text, schema):
        try:
            value = json.loads(text)
        except ValueError as e:
            return "no JSON: %s" % e
        errors = list(self.kind(schema, format_checker=self.checker).iter_errors(value))
        return errors[0].message[:200] if errors else None


    def wrong_bytes(self, data, schema):
        try:
            return self.wrong(data.decode(), schema)
        except UnicodeDecodeError as e:
            return str(e)


def one_walk(engine, tokens, r, steps):
    """A text that the masks allow, drawn so that it comes to an end; None: it did not."""
    text = b""
    for step in range(steps):
        bits, may_end, _ = engine.mask()
        some = ids(bits)
        if may_end and (not some or r.random() < 0.5):
            return text
        closing = [i for i in some if tokens[i][:1] in b'"]},' and len(tokens[i]) < 4]
        if closing and r.random() < min(0.2 + step / steps, 0.95):
            some = closing
        elif r.random() < 0.5:
            some = [i for i in some if len(tokens[i]) == 1] or some
        token = tokens[r.choice(some)]
        said = engine.accept(token)
        if said != "ok":
            raise SystemExit("a token of the mask is refused: %r after %r: %s" %
                             (token, text, said))
        text += token
    return None


def walks(engine, tokens, judge, count, steps):
    """Prints a line; the number of faults."""
    ended = unended = refused = faults = 0
    for seed in range(count):
        schema, r = schema_of(seed), random.Random(seed)
        said = engine.compile("schema", json.dumps(schema), compact=seed % 3 == 0)
        if not said.startswith("ok"):
            refused += 1
            if not any(w in said for w in REFUSED):
                faults += 1
                print("REFUSED: %s: %s" % (said, json.dumps(schema)[:300]))
            continue
        for _ in range(4):
            engine.again()
            text = one_walk(engine, tokens, r, steps)
            if text is None:
                unended += 1
                continue
            ended += 1
            wrong = judge.wrong(text.decode(), schema)
            if wrong:
                faults += 1
                print("INVALID: seed %d: %r: %s: %s" % (seed, text[:300], wrong,
                                                      json.dumps(schema)[:600]))
    print("walks: %d schemas, %d refused by name; %d texts ended, %d did not; %d faults" %
          (count, refused, ended, unended, faults))
    return faults


def random_model(work, hidden=64, layers=2, wide=128):
    """A model of random weights with a published vocabulary."""
    vocabulary_file(work)
    folder = os.path.join(work, "random-weights" + ("-%d" % hidden if hidden > 64 else ""))
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump({"model_type": "rwkv7", "vocab_size": 131072, "hidden_size": hidden,
                   "num_hidden_layers": layers, "head_dim": 32, "intermediate_size": wide,
                   "hidden_act": "sqrelu", "norm_eps": 1e-5, "decay_low_rank_dim": 16,
                   "a_low_rank_dim": 16, "v_low_rank_dim": 16, "gate_low_rank_dim": 16,
                   "norm_first": True, "norm_bias": True, "tie_word_embeddings": False,
                   "eos_token_id": 2, "bos_token_id": 1}, f)
    link = os.path.join(folder, "tekken.json")
    if not os.path.exists(link):
        os.symlink(os.path.join("..", "tekken.json"), link)
    return folder


def ask(server, seeds, judge, tally, reasons, lock):
    for seed in seeds:
        schema = schema_of(seed)
        status, _, body = server.request("POST", "/v1/completions", {
            "prompt": "Once upon a time", "max_tokens": 700, "seed": seed,
            "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
            "temperature": (0, 0.7, 1.3)[seed % 3]})
        reply = json.loads(body)
        kind, wrong = "refused", None
        if status != 200:
            why = re.sub("\"[^\"]*\"|[0-9]+", "…", reply["error"]["message"].split(": ", 1)[-1])
            with lock:
                reasons[why] = reasons.get(why, 0) + 1
            wrong = None if status == 400 and any(w in str(reply) for w in REFUSED) else str(reply)
        elif reply["choices"][0]["finish_reason"] != "stop":
            kind = "unended"
        else:
            kind, wrong = "ended", judge.wrong(reply["choices"][0]["text"], schema)
        with lock:
            tally[kind] = tally.get(kind, 0) + 1
            if wrong:
                tally["faults"] = tally.get("faults", 0) + 1
                print("INVALID: seed %d: %s: %s" % (seed, str(reply)[:400], wrong))


def answers(recurd, work, judge, count):
    """Every model answers every schema; prints a row for each. The number of faults."""
    sys.path.insert(0, os.path.join(ROOT, "tests", "api"))
    import common
    common.Settings.recurd = recurd
    common.Settings.patience = staticmethod(lambda seconds: 20 * seconds)  # however busy we are
    rows = [(common.DEMO, []), (common.DEMO7, []),
            (random_model(work), ["--load-format", "dummy"])]
    try:
        return sum(answers_of(common, model, flags, judge, count) for model, flags in rows)
    finally:
        common.stop_all()


def answers_of(common, model, flags, judge, count):
    server, tally, lock = common.server("--model", model, *flags), {}, threading.Lock()
    reasons = {}
    common.in_threads([lambda k=k: ask(server, range(k, count, CLIENTS), judge, tally, reasons,
                                       lock)
                       for k in range(CLIENTS)])
    print("answers of %s: %d ended, %d did not, %d refused by name; %d invalid" %
          (os.path.basename(model), tally.get("ended", 0), tally.get("unended", 0),
           tally.get("refused", 0), tally.get("faults", 0)), flush=True)
    for why, n in sorted(reasons.items(), key=lambda x: -x[1]):
        print("    %3d refused: %s" % (n, why[:110]))
    return tally.get("faults", 0) + (not tally.get("ended"))
