"""Peak memory of each step."""

from __future__ import annotations

from sections.rows import newest, table


def fields() -> dict[str, str]:
    found = newest("memory", ("model", "step"), model="resnet50")
    lines = [
        (f"`{r['step']}`", f"{r['more_mib']:.0f}", f"{r['more_mib'] / r['model_mib']:.1f}", f"{r['peak_mib']:.0f}")
        for r in found
    ]
    header = ("step", "more, MiB", "times the weights", "peak of the process, MiB")
    return {"model": "ResNet-50", "size": f"{found[0]['model_mib']:.0f}", "steps": table(header, lines, "lrrr")}
