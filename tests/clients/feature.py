"""What every use_*.py shares: a list of features, each a function, run one after another.

Runs inside the client's own environment. A line for each feature:
    ok    CLIENT  FEATURE
    FAIL  CLIENT  FEATURE: what was raised
    skip  CLIENT  FEATURE: why
Environment: CLIENT (its name), BASE (http://host:port), MODEL, BIN (a folder with the client's
programs), ONLY (part of a feature's name; empty = all)."""
import asyncio
import inspect
import os
import sys
import traceback

BASE, MODEL, BIN = os.environ["BASE"], os.environ["MODEL"], os.environ["BIN"]
KEY = "none-is-needed"  # clients insist on one
_features = []

CITY = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}},
        "required": ["city"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "weather", "description": "The weather of a city.",
                                         "parameters": CITY}}
HI = [{"role": "user", "content": "Tell me about a dog."}]


class Skip(Exception):
    """This feature cannot be tried here, and why."""


def feature(name):
    def add(f):
        _features.append((name, f))
        return f
    return add


def refused(kind, call, word):
    """call() raises `kind`, and the sentence names `word`."""
    try:
        call()
    except kind as e:
        assert word in str(e), "the refusal does not name %r: %s" % (word, e)
        return e
    raise AssertionError("it was not refused")


def sentence(e):
    """An exception in one line, the place in the test with it."""
    where = [f for f in traceback.extract_tb(e.__traceback__)
             if os.path.basename(f.filename).startswith("use_")]
    text = " ".join(("%s: %s" % (type(e).__name__, e)).split())
    return text[:500] + (" (%s:%d)" % (os.path.basename(where[-1].filename), where[-1].lineno)
                         if where else "")


def main():
    client, only = os.environ["CLIENT"], os.environ.get("ONLY", "")
    for name, f in _features:
        if only not in name:
            continue
        try:
            result = f()
            if inspect.isawaitable(result):
                asyncio.run(result)
            word, why = "ok", ""
        except Skip as e:
            word, why = "skip", ": " + sentence(e)
        except Exception as e:
            word, why = "FAIL", ": " + sentence(e)
        print("%-5s %-13s %s%s" % (word, client, name, why), flush=True)
    sys.stdout.flush()
    os._exit(0)  # what threads a client has left do not matter
