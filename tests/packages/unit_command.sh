#!/bin/bash
# What recurd.service starts in a root, with the folders that the service manager would name.
# usage: tests/packages/unit_command.sh ROOT
sed -n 's/^ExecStart=//p' "$1/usr/lib/systemd/system/recurd.service" |
    sed -e 's|${STATE_DIRECTORY}|/var/lib/recurd|' -e 's|${CACHE_DIRECTORY}|/var/cache/recurd|'
