"""Our best recipe beside the host's, at equal MACs and at equal latency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

from ladder import KEEP
from pareto_rows import AS_FAST, DIGITS, ENTRIES, HOSTS, KEY, LADDER, OURS, PRETRAINED, RUNGS, at_best_rate, best_host
from results_file import Difference, interval

from sections import recovery
from sections.rows import Row, newest, table, times

NAMES = {
    "resnet20": "ResNet-20",
    "vgg16": "VGG-16, half width",
    "resnet56_grown": "ResNet-56",
    "mobilenetv2": "MobileNetV2",
    "lite0": "EfficientNet-Lite0",
}
Draws = Mapping[int, float]


@dataclass(frozen=True)
class Side:
    """Points of each draw, and the mean of its time over the dense network's."""

    points: Draws
    latency: float | None

    def __str__(self) -> str:
        return f"{mean(self.points.values()):.1f}" + (f" at {self.latency:.2f}" if self.latency else "")


@dataclass(frozen=True)
class Cut:
    """A network at a budget: the host's best entry, ours at the same MACs, and ours as fast as that entry."""

    net: str
    keep: float
    name: str
    host: Side
    equal_macs: Side
    equal_latency: Side | None
    fast: Sequence[Row]

    @property
    def leads(self) -> list[list[float]]:
        """Ours minus the host's of each draw that has both, at equal MACs and at equal latency."""
        sides = [side.points if side else {} for side in (self.equal_macs, self.equal_latency)]
        return [[of[draw] - self.host.points[draw] for draw in of if draw in self.host.points] for of in sides]


def _gap(leads: Sequence[float]) -> Difference:
    return Difference(mean(leads), *interval(leads), len(leads))


def _told(leads: Sequence[float]) -> str:
    """A single one has no interval."""
    return f"{_gap(leads):.1f}" if len(leads) > 1 else "".join(f"{lead:+.1f}" for lead in leads)


def fields() -> dict[str, str]:
    found, all_cuts = newest("pareto", KEY), cuts()
    digits = [row for row in found if row["net"] in DIGITS]
    return {
        "hosts": _hosts([row for row in digits if row["keep"] < 1]),
        "images": " or ".join(f"{images:,}" for images in sorted({row["images"] for row in digits})),
        "rates": _tried([row for row in digits if row["keep"] < 1]),
        "table": table(HEADER, [_line(cut) for cut in all_cuts], "lrlrrrrrrr"),
        "average": " ".join(_average(all_cuts, nets, of) for nets, of in AVERAGED if _of(all_cuts, nets)),
        "diverged": _diverged([row for cut in all_cuts for row in _counted(found, cut)]),
        "uncut": _uncut([row for row in digits if row["keep"] == 1]),
        "entries": _entries([row for row in digits if row["keep"] < 1]),
    }


def _hosts(rows: Sequence[Row]) -> str:
    """The host's entries, and on how many cuts each was tried if not on all."""
    where = {name: {(row["net"], row["keep"]) for row in rows if row["entry"] == name} for name in HOSTS}
    most = max(map(len, where.values()))
    return ", ".join(
        name.removeprefix("host ") + ("" if len(of) == most else f" (on {len(of)} of {most} cuts)")
        for name, of in where.items()
    )


def _tried(rows: Sequence[Row]) -> str:
    """The rates of draw 0 of ours on every cut, and which cut tried others as well."""
    rates: dict[tuple[str, float], set[float]] = {}
    for row in rows:
        if (row["entry"], row["draw"]) == (OURS, 0):
            rates.setdefault((row["net"], row["keep"]), set()).add(row["rate"])
    common = set.intersection(*rates.values())
    more = [f"{NAMES[net]} at {keep:.0%} {_listed(own - common)}" for (net, keep), own in rates.items() if own > common]
    return _listed(common) + (f", and {', '.join(more)} as well" if more else "")


def _listed(rates: set[float]) -> str:
    return " and ".join(f"{rate:g}" for rate in sorted(rates))


def cuts() -> list[Cut]:
    return [*_digits(), *filter(None, map(_pretrained, PRETRAINED))]


def _digits() -> list[Cut]:
    found = [row for row in newest("pareto", KEY) if row["keep"] < 1]
    settings = dict.fromkeys((net, row["keep"]) for net in DIGITS for row in found if row["net"] == net)
    return [_digits_at(found, net, keep) for net, keep in sorted(settings, key=lambda s: (DIGITS.index(s[0]), -s[1]))]


