"""What example inputs looked like, as plain data: shapes and types, lists of inputs included."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

LIST = "list"
InputSpec = tuple[tuple[tuple[Any, ...], str], ...]


def described(inputs: Iterable[Any]) -> InputSpec:
    """(shape, dtype) of every tensor, and (what it holds, "list") of every list or tuple; other values are left out.

    >>> import torch
    >>> described(([torch.zeros(3, 8, 8)],))
    (((((3, 8, 8), 'float32'),), 'list'),)
    """
    return tuple(
        (described(x), LIST) if isinstance(x, list | tuple) else (tuple(x.shape), str(x.dtype).removeprefix("torch."))
        for x in inputs
        if isinstance(x, Tensor | list | tuple)
    )
