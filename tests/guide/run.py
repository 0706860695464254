#!/usr/bin/env python3
"""Every command of the user's guide, run as it stands there, and its output compared.

usage: run.py BUILD [PAGE...]       BUILD: where the programs are; without PAGE all of etc/guide

Each page is a user of its own: a fresh folder, one shell, the blocks in order (README.md here has
the marks). Commands of root are read by the shell, and the words after systemctl are looked up;
`make test-newcomer` runs them. What a program is missing for is told as "skipped: …".
"""
import argparse
import glob
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "tests", "api")]
import blocks  # noqa: E402
import common  # noqa: E402
import messages  # noqa: E402

PAGES = os.path.join(ROOT, "etc", "guide")
# What the pages call by the names of an installation, and where it is here.
PLACES = [("/usr/share/recurd/demo", os.path.join(ROOT, "models", "demo"))] + [
    ("/usr/share/recurd/" + name, os.path.join(ROOT, "etc", name)) for name in ("proxy", "monitoring", "capacity")]
PORTS = ("8080", "8081", "8090", "8091")
PATH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
PATIENCE_S = 600


class Different(Exception):
    """A command that does something else than the page says."""


# The page's recurd listens where nobody else does, unless it is told where, and waits for a store
# however busy this machine is.
RECURD = """#!/bin/sh
case " $* " in
*" --shared-wait-ms "*) ;;
*" --shared "*) set -- "$@" --shared-wait-ms 10000 ;;
esac
case " $* " in
" run "* | *" --listen "* | *" --port "* | *" --config "*) exec %(program)s "$@" ;;
esac
exec %(program)s "$@" --port %(port)s
"""


def squeezed(text):
    return re.sub(r"\s+", "", text)


def pattern(lines):
    """Lines of a page as an expression: white space does not count, … is anything."""
    pieces = squeezed("\n".join(lines)).split("…")
    return re.compile(".*?".join(re.escape(p) for p in pieces), re.S)


class User:
    """A shell in a folder of its own."""

    def __init__(self, build):
        self.folder = tempfile.mkdtemp(prefix="recurd-guide-")
        ports = set()
        while len(ports) < len(PORTS):
            ports.add(str(common.free_port()))
        self.here = PLACES + list(zip(PORTS, ports))
        self.write(".bin/recurd", RECURD % {"program": os.path.join(build, "recurd"), "port": PORTS[0]})
        os.chmod(os.path.join(self.folder, ".bin", "recurd"), 0o755)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("RECURD_", "NOTIFY_"))}
        env.update(PATH=":".join([os.path.join(self.folder, ".bin"), build, PATH]), HOME=self.folder,
                   XDG_RUNTIME_DIR=self.folder, LC_ALL="C.UTF-8", PYTHONDONTWRITEBYTECODE="1")
        self.shell = subprocess.Popen(["bash", "--norc", "--noprofile"], cwd=self.folder, env=env,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, start_new_session=True)
        self.logs = 0

    def close(self):
        """Ends what the page left running; all of it is of this shell's session."""
        self.shell.stdin.close()
        try:
            os.killpg(self.shell.pid, signal.SIGTERM)
            self.shell.wait(PATIENCE_S)
        except ProcessLookupError:
            pass
        shutil.rmtree(self.folder, ignore_errors=True)

    def as_here(self, text):
        for there, here in self.here:
            text = text.replace(there, here)
        return text

    def as_there(self, text):
        for there, here in self.here:
            text = text.replace(here, there)
        return text

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(self.as_here(text))

    def ask(self, text, typed):
        """Runs it; -> exit code, output."""
        given = "/dev/null"
        if typed:
            given = os.path.join(self.folder, ".typed")
            self.write(".typed", "\n".join(typed) + "\n")
        end = "\x01end of a command\x01"
        self.shell.stdin.write(("{ %s\n} <%s\nprintf '%s%%d\\n' $?\n" % (
            self.as_here(text), given, end)).encode())
        self.shell.stdin.flush()
        got, late = b"", time.time() + PATIENCE_S
        while not re.search(end.encode() + rb"\d+\n", got):
            if not select.select([self.shell.stdout], [], [], max(late - time.time(), 0))[0]:
                raise Different("no end within %d s; so far:\n%s" % (PATIENCE_S, got.decode("utf-8", "replace")))
            piece = os.read(self.shell.stdout.fileno(), 65536)
            if not piece:
                raise Different("the shell ended")
            got += piece
        out, code = got.decode("utf-8", "replace").rsplit(end, 1)
        return int(code), self.as_there(out)

    def start(self, command):
        """A command that goes on beside the others: until it has said what the page shows."""
        self.logs += 1
        log = os.path.join(self.folder, ".log%d" % self.logs)
        self.ask(": >%s; >%s 2>&1 %s" % (log, log, command.text), [])
        wanted, late = pattern(command.expected), time.time() + PATIENCE_S
        while True:
            with open(log, encoding="utf-8", errors="replace") as f:
                said = self.as_there(f.read())
            if command.expected and wanted.match(squeezed(said)):
                return
            if not command.expected or time.time() > late or self.ask("kill -0 $! 2>/dev/null", [])[0]:
                break
            time.sleep(0.05)
        if command.expected:
            raise Different("it said:\n" + said)

    def run(self, command):
        if command.text.endswith("&") and not command.text.endswith("&&"):
            self.start(command)
            return
        late = time.time() + PATIENCE_S
        while True:
            code, out = self.ask(command.text, command.typed)
            same = not command.expected or pattern(command.expected).fullmatch(squeezed(out))
            if same or "until" not in command.flags or time.time() > late:
                break
            time.sleep(0.1)  # a page that says "after a moment"
        if (code != 0) != ("fails" in command.flags):
            raise Different("exit code %d:\n%s" % (code, out))
        if not same:
            raise Different("it printed:\n%s\nand the page has:\n%s" % (out, "\n".join(command.expected)))


