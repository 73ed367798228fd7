"""Information-theoretic pruning and compression whose numbers hold.

Importing this loads nothing more: a name's module is imported when the name is first used.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what readers and type checkers see; the tables below say the same to Python
    from infoprune import budgets as budgets
    from infoprune import errors as errors
    from infoprune import importance as importance
    from infoprune import layerwise as layerwise
    from infoprune import split as split
    from infoprune import tokens as tokens
    from infoprune.artifact import load as load
    from infoprune.artifact import plan_between as plan_between
    from infoprune.artifact import save as save
    from infoprune.artifact import save_plain as save_plain
    from infoprune.compensation import Compensation as Compensation
    from infoprune.compensation import compensate_ as compensate_
    from infoprune.depth import DepthPath as DepthPath
    from infoprune.depth import plan_depth as plan_depth
    from infoprune.depth import plan_depth_and_width as plan_depth_and_width
    from infoprune.depth import skip_units as skip_units
    from infoprune.depth import stages as stages
    from infoprune.depth import unit_energies as unit_energies
    from infoprune.errors import InfopruneError as InfopruneError
    from infoprune.export import Exported as Exported
    from infoprune.export import Quantised as Quantised
    from infoprune.export import export as export
    from infoprune.family import Family as Family
    from infoprune.family import family as family
    from infoprune.finetune import Matching as Matching
    from infoprune.finetune import match_ as match_
    from infoprune.graph import Graph as Graph
    from infoprune.importance.register_with_host import register as register
    from infoprune.measure import Measurement as Measurement
    from infoprune.measure import measure as measure
    from infoprune.observe import Observations as Observations
    from infoprune.observe import observe as observe
    from infoprune.planning import plan as plan
    from infoprune.surgery import Certificate as Certificate
    from infoprune.surgery import Plan as Plan
    from infoprune.surgery import certificate_of as certificate_of
    from infoprune.surgery import prune_ as prune_
    from infoprune.surgery import rebuild_optimizer as rebuild_optimizer
    from infoprune.timing import LatencyComparison as LatencyComparison
    from infoprune.timing import compare_latency as compare_latency
    from infoprune.tokens import TokenPath as TokenPath

__version__: str  # read when it is asked for
PACKAGES = ("budgets", "errors", "importance", "layerwise", "split", "tokens")
NAMES = {
    "artifact": ("load", "plan_between", "save", "save_plain"),
    "compensation": ("Compensation", "compensate_"),
    "depth": ("DepthPath", "plan_depth", "plan_depth_and_width", "skip_units", "stages", "unit_energies"),
    "errors": ("InfopruneError",),
    "export": ("Exported", "Quantised", "export"),
    "family": ("Family", "family"),
    "finetune": ("Matching", "match_"),
    "graph": ("Graph",),
    "importance.register_with_host": ("register",),
    "measure": ("Measurement", "measure"),
    "observe": ("Observations", "observe"),
    "planning": ("plan",),
    "surgery": ("Certificate", "Plan", "certificate_of", "prune_", "rebuild_optimizer"),
    "timing": ("LatencyComparison", "compare_latency"),
    "tokens": ("TokenPath",),
}
_HOMES = {name: f"{__name__}.{module}" for module, names in NAMES.items() for name in names}


class _Public(ModuleType):
    """This package. Some functions are called as the module that defines them, and win over it."""

    def __getattr__(self, name: str) -> Any:
        if name in _HOMES:
            value = getattr(import_module(_HOMES[name]), name)
        elif name == "__version__":
            from importlib.metadata import version

            value = version(__name__)
        elif name.startswith("_"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        else:
            value = _module(name)
        vars(self)[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        """Python binds every submodule here once it is imported; functions of that name stay."""
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        own = (name for name in super().__dir__() if name.startswith("__"))
        return sorted({*own, *PACKAGES, *_HOMES})


def _module(name: str) -> ModuleType:
    path = f"{__name__}.{name}"
    try:
        return import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


sys.modules[__name__].__class__ = _Public
