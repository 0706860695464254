#!/usr/bin/env python3
"""The commands of `make -n` on standard input as compile_commands.json on standard output."""
import json
import os
import re
import sys

rows = []
for line in sys.stdin.read().replace("\\\n", " ").splitlines():
    m = re.search(r" -c (\S+\.(?:c|cc)) -o (\S+)$", line.strip())
    if m:
        rows.append({"directory": os.getcwd(), "file": m[1], "output": m[2], "command": line.strip()})
json.dump(rows, sys.stdout, indent=1)
if not rows:
    sys.exit("compile_commands: make printed no command")
