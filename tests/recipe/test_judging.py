"""Scores of maps with their intervals, what they are trained for, and what travels at a split."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from tests.recipe.tiny import tiny

from infoprune.data import datasets
from infoprune.errors import BadRecipe, UnusableData
from infoprune.finetune import Naming, Training
from infoprune.finetune.loss import TOKENS, loss_of
from infoprune.models import small_three_task
from infoprune.recipe import recipe_of, run
from infoprune.recipe.display import OnStderr
from infoprune.recipe.judging import from_sums, groups_of, judged_maps
from infoprune.recipe.quality import Judged
from infoprune.recipe.split_features import judged_over_the_wire
from infoprune.recipe.training_goals import ThreeMaps, three_errors
from infoprune.split import PSNR
from infoprune.wire import Selection


def test_the_interval_of_a_mean_is_students():
    values = torch.randn(17, generator=torch.Generator().manual_seed(0)).double() + 30
    judged = from_sums("x", PSNR(), torch.stack([values, torch.ones(17).double()], 1))
    low, high = stats.t.interval(0.95, 16, loc=values.mean(), scale=stats.sem(values))
    assert (judged.interval.low, judged.interval.high) == pytest.approx((low, high))


def test_gains_are_paired_and_positive_when_better():
    a = Judged("x", "px", "lower", 1.0, (1.1, 0.9))
    b = Judged("x", "px", "lower", 3.0, (3.1, 2.9))
    gain = a.gain_over(b)
    assert (gain.value, gain.low, gain.high) == pytest.approx((2.0, 2.0, 2.0))


def test_one_picture_is_too_few():
    with pytest.raises(UnusableData, match="give at least 2"):
        groups_of(1)


def maps(n=2):
    generator = torch.Generator().manual_seed(1)
    found = {"segmentation": torch.randn(n, 5, 4, 8, generator=generator), "disparity": torch.rand(n, 1, 4, 8),
             "reconstruction": torch.rand(n, 3, 4, 8)}  # fmt: skip
    classes = torch.randint(5, (n, 4, 8), generator=generator)
    return found, {
        "segmentation": classes,
        "disparity": torch.rand(n, 1, 4, 8),
        "reconstruction": torch.rand(n, 3, 4, 8),
    }


def test_three_errors_are_torchs_where_everything_is_known():
    found, wanted = maps()
    wanted["disparity"] += 0.1
    expected = F.cross_entropy(found["segmentation"], wanted["segmentation"])
    expected += 0.5 * F.smooth_l1_loss(found["disparity"], wanted["disparity"])
    expected += 3 * F.l1_loss(found["reconstruction"], wanted["reconstruction"])
    torch.testing.assert_close(three_errors(found, *wanted.values()), expected)


def test_what_is_unknown_is_not_learnt():
    found, wanted = maps()
    found["disparity"].requires_grad_()
    wanted["disparity"][0], wanted["segmentation"][0] = 0, 255
    three_errors(found, *wanted.values()).backward()
    assert not found["disparity"].grad[0].any()
    assert found["disparity"].grad[1].any()
    wanted["disparity"][:] = 0
    assert three_errors(found, *wanted.values()).isfinite()


def test_all_of_the_dense_networks_answers_leave_nothing_of_the_targets():
    found, wanted = maps()
    dense, training = maps()[0], Training(distill=1.0)
    one = ThreeMaps().loss(lambda x: found, torch.empty(0), wanted, dense, training)
    other = ThreeMaps().loss(lambda x: found, torch.empty(0), maps(2)[1], dense, training)
    torch.testing.assert_close(one, other)


def test_tokens_learn_the_pictures_label():
    logits, tokens, labels = torch.randn(3, 4), torch.randn(3, 7, 4), torch.tensor([0, 3, 1])
    found = Naming().loss(lambda x: (logits, tokens), torch.empty(0), labels, None, Training())
    each = torch.stack([F.cross_entropy(tokens[:, t], labels) for t in range(7)]).mean()
    torch.testing.assert_close(found, loss_of(logits, labels, None, Training()) + TOKENS * each)


def test_features_that_all_travel_as_floats_change_no_score():
    task = datasets["scenes"](size=32, scenes=2, held_out=3)
    torch.manual_seed(0)
    model = small_three_task(task.classes).eval()
    plain = judged_maps(model, task, batch=2, precision="fp32").judged
    *split, sent = judged_over_the_wire(model, task, "backbone.neck", None, batch=2).judged
    for a, b in zip(plain, split, strict=True):
        assert a.value == pytest.approx(b.value, rel=1e-4), a.name  # channels_last rounds otherwise
    assert (sent.value, sent.interval.low) == (4 * 64 * 4 * 8, 4 * 64 * 4 * 8)
    *_, fewer = judged_over_the_wire(model, task, "backbone.neck", Selection.hard(64, range(16)), batch=2).judged
    assert fewer.value < 64 * 4 * 8 / 2


GOOD = {
    "schema": 1, "model": {"name": "small_three_task"}, "data": {"name": "scenes"},
    "split": {"at": "backbone.neck", "share": 0.5}, "finetune": {"epochs": 0, "reestimate": 0},
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"split": {"share": 0.5}}, r"split\.at is missing"),
        ({"split": {"at": "x", "share": 2}}, r"split\.share is 2\.0; give the share"),
        ({"split": {"at": "x", "share": 0.5, "qp": 60}}, r"split\.qp is 60; give a quality"),
        (
            {"split": {"at": "x", "share": 0.5, "tasks": ["disparty"]}},
            r"split\.tasks is 'disparty'.*did you mean 'disparity'",
        ),
        ({"split": {"at": "x", "share": 0.5, "estimate": "plugin"}}, r"split\.estimate is 'plugin'"),
        ({"finetune": {"epochs": 3, "reestimate": 0}}, r"finetune\.epochs must be 0 with split"),
    ],
)
def test_wrong_splits_are_named(change, told):
    with pytest.raises(BadRecipe, match=told):
        recipe_of({**GOOD, **change})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"data": {"name": "digits"}, "model": {"name": "resnet20_cifar"}}, "split compares maps"),
        ({"depth": {"keep_units": 2}}, "depth looks at class labels"),
        ({"finetune": {"epochs": 0, "reestimate": 0, "mixup": 0.5}}, "mix class labels"),
    ],
)
def test_sections_that_the_data_cannot_serve_are_named_before_anything_is_written(change, told, tmp_path):
    with pytest.raises(BadRecipe, match=told):
        run(recipe_of({**GOOD, **change}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_order_that_is_none_is_told_in_the_log_and_in_the_report(tmp_path, capsys):
    """Whole patches of 4 x 4 in 30 bins are all unique."""
    recipe = tiny("scenes-split", tmp_path)
    section = replace(recipe.split, estimate="value", patch=4)
    report = run(replace(recipe, split=section), tmp_path / "run", display=OnStderr())
    told = "is the same for 100% of the features: their order is that of their indices"
    assert told in report.certificate
    assert told in capsys.readouterr().err
