"""Weights as other people's trainings write them, read without running what is in the file."""

import argparse
import logging
import os
import pathlib

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from infoprune.errors import BadArtifact, BadCheckpoint
from infoprune.models.checkpoint import load_weights
from infoprune.recipe import build_network


def net(classes=5, *, seed=0):
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = nn.Sequential()
    model.add_module("stem", body)
    model.add_module("fc", nn.Linear(6, classes))
    model.stem[1].running_mean.uniform_()
    return model


TRAINED = net(seed=1)
STATE = TRAINED.state_dict()


def read(told, path, model=None):
    torch.save(told, path)
    model = model or net()
    load_weights(model, path)
    return model


def holds_the_trained(model):
    assert all(torch.equal(value, STATE[name]) for name, value in model.state_dict().items())
    return True


def prefixed(front, state=STATE):
    return {front + name: value for name, value in state.items()}


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict", "state_dict_ema", "model_ema", "net", None])
@pytest.mark.parametrize("front", ["", "module.", "_orig_mod.", "backbone.", "module._orig_mod.", "model.backbone."])
def test_weights_are_found_wherever_trainings_put_them(tmp_path, key, front):
    told = prefixed(front)
    assert holds_the_trained(read({key: told, "epoch": 3} if key else told, tmp_path / "a.pt"))


@pytest.mark.parametrize("name", ["a.safetensors", "weights.bin"])
def test_safetensors_are_known_by_their_content(tmp_path, name):
    save_file(prefixed("module."), tmp_path / name)
    model = net()
    load_weights(model, tmp_path / name)
    assert holds_the_trained(model)


def test_a_head_beside_a_backbone_keeps_its_name(tmp_path):
    told = {("" if name.startswith("fc") else "backbone.") + name: value for name, value in STATE.items()}
    assert holds_the_trained(read(told, tmp_path / "a.pt"))


def test_what_lies_beside_a_network_is_not_the_networks(tmp_path):
    """Averaged models count their steps, Lightning modules hold losses."""
    told = {**prefixed("module."), "n_averaged": torch.tensor(3), "criterion.weight": torch.ones(5)}
    assert holds_the_trained(read(told, tmp_path / "a.pt"))


def test_the_first_of_several_entries_counts_and_is_told(tmp_path, caplog):
    told = {"model_ema": prefixed("module.", net(seed=2).state_dict()), "model": STATE}
    assert holds_the_trained(read(told, tmp_path / "a.pt"))
    assert caplog.record_tuples == [
        ("infoprune", logging.WARNING, f"{tmp_path / 'a.pt'}: model is read, not model_ema"),
    ]


def test_torchvisions_training_checkpoint_is_read(tmp_path):
    optimizer = torch.optim.SGD(TRAINED.parameters(), lr=0.1, momentum=0.9)
    args = argparse.Namespace(model="resnet18", output_dir=pathlib.Path("runs"), lr=0.1, device=torch.device("cpu"))
    told = {"model": STATE, "optimizer": optimizer.state_dict(), "lr_scheduler": {}, "epoch": 3, "args": args}
    assert holds_the_trained(read(told, tmp_path / "model_3.pth"))


def test_timms_own_saver_writes_what_is_read(tmp_path):
    from timm.utils import CheckpointSaver

    optimizer = torch.optim.SGD(TRAINED.parameters(), lr=0.1)
    args = argparse.Namespace(model="resnet18", aa=None, mean=(0.5,), epochs=3)
    saver = CheckpointSaver(TRAINED, optimizer, args=args, checkpoint_dir=str(tmp_path))
    saver.save_checkpoint(0, metric=71.5)
    model = net()
    load_weights(model, tmp_path / "last.pth.tar")
    assert holds_the_trained(model)


def test_numbers_of_numpy_beside_the_weights_are_read(tmp_path):
    assert holds_the_trained(read({"state_dict": STATE, "best": np.float64(71.5)}, tmp_path / "a.pt"))


def test_lightnings_checkpoint_is_read(tmp_path):
    from lightning.fabric.utilities.data import AttributeDict

    told = {
        "state_dict": {**prefixed("model."), "loss.weight": torch.ones(5)}, "hyper_parameters": AttributeDict(lr=0.1),
        "pytorch-lightning_version": "2.6.0", "callbacks": {"ModelCheckpoint{'monitor': None}": {"best": None}},
    }  # fmt: skip
    assert holds_the_trained(read(told, tmp_path / "last.ckpt"))


def test_counters_that_old_checkpoints_lack_are_not_missed(tmp_path):
    told = {name: value for name, value in STATE.items() if "num_batches" not in name}
    assert holds_the_trained(read(told, tmp_path / "a.pt"))


class Harmful:
    def __reduce__(self):
        return os.mkdir, (str(Harmful.place),)


def test_code_is_named_and_not_run(tmp_path):
    Harmful.place = tmp_path / "run"
    with pytest.raises(BadCheckpoint, match=r"holds an object of posix\.mkdir, which is code.*state_dict\(\), path"):
        read({"state_dict": STATE, "args": Harmful()}, tmp_path / "a.pt")
    assert not (tmp_path / "run").exists()


def told_when_loading(told, path):
    model = net()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(BadArtifact) as caught:
        read(told, path, model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    return str(caught.value).removeprefix(f"{path} ")


def test_a_head_for_other_classes_is_told_with_what_to_give(tmp_path):
    assert told_when_loading(net(7).state_dict(), tmp_path / "a.pt") == (
        "was trained for 7 classes and the model is built for 5 (fc.weight, fc.bias); "
        "give num_classes=7 (--num-classes 7)"
    )


def test_names_that_do_not_fit_are_told_on_both_sides(tmp_path):
    told = {f"layer{i}.weight": torch.ones(1) for i in range(5)}
    assert told_when_loading(told, tmp_path / "a.pt") == (
        "does not hold this model's weights: it has layer0.weight, layer1.weight, layer2.weight and 2 more, which the "
        "model has not, and the model has stem.0.weight, stem.0.bias, stem.1.weight and 5 more, which it has not; "
        "build the model that was trained"
    )


def test_other_widths_are_told_with_both_shapes(tmp_path):
    told = told_when_loading({**STATE, "stem.0.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "a.pt")
    assert "classes" in told or "[8, 3, 3, 3]" in told
    told = told_when_loading({**STATE, "stem.0.weight": torch.zeros(8, 1, 3, 3)}, tmp_path / "b.pt")
    assert "stem.0.weight is [8, 1, 3, 3] in it and [6, 3, 3, 3] in the model" in told


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"epoch": 3, "optimizer": {}}, r"a dictionary of \['epoch', 'optimizer'\] and no weights"),
        ([1, 2], "list and no weights"),
    ],
)
def test_files_without_weights_say_what_they_hold(tmp_path, told, expected):
    with pytest.raises(BadCheckpoint, match=expected):
        read(told, tmp_path / "a.pt")


def test_a_missing_file_is_told_as_missing(tmp_path):
    with pytest.raises(BadCheckpoint, match=r"there is no file .*nowhere\.pth; give a checkpoint"):
        build_network("resnet20_cifar", weights=tmp_path / "nowhere.pth")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x80\x02\xff", b"12345678{cut"])
def test_damaged_files_are_told(tmp_path, content):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(BadCheckpoint, match=r"cannot be read as a checkpoint|not plain data"):
        load_weights(net(), tmp_path / "a.pth")
