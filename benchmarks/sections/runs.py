"""How long the first command takes, and what a run costs beside its passes."""

from __future__ import annotations

from sections.rows import row


def fields() -> dict[str, str]:
    found, quick = row("run_overhead", recipe="quickstart"), row("quickstart", changes=[])
    return {
        "wall": f"{quick['wall_s']:.0f}",
        "threads": str(quick["threads"]),
        "processor": quick["environment"]["cpu"],
        "instructions": quick["instruction_set"],
        "quick_cpu": f"{quick['cpu_s']:.0f}",
        "load": f"{quick['load_before']:.1f}",
        "dense": f"{quick['training_s']['dense']:.0f}",
        "tuned": f"{quick['training_s']['cut-1']:.0f}",
        "outside": f"{100 * found['outside']:.1f} %",
        "imports": f"{100 * found['outside_with_imports']:.1f} %",
        "cpu": f"{found['run_cpu_s']:.0f}",
        "import_s": f"{found['import_cpu_s']:.1f}",
        "kept": f"{100 * found['macs_kept']:.1f} %",
        "change": f"{100 * found['accuracy_change']:+.2f}",
    }
