"""torch-kirigami on the networks of third_party_zoo.py: does it prune, does its price hold, does its checkpoint load?

    python benchmarks/kirigami_zoo.py            # all that are not done, one process a model, resumable
    python benchmarks/kirigami_zoo.py unet2d     # these again

Needs `pip install torch-kirigami` and the packages of `infoprune[zoo]`. It is asked for half of the parameters, ranked
by L2, or, where it says that these can't be reached, for 70 % of every width. A network that "runs" gives outputs of
the same shapes; "refused" is an error of a type that it declares. A plan that is refused for a network with
`inplace=True` is tried again with activations that don't write into their input, as its manual advises. MACs and
parameters are counted by the same counter for both libraries.
"""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version
from typing import Any

from results_file import ResultsFile, arguments
from third_party import entries
from third_party.entry import Entry
from third_party_zoo import SMOKE, alone, installed, preload

LIMIT_S = 30  # of CPU


def row(entry: Entry) -> dict[str, Any]:
    from third_party import kirigami

    told: dict[str, Any] = {"model": entry.name, "package": entry.package, "kind": entry.kind}
    told["kirigami"] = version("torch-kirigami")
    told["as_it_comes"] = first = alone(lambda: kirigami.row(entry, in_place=True), LIMIT_S)
    if first.get("reason", "").startswith("plan") and kirigami.writes_in_place(entry.model()):
        told["not_in_place"] = alone(lambda: kirigami.row(entry, in_place=False), LIMIT_S)
    return told


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("names", nargs="*", help="models to do again; without any, all that are not done")
    options = parser.parse_args()
    if not installed("torch-kirigami"):
        sys.exit("torch-kirigami is not installed: pip install torch-kirigami")
    known, results = entries(), ResultsFile.of(options, "kirigami_zoo", ("model",))
    wanted = options.names or ([SMOKE] if options.smoke else [name for name in known if not results.has(model=name)])
    todo = [name for name in wanted if known[name].package == "by hand" or installed(known[name].package)]
    for name in sorted(set(wanted) - set(todo)):
        print(f"{name}: {known[name].package} is not installed", file=sys.stderr)
    warnings.simplefilter("ignore")
    preload()
    for number, name in enumerate(todo, 1):
        print(f"{number} of {len(todo)}:", end=" ", flush=True)
        results.append(row(known[name]))


if __name__ == "__main__":
    main()
