"""Two processes on one batch train like one that has all of it, whether they keep whole copies or parts."""

import pytest
import torch
from tests.finetune.test_resume import examples
from tests.two_processes import together
from torch import nn

from infoprune.data import Examples
from infoprune.finetune import Processes, Surroundings, Training, train
from infoprune.finetune.sharding import blocks_of

# sums over two halves round differently, and steps amplify that: small ones keep it below 1e-5
GENTLE = {"epochs": 3, "lr": 1e-3, "precision": "fp32", "channels_last": False, "clip_norm": 1.0, "reestimate": 32}


def net(seed=0):
    torch.manual_seed(seed)
    # without biases before norms: their gradient is rounding alone, which AdamW makes as large as any other
    first, second = nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 8, 3, bias=False)
    body = nn.Sequential(first, nn.BatchNorm2d(8), nn.ReLU(), second, nn.BatchNorm2d(8))
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def trained(training, checkpoints=None, stop=lambda: False):
    model, losses = net(), []
    around = Surroundings(note=lambda p: losses.append(p.loss), checkpoints=checkpoints, stop=stop)
    train(model, examples(), training, batch=16, seed=5, classes=4, teacher=net(1), around=around)
    return {"losses": losses, "weights": {name: value.tolist() for name, value in model.state_dict().items()}}


@pytest.mark.parametrize("options", [{"optimizer": "sgd"}, {"optimizer": "adamw", "shard": True},
                                     pytest.param({"optimizer": "sgd", "shard": True}, marks=pytest.mark.slow)],
                         ids=str)  # fmt: skip
@pytest.mark.alone
def test_losses_and_weights_are_those_of_one_process(tmp_path, options):
    training = Training(**GENTLE, **options)
    ours, one = together(tmp_path, lambda rank: trained(training)), trained(training)
    assert ours[0] == ours[1]
    assert len(one["losses"]) >= 2
    assert ours[0]["losses"] == pytest.approx(one["losses"], abs=1e-5)
    for name, value in one["weights"].items():
        torch.testing.assert_close(torch.tensor(ours[0]["weights"][name]), torch.tensor(value), rtol=1e-3, atol=1e-4)


class Doubled(Examples):
    def __len__(self):
        return len(examples())

    def batch(self, epoch, indices):
        images, labels = examples().batch(epoch, indices)
        return images.double(), labels


@pytest.mark.alone
def test_in_double_precision_weights_and_statistics_are_those_of_one_process(tmp_path):
    """Statistics are renewed first, by every process on the same pictures, which are not to be counted twice."""
    options = Training(**{**GENTLE, "epochs": 1})

    def weights():
        model = net().double()
        train(model, Doubled(), options, batch=16, seed=5, classes=4)
        return {name: value.tolist() for name, value in model.state_dict().items()}

    for ours in together(tmp_path, lambda rank: weights()):
        for name, value in weights().items():
            torch.testing.assert_close(torch.tensor(ours[name]), torch.tensor(value), rtol=1e-10, atol=1e-12)


@pytest.mark.alone
def test_spread_training_goes_on_where_it_stopped(tmp_path):
    training, calls = Training(**GENTLE, shard=True, save_seconds=0), iter(range(1, 100))

    def interrupted(rank):
        trained(training, tmp_path / "kept", stop=lambda: next(calls) == 5)
        Processes.now().wait()
        return [trained(training, tmp_path / "kept"), trained(training)]

    stopped, whole = together(tmp_path, interrupted)[0]
    assert stopped["weights"] == whole["weights"]


def test_blocks_are_what_stands_in_rows():
    model = nn.ModuleDict({"stem": nn.Conv2d(3, 4, 1), "rows": nn.Sequential(net()[0], nn.ReLU(), net()[3])})
    assert blocks_of(model) == [model["rows"][0], model["rows"][2]]


def test_averages_are_not_spread():
    with pytest.raises(ValueError, match="shard is True; give false, or leave ema out"):
        Training(shard=True, ema=0.9)
