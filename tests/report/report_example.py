"""A report as a long run leaves it."""

from dataclasses import replace

from infoprune.report.model import Allocation, Baseline, Interval, Report, Score, SiteChange, State, Step

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
BLOCKS = tuple(
    SiteChange(
        f"stages.{i // 9}.blocks.{i % 9}",
        "block",
        1,
        int(i % 3 != 1),
        weight=Interval(0.1 + 0.02 * (i % 7), 0.09, 0.25),
    )
    for i in range(27)
)
DEPTH = replace(
    EXAMPLE, name="cifar10-resnet56-ped", model="resnet56_cifar", sites=BLOCKS, allocation=None, baselines=(),
    budgets={}, blocks_removed=tuple(s.name for s in BLOCKS if not s.keeps),
)  # fmt: skip
TOKENS = replace(
    EXAMPLE, name="imagenet-deit_s-tokens", model="timm:deit_small_patch16_224", blocks_removed=(), baselines=(),
    sites=tuple(SiteChange(f"blocks.{b}", "tokens", n, k) for b, n, k in ((3, 196, 138), (6, 138, 97), (9, 97, 68))),
    budgets={},
    certificate="exact: max |pruned - masked| = 6.7e-08 at outputs up to 2.2e-01 (float32)", allocation=None,
)  # fmt: skip


def scored(classes: float, disparity: float, picture: float, sent: float) -> tuple[Score, ...]:
    return (
        Score("segmentation", "mIoU", "higher", Interval(classes, classes - 0.012, classes + 0.012)),
        Score("disparity", "RMSE, px", "lower", Interval(disparity, disparity - 0.03, disparity + 0.03)),
        Score("reconstruction", "PSNR, dB", "higher", Interval(picture, picture - 0.2, picture + 0.2)),
        Score("traffic", "bytes an image", "lower", Interval(sent, sent - 0.01 * sent, sent + 0.01 * sent)),
    )


THEIRS = scored(0.612, 0.702, 17.4, 3811.0)
SPLIT = replace(
    EXAMPLE, name="scenes-split", model="small_three_task", data="scenes", blocks_removed=(), budgets={}, tuning="",
    before=replace(EXAMPLE.before, accuracy=None, scores=scored(0.703, 0.614, 22.1, 32768.0)),
    after=replace(EXAMPLE.before, accuracy=None, scores=scored(0.651, 0.688, 19.2, 3870.0)), allocation=None,
    sites=(SiteChange("backbone.neck", "features", 64, 32),),
    steps=tuple(Step(0, 1000 * i, 3.2 / (1 + 0.1 * i)) for i in range(30)),
    baselines=tuple(
        Baseline(name, s.value, Interval(gain, gain - abs(0.4 * gain), gain + abs(0.4 * gain)), s.name, s.unit)
        for name in ("random", "l2") for s, gain in zip(THEIRS, (0.039, 0.014, 1.8, -59.0), strict=True)
    ),
)  # fmt: skip
