"""observe(): one streaming pass over calibration data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from infoprune.errors import UnusableData
from infoprune.estimators.hsic import LEAST_UNBIASED, MinibatchHSIC
from infoprune.graph.nested import outputs_of
from infoprune.graph.wrappers import bare
from infoprune.observe.batches import Batch, enough_at_once, first, read, total_of
from infoprune.observe.grams import blocks, by_sample, gram_of, require_finite, similarity
from infoprune.observe.moments import Reading, is_read
from infoprune.observe.observations import Observations, weight_shape
from infoprune.observe.responses import Responses, Running, classes_in
from infoprune.observe.undisturbed import placed_on, undisturbed
from infoprune.progress import counting
from infoprune.require import require_model


def observe(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    samples: int | None = None,
    device: torch.device | str | None = None,
    progress: bool = True,
    moments: bool = False,
) -> Observations:
    """See once what every layer does with the first `samples` samples of `loader` (all of them by default).

    `loader` gives tensors of inputs, (inputs, labels) pairs, or mappings of keyword arguments (where
    "labels" are the labels); classes are integers, anything else is compared as numbers. Samples should
    come in random order, since the estimate takes every batch as a random draw. The model runs in
    evaluation mode and without gradients, on `device` if given; its modes, gradients, statistics and
    place, and the states of the random number generators, are afterwards what they were, also after an
    interrupt.

    What is kept is the unbiased HSIC between all layers, linear kernel, over blocks of at most 64
    samples. Each layer's Gram matrix is computed once a block, exactly, as the layer runs. Where labels are
    classes, two numbers a channel are kept as well for a random 512 of the samples (`Observations.responses`).
    With `moments` so are means and covariances of what every layer reads (16 bytes for each pair of its columns, layers
    of up to 4,096 columns). No activation is stored, so memory does not grow with the number of samples.
    """
    require_model(model)
    if samples is not None and samples < LEAST_UNBIASED:
        raise UnusableData(f"samples is {samples}; nHSIC needs at least {LEAST_UNBIASED}")
    if not isinstance(loader, Iterable):
        raise TypeError(f"loader is {type(loader).__name__}; pass an iterable of batches, like a DataLoader")
    model = bare(model)
    with undisturbed(model), placed_on(model, device) as place, _Watch(model, moments) as watch:
        batches = enough_at_once(first(read(loader), samples))
        seen: Observations | None = None
        with counting(total_of(loader, samples), "observe", "sample", shown=progress) as done:
            for batch in batches:
                seen = watch.see(batch.to(place), seen)
                done(len(batch))
    if seen is None:
        raise UnusableData("the loader is empty; give at least one batch")
    return replace(seen, moments=watch.reading.moments()) if watch.reading else seen


class _Watch:
    """Forward hooks that turn what each layer gives out into Gram matrices while it runs."""

    def __init__(self, model: nn.Module, moments: bool):
        self.model, self.reading = model, Reading() if moments else None
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
        self.grams, self.samples, self.blocks = {}, len(batch), blocks(len(batch))
        self.running, self.labels = {}, classes_in(batch.labels, len(batch))
        if self.reading:
            self.reading.batches += 1
        output = self.model(*batch.args, **batch.kwargs)
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
            found = next((t for t in outputs_of(output) if t.is_floating_point()), None)
            features = None if found is None else by_sample(found, self.samples)
            if found is None or features is None:
                self.silent[name] = "it gives out nothing with one entry a sample"
                return
            if self.labels is not None:
                self._respond(name, found)
            grams = [gram_of(features[block]) for block in self.blocks]
            earlier = self.grams.get(name)
            self.grams[name] = [a + b for a, b in zip(earlier, grams, strict=True)] if earlier else grams

        return note

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
        return {name: grams for name, grams in self.grams.items() if name not in self.silent}

    def _companions(self, batch: Batch, output: Any) -> dict[str, list[Tensor]]:
        whole = [by_sample(t, self.samples) for t in outputs_of(output) if t.is_floating_point()]
        parts = {
            "input": batch.tensors[:1] if batch.args or batch.kwargs else [],
            "output": [t for t in whole if t is not None],
            "labels": [] if batch.labels is None else [batch.labels],
        }
        return {
            name: [sum(similarity(t[block]) for t in tensors) for block in self.blocks]  # type: ignore[misc]
            for name, tensors in parts.items()
            if tensors
        }

    def _nothing_yet(self, layers: Mapping[str, Any], companions: tuple) -> Observations:
        shapes = {name: weight_shape(self.modules[name]) for name in layers}
        silent = {name: "its module is not called" for name in self.modules if name not in shapes} | self.silent
        return Observations(shapes, silent, companions, MinibatchHSIC.empty(len(shapes) + len(companions)), 0)


def _is_layer(module: nn.Module) -> bool:
    """Whether channels can begin here: convolutions, linear layers, and leaves with a matrix like theirs."""
    if isinstance(module, nn.modules.conv._ConvNd | nn.Linear | nn.MultiheadAttention):
        return True
    weight = module._parameters.get("weight")
    return weight is not None and weight.dim() > 1 and not module._modules
