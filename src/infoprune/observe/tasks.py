"""observe_tasks(): one streaming pass that counts which feature patterns meet which task outputs, layer by layer.

The outputs of the model itself, cut into the patches that lie where the feature patches lie and clustered, are the
labels (section 3.1 of the feature selection paper). Bins and clusters are fixed on the first images; from then on only
counts are kept, so that memory does not grow with the number of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from infoprune.errors import StaleObservations, UnknownName, UnusableData
from infoprune.estimators import mutual_information as mi
from infoprune.observe.batches import first, read, total_of
from infoprune.observe.patches import (
    CELLS,
    FixedSteps,
    Grid,
    PrincipalAxes,
    View,
    WholePatches,
    by_channel,
    corresponding,
    patches_of,
)
from infoprune.observe.undisturbed import placed_on, undisturbed
from infoprune.progress import counting
from infoprune.registry import nearest

PILOT = 64  # images that bins and clusters are fixed on
CLUSTERED = 8192  # patches that k-means sees
Estimate = Literal["excess", "value", "miller_madow"]
Views = WholePatches | FixedSteps | PrincipalAxes
TaskWeights = str | Mapping[str, float] | None


# --- evidence ---


@dataclass(frozen=True, eq=False)
class LayerEvidence:
    """What was counted of one layer: information in nats, and what task-blind scores need."""

    channels: int
    information: mi.MutualInformation  # channels x tasks
    mean_absolute: Tensor  # channels: mean |x|
    gram: Tensor  # channels x channels: mean of x_i x_k over images and places


@dataclass(frozen=True, eq=False)
class TaskObservations:
    """How much the features of each layer tell about each task's output, from one pass over `samples` images."""

    tasks: tuple[str, ...]
    layers: Mapping[str, LayerEvidence]
    samples: int
    patches: Mapping[str, int]  # of each layer

    def layer(self, name: str | None = None) -> LayerEvidence:
        """The evidence of a layer; without a name, of the only one."""
        if name is None and len(self.layers) == 1:
            return next(iter(self.layers.values()))
        if name is None or name not in self.layers:
            known = list(self.layers)
            raise UnknownName(f"layer {name!r} was not observed; {nearest(str(name), known)}")
        return self.layers[name]

    def scores(self, name: str | None, task: TaskWeights, estimate: Estimate = "excess") -> Tensor:
        """Information of each channel about a task, or the weighted sum over several, in nats: channels."""
        if estimate not in get_args(Estimate):
            raise ValueError(f"there is no estimate {estimate!r}; known: {', '.join(get_args(Estimate))}")
        return getattr(self.layer(name).information, estimate) @ self.weights(task)

    def weights(self, task: TaskWeights) -> Tensor:
        """The share of each task, in the order of `tasks`; they add up to 1."""
        if task is None and len(self.tasks) > 1:
            raise ValueError(f"tasks {', '.join(self.tasks)} were observed; name one, or give each a weight")
        if task is None or isinstance(task, str):
            shares = {next(iter(self.tasks)) if task is None else task: 1.0}
        else:
            shares = dict(task)
        for name in shares:
            if name not in self.tasks:
                raise UnknownName(f"task {name!r} was not observed; {nearest(name, list(self.tasks))}")
        if min(shares.values(), default=0) < 0 or sum(shares.values()) <= 0:
            raise ValueError(f"task weights are {shares}; they must be positive, or zero for some")
        weights = torch.tensor([float(shares.get(name, 0)) for name in self.tasks], dtype=torch.float64)
        return weights / weights.sum()

    def require_channels(self, name: str, now: int) -> None:
        """Raise `StaleObservations` unless the layer has the channels that were observed."""
        if name in self.layers and self.layers[name].channels != now:
            raise StaleObservations(
                f"{name} was observed with {self.layers[name].channels} channels and now has {now}; observe again"
            )

    def __str__(self) -> str:
        rows = [f"{self.samples} images, tasks {', '.join(self.tasks)}"]
        for name, evidence in self.layers.items():
            saturated = evidence.information.saturated.double().mean(0)
            rows.append(f"{name}: {evidence.channels} channels, saturated {', '.join(f'{s:.0%}' for s in saturated)}")
        return "\n".join(rows)


# --- the pass ---


