"""llama.cpp: how it is had from PyPI, and how a process of it (peer.py) is asked."""
import json
import os
import subprocess
import sys
import venv

HERE = os.path.dirname(os.path.abspath(__file__))
WHEEL, SOURCE = "cyllama", "llama-cpp-python"
CMAKE = "-DLLAVA_BUILD=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DGGML_NATIVE=ON"


def enter(build, package):
    """Runs this file again inside the environment that has the package; makes it where it lacks."""
    folder = os.environ.get("PEERS_VENV", os.path.join(build, "venv-peers-" + package))
    python = os.path.join(folder, "bin", "python")
    if os.path.realpath(sys.prefix) == os.path.realpath(folder):
        return
    try:
        if not os.path.exists(python):
            venv.create(folder, with_pip=True)
        if subprocess.run([python, "-m", "pip", "show", "-q", package],
                          capture_output=True).returncode:
            print(f"installing {package}", flush=True)
            subprocess.run([python, "-m", "pip", "install", "-q", "numpy", package], check=True,
                           capture_output=True, timeout=7200,
                           env={**os.environ, "CMAKE_ARGS": CMAKE})
    except (OSError, subprocess.SubprocessError) as e:
        print(f"skipped: {package} could not be installed ({e})")
        sys.exit(0)
    sys.exit(subprocess.run([python] + sys.argv).returncode)


class NotLoaded(Exception):
    """By the peer: some packages bring a llama.cpp that lacks, or fails at, an architecture."""


class Peer:
    def __init__(self, path, streams=1):
        self.p = subprocess.Popen([sys.executable, os.path.join(HERE, "peer.py"), path,
                                   str(os.cpu_count()), str(streams)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            self.first = self.answer()
        except SystemExit as e:
            raise NotLoaded(path) from e

    def answer(self):
        line = self.p.stdout.readline()
        if not line:
            sys.exit(f"FAIL: llama.cpp ends with {self.p.wait()}: peer.py says why by itself")
        return json.loads(line)

    def ask(self, **what):
        self.p.stdin.write(json.dumps(what) + "\n")
        self.p.stdin.flush()
        return self.answer()

    def close(self):
        self.p.stdin.close()
        self.p.wait(60)
