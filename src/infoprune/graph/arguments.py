"""What a model is called with: positional and keyword arguments, as one thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from infoprune.errors import Untraceable, first_line
from infoprune.graph.nested import tensors_in, with_tensors


@dataclass(frozen=True)
class Arguments:
    """One call of a model. `Arguments.of` reads what users pass as `example_inputs`."""

    positional: tuple = ()
    named: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, example_inputs: Any) -> Arguments:
        """A tuple or list holds positional arguments, a mapping keyword arguments; anything else is the only argument.

        A list or mapping that is itself an argument is passed inside a tuple.

        >>> Arguments.of(({"ids": 1}, None))
        Arguments(positional=({'ids': 1}, None), named={})
        >>> Arguments.of({"ids": 1, "mask": None})
        Arguments(positional=(), named={'ids': 1, 'mask': None})
        """
        if isinstance(example_inputs, Arguments):
            return example_inputs
        if isinstance(example_inputs, Mapping):
            return cls((), {str(name): value for name, value in example_inputs.items()})
        return cls(tuple(example_inputs) if isinstance(example_inputs, tuple | list) else (example_inputs,))

    def run(self, model: nn.Module) -> Any:
        """What the model gives back. It gets copies: a model may append to lists and scale pictures where they are."""
        fresh = self.map(Tensor.clone)
        return model(*fresh.positional, **fresh.named)

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Untraceable says with what a model's forward failed inside."""
        try:
            yield
        except Untraceable:
            raise
        except Exception as error:
            raise Untraceable(
                f"the model's forward failed on example_inputs {self} ({type(error).__name__}: {first_line(error)}); "
                "pass the tensor, the tuple of arguments or the dict of keyword arguments that the model takes; a list "
                "or dict that is itself an argument goes inside a tuple"
            ) from error

    def map(self, function: Callable[[Tensor], Tensor]) -> Arguments:
        """With `function` of every tensor in the tensor's place, however deep."""
        return Arguments(with_tensors(self.positional, function), with_tensors(dict(self.named), function))

    @property
    def values(self) -> tuple:
        """All arguments, in the order in which they were given."""
        return (*self.positional, *self.named.values())

    @property
    def tensors(self) -> list[Tensor]:
        return tensors_in(self.values)

    def __str__(self) -> str:
        positional = [_shown(value) for value in self.positional]
        return f"[{', '.join([*positional, *(f'{name}={_shown(value)}' for name, value in self.named.items())])}]"


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    return repr(value) if value is None or isinstance(value, bool | int | float | str) else type(value).__name__
