"""What a run costs beside its passes."""

from __future__ import annotations

from sections.rows import row


def fields() -> dict[str, str]:
    found = row("run_overhead", recipe="quickstart")
    return {
        "outside": f"{100 * found['outside']:.1f} %",
        "imports": f"{100 * found['outside_with_imports']:.1f} %",
        "cpu": f"{found['run_cpu_s']:.0f}",
        "import_s": f"{found['import_cpu_s']:.1f}",
        "kept": f"{100 * found['macs_kept']:.1f} %",
        "change": f"{100 * found['accuracy_change']:+.2f}",
    }
