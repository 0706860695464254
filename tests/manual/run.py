#!/usr/bin/env python3
"""Manual pages and completion: installed, rendered without a warning, and the same flags as --help.

usage: run.py BUILD INSTALLED

INSTALLED is what make install wrote with PREFIX=/usr. man, groff or zsh missing: that part is skipped, and said so
"""
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGES = {"recurd": "8", "recurd-bench": "1", "recurd-eval": "1", "recurd-state": "1", "recurd-convert": "1"}
FLAG = re.compile(r"^ +(--?[a-z][a-z0-9-]*)", re.M)
failures = []


def say(what, bad):
    print("%-44s %s" % (what, "FAILED: " + bad if bad else "ok"))
    if bad:
        failures.append(what)


def out(*args, env=None, cwd=None):
    p = subprocess.run(args, capture_output=True, text=True, timeout=120, env=env, cwd=cwd)
    return p.returncode, p.stdout, p.stderr


def installed(to):
    """Everything is where it belongs; the manual pages."""
    want = ["usr/share/man/man%s/%s.%s" % (s, p, s) for p, s in PAGES.items()]
    want += ["usr/share/man/man5/recurd.conf.5", "usr/share/man/man5/recurd-api-keys.5"]
    want += ["usr/share/bash-completion/completions/" + p for p in PAGES]
    want += ["usr/share/zsh/vendor-completions/_" + p for p in PAGES]
    want += ["usr/bin/" + p for p in PAGES] + ["usr/lib/systemd/system/recurd.service"]
    missing = [w for w in want if not os.path.isfile(os.path.join(to, w))]
    say("make install", ", ".join(missing))
    with open(os.path.join(to, "usr/lib/systemd/system/recurd.service")) as f:
        say("the unit starts the installed program",
            "" if "ExecStart=/usr/bin/recurd " in f.read() else "another path")
    return [os.path.join(to, w) for w in want if "/man/" in w]


def rendered(path):
    """A page as people read it."""
    env = dict(os.environ, MANWIDTH="200", LC_ALL="C.UTF-8")
    code, text, err = out("man", "--warnings", "-E", "UTF-8", "-l", path, env=env)
    return text.replace("\u2010", "-").replace("\u2212", "-"), err if code == 0 else err or "exit code %d" % code


def check_pages(paths):
    if not shutil.which("man") or not shutil.which("groff"):
        print("skipped: manual pages: man-db or groff is not installed")
        return {}
    texts = {}
    for path in paths:
        name = os.path.basename(path)
        texts[name], err = rendered(path)
        say("man --warnings " + name, err.strip() or ("" if len(texts[name]) > 400 else "an empty page"))
    return texts


def check_flags(flags, texts):
    for program, section in PAGES.items():
        page = texts.get("%s.%s" % (program, section))
        if page is None:
            continue
        found = set(FLAG.findall(page))
        lost = flags[program] - found
        # recurd-bench's parser knows these two without a row.
        more = found - flags[program] - {"-h"}
        say("%s: %d flags of --help in its page" % (program, len(flags[program])),
            " ".join(sorted(lost | more)))


def check_keys(build, texts):
    page = texts.get("recurd.conf.5")
    if page is None:
        return
    keys = set(re.findall(r"^#?([a-z][a-z0-9-]*) = ", out(build + "/recurd", "--default-config")[1], re.M))
    shown = set(re.findall(r"^ +([a-z][a-z0-9-]*) = \S", page, re.M))
    say("recurd.conf(5): %d keys" % len(keys), " ".join(sorted(keys ^ shown)))
    with open(os.path.join(ROOT, "server/process/keylimit.def")) as f:
        words = set(re.findall(r'KEYLIMIT\(\w+, "([a-z-]+)"', f.read()))
    shown = set(re.findall(r"^ +([a-z-]+)=N$", texts["recurd-api-keys.5"], re.M))
    say("recurd-api-keys(5): %d limits" % len(words), " ".join(sorted(words ^ shown)))


def bash(path, *words):
    """What bash offers for the last of words."""
    script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); "_$1"; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    code, text, err = out("bash", "-c", script, "x", os.path.abspath(path), *words, cwd=ROOT + "/etc")
    return set(text.split()) if not code and not err else {"error: " + err}


def check_bash(build, flags):
    for program in PAGES:
        path = "%s/completion/bash/%s" % (build, program)
        say("bash: %s -<TAB>" % program, " ".join(sorted(flags[program] - bash(path, program, "-"))))
    path = build + "/completion/bash/recurd"
    for words, want in ((("--quantize", ""), {"none", "q8", "q4"}), (("--kv-mem",), {"--kv-memory"}),
                        (("--slots", ""), {"auto"}), (("ser",), {"serve"}),
                        (("-m", "recurd.c"), {"recurd.conf"}), (("-m", "x", "ser"), set())):
        got = bash(path, "recurd", *words)
        say("bash: recurd " + " ".join(words) + "<TAB>", "" if got == want else " ".join(sorted(got)))


def check_zsh(build, flags):
    if not shutil.which("zsh"):
        print("skipped: completion of zsh: zsh is not installed")
        return
    for program in PAGES:
        path = "%s/completion/zsh/_%s" % (build, program)
        stub = '_arguments() { print -rl -- "$@" }; source "$1"'
        code, text, err = out("zsh", "-f", "-c", stub, "x", path)
        got = {m.lstrip("*") for m in re.findall(r"^\*?--?[a-z][a-z0-9-]*(?=\[)", text, re.M)}
        say("zsh: " + program, err.strip() or " ".join(sorted(flags[program] - got)))


def main():
    build = os.path.abspath(sys.argv[1])
    flags = {}
    for program in PAGES:
        code, text, err = out("%s/%s" % (build, program), "--help")
        flags[program] = set(FLAG.findall(text.split("usage:")[-1]))
        say(program + " --help", "" if code == 0 and flags[program] else "exit code %d" % code)
    texts = check_pages(installed(sys.argv[2]))
    check_flags(flags, texts)
    check_keys(build, texts)
    check_bash(build, flags)
    check_zsh(build, flags)
    print("manual: %s" % ("%d failures" % len(failures) if failures else "all the same"))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
