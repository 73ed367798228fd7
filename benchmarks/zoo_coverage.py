"""Prune every model of a list to half its MACs, check all that is promised, and write the table.

    python benchmarks/zoo_coverage.py                      # all of zoo.txt, one process a model, resumable
    python benchmarks/zoo_coverage.py resnet18 convit_tiny # these again
    python benchmarks/zoo_coverage.py --table              # only write docs/coverage.md from the results

A model ends as "pruned" (MACs counted on the built model within 47 % and 50 %, prices predicted to the unit, outputs
finite, certificate not failed, loaded model bitwise equal), as "refused" (a typed error, the model untouched), or as
a failure, which is a defect.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results_file import FOLDER, ResultsFile, arguments, read
from third_party import table as third_party

HERE = Path(__file__).parent
TABLE = HERE.parent / "docs" / "coverage.md"
PACKAGED = HERE.parent / "src" / "infoprune" / "coverage.json"
LIMIT_S = 120
SMOKE = "test_resnet"


def one(name: str) -> dict:
    import timm
    import torch

    import infoprune as ip

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = timm.create_model(name).eval()
    x = torch.randn(1, *model.pretrained_cfg["input_size"])
    untouched = copy.deepcopy(model.state_dict())
    started = time.process_time()
    try:
        plan = ip.plan(model, x, ip.importance.CapacityIndependenceImportance(), budgets=[ip.budgets.macs(keep=0.5)])
    except ip.InfopruneError as error:
        same = all(torch.equal(v, untouched[k]) for k, v in model.state_dict().items())
        told = f"{type(error).__name__}: {error}"
        return {"model": name, "outcome": "refused" if same else "failed", "reason": told, "cpu_s": _since(started)}
    certificate = ip.certificate_of(model, x, plan)
    ip.prune_(model, x, plan)
    pruned_s = _since(started)
    after = ip.measure(model, x)
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        expected = model(x)
        ip.save(f"{folder}/artefact", model, plan)
        equal = torch.equal(ip.load(f"{folder}/artefact")(x), expected)
    keep = after.macs / plan.prices["macs"].before
    checks = {
        "keep within 47 % and 50 %": 0.47 <= keep <= 0.5,
        "MACs as predicted": after.macs == plan.prices["macs"].after,
        "parameters as predicted": after.params == plan.prices["params"].after,
        "outputs finite": bool(torch.isfinite(expected).all()),
        "certificate": certificate.verdict != "failed",
        "loaded model bitwise equal": equal,
    }
    broken = [check for check, fine in checks.items() if not fine]
    quarantined = plan.made_by.get("quarantined", [])
    return {
        "model": name, "outcome": "failed" if broken else "pruned", "reason": ", ".join(broken), "keep": keep,
        "params_keep": plan.prices["params"].keep, "certificate": certificate.verdict,
        "statistics": list(certificate.statistics), "difference": certificate.difference,
        "sites": len(plan.edits), "quarantined": quarantined, "cpu_s": pruned_s,
    }  # fmt: skip


def _since(started: float) -> float:
    return round(time.process_time() - started, 2)


def child(program: str, name: str, limit_s: float) -> dict:
    """The row that the program prints of one model in a process of its own, or the reason why there is none."""
    command = [sys.executable, "-W", "ignore", program, "--one", name]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return {"model": name, "reason": f"not done after {limit_s} s"}
    if ended.returncode == 0:
        return json.loads(ended.stdout.splitlines()[-1])
    return {"model": name, "reason": (ended.stderr.strip().splitlines() or ["no output"])[-1][:300]}


def write_table(rows: list[dict]) -> None:
    order = {name: i for i, name in enumerate(zoo())}
    rows = sorted(rows, key=lambda row: order.get(row["model"], len(order)))
    count = {outcome: sum(row["outcome"] == outcome for row in rows) for outcome in ("pruned", "refused", "failed")}
    exports = _exports()
    lines = [
        "# Which models prune",
        "",
        "Made by `python benchmarks/zoo_coverage.py`: timm models with random weights on a CPU, to half their "
        "MACs with `CapacityIndependenceImportance` and `round_to=1`.",
        "",
        f"**{count['pruned']} of {len(rows)} pruned, {count['refused']} refused with a typed error before anything was "
        f"touched, {count['failed']} failed.** On every pruned model the planned MACs and parameters equal the counted "
        "ones, and the saved model loads bitwise equal.",
        "",
        '"Not exact by design" names statistics that are taken over channels. Sites left alone are those whose removal '
        "the model's own code does not follow; the rest was pruned.",
        "",
        "ONNX: how far the outputs of ONNX Runtime are from torch's, as a fraction of the largest output, at the worse "
        "of two batch sizes (`python benchmarks/export_coverage.py`); empty where it was not run.",
        "",
        "| model | outcome | MACs left | parameters left | certificate | sites cut / left alone | ONNX | CPU s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if row["outcome"] == "pruned":
            verdict = row["certificate"] + (f" ({', '.join(row['statistics'])})" if row["statistics"] else "")
            cells = [
                f"{row['keep']:.2%}",
                f"{row['params_keep']:.1%}",
                verdict,
                f"{row['sites']} / {len(row['quarantined'])}",
                exports.get(row["model"], ""),
            ]
        else:
            cells = ["", "", row["reason"].replace("|", "/")[:260], "", ""]
        lines.append(f"| {row['model']} | {row['outcome']} | " + " | ".join(cells) + f" | {row.get('cpu_s', '')} |")
    reasons = [(row["model"], q) for row in rows for q in row.get("quarantined", [])]
    lines += ["", "## Sites left alone", ""] + [f"- `{model}` {reason}" for model, reason in _first_of_each(reasons)]
    lines += third_party.lines(ResultsFile(FOLDER / "third_party_zoo.jsonl", ("model",)).rows())
    TABLE.write_text("\n".join(lines) + "\n")
    packaged = [{"model": row["model"], "outcome": row["outcome"]} for row in rows]
    PACKAGED.write_text(json.dumps(packaged, indent=0) + "\n")
    print(count)


def _exports() -> dict[str, str]:
    """model -> what became of its export."""
    rows = read(FOLDER / "export_coverage.jsonl")
    return {row["model"]: f"{row['difference']:.0e}" if "difference" in row else row["reason"][:80] for row in rows}


def _first_of_each(reasons: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """One line for each model and kind of reason."""
    found = {}
    for model, reason in reasons:
        site, _, why = reason.partition(": ")
        found.setdefault((model, why.split("'")[0]), (model, f"`{site}`: {why}"))
    return list(found.values())


def zoo() -> list[str]:
    return [line.strip() for line in (HERE / "zoo.txt").read_text().splitlines() if line.strip() and line[0] != "#"]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("names", nargs="*", help="timm models to do again; without any, all that are not done")
    parser.add_argument("--table", action="store_true", help="only write docs/coverage.md from the results")
    parser.add_argument("--one", action="store_true", help="do one model here and print its row (for the children)")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.names[0])))
        return
    results = ResultsFile.of(options, "zoo_coverage", ("model",))
    wanted = [] if options.table else [SMOKE] if options.smoke else zoo()
    for name in options.names or [n for n in wanted if not results.has(model=n)]:
        results.append({"outcome": "failed", **child(__file__, name, LIMIT_S)})
    if not options.smoke:
        write_table(results.rows())


if __name__ == "__main__":
    main()
