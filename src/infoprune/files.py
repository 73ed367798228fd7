"""Files and directories that are whole or absent, whenever the process is killed or the disk is full."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from infoprune.errors import InfopruneError

AT_WORKING_DIRECTORY, EXCHANGE = -100, 2  # of Linux's renameat2; macOS swaps with the same flag


def digest_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """The file holds all of `data`, or is as it was."""
    with replacing(path) as draft:
        draft.write_bytes(data)


def write_tensors(path: Path, tensors: Mapping[str, Any], about: Mapping[str, str] | None = None) -> None:
    """A safetensors file; like any other it raises OSError where the system refuses to write it."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file  # loads torch

    try:
        save_file(dict(tensors), path, None if about is None else dict(about))
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside to write to; what is there at the end takes the place of `path` at once."""
    draft = path.with_name(f".{path.name}.partial")
    remove(draft)
    try:
        yield draft
        sync(draft)
        draft.replace(path)
    except BaseException:
        remove(draft)
        raise
    sync(path.parent)


def replace_directory(target: Path, fill: Callable[[Path], None]) -> None:
    """`fill` writes a directory beside, which takes the place of `target` at once; leftovers of killed ones go.

    Linux and macOS swap two names in one step. Elsewhere there is a moment between two renames without the name, and a
    process that is killed in it leaves the old directory beside.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = _beside(target)
    try:
        fill(staging)
        staging.chmod(0o755)
        for path in (*staging.iterdir(), staging):
            sync(path)
        _put_in_place(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    sync(target.parent)
    _sweep(target)


def sync(path: Path) -> None:
    """What was written is on the disk, not on its way."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Only one process at a time is at work on `path`; the second is told which one holds it.

    The lock lies beside and goes with the process, however that ends; file systems that know no locks have none.
    """
    require_writable(path)
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    with lock.open("a+") as file:
        _lock(file, path)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _lock(file: IO[str], path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        raise InfopruneError(
            f"{path} is at work already ({file.read(200) or 'by another process'}); wait for it, end it, or choose "
            "another --out"
        ) from None
    except OSError:  # no locks here
        return


def require_writable(path: Path) -> None:
    """An error now, if writing to `path` later would fail."""
    place = path
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        if place.is_dir():
            tempfile.TemporaryFile(dir=place).close()
        elif place == path:
            path.open("r+b").close()
        else:
            raise NotADirectoryError(f"{place} is a file")
    except OSError as error:
        raise InfopruneError(f"{path} cannot be written ({error.strerror or error}); choose another --out") from error


def _put_in_place(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
    elif not _exchanged(staging, target):
        old = _beside(target) / "old"
        target.rename(old)
        try:
            staging.rename(target)
        except BaseException:
            old.rename(target)
            raise
        finally:
            shutil.rmtree(old.parent, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Swap two names in one step; whether this system and file system could."""
    if sys.platform == "win32":
        return False
    library, names = ctypes.CDLL(None), (os.fsencode(one), os.fsencode(other))
    if hasattr(library, "renameat2"):
        places = (AT_WORKING_DIRECTORY, names[0], AT_WORKING_DIRECTORY, names[1])
        return library.renameat2(*places, EXCHANGE) == 0
    return hasattr(library, "renamex_np") and library.renamex_np(*names, EXCHANGE) == 0


def _beside(target: Path) -> Path:
    """A new directory that says whose it is: this process on this machine."""
    return Path(tempfile.mkdtemp(prefix=f"{_ours(target)}{os.getpid()}-", dir=target.parent))


def _sweep(target: Path) -> None:
    """Remove what processes of this machine left that are no more."""
    for left in target.parent.glob(f"{_ours(target)}*"):
        owner = left.name.removeprefix(_ours(target)).partition("-")[0]
        if owner.isdigit() and not runs(int(owner)):
            shutil.rmtree(left, ignore_errors=True)


def _ours(target: Path) -> str:
    return f".{target.name}.partial-{socket.gethostname()}-"


def runs(process: int) -> bool:
    """Whether there is such a process here."""
    if sys.platform == "win32":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
