"""Hooks that are on for a while. One alone needs no more than `with module.register_forward_hook(...):`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from torch.utils.hooks import RemovableHandle


@contextmanager
def hooked(handles: Iterable[RemovableHandle]) -> Iterator[None]:
    """The hooks of these handles, which may be registered one by one as they are asked for, until the end."""
    with ExitStack() as stack:
        for handle in handles:
            stack.enter_context(handle)
        yield
