"""A recipe as data: one frozen dataclass a section, one level deep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from infoprune.budgets import Budget, budgets
from infoprune.budgets.latency import Latency
from infoprune.family import member_name
from infoprune.finetune import Training
from infoprune.observe.patches import CELLS
from infoprune.observe.tasks import Estimate
from infoprune.planning.shares import Rounding

SCHEMA = 1


def epochs(count: float) -> str:
    """In words, as people say it."""
    return f"{count:g} epoch{'' if count == 1 else 's'}"


Layers = tuple[str, ...]


@dataclass(frozen=True)
class ModelSection:
    """A network by name; `weights` is a file, or it is trained first for `train_epochs` at a peak of `train_lr`.

    With `file` it is what `name` makes in that Python file; `options` are what it is made with.
    """

    name: str
    file: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    num_classes: int | None = None
    weights: str | None = None
    pretrained: bool = False
    train_epochs: float = 0.0
    train_lr: float = 0.1


@dataclass(frozen=True)
class DataSection:
    """A data set by name; `calibration` pictures are observed. Further keys are the data set's own options.

    With `file` it is what `name` gives in that Python file.
    """

    name: str
    file: str | None = None
    root: str | None = None
    size: int | None = None
    batch: int = 128
    workers: int = 0
    calibration: int = 512
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ImportanceSection:
    """What ranks units; further keys are its options, which have the importance's own defaults."""

    name: str = "capacity_independence"
    options: Mapping[str, Any] = field(default_factory=dict)


UNLESS_TOLD = ImportanceSection("capacity_independence", {"sigma": 0.5, "readers": True})
"""What ranks units where nothing is said of it: the best of the criteria that see weights alone and are ours."""


@dataclass(frozen=True)
class LayerImportanceSection:
    """What weighs layers; further keys are its options. Unless told they are measured, since a recipe has the data."""

    name: str = "curves"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BudgetSection:
    """`limits`: a share that remains, or an amount, as each budget reads it. Or `rates`: the share that leaves.

    One limit may be a list that falls, such as `macs: [0.75, 0.5]`: a family of networks, each inside the one before.
    `rates` and `floor` are one for all layers, or by the names, subtrees and globs of layers. `rounding` of what rates
    leave is "up" as printed, or "down" as a stock pruner has it. A latency is that of `batch` pictures at once, of one
    unless told. `tied: true` keeps one width in all blocks, globs in those they mean.
    """

    limits: Mapping[str, float | str | tuple[float | str, ...]] = field(default_factory=dict)
    rates: float | Mapping[str, float] | None = None
    batch: int | None = None
    round_to: int = 1
    floor: float | Mapping[str, float] = 0.1
    utility: float = -1.0
    solver: str | None = None
    ignored_layers: Layers = ()
    rounding: Rounding = "up"
    tied: bool | Layers = False

    @property
    def budgets(self) -> dict[str, Budget]:
        """Each under the words that name it here, such as "macs 0.5"; of a family, those of all members."""
        words = ((name, limit, limit if isinstance(limit, str) else f"{limit:g}") for name, limit in self._each_limit())
        return {f"{name} {word}": self._budget(name, limit) for name, limit, word in words}

    @property
    def sizes(self) -> dict[str, BudgetSection]:
        """Of a family the section of each member by its name, largest first; empty where no limit is a list."""
        listed = next((name for name, limit in self.limits.items() if isinstance(limit, tuple)), None)
        sizes = self.limits[listed] if listed is not None else ()
        assert isinstance(sizes, tuple)
        return {member_name(one): replace(self, limits={**self.limits, listed: one}) for one in sizes}

    def _each_limit(self) -> Iterator[tuple[str, float | str]]:
        for name, limit in self.limits.items():
            yield from ((name, one) for one in (limit if isinstance(limit, tuple) else (limit,)))

    def _budget(self, name: str, limit: float | str) -> Budget:
        budget = budgets[name].parse(limit)
        return replace(budget, batch=self.batch) if isinstance(budget, Latency) and self.batch is not None else budget


