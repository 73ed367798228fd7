"""A network in two halves: one runs where pictures are taken, one elsewhere, and one tensor travels between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils._pytree import tree_leaves, tree_map_only

from infoprune.errors import NotACut, UnknownName
from infoprune.graph.wrappers import bare
from infoprune.registry import nearest
from infoprune.require import require_model
from infoprune.split.copies import Copies, Copy, remember
from infoprune.split.program import program_of
from infoprune.split.split_point import Reached, SplitPoint, exporting, require_split_point, split_point_at

Heads = Sequence[str] | Mapping[str, str | int] | None


class SplitModel(nn.Module):
    """`edge` computes what the layer `at` gives out, `cloud` everything after it; together they are the model.

    The model's own code runs in both halves: the edge stops as soon as the layer has spoken; the cloud puts the
    received tensor in its place, and everything before it runs on shapes alone, without numbers. The cloud so
    needs the shapes of the model's inputs. It has them from the edge's latest call that gave features of this size,
    in this thread if there was one, else from `example_inputs`. If anything else that is computed from the inputs is
    needed behind the layer, `NotACut` says what.

    Each call runs on a copy of the modules that holds the model's own tensors, in evaluation mode: the model itself is
    never touched, and calls may run in several threads, or within each other.

    Works for any module whose layer gives out one tensor: timm backbones, torchvision's segmentation models, and
    torchvision's detection models in front of their pyramid (`backbone.body.layer1`, say), whose image sizes are
    shapes too. `export` makes programs for torch alone; torchvision's detection
    models can't be exported, since their steps depend on what they find.

    Args:
        model: The network; never touched.
        at: Name of the layer that it is cut behind.
        heads: Picks tasks: names among the model's dict of outputs, or {task: key or position}; without it the outputs
            stay as the model gives them. Only what the chosen heads need has to be behind the split.
        example_inputs: What the model takes, for a cloud whose edge runs elsewhere.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    >>> split = SplitModel(net, at="1")
    >>> x = torch.rand(1, 3, 8, 8)
    >>> torch.equal(split.cloud(split.edge(x)), net(x))
    True
    """

    def __init__(self, model: nn.Module, at: str, heads: Heads = None, *, example_inputs: tuple | Tensor | None = None):
        super().__init__()
        require_model(model)
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
    def export(self, *example_inputs: Any, also: Sequence[Any] = ()) -> tuple[ExportedProgram, ExportedProgram]:
        """Both halves for inputs of these shapes, each with its own parameters and nothing else.

        `also` holds the same inputs in other sizes, each as a tuple, or a tensor for a model that takes one. Axes in
        which they differ are free in both programs, and each is run by both and compared. Raises ExportFailed where
        torch.export can't follow a half, or what is behind the layer needs more of the inputs than the features tell.
        """
        examples = [example_inputs, *(each if isinstance(each, tuple) else (each,) for each in also)]
        features, outputs = [], []
        for inputs in examples:
            features.append(self.edge(*inputs))
            outputs.append(self.cloud(features[-1]))
        received = [(each,) for each in features]
        with self.cloud.behind(max(features, key=Tensor.numel)) as behind:
            return program_of(self.edge, examples, features, "edge"), program_of(behind, received, outputs, "cloud")


class EdgeHalf(nn.Module):
    """The model up to and with one layer."""

    def __init__(self, model: nn.Module, at: str, note: Callable[[tuple, Tensor], None]):
        super().__init__()
        self.model, self.at, self.note = model, at, note
        self.copies = Copies(model)

    def forward(self, *inputs: Any) -> Tensor:
        exported = exporting()
        with self.copies.lent() as copy:
            layer = copy.model.get_submodule(self.at)
            with _listening(layer, stop=not exported) as heard, suppress(Reached):
                copy.model(*inputs)
        if not heard:
            raise NotACut(f"the model did not run {self.at!r} on these inputs; name a layer that it runs")
        features = _tensor(heard[0], self.at)
        if not exported:
            self.note(inputs, features)
        return features


class CloudHalf(nn.Module):
    """The model behind one layer, given what the layer gave out."""

    def __init__(self, model: nn.Module, at: str, heads: Heads):
        super().__init__()
        self.model, self.at, self.heads = model, at, _by_task(heads)
        self.copies = Copies(model)
        self.first: tuple | None = None  # inputs of the model, on the meta device
        self.inputs: dict[Any, tuple] = {}  # the latest, by the size of the features they gave

    def expect(self, inputs: tuple, features: Tensor | None = None) -> None:
        """The shapes of inputs to come, and the features that they give if these are known."""
        shapes = tree_map_only(Tensor, lambda t: t.detach().to("meta"), inputs)
        if features is not None:
            remember(self.inputs, features.shape[1:], shapes)
            remember(self.inputs, (get_ident(), features.shape[1:]), shapes)
        self.first = self.first or shapes

    def forward(self, features: Tensor) -> Any:
        with self.behind(features) as behind:
            return behind(features)

    @contextmanager
    def behind(self, features: Tensor) -> Iterator[Behind]:
        """What runs features like these, for one call at a time."""
        with self.copies.lent() as copy:
            point = self._point(features, copy)
            key = _key(point.example)
            if key not in copy.checked:
                require_split_point(copy.model, point, features, lambda outputs: chosen(outputs, self.heads))
                remember(copy.checked, key, point)
            yield Behind(copy.model, point, self.heads)

    def _point(self, features: Tensor, copy: Copy) -> SplitPoint:
        """What runs before the layer for inputs that give features of this shape; the batch may be another."""
        if not isinstance(features, Tensor):
            raise TypeError(f"features are a {type(features).__name__}; give the tensor that {self.at!r} gives out")
        known = (self.inputs.get(key) for key in ((get_ident(), features.shape[1:]), features.shape[1:]))
        inputs = next((each for each in known if each is not None), self.first)
        if inputs is None:
            raise ValueError(
                "the cloud half needs the shapes of the model's inputs; pass example_inputs= to SplitModel or call edge"
            )
        point = self._prepared(inputs, copy)
        if point.shape != features.shape:
            point = self._prepared(_batched(inputs, point.shape, features.shape), copy)
        if point.shape != features.shape:
            raise ValueError(
                f"features have shape {tuple(features.shape)}; {self.at!r} gives {tuple(point.shape)} for these inputs"
            )
        if point.dtype != features.dtype and not torch.is_autocast_enabled(features.device.type):
            raise TypeError(f"features are {features.dtype}; {self.at!r} gives {point.dtype}, so convert them first")
        return point

    def _prepared(self, inputs: tuple, copy: Copy) -> SplitPoint:
        key, point = _key(inputs), copy.points.get(_key(inputs))
        if point is None:
            point = split_point_at(copy.model, self.at, inputs)
            remember(copy.points, key, point)
        return point


class Behind(nn.Module):
    """The model behind a layer for inputs of one shape, in evaluation mode."""

    def __init__(self, model: nn.Module, point: SplitPoint, heads: Mapping[str, str | int] | None):
        super().__init__()
        self.model, self.point, self.heads = model, point, heads

    def forward(self, features: Tensor) -> Any:
        with self.point.injecting(self.model, features):
            return chosen(self.model(*self.point.inputs()), self.heads)


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

    with layer.register_forward_hook(hook):
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
