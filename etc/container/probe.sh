#!/bin/bash
# Asks the server in this container; the exit code is 0 when it answers 200.
# usage: recurd-probe /livez|/readyz|/health [PORT]
set -u
exec 3<>"/dev/tcp/127.0.0.1/${2:-8080}" || exit 1
printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$1" >&3
read -r -t 4 _ status _ <&3 || exit 1
[ "$status" = 200 ]
