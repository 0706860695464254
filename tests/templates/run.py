#!/usr/bin/env python3
"""Published chat templates, rendered by jinja2 as transformers sets it up and by the daemon's own
interpreter: equal text, or an error where the reference raises.

usage: run.py JINJA_RENDER [--cache DIR] [--templates DIR] [--only NAME] [-v]
The templates come from a source package of PyPI, fetched at run time into the cache. Where that or
jinja2 cannot be had, the test says "skipped: …" and exits 0."""
import argparse
import datetime
import glob
import json
import os
import subprocess
import sys
import tarfile

from conversations import conversations
from snippets import VARIABLES, snippets

PACKAGE = ("llama-cpp-python", "0.3.36")
NOW = 1753900000
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
VENV = "venv"


def skip(why):
    print("skipped: %s" % why)
    sys.exit(0)


def pip(cache, *args):
    return subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *args],
                          cwd=cache, capture_output=True, text=True, timeout=900)


def need_jinja2(cache):
    target = os.path.join(cache, "python")
    sys.path.insert(0, target)
    try:
        import jinja2  # noqa: F401
        return
    except ImportError:
        pass
    r = pip(cache, "install", "--target", target, "jinja2==3.1.6")
    if r.returncode:
        skip("jinja2 could not be installed")


def fetch(cache):
    """The folder of templates of the source package, fetched once."""
    found = glob.glob(os.path.join(cache, "*", "vendor", "llama.cpp", "models", "templates"))
    if found:
        return found[0]
    name, version = PACKAGE
    sdist = glob.glob(os.path.join(cache, "llama_cpp_python-*.tar.gz"))
    if not sdist:
        r = pip(cache, "download", "--no-deps", "--no-binary", name, "%s==%s" % (name, version))
        sdist = glob.glob(os.path.join(cache, "llama_cpp_python-*.tar.gz"))
        if r.returncode or not sdist:
            skip("%s %s could not be fetched from the package index" % (name, version))
    with tarfile.open(sdist[0]) as t:
        for m in t.getmembers():
            if "/models/templates/" in m.name and m.isfile() and ".." not in m.name:
                t.extract(m, cache)
    return fetch(cache)


def environment():
    """As transformers makes it (utils/chat_template_utils.py), written again."""
    import jinja2
    import jinja2.ext
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            call = self.call_method("_passed")
            return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

        def _passed(self, caller):
            return caller()

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda f: datetime.datetime.fromtimestamp(NOW).strftime(f)
    return env


class Renderer:
    def __init__(self, program):
        self.p = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, path, variables):
        line = json.dumps({"template": path, "vars": variables, "now": NOW})
        self.p.stdin.write(line.encode() + b"\n")
        self.p.stdin.flush()
        return json.loads(self.p.stdout.readline())


def reference(template, variables):
    if isinstance(template, Exception):
        return None, template
    try:
        return template.render(**variables), None
    except Exception as e:  # whatever Python raises, the template has failed
        return None, e


def check_snippets(env, render, cache):
    """The corners of the language. -> number that differ."""
    bad, texts = 0, snippets()
    path = os.path.abspath(os.path.join(cache, "snippet-%d-%%d.jinja" % os.getpid()))
    for i, text in enumerate(texts):
        try:
            want, error = reference(env.from_string(text), VARIABLES)
        except Exception as e:
            want, error = None, e
        with open(path % i, "w", encoding="utf-8", newline="") as h:
            h.write(text)
        got = render(path % i, VARIABLES)
        os.unlink(path % i)
        if error is not None and "error" in got or error is None and got.get("text") == want:
            continue
        bad += 1
        print("  snippet %r\n    want %r %r\n    got  %r" % (text, want, error, got))
    print("%d snippets of the language: %d differ" % (len(texts), bad))
    return bad


def main():
    a = argparse.ArgumentParser()
    a.add_argument("program")
    a.add_argument("--cache", default="build/templates")
    a.add_argument("--templates")
    a.add_argument("--only", default="")
    a.add_argument("-v", action="store_true")
    a = a.parse_args()
    os.makedirs(a.cache, exist_ok=True)
    need_jinja2(a.cache)
    folder = a.templates or fetch(a.cache)
    env, render = environment(), Renderer(a.program)
    files = sorted(f for f in glob.glob(os.path.join(folder, "*.jinja")) if a.only in f)
    talks = conversations()
    bad = equal_all = raised_all = 0
    print("%-58s %6s %6s %6s" % ("template", "equal", "raise", "differ"))
    for f in files:
        with open(f, encoding="utf-8") as h:
            source = h.read()
        try:
            template = env.from_string(source)
        except Exception as e:
            template = e
        equal = raised = differ = 0
        for i, talk in enumerate(talks):
            variables = dict(TOKENS, **talk)
            want, error = reference(template, variables)
            got = render(os.path.abspath(f), variables)
            if error is not None and "error" in got:
                raised += 1
            elif error is None and got.get("text") == want:
                equal += 1
            else:
                differ += 1
                if a.v or differ == 1:
                    print("  conversation %d:" % i, (got.get("error") or repr(error))[:300])
                    if error is None and "text" in got:
                        n = next((k for k, (x, y) in enumerate(zip(want, got["text"])) if x != y),
                                 min(len(want), len(got["text"])))
                        print("    want …%r\n    got  …%r" % (want[n - 30:n + 60],
                                                              got["text"][n - 30:n + 60]))
        print("%-58s %6d %6d %6d" % (os.path.basename(f)[:58], equal, raised, differ))
        bad += differ
        equal_all += equal
        raised_all += raised
    print("%d templates x %d conversations: %d equal, %d raise in both, %d differ"
          % (len(files), len(talks), equal_all, raised_all, bad))
    bad += check_snippets(env, render, a.cache)
    return 1 if bad or not files else 0


if __name__ == "__main__":
    sys.exit(main())
