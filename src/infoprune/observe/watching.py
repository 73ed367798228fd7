"""observe(): one streaming pass over calibration data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import reduce
from typing import Any, get_args

import torch
from torch import Tensor, nn

from infoprune.errors import UnusableData
from infoprune.estimators.hsic import LEAST_UNBIASED, MinibatchHSIC
from infoprune.graph.nested import outputs_of
from infoprune.graph.wrappers import bare
from infoprune.observe.activations import Followed
from infoprune.observe.batches import Batch, enough_at_once, first, read, total_of
from infoprune.observe.grams import blocks, by_sample, gram_of, require_finite, similarity, with_kernel
from infoprune.observe.moments import Reading, is_read
from infoprune.observe.observations import Kernel, Observations, weight_shape
from infoprune.observe.responses import Responses, Running, classes_in
from infoprune.observe.undisturbed import placed_on, undisturbed
from infoprune.progress import counting
from infoprune.require import require_model, require_values

NOTHING = "it gives out nothing with one entry a sample"


def observe(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    samples: int | None = None,
    device: torch.device | str | None = None,
    progress: bool = True,
    moments: bool = False,
    printed: Kernel | None = None,
) -> Observations:
    """See once what every layer does with the first samples of `loader`.

    The model runs in evaluation mode and without gradients; its modes, gradients, statistics and place, and the states
    of the random number generators, are afterwards what they were, also after an interrupt.

    What is kept is the unbiased HSIC between all layers, linear kernel, over blocks of at most 64
    samples. Each layer's Gram matrix is computed once a block, exactly, as the layer runs. Where labels are
    classes, two numbers a channel are kept as well for a random 512 of the samples (`Observations.responses`).
    No activation is stored, so memory does not grow with the number of samples.

    Args:
        model: The network.
        loader: Gives tensors of inputs, (inputs, labels) pairs, or mappings of keyword arguments (where "labels" are
            the labels); classes are integers, anything else is compared as numbers. Samples should come in random
            order, since the estimate takes every batch as a random draw.
        samples: How many samples are read; all by default.
        device: Where the model runs meanwhile; by default where it is.
        progress: Show how far it has come.
        moments: Keep means and covariances of what every layer reads as well (16 bytes for each pair of its columns,
            layers of up to 4,096 columns).
        printed: "linear" or "gaussian" (at the median distance), the kernel of HSIC as the strategy paper prints it
            (eqs. 6 to 8): biased, of the maps behind the activations, all samples in one Gram matrix. They run through
            the model together, so that memory grows with their number, and nothing tells how sure the values are.
    """
    require_model(model)
    if printed is not None and printed not in get_args(Kernel):
        raise ValueError(f"printed is {printed!r}; give one of {', '.join(map(repr, get_args(Kernel)))}, or None")
    if samples is not None and samples < LEAST_UNBIASED:
        raise UnusableData(f"samples is {samples}; nHSIC needs at least {LEAST_UNBIASED}")
    if not isinstance(loader, Iterable):
        raise TypeError(f"loader is {type(loader).__name__}; pass an iterable of batches, like a DataLoader")
    model = bare(model)
    require_values(model, "to compute with")
    with undisturbed(model), placed_on(model, device) as place, _Watch(model, moments, printed) as watch:
        batches = enough_at_once(first(read(loader), samples))
        batches = batches if printed is None else _together(batches)
        seen: Observations | None = None
        with counting(total_of(loader, samples), "observe", "sample", shown=progress) as done:
            for batch in batches:
                seen = watch.see(batch.to(place), seen)
                done(len(batch))
    if seen is None:
        raise UnusableData("the loader is empty; give at least one batch")
    return replace(seen, moments=watch.reading.moments()) if watch.reading else seen


def _together(batches: Iterator[Batch]) -> Iterator[Batch]:
    """All samples in one batch; nothing where there are none."""
    parts = list(batches)
    return iter([reduce(Batch.joined, parts)] if parts else [])


class _Watch:
    """Forward hooks that turn what each layer gives out into Gram matrices while it runs."""

    def __init__(self, model: nn.Module, moments: bool, printed: Kernel | None):
        self.model, self.reading = model, Reading() if moments else None
        self.printed: Kernel | None = printed
        self.followed = Followed(self._keep) if printed else None
        self.modules = {name: module for name, module in model.named_modules() if _is_layer(module)}
        self.grams: dict[str, list[Tensor]] = {}
        self.silent: dict[str, str] = {}
        self.running: dict[str, Running] = {}
        self.labels: Tensor | None = None
        self.generator = torch.Generator().manual_seed(0)
        self.blocks: list[slice] = []
        self.samples = 0
        self.handles: list[Any] = []

    def __enter__(self) -> _Watch:
        for name, module in self.modules.items():
            self.handles.append(module.register_forward_hook(self._hook(name)))
            if self.reading and is_read(module):
                self.handles.append(module.register_forward_pre_hook(self._read(name)))
        return self

    def __exit__(self, *_: Any) -> None:
        for handle in self.handles:
            handle.remove()

    def see(self, batch: Batch, seen: Observations | None) -> Observations:
        """Run the model on one batch and add what it showed."""
        self.grams, self.samples = {}, len(batch)
        self.blocks = blocks(len(batch)) if self.printed is None else [slice(0, len(batch))]
        self.running, self.labels = {}, classes_in(batch.labels, len(batch))
        if self.reading:
            self.reading.batches += 1
        with self.followed or nullcontext():
            output = self.model(*batch.args, **batch.kwargs)
        if self.followed:
            self.followed.close()
        layers, companions = self._layers(), self._companions(batch, output)
        if seen is None:
            seen = self._nothing_yet(layers, tuple(companions))
        missing = [name for name in seen.layers if name not in layers]
        if missing or tuple(companions) != seen.companions:
            what = missing[:3] or sorted(set(companions) ^ set(seen.companions))
            raise UnusableData(f"{what} is not in every batch; give batches that all run the same layers")
        names = [*seen.layers, *companions]
        for block in range(len(self.blocks)):
            grams = [{**layers, **companions}[name][block] for name in names]
            require_finite(names, grams)
            seen = seen.update(torch.stack([gram.cpu() for gram in grams]))
        return self._with_responses(seen)

    def _hook(self, name: str) -> Callable[..., None]:
        def note(_: nn.Module, __: Any, output: Any) -> None:
            tensor = next((t for t in outputs_of(output) if t.is_floating_point()), None)
            if tensor is None or by_sample(tensor, self.samples) is None:
                self.silent[name] = NOTHING
                return
            if self.labels is not None:
                self._respond(name, tensor)
            if self.followed:
                self.followed.begin(name, tensor)
            else:
                self._keep(name, tensor)

        return note

    def _keep(self, name: str, output: Tensor) -> None:
        """The Gram matrices of a layer's output; those of a layer that runs again add up."""
        features = by_sample(output, self.samples)
        if features is None:
            self.silent[name] = NOTHING
            return
        grams = [gram_of(features[block]) for block in self.blocks]
        earlier = self.grams.get(name)
        self.grams[name] = [a + b for a, b in zip(earlier, grams, strict=True)] if earlier else grams

    def _read(self, name: str) -> Callable[..., None]:
        def note(layer: nn.Module, args: tuple) -> None:
            if args and isinstance(args[0], Tensor):
                self.reading.note(name, layer, args[0])  # type: ignore[union-attr]

        return note

    def _respond(self, name: str, output: Tensor) -> None:
        running = Running.of(self.modules[name], output, self.samples)
        if running is not None:
            self.running[name] = self.running[name] + running if name in self.running else running

    def _with_responses(self, seen: Observations) -> Observations:
        batch = {name: running.responses() for name, running in self.running.items() if name not in self.silent}
        if self.labels is None or not batch:
            return seen
        earlier = seen.responses or Responses.empty(batch)
        return replace(seen, responses=earlier.update(batch, self.labels, self.generator))

    def _layers(self) -> dict[str, list[Tensor]]:
        """As the kernel has them; what was kept are inner products."""
        return {
            name: [with_kernel(gram, self.printed) for gram in grams]
            for name, grams in self.grams.items()
            if name not in self.silent
        }

    def _companions(self, batch: Batch, output: Any) -> dict[str, list[Tensor]]:
        whole = [by_sample(t, self.samples) for t in outputs_of(output) if t.is_floating_point()]
        parts = {
            "input": batch.tensors[:1] if batch.args or batch.kwargs else [],
            "output": [t for t in whole if t is not None],
            "labels": [] if batch.labels is None else [batch.labels],
        }
        sums: dict[str, list[Any]] = {
            name: [sum(similarity(t[block]) for t in tensors) for block in self.blocks]
            for name, tensors in parts.items()
            if tensors
        }
        own = {"labels"}  # have a kernel of their own
        return {
            name: grams if name in own else [with_kernel(gram, self.printed) for gram in grams]
            for name, grams in sums.items()
        }

    def _nothing_yet(self, layers: Mapping[str, Any], companions: tuple) -> Observations:
        shapes = {name: weight_shape(self.modules[name]) for name in layers}
        silent = {name: "its module is not called" for name in self.modules if name not in shapes} | self.silent
        statistic = MinibatchHSIC.empty(len(shapes) + len(companions))
        return Observations(shapes, silent, companions, statistic, 0, printed=self.printed)


def _is_layer(module: nn.Module) -> bool:
    """Whether channels can begin here: convolutions, linear layers, and leaves with a matrix like theirs."""
    if isinstance(module, nn.modules.conv._ConvNd | nn.Linear | nn.MultiheadAttention):
        return True
    weight = module._parameters.get("weight")
    return weight is not None and weight.dim() > 1 and not module._modules
