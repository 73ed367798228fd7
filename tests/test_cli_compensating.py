"""The verb compensate, and prune --compensate: the same network both ways, and what is wrong told in a sentence."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file

import infoprune as ip
from infoprune.artifact import read_config
from infoprune.data import First, datasets
from infoprune.finetune import Training, train
from infoprune.finetune.checkpoints import save_tensors
from infoprune.recipe import build_network
from tests.test_cli_running import data_file, spoken

X = torch.zeros(1, 3, 16, 16)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Data, the weights of a trained network, and an artefact that was pruned without compensation."""
    folder = tmp_path_factory.mktemp("compensating")
    task = datasets["tensors"](data_file(folder))
    dense = build_network("resnet20_cifar", num_classes=4)
    train(dense, task.train, Training(epochs=4, lr=0.05, distill=0, reestimate=0), batch=16)
    save_tensors(folder / "dense.safetensors", dense.state_dict())
    pruned = ip.prune_(copy.deepcopy(dense), X, plan_of(dense))
    ip.save(folder / "plain", pruned, plan_of(dense))
    return folder


def plan_of(dense):
    importance = ip.importance.CapacityIndependenceImportance(sigma=0.5, readers=True)
    return ip.plan(dense, X, importance, budgets=[ip.budgets.macs(keep=0.5)])


def data(place, **more):
    changes = {"data.root": place / "data.safetensors", "data.batch": 16, **more}
    sets = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    return ["--data", "tensors", *sets]


def state(artefact):
    return load_file(artefact / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_prune_and_compensate_in_one_command_or_in_two_are_the_same(place, capsys, tmp_path):
    network = ["resnet20_cifar", "--weights", place / "dense.safetensors", "--num-classes", 4, "--macs", 0.5]
    size = {"compensate.samples": 24}
    code, out, err = spoken(capsys, "prune", *network, *data(place, **size), "--compensate", "--out", tmp_path / "one")
    assert code == 0, err
    assert "refitting readers" in err
    dense = ["--dense", place / "dense.safetensors"]
    words = ["compensate", place / "plain", *data(place, **size), *dense, "--out", tmp_path / "two"]
    assert spoken(capsys, *words)[0] == 0
    assert same(state(tmp_path / "one"), state(tmp_path / "two"))
    assert not same(state(tmp_path / "one"), state(place / "plain"))
    [done], [again] = (read_config(tmp_path / name).compensations for name in ("one", "two"))
    assert done == again
    assert (done.fitted_on, done.held_out) == (21, 3)
    assert out.startswith(f"after surgery\n{done}")
    assert "certificate  exact" in out


def test_what_compensate_tells_is_what_it_does(place, capsys, tmp_path):
    words = ["compensate", place / "plain", *data(place), "--dense", place / "dense.safetensors"]
    code, out, _ = spoken(capsys, *words, "--out", tmp_path / "out", "--json")
    told = json.loads(out)
    assert code == 0
    model, task = ip.load(place / "plain"), datasets["tensors"](place / "data.safetensors")
    dense = build_network("resnet20_cifar", num_classes=4)
    dense.load_state_dict(load_file(place / "dense.safetensors"))
    plan = read_config(place / "plain").plans
    done = ip.compensate_(model, dense, First(task.train, 512, 16, 0), plan=plan, progress=False)
    assert told["compensation"] == json.loads(json.dumps(done.to_json()))
    assert same(state(tmp_path / "out"), model.state_dict())
    assert torch.equal(ip.load(tmp_path / "out")(X), model(X))


def test_training_further_keeps_what_was_refitted(place, capsys, tmp_path):
    words = ["compensate", place / "plain", *data(place), "--dense", place / "dense.safetensors"]
    assert spoken(capsys, *words, "--out", tmp_path / "out")[0] == 0
    tuning = {"finetune.epochs": 1, "finetune.reestimate": 0}
    assert spoken(capsys, "finetune", tmp_path / "out", *data(place, **tuning), "--out", tmp_path / "tuned")[0] == 0
    assert read_config(tmp_path / "tuned").compensations == read_config(tmp_path / "out").compensations
    code, _, err = spoken(capsys, "compensate", tmp_path / "tuned", *words[2:], "--out", tmp_path / "late")
    assert code == 1
    assert "compensate before training goes on" in err
    assert not (tmp_path / "late").exists()


def other_weights(place):
    torch.manual_seed(1)
    save_tensors(place / "other.safetensors", build_network("resnet20_cifar", num_classes=4, seed=3).state_dict())
    return place / "other.safetensors"


WRONG = {
    "no such weights": (lambda p: ["--dense", p / "nowhere.pth"], 2, "nowhere.pth is not a file; give the weights"),
    "other weights": (lambda p: ["--dense", other_weights(p)], 1, "does not hold what the dense model has"),
    "few": (lambda p: ["--dense", p / "dense.safetensors", "--set", "compensate.samples=2"], 2, "at least 8"),
    "a foreign place": (lambda p: ["--dense", p / "dense.safetensors", "--out", p], 1, "is not an artefact of ours"),
    "an unwritable place": (
        lambda p: ["--dense", p / "dense.safetensors", "--out", p / "data.safetensors" / "out"], 1, "cannot be written"
    ),
    "another section": (lambda p: ["--pretrained", "--set", "finetune.lr=1"], 2, "keys of compensate, data, seed"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_a_sentence_and_nothing_is_written(wrong, place, capsys, tmp_path):
    words, code, told = WRONG[wrong]
    given = ["compensate", place / "plain", *data(place), "--out", tmp_path / "out", *words(place)]
    found, out, err = spoken(capsys, *given)
    assert (found, out) == (code, "")
    assert told in err
    assert not (tmp_path / "out").exists()


def test_prune_compensates_with_pictures_alone(capsys, tmp_path):
    words = ["prune", "resnet20_cifar", "--num-classes", 4, "--macs", 0.5, "--compensate", "--out", tmp_path / "out"]
    code, out, err = spoken(capsys, *words)
    assert (code, out) == (2, "")
    assert "--compensate fits on pictures; add --data" in err
    assert not (tmp_path / "out").exists()
