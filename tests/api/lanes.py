"""Runs the classes of a test suite in several processes ("lanes") at a time.

A lane is a fork of this process. It is given one class after the other, longest first by what the
last run took, and tells over a socket what becomes of each test; what its tests and their servers
print goes to a file and is shown whole, test by test. A lane that dies or falls silent fails the
run by the name of the test that it ran, and another takes its place. The totals are those of
unittest.
"""
import contextlib
import faulthandler
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import time
import traceback
import unittest

import common

SILENCE_S = 900  # a test that takes longer hangs; Settings.patience() of it
LAST_WORDS_S = 20  # a lane's, once it is told to say where it hangs


def tests_of(suite):
    for t in suite:
        if isinstance(t, unittest.TestSuite):
            yield from tests_of(t)
        else:
            yield t


class Unit:
    """What one lane runs in one go: a class."""

    def __init__(self, name):
        self.name, self.tests = name, []


def units_of(suite, seconds):
    """The longest first; those whose time is not known before all others, by their number."""
    units = {}
    for t in tests_of(suite):
        name = "%s.%s" % (type(t).__module__, type(t).__qualname__)
        units.setdefault(name, Unit(name)).tests.append(t)
    return sorted(units.values(), reverse=True,
                  key=lambda u: (u.name not in seconds, seconds.get(u.name, 0), len(u.tests)))


class Teller(unittest.TestResult):
    """A lane's result: every event is one line of JSON, with where the test's output begins."""

    def __init__(self, tell):
        super().__init__()
        self.tell, self.began = tell, 0

    def where(self):
        sys.stdout.flush()
        sys.stderr.flush()
        return os.lseek(1, 0, os.SEEK_END)

    def startTest(self, test):
        super().startTest(test)
        self.began = self.where()
        self.tell(what="start", test=str(test), at=self.began)

    def stopTest(self, test):
        super().stopTest(test)
        self.tell(what="stop", test=str(test), at=self.began, end=self.where())

    def event(self, what, test, why=""):
        self.tell(what=what, test=str(test), why=why)

    def addSuccess(self, test):
        self.event("ok", test)

    def addError(self, test, err):
        super().addError(test, err)
        self.event("ERROR", *self.errors[-1])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.event("FAIL", *self.failures[-1])

    def addSkip(self, test, reason):
        self.event("skipped", test, reason)

    def addExpectedFailure(self, test, err):
        self.event("expected failure", test)

    def addUnexpectedSuccess(self, test):
        self.event("unexpected success", test)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            told = self.failures if failed else self.errors
            self.event("FAIL" if failed else "ERROR", *told[-1])


def work(channel, units):
    """The life of a lane: runs the units whose numbers come in, ends when no more do."""
    orders = channel.makefile("r")

    def tell(**event):
        channel.sendall(json.dumps(event).encode() + b"\n")

    for line in orders:
        begin = time.monotonic()
        unittest.TestSuite(units[int(line)].tests).run(Teller(tell))
        tell(what="unit", seconds=time.monotonic() - begin)
    tell(what="end", faults=common.stop_all())


