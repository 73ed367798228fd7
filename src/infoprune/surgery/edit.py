"""An edit is one change to a model, as plain data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

from torch import nn

from infoprune.errors import StalePlan
from infoprune.graph.labels import Inexactness
from infoprune.graph.slicing import Removal, SitePart
from infoprune.graph.slots import Site
from infoprune.registry import Registry


class Added(NamedTuple):
    """A tensor that comes new: its shape, and the name of the tensor from whose values it starts ("" where none)."""

    shape: tuple[int, ...]
    of: str = ""


class Edit(ABC):
    """One change to a model, as data that survives JSON; `edits` holds the classes, each under its `kind`."""

    kind: ClassVar[str]
    late: ClassVar[bool] = False  # it goes into modules that other edits may put in place, so it comes after them

    @property
    @abstractmethod
    def site(self) -> Site:
        """Where it cuts."""

    @property
    @abstractmethod
    def keeps(self) -> int:
        """How many of the site's units stay."""

    @abstractmethod
    def check(self, model: nn.Module) -> None:
        """Raise StalePlan unless the model has what this edit was planned for."""

    @abstractmethod
    def merged(self, other: Edit) -> Edit:
        """Both edits of one site as one: what both keep stays."""

    @property
    def inexact(self) -> tuple[Inexactness, ...]:
        """The statistics that it changes by design."""
        return ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader of the paper would not expect of it, though both sides of a certificate agree on it."""
        return ()

    def parts(self) -> Iterable[SitePart]:
        """What it takes out of tensors: (slots, attributes, mask of the units that leave)."""
        return ()

    def replace_modules(self, model: nn.Module) -> None:
        """What it puts in the place of modules, in place, after all tensors have been cut."""

    def mask(self, original: nn.Module, removal: Removal) -> None:
        """Make what it replaces contribute nothing instead, in place; tensors are masked already, by `removal`."""

    @property
    def lost(self) -> Mapping[str, tuple[int, ...]]:
        """Names and shapes of the tensors that leave whole."""
        return {}

    @property
    def added(self) -> Mapping[str, Added]:
        """The tensors that `replace_modules` puts into the model's state, where the model is without values too.

        What they take the place of is in `lost`, and no other edit of the same plan may touch it.
        """
        return {}

    @abstractmethod
    def host_ratios(self, model: nn.Module) -> dict[nn.Module, float]:
        """The same cut as entries of torch-pruning's `pruning_ratio_dict`."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """Plain values; `kind` is added by the plan."""

    @classmethod
    @abstractmethod
    def from_json(cls, data: Mapping[str, Any]) -> Edit:
        """The edit that `to_json` told; every value is a stranger's: BadArtifact or ValueError where one can't be.

        `infoprune.surgery.checked` has the checks.
        """


edits: Registry[type[Edit]] = Registry("edit")


def stale(name: str, actual: object, needed: object) -> StalePlan:
    return StalePlan(
        f"{name} is {actual} in this model and {needed} in the plan; plan() the model at hand, or load the one "
        "that the plan was made for"
    )
