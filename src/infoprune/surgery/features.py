"""SendFeatures: which features of one layer cross to the other machine, and the bit stream in which they do."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from infoprune.errors import BadArtifact, BadStream, StalePlan
from infoprune.graph.slicing import Removal
from infoprune.graph.slots import Site
from infoprune.surgery.checked import fields_of, integer, keys, name_of, sequence
from infoprune.surgery.edit import Edit, edits, stale
from infoprune.wire import Part, Selection, codecs, decode, describe, encode
from infoprune.wire.codec import codec_at, qp_of
from infoprune.wire.selection import MOST_FEATURES


@edits.register("send_features")
@dataclass(frozen=True)
class SendFeatures(Edit):
    """The output of `layer`, maps [B, C, H, W], goes out as `selection` says; what is not sent is zero on arrival.

    In a model that stays whole, `prune_` lets only the sent features pass that layer: the network then computes what
    the two halves compute without loss on the way. No tensor shrinks and no name changes. `encode` and `decode` are the
    way itself.

    >>> from infoprune.wire import HEVC
    >>> SendFeatures("layer2", Selection.soft(8, [0, 3], HEVC(30))).keeps
    8
    """

    kind: ClassVar[str] = "send_features"

    layer: str
    selection: Selection

    @property
    def site(self) -> Site:
        return Site(self.layer, self.selection.size, "features")

    @property
    def keeps(self) -> int:
        return len(self.selection.kept)

    def encode(self, features: Tensor) -> bytes:
        """Features of one image [C, H, W] or several [B, C, H, W] as a bit stream; see `infoprune.wire.encode`."""
        return encode(features, self.selection)

    def decode(self, data: bytes) -> Tensor:
        """The features that arrive; BadStream for any but a stream of `layer`'s features."""
        size = describe(data).selection.size
        if size != self.selection.size:
            raise BadStream(
                f"the stream holds {size} features and {self.layer} has {self.selection.size}; plan() again"
            )
        return decode(data)

    def check(self, model: nn.Module) -> None:
        if self.layer not in dict(model.named_modules()):
            raise StalePlan(f"the model has no module {self.layer}, whose features the plan sends; plan() it again")

    def replace_modules(self, model: nn.Module) -> None:
        _add_hook(model.get_submodule(self.layer), PassSent(self.layer, self.selection.size, self.selection.kept))

    def mask(self, original: nn.Module, removal: Removal) -> None:
        sent = torch.zeros(self.selection.size, 1, 1)
        sent[list(self.selection.kept)] = 1
        _add_hook(original.get_submodule(self.layer), lambda _, __, features: features * sent.to(features))

    def merged(self, other: Edit) -> SendFeatures:
        mine = self.selection
        if not isinstance(other, SendFeatures) or _ways(other.selection) != _ways(mine):
            raise StalePlan(f"the plans send the features of {self.layer} by other codecs; send them by one plan")
        pairs = zip(mine.parts, other.selection.parts, strict=True)
        parts = [Part(tuple(i for i in a.kept if i in set(b.kept)), a.codec) for a, b in pairs]
        if not any(part.kept for part in parts):
            raise StalePlan(
                f"the plans share no feature of {self.layer}, so that nothing would be sent; cut less in one"
            )
        return SendFeatures(self.layer, Selection(mine.size, tuple(part for part in parts if part.kept)))

    def host_ratios(self, model: nn.Module) -> dict[nn.Module, float]:
        raise ValueError(f"the features of {self.layer} stay in the network, which no ratio can say; use prune_()")

    def to_json(self) -> dict[str, Any]:
        parts = [[part.codec.name, qp_of(part.codec), list(part.kept)] for part in self.selection.parts]
        return {"layer": self.layer, "size": self.selection.size, "parts": parts}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SendFeatures:
        fields = keys(data, "edit", {"layer", "size", "parts"})
        size = integer(fields["size"], "size", 1, MOST_FEATURES)
        parts = tuple(_part(item, size) for item in sequence(fields["parts"], "parts", 2))
        return cls(name_of(fields["layer"]), Selection(size, parts))


@dataclass(frozen=True)
class PassSent:
    """A forward hook: of the layer's features only those that are sent go on."""

    layer: str
    size: int
    kept: tuple[int, ...]

    def __call__(self, _: nn.Module, __: Any, features: Any) -> Tensor:
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        if not isinstance(features, Tensor) or features.dim() != 4 or features.shape[1] != self.size:
            raise stale(f"the output of {self.layer}", shape, f"maps [B, {self.size}, H, W]")
        kept = torch.tensor(self.kept, device=features.device)
        return torch.zeros_like(features).index_copy(1, kept, features.index_select(1, kept))


def _add_hook(module: nn.Module, hook: Any) -> None:
    """In a container of its own, so that taking the old one back undoes it."""
    module._forward_hooks = OrderedDict(module._forward_hooks)
    module.register_forward_hook(hook)


def _ways(selection: Selection) -> tuple[object, ...]:
    return (selection.size, *(part.codec for part in selection.parts))


def _part(data: Any, size: int) -> Part:
    codec, qp, kept = fields_of(data, "part", 3)
    indices = tuple(integer(k, "kept", 0, size - 1) for k in sequence(kept, "kept", size))
    if not isinstance(codec, str) or codec not in codecs:
        raise BadArtifact(f"there is no codec {codec!r:.60}; known: {', '.join(codecs)}")
    return Part(indices, codec_at(codecs[codec], integer(qp, "qp", 0, 255)))
