"""One layer's part in a coupled group of channels."""

from __future__ import annotations

from typing import Literal, NamedTuple

from torch import Tensor, nn

Role = Literal["out", "in", "depthwise", "norm", "parameter"]


class Member(NamedTuple):
    """`layer` owns indices `index` of the group; entry i belongs to root unit position `root[i]`.

    `index` counts along the axis that `role` names: output channels for `out` and `depthwise`, input channels for
    `in`, features for `norm`, and the pruned axis of a bare parameter for `parameter`. `root` holds positions in
    the order in which scores are returned, repeated where one root unit owns several indices.
    """

    name: str
    layer: nn.Module | nn.Parameter
    role: Role
    index: Tensor
    root: Tensor
