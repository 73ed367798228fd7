"""`python ...` as a process of its own that knows nothing of this package, without the seconds that its hosts take.

They are imported once, by an interpreter that forks for every call; what the tests' own process has done is not there.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

HOSTS = ("torch", "torchvision", "timm", "torch_pruning")


def python(*words: object, cwd: object = ".", env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """What `python -c SCRIPT ...` or `python -m MODULE ...` gives; `env` is added to this process's."""
    with tempfile.TemporaryDirectory() as scratch:
        told = [Path(scratch) / name for name in ("out", "err")]
        wish = {"words": [str(word) for word in words], "told": list(map(str, told)), "cwd": os.path.abspath(str(cwd))}
        parent = _parent()
        parent.stdin.write(json.dumps({**wish, "env": {**os.environ, **(env or {})}}) + "\n")
        parent.stdin.flush()
        code = int(parent.stdout.readline())
        return subprocess.CompletedProcess(words, code, *(path.read_text() for path in told))


@cache
def _parent() -> subprocess.Popen:
    around = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    parent = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=around
    )
    atexit.register(parent.communicate)
    return parent


def _forking() -> None:
    for name in HOSTS:
        importlib.import_module(name)
    assert "infoprune" not in sys.modules
    installed = sys.path[1:]
    gc.freeze()  # so that a child need not copy what it never touches
    while line := sys.stdin.readline():
        if (child := os.fork()) == 0:
            _become(installed, **json.loads(line))
            break
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


def _become(installed: list[str], words: list[str], told: list[str], cwd: str, env: dict[str, str]) -> None:
    """This process from here on, with what the interpreter does at its start and at its end."""
    for number, path in enumerate([os.devnull, *told]):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.path[:] = ["", *filter(None, env.get("PYTHONPATH", "").split(os.pathsep)), *installed]
    (flag, program), sys.argv = words[:2], words[1:]
    if flag == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.argv[0] = flag
        exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    _forking()
