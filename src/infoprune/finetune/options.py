"""How to train, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Optimizer = Literal["sgd", "adamw"]
Schedule = Literal["cosine", "one_cycle", "constant"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Layout = Literal["auto", True, False]
Norms = Literal["auto", "moving", "frozen"]


@dataclass(frozen=True)
class Training:
    """Options of `train`.

    Args:
        epochs: How often every example is seen; may be a fraction.
        optimizer: "sgd" or "adamw".
        lr: The peak; it belongs to the whole batch, however many processes share it.
        momentum: Of SGD.
        nesterov: Look ahead along SGD's momentum, where there is any; papers often don't.
        weight_decay: Of weights.
        schedule: How the rate falls from its peak: "cosine" or "one_cycle"; "constant" stays there.
        warmup_epochs: Epochs in which it rises to it.
        label_smoothing: The share of a label that all classes get alike.
        mixup: timm's alpha: pictures and their labels are mixed; 0 mixes none.
        cutmix: timm's alpha: parts of other pictures are set into them; 0 for none.
        clip_norm: The largest norm of a gradient; no limit by default.
        ema: Decay of an average of the weights, which is what remains in the end; no average by default.
        distill: The share of the loss that comes from the dense model's answers.
        temperature: Softens these answers.
        precision: "fp32", "bf16" or "fp16"; "auto" is bf16 where the device computes in it natively, otherwise fp32.
        channels_last: Memory layout of pictures and weights; "auto" is true unless torch's kernels for narrow layers
            are unsafe.
        compile: Train what `torch.compile` makes of the model.
        shard: Spread weights and optimizer over processes (FSDP2), for models that don't fit on one.
        norms: Whether the statistics of batch norms move with the pictures or are frozen as they are; "auto" freezes
            them where a copy of the dense model, renewed on these pictures, no longer agrees with it.
        reestimate: Pictures that renew the statistics before the first step, where they move.
        probe: The share of the epochs for which each of `lr`, a third and a tenth of it is first tried; the best is
            kept. 0 tries none.
        minutes: The most time of training, interruptions left out; the schedule is then cut short.
        save_seconds: How often a checkpoint is written.
    """

    epochs: float = 10.0
    optimizer: Optimizer = "sgd"
    lr: float = 0.05
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float = 5e-4
    schedule: Schedule = "cosine"
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    clip_norm: float | None = None
    ema: float | None = None
    distill: float = 0.5
    temperature: float = 2.0
    precision: Precision = "auto"
    channels_last: Layout = "auto"
    compile: bool = False
    shard: bool = False
    norms: Norms = "auto"
    reestimate: int = 2048
    probe: float = 0.0
    minutes: float | None = None
    save_seconds: float = 60.0

    def __post_init__(self) -> None:
        for name, fine, need in self._rules():
            if not fine:
                raise ValueError(f"{name} is {getattr(self, name)!r}; give {need}")

    def _rules(self) -> list[tuple[str, bool, str]]:
        above_zero, share = "a finite number above 0", "a number from 0 to 1"
        return [
            ("epochs", 0 <= self.epochs < 1e9, "a number of epochs, at least 0"),
            ("lr", 0 < self.lr < 1e9, above_zero),
            ("momentum", 0 <= self.momentum < 1, "a number from 0 to below 1"),
            ("weight_decay", 0 <= self.weight_decay < 1e9, "a number, at least 0"),
            ("warmup_epochs", 0 <= self.warmup_epochs <= self.epochs, "a number from 0 to epochs"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "a number from 0 to below 1"),
            ("mixup", 0 <= self.mixup < 1e9, "a number, at least 0"),
            ("cutmix", 0 <= self.cutmix < 1e9, "a number, at least 0"),
            ("clip_norm", self.clip_norm is None or 0 < self.clip_norm < 1e9, above_zero),
            ("ema", self.ema is None or 0 < self.ema < 1, "a decay between 0 and 1, such as 0.999"),
            ("shard", not (self.shard and self.ema), "false, or leave ema out: averages are not spread"),
            ("distill", 0 <= self.distill <= 1, share),
            ("temperature", 0 < self.temperature < 1e9, above_zero),
            ("reestimate", self.reestimate >= 0, "a number of pictures, at least 0"),
            ("probe", 0 <= self.probe < 1, "the share of the epochs for which each rate is tried, such as 0.05"),
            ("minutes", self.minutes is None or 0 < self.minutes < 1e9, above_zero),
            ("save_seconds", 0 <= self.save_seconds < 1e9, "a number of seconds, at least 0"),
        ]
