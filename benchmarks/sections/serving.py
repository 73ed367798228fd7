"""What a network in two halves serves on one machine."""

from __future__ import annotations

from split_serving import ROUNDS

from sections.rows import Row, newest, table


def fields() -> dict[str, str]:
    found = newest("split_serving", ("way",), requests=200)
    header = ("way", "requests a s", "ms: 50 %", "90 %", "99 %", "kB a request", "edge CPU ms", "cloud CPU ms",
              "images a pass", "off")  # fmt: skip
    lines = [
        (
            row["way"],
            f"{row['per_s']:.1f}",
            *(f"{ms:.0f}" for ms in row["ms"]),
            f"{row['sent_bytes'] / 1e3:.1f}" if row["sent_bytes"] else "",
            f"{row['edge_cpu_ms']:.1f}",
            f"{row['cloud_cpu_ms']:.1f}" if row["cloud_cpu_ms"] else "",
            f"{row['cloud']['together']:.1f}" if row["cloud"] else "",
            f"{row['off']:.0e}" if row["off"] else "0",
        )
        for row in found
    ]
    about = {name: str(found[0][name]) for name in ("requests", "clients", "size")}
    return {**about, "rounds": str(ROUNDS), "table": table(header, lines, "l" + "r" * 9), "told": told(found)}


def told(found: list[Row]) -> str:
    by_way = {row["way"]: row for row in found}
    split, whole = by_way["split"], by_way["whole"]
    faster, smaller = split["per_s"] / whole["per_s"], split["sent_bytes"] / whole["sent_bytes"]
    cpu = [f"{row['edge_cpu_ms'] + row['cloud_cpu_ms']:.0f}" for row in (split, whole, by_way["local"])]
    return (
        f"The split network serves {faster:.2f} times as many requests a second as the whole one and sends "
        f"{smaller:.2f} times the\nbytes; of the cloud it takes {split['cloud_cpu_ms']:.0f} CPU ms a request instead "
        f"of {whole['cloud_cpu_ms']:.0f}. Both sides together take {cpu[0]} CPU ms, the whole\n"
        f"network over the wire {cpu[1]}, and the network alone {cpu[2]}."
    )
