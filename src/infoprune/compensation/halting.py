"""Forward passes that halt at layers, so that many go through a network side by side.

Python has no other way to leave a forward pass in the middle and come back than a thread. Only one runs at a time:
whoever lets a pass go on waits until it halts again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.compensation.holding import Held, Holdings
from infoprune.compensation.watching import run
from infoprune.graph.hooks import hooked
from infoprune.observe.batches import Batch

_thread = threading.local()


class _Cancelled(BaseException):
    """Nobody needs the rest of this pass."""


class Pass:
    """One forward pass; `at` is the layer at which it halts, `seen` what that layer reads and, if `after`, gives out.

    Those that halt before layers don't hold what layers make of their inputs, which is often several times as much.
    The batch is the pass's own.
    """

    def __init__(self, model: nn.Module, batch: Batch, memory: Held, *, after: bool = False):
        self.after = after
        self.at: str | None = None
        self.seen: Any = None
        self.ended = False
        self._error: BaseException | None = None
        self._holdings = Holdings(memory)
        self._holdings.own(batch.tensors)
        self._cancelled = False
        self._go, self._halted = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._work, args=(model, batch), daemon=True)
        self._thread.start()

    def go_on(self) -> None:
        """As far as the next layer; an error of the model is raised here."""
        if self.ended:
            return
        self._go.release()
        self._halted.acquire()
        if self._error is not None:
            raise self._error

    def until(self, name: str) -> Any:
        """What the layer of this name sees; None if it is not called any more."""
        while not self.ended and self.at != name:
            self.go_on()
        if self.seen is not None:
            self._holdings.memory.bring(self.seen)
        return self.seen

    def rest(self) -> None:
        """Nobody looks at what it has seen until it is asked again, so that its tensors may leave memory."""
        self._holdings.settle()

    def cancel(self) -> None:
        """Leave the forward pass where it is."""
        if not self.ended:
            self._cancelled = True
            self._go.release()
        self._thread.join()

    def halt(self, name: str, seen: Any) -> None:
        """In the pass's own thread: wait until it may go on."""
        self.at, self.seen = name, seen
        self._halted.release()
        self._go.acquire()
        self.at = self.seen = None
        if self._cancelled:
            raise _Cancelled

    def _work(self, model: nn.Module, batch: Batch) -> None:
        self._go.acquire()
        _thread.running = self
        try:
            if not self._cancelled:
                with torch.no_grad(), self._holdings.followed():
                    run(model, batch)
        except _Cancelled:
            pass
        except BaseException as error:
            self._error = error
        finally:
            self.ended, self.at, self.seen = True, None, None
            self._halted.release()


def halting(model: nn.Module, names: Collection[str]) -> AbstractContextManager[None]:
    """While this lasts, passes halt at the calls of these layers."""
    modules = dict(model.named_modules())

    def called(name: str, *, after: bool) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple, kwargs: dict, *output: Any) -> None:
            inputs = [t for t in (*args, *kwargs.values()) if isinstance(t, Tensor)]
            running = getattr(_thread, "running", None)
            if inputs and running is not None and running.after == after:
                running.halt(name, (inputs[0], *output))

        return hook

    before = [modules[n].register_forward_pre_hook(called(n, after=False), with_kwargs=True) for n in names]
    return hooked(
        [*before, *(modules[n].register_forward_hook(called(n, after=True), with_kwargs=True) for n in names)]
    )
