"""Tokens, heads and MLP widths."""

from __future__ import annotations

from statistics import mean

from results_file import Difference, interval, paired

from sections.rows import Row, newest, row, rows, table


def fields() -> dict[str, str]:
    one, many = (row("token_latency", what="models", batch=batch) for batch in (1, 16))
    scores = [row("token_latency", what="scores", score="capacity_independence", batch=batch) for batch in (1, 16)]
    saliency = newest("vit_saliency", ("what", "how", "keep"))
    gaps = {
        (r["what"], r["how"], r["keep"]): against_random(r, saliency)
        for r in saliency
        if r["what"] in ("tokens", "heads", "mlp") and r["how"] != "random"
    }
    tokens = [gap.verdict for (what, _, _), gap in gaps.items() if what == "tokens"]
    widths = [gap.verdict for (what, _, _), gap in gaps.items() if what != "tokens"]
    dense = next(r for r in saliency if r["what"] == "dense")
    return {
        "macs": f"{one['macs'] / 1e9:.2f}",
        "dense_macs": f"{one['dense_macs'] / 1e9:.2f}",
        "one": f"{1 / one['ratio']:.2f}",
        "one_ratio": ratio(one),
        "many": f"{1 / many['ratio']:.2f}",
        "many_ratio": ratio(many),
        "share": f"{100 * scores[0]['macs_share']:.2f} %",
        "score_one": percent(scores[0]["shares"], 1),
        "score_many": percent(scores[1]["shares"], 1),
        "gather_one": percent(scores[0]["with_gathering"]),
        "gather_many": percent(scores[1]["with_gathering"]),
        "paper": percent(row("token_latency", what="scores", score="paper")["shares"]),
        "images": str(len(dense["iou"])),
        "vit_macs": f"{dense['macs']:,}",
        "vit_iou": told(dense),
        "saliency": "\n\n".join(saliency_table(what, saliency, dense, gaps) for what in ("tokens", "heads", "mlp")),
        "scores": str(len(tokens)),
        "scores_better": str(tokens.count("better")),
        "scores_worse": str(tokens.count("worse")),
        "widths": str(len(widths)),
        "widths_better": str(widths.count("better")),
        "widths_worse": str(widths.count("worse")),
        "budgets": budgets(saliency, dense),
        "joint": joint(),
    }


def ratio(found: Row) -> str:
    low, high = found["interval"]
    return f"{found['ratio']:.3f}, {low:.3f} to {high:.3f}"


def percent(shares: list[float], digits: int = 0) -> str:
    return " to ".join(dict.fromkeys(f"{100 * share:.{digits}f}" for share in shares)) + " %"


def by_picture(found: Row) -> dict[int, float]:
    return dict(enumerate(found["iou"]))


def against_random(found: Row, everything: list[Row]) -> Difference:
    same = {"what": found["what"], "keep": found["keep"], "how": "random"}
    random = next(r for r in everything if same.items() <= r.items())
    return paired(by_picture(found), by_picture(random))


def told(found: Row) -> str:
    low, high = interval(found["iou"])
    return f"{mean(found['iou']):.3f} ({low:.3f} to {high:.3f})"


def saliency_table(what: str, everything: list[Row], dense: Row, gaps: dict[tuple, Difference]) -> str:
    lines = []
    for found in sorted((r for r in everything if r["what"] == what), key=lambda r: -r["keep"]):
        gap = gaps.get((what, found["how"], found["keep"]))
        share = f"{100 * found['macs'] / dense['macs']:.1f} %"
        lines.append((f"{found['keep']:.3g}", share, found["how"], told(found), f"{gap:.3f}" if gap else "-"))
    return table((f"{what}: keep", "MACs", "by", "IoU (95 %)", "minus random (95 %)"), lines)


ALONE = {0.854: 0.9, 0.624: 0.7}  # the keep ratio at which tokens alone cost as much as a budget


def budgets(everything: list[Row], dense: Row) -> str:
    """Tokens alone by the best score, heads and MLPs, and all of them, at equal MACs."""
    lines = []
    for keep, ratio in ALONE.items():
        tokens = [r for r in everything if r["what"] == "tokens" and r["keep"] == ratio]
        best = max(tokens, key=lambda r: mean(r["iou"]))
        shared = [r for r in everything if r["what"] == "one budget" and r["keep"] == keep]
        widths = next(r for r in shared if r["how"] == "heads and MLPs")
        for found in (best, *shared):
            how = f"tokens by {found['how']}" if found is best else found["how"]
            gaps = ["-" if found is other else f"{against(found, other):.3f}" for other in (best, widths)]
            lines.append((f"{100 * found['macs'] / dense['macs']:.1f} %", how, told(found), *gaps))
    return table(("MACs", "what leaves", "IoU (95 %)", "minus tokens alone", "minus heads and MLPs"), lines)


def against(found: Row, other: Row) -> Difference:
    return paired(by_picture(found), by_picture(other))


def joint() -> str:
    lines, found = [], rows("token_joint")
    for r in found:
        values = ("cannot" if value is None else f"{value:.1f}" for value in r["values"].values())
        lines.append((f"{100 * r['keep']:.0f} %", *values, ", ".join(f"{100 * v:.0f} %" for v in r["kept"].values())))
    header = ("MACs", *found[0]["values"], f"kept of all: {', '.join(found[0]['kept'])}")
    return table(header, lines, "r" * len(header))
