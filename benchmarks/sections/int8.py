"""Dense, pruned, in 8 bits, and both."""

from __future__ import annotations

import statistics

from interleave import Ratio, ratio

from sections.rows import Row, newest, table

FORMS = {
    "dense": "dense float32", "pruned": "pruned float32", "dense, 8 bits": "dense int8", "both": "pruned int8",
}  # fmt: skip
CASES = {
    "resnet20, 25 %": "ResNet-20 on digits at 25 % of its MACs, tuned on 12,800 pictures",
    "mobilenetv2, 75 %": "MobileNetV2 with ImageNet weights on stamps at 75 % of its MACs, not tuned",
}
RUNTIMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO, quantised by NNCF"}
HEADER = ("network", "file, MB", "top-1", "agrees with dense", "KL, nats", "time / dense")
KEY = ("case", "runtime", "draw")
USUAL = 512  # pictures of rows that don't tell


def fields() -> dict[str, str]:
    found = newest("int8", KEY)
    tables = [
        titled(case, runtime, those)
        for case in CASES
        for runtime in RUNTIMES
        if (those := [row for row in found if (row["case"], row["runtime"]) == (case, runtime)])
    ]
    return {
        "processor": found[0]["processor"],
        "tables": "\n\n".join(tables),
        "uncut": uncut([row for row in found if "unharmed" in row]),
    }


def titled(case: str, runtime: str, found: list[Row]) -> str:
    draws = "one draw" if len(found) == 1 else f"means and ranges of {len(found)} draws"
    about = f"{CASES[case]}; {RUNTIMES[runtime]}, {found[0].get('samples', USUAL)} pictures, {draws}:"
    return f"{about}\n\n{table(HEADER, [line(name, form, found) for name, form in FORMS.items()], 'lrrrrl')}"


def line(name: str, form: str, found: list[Row]) -> list[str]:
    """Means over draws, and their range; bytes and time of the first draw."""
    told = [row["forms"][form] for row in found]
    return [
        name,
        f"{told[0]['bytes'] / 1e6:.2f}",
        over_draws([100 * one["top1"] for one in told], ".1f"),
        over_draws([100 * one["agreement"] for one in told], ".1f"),
        over_draws([one["kl"] for one in told], ".3f"),
        f"{beside_dense(found[0], form):.2f}",
    ]


def over_draws(values: list[float], spec: str) -> str:
    low, mean, high = (f"{value:{spec}}" for value in (min(values), statistics.mean(values), max(values)))
    return mean if low == high else f"{mean} ({low} to {high})"


def beside_dense(row: Row, form: str) -> Ratio:
    return ratio(row["ms"][form], row["ms"]["dense float32"])


def uncut(found: list[Row]) -> str:
    """Whether the steps leave a network alone of which nothing is cut."""
    told = [
        f"{row['case'].partition(',')[0]} ({'unharmed' if row['unharmed'] else 'HARMED'}, its 8-bit file "
        f"{'the same' if row['same_answers'] else 'NOT the same'})"
        for row in found
    ]
    if not told:
        return "No network of which nothing is cut went through these steps yet."
    return f"Of which nothing was cut, through the same steps: {', '.join(told)}."
