"""llama.cpp: how it and its server are had of PyPI, how a process of it (peer.py) is asked."""
import glob
import json
import os
import shutil
import subprocess
import sys
import venv

HERE = os.path.dirname(os.path.abspath(__file__))
WHEEL, SOURCE = "cyllama", "llama-cpp-python"
# Both builds: a fault of compilers is repaired (tile_config.h).
REPAIRED = {**os.environ, "CXXFLAGS": f"{os.environ.get('CXXFLAGS', '')} -include "
                                      f"{os.path.join(HERE, 'tile_config.h')}"}
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
                           env={**REPAIRED, "CMAKE_ARGS": CMAKE})
    except (OSError, subprocess.SubprocessError) as e:
        print(f"skipped: {package} could not be installed ({e})")
        sys.exit(0)
    sys.exit(subprocess.run([python] + sys.argv).returncode)


# Its page would be downloaded while it is built.
SERVER_CMAKE = ["-DCMAKE_BUILD_TYPE=Release", "-DGGML_NATIVE=ON", "-DBUILD_SHARED_LIBS=OFF",
                "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_BUILD_TESTS=OFF",
                "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF"]


def server(build):
    """Path of llama-server: in PATH, or built of the sources that llama-cpp-python ships (once,
    five minutes); None where that fails."""
    folder = os.path.join(build, "peers", "llama-server")
    path = shutil.which("llama-server") or os.path.join(folder, "build", "bin", "llama-server")
    if os.path.exists(path):
        return path
    os.makedirs(folder, exist_ok=True)
    try:
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary",
                        ":all:", "-d", folder, SOURCE], check=True, capture_output=True)
        archive, = glob.glob(os.path.join(folder, "llama_cpp_python*.tar.gz"))
        shutil.unpack_archive(archive, folder, filter="data")
        source, = glob.glob(os.path.join(folder, "llama_cpp_python*", "vendor", "llama.cpp"))
        print("building llama-server", flush=True)
        subprocess.run(["cmake", "-S", source, "-B", os.path.join(folder, "build")] + SERVER_CMAKE,
                       check=True, capture_output=True, env=REPAIRED)
        subprocess.run(["cmake", "--build", os.path.join(folder, "build"), "--target",
                        "llama-server", "-j", str(os.cpu_count())], check=True, capture_output=True)
    except (OSError, ValueError, subprocess.SubprocessError) as e:
        print(f"skipped: llama-server could not be built ({e})")
        return None
    return path


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
