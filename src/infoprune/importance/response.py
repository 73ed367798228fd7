"""What a channel knows of the labels: the base of scores that set each channel's responses beside them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field

from torch import Tensor

from infoprune.errors import StaleObservations, UnusableData
from infoprune.graph.member import Member, part_of, stands_in
from infoprune.importance.base import Importance
from infoprune.observe import Observations
from infoprune.observe.responses import Responses

LEAST = 4  # samples of a class; rarer classes are left out, since two or three samples lie apart by chance alone


@dataclass(frozen=True)
class ResponseImportance(Importance):
    """Scores a channel by how its responses depend on the labels.

    `seen` comes from `infoprune.observe` of the same model with class labels; it keeps the responses of all
    channels to at most 512 samples: the mean and the root mean square of each map, before norm and
    activation. Classes with fewer than 4 of these samples are left out. A channel belongs to the layer that
    computes it: members whose inputs a group couples, and layers that were not called, say nothing.
    """

    seen: Observations = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.seen, Observations):
            raise TypeError(f"seen is {type(self.seen).__name__}; pass what infoprune.observe(model, loader) gave")
        counts = self.responses.labels.unique(return_counts=True)[1]
        if int((counts >= LEAST).sum()) < 2:
            raise UnusableData(
                f"fewer than two of {len(counts)} classes have {LEAST} of the {int(counts.sum())} samples that are "
                "kept; observe() more samples, or coarser labels"
            )

    @property
    def responses(self) -> Responses:
        """What single channels answered."""
        if self.seen.responses is None:
            raise UnusableData("no class labels were observed; give observe() batches (inputs, one integer a sample)")
        return self.seen.responses

    @abstractmethod
    def dependence(self, responses: Tensor, labels: Tensor) -> Tensor:
        """One score a channel, from responses channels x samples x numbers and labels of at least two classes."""

    def score(self, member: Member) -> Tensor | None:
        if member.role not in ("out", "depthwise"):
            return None
        responses = self._responses(member)
        if responses is None:
            return None
        index, counts = self.responses.labels.unique(return_inverse=True, return_counts=True)[1:]
        common = counts[index] >= LEAST
        wanted = part_of(member.layer).index[member.index].to(responses.device)
        return self.dependence(responses[wanted][:, common], index[common]).float()

    def _responses(self, member: Member) -> Tensor | None:
        """Channels x samples x numbers, None for a layer that was not called."""
        layers, name = self.responses.layers, member.name
        if stands_in(member.layer):  # its outputs are not a module's, so they were not observed
            return None
        if name not in layers and name in self.seen.silent:
            return None
        now = part_of(member.layer).size
        if name not in layers or layers[name][0] != now:
            was = f"with {layers[name][0]} channels" if name in layers else "nowhere"
            raise StaleObservations(
                f"{name} has {now} channels and was observed {was}; observe() the model as it is now"
            )
        return self.responses.of(name)
