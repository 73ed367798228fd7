"""What a small trained decoder says before and after surgery, compensation and a little distillation."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean

from results_file import interval

from sections.rows import Row, newest, table

KEY = ("steps", "keep", "way", "draw", "samples", "compensation")
NAMES = {"conditional": "conditional", "l2": "torch-pruning's L2"}


def fields() -> dict[str, str]:
    found = newest("decoder", KEY)
    cut, whole = [row for row in found if row["keep"] < 1], [row for row in found if row["keep"] == 1]
    ways, hows = (list(dict.fromkeys(row[name] for row in cut)) for name in ("way", "compensation"))
    assert whole
    assert len({(row["test"], row["dense"], row["steps"], row["samples"]) for row in found}) == 1
    unharmed = all(row["unharmed"] and row["after"] == row["dense"] for row in whole)
    dense = found[0]["dense"]
    return {
        "test": found[0]["test"],
        "dense": f"{dense:.3f}",
        "samples": str(found[0]["samples"]),
        "unharmed": "The unpruned network came out of the same steps bit for bit as it was"
        if unharmed
        else "**The unpruned network did not come out of the same steps as it was**",
        "perplexity": table(
            ("units chosen by", *hows),
            [(NAMES[way], *(cell(values(cut, way, how)) for how in hows)) for way in ways],
            "l" + "r" * len(hows),
        ),
        "ratios": ", ".join(f"{NAMES[way]} {ratio(way)} times" for way in ways),
    }


def ratio(way: str) -> str:
    """Perplexity of the compensated network over the dense one's."""
    cut = [row for row in newest("decoder", KEY) if row["keep"] < 1]
    return f"{mean(values(cut, way, 'ours')) / cut[0]['dense']:.3f}"


def values(rows: Sequence[Row], way: str, how: str) -> list[float]:
    return [row["after"] for row in rows if row["way"] == way and row["compensation"] == how]


def cell(found: Sequence[float]) -> str:
    """The mean over draws with its interval; what does not depend on the draw has none."""
    told = f"{mean(found):.3f}"
    if len(set(found)) < 2:
        return told
    low, high = interval(found)
    return f"{told} ({low:.3f} to {high:.3f})"
