"""The map that a layer's channels come out as: what the activation behind it gives out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from infoprune.graph.nested import outputs_of

ACTIVATIONS = {
    "relu", "hardtanh", "hardswish", "hardsigmoid", "silu", "gelu", "elu", "leaky_relu", "_prelu_kernel", "mish",
    "sigmoid", "tanh", "softplus",
}  # fmt: skip
PASSED = {
    "add", "native_batch_norm", "cudnn_batch_norm", "miopen_batch_norm", "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training", "_batch_norm_no_update", "native_layer_norm", "native_group_norm",
}  # fmt: skip


class Followed(TorchDispatchMode):
    """Follows what layers give out through norms and sums to the first activation, and tells `ready` the map there.

    Where another layer or any other operation reads it before, the map is what that reads: a linear bottleneck has no
    activation. Layers whose outputs meet in a sum share one map.
    """

    def __init__(self, ready: Callable[[str, Tensor], None]):
        super().__init__()
        self.ready = ready
        self.open: dict[str, Tensor] = {}

    def begin(self, name: str, output: Tensor) -> None:
        """What a layer gives out itself."""
        self.open[name] = output

    def close(self, names: list[str] | None = None) -> None:
        """These maps, or all that are left, are what they are now."""
        for name in list(self.open) if names is None else names:
            self.ready(name, self.open.pop(name))

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None) -> Any:
        operation = func.overloadpacket.__name__.removesuffix("_")
        read = [name for name, map_ in self.open.items() if any(map_ is tensor for tensor in outputs_of(args))]
        if operation not in ACTIVATIONS | PASSED:
            self.close(read)  # before it may work in place
        result = func(*args, **(kwargs or {}))
        if read and operation in ACTIVATIONS | PASSED:
            self.open |= dict.fromkeys(read, next(iter(outputs_of(result))))
        if operation in ACTIVATIONS:
            self.close(read)
        return result
