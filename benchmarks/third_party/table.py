"""The part of docs/coverage.md on networks of other packages, as lines of Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from third_party import entries

Row = Mapping[str, Any]
OUTCOMES = ("pruned", "refused", "uncompared", "WRONG", "CRASH")
STOCK = {"CRASH": "no end in 60 s", "no heads known": "", "runs with other output shapes": "other outputs"}


def lines(rows: Sequence[Row]) -> list[str]:
    """Nothing where nothing was run."""
    if not rows:
        return []
    order = {name: place for place, name in enumerate(entries())}
    rows = sorted(rows, key=lambda row: order.get(row["model"], len(order)))
    head = "| model | package | outcome | MACs left | certificate | independent mask | torch-pruning | with heads |"
    return ["", "## Networks of other packages", "", *_opening(rows), head, "|---|---|---|---|---|---|---|---|"] + [
        _line(row) for row in rows
    ] + _reasons(rows)  # fmt: skip


def _opening(rows: Sequence[Row]) -> list[str]:
    count = Counter(row["outcome"] for row in rows)
    packages = sorted({(row["package"], row["version"]) for row in rows if row.get("version")})
    told = ", ".join(f"{name} {version}".strip() for name, version in packages)
    stock = [row for row in rows if "host" in row]
    runs = sum(_runs(row["host"]) for row in stock)
    either = sum(_runs(row["host"]) or _runs(row["host_heads"]) for row in stock)
    return [
        "Made by `python benchmarks/third_party_zoo.py`: small configurations with random weights of "
        f"{len(packages)} packages ({told}), and networks written by hand in the ways people write them, each to half "
        "of its MACs with `CapacityIndependenceImportance`.",
        "",
        f"**Of {len(rows)} networks {count['pruned']} are pruned, {count['refused']} refused, {count['uncompared']} "
        f"pruned with a certificate that says it has no number, {count['WRONG']} wrong, {count['CRASH']} crash.** "
        f"Stock torch-pruning, at 70 % of all widths, keeps a forward pass of the same outputs on {runs} of "
        f"{len(stock)} as it comes, and on {either} if also the numbers of heads are given.",
        "",
        "Pruned: MACs and parameters counted before and after are those planned; the certificate has a number; an "
        "independent check (`benchmarks/independent_mask.py`), which knows neither plan nor labels, finds the pruned "
        "network equal to the dense one with every absent entry at zero, in double precision, on two batch sizes; "
        "saved and loaded outputs are bitwise equal; `generate` gives the same logits with and without a cache; "
        "gradients are finite. Wrong: one of these is not so. The independent check takes the statistics of norm "
        'modules over the kept channels; "by design" stands where a network\'s own code takes statistics over '
        "channels.",
        "",
    ]  # fmt: skip


def _runs(host: Row) -> bool:
    return host["outcome"] == "runs"


def _line(row: Row) -> str:
    keep = f"{row['keep']:.1%}" if "keep" in row else ""
    certificate = row.get("certificate", "")
    if row.get("statistics"):
        certificate += f" ({', '.join(row['statistics'])})"
    cells = [row["model"], row["package"], row["outcome"], keep, certificate, _mask(row)]
    cells += [_stock(row.get("host")), _stock(row.get("host_heads"))]
    return "| " + " | ".join(cells) + " |"


def _mask(row: Row) -> str:
    if "mask_reason" in row:
        return "not comparable"
    found = [row[field] for field in ("mask", "mask_other") if field in row]
    if not found:
        return ""
    return f"{max(found):.0e}" if max(found) <= 1e-9 or not row.get("statistics") else f"by design ({max(found):.0e})"


def _stock(host: Row | None) -> str:
    if host is None:
        return ""
    return f"{host['keep']:.0%}" if _runs(host) else STOCK.get(host["outcome"], host["outcome"])


def _reasons(rows: Sequence[Row]) -> list[str]:
    """Why a network was not just pruned, and how low its MACs could get."""
    told = ["", "### What was not just pruned", ""]
    for outcome in OUTCOMES[1:]:
        for row in (r for r in rows if r["outcome"] == outcome):
            reach = f", down to {row['reach']:.0%} of the MACs" if "reach" in row else ""
            told.append(f"- `{row['model']}` {outcome}{reach}: {row['reason'].replace('|', '/')[:260]}")
    missing = sorted(entries().keys() - {row["model"] for row in rows})
    told += ["", f"Listed and not measured: {', '.join(missing) or 'none'}."]
    apart = [r for r in rows if "mask_reason" in r]
    told += ["", "Not comparable by the independent check:", ""] if apart else []
    return told + [f"- `{row['model']}`: {row['mask_reason'].replace('|', '/')[:200]}" for row in apart]
