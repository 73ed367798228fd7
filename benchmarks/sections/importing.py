"""What importing costs, beside the hosts."""

from __future__ import annotations

import statistics

from sections.rows import newest


def fields() -> dict[str, str]:
    rounds = [row["cpu_seconds"] for row in newest("import_time", ("round",))]
    hosts, ours, names = ([each[step] for each in rounds] for step in ("hosts", "infoprune", "names"))
    return {
        "rounds": str(len(rounds)),
        "hosts": f"{statistics.median(hosts):.1f}",
        "import": f"{statistics.median(ours):.3f}",
        "import_range": f"{min(ours):.3f} to {max(ours):.3f}",
        "names": f"{statistics.median(names):.2f}",
        "names_range": f"{min(names):.2f} to {max(names):.2f}",
    }
