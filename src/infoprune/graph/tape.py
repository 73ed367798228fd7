"""Run a model once and write down what depends on what, what is multiplied, and which sizes its code names."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils.weak import WeakIdKeyDictionary

from infoprune.errors import Untraceable
from infoprune.graph.arguments import Arguments
from infoprune.graph.counting import multiply_adds
from infoprune.graph.hooks import hooked
from infoprune.graph.labels import Ledger, Marks, compact, first_label, varying
from infoprune.graph.nested import numbers_of, outputs_of
from infoprune.graph.parameter_use import Use
from infoprune.graph.rules import find_rule, moves, tensors
from infoprune.graph.rules.multihead import dimensions_of, multihead, tie_streams
from infoprune.graph.rules.recurrence import tie_layers
from infoprune.graph.rules.weight_norms import note_norms


@dataclass(frozen=True)
class Extent:
    """`size` positions along `axis` of `plane`; without a plane their number is fixed."""

    size: int
    plane: Tensor | None = None
    axis: int = 0


@dataclass(frozen=True)
class Product:
    """`constant` times the product of the extents: multiply-adds of one operation."""

    constant: int
    extents: tuple[Extent, ...]


@dataclass(frozen=True)
class NamedSize:
    """Code of `module` handled this plane itself, so the module may name its sizes in attributes."""

    module: str
    plane: Tensor


@dataclass(frozen=True)
class NamedSplit:
    """Code of `module` split an axis into pieces of sizes it may name as one tuple."""

    module: str
    pieces: tuple[Extent, ...]


@dataclass
class Tape:
    """Everything one forward pass has taught; see `rules` for how it gets here."""

    names: WeakIdKeyDictionary
    kernels: frozenset[str] = frozenset()  # convolution weights: only their first two axes count channels
    output_axis: Mapping[str, int] = field(default_factory=dict)  # weights of layers: the axis of what they give out
    buffers: frozenset[str] = frozenset()
    ledger: Ledger = field(default_factory=Ledger)
    axes: dict[tuple[str, int], Tensor] = field(default_factory=dict)
    products: list[Product] = field(default_factory=list)
    named_sizes: dict[tuple, NamedSize] = field(default_factory=dict)
    named_splits: list[NamedSplit] = field(default_factory=list)
    stack: list[str] = field(default_factory=lambda: [""])
    called: set[str] = field(default_factory=set)  # modules whose forward ran
    met: set[str] = field(default_factory=set)  # parameters and buffers that an operation has read
    in_sight: dict[tuple, Tensor] = field(default_factory=dict)  # (module, ...) -> labels its own code has handled
    beside: dict[str, set[int]] = field(default_factory=dict)  # module -> sizes of other tensors that it has handled
    head_dims: frozenset[str] = frozenset()  # modules in which heads stay and lose dimensions
    streams: Mapping[str, int] = field(default_factory=dict)  # modules whose heads shrink with their input -> dims
    use: Use = field(default_factory=Use)
    _marks: WeakIdKeyDictionary = field(default_factory=WeakIdKeyDictionary)

    @classmethod
    def of(
        cls, model: nn.Module, head_dims: frozenset[str] = frozenset(), streams: frozenset[str] = frozenset()
    ) -> Tape:
        """An empty tape that knows the model's tensors; the words are those of `record`."""
        names = WeakIdKeyDictionary()
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            names[tensor] = name
        layers = {f"{name}.weight".lstrip("."): module for name, module in model.named_modules()}
        kernels = {name for name, module in layers.items() if isinstance(module, nn.modules.conv._ConvNd)}
        output_axes = {
            name: _output_axis(m) for name, m in layers.items() if name in kernels or isinstance(m, nn.Linear)
        }
        buffers = frozenset(name for name, _ in model.named_buffers())
        tied = streams | multihead(model)
        return cls(
            names, frozenset(kernels | set(_recomputed(model))), output_axes, buffers, head_dims=head_dims | tied,
            streams=dimensions_of(model, tied),
        )  # fmt: skip

    def marks(self, value: object) -> Marks:
        if not isinstance(value, Tensor):
            return Marks(adaptive=True)
        if value in self._marks:
            return self._marks[value]
        if value in self.names and value.is_floating_point():
            self._marks[value] = self._label_parameter(value)
            return self._marks[value]
        return Marks()

    def mark(self, tensor: Tensor, marks: Marks) -> None:
        self._marks[tensor] = marks if tensor.numel() else Marks(adaptive=True)

    def count_product(self, constant: int, extents: Sequence[tuple[int, Tensor | None, int]]) -> None:
        self.products.append(Product(constant, tuple(Extent(*extent) for extent in extents)))

    def note_read(self, tensors: Sequence[Tensor]) -> None:
        self.met.update(self.names[tensor] for tensor in tensors if tensor in self.names)

    def note_in_sight(self, out: Any) -> None:
        """The code of the module that runs holds this tensor, and might hand it to any layer of its own."""
        for tensor in tensors(out):
            planes = [plane for plane in self.marks(tensor).planes if plane.numel()]
            for labels in map(compact, planes):
                key = self.stack[-1], first_label(labels), tuple(labels.shape)
                self.in_sight.setdefault(key, labels)
            if not planes and tensor.dim() > 1:
                self.beside.setdefault(self.stack[-1], set()).add(tensor.shape[1 if tensor.dim() > 3 else -1])

    def agree_with_count(self, counted: int, before: int) -> None:
        """An operation that no rule priced, or priced otherwise, costs what is counted, whatever leaves."""
        priced = sum(
            product.constant * math.prod(e.size for e in product.extents) for product in self.products[before:]
        )
        if priced != counted:
            self.products[before:] = [Product(counted, ())]

    def keeps_heads(self) -> bool:
        """Whether the module that is running, or one around it, is to lose dimensions of every head."""
        return any(not name or f"{self.stack[-1]}.".startswith(f"{name}.") for name in self.head_dims)

    def by_dimension(self, plane: Tensor) -> Tensor:
        """Where heads shrink with the stream, the same dimensions leave from all of them, and from q, k and v."""
        size = next((d for name, d in self.streams.items() if f"{self.stack[-1]}.".startswith(f"{name}.")), 0)
        axes = varying(plane) if size else ()
        return self.ledger.collapse(plane, axes[:-1]) if axes and plane.size(axes[-1]) == size else plane

    def note_sizes(self, plane: Tensor) -> None:
        for axis in varying(plane) if plane.numel() else ():
            key = (self.stack[-1], plane.size(axis), axis, plane.dim(), first_label(plane))
            self.named_sizes.setdefault(key, NamedSize(self.stack[-1], plane))

    def note_split(self, planes: Sequence[Tensor], axis: int) -> None:
        axis %= planes[0].dim()
        if any(axis in varying(plane) for plane in planes):
            pieces = tuple(Extent(plane.size(axis), plane, axis) for plane in planes)
            self.named_splits.append(NamedSplit(self.stack[-1], pieces))

    def is_at_rest(self, tensor: Tensor) -> bool:
        """Whether it is a parameter, or made of parameters alone."""
        self.marks(tensor)
        return tensor in self.use.roots

    def note_filters(
        self, tensor: Tensor, letters: Sequence[Hashable], output: Sequence[Hashable], *, groups: int | None = None
    ) -> None:
        """A tensor is contracted; a weight then acts as filters (of a convolution, where `groups` is given)."""
        for name in self.use.note_filters(tensor, self.marks(tensor), letters, output, self.axes):
            if groups is not None:
                self.use.groups.setdefault(name, groups)

    def note_use(self, func: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        """What an operation did with parameters and with what is made of them alone."""
        if not moves(func):
            for tensor in inputs:
                self.use.note_met(self.marks(tensor))
        roots = [self.use.roots.get(t) for t in inputs if not self.marks(t).adaptive or self.marks(t).planes]
        if roots and all(root is not None for root in roots):
            note_norms(self, func, inputs, outputs)
            for tensor in outputs:
                if moves(func):
                    self.use.roots[tensor] = roots[0]
                elif not any(tensor is t for t in inputs):
                    self.use.note_computed(tensor, inputs, self.names)

    def settle(self, model: nn.Module) -> None:
        """After the last pass: what modules say of themselves, and parameters of which a part was used stay whole."""
        tie_layers(model, self)
        tie_streams(model, self, self.streams)
        for labels in self.axes.values():
            if self.use.only_in_part(labels):
                self.ledger.freeze(labels, "only a part of it was used")
        self.output_axis = {**self.use.output_axes(), **self.output_axis}

    def _label_parameter(self, tensor: Tensor) -> Marks:
        planes = []
        self.use.roots[tensor] = tensor
        name = self.names[tensor]
        kernel = 2 if name in self.kernels else tensor.dim()
        for axis in (d for d in range(min(kernel, tensor.dim())) if tensor.size(d) > 1):
            labels = self.ledger.fresh(tensor.size(axis))
            self.axes[name, axis] = labels
            shape = [-1 if d == axis else 1 for d in range(tensor.dim())]
            planes.append(labels.view(shape).expand(tensor.shape))
        return Marks(tuple(planes))


class _Recorder(TorchDispatchMode):
    def __init__(self, tape: Tape):
        super().__init__()
        self.tape = tape

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        with paused():
            self.tape.note_read(tensors([*args, kwargs or {}]))
            before = len(self.tape.products)
            find_rule(func)(self.tape, func, args, kwargs or {}, out)
            self.tape.note_use(func, tensors([*args, kwargs or {}]), tensors(out))
            self.tape.agree_with_count(multiply_adds(func, args, out), before)
            self.tape.note_in_sight(out)
        return out


@contextmanager
def paused() -> Iterator[None]:
    """Operations on labels are not part of the model."""
    with _disable_current_modes():
        yield


def _module_stack(model: nn.Module, tape: Tape) -> AbstractContextManager[None]:
    """Keep the name of the module that is running on top of the tape's stack, and of all that ever were."""
    names = {module: name for name, module in model.named_modules()}

    def enter(module: nn.Module, _: Any) -> None:
        tape.stack.append(names.get(module, tape.stack[-1]))
        tape.called.add(tape.stack[-1])

    def leave(_: nn.Module, __: Any, output: Any) -> None:
        tape.stack.pop()
        with paused():
            tape.note_in_sight(output)

    def see(_: nn.Module, args: tuple, kwargs: dict) -> None:
        with paused():
            tape.note_in_sight([*args, kwargs])

    everywhere = [register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)]
    return hooked([*everywhere, *(module.register_forward_pre_hook(see, with_kwargs=True) for module in names)])


