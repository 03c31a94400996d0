"""Compiles Python sources to byte code, package by package, the same on every run.

Read from standard input, as JSON:

    {"jobs": 2, "out": DIR, "packages": [{"key": K, "files": [[PATH, MTIME], ...]}, ...]}

The N-th file of a package, counted from 1, becomes DIR/K/N.pyc, with MTIME and
the size of the source in it, as Python's py_compile would write it
(PEP 552, timestamp-based). Sources that do not compile have none, as with
py3compile. For each package a line of JSON is written to standard output.

Every package is compiled in a process forked from this one before it compiled
anything. What marshal writes depends on which objects it meets that are
already interned and how often they are referred to; with the same start and
the same order within a package that is always the same.
"""

import gc
import json
import os
import sys
import warnings
from importlib._bootstrap_external import _code_to_timestamp_pyc


def compile_file(path, mtime, to):
    with open(path, "rb") as f:
        source = f.read()
    try:
        code = compile(source, path, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError):
        return False
    fd = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    with open(fd, "wb") as f:
        f.write(_code_to_timestamp_pyc(code, mtime, len(source)))
    os.utime(to, (mtime, mtime))
    return True


def compile_package(out, package):
    where = os.path.join(out, package["key"])
    os.mkdir(where, 0o755)
    bad = [
        path
        for n, (path, mtime) in enumerate(package["files"], 1)
        if not compile_file(path, mtime, os.path.join(where, "%d.pyc" % n))
    ]
    line = json.dumps({"key": package["key"], "tag": sys.implementation.cache_tag, "bad": bad}) + "\n"
    os.write(1, line.encode())


def main():
    todo = json.load(sys.stdin)
    os.umask(0o022)
    os.nice(5)  # dpkg, which works at the same time, takes longer and must not wait
    warnings.simplefilter("ignore")
    gc.disable()
    gc.freeze()
    running = set()
    failed = False
    for package in todo["packages"]:
        if len(running) == todo["jobs"]:
            failed |= reap(running)
        pid = os.fork()
        if pid == 0:
            compile_package(todo["out"], package)
            os._exit(0)
        running.add(pid)
    while running:
        failed |= reap(running)
    return 1 if failed else 0


def reap(running):
    pid, status = os.wait()
    running.discard(pid)
    return status != 0


if __name__ == "__main__":
    sys.exit(main())
