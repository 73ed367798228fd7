"""What an artefact says of compensation: beside what surgery did, and as strictly read."""

import copy
import json

import pytest
import torch
from torch import nn

import infoprune as ip
from infoprune.artifact import read_config
from infoprune.artifact.saving import content_digest
from infoprune.errors import BadArtifact
from infoprune.models import resnet20_cifar

X = torch.zeros(1, 3, 16, 16)


@pytest.fixture(scope="module")
def compensated():
    """The network after surgery, the same compensated, the plan, and what was done."""
    torch.manual_seed(0)
    dense = resnet20_cifar(num_classes=4).eval()
    for norm in (m for m in dense.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.uniform_(norm.running_mean, -0.2, 0.2)
    plan = ip.plan(dense, X, ip.importance.CapacityIndependenceImportance(), rates=0.4)
    plain = ip.prune_(copy.deepcopy(dense), X, plan)
    model = ip.prune_(copy.deepcopy(dense), X, plan)
    loader = [torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0))]
    return plain, model, plan, ip.compensate_(model, dense, loader, progress=False)


def test_it_is_told_of_the_very_object_and_logits_are_the_same(compensated, tmp_path):
    plain, model, plan, done = compensated
    ip.save(tmp_path / "a", model, plan)
    assert read_config(tmp_path / "a").compensations == (done,)
    x = torch.randn(3, 3, 16, 16)
    assert torch.equal(ip.load(tmp_path / "a")(x), model(x))
    assert not torch.equal(model(x), plain(x))
    ip.save(tmp_path / "plain", plain, plan)
    assert read_config(tmp_path / "plain").compensations == ()
    assert read_config(tmp_path / "plain").plans == read_config(tmp_path / "a").plans


def test_of_a_copy_it_is_told_by_whoever_saves_it(compensated, tmp_path):
    _, model, plan, done = compensated
    ip.save(tmp_path / "silent", copy.deepcopy(model), plan)
    ip.save(tmp_path / "told", copy.deepcopy(model), plan, compensation=done)
    assert read_config(tmp_path / "silent").compensations == ()
    assert read_config(tmp_path / "told").compensations == (done,)
    with pytest.raises(TypeError, match="compensation holds a dict; pass what compensate_"):
        ip.save(tmp_path / "no", model, plan, compensation=[{"rows": []}])
    assert not (tmp_path / "no").exists()


def test_what_cannot_be_compared_is_left_out_of_the_file(compensated):
    done = compensated[3]
    odd = ip.Compensation(done.rows, done.alone, {"plain": float("nan"), "readers": 0.5}, 0, 3, 1)
    assert ip.Compensation.from_json(json.loads(json.dumps(odd.to_json()))).outputs == {"readers": 0.5}


HOSTILE = {
    "a word for a count": lambda c: c.update(norms="many"),
    "a negative count": lambda c: c.update(held_out=-1),
    "another key": lambda c: c.update(note="x"),
    "rows that are none": lambda c: c.update(rows={}),
    "an error that is no number": lambda c: c["rows"][0].update(plain=None),
    "an infinite error": lambda c: c["rows"][0].update(refitted=float("inf")),
    "an error too large for a float": lambda c: c["rows"][0].update(refitted=10**400),
    "a reader's name that is code": lambda c: c["rows"][0].update(reader="__import__('os')"),
    "a truth that is a number": lambda c: c["rows"][0].update(taken=1),
    "an error of the former layout": lambda c: c["rows"][0].update(in_network=[1.0, 2.0]),
}


@pytest.mark.parametrize("odd", HOSTILE)
def test_a_record_that_is_not_one_is_refused(compensated, tmp_path, odd):
    _, model, plan, _ = compensated
    ip.save(tmp_path / "a", model, plan)
    path = tmp_path / "a" / "config.json"
    told = json.loads(path.read_text())
    HOSTILE[odd](told["infoprune"]["compensations"][0])
    told["digest"] = content_digest(told["infoprune"])
    path.write_text(json.dumps(told))
    with pytest.raises(BadArtifact):
        ip.load(tmp_path / "a")
