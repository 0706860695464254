"""The fenced blocks of a page of the guide, and what their first lines ask for (README.md here)."""
import re
import sys

FENCE = re.compile(r"^```(.*)$")


class Fault(Exception):
    """A page that cannot be read as README.md says."""


class Command:
    """One command: its line in the page, `$` (a user) or `#` (root), its text, what it must print.
    section: the heading above it."""

    section = None

    def __init__(self, page, line, prompt, text, flags):
        self.page, self.line, self.prompt, self.text, self.flags = page, line, prompt, text, flags
        self.typed, self.expected = [], []

    @property
    def where(self):
        return "%s:%d" % (self.page, self.line)


class File:
    """A file that the reader writes: its name and its text."""

    def __init__(self, page, line, name, text):
        self.page, self.line, self.name, self.text = page, line, name, text


def whole(text):
    """Whether a shell would not wait for more: no line joined to the next, no quote left open."""
    rest = re.sub(r"\\.|'[^']*'|\"(?:[^\"\\]|\\.)*\"", "", text, flags=re.S)
    return not re.search(r"['\"\\]", rest)


def commands(page, first, lines, flags):
    found, open_one = [], False
    for n, line in enumerate(lines, first):
        if open_one:
            found[-1].text += "\n" + line
        elif line[:2] in ("$ ", "# "):
            found.append(Command(page, n, line[0], line[2:], flags))
        elif not found:
            raise Fault("%s:%d: output before any command" % (page, n))
        elif line.startswith("> ") and "typed" in flags:
            found[-1].typed.append(line[2:])
            found[-1].expected.append("> ")
        else:
            found[-1].expected.append(line)
        open_one = not whole(found[-1].text)
    if open_one:
        raise Fault("%s: a quote is not closed" % found[-1].where)
    return found


def read(path, page):
    """-> the commands, files and quoted messages of a page, in order: Command, File, or str."""
    with open(path, encoding="utf-8") as f:
        lines = f.read().split("\n")
    parts, begin, words, section = [], None, [], None
    for n, line in enumerate(lines, 1):
        fence = FENCE.match(line)
        if begin is None:
            if line.startswith("#"):
                section = line.lstrip("# ")
            if fence:
                begin, words = n, fence.group(1).split()
            continue
        if not fence:
            continue
        body, kind = lines[begin:n - 1], words[0] if words else ""
        if kind == "console":
            found = commands(page, begin + 1, body, flags_of(page, begin, words[1:]))
            for command in found:
                command.section = section
            parts += found
        elif kind == "message":
            parts += ["\n".join(body)]
        elif len(words) == 2:
            parts.append(File(page, begin, words[1], "\n".join(body) + "\n"))
        else:
            raise Fault("%s:%d: a block that is neither console, message nor a file" % (page, begin))
        begin = None
    if begin is not None:
        raise Fault("%s:%d: a block without end" % (page, begin))
    return parts


FLAGS = ("fails", "typed", "needs", "until")


def flags_of(page, line, words):
    flags = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in FLAGS:
            raise Fault("%s:%d: %s is none of %s" % (page, line, word, ", ".join(FLAGS)))
        flags[name] = value
    return flags


def main():
    """usage: blocks.py PAGE [SECTION]      prints root's commands, one a line: what a clean root runs."""
    for part in read(sys.argv[1], sys.argv[1]):
        if isinstance(part, Command) and part.prompt == "#" and sys.argv[2:] in ([], [part.section]):
            print(part.text)


if __name__ == "__main__":
    main()