OTHERS = ("daemon-reload", "nginx", "haproxy", "prometheus")
UNITS = {os.path.basename(p) for p in glob.glob(os.path.join(ROOT, "systemd", "*.s*")) if os.path.isfile(p)}


def read_as_root(command):
    """What can be said of root's command without being root: the shell reads it, units exist."""
    r = subprocess.run(["bash", "-n"], input=command.text, text=True, stderr=subprocess.PIPE)
    if r.returncode:
        raise Different(r.stderr)
    for unit in re.findall(r"(?:systemctl [a-z-]+(?: --now)?|journalctl .*?-u) (\S+)", command.text):
        name = re.sub(r"@\w+", "@", unit)
        name += "" if "." in name else ".service"
        if name not in UNITS and unit not in OTHERS:
            raise Different("there is no unit %s" % unit)
    with open(os.path.join(ROOT, "Makefile"), encoding="utf-8") as f:
        targets = re.findall(r"^([a-z-]+):", f.read(), re.M)
    for target in re.findall(r"^make (\S+)", command.text):
        if target not in targets:
            raise Different("there is no target %s" % target)


def run_page(path, build):
    """-> (commands run, those read only, what is wrong, what was left out)."""
    page = os.path.basename(path)
    ran, read, left, user = 0, 0, [], User(build)
    try:
        parts = blocks.read(path, page)
        for part in parts:
            if isinstance(part, blocks.File):
                user.write(part.name, part.text)
            elif isinstance(part, str):
                messages.check(part)
            elif part.prompt == "#":
                read_as_root(part)
                read += 1
            elif part.flags.get("needs") and not shutil.which(part.flags["needs"], path=PATH):
                left.append("skipped: %s: %s is not installed" % (part.where, part.flags["needs"]))
            else:
                user.run(part)
                ran += 1
    except (Different, messages.Unknown) as e:
        where = getattr(part, "where", page)
        return ran, read, "%s: %s\n%s" % (where, getattr(part, "text", part), e), left
    finally:
        user.close()
    return ran, read, None, left


def main():
    p = argparse.ArgumentParser()
    p.add_argument("build")
    p.add_argument("pages", nargs="*")
    a = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of User.close()
    ran = read = failed = 0
    for path in a.pages or sorted(glob.glob(os.path.join(PAGES, "*.md"))):
        begun = time.time()
        n, m, wrong, left = run_page(path, os.path.abspath(a.build))
        ran, read = ran + n, read + m
        print("\n".join(left + ["%-7s %-20s %3d run, %2d read, %4.1f s" % (
            "FAILED" if wrong else "ok", os.path.basename(path), n, m, time.time() - begun)]))
        if wrong:
            failed += 1
            print("    " + wrong.replace("\n", "\n    "))
        sys.stdout.flush()
    print("guide: %d commands run, %d of root read, %d pages failed" % (ran, read, failed))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
