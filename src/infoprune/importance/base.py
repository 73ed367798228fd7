"""The base of every importance: torch-pruning hands over a group, a criterion scores one member at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, final

import torch
import torch_pruning as tp
from torch import Tensor, nn

from infoprune.errors import BadWeights
from infoprune.graph.member import Member, Role
from infoprune.graph.recomputed import weight_of
from infoprune.importance.normalisation import Normalizer, check_normalizer, normalise
from infoprune.importance.reduction import Reduction, check_reduction, reduce_votes
from infoprune.registry import Registry

importances = Registry("importance")

NORMS = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm, nn.LayerNorm, nn.GroupNorm, nn.PReLU)


class About(NamedTuple):
    """What `infoprune list importances` prints about a class."""

    paper: str
    cost: str
    needs_data: bool
    needs_moments: bool = False  # of what layers read: observe(moments=True)


class GroupItem(Protocol):
    """One entry of a torch-pruning group: `root_idxs[i]` is the root channel that takes `idxs[i]` along."""

    dep: Any
    idxs: Sequence[int]
    root_idxs: Sequence[int | None]


class Unmapped(Exception):
    """The group's indices contradict its layers, so that no score could be put in the right place."""


@dataclass(frozen=True, kw_only=True)
class GroupImportance(tp.importance.Importance):
    """Scores the units of a coupled group from all its layers at once; larger means keep.

    The group is walked once and each layer's indices are mapped to the root's; `normalizer` makes groups comparable
    where a pruner ranks them together.

    Calling it returns a float tensor whose entry i belongs to root index `group[0].idxs[i]`, or None where
    nothing can be scored: no member has an opinion, or the indices contradict the layers (torch-pruning then
    leaves the group alone). Model and group are left as they were found.

    Scores of equal units are equal and stay so: whoever ranks them decides ties. infoprune's own plans order
    by (score, index), so that of two equal units the one with the smaller index goes first.
    """

    about: ClassVar[About] = About(paper="-", cost="unknown", needs_data=False)

    normalizer: Normalizer = None

    def __post_init__(self) -> None:
        check_normalizer(self.normalizer)

    @abstractmethod
    def judge(self, members: Sequence[Member], roots: Sequence[int]) -> Tensor | None:
        """One score for each of the group's `roots`, in their order; None if nothing can be said."""

    @final
    @torch.no_grad()
    def __call__(self, group: Sequence[GroupItem]) -> Tensor | None:
        try:
            members = list(members_of(group))
        except Unmapped:
            return None
        scores = self.judge(members, list(group[0].idxs)) if members else None
        return None if scores is None else normalise(scores, self.normalizer)


@dataclass(frozen=True, kw_only=True)
class Importance(GroupImportance):
    """Scores the units of a coupled group one layer at a time.

    A criterion is a frozen dataclass with a `score`. The rest is done here and in `GroupImportance`: `reduction` merges
    what several layers say about one unit, and a unit that no member scores gets the mean of the others.

    >>> @dataclass(frozen=True)
    ... class L1(Importance):
    ...     def score(self, member):
    ...         return filters(member).abs().sum((1, 2)) if member.role == "out" else None
    >>> L1(reduction="max")
    L1(normalizer=None, reduction='max')
    """

    reduction: Reduction = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_reduction(self.reduction)

    @abstractmethod
    def score(self, member: Member) -> Tensor | None:
        """One score for each entry of `member.index`, in its order; None for a member that says nothing."""

    @final
    def judge(self, members: Sequence[Member], roots: Sequence[int]) -> Tensor | None:
        votes = [(member.root, vote) for member in members if (vote := self._vote(member)) is not None]
        return reduce_votes(votes, len(roots), self.reduction) if votes else None

    def _vote(self, member: Member) -> Tensor | None:
        vote = self.score(member)
        if vote is not None and vote.shape != member.index.shape:
            raise ValueError(
                f"{type(self).__name__} scored {tuple(vote.shape)} units of {member.name}, which has "
                f"{tuple(member.index.shape)} in this group; return one score for each entry of member.index"
            )
        return vote


def filters(member: Member) -> Tensor:
    """All filters of the member's layer, whatever `member.index` selects; see `kernels_of`."""
    return kernels_of(member.layer, member.name)


def reading_filters(member: Member) -> tuple[Tensor, Tensor]:
    """What reads each input channel of the member's layer, as that channel's filter: [inputs, kernels, weights].

    Kernel k is what the layer's k-th output reads of the channel. Where a linear layer reads flattened maps, a channel
    has one input a pixel, and they are one kernel together, as in the convolution that the layer amounts to. The
    second tensor says which filter each entry of `member.index` belongs to.
    """
    layer, name = member.layer, member.name
    weight = _weight(layer)
    if not isinstance(layer, nn.modules.conv._ConvTransposeNd):
        weight = _swapped(weight, getattr(layer, "groups", 1))
    pixels = _pixels(member) if isinstance(layer, nn.Linear) else 1
    if pixels > 1:
        weight = weight.unflatten(0, (-1, pixels)).transpose(1, 2)
    return _as_filters(weight, name), member.index // pixels


def _pixels(member: Member) -> int:
    """How many inputs in a row belong to one channel, throughout a layer that reads flattened maps; otherwise 1."""
    pixels = len(member.index) // max(1, len(member.root.unique()))
    if pixels < 2 or len(member.index) % pixels or _weight(member.layer).shape[1] % pixels:
        return 1
    index, root = member.index.view(-1, pixels), member.root.view(-1, pixels)
    in_rows = (index == index[:, :1] + torch.arange(pixels)).all() and not (index[:, 0] % pixels).any()
    return pixels if in_rows and (root == root[:, :1]).all() else 1