def _digits_at(found: Sequence[Row], net: str, keep: float) -> Cut:
    name = best_host(found, net, keep)
    host, ours, fast = (at_best_rate(found, net, keep, entry) for entry in (name, OURS, AS_FAST))
    assert all(row["rival"] == name for row in fast), f"{net} at {keep:.0%} was made as fast as another entry"
    return Cut(net, keep, name, _side(host), _side(ours), _side(fast) if fast else None, fast)


def _side(rows: Sequence[Row]) -> Side:
    return Side({row["draw"]: 100 * row["accuracy"] for row in rows}, _latency(rows, "own"))


def _pretrained(net: str) -> Cut | None:
    """What ladder.py says at equal MACs, and ours that is as fast."""
    fast = newest("pareto", KEY, net=net)
    name = "host isomorphic L1"
    host, ours = ({r["draw"]: _agreement(r) for r in _ladder(net, RUNGS[entry])} for entry in (name, OURS))
    if not (host and ours):
        return None
    own, theirs, narrow = (_latency(fast, of) for of in ("own", name, OURS))
    own_side = Side({row["draw"]: _agreement(row) for row in fast}, own) if fast else None
    return Cut(net, KEEP[net], name, Side(host, theirs), Side(ours, narrow), own_side, fast)


def _latency(rows: Sequence[Row], of: str) -> float | None:
    """Over the dense network's; not known of networks that were not timed."""
    return mean(times(row, of, "dense").value for row in rows) if rows else None


def _ladder(net: str, rungs: str) -> list[Row]:
    return [row for row in newest("ladder", recovery.KEY, net=net, rungs=rungs, **LADDER) if row["keep"] < 1]


def _agreement(row: Row) -> float:
    return 100 * row["after"]["alike"]["agreement"]


HEADER = (
    "network", "MACs", "best of the host", "it gives", "ours at equal MACs", "ahead by",
    "ours at equal latency", "its MACs", "time", "ahead by",
)  # fmt: skip


def _line(cut: Cut) -> tuple[object, ...]:
    at_macs, at_latency = map(_told, cut.leads)
    macs = f"{mean(row['macs'] for row in cut.fast):.0%} in {cut.fast[0]['round_to']}s" if cut.fast else ""
    sides = cut.host, cut.equal_macs, at_macs, cut.equal_latency or "", macs, _time(cut), at_latency
    return NAMES[cut.net], f"{cut.keep:.0%}", cut.name.removeprefix("host "), *sides


def _time(cut: Cut) -> str:
    ratios = [times(row, "own", row["rival"]) for row in cut.fast]
    if not ratios:
        return ""
    return (
        f"{mean(r.value for r in ratios):.2f} ({min(r.low for r in ratios):.2f} to {max(r.high for r in ratios):.2f})"
    )


def picture() -> tuple[dict[str, Row], dict[str, float], list[str]]:
    """What pareto_picture draws: panels, accuracy of dense networks, and what is measured in each panel."""
    nets = list(dict.fromkeys(cut.net for cut in cuts() if cut.host.latency))
    panels = {NAMES[net]: _panel(_of(cuts(), [net])) for net in nets}
    whole = {NAMES[net]: 100 * accuracy for net, accuracy in dense().items()} | {NAMES[net]: 100 for net in PRETRAINED}
    units = ["agreement, %" if net in PRETRAINED else "accuracy, %" for net in nets]
    return panels, whole, units


def _panel(found: Sequence[Cut]) -> Row:
    sides = {"host": [cut.host for cut in found], "ours": [cut.equal_macs for cut in found]}
    sides["fast"] = [cut.equal_latency for cut in found if cut.equal_latency]
    return {side: [(one.latency, list(one.points.values())) for one in of] for side, of in sides.items() if of}


SHOWN = (("ahead", "better"), ("behind", "worse"), ("no difference shown", "no difference shown"))
AVERAGED = (
    (DIGITS, "accuracy of networks trained on digits"),
    (PRETRAINED, "agreement of those with ImageNet weights"),
)


def _of(found: Sequence[Cut], nets: Sequence[str]) -> list[Cut]:
    return [cut for cut in found if cut.net in nets]


