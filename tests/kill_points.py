"""Ends a process at any of its steps on the file system, as a power cut would."""

import os
import random
import signal
import sys
import traceback
from collections.abc import Callable

WRITES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree", "shutil.copyfile", "open")


def writes_before(work: Callable[[], object], limit: int | None = None) -> int:
    """Carry out `work` in a child that is killed before step `limit`: how many steps it had, -1 if it was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _work(work, limit, writing)
    os.close(writing)
    with os.fdopen(reading) as told:
        steps = told.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return int(steps) if status == 0 else -1


def draws(count: int, steps: int, seed: int = 0) -> list[int]:
    """Steps to be killed at, each of the first few or at random."""
    return list(range(steps)) if steps <= count else sorted(random.Random(seed).sample(range(steps), count))


def _work(work: Callable[[], object], limit: int | None, writing: int) -> None:
    steps = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal steps
        if event in WRITES and (event != "open" or _writes(arguments)):
            if steps == limit:
                os.kill(os.getpid(), signal.SIGKILL)
            steps += 1

    code = 1
    try:
        sys.addaudithook(watch)
        work()
        os.write(writing, str(steps).encode())
        code = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _writes(arguments: tuple) -> bool:
    """open() for reading changes nothing; flags tell, since the mode is absent for os.open."""
    _, mode, flags = arguments
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) if isinstance(flags, int) else "r" not in (mode or "r")
