"""YOLACT beside its published counts."""

from __future__ import annotations

from sections.rows import Row, row, table


def fields() -> dict[str, str]:
    dense, pruned = row("yolact", what="dense"), row("yolact", what="pruned")
    lines = []
    for found in (dense, pruned):
        change = f" ({100 * found['macs_change']:+.2f} %)" if found is pruned else ""
        fewer = f" ({100 * found['params_change']:+.1f} %)" if found is pruned else ""
        giga = (f"{found[name] / 1e9:.2f} G" for name in ("by_layers", "published"))
        lines.append(
            (found["what"], f"{found['macs'] / 1e9:.2f} G{change}", *giga, f"{found['params'] / 1e6:.2f} M{fewer}")
        )
    mask = row("mask_rcnn", side=800)
    header = ("", "multiply-adds", "counted by layers (biases, batch norms)", "published", "parameters")
    return {
        "table": table(header, lines, "lrrrr"),
        "cut": f"{100 * pruned['macs_change']:.1f} %",
        "agree": "agree to the last one" if pruned["planned"] == pruned["macs"] else "differ",
        "macs": f"{pruned['macs']:,}",
        "difference": f"{pruned['difference']:.1e}",
        "scale": f"{pruned['scale']:.1f}",
        "certificate": pruned["certificate"],
        "loaded": equality(pruned),
        "sites": str(pruned["sites"]),
        "mask_macs": " to ".join(f"{macs / 1e9:.1f}" for macs in mask["macs"]),
        "mask_agree": "equal" if mask["macs_counted"] == mask["macs"][1] else "differ",
        "mask_certificate": mask["certificate"],
        "mask_difference": f"{mask['difference']:.1e}",
        "mask_loaded": equality(mask),
    }


def equality(found: Row) -> str:
    return "bitwise equal" if found["loaded_equal"] else "not equal"