def record(
    model: nn.Module, inputs: Any, *, head_dims: frozenset[str] = frozenset(), streams: frozenset[str] = frozenset()
) -> tuple[Tape, Any]:
    """Run `model` once on the inputs, without gradients, and return the tape and what the model gave back.

    In the modules `head_dims` heads stay and lose dimensions; in `streams` they do so together with the stream.
    """
    tape = Tape.of(model, head_dims, streams)
    output = follow(tape, model, inputs)
    tape.settle(model)
    return tape, output


def follow(tape: Tape, model: nn.Module, inputs: Arguments) -> Any:
    """Run `model` on the inputs, write down what depends on what, and return what the model gave back."""
    with torch.no_grad(), _module_stack(model, tape), _Recorder(tape):
        output = Arguments.of(inputs).run(model)
    if not numbers_of(output):
        raise Untraceable(
            f"the model gives back {type(output).__name__} without a tensor that can be found in it; wrap the model "
            "in a module whose forward gives the tensors that matter"
        )
    for tensor in outputs_of(output):
        for plane in tape.marks(tensor).planes:
            tape.ledger.freeze(plane, "it is an output of the model")
        tape.use.note_met(tape.marks(tensor))
    return output


def _recomputed(model: nn.Module) -> Iterator[str]:
    """What the weights of convolutions are computed from where they have norms or masks."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            held = [*module.named_parameters(), *module.named_buffers()]
            yield from (f"{name}.{leaf}".lstrip(".") for leaf, tensor in held if tensor.dim() > 2)


def _output_axis(module: nn.Module) -> int:
    return int(isinstance(module, nn.modules.conv._ConvTransposeNd))
