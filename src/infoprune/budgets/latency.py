"""Time on the user's own machine, as a price: layers measured on a grid of widths, then the whole network.

    latency(counts) = s sum_l t_l(in_l, out_l) + e elements + c,    t_l = q in out + a in + b out + d,

all coefficients non-negative, so that the price is a posynomial. q, a, b and d come from timing layer l
alone at a few widths; s, e and c from timing the network whole and uniformly thinned. `elements` counts
what the layers give out, as `activations` does: norms, activation functions and sums cost time for each
of them.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import platform
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from infoprune.allocation import Posynomial
from infoprune.budgets.activations import elements
from infoprune.budgets.base import Amounts, Budget, Limit, budgets, refuse_unnamed
from infoprune.budgets.layer_calls import Call, calls_of
from infoprune.errors import Untraceable
from infoprune.files import remove
from infoprune.graph import Graph
from infoprune.graph.arguments import Arguments
from infoprune.graph.evaluating import evaluating
from infoprune.graph.slicing import Removal, device_of, shrink
from infoprune.graph.slots import gone
from infoprune.graph.tape import Extent
from infoprune.observe import present
from infoprune.progress import counting
from infoprune.timing import LatencyComparison, compare_latency, interleaved_ms, milliseconds

log = logging.getLogger("infoprune")
VERSION = 2  # of what is measured and how; older cache entries are not found any more
SHARES = (0.25, 0.5, 1.0)  # widths at which a layer is timed
THINNED = (0.25, 0.5, 0.75, 1.0)  # widths at which the network is timed
SECONDS = 0.05  # a layer at one width
NETWORK_ROUNDS, NETWORK_SECONDS = 15, 3.0


def _duration_us(limit: Limit) -> float:
    if not isinstance(limit, str):
        raise ValueError(f"{limit} has no unit")
    return 1e3 * milliseconds(limit)


def latency(
    *unnamed: Any,
    keep: float | None = None,
    at_most: float | str | None = None,
    device: torch.device | str | None = None,
    batch: int | None = None,
    refine: bool = False,
    progress: bool = True,
) -> Latency:
    """Predicted median time of one forward pass here and now, in microseconds.

    The first use measures for some seconds to a minute; results are kept under `$XDG_CACHE_HOME/infoprune/latency` by a
    hash of layer shapes, threads, processor and torch version. Kernels prefer multiples of 8 or 16 channels, which no
    smooth price shows: plan with `round_to=8`, and check the built model with `infoprune.compare_latency`.

    Args:
        *unnamed: Refused; say `keep=` or `at_most=`.
        keep: The share of the dense network's time that may be left.
        at_most: The longest time: "8ms", "1.5s" or "800us"; a bare number means milliseconds.
        device: Where to measure; by default where the model is.
        batch: Samples in a batch; by default those of the example inputs.
        refine: Build what was planned, measure it, and plan again with a smaller limit until it is measured to meet
            this one.
        progress: Show how far measuring has come.
    """
    if unnamed:
        refuse_unnamed(Latency.resource, *unnamed)
    limit = None if at_most is None else 1e3 * milliseconds(at_most)
    return Latency(keep=keep, at_most=limit, device=device, batch=batch, refine=refine, progress=progress)


@budgets.register("latency")
@dataclass(frozen=True, kw_only=True)
class Latency(Budget):
    """Predicted median time of one forward pass here and now, on `device` at `batch` samples, in microseconds."""

    resource: ClassVar[str] = "latency_us"
    amounts: ClassVar[Amounts] = Amounts("a duration such as 8ms", _duration_us)

    device: torch.device | str | None = None
    batch: int | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch is {self.batch}; give a whole number of samples, at least 1")

    def compare(self, dense: nn.Module, pruned: nn.Module, inputs: Any) -> LatencyComparison:
        """Both are timed in turn where they are, for some seconds."""
        at_most = None if self.at_most is None else self.at_most / 1e3
        return compare_latency(
            dense, pruned, _resized_inputs(Arguments.of(inputs), self.batch), keep=self.keep, at_most=at_most
        )

    def cost(self, graph: Graph) -> Posynomial:
        if graph.by_shapes:
            raise Untraceable("latency is measured on a network that runs; leave out shapes_alone or this budget")
        device = device_of(graph.model) if self.device is None else present(self.device)
        inputs = _resized_inputs(graph.inputs, self.batch)
        shapes = [_Shape.of(call, graph) for call in calls_of(graph.model, inputs)]
        fits = _measured_shapes(shapes, device, progress=self.progress)
        layers = graph.price([term for shape in shapes for term in shape.terms(fits[shape.key])])
        parts = [layers, elements(graph), Posynomial([1.0], np.zeros((1, len(graph.sites))))]
        network = _Network(graph, inputs, device, tuple(shape.key for shape in shapes))
        scales = network.fitted(parts)
        return sum((part * scale for part, scale in zip(parts, scales, strict=True)), 0 * parts[-1]).simplified()


# ------------------------------------------------------------------------------------- single layers


@dataclass(frozen=True)
class _Shape:
    """A layer call in the terms that decide how long it takes; `key` says all of them.

    `varies` says which of the weight's first two axes depend on counts.
    """

    call: Call
    extents: tuple[Extent, Extent]
    varies: tuple[bool, bool]

    @classmethod
    def of(cls, call: Call, graph: Graph) -> _Shape:
        first, second = call.weight_extents(graph)
        return cls(call, (first, second), (_depends(graph, first), _depends(graph, second)))

    @property
    def key(self) -> str:
        layer, weight = self.call.layer, self.call.weight
        options = {name: vars(layer).get(name) for name in ("stride", "padding", "dilation", "groups", "transposed")}
        about = [type(layer).__name__, tuple(weight.shape), str(weight.dtype), layer.bias is not None, options]
        return repr([*about, self.call.input, self.varies])

    def widths(self) -> list[tuple[int, int]]:
        """The sizes of the weight's first two axes at which to time."""
        first, second = self.call.weight.shape[:2]
        return list(product(_grid(first, self.varies[0]), _grid(second, self.varies[1])))

    def build(self, first: int, second: int, device: torch.device) -> tuple[nn.Module, Tensor]:
        """The layer with a weight of this size, and inputs for it."""
        layer, weight = self.call.layer, self.call.weight
        groups = self._groups(first)
        transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
        inputs, outputs = (first, second * groups) if transposed else (second * groups, first)
        options = {"dtype": weight.dtype, "device": device}
        small: Any = copy.copy(layer)
        small._forward_hooks, small._forward_pre_hooks = OrderedDict(), OrderedDict()
        new = nn.Parameter(torch.randn(first, second, *weight.shape[2:], **options) / second, requires_grad=False)
        bias = None if layer.bias is None else nn.Parameter(torch.zeros(outputs, **options), requires_grad=False)
        small._parameters = {"weight": new, "bias": bias}
        if isinstance(layer, nn.modules.conv._ConvNd):
            small.groups = groups
        shape = list(self.call.input)
        shape[self.call.channel_axis] = inputs
        return small, torch.randn(shape, **options)

    def terms(self, fit: Sequence[float]) -> list[tuple[float, tuple[Extent, ...]]]:
        """The fitted time as products of extents."""
        first, second = self.extents
        return list(zip(fit, [(first, second), (first,), (second,), ()], strict=True))

    def _groups(self, first: int) -> int:
        """Groups leave together with the channels they hold, unless each of them can shrink."""
        groups = self.call.groups
        if groups == 1 or self.varies[1]:
            return groups
        left = max(1, groups * first // len(self.call.weight))
        return left if first % left == 0 else first


def _depends(graph: Graph, extent: Extent) -> bool:
    return bool(graph.price([(1, (extent,))]).exponents.sum())


def _grid(size: int, varies: bool) -> list[int]:
    return sorted({max(1, round(share * size)) for share in SHARES}) if varies else [size]


def _measured_shapes(
    shapes: Sequence[_Shape], device: torch.device, *, progress: bool
) -> Mapping[str, Sequence[float]]:
    """key -> q, a, b, d of its time in microseconds."""
    distinct = {shape.key: shape for shape in shapes}
    fits = {}
    with counting(len(distinct), "time layers", "shape", shown=progress) as done:
        for key, shape in distinct.items():
            fits[key] = _cached(["layer", key], device, lambda s=shape: _fit_layer(s, device))
            done(1)
    return fits


def _fit_layer(shape: _Shape, device: torch.device) -> list[float]:
    widths = shape.widths()
    times = [_time_us(*shape.build(*width, device)) for width in widths]
    first, second = np.array(widths, dtype=float).T
    return non_negative_fit(np.stack([first * second, first, second, np.ones(len(first))], 1), np.array(times))


def _time_us(layer: nn.Module, x: Tensor) -> float:
    from torch.utils.benchmark import Timer  # looks for compilers when it is imported

    timer = Timer("run(x)", globals={"run": _inferring(layer), "x": x}, num_threads=torch.get_num_threads())
    return 1e6 * min(timer.blocked_autorange(min_run_time=SECONDS).times)  # other blocks were disturbed


def _inferring(run: Callable[..., Any]) -> Callable[..., Any]:
    def inferring(*args: Any) -> Any:
        with torch.inference_mode():
            return run(*args)

    return inferring


def non_negative_fit(columns: np.ndarray, times: np.ndarray) -> list[float]:
    """Coefficients >= 0 for which `columns` @ coefficients has the smallest relative errors."""
    from scipy.optimize import nnls

    scale = columns.max(0)
    scale[scale == 0] = 1
    coefficients, _ = nnls(columns / scale / times[:, None], np.ones(len(times)))
    return (coefficients / scale).tolist()


# --------------------------------------------------------------------------------- the whole network


@dataclass(frozen=True)
class _Network:
    """A network that can be thinned evenly and timed; `layers` are the keys of what it runs."""

    graph: Graph
    inputs: Arguments
    device: torch.device
    layers: tuple[str, ...]

    def fitted(self, parts: Sequence[Posynomial]) -> Sequence[float]:
        """How much each part counts, so that together they give the network's time in microseconds."""
        sites = [(c.site.name, c.site.size) for c in self.graph.couplings.values()]
        return _cached(["network", *self.layers, sites], self.device, lambda: self._fit(parts))

    def _fit(self, parts: Sequence[Posynomial]) -> list[float]:
        counts = [self._counts(share) for share in THINNED]
        inputs = self.inputs.map(lambda t: t.to(self.device))
        models = [self._thinned(c) for c in counts]
        with ExitStack() as stack:
            for model in models:
                stack.enter_context(evaluating(model))
            runs = [_inferring(lambda m=model: inputs.run(m)) for model in models]
            readings = interleaved_ms(runs, rounds=NETWORK_ROUNDS, seconds=NETWORK_SECONDS, device=self.device)
        columns = np.array([[part(c) for part in parts] for c in counts])
        return non_negative_fit(columns, 1e3 * typical(readings))

    def _counts(self, share: float) -> np.ndarray:
        sizes = np.array([site.size for site in self.graph.sites])
        step = np.where(sizes >= 16, 8, 1)
        return np.minimum(sizes, np.maximum(1, np.round(share * sizes / step).astype(int) * step))

    def _thinned(self, counts: np.ndarray) -> nn.Module:
        couplings = self.graph.couplings.values()
        model = copy.deepcopy(self.graph.model)
        parts = [(c.slots, c.attributes, gone(c.site.size, range(n))) for c, n in zip(couplings, counts, strict=True)]
        shrink(model, Removal.of(parts))
        return model.to(self.device)


def typical(readings: np.ndarray) -> np.ndarray:
    """The last run's median, and for the others the median of their ratios to it: drifts reach a round alike."""
    whole = readings[:, -1:]
    return np.median(readings / whole, 0) * np.median(whole)


def _resized_inputs(inputs: Arguments, batch: int | None) -> Arguments:
    """The first sample, `batch` times; inputs whose first axes differ are not counted by samples and stay."""
    sizes = {len(t) for t in inputs.tensors if t.dim()}
    if batch is None or len(sizes) != 1:
        return inputs
    return inputs.map(lambda t: t[:1].repeat(batch, *[1] * (t.dim() - 1)) if t.dim() else t)


# --------------------------------------------------------------------------------------------- cache


def cache_directory() -> Path:
    """Where measurements of this machine are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "infoprune" / "latency"


def _cached(about: list[Any], device: torch.device, measure: Callable[[], Sequence[float]]) -> list[float]:
    """What `measure` gave when it was last asked about the same thing on the same machine."""
    text = json.dumps([VERSION, _machine(device), *about], default=str)
    path = cache_directory() / f"{hashlib.sha256(text.encode()).hexdigest()}.json"
    known = _read(path)
    if known is not None:
        return known
    values = [float(value) for value in measure()]
    try:
        _keep(path, json.dumps({"about": text, "coefficients": values}))
    except OSError as error:
        log.warning("%s cannot be written (%s); what was measured is used and not kept", path, error.strerror or error)
    return values


def _keep(path: Path, text: str) -> None:
    """The file holds all of the text or is as it was; several processes may measure the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem[:8]}-", suffix=".partial")
    try:
        with open(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        remove(Path(draft))
        raise


def _read(path: Path) -> list[float] | None:
    """Coefficients from the cache; an entry that is not as written is measured again."""
    try:
        values = json.loads(path.read_text())["coefficients"]
        good = isinstance(values, list) and all(isinstance(v, float) and 0 <= v < np.inf for v in values)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return values if good else None


def _machine(device: torch.device) -> list[Any]:
    if device.type == "cuda":
        return [torch.__version__, torch.cuda.get_device_name(device)]
    return [torch.__version__, torch.get_num_threads(), _processor(), torch.backends.cpu.get_cpu_capability()]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
