"""Number format and memory layout that suit the machine: asked of torch, never timed, so that going on is exact."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from infoprune.finetune.options import Layout, Precision

KINDS = {"bf16": torch.bfloat16, "fp16": torch.float16}
LANES = 8  # single-precision numbers in a register of AVX2


@dataclass(frozen=True)
class Choice:
    """What is used, and why."""

    used: str
    why: str

    def __str__(self) -> str:
        return f"{self.used} ({self.why})"


def precision_on(device: torch.device, wanted: Precision) -> Choice:
    """bf16 where the device computes in it natively, otherwise fp32; what is named is used."""
    if wanted != "auto":
        return Choice(wanted, "as asked")
    if device.type == "cuda":
        with torch.cuda.device(device):
            native, whose = torch.cuda.is_bf16_supported(including_emulation=False), "the GPU"
    else:
        native, whose = device.type == "cpu" and _cpu_has_bf16(), f"the {device.type.upper()}"
    return Choice("bf16", f"native on {whose}") if native else Choice("fp32", f"{whose} has no native bf16")


def layout_for(model: nn.Module, device: torch.device, wanted: Layout) -> Choice:
    """Channels last, except where torch's backward pass would write past its memory on a CPU."""
    if wanted != "auto":
        return Choice("channels last" if wanted else "contiguous", "as asked")
    narrow = next((name for name, layer in model.named_modules() if _overruns(layer)), None)
    if device.type == "cpu" and narrow is not None:
        return Choice("contiguous", f"{narrow} is too narrow for torch's channels last on CPUs")
    return Choice("channels last", "the faster layout")


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager:
    """Computes in `precision` while it lasts."""
    kind = KINDS.get(precision_on(device, precision).used)
    return nullcontext() if kind is None else torch.autocast(device.type, dtype=kind)


def _cpu_has_bf16() -> bool:
    """AVX512-BF16 or AMX. Elsewhere torch converts number by number, 13 times slower than fp32 on a ResNet-20."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    if not torch.backends.mkldnn.is_available():
        return False
    return bool(
        capabilities.get("amx_bf16") or capabilities.get("avx512_bf16") or torch.cpu._is_avx512_bf16_supported()
    )


def _overruns(layer: nn.Module) -> bool:
    """Whether the gradient of the weights may corrupt the heap in channels last (AVX2 kernels of torch 2.14.1).

    The kernel for strided 1x1 convolutions first gathers the pixels that are read, a whole register each. With fewer
    channels than a register holds, the last one ends past the buffer. A single channel takes another kernel.
    """
    return (
        isinstance(layer, nn.Conv2d)
        and 1 < layer.in_channels < LANES
        and layer.groups == 1
        and layer.kernel_size == (1, 1)
        and max(layer.stride) > 1
    )
