"""A cross-section of benchmarks/third_party/; the whole list is run by benchmarks/third_party_zoo.py."""

from importlib.metadata import PackageNotFoundError

import pytest
from third_party import checking, entries, table

ENTRIES = entries()
NAMES = (
    "hand_residual", "hand_split_shuffle", "hand_einsum_attention", "hand_temporal_shift", "hand_dataclass_output",
    "hand_grouped_queries", "hand_rms_norm", "hand_positions", "vit",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in ("bert", "gpt2", "llama", "segformer", "wav2vec2", "clip", "t5")
    ),
)  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # of the packages about themselves
@pytest.mark.parametrize("name", NAMES)
def test_what_is_promised_of_a_network_of_another_package_holds(name):
    try:
        row = checking.row(ENTRIES[name])
    except PackageNotFoundError as missing:
        pytest.skip(f"{missing.name} is not installed")
    assert row["outcome"] == "pruned", row["reason"]


def test_the_list_is_as_long_and_as_broad_as_it_says():
    by_package = {}
    for entry in ENTRIES.values():
        by_package.setdefault(entry.package, []).append(entry)
    assert len(ENTRIES) >= 120
    assert len(by_package) >= 12
    assert len(by_package["by hand"]) >= 20
    assert sum(entry.generates for entry in ENTRIES.values()) >= 12


def test_the_page_counts_outcomes_and_gives_reasons():
    stock = {"outcome": "forward fails", "reason": "RuntimeError"}
    good = {"model": "a", "package": "p", "version": "1", "outcome": "pruned", "reason": "", "keep": 0.5,
            "certificate": "exact", "statistics": [], "mask": 1e-15, "mask_other": 3e-15, "host": stock,
            "host_heads": {"outcome": "no heads known"}}  # fmt: skip
    bad = {
        **good,
        "model": "b",
        "outcome": "refused",
        "reason": "Infeasible",
        "reach": 0.6,
        "host": {"outcome": "runs", "keep": 0.49},
    }
    page = "\n".join(table.lines([good, bad]))
    assert "Of 2 networks 1 are pruned, 1 refused" in page
    assert "on 1 of 2 as it comes" in page
    assert "| a | p | pruned | 50.0% | exact | 3e-15 | forward fails |  |" in page
    assert "- `b` refused, down to 60% of the MACs: Infeasible" in page
