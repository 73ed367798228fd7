"""A network in two halves: one runs where pictures are taken, one elsewhere, and one tensor travels between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils._pytree import tree_leaves, tree_map_only

from infoprune.errors import NotACut, UnknownName
from infoprune.graph.verify import evaluating
from infoprune.graph.wrapped import bare
from infoprune.registry import nearest
from infoprune.split.cut import Cut, Reached, cut_at, require_cut
from infoprune.split.program import program_of

Heads = Sequence[str] | Mapping[str, str | int] | None


class SplitModel(nn.Module):
    """`edge` computes what the layer `at` gives out, `cloud` everything after it; together they are the model.

    `heads` picks tasks: names among the model's dict of outputs, or {task: key or position}; without it the
    outputs stay as the model gives them. Only what the chosen heads need has to be behind the cut.

    The model's own code runs in both halves: the edge stops as soon as the layer has spoken; the cloud puts the
    received tensor in its place, and everything before it runs on shapes alone, without numbers. The cloud so
    needs the shapes of the model's inputs; it has them from `example_inputs`, or from the edge's latest call. If
    anything else that is computed from the inputs is needed behind the layer, `NotACut` says what.

    Works for any module whose layer gives out one tensor: timm backbones, torchvision's segmentation models, and
    torchvision's detection models in front of their pyramid (`backbone.body.layer1`, say), whose image sizes are
    shapes too. Both halves run in evaluation mode. `export` makes programs for torch alone; torchvision's detection
    models can't be exported, since their steps depend on what they find.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    >>> split = SplitModel(net, at="1")
    >>> x = torch.rand(1, 3, 8, 8)
    >>> torch.equal(split.cloud(split.edge(x)), net(x))
    True
    """

    def __init__(self, model: nn.Module, at: str, heads: Heads = None, *, example_inputs: tuple | Tensor | None = None):
        super().__init__()
        model = bare(model)
        names = [name for name, _ in model.named_modules() if name]
        if at not in names:
            raise UnknownName(f"there is no layer {at!r}; {nearest(at, names)}")
        self.cloud = CloudHalf(model, at, heads)
        self.edge = EdgeHalf(model, at, note=self.cloud.expect)
        if example_inputs is not None:
            self.cloud.expect(example_inputs if isinstance(example_inputs, tuple) else (example_inputs,))

    def forward(self, *inputs: Any) -> Any:
        return self.cloud(self.edge(*inputs))

    @torch.no_grad()
    def export(self, *example_inputs: Any) -> tuple[ExportedProgram, ExportedProgram]:
        """Both halves for inputs of these shapes, each with its own parameters and nothing else."""
        features = self.edge(*example_inputs)
        self.cloud(features)
        return program_of(self.edge, example_inputs), program_of(self.cloud, (features,))


class EdgeHalf(nn.Module):
    """The model up to and with one layer."""

    def __init__(self, model: nn.Module, at: str, note: Callable[[tuple], None]):
        super().__init__()
        self.model, self.at, self.note = model, at, note

    def forward(self, *inputs: Any) -> Tensor:
        exporting = torch.compiler.is_exporting()
        if not exporting:
            self.note(inputs)
        layer = self.model.get_submodule(self.at)
        with evaluating(self.model), _listening(layer, stop=not exporting) as heard, suppress(Reached):
            self.model(*inputs)
        if not heard:
            raise NotACut(f"the model did not run {self.at!r} on these inputs; name a layer that it runs")
        return _tensor(heard[0], self.at)


class CloudHalf(nn.Module):
    """The model behind one layer, given what the layer gave out."""

    def __init__(self, model: nn.Module, at: str, heads: Heads):
        super().__init__()
        self.model, self.at, self.heads = model, at, _by_task(heads)
        self.inputs: tuple | None = None  # of the model, on the meta device
        self.cuts: dict[tuple, Cut] = {}
        self.checked: set[tuple] = set()

    def expect(self, inputs: tuple) -> None:
        """The shapes of inputs to come."""
        self.inputs = tree_map_only(Tensor, lambda t: t.detach().to("meta"), inputs)

    def forward(self, features: Tensor) -> Any:
        key, cut = self._cut(features)
        if key not in self.checked and not torch.compiler.is_exporting():
            with evaluating(self.model):
                require_cut(self.model, cut, features, lambda outputs: chosen(outputs, self.heads))
            self.checked.add(key)
        with evaluating(self.model), cut.injecting(self.model, features):
            return chosen(self.model(*cut.inputs()), self.heads)

    def _cut(self, features: Tensor) -> tuple[tuple, Cut]:
        """What runs before the layer for inputs that give features of this shape; the batch may be another."""
        if self.inputs is None:
            raise ValueError(
                "the cloud half needs the shapes of the model's inputs; pass example_inputs= to SplitModel or call edge"
            )
        cut = self._prepared(self.inputs)
        if cut.shape != features.shape:
            cut = self._prepared(_batched(self.inputs, cut.shape, features.shape))
        if cut.shape != features.shape:
            raise ValueError(
                f"features have shape {tuple(features.shape)}; {self.at!r} gives {tuple(cut.shape)} for these inputs"
            )
        return _key(cut.given), cut

    def _prepared(self, inputs: tuple) -> Cut:
        key = _key(inputs)
        if key not in self.cuts:
            with evaluating(self.model):
                self.cuts[key] = cut_at(self.model, self.at, inputs)
        return self.cuts[key]


def _by_task(heads: Heads) -> Mapping[str, str | int] | None:
    if heads is None or isinstance(heads, Mapping):
        return heads
    return {head: head for head in ([heads] if isinstance(heads, str) else heads)}


def chosen(outputs: Any, heads: Mapping[str, str | int] | None) -> Any:
    """The outputs of these heads by task, or all as they are."""
    if heads is None:
        return outputs
    known = list(outputs) if isinstance(outputs, Mapping) else list(range(len(outputs)))
    missing = [key for key in heads.values() if key not in known]
    if missing:
        raise UnknownName(f"the model has no output {missing[0]!r}; known: {', '.join(map(str, known))}")
    return {task: outputs[key] for task, key in heads.items()}


@contextmanager
def _listening(layer: nn.Module, *, stop: bool) -> Iterator[list[Any]]:
    """What the layer gives out goes on the list; then the model stops, or goes on."""
    heard: list[Any] = []

    def hook(_: nn.Module, __: Any, output: Any) -> None:
        if stop:
            heard.append(output)
            raise Reached
        heard.append(output.clone() if isinstance(output, Tensor) else output)  # what follows may work in place

    with ExitStack() as stack:
        stack.callback(layer.register_forward_hook(hook).remove)
        yield heard


def _tensor(output: Any, at: str) -> Tensor:
    if not isinstance(output, Tensor):
        raise NotACut(f"{at!r} gives out {type(output).__name__}; name a layer that gives out one tensor")
    return output


def _key(inputs: Any) -> tuple:
    leaves = tree_leaves(inputs)
    return tuple((tuple(leaf.shape), leaf.dtype) if isinstance(leaf, Tensor) else leaf for leaf in leaves)


def _batched(inputs: tuple, had: torch.Size, wanted: torch.Size) -> tuple:
    """The inputs with as many samples as make the features have `wanted` instead of `had` entries."""
    if not had or not wanted or had[1:] != wanted[1:]:
        return inputs

    def each(t: Tensor) -> Tensor:
        return t.new_empty((len(t) * wanted[0] // had[0], *t.shape[1:])) if t.dim() else t

    return tree_map_only(Tensor, each, inputs)