class Lane:
    def __init__(self, units, others):
        self.out = tempfile.TemporaryFile(mode="a+b")
        self.channel, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        self.pid = os.fork()
        if not self.pid:
            for mine in [self, *others]:
                mine.channel.close()  # whose end tells a lane that this process is no more
            self.be(theirs, units, parent)
        with contextlib.suppress(OSError):
            os.setpgid(self.pid, self.pid)  # its servers die with it
        theirs.close()
        self.channel.setblocking(False)
        self.rest = b""
        self.unit, self.test, self.at, self.heard = None, None, 0, time.monotonic()
        self.asked = self.told_all = False

    def be(self, channel, units, parent):
        """In the child: never returns."""
        code = 1
        try:
            os.setpgid(0, 0)
            for sig in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
                signal.signal(sig, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for fd in (1, 2):
                os.dup2(self.out.fileno(), fd)
            faulthandler.enable(2)
            work(channel, units)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            if os.getppid() != parent:  # then nobody else ends the servers of this lane
                os.killpg(0, signal.SIGKILL)
            os._exit(code)  # what the parent registered to be done at its end is the parent's

    def give(self, number, unit):
        self.unit, self.test, self.heard = unit, None, time.monotonic()
        with contextlib.suppress(OSError):  # it died after its last event: events() will tell
            self.channel.sendall(b"%d\n" % number)

    def no_more(self):
        self.unit, self.heard = None, time.monotonic()
        with contextlib.suppress(OSError):
            self.channel.shutdown(socket.SHUT_WR)

    def events(self):
        """Those that came; None at the end."""
        try:
            data = self.channel.recv(1 << 20)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            return None
        self.heard = time.monotonic()
        *lines, self.rest = (self.rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def text(self, begin, end=None):
        size = os.fstat(self.out.fileno()).st_size if end is None else end
        return os.pread(self.out.fileno(), size - begin, begin).decode("utf-8", "replace")

    def close(self):
        """Of the process and of whatever it left; returns how it ended, in words."""
        self.channel.close()
        if not self.told_all:
            self.kill(signal.SIGKILL)
        status = os.waitpid(self.pid, 0)[1]
        self.kill(signal.SIGKILL)
        self.out.close()
        if os.WIFSIGNALED(status):
            return "was ended by %s" % signal.Signals(os.WTERMSIG(status)).name
        return "ended with code %d" % os.WEXITSTATUS(status)

    def kill(self, sig):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, sig)

    def watch(self):
        """A lane that fell silent says where it hangs, and ends; then events() ends too."""
        silent = time.monotonic() - self.heard - common.Settings.patience(SILENCE_S)
        if silent > LAST_WORDS_S:
            self.kill(signal.SIGKILL)
        elif silent > 0 and not self.asked:
            self.asked = True
            os.kill(self.pid, signal.SIGABRT)


class Report:
    """Unittest's report, of tests that end in any order."""
    SIGNS = {"ok": ".", "FAIL": "F", "ERROR": "E", "skipped": "s", "expected failure": "x",
             "unexpected success": "u"}

    def __init__(self, verbose):
        self.verbose, self.begun = verbose, time.monotonic()
        self.ran, self.counts = 0, dict.fromkeys(self.SIGNS, 0)
        self.failed, self.faults, self.column = [], [], 0

    def write(self, text):
        sys.stderr.write(text)
        sys.stderr.flush()
        self.column = 0 if text.endswith("\n") else self.column + len(text)

    def line(self, text):
        self.write(("\n" if self.column else "") + text + "\n")

    def told(self, what, test, why):
        self.counts[what] += 1
        if self.verbose:
            self.line("%s ... %s" % (test, what + (" %r" % why if what == "skipped" else "")))
        else:
            self.write(self.SIGNS[what] + ("\n" if self.column == 99 else ""))
        if what in ("FAIL", "ERROR"):
            self.failed.append([what, test, why])

    def ended(self, test, output):
        """What it printed is shown at once, and again below its failure."""
        if output.strip():
            self.line(output.strip("\n"))
            for f in self.failed:
                if f[1].startswith(test) and "\nIt printed:" not in f[2]:
                    f[2] += "\nIt printed:\n" + output.strip("\n") + "\n"

    def end(self):
        """-> whether all is well"""
        for what, test, why in self.failed:
            self.line("=" * 70 + "\n%s: %s\n" % (what, test) + "-" * 70 + "\n" + why)
        for fault in self.faults:
            self.line("=" * 70 + "\n" + fault)
        self.line("-" * 70 + "\nRan %d test%s in %.3fs\n" % (
            self.ran, "s"[:self.ran != 1], time.monotonic() - self.begun))
        c = self.counts
        bad = (("failures", c["FAIL"]), ("errors", c["ERROR"]), ("servers", len(self.faults)),
               ("unexpected successes", c["unexpected success"]))
        well = not any(n for _, n in bad)
        more = ["%s=%d" % x for x in bad + (("skipped", c["skipped"]),
                                            ("expected failures", c["expected failure"])) if x[1]]
        self.line(("OK" if well else "FAILED") + (" (%s)" % ", ".join(more) if more else ""))
        return well


class Run:
    def __init__(self, units, seconds, report):
        self.units, self.seconds, self.report = units, seconds, report
        self.selector, self.lanes = selectors.DefaultSelector(), set()

    def run(self, numbers, lanes):
        """The units of these numbers, in so many lanes."""
        left = list(numbers)
        for _ in range(min(lanes, len(left))):
            self.start(left)
        while self.lanes:
            for key, _ in self.selector.select(1):
                self.hear(key.data, left)
            for lane in self.lanes:
                lane.watch()

    def start(self, left):
        lane = Lane(self.units, self.lanes)
        self.lanes.add(lane)
        self.selector.register(lane.channel, selectors.EVENT_READ, lane)
        self.next(lane, left)

    def next(self, lane, left):
        if left:
            number = left.pop(0)
            lane.give(number, self.units[number])
        else:
            lane.no_more()

    def hear(self, lane, left):
        events = lane.events()
        for e in events or ():
            what = e.pop("what")
            if what == "start":
                lane.test, lane.at = e["test"], e["at"]
                self.report.ran += 1
            elif what == "stop":
                self.report.ended(e["test"], lane.text(e["at"], e["end"]))
                lane.test = None
            elif what == "unit":
                self.seconds[lane.unit.name] = round(e["seconds"], 1)
                self.next(lane, left)
            elif what == "end":
                self.report.faults += e["faults"]
                lane.told_all = True
            else:
                self.report.told(what, e["test"], e["why"])
        if events is None:
            self.gone(lane, left)

    def gone(self, lane, left):
        self.selector.unregister(lane.channel)
        self.lanes.discard(lane)
        output = lane.text(lane.at if lane.test else 0)
        how = lane.close()
        if lane.told_all:
            return
        test = lane.test or (lane.unit.name if lane.unit else "the end of a lane")
        hung = "hung, and " if lane.asked else ""
        self.report.told("ERROR", test, "The process that ran it %s%s; what was left of %s was not "
                         "run. It printed:\n%s" % (hung, how, lane.unit.name if lane.unit else "it",
                                                   output))
        if left:
            self.start(left)

    def close(self):
        for lane in self.lanes:
            lane.close()


def learned(path):
    try:
        with open(path, encoding="utf-8") as f:
            return json.load(f)
    except (OSError, ValueError):
        return {}


def run(suite, lanes, verbose, times, whole):
    """-> whether all is well. times: a file of what each class took, written where whole."""
    seconds = learned(times)
    units = units_of(suite, seconds)
    report = Report(verbose)
    todo = Run(units, seconds, report)
    for sig in (signal.SIGHUP, signal.SIGTERM):
        if signal.getsignal(sig) != signal.SIG_IGN:  # nohup
            signal.signal(sig, lambda number, _: sys.exit(128 + number))
    try:
        todo.run(range(len(units)), lanes)
    finally:
        todo.close()
    if whole:
        os.makedirs(os.path.dirname(times), exist_ok=True)
        with open(times, "w", encoding="utf-8") as f:
            json.dump(dict(sorted(seconds.items(), key=lambda x: -x[1])), f, indent=0)
    return report.end()
