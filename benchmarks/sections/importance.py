"""Speed of the importances, and whether entropy of filters says what the paper says."""

from __future__ import annotations

import statistics

from interleave import Ratio

from sections.rows import Row, median, newest, row, rows, table, times

CLEAR = -0.5  # a correlation below is called clear


def fields() -> dict[str, str]:
    together, vgg = (
        row("importance_speed", network="resnet50", what="all groups"),
        row("importance_speed", network="vgg16_bn"),
    )
    lite, craft = (
        newest("capacity_claims", ("layer",), network=network)
        for network in ("EfficientNet-Lite0", "VGG16-BN of CRAFT")
    )
    clear = [r for r in craft if r["rows"] < CLEAR]
    return {
        "table": table(("against", "result"), compared(together, vgg)),
        "gram": f"{together['gram_ms'] / median(together, 'L2'):.1f}",
        "memory": f"{together['extra_mib']:.0f}",
        "memory_vgg": f"{vgg['extra_mib']:.0f}",
        "lite_layers": str(len(lite)),
        "lite": median_and_range(lite),
        "vgg_layers": str(len(craft)),
        "vgg": median_and_range(craft),
        "clear": str(len(clear)),
        "bound": f"{CLEAR:g}",
        "dead": ", ".join(f"{r['rows']:.2f}" for r in clear),
        "alive": ", ".join(f"{r['alive']:.2f}" for r in clear),
    }


def median_and_range(layers: list[Row]) -> str:
    """Of the correlations between a layer's filters and their maps."""
    found = [r["rows"] for r in layers]
    return f"{statistics.median(found):.2f} (from {min(found):.2f} to {max(found):.2f})"


def compared(together: dict, vgg: dict) -> list[tuple[str, str]]:
    slow = [(f"the host's {name}, all of ResNet-50", times(together, "ours", name)) for name in ("L1", "L2", "Taylor")]
    lines = [(what, told(found)) for what, found in slow]
    runs = rows("importance_speed", network="resnet50", what="once")
    for key, name in {"pairwise spelling": "the `torch.cdist` spelling", "FPGM": "the host's FPGM"}.items():
        found = [told(times(run, "ours", key)) for run in reversed(runs) if key in run["ms"]]
        lines.append((f"{name}, all of ResNet-50, once", "; an earlier run: ".join(found)))
    for run in rows("importance_speed", network="resnet50", what="pruner and step"):
        lines.append(("the host's L2, within a whole run of its pruner", told(times(run, "ours", "L2"))))
    return [*lines, ("the host's FPGM, torchvision vgg16_bn", told(times(vgg, "ours", "FPGM")))]


def told(slower: Ratio) -> str:
    """A ratio of ours to theirs as "faster" or "slower", never below one."""
    if slower.low == slower.high > 1:
        return f"{slower:.1f} times slower"
    if slower.low > 1:
        return f"**{slower:.1f} times slower**"
    if slower.high >= 1:
        return f"no difference shown ({slower:.2f})"
    return f"{Ratio(1 / slower.value, 1 / slower.high, 1 / slower.low):.1f} times faster"