def observe_tasks(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    layers: Sequence[str] | None = None,
    outputs: Callable[[Any], Mapping[str, Tensor]] | None = None,
    view: Views | None = None,
    clusters: int = 8,
    cells: int = CELLS,
    samples: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> TaskObservations:
    """Count once how features and task outputs go together.

    The model runs in evaluation mode and is afterwards as it was.

    Args:
        model: The network.
        loader: Gives what its forward takes.
        layers: Names; all convolutions and linear layers by default.
        outputs: Turns what the model gives into {task: images x c x H x W or images x numbers}; by default a dict is
            taken as it is and anything else is one task, "output".
        view: What of a feature patch is counted: two principal axes in 8 bins by default, `WholePatches()` for the
            paper's patterns, `FixedSteps()` for bins of one width.
        clusters: Into how many labels each task's output patches are clustered by k-means.
        cells: Patches are clustered by their averages over `cells` x `cells` parts; as many as a patch has pixels
            across are all pixels, as printed.
        samples: How many images are read; all by default.
        seed: Of k-means.
        progress: Show how far it has come.
    """
    if not isinstance(cells, int) or cells < 1:
        raise ValueError(f"cells is {cells!r}; give into how many parts an output patch is cut across, at least 1")
    view = view or PrincipalAxes()
    names = _names(model, layers)
    with (
        undisturbed(model),
        placed_on(model, None) as place,
        _Taps(model, names, outputs) as taps,
        counting(total_of(loader, samples), "observe tasks", "image", shown=progress) as done,
    ):
        seen = taps.run(batch.to(place) for batch in first(read(loader), samples))
        pilot = list(_until(seen, PILOT))
        if not pilot:
            raise UnusableData("the loader is empty; give at least one batch")
        counts = _Counting.fitted(pilot, taps, view, clusters, cells, seed)
        for batch in chain(pilot, seen):
            counts = counts.update(batch, taps)
            done(batch.images)
    return counts.compute()


class Seen(NamedTuple):
    """What one batch showed."""

    images: int
    features: dict[str, Tensor]
    outputs: dict[str, Tensor]


class _Taps:
    """Forward hooks on the layers, for the length of the pass."""

    def __init__(self, model: nn.Module, names: Sequence[str], outputs: Callable | None):
        self.model, self.outputs = model, outputs or _as_tasks
        self.modules = {name: model.get_submodule(name) for name in names}
        self.now: dict[str, Tensor] = {}

    def __enter__(self) -> _Taps:
        self.handles = [m.register_forward_hook(self._hook(name)) for name, m in self.modules.items()]
        return self

    def __exit__(self, *_: Any) -> None:
        for handle in self.handles:
            handle.remove()

    def _hook(self, name: str) -> Callable[..., None]:
        def note(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.dim() > 1:
                self.now[name] = output.detach().clone()  # what follows may work in place

        return note

    def run(self, batches: Iterable[Any]) -> Iterator[Seen]:
        for batch in batches:
            self.now = {}
            outputs = self.outputs(self.model(*batch.args, **batch.kwargs))
            for name, tensor in chain(self.now.items(), outputs.items()):
                if not bool(tensor.isfinite().all()):
                    raise UnusableData(f"{name} gave out NaN or infinite numbers; check the weights and the inputs")
                if len(tensor) != len(batch) and name in outputs:
                    amount = f"gave {len(tensor)} outputs for {len(batch)} images"
                    raise UnusableData(f"task {name!r} {amount}; pass outputs= that gives one for each image")
            yield Seen(len(batch), self.now, {task: output.float() for task, output in outputs.items()})


@dataclass(frozen=True, eq=False)
class _Layer:
    """Counts of one layer so far."""

    view: View
    counts: mi.JointCounts
    absolute: Tensor
    gram: Tensor
    numbers: int

    @classmethod
    def fitted(cls, patches: Tensor, view: Views, clusters: Sequence[int]) -> _Layer:
        fitted, channels, place = view.fitted(patches), len(patches), patches.device
        counts = mi.JointCounts.empty(fitted.low, fitted.high, clusters=clusters, bins=fitted.bins)
        absolute = torch.zeros(channels, dtype=torch.float64, device=place)
        return cls(fitted, counts, absolute, torch.zeros(channels, channels, dtype=torch.float64, device=place), 0)

    def update(self, patches: Tensor, labels: Tensor, maps: Tensor) -> _Layer:
        return replace(
            self,
            counts=self.counts.update(self.view.numbers(patches), labels),
            absolute=self.absolute + maps.abs().sum(1, dtype=torch.float64),
            gram=self.gram + (maps @ maps.T).double(),
            numbers=self.numbers + maps.shape[1],
        )

    def compute(self) -> LayerEvidence:
        absolute, gram = (sums.cpu() / self.numbers for sums in (self.absolute, self.gram))
        return LayerEvidence(len(absolute), self.counts.compute(), absolute, gram)


@dataclass(frozen=True, eq=False)
class _Counting:
    """Everything counted so far, with the bins and clusters that were fixed on the first images."""

    layers: dict[str, _Layer]
    centres: dict[tuple[str, Grid], Tensor]
    tasks: tuple[str, ...]
    size: int
    cells: int
    samples: int = 0

    @classmethod
    def fitted(cls, pilot: list[Seen], taps: _Taps, view: Any, clusters: int, cells: int, seed: int) -> _Counting:
        for seen in pilot:
            _require_tasks(tuple(pilot[0].outputs), seen)
        outputs = {task: torch.cat([seen.outputs[task] for seen in pilot]) for task in pilot[0].outputs}
        layers, centres = {}, {}
        for name in pilot[0].features:
            features = torch.cat([seen.features[name] for seen in pilot])
            patches, grid = patches_of(features, taps.modules[name], view.size)
            layers[name] = _Layer.fitted(patches, view, [clusters] * len(outputs))
            for task, output in outputs.items():
                if (task, grid) not in centres:
                    centres[task, grid] = _clustered(task, _some(corresponding(output, grid, cells)), clusters, seed)
        return cls(layers, centres, tuple(outputs), view.size, cells)

    def update(self, seen: Seen, taps: _Taps) -> _Counting:
        _require_tasks(self.tasks, seen)
        layers, labels = dict(self.layers), {}
        for name, features in seen.features.items():
            patches, grid = patches_of(features, taps.modules[name], self.size)
            if grid not in labels:
                points = {task: corresponding(seen.outputs[task], grid, self.cells) for task in self.tasks}
                nearest = [mi.nearest_centre(each, self.centres[task, grid]) for task, each in points.items()]
                labels[grid] = torch.stack(nearest)
            maps = by_channel(features, taps.modules[name]).float()
            layers[name] = layers[name].update(patches, labels[grid], maps)
        return replace(self, layers=layers, samples=self.samples + seen.images)

    def compute(self) -> TaskObservations:
        patches = {name: layer.counts.samples for name, layer in self.layers.items()}
        evidence = {name: layer.compute() for name, layer in self.layers.items()}
        return TaskObservations(self.tasks, evidence, self.samples, patches)


def _clustered(task: str, points: Tensor, clusters: int, seed: int) -> Tensor:
    try:
        return mi.cluster_centres(points, clusters, seed=seed)
    except ValueError as error:
        raise UnusableData(f"the outputs of task {task!r} can't be clustered: {error}") from error


def _require_tasks(tasks: tuple[str, ...], seen: Seen) -> None:
    missing = [task for task in tasks if task not in seen.outputs]
    if missing:
        names = ", ".join(map(repr, seen.outputs)) or "nothing"
        raise UnusableData(
            f"task {missing[0]!r} is missing in a later batch, which gave {names}; give all tasks each time"
        )


def _names(model: nn.Module, layers: Sequence[str] | None) -> list[str]:
    known = [name for name, _ in model.named_modules() if name]
    if layers is None:
        kinds = (nn.modules.conv._ConvNd, nn.Linear)
        return [name for name, module in model.named_modules() if isinstance(module, kinds)]
    missing = [name for name in layers if name not in known]
    if missing:
        raise UnknownName(f"there is no layer {missing[0]!r}; {nearest(missing[0], known)}")
    return list(layers)


def _as_tasks(output: Any) -> Mapping[str, Tensor]:
    by_task = output if isinstance(output, Mapping) else {"output": output}
    odd = [task for task, each in by_task.items() if not isinstance(each, Tensor)]
    if odd:
        kind = type(by_task[odd[0]]).__name__
        raise UnusableData(f"the model's output {odd[0]!r} is {kind}; pass outputs= to make tensors by task of it")
    return by_task


def _until(seen: Iterator[Seen], images: int) -> Iterator[Seen]:
    """Batches until they hold this many images."""
    count = 0
    for batch in seen:
        yield batch
        count += batch.images
        if count >= images:
            return


def _some(points: Tensor) -> Tensor:
    """Evenly chosen points, as many as k-means is to see."""
    return points[:: max(1, len(points) // CLUSTERED)]