def _average(found: Sequence[Cut], nets: Sequence[str], what: str) -> str:
    """How far ahead ours is at equal MACs and at equal latency, and where this is shown."""
    told = []
    for place, how in enumerate(("at equal MACs", "at equal latency")):
        leads = [cut.leads[place] for cut in _of(found, nets) if cut.leads[place]]
        if leads:
            told.append(f"{how} {over(leads)}: {shown(leads)}")
    return f"Ours minus the host's best in {what}: " + "; ".join(told) + "."


def over(leads: Sequence[Sequence[float]]) -> str:
    """The mean over cuts, each counting once, with its interval over cuts, and the median where there are several."""
    means = [mean(of) for of in leads]
    return _told(means) + (f", median {median(means):+.1f}" if len(means) > 1 else "")


def shown(leads: Sequence[Sequence[float]]) -> str:
    verdicts = Counter(_gap(of).verdict for of in leads if len(of) > 1)
    each = [f"{how} on {verdicts[verdict]}" for how, verdict in SHOWN if verdicts[verdict]]
    once = sum(len(of) == 1 for of in leads)
    return (f"of {len(leads)} cuts " if len(leads) > 1 else "of one cut ") + ", ".join(
        [*each, *([f"one draw alone on {once}"] if once else [])]
    )


def dense() -> dict[str, float]:
    return {row["net"]: row["accuracy"] for row in newest("dense_digits", ("net",)) if row["net"] in DIGITS}


def _counted(found: Sequence[Row], cut: Cut) -> list[Row]:
    """The rows of digits that the table is made of."""
    entries = (cut.name, OURS, AS_FAST) if cut.net in DIGITS else ()
    return [row for entry in entries for row in at_best_rate(found, cut.net, cut.keep, entry)]


def _diverged(rows: Sequence[Row]) -> str:
    """Networks that tuning left worse than it found them."""
    worse = [
        f"{NAMES[row['net']]} at {row['keep']:.0%}, {row['entry']}, draw {row['draw']} "
        f"(from {100 * row['untrained']:.1f} to {100 * row['accuracy']:.1f} % at a rate of {row['rate']:g})"
        for row in rows
        if row["accuracy"] < row["untrained"]
    ]
    if not worse:
        return f"None of these {len(rows)} networks was left worse by tuning than it came to it."
    return f"Of these {len(rows)} networks tuning diverged on {len(worse)}: {'; '.join(worse)}."


def _uncut(rows: Sequence[Row]) -> str:
    """What the same steps do to a network of which nothing is cut."""
    if not rows:
        return "No network has gone through these steps uncut."
    assert all(row["unharmed"] for row in rows if row["entry"] == OURS), "nothing was cut, and weights are others"
    told = []
    for net in dict.fromkeys(row["net"] for row in rows):
        sides = {entry: [r for r in rows if (r["net"], r["entry"]) == (net, entry)] for entry in ENTRIES}
        each = [f"{entry} {100 * max(r['accuracy'] for r in of):.1f}" for entry, of in sides.items() if of]
        told.append(f"{NAMES[net]} {100 * dense()[net]:.1f} % dense and, tuned, {', '.join(each)}")
    return (
        "Networks of which nothing is cut come out of cutting and refitting bit for bit, and of tuning at their "
        f"best rate with: {'; '.join(told)}."
    )


def _entries(rows: Sequence[Row]) -> str:
    lines = []
    for net, keep in dict.fromkeys((net, row["keep"]) for net in DIGITS for row in rows if row["net"] == net):
        for entry in ENTRIES:
            if of := at_best_rate(rows, net, keep, entry):
                untrained, params, macs = (
                    f"{100 * mean(r[k] for r in of):.1f}" for k in ("untrained", "params", "macs")
                )
                lines.append(
                    (
                        NAMES[net],
                        f"{keep:.0%}",
                        entry,
                        len(of),
                        macs,
                        params,
                        f"{of[0]['rate']:g}",
                        untrained,
                        _side(of),
                    )
                )
    header = (
        "network",
        "budget",
        "entry",
        "draws",
        "MACs, %",
        "parameters, %",
        "rate",
        "untrained",
        "tuned, at latency",
    )
    return table(header, lines, "lrlrrrrrr")
