"""Environments for clients, made once and kept. uv (from PyPI) makes them, since it takes seconds
where pip takes minutes; without it pip does."""
import os
import subprocess
import sys

PATIENCE = 420  # seconds for one client


class Failed(Exception):
    """A client could not be installed, and why."""


def _run(command, env=None):
    try:
        r = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE,
                           env=dict(os.environ, **(env or {})))
    except subprocess.TimeoutExpired:
        raise Failed("not installed within %d s" % PATIENCE) from None
    if r.returncode:
        lines = [x for x in (r.stderr or r.stdout).strip().splitlines() if x.strip()]
        raise Failed(lines[-1].strip()[:200] if lines else "exit code %d" % r.returncode)


class Environments:
    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.uv = os.path.join(folder, "uv", "bin", "uv")
        self.reason = None  # why nothing can be installed

    def _tool(self):
        home = os.path.join(self.folder, "uv")
        if self.reason:
            raise Failed(self.reason)
        if os.path.exists(self.uv):
            return
        try:
            _run([sys.executable, "-m", "venv", home])
            _run([os.path.join(home, "bin", "python"), "-m", "pip", "install", "-q",
                  "--disable-pip-version-check", "uv"])
        except Failed as e:
            self.reason = "the package index cannot be used: %s" % e
            raise Failed(self.reason) from None

    def get(self, name, packages):
        """The bin folder of a client's environment; Failed with a reason."""
        home = os.path.join(self.folder, "envs", name)
        done = os.path.join(home, "packages")
        want = "\n".join(packages)
        if os.path.exists(done):
            with open(done, encoding="utf-8") as f:
                if f.read() == want:
                    return os.path.join(home, "bin")
        self._tool()
        env = {"UV_CACHE_DIR": os.path.join(self.folder, "cache"), "UV_NO_PROGRESS": "1"}
        python = os.path.join(home, "bin", "python")
        _run([self.uv, "venv", "-q", "--clear", "--python", sys.executable, home], env)
        _run([self.uv, "pip", "install", "-q", "--python", python, *packages], env)
        with open(done, "w", encoding="utf-8") as f:
            f.write(want)
        return os.path.join(home, "bin")

    def version(self, name, package):
        python = os.path.join(self.folder, "envs", name, "bin", "python")
        r = subprocess.run([python, "-c", "import importlib.metadata as m, sys;"
                            "print(m.version(sys.argv[1]))", package.split("[")[0]],
                           capture_output=True, text=True)
        return r.stdout.strip() or "?"
