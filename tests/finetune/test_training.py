"""The loop against torch's own schedules and losses, and against what it is meant to improve."""

import pytest
import torch
import torch.nn.functional as F
from tests.finetune.test_resume import examples, net, run
from torch import nn

from infoprune.data import First, datasets
from infoprune.finetune import Training, hits, reestimate_, train
from infoprune.finetune.loss import loss_of
from infoprune.finetune.schedule import rate_at


def rates(training, steps=40, per_epoch=10):
    return [rate_at(training, step, steps, per_epoch) for step in range(steps)]


def test_the_cosine_is_torchs():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 40)
    expected = []
    for _ in range(40):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates(Training(lr=0.3)) == pytest.approx(expected)


def test_one_cycle_rises_to_the_peak_and_falls():
    found = rates(Training(lr=0.3, schedule="one_cycle"))
    peak = found.index(max(found))
    assert peak == 6
    assert found[peak] == pytest.approx(0.3)
    assert found[:peak] == sorted(found[:peak])
    assert found[peak:] == sorted(found[peak:], reverse=True)


def test_warm_up_rises_in_a_line():
    found = rates(Training(lr=0.3, warmup_epochs=1, schedule="constant"))
    assert found[:10] == pytest.approx([0.3 * (i + 1) / 11 for i in range(10)])
    assert set(found[10:]) == {0.3}


def test_distillation_is_zero_where_the_answers_agree():
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    assert float(loss_of(logits, labels, logits + 3, Training(distill=1.0))) == pytest.approx(0, abs=1e-6)
    half = loss_of(logits, labels, logits, Training(distill=0.25))
    torch.testing.assert_close(half, 0.75 * F.cross_entropy(logits, labels))


def test_the_softened_divergence_is_the_closed_form_for_two_classes():
    p, q = torch.sigmoid(torch.tensor(2.0 / 2)), torch.sigmoid(torch.tensor(-1.0 / 2))
    expected = 4 * (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log())
    found = loss_of(torch.tensor([[-1.0, 0.0]]), torch.tensor([0]), torch.tensor([[2.0, 0.0]]), Training(distill=1.0))
    torch.testing.assert_close(found, expected)


def test_statistics_are_those_of_the_data():
    norm, images = nn.Sequential(nn.BatchNorm2d(3)), [torch.randn(50, 3, 4, 4) * 3 + 1 for _ in range(4)]
    norm.eval()
    reestimate_(norm, images)
    whole = torch.cat(images)
    torch.testing.assert_close(norm[0].running_mean, whole.mean((0, 2, 3)))
    expected = torch.stack([x.var((0, 2, 3)) for x in images]).mean(0)
    torch.testing.assert_close(norm[0].running_var, expected)
    assert (norm[0].momentum, norm.training) == (0.1, False)


def test_training_learns():
    task = datasets["digits"](size=8)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 10))
    before = sum(hits(model, task.held_out))
    ended = train(model, task.train, Training(epochs=10, lr=0.1), batch=64, seed=0)
    after = sum(hits(model, task.held_out))
    assert ended.steps == 10 * (1200 // 64)
    assert before < 200
    assert after > 500


def test_the_same_call_gives_the_same_weights_and_another_seed_others():
    states = []
    for seed in (0, 0, 1):
        model = net()
        train(model, examples(), Training(epochs=1), batch=16, seed=seed)
        states.append(model.state_dict()["0.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_averaged_weights_are_handed_over():
    plain, averaged = run(Training(epochs=2))[0], run(Training(epochs=2, ema=0.9))[0]
    start = net()
    moved = [(model[0].weight - start[0].weight).norm() for model in (plain, averaged)]
    assert moved[1] < moved[0]


def test_calibration_batches_are_the_models_inputs():
    loader = First(datasets["digits"]().train, 64, 32)
    assert [images.shape[0] for images, _ in loader] == [32, 32]


@pytest.mark.parametrize("wrong", [{"lr": 0}, {"epochs": -1}, {"distill": 2}, {"ema": 1.0}, {"lr": float("nan")}])
def test_wrong_options_say_what_is_needed(wrong):
    with pytest.raises(ValueError, match="give"):
        Training(**wrong)
