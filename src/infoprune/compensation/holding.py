"""What halted passes hold between their turns: beyond a bound it lies in a temporary file until it is used again."""

from __future__ import annotations

import ctypes
import tempfile
import weakref
from bisect import insort
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

HELD = 1 << 30  # bytes of activations that stay in memory
LEAST = 1 << 16  # bytes of a tensor that is worth a place in a file
Storage = torch.UntypedStorage


@dataclass(eq=False)
class _Kept:
    """The numbers of one tensor and its views: `bytes` long, in memory (`here`) or at a place in the file, or both."""

    storage: weakref.ref[Storage]
    bytes: int
    here: bool = True
    place: int | None = None


class Holdings:
    """What one pass has made and still holds; to be followed while the pass runs."""

    def __init__(self, memory: Held):
        self.kept: list[_Kept] = []
        self.bytes = 0  # of them in memory, when they were last settled
        self.memory = memory

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Whatever this thread's operations make belongs to this pass; what they read is in memory."""
        with _Following(self), _Reading(self.memory):
            yield

    def own(self, tensors: Iterable[Any]) -> None:
        """These tensors are nobody else's."""
        for storage in _storages(tensors):
            if storage not in self.memory.known:
                kept = self.memory.known[storage] = _Kept(weakref.ref(storage), storage.nbytes())
                self.kept.append(kept)

    def settle(self) -> None:
        """Write the oldest of them to the file as long as all passes together hold too much."""
        alive = [(kept, storage) for kept in self.kept if (storage := kept.storage()) is not None]
        for kept in self.kept:
            if kept.storage() is None:
                self.memory.forget(kept)
        self.kept = [kept for kept, _ in alive]
        self._count(sum(storage.nbytes() for _, storage in alive))
        for kept, storage in alive:
            if self.memory.bytes <= self.memory.most:
                break
            if kept.here and storage.nbytes() >= LEAST and storage.resizable():
                self.memory.put_away(kept, storage)
                self._count(self.bytes - kept.bytes)

    def _count(self, now: int) -> None:
        self.memory.bytes += now - self.bytes
        self.bytes = now


class Held:
    """The activations of all passes, of which about `most` bytes stay in memory; a context, and whole again at its end.

    A storage that lies in the file has no bytes. It gets them back when an operation reads it, or Python does
    (`numpy`, `tolist`). Foreign code that takes addresses of tensors made before a halt would find none.
    """

    def __init__(self, most: int | None = None):
        self.most = HELD if most is None else most
        self.bytes = 0  # in memory
        self.known: Any = WeakIdKeyDictionary()  # storage -> _Kept
        self._file: Any = None
        self._gaps: list[tuple[float, float]] = [(0, inf)]

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_: object) -> None:
        """Models may keep what they made, as a table of positions."""
        for storage in list(self.known):
            self._fetch(storage)
        if self._file is not None:
            self._file.close()

    def bring(self, values: Iterable[Any], *, to_write: bool = False) -> None:
        """Have these tensors in memory; what is written over has no place in the file any more."""
        for storage in _storages(values):
            self._fetch(storage)
            if to_write and storage in self.known:
                self.forget(self.known[storage])

    def put_away(self, kept: _Kept, storage: Storage) -> None:
        """Into the file, unless it is there already."""
        if kept.place is None:
            kept.bytes = storage.nbytes()
            kept.place = self._taken(kept.bytes)
            self._write(kept.place, storage.cpu())
        storage.resize_(0)
        kept.here = False

    def forget(self, kept: _Kept) -> None:
        """Its place in the file is free."""
        if kept.place is not None:
            self._give(kept.place, kept.place + kept.bytes)
            kept.place = None

    def _fetch(self, storage: Storage) -> None:
        kept = self.known.get(storage)
        if kept is None or kept.here:
            return
        storage.resize_(kept.bytes)
        read = storage if storage.device.type == "cpu" else Storage(kept.bytes)
        view = _memory(read)
        self._file.seek(kept.place)
        while view:
            view = view[self._file.readinto(view) :]
        if read is not storage:
            storage.copy_(read)
        kept.here = True

    def _write(self, place: int, data: Storage) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed at the end
        view = _memory(data)
        self._file.seek(place)
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror} at {tempfile.gettempdir()}, where compensation puts the activations that exceed "
                f"{self.most / 2**30:g} GiB; let TMPDIR name a place with more room, or give fewer samples",
            ) from error

    def _taken(self, size: int) -> int:
        """The first gap that is large enough; the last one has no end."""
        at = next(i for i, (start, end) in enumerate(self._gaps) if end - start >= size)
        start, end = self._gaps.pop(at)
        if end - start > size:
            self._gaps.insert(at, (start + size, end))
        return int(start)

    def _give(self, start: float, end: float) -> None:
        """A gap more, one with its neighbours."""
        for near in [gap for gap in self._gaps if gap[1] == start or gap[0] == end]:
            self._gaps.remove(near)
            start, end = min(start, near[0]), max(end, near[1])
        insort(self._gaps, (start, end))


class _Following(TorchDispatchMode):
    def __init__(self, holdings: Holdings):
        super().__init__()
        self.holdings = holdings

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        with torch._C.DisableTorchFunction():
            read = tree_leaves((args, kwargs))
            self.holdings.memory.bring(read, to_write=func._schema.is_mutable)
            output = func(*args, **(kwargs or {}))
            others = {id(storage) for storage in _storages(read)}
            self.holdings.own(t for t in tree_leaves(output) if not _shares(t, others))
        return output


class _Reading(TorchFunctionMode):
    """Python reads the numbers of a tensor without an operation."""

    _READS = (Tensor.numpy, Tensor.tolist, Tensor.data_ptr, Tensor.__array__, Tensor.__dlpack__)

    def __init__(self, memory: Held):
        super().__init__()
        self.memory = memory

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in self._READS:
            self.memory.bring(args, to_write=True)
        return func(*args, **(kwargs or {}))


def _storages(values: Iterable[Any]) -> Iterator[Storage]:
    """Those of plain tensors."""
    for value in values:
        if isinstance(value, Tensor) and type(value) in (Tensor, torch.nn.Parameter) and value.layout is torch.strided:
            yield value.untyped_storage()


def _shares(tensor: Any, others: set[int]) -> bool:
    return any(id(storage) in others for storage in _storages([tensor]))


def _memory(storage: Storage) -> memoryview:
    """Its bytes; an array would keep the storage from being resized ever after."""
    return memoryview((ctypes.c_char * storage.nbytes()).from_address(storage.data_ptr())).cast("B")