def _weight(layer: nn.Module | nn.Parameter) -> Tensor:
    """A layer's weight, apart from autograd; a bare parameter is its own."""
    return layer.detach() if isinstance(layer, nn.Parameter) else weight_of(layer).detach()


def kernels_of(layer: nn.Module | nn.Parameter, name: str) -> Tensor:
    """A layer's weight as filters of kernels: [output units, kernels of a filter, weights of a kernel].

    A linear layer's neuron is a filter of 1x1 kernels. A grouped filter holds the kernels of its own group
    only, so a depthwise one holds a single kernel. Half precision comes back as float32.

    Raises BadWeights if a value is NaN or infinite.

    >>> kernels_of(nn.ConvTranspose2d(6, 4, 3, groups=2), "up").shape
    torch.Size([4, 3, 9])
    """
    weight = _weight(layer)
    if isinstance(layer, nn.modules.conv._ConvTransposeNd):
        weight = _swapped(weight, layer.groups)
    return _as_filters(weight, name)


def _swapped(weight: Tensor, groups: int) -> Tensor:
    """[in, out / groups, ...] as [out, in / groups, ...], and the other way round."""
    return weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)


def _as_filters(weight: Tensor, name: str) -> Tensor:
    """[filters, kernels, ...] with the weights of a kernel in one axis, in single precision or better, and finite."""
    weight = weight.flatten(2) if weight.ndim > 2 else weight.unsqueeze(2)
    weight = weight if weight.dtype == torch.float64 else weight.float()
    if not weight.sum().isfinite() and not weight.isfinite().all():
        raise BadWeights(f"the weight of {name} holds NaN or infinite values; repair it before pruning")
    return weight


def members_of(group: Sequence[GroupItem]) -> Iterator[Member]:
    """The layers of a group with their part in it, in its order.

    Raises Unmapped where indices and layers disagree. Layers that this package has no use for (embeddings,
    recurrent and attention modules) are left out, and so are those whose root is not known for every index.
    """
    root_idxs = list(group[0].idxs)
    position = {index: place for place, index in enumerate(root_idxs)}
    if len(position) < len(root_idxs):
        raise Unmapped("a root index occurs twice")
    names = getattr(group, "_DG", None)
    everything = torch.arange(len(root_idxs))
    for item in group:
        layer, handler = item.dep.target.module, item.dep.handler
        role = _role(layer, handler)
        triggers = root_idxs if item is group[0] else item.root_idxs
        if role is None or triggers is None or any(trigger is None for trigger in triggers):
            continue
        index = torch.tensor(item.idxs, dtype=torch.long)
        root = everything if triggers == root_idxs else _places(triggers, position)
        _check_range(index, root, _size(layer, role, item.dep.target))
        yield Member(_name(item.dep.target, names), layer, role, index, root)


def _places(triggers: Sequence[int | None], position: Mapping[Any, int]) -> Tensor:
    try:
        return torch.tensor([position[trigger] for trigger in triggers], dtype=torch.long)
    except KeyError as missing:
        raise Unmapped(f"root index {missing} is not among the group's") from None


def size_of(member: Member) -> int:
    """How many indices the axis of the member's layer has that its role names, where that is a layer's own."""
    layer = member.layer
    if isinstance(layer, nn.Parameter):
        return int(member.index.max()) + 1
    return _size(layer, member.role, None)


def _check_range(index: Tensor, root: Tensor, size: int) -> None:
    if len(index) != len(root):
        raise Unmapped(f"{len(index)} indices for {len(root)} root indices")
    if len(index) and not (int(index.min()) >= 0 and int(index.max()) < size):
        raise Unmapped(f"indices up to {int(index.max())} in a layer of {size}")


def _role(layer: object, handler: Callable[..., Any]) -> Role | None:
    into = handler.__name__.endswith("in_channels")
    if isinstance(layer, nn.Parameter):
        return "parameter"
    if isinstance(layer, nn.modules.conv._ConvNd):
        if 1 < layer.groups == layer.out_channels:
            return "depthwise"
        return "in" if into else "out"
    if isinstance(layer, nn.Linear):
        return "in" if into else "out"
    if isinstance(layer, NORMS):
        return None if isinstance(layer, nn.PReLU) and layer.num_parameters == 1 else "norm"
    return None


def _size(layer: Any, role: Role, node: Any) -> int:
    """How many indices the axis has that `role` names."""
    if role == "parameter":
        return layer.shape[node.pruning_dim]
    if isinstance(layer, nn.Linear):
        return layer.in_features if role == "in" else layer.out_features
    if isinstance(layer, nn.modules.conv._ConvNd):
        return layer.in_channels if role == "in" else layer.out_channels
    if isinstance(layer, nn.LayerNorm):
        return layer.normalized_shape[-1]
    if isinstance(layer, nn.GroupNorm):
        return layer.num_channels
    return layer.num_parameters if isinstance(layer, nn.PReLU) else layer.num_features


def _name(node: Any, graph: Any) -> str:
    """The layer's name in the model; torch-pruning keeps it in its graph, other tracers in the node."""
    module = node.module
    known = {} if graph is None else graph._param_to_name if isinstance(module, nn.Parameter) else graph._module2name
    return known.get(module) or str(node.name).partition(" (")[0]