@dataclass(frozen=True)
class DepthSection:
    """Whole blocks leave in stages with training between: to `keep_units` in `stages` steps, or as `clusters` says.

    With `probe` each stage tries every number of units, trains each for that share of the epochs and takes the fewest
    that lose at most `tolerance` of the accuracy on pictures kept back from training. `joint`: one plan shares the
    budget between blocks and channels instead.
    """

    stages: int = 1
    keep_units: int | None = None
    clusters: tuple[int, ...] = ()
    strategy: Literal["clusters", "centroids", "largest", "random", "greedy"] = "clusters"
    samples: int = 2048
    joint: bool = False
    probe: float = 0.0
    tolerance: float = 0.01


@dataclass(frozen=True)
class TokensSection:
    """Tokens leave: `keep` is the share of MACs that remains, with one ratio at the usual blocks.

    Or `schedule` says which share of the tokens that arrive at a block goes on: blocks by number or name.
    """

    keep: float | None = None
    schedule: Mapping[str, float] = field(default_factory=dict)
    score: str = "capacity_independence"


@dataclass(frozen=True)
class SplitSection:
    """The network is cut behind the layer `at`, and `share` of its features travel, best first by information.

    With `qp` the others travel as well, HEVC-coded at that quality; without it they are zero on arrival. `tasks` are
    those whose information counts (all alike without), `patch` the side of the patches that are looked at. Output
    patches are clustered by their averages over `cells` x `cells` parts. The estimate `value` counts patches whole, as
    printed; where that gives all features one score, the log and the report say so.
    """

    at: str
    share: float
    qp: int | None = None
    tasks: tuple[str, ...] = ()
    patch: int = 2
    estimate: Estimate = "excess"
    cells: int = CELLS


@dataclass(frozen=True)
class SweepSection:
    """At a split every ranking of the features is compared, on the first `pictures` that are held out.

    Hard selection at `shares`, soft selection with `bases` as the shares that travel as levels and the others at each
    of `qps` by each of `encoders`. Rankings are those by information about each task and about all, by l1, l2 and
    geometric median, and at random. The report draws scores by share and by bytes, and who wins for which weights of
    the tasks.
    """

    shares: tuple[float, ...] = (0.9375, 0.875, 0.75, 0.5)
    bases: tuple[float, ...] = (0.75, 0.5)
    qps: tuple[int, ...] = (10, 20, 30, 40)
    encoders: tuple[str, ...] = ("hevc",)
    pictures: int = 64


@dataclass(frozen=True)
class CompensateSection:
    """After surgery and before tuning, what left is said by what stays, fitted on `samples` pictures without labels.

    `compensate: false` leaves it out.
    """

    samples: int = 512


@dataclass(frozen=True)
class MatchSection:
    """After compensation and before tuning, blocks are trained for `steps` to pass on what the dense ones do.

    It needs no labels: `samples` pictures, an eighth of which judge whether the new weights stand.
    """

    steps: int = 300
    lr: float = 1e-3
    samples: int = 1024


@dataclass(frozen=True)
class ExportSection:
    """Write the pruned network for deployment as well, to model.onnx beside the artefact.

    With `int8` the dense and the pruned one are quantised too, on the first training pictures, to dense-int8.onnx and
    model-int8.onnx; where pictures are named, both are judged as the other networks of the run are.
    """

    format: Literal["onnx"] = "onnx"
    int8: bool = False


@dataclass(frozen=True)
class ReportSection:
    """What is compared at the end. Random and L2 at the same widths are tuned for `baseline_epochs` (0: not).

    With `tensorboard` the metrics are written to tensorboard/ in the run as well.
    """

    latency: bool = True
    baseline_epochs: float = 1.0
    tensorboard: bool = False


@dataclass(frozen=True)
class Recipe:
    """Everything that a run depends on."""

    model: ModelSection
    data: DataSection
    importance: ImportanceSection = UNLESS_TOLD
    layer_importance: LayerImportanceSection = LayerImportanceSection()
    budget: BudgetSection | None = None
    depth: DepthSection | None = None
    tokens: TokensSection | None = None
    split: SplitSection | None = None
    sweep: SweepSection | None = None
    compensate: CompensateSection | None = CompensateSection()
    match: MatchSection | None = None
    finetune: Training = field(default_factory=Training)
    export: ExportSection | None = None
    report: ReportSection = ReportSection()
    seed: int = 0
