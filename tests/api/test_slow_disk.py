"""A disk that does not answer: who needs it waits, and nobody else does."""
import os
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

from common import DEMO, Server, Settings

# fsync does not return while the file GATE is there.
GATED = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
static int wait_for(const char *name, int fd)
{
    while (access(getenv("GATE"), F_OK) == 0)
        usleep(10000);
    return ((int (*)(int))dlsym(RTLD_NEXT, name))(fd);
}
int fsync(int fd) { return wait_for("fsync", fd); }
int fdatasync(int fd) { return wait_for("fdatasync", fd); }
"""
CREATORS = 16  # twice as many as there are threads for what waits


class SlowDisk(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="recurd-slow-")
        self.gate = os.path.join(self.dir, "gate")
        library = os.path.join(self.dir, "gated.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", library, "-ldl"],
                       input=GATED.encode(), check=True)
        asan = os.environ.get("ASAN_OPTIONS", "")
        self.s = Server(["--model", DEMO, "--state-dir", os.path.join(self.dir, "states")],
                        env={"LD_PRELOAD": library, "GATE": self.gate,
                             "ASAN_OPTIONS": asan + ":verify_asan_link_order=0"})
        self.created = []

    def tearDown(self):
        if os.path.exists(self.gate):
            os.remove(self.gate)
        code = self.s.stop()
        shutil.rmtree(self.dir)
        self.assertEqual(code, 0, self.s.text()[-4000:])

    def create(self):
        """One after another: without its disk the server gives each up in the end."""
        while os.path.exists(self.gate):
            self.created.append(self.s.request("POST", "/v1/sessions", {})[0])

    def in_flight(self):
        return self.s.metrics()["recurd_http_connections"]

    def overtaken(self, path):
        """Changes that were answered between the question and its answer."""
        before = len(self.created)
        status, _, reply = self.s.request("GET", path)
        self.assertEqual(status, 200, reply)
        return len(self.created) - before

    def test_what_is_in_memory_is_told_while_changes_wait_for_the_disk(self):
        one = self.s.post("/v1/sessions", {})["id"]
        with open(self.gate, "w"):
            pass
        threads = [threading.Thread(target=self.create) for _ in range(CREATORS)]
        for t in threads:
            t.start()
        end = time.time() + Settings.patience(30)
        while self.in_flight() <= CREATORS and time.time() < end:
            time.sleep(0.05)
        for path in "/v1/sessions", "/v1/sessions/" + one:
            # Twice: a change may be given up at just that moment.
            self.assertEqual(min(self.overtaken(path) for _ in range(2)), 0, path)
        os.remove(self.gate)
        for t in threads:
            t.join()
        self.assertEqual(set(self.created), {200})


if __name__ == "__main__":
    unittest.main()
