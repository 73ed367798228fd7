"""Ends a process at any of its steps on the file system, as a power cut would; or fills the disk from there on."""

import errno
import os
import random
import resource
import signal
import sys
import traceback
from collections.abc import Callable

WRITES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree", "shutil.copyfile", "open")
FULL = 28  # how a child ends that was told that no more could be written


def writes_before(work: Callable[[], object], limit: int | None = None) -> int:
    """Carry out `work` in a child that is killed before step `limit`: how many steps it had, -1 if it was killed."""
    steps, status = _in_child(work, limit, _killed)
    assert status in (0, -signal.SIGKILL), status
    return steps if status == 0 else -1


def fails_when_full(work: Callable[[], object], limit: int, room: int) -> bool:
    """Whether `work` raises OSError in a child for which no file grows beyond `room` bytes from step `limit` on.

    The system itself refuses such writes, also those of compiled code, and leaves files that end in the middle.
    """

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    _, status = _in_child(work, limit, full)
    assert status in (0, FULL), status
    return status == FULL


def _in_child(work: Callable[[], object], limit: int | None, then: Callable[[], object]) -> tuple[int, int]:
    """How many steps `work` had, of which `then` comes before number `limit`, and how the child ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _work(work, limit, then, writing)
    os.close(writing)
    with os.fdopen(reading) as told:
        steps = told.read()
    return int(steps or -1), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def draws(count: int, steps: int, seed: int = 0) -> list[int]:
    """Steps to be killed at, each of the first few or at random."""
    return list(range(steps)) if steps <= count else sorted(random.Random(seed).sample(range(steps), count))


def _work(work: Callable[[], object], limit: int | None, then: Callable[[], object], writing: int) -> None:
    steps = 0

    def watch(event: str, arguments: tuple) -> None:
        nonlocal steps
        if event in WRITES and (event != "open" or _writes(arguments)):
            if steps == limit:
                then()
            steps += 1

    code = 1
    try:
        sys.addaudithook(watch)
        work()
        os.write(writing, str(steps).encode())
        code = 0
    except BaseException as error:
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            code = FULL
        else:
            os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _writes(arguments: tuple) -> bool:
    """open() for reading changes nothing; flags tell, since the mode is absent for os.open."""
    _, mode, flags = arguments
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) if isinstance(flags, int) else "r" not in (mode or "r")
