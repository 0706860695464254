"""An HTTP library other than the one whose inner workings were read."""
import os
import shutil
import subprocess
import tempfile
import unittest

from common import DEMO, Server, command

# What the loader finds before the library and libc.
BEFORE = """
#include <sys/socket.h>
const char *MHD_get_version(void) { return "9.8.7"; }
long recx(int fd, void *p, unsigned long n, int flags)
{
    return recvfrom(fd, p, n, flags, (void *)0, (void *)0);
}
long gnutls_record_recx(void *session, void *p, unsigned long n) { return -1; }
"""


def path_of_library(program):
    out = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [line.split()[2] for line in out.splitlines() if "libmicrohttpd" in line][0]


class Library(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="recurd-library-")
        self.addCleanup(shutil.rmtree, self.dir)
        before = os.path.join(self.dir, "before.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", before],
                       input=BEFORE.encode(), check=True)
        asan = os.environ.get("ASAN_OPTIONS", "")
        self.env = {"LD_PRELOAD": before, "ASAN_OPTIONS": asan + ":verify_asan_link_order=0"}

    def ask(self, s):
        stream = s.stream("/v1/completions", {"prompt": "Once upon", "max_tokens": 40, "seed": 3,
                                              "stream": True})
        text = "".join(e["choices"][0]["text"] for e in stream.events())
        stream.close()
        return text

    def test_of_another_version_nothing_is_taken_for_granted(self):
        line = "is not known from the inside"
        usual = Server(["--model", DEMO])
        text = self.ask(usual)
        self.assertNotIn(line, usual.text())
        self.assertEqual(usual.stop(), 0)
        s = Server(["--model", DEMO], env=self.env)
        self.assertIn("libmicrohttpd 9.8.7 " + line, s.text())
        self.assertEqual(self.ask(s), text)
        refused = s.raw(b"GET /\1 HTTP/1.1\r\n\r\n")
        self.assertIn(b"x-request-id", refused)  # not the library's own reply
        self.assertEqual(s.stop(), 0)

    def test_one_that_reads_elsewhere_is_refused(self):
        program = command([])[-1]
        with open(path_of_library(program), "rb") as f:
            image = f.read()
        self.assertEqual(image.count(b"recv\0"), 1)  # a name that ends a longer one, too
        with open(os.path.join(self.dir, "libmicrohttpd.so.12"), "wb") as f:
            f.write(image.replace(b"recv\0", b"recx\0"))
        r = subprocess.run([program, "--model", DEMO, "--listen", "127.0.0.1:0"], timeout=120,
                           env=dict(os.environ, LD_LIBRARY_PATH=self.dir, **self.env),
                           capture_output=True, text=True)
        self.assertNotEqual(r.returncode, 0)
        self.assertIn("libmicrohttpd 9.8.7 reads through another recv() than this program's",
                      r.stderr + r.stdout)


if __name__ == "__main__":
    unittest.main()
