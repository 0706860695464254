"""Whether a quoted message is one that the sources have."""
import functools
import glob
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDERS = ("base", "kernels", "models", "statecache", "scheduler", "server", "programs", "systemd")
STRINGS = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
# A conversion of printf, and what stands between two neighbouring strings ("a" PRIu64 "b").
CONVERSION = re.compile(r"%%|%[-+ #0]*[\d*]*(?:\.[\d*]+)?(?:hh|h|ll|l|z|j)?[a-zA-Z]")
BETWEEN = re.compile(r"\s*(?:PRI[a-z]\d+\s*)?")


class Unknown(Exception):
    pass


def strings_of(text):
    """String literals of a C source, neighbours joined, values as …."""
    joined, end = "", None
    for m in STRINGS.finditer(text):
        if end is not None and BETWEEN.fullmatch(text[end:m.start()]):
            joined += m.group(1)
        else:
            yield joined
            joined = m.group(1)
        end = m.end()
    yield joined


def shown(literal):
    plain = CONVERSION.sub(lambda m: "%" if m.group() == "%%" else "…", literal)
    return re.sub(r"…\w*", "…", plain).replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")


@functools.lru_cache(None)
def sentences():
    found = set()
    for folder in FOLDERS:
        for path in glob.glob(os.path.join(ROOT, folder, "**", "*"), recursive=True):
            if path.endswith((".c", ".h", ".def", ".cc", ".service")):
                with open(path, encoding="utf-8", errors="replace") as f:
                    found.update(shown(s) for s in strings_of(f.read()) if len(s) > 11)
    return found


def check(message):
    """Its fixed parts must stand in one string of the sources, in order; … is what varies."""
    parts = [re.escape(p) for p in message.strip().split("…")]
    if sum(map(len, parts)) < 12:
        raise Unknown("too short to be looked for: " + message)
    wanted = re.compile(".*".join(parts), re.S)
    if not any(wanted.search(s) for s in sentences()):
        raise Unknown("no source has this sentence")
