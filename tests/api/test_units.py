"""The systemd units: they verify, and leave the service little to attack."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from common import ROOT, Settings

UNITS = os.path.join(ROOT, "systemd")
# As systemd-analyze counts, of 10: with the drop-in for the CPU, and with the one for a GPU.
EXPOSURE = {"cpu": 1.0, "gpu": 1.5}


@unittest.skipUnless(shutil.which("systemd-analyze"), "systemd-analyze is not installed")
class Units(unittest.TestCase):
    def with_drop_in(self, unit, drop_in):
        """One file, because an offline analysis reads no drop-ins."""
        with open(os.path.join(UNITS, unit)) as f:
            text = f.read()
        with open(os.path.join(UNITS, "recurd.service.d", drop_in + ".conf")) as f:
            text = text.replace("[Install]", f.read() + "\n[Install]")
        path = os.path.join(self.dir, unit.replace("@", ""))
        with open(path, "w") as f:
            f.write(text)
        return path

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="recurd-units-")

    def tearDown(self):
        shutil.rmtree(self.dir)

    def test_the_exposure_is_within_its_bounds(self):
        for unit in ("recurd.service", "recurd@.service"):
            for drop_in, most in EXPOSURE.items():
                path = self.with_drop_in(unit, drop_in)
                done = subprocess.run(["systemd-analyze", "security", "--offline=true", path],
                                      capture_output=True, text=True,
                                      timeout=Settings.patience(60))
                found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
                if not found:
                    self.skipTest("systemd-analyze says: " + (done.stdout + done.stderr)[-300:])
                print("\n%s, %s: exposure %s, at most %s" % (unit, drop_in, found.group(1), most))
                self.assertLessEqual(float(found.group(1)), most, "%s, %s" % (unit, drop_in))

    def test_they_verify(self):
        for name in ("recurd.service", "recurd@.service", "recurd.socket"):
            with open(os.path.join(UNITS, name)) as f:
                text = f.read()
            text = text.replace("/usr/local/bin/recurd", os.path.abspath(Settings.recurd))
            with open(os.path.join(self.dir, name), "w") as f:
                f.write(text)
        for name in ("recurd.service", "recurd@x.service", "recurd.socket"):
            done = subprocess.run(["systemd-analyze", "verify", os.path.join(self.dir, name)],
                                  capture_output=True, text=True,
                                  timeout=Settings.patience(60))
            bad = [x for x in done.stderr.splitlines() if self.dir in x or "recurd" in x]
            self.assertEqual([x for x in bad if "Unknown" in x or "Failed to parse" in x], [])

    def test_the_units_and_the_template_agree(self):
        with open(os.path.join(UNITS, "recurd.service")) as f:
            unit = f.read().split("NoNewPrivileges")[1]
        with open(os.path.join(UNITS, "recurd@.service")) as f:
            self.assertEqual(f.read().split("NoNewPrivileges")[1], unit)


if __name__ == "__main__":
    unittest.main()
