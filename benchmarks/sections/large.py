"""What large networks take, step by step, and how tracing grows with layers and with width."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from interleave import exponent

from sections.rows import Row, newest, table

STEPS = ("trace", "plan", "prune_", "save", "load")
NAMES = {"swin_l": "Swin-L", "vit_h": "ViT-H/14", "convnext_xxl": "ConvNeXt-XXL", "decoder_1.3g": "decoder, 1.3 G"}


def fields() -> dict[str, str]:
    found = newest("large_networks", ("net", "layers", "width", "way"))
    whole, grown = ([row for row in found if row["way"] in ways] for ways in (("whole",), ("values", "shapes")))
    mapped = next(row for row in found if row["way"] == "mapped")
    return {
        "steps": table(
            ("network", "parameters", "sites", *STEPS),
            [(NAMES[r["net"]], millions(r), r["sites"], *(cell(r[step]) for step in STEPS)) for r in whole],
            "l" + "r" * (2 + len(STEPS)),
        ),
        "growth": table(("decoders of", "with values", "by shapes alone"), list(growth(grown)), "lrr"),
        "params": f"{mapped['params'] / 1e9:.2f} G",
        "cpu": f"{mapped['plan']['cpu_s']:.0f}",
        "seconds": f"{mapped['plan_seconds']:.0f}",
        "own": f"{mapped['plan']['own_mib'] / 1024:.1f}",
    }


def millions(row: Row) -> str:
    return f"{row['params'] / 1e6:,.0f} M"


def cell(step: dict[str, float]) -> str:
    return f"{step['cpu_s']:.1f} s, {step['more_mib'] / 1024:.1f} GiB"


def growth(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Exponents of CPU time, and its ends, along layers and along width."""
    narrow, shallow = min(row["width"] for row in rows), min(row["layers"] for row in rows)
    kinds: list[tuple[str, str, Callable[[Row], bool]]] = [
        ("layers", "{} to {} layers", lambda row: row["width"] == narrow),
        ("width", "{} to {} channels", lambda row: row["layers"] == shallow),
    ]
    return [
        (told.format(*ends(rows, along, chosen)), *(curve(rows, along, chosen, way) for way in ("values", "shapes")))
        for along, told, chosen in kinds
    ]


def ends(rows: Sequence[Row], along: str, chosen: Callable[[Row], bool]) -> tuple[int, int]:
    sizes = [row[along] for row in rows if chosen(row)]
    return min(sizes), max(sizes)


def curve(rows: Sequence[Row], along: str, chosen: Callable[[Row], bool], way: str) -> str:
    points = sorted((row[along], row["trace"]["cpu_s"]) for row in rows if chosen(row) and row["way"] == way)
    sizes, costs = zip(*points, strict=True)
    return f"n^{exponent(sizes, costs):.1f}, {costs[0]:.1f} to {costs[-1]:.1f} s"
