#!/usr/bin/env python3
"""Names of files in texts: pages (*.md) and comments name only files that exist.

usage: names.py [ROOT]

Looked at: words in backticks of pages, with a '/' or the ending of a source file, and words with
such an ending in comments (of scripts: the one at the head). A name is right if some file or folder of the tree
has a path that is it or ends in it ("../" counts from the page's folder; '*', '<name>' and '{a,b}'
stand for names); an ending may be left out, and x.h/.c are two files. names.txt has what looks like a
file of the tree and is none. A folder of more than ten files must have a README.md. Exit 1 on findings.
"""
import collections
import fnmatch
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = r"\.(?:c|h|cc|cl|clh|def|awk|py|sh|md|sum|tune)"
CODE = (".c", ".h", ".cc", ".cl", ".clh", ".def", ".awk", ".py", ".sh", ".sum")
# In pages a '/' or the ending makes a file of a word; in comments, where nothing is quoted, the ending.
PAGE = re.compile(r"(?:[\w.{},*<>-]+/)+[\w.{},*<>-]*|[\w.{},*<>-]+" + SOURCE)
NAME = re.compile(r"(?<![\w./<>~$*-])((?:[\w.-]+/)*[\w*-]*\w[\w-]*" + SOURCE + r")(?![\w./]*[\w/])")
FILES_MAX = 10


def tree(root):
    """Every file and folder, relative to root; build outputs and hidden folders never."""
    files, folders = [], []
    for top, below, names in os.walk(root):
        here = os.path.relpath(top, root)
        below[:] = [d for d in below if d not in (".git", "__pycache__") and
                    not (here == "." and d.startswith("build"))]
        folders.append(here)
        files += [os.path.normpath(os.path.join(here, n)) for n in names if n != ".git"]
    return files, folders


def spread(name):
    """{a,b} as two names."""
    m = re.search(r"\{([^{}]*)\}", name)
    if not m:
        return [name]
    return [x for part in m[1].split(",") for x in spread(name[:m.start()] + part + name[m.end():])]


class Names:
    def __init__(self, files, folders):
        self.ends = set()
        for path in files + [f for f in folders if f != "."]:
            parts = path.split("/")
            for i in range(len(parts)):
                end = "/".join(parts[i:])
                # `store/store` is a way to write store/store.h and .c
                self.ends |= {end, os.path.splitext(end)[0]}

    def has(self, name, folder):
        if ".." in name.split("/"):
            name = os.path.normpath(os.path.join(folder, name))
        name = re.sub(r"<[^<>]*>", "*", name).rstrip("/.,")
        name = name[2:] if name.startswith("./") else name
        if "*" in name:
            return bool(fnmatch.filter(self.ends, name))
        return name in self.ends


def page_words(text):
    fenced = False
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        if fenced or line.startswith("    "):
            continue
        for span in re.findall(r"`([^`]+)`", line):
            for word in re.split(r"[\s=:;()\"]+", span):
                m = re.fullmatch(r"(.*\.h)/(\.cc?)", word)
                for name in [m[1], m[1][:-2] + m[2]] if m else spread(word.rstrip(",.")):
                    if PAGE.fullmatch(name):
                        yield number, name
        for target in re.findall(r"\]\(([^)#:]+)\)", line):
            yield number, target


def comment_words(text, ending):
    """Of every comment of C; elsewhere of the one that a file begins with."""
    if ending in (".py", ".sh", ".awk", ".sum"):
        head = r'\A(?:#!.*\n)?(?:"""(?s:.*?)"""|(?:#.*\n)+)'
        comments = re.finditer(head, text)
    else:
        comments = re.finditer(r"/\*(?s:.*?)\*/|//.*", text)
    for comment in comments:
        for m in NAME.finditer(comment[0]):
            yield text.count("\n", 0, comment.start() + m.start()) + 1, m[1]


def exceptions():
    """The patterns of names.txt, as one."""
    with open(os.path.join(HERE, "names.txt"), encoding="utf-8") as f:
        rows = [line.split(": ")[0] for line in f if line.strip() and not line.startswith("#")]
    return re.compile("|".join(rows))


def check(root):
    """One sentence for every finding."""
    files, folders = tree(root)
    names, skip = Names(files, folders), exceptions()
    for path in sorted(files):
        page = path.endswith(".md")
        if not page and not path.endswith(CODE):
            continue
        with open(os.path.join(root, path), encoding="utf-8", errors="replace") as f:
            text = f.read()
        words = page_words(text) if page else comment_words(text, os.path.splitext(path)[1])
        for line, word in words:
            if not names.has(word, os.path.dirname(path)) and not skip.fullmatch(word):
                yield f"{path}:{line}: no file or folder is called {word}: write the name it has now " \
                      "(if it is none of ours: tests/lint/names.txt, with the reason)"
    count = collections.Counter(map(os.path.dirname, files))
    for folder in sorted(folders):
        inside = count[os.path.dirname(os.path.normpath(folder + "/x"))]
        if inside > FILES_MAX and os.path.normpath(os.path.join(folder, "README.md")) not in files \
                and not skip.fullmatch(folder):
            yield f"{folder}: {inside} files and no README.md; from {FILES_MAX + 1} on a folder has one"


if __name__ == "__main__":
    findings = list(check(sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "../..")))
    print("\n".join(findings), end="\n" if findings else "")
    sys.exit(1 if findings else 0)
