"""So many bits per image: measured, met, and used."""

import pytest
import torch

import infoprune as ip
from infoprune.split.rate import RateChoice, relative_squared_error, select_for_rate
from infoprune.wire import HEVC, Lossless, Selection, Zlib, decode, encode

SIZE = 12


@pytest.fixture(scope="module")
def features():
    """Smooth maps, each weaker than the one before: the ranking is 0, 1, 2, ..."""
    random = torch.randn(1, SIZE, 16, 16, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(random, 5, 1, 2).relu()
    return smooth * 0.7 ** torch.arange(SIZE).view(-1, 1, 1)


RANKING = range(SIZE)


def measured(choice: RateChoice, features):
    return sum(8 * len(encode(image, choice.selection)) for image in features) / len(features)


@pytest.mark.parametrize("bits", [2500, 8000])
@pytest.mark.parametrize("way", [Selection.hard, Selection.soft])
def test_the_measured_bits_meet_the_target_and_are_stated(features, bits, way):
    choice = select_for_rate(features, RANKING, bits_per_image=bits, way=way)
    assert choice.bits_per_image == measured(choice, features) <= bits == choice.target
    back = torch.stack([decode(encode(image, choice.selection)) for image in features])
    assert choice.distortion == relative_squared_error(features, back)
    assert f"{choice.bits_per_image:,.0f} bits per image of {bits:,.0f}" in str(choice)


def test_no_finer_qp_would_have_met_the_target(features):
    choice = select_for_rate(features, RANKING, bits_per_image=6000)
    for tried in choice.tried:
        selections = [Selection.hard(SIZE, range(tried.count), HEVC(qp)) for qp in range(tried.qp)]
        costs = [sum(8 * len(encode(image, s)) for image in features) / len(features) for s in selections[-3:]]
        assert all(cost > 6000 for cost in costs)
    assert choice.distortion == min(tried.distortion for tried in choice.tried)


def test_more_bits_are_never_worse(features):
    found = [
        select_for_rate(features, RANKING, bits_per_image=bits).distortion for bits in (2500, 5000, 10_000, 20_000)
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] > 10 * found[-1]


def test_the_kept_features_are_the_first_of_the_ranking(features):
    choice = select_for_rate(features, [5, 3, 8, 1], bits_per_image=2500, codec=Zlib)
    assert set(choice.selection.kept) in ({5}, {5, 3}, {5, 3, 8})
    assert all(isinstance(part.codec, Zlib) for part in choice.selection.parts)


def test_a_task_may_judge(features):
    """A task that reads feature 11 alone wants all of them sent, however coarsely."""

    def task(given, arrived):
        return float((given[:, 11] - arrived[:, 11]).abs().mean())

    assert len(select_for_rate(features, RANKING, bits_per_image=4000, distortion=task).selection.kept) == SIZE


def test_a_budget_names_the_target(features):
    by_share = select_for_rate(features, RANKING, bits_per_image=ip.budgets.bits(keep=0.25), codec=Zlib)
    assert by_share.target == 0.25 * 8 * SIZE * 16 * 16
    by_amount = select_for_rate(features, RANKING, bits_per_image=ip.budgets.bits(at_most=6000), codec=Zlib)
    assert by_amount == select_for_rate(features, RANKING, bits_per_image=6000, codec=Zlib)


def test_too_few_bits_name_the_cheapest(features):
    with pytest.raises(ip.errors.Infeasible, match=r"^100 bits per image are too few: the cheapest .* 1,\d\d\d$"):
        select_for_rate(features, RANKING, bits_per_image=100)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"ranking": []}, "empty or names a feature twice"),
        ({"ranking": [1, 1]}, "empty or names a feature twice"),
        ({"ranking": [99]}, "from 0 to 11"),
        ({"features": torch.zeros(3, 4, 4)}, r"\[B, C, H, W\]"),
        ({"bits_per_image": 0}, "positive finite"),
        ({"bits_per_image": float("nan")}, "positive finite"),
        ({"bits_per_image": ip.budgets.macs(keep=0.5)}, "the budget is of macs"),
    ],
)
def test_what_makes_no_sense_is_refused(features, change, complaint):
    given = {"features": features, "ranking": RANKING, "bits_per_image": 5000, "codec": Lossless} | change
    with pytest.raises(ValueError, match=complaint):
        select_for_rate(given.pop("features"), given.pop("ranking"), **given)
