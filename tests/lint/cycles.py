#!/usr/bin/env python3
"""Link cycles: files that cannot be understood, or linked, without one another.

usage: cycles.py BUILD [--rooms]

Reads which symbols every object of the library defines and needs (nm), and finds the strongly
connected groups. A group must be listed in cycles.txt with its reason, no file more than there;
nor may rooms (folders) need one another, but for what lies directly above them. --rooms prints the edges between rooms.
Exit 1 on findings. Symbols that several objects define (instruction sets) count by their names.
"""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LAYERS = ("base", "kernels", "models", "statecache", "scheduler", "server")


def objects(build):
    for layer in LAYERS:
        for top, _, names in os.walk(os.path.join(build, layer)):
            for name in names:
                # An object whose source went away stays behind in the build folder.
                path = os.path.join(top, name)
                source = re.sub(r"(\.\w+)?\.o$", "", os.path.relpath(path, build))
                if name.endswith(".o") and any(map(os.path.exists, (source + ".c", source + ".cc"))):
                    yield source, path


def graph(build):
    """{file: {file it needs: symbol}}"""
    paths = dict()
    for source, path in objects(build):
        paths.setdefault(source, []).append(path)
    defined, needed = {}, {}
    for source, parts in paths.items():
        out = subprocess.run(["nm", "-g", *parts], check=True, capture_output=True, text=True).stdout
        for line in out.splitlines():
            m = re.match(r"[0-9a-f ]{16} ([A-Z]) (\S+)$", line)
            if m and m[1] == "U":
                needed.setdefault(source, set()).add(m[2])
            elif m and not m[2].startswith("__"):
                defined.setdefault(m[2], source)
    edges = {source: {} for source in paths}
    for source, symbols in needed.items():
        for symbol in sorted(symbols):
            owner = defined.get(symbol, source)
            if owner != source:
                edges[source].setdefault(owner, symbol)
    return edges


def groups(edges):
    """Tarjan's strongly connected components of two and more, without recursion."""
    index, low, on, stack, found = {}, {}, set(), [], []
    for root in sorted(edges):
        if root in index:
            continue
        work = [(root, iter(sorted(edges[root])))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on.add(root)
        while work:
            node, successors = work[-1]
            for to in successors:
                if to not in index:
                    index[to] = low[to] = len(index)
                    stack.append(to)
                    on.add(to)
                    work.append((to, iter(sorted(edges[to]))))
                    break
                if to in on:
                    low[node] = min(low[node], index[to])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    group = set()
                    while node not in group:
                        group.add(stack.pop())
                    on -= group
                    if len(group) > 1:
                        found.append(sorted(group))
    return found


def room_edges(edges):
    rooms = {}
    for a, targets in edges.items():
        for b, symbol in targets.items():
            ra, rb = os.path.dirname(a), os.path.dirname(b)
            rooms.setdefault(ra, {})
            # A folder's own files are the face and the frame of its sub-folders.
            if ra != rb and not ra.startswith(rb + "/"):
                rooms[ra].setdefault(rb, f"{a} needs {symbol} of {b}")
    return rooms


def allowed():
    """[(set of files, reason)]: a line is "file file …: reason"."""
    out = []
    for line in open(os.path.join(HERE, "cycles.txt"), encoding="utf-8"):
        if line.strip() and not line.startswith("#"):
            files, _, reason = line.partition(":")
            out.append((set(files.split()), reason.strip()))
    return out


def complain(found, edges, known, what):
    bad = 0
    for group in found:
        if any(set(group) <= files and reason for files, reason in known):
            continue
        bad += 1
        print(f"cycles: {len(group)} {what} need one another: {' '.join(group)}")
        for a in group:
            for b, why in sorted(edges[a].items()):
                if b in group:
                    print(f"    {a} -> {b}: {why}")
    return bad


def main():
    build = sys.argv[1]
    edges = graph(build)
    if len(edges) < 100:
        print(f"cycles: only {len(edges)} objects in {build}: build first")
        return 1
    rooms = room_edges(edges)
    for targets in list(rooms.values()):
        for to in targets:
            rooms.setdefault(to, {})
    if "--rooms" in sys.argv:
        for a in sorted(rooms):
            print(f"{a}: {' '.join(sorted(rooms[a])) or '-'}")
        return 0
    files, folders, known = groups(edges), groups(rooms), allowed()
    bad = complain(files, edges, known, "files") + complain(folders, rooms, known, "rooms")
    for group, _ in known:
        if not any(set(found) & group for found in files + folders):
            print(f"cycles: cycles.txt lists what is no cycle any more: {' '.join(sorted(group))}")
            bad += 1
    sizes = " ".join(str(len(g)) for g in sorted(files, key=len, reverse=True)) or "none"
    print(f"cycles: {len(edges)} objects; link cycles of: {sizes}; rooms that need one another: "
          f"{len(folders)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
