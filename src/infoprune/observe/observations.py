"""The evidence that a pass over calibration data leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.distributed as dist
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from infoprune.errors import BadArtifact, StaleObservations, UnusableData
from infoprune.estimators.hsic import MinibatchHSIC, nhsic_of
from infoprune.estimators.moments import Estimate, GroupedMean
from infoprune.files import replacing, write_tensors
from infoprune.observe.moments import Moments
from infoprune.observe.responses import Responses

Companion = Literal["input", "output", "labels"]
Kernel = Literal["linear", "gaussian"]


@dataclass(frozen=True, eq=False)
class Observations:
    """How much every two layers share, and each with the input, the output and the labels, from minibatches.

    `layers` maps the names of the observed modules to the shapes of their weights; `silent` says why
    others have no evidence. Row i of the HSIC matrices in `statistic` belongs to the i-th layer;
    `companions` follow the layers. `responses` holds what single channels answered to a part of the
    samples, where the labels were classes. `moments` holds means and covariances of what layers read, where asked for.
    `printed` is the kernel where HSIC is the biased one of all samples at once.
    """

    layers: Mapping[str, tuple[int, ...]]
    silent: Mapping[str, str]
    companions: tuple[Companion, ...]
    statistic: MinibatchHSIC
    samples: int
    responses: Responses | None = None
    moments: Moments | None = None
    printed: Kernel | None = None

    def update(self, grams: Tensor) -> Observations:
        """With one more batch, given as the Gram matrices of layers and companions, rows x n x n."""
        statistic = self.statistic.update(grams, unbiased=self.printed is None)
        return replace(self, statistic=statistic, samples=self.samples + grams.shape[-1])

    def merge(self, other: Observations) -> Observations:
        """With the batches of `other` after these; equal to having seen all of them here."""
        if (self.layers, self.companions) != (other.layers, other.companions):
            raise StaleObservations("the observations are of different layers; observe() the same model everywhere")
        if self.printed or other.printed:
            raise UnusableData("HSIC as printed is of all samples at once; observe() them in one call")
        statistic = self.statistic.merge(other.statistic)
        responses = self.responses.merge(other.responses) if self.responses and other.responses else None
        moments = self.moments.merge(other.moments) if self.moments and other.moments else None
        samples = self.samples + other.samples
        return replace(self, statistic=statistic, samples=samples, responses=responses, moments=moments)

    def all_reduce(self, group: dist.ProcessGroup | None = None) -> Observations:
        """Merged over all processes of an initialised process group, in the order of their ranks."""
        parts: list[Any] = [None] * dist.get_world_size(group)
        dist.all_gather_object(parts, self, group)
        merged = parts[0]
        for other in parts[1:]:
            merged = merged.merge(other)
        return merged

    def compute(self) -> Estimate:
        """nHSIC between all rows (layers, then companions), with standard errors.

        An error is NaN where a single block of samples carries the evidence.
        """
        self._require_variation(range(len(self.layers) + len(self.companions)))
        return self.statistic.of(nhsic_of)

    def estimate(self, function: Callable[[Tensor], Tensor], rows: Sequence[int]) -> Estimate:
        """A function of these rows' mean HSIC matrix, G x R x R -> G x anything, with its standard error."""
        self._require_variation(rows)
        index = torch.tensor(rows)
        return self.statistic.of(lambda hsic: function(hsic[..., index[:, None], index]))

    def row(self, name: str) -> int:
        """The row of a layer."""
        return list(self.layers).index(name)

    def companion(self, name: Companion) -> int:
        """The row of the input, the output or the labels."""
        if name not in self.companions:
            why = {
                "labels": "the loader gave inputs alone; give (inputs, labels) or use target='output'",
                "input": "the model took no tensor as its first argument",
                "output": "the model gave back no floating point tensor with one entry a sample",
            }
            raise UnusableData(f"nothing was observed of the {name}: {why[name]}")
        return len(self.layers) + self.companions.index(name)

    def require_current(self, model: nn.Module, names: Iterable[str]) -> None:
        """Raise `StaleObservations` unless these layers are as they were when they were observed."""
        modules = dict(model.named_modules())
        for name in names:
            if name not in self.layers and name not in self.silent:
                raise StaleObservations(f"{name} was never observed; observe() the model as it is now")
            if name not in self.layers:
                continue
            seen, now = self.layers[name], weight_shape(modules[name]) if name in modules else None
            if seen != now:
                raise StaleObservations(
                    f"{name} was observed with a weight of shape {seen} and now has {now}; "
                    "observe() again after pruning"
                )

    def save(self, path: str | Path) -> None:
        """Write everything to one safetensors file."""
        about = {
            "layers": {name: list(shape) for name, shape in self.layers.items()},
            "silent": dict(self.silent),
            "companions": list(self.companions),
            "samples": self.samples,
            "responses": self.responses.shapes() if self.responses else None,
            "moments": self.moments.shapes() if self.moments else None,
            "printed": self.printed,
        }
        tensors = vars(self.statistic.batches) | (self.responses.tensors() if self.responses else {})
        tensors |= self.moments.tensors() if self.moments else {}
        with replacing(Path(path)) as draft:
            write_tensors(draft, tensors, {"infoprune.observations": json.dumps(about)})

    @classmethod
    def load(cls, path: str | Path) -> Observations:
        """Read what `save` wrote."""
        try:
            with safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {})["infoprune.observations"])
                tensors = {name: file.get_tensor(name) for name in ("sums", "weights", "batches")}
                kept = about.get("responses")
                responses = None if kept is None else Responses.read(kept, file.get_tensor)
                read = about.get("moments")
                moments = None if read is None else Moments.read(read, file.get_tensor)
                printed = _kernel(about.get("printed"))
            layers = {str(name): tuple(int(n) for n in shape) for name, shape in about["layers"].items()}
            companions = tuple(name for name in get_args(Companion) if name in about["companions"])
            silent = {str(name): str(why) for name, why in about["silent"].items()}
            rows = len(layers) + len(companions)
            groups = len(tensors["weights"])
            shapes = [tuple(t.shape) for t in tensors.values()]
            if shapes != [(groups, rows, rows), (groups,), ()] or len(companions) != len(about["companions"]):
                raise ValueError(f"tensors of shapes {shapes} don't fit {rows} rows")
            statistic = MinibatchHSIC(GroupedMean(**tensors))
            return cls(layers, silent, companions, statistic, int(about["samples"]), responses, moments, printed)
        except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise BadArtifact(f"{path} does not hold observations ({error}); save them again with .save()") from error

    def __str__(self) -> str:
        batches = int(self.statistic.batches.batches)
        text = f"{len(self.layers)} layers with {', '.join(self.companions)}, "
        text += f"{self.samples} samples in {batches} blocks"
        return text + (f"; {len(self.silent)} layers without evidence" if self.silent else "")

    def _require_variation(self, rows: Sequence[int]) -> None:
        names = [*self.layers, *(f"the {name}" for name in self.companions)]
        size = self.statistic.batches.mean().diagonal()
        constant = [names[row] for row in rows if size[row] <= 0]
        if constant:
            raise UnusableData(
                f"{', '.join(constant[:5])} ({len(constant)} in all) did not vary between samples, so "
                "nHSIC is not defined; give varied samples, and put layers that are dead in ignored_layers"
            )


def _kernel(name: Any) -> Kernel | None:
    if name is not None and name not in get_args(Kernel):
        raise ValueError(f"there is no kernel {name!r}")
    return name


def weight_shape(module: nn.Module) -> tuple[int, ...]:
    if isinstance(module, nn.MultiheadAttention):
        return (3 * module.embed_dim if module.in_proj_weight is None else len(module.in_proj_weight), module.embed_dim)
    weight = getattr(module, "weight", None)
    return tuple(weight.shape) if isinstance(weight, Tensor) else ()
