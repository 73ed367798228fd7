"""What members of a family share in their file: a tensor is kept once for all of which it is a slice.

Keys are "member/tensor". A member without a tensor of its own has, in its place, a slice of the one that the nearest
larger member keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from infoprune.artifact.config import Config
from infoprune.errors import BadArtifact
from infoprune.files import digest_of
from infoprune.surgery.plan import Plan, removal_of

State = Mapping[str, Tensor]
Gone = Mapping[str, Mapping[int, np.ndarray]]  # tensor -> axis -> which of the dense network's indices left


def own_tensors(states: Sequence[State], plans: Sequence[Plan]) -> list[dict[str, Tensor]]:
    """Of each member, largest first, the tensors that are not bit for bit slices of what a larger one keeps."""
    gone, keeper = [removal_of(plan.edits).indices for plan in plans], dict[str, int]()
    tensors: list[dict[str, Tensor]] = []
    for place, state in enumerate(states):
        own = {}
        for name, tensor in state.items():
            at = keeper.get(name)
            if at is None or not _same(_slice(name, states[at][name], gone[at], gone[place]), tensor):
                own[name], keeper[name] = tensor, place
        tensors.append(own)
    return tensors


def read_member(path: Path, members: Mapping[str, Config], member: str, model: nn.Module) -> dict[str, Tensor]:
    """The tensors of one member, once their names and shapes are known to be the model's and the file to be the one
    saved."""
    expected = {k: tuple(v.shape) for k, v in model.state_dict().items() if isinstance(v, Tensor)}
    larger = list(members)[: list(members).index(member) + 1]
    gone = {name: removal_of(members[name].plans[-1].edits).indices for name in larger}
    if digest_of(path) != members[member].sha256:
        raise BadArtifact(f"{path} was changed after it was written (its digest does not match); save the family again")
    try:
        with safe_open(path, framework="pt") as file:
            keeper = _keepers(file.keys(), larger)
            if lost := sorted(expected.keys() ^ keeper.keys()):
                raise BadArtifact(f"{path} and the member {member} differ in {lost[0]}; the two are not one artefact")
            tensors = {
                name: _slice(name, file.get_tensor(f"{at}/{name}"), gone[at], gone[member]).clone()
                for name, at in keeper.items()
            }
    except (SafetensorError, OSError, ValueError, IndexError, RuntimeError) as error:
        if isinstance(error, BadArtifact):
            raise
        raise BadArtifact(f"{path} does not hold the member {member} ({error}); save the family again") from error
    odd = next((name for name, tensor in tensors.items() if tuple(tensor.shape) != expected[name]), None)
    if odd is not None:
        raise BadArtifact(f"{path} holds {odd} as {tuple(tensors[odd].shape)}, not {expected[odd]}, for {member}")
    return tensors


def kept_by(path: Path, members: Iterable[str]) -> dict[str, int]:
    """member -> bytes of tensors that the file keeps for it."""
    with safe_open(path, framework="pt") as file:
        sizes = {key: file.get_tensor(key).nbytes for key in file.keys()}  # noqa: SIM118 - no mapping
    return {member: sum(n for key, n in sizes.items() if key.partition("/")[0] == member) for member in members}


def _keepers(names: Iterable[str], larger: Sequence[str]) -> dict[str, str]:
    """tensor -> the last of these members that keeps it."""
    kept = [name.partition("/")[::2] for name in names]
    return {tensor: member for at in larger for member, tensor in kept if member == at}


def _slice(name: str, tensor: Tensor, larger: Gone, smaller: Gone) -> Tensor:
    """What the smaller network has in the place of this tensor of the larger one, if nothing was refitted."""
    for axis, left in smaller.get(name, {}).items():
        before = larger.get(name, {}).get(axis, np.zeros(0, int))
        there = np.delete(np.arange(tensor.shape[axis] + len(before)), before)
        tensor = tensor.index_select(axis, torch.from_numpy(np.flatnonzero(~np.isin(there, left))))
    return tensor


def _same(one: Tensor, other: Tensor) -> bool:
    """Bit for bit: zeros have signs, and NaN is itself."""
    alike = (one.shape, one.dtype) == (other.shape, other.dtype)
    return alike and torch.equal(*(t.contiguous().flatten().view(torch.uint8) for t in (one, other)))
