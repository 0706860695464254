#!/usr/bin/env python3
"""One request to a Unix socket, its reply on standard output.

usage: ask.py SOCKET METHOD PATH [JSON]        exit code 1: the status was not of the 200s
"""
import http.client
import socket
import sys


class Local(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(120)
        self.sock.connect(sys.argv[1])


c = Local("localhost")
c.request(sys.argv[2], sys.argv[3], sys.argv[4] if len(sys.argv) > 4 else None,
          {"Content-Type": "application/json"})
r = c.getresponse()
print(r.read().decode())
if r.status // 100 != 2:
    sys.exit("%s %s: %d" % (sys.argv[2], sys.argv[3], r.status))
