"""A second device made of the CPU's memory: its tensors refuse to meet those of the CPU, as an accelerator's do.

`spare` registers it with torch for the rest of the process, so that it is asked for by name: `model.to("spare")`.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, library, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "spare"
aten = torch.ops.aten
# indices of these may be the CPU's, and so may what a single number is written as
INDEXED = {
    aten.index.Tensor, aten._unsafe_index.Tensor, aten.index_put.default, aten.index_put_.default,
    aten._index_put_impl_.default,
}  # fmt: skip
MOVING = {aten._to_copy.default, aten.copy_.default}


class Spare(Tensor):
    """A tensor of the second device; `held` is the CPU's tensor with its numbers."""

    __slots__ = ("held",)  # apart from attributes, which travel from one tensor to another
    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Spare:
        made = Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            layout=held.layout, device=torch.device(NAME, 0), requires_grad=held.requires_grad,
        )  # fmt: skip
        made.held = held
        return made

    def __init__(self, held: Tensor) -> None: ...

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"Spare({self.held!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        with torch.no_grad():
            copied = self.detach().clone()
        copied = nn.Parameter(copied, self.requires_grad) if isinstance(self, nn.Parameter) else copied
        memo[id(self)] = copied.requires_grad_(self.requires_grad)
        return copied

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Whoever exchanges `.data` exchanges what is held."""
        if func == Tensor.data.__get__:
            return args[0].detach()
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*args, **(kwargs or {}))
        if func == Tensor.data.__set__:
            args[0].held = args[1].held
        return found

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class Module(_DummyBackendModule):
    """What torch asks of `torch.spare`."""

    def synchronize(self, device: object = None) -> None: ...

    def get_rng_state(self, device: object = None) -> Tensor:
        return torch.empty(0, dtype=torch.uint8)

    def set_rng_state(self, state: Tensor, device: object = None) -> None: ...

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]


@cache
def spare() -> torch.device:
    """The device, registered once."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=Module())
    kernels = library.Library("aten", "IMPL")
    kernels.impl("empty.memory_format", _empty, "PrivateUse1")
    kernels.impl("empty_strided", _empty_strided, "PrivateUse1")
    kernels.impl("_copy_from", _copy_from, "PrivateUse1")
    KEPT.append(kernels)
    return torch.device(NAME, 0)


KEPT: list[library.Library] = []  # kernels are taken back with it


def _empty(size: Any, *, dtype: torch.dtype | None = None, memory_format: Any = None, **_: Any) -> Tensor:
    return Spare(torch.empty(size, dtype=dtype, memory_format=memory_format or torch.contiguous_format))


def _empty_strided(size: Any, stride: Any, *, dtype: torch.dtype | None = None, **_: Any) -> Tensor:
    return Spare(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    _held(target).copy_(_held(source))
    return target


def _run(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    fakes = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, FakeTensor)]
    if fakes:
        return _on_shapes(func, args, kwargs, fakes)
    ours, theirs = _sides(func, args, kwargs)
    if ours and theirs and func not in MOVING:
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {NAME}:0 and cpu ({func})")
    target = kwargs.get("device")
    leaves = target is not None and torch.device(target).type != NAME
    inside = {**kwargs, **({} if target is None or leaves else {"device": torch.device("cpu")})}
    if inside.get("pin_memory"):
        inside["pin_memory"] = False
    found = func(*_held(args), **_held(inside))
    if leaves:
        return found
    known = {id(tensor.held): tensor for tensor in ours}
    return pytree.tree_map_only(Tensor, lambda t: known[id(t)] if id(t) in known else Spare(t), found)


def _on_shapes(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], fakes: list[FakeTensor]) -> Any:
    """What has no numbers is worked out for the CPU and called the device's."""
    if any(fake.device.type != NAME for fake in fakes):
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {NAME}:0 and cpu ({func})")

    def at(device: str, tree: Any) -> Any:
        def like(t: Tensor) -> Tensor:
            return torch.empty_strided(t.size(), t.stride(), dtype=t.dtype, device=device)

        return pytree.tree_map_only(Tensor, like, tree)

    with fakes[0].fake_mode:
        return at(NAME, func(*at("cpu", args), **at("cpu", kwargs)))


def _held(tree: Any) -> Any:
    return pytree.tree_map_only(Spare, lambda t: t.held, tree)


def _sides(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Spare], list[Tensor]]:
    """Tensors of the second device, and those of the CPU that have no business among them."""
    tensors = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    ours = [t for t in tensors if isinstance(t, Spare)]
    theirs = [t for t in tensors if not isinstance(t, Spare) and t.dim()]
    if func in INDEXED:
        values = [each for each in (args[0], *args[2:3]) if isinstance(each, Tensor)]
        theirs = [t for t in theirs if any(t is each for each in values)]
    return ours, theirs
