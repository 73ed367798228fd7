"""A report as a long run leaves it."""

from infoprune.report.model import Allocation, Baseline, Interval, Report, SiteChange, State, Step

SITES = tuple(
    SiteChange(f"layer{1 + i // 3}.{i % 3}.conv1", "channels", 64 * 2 ** (i // 6), 64 * 2 ** (i // 6) - 3 * i,
               0.02 + 0.005 * (i % 5), 0.03 + 0.004 * (i % 7), Interval(0.5 + 0.03 * i, 0.4 + 0.03 * i, 0.6 + 0.03 * i))
    for i in range(18)
)  # fmt: skip
STEPS = tuple(
    Step(i // 10, 1000 * i, 2.3 / (1 + 0.2 * (i % 10)), 0.5 + 0.04 * (i % 10) if i % 2 else None) for i in range(30)
)
EXAMPLE = Report(
    name="quickstart",
    model="resnet20",
    data="digits: 1,437 for training, 360 held out",
    before=State(272_474, 40_813_184, 1_112_345, Interval(4.2, 4.0, 4.5), Interval(0.981, 0.96, 0.99)),
    after=State(140_002, 20_406_592, 578_000, Interval(2.6, 2.5, 2.8), Interval(0.975, 0.953, 0.987)),
    sites=SITES,
    blocks_removed=("layer3.2",),
    steps=STEPS,
    certificate="exact: max |pruned - masked| = 6.71e-08 at outputs up to 2.21e-01 (float32)",
    allocation=Allocation(0.0021, 0.13),
    latency_ratio=Interval(1.61, 1.52, 1.69),
    budgets={"macs": "met"},
    baselines=(
        Baseline("random", Interval(0.95, 0.92, 0.97), Interval(0.025, 0.004, 0.046)),
        Baseline("l2", Interval(0.973, 0.951, 0.986), Interval(0.002, -0.012, 0.016)),
    ),
    tuning="2,000 images after batch norm was estimated again",
    seconds=131.0,
    environment={"torch": "2.15.0", "processor": "x86_64, 2 threads"},
    recipe="schema: 1\nmodel: {name: resnet20}\n",
    load='import infoprune as ip\n\nmodel = ip.load("runs/quickstart/model")\n',
)
