"""Bytes, quality and time of codecs, and what arrives."""

from __future__ import annotations

from sections.rows import Row, newest, row, table

PRINTED = {"LosslessHEVC()": "libx265 lossless", "HEVC": "libx265", "Zlib()": "zlib"}


def fields() -> dict[str, str]:
    mosaics = newest("wire_codecs", ("name",), what="mosaic")
    by_name = {found["name"]: found for found in mosaics}
    mutated = row("wire_mutations")
    header = ("codec", "bytes", "bits a value", "PSNR, dB", "encode, CPU ms", "decode, CPU ms")
    return {
        "mosaic": table(header, [mosaic(found) for found in mosaics], "lrrrrr"),
        "cheaper": f"{by_name['LosslessHEVC()']['encode_ms'] / by_name['Zlib()']['encode_ms']:.0f}",
        "streams": streams(),
        "mutated": str(mutated["streams"]),
        "slowest": f"{mutated['slowest_ms']:.0f}",
        "memory": f"{mutated['memory_mib']:.1f}",
        "refused": f"{100 * mutated['refused']:.0f} %",
    }


def mosaic(found: Row) -> tuple[str, ...]:
    quality = "exact" if found["psnr"] is None else f"{found['psnr']:.1f}"
    times = (f"{found[name]:.0f}" if name in found else "" for name in ("encode_ms", "decode_ms"))
    return (codec(found["name"]), f"{found['bytes']:,}", f"{found['bits_a_value']:.2f}", quality, *times)


def codec(name: str) -> str:
    """As a reader knows it, from what a codec prints: "HEVC(qp=10)" is "libx265 QP 10"."""
    for printed, known in PRINTED.items():
        name = name.replace(printed, known)
    return name.replace("(qp=", " QP ").removesuffix(")") if "(qp=" in name else name


def streams() -> str:
    """A line a selection, a column a cut."""
    cuts = {cut: {r["name"]: r for r in newest("wire_codecs", ("name",), what="streams", cut=cut)} for cut in (6, 13)}
    header = ("selection", *(f"`features.{cut}`: bytes, KL, same top-1" for cut in cuts))
    names = next(iter(cuts.values()))
    lines = [(name, *(told(found[name]) for found in cuts.values())) for name in names]
    return table(header, lines, "l" + "r" * len(cuts))


def told(found: Row) -> str:
    return f"{found['bytes']:,.0f}, {found['kl']:.4f}, {found['top1']:.2f}"
