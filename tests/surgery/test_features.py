"""SendFeatures: in plans, in models, in artefacts, and on the wire."""

import copy
import json

import pytest
import torch
from tests.small_nets import Residual, features_at, image, make
from torch import nn

import infoprune as ip
from infoprune.surgery import Plan, SendFeatures
from infoprune.wire import HEVC, Lossless, Part, Selection, Zlib, encode

HARD = SendFeatures("one", Selection.hard(12, [0, 3, 4, 11]))
SOFT = SendFeatures("one", Selection.soft(12, [0, 3], HEVC(30)))


def received(model, layer, features, x):
    """What the model computes when these features arrive after `layer`."""
    handle = model.get_submodule(layer).register_forward_hook(lambda *_: features)
    with torch.no_grad():
        out = model(x)
    handle.remove()
    return out


@pytest.mark.parametrize(
    "edit", [HARD, SOFT, SendFeatures("a.0.b", Selection.soft(5, [2], Zlib(), base_codec=Lossless()))]
)
def test_it_survives_json(edit):
    plan = Plan((edit,))
    assert Plan.from_json(plan.to_json()) == plan
    assert f"{edit.selection.size}" in str(plan)


def test_the_pruned_model_computes_what_the_receiver_computes():
    model, x = make(Residual), image()
    edit = SendFeatures("one", Selection.hard(12, [0, 3, 4, 11], Lossless()))
    arrived = edit.decode(edit.encode(features_at(model, "one", x)))
    expected = received(model, "one", arrived, x)
    ip.prune_(model, x, Plan((edit,)))
    with torch.no_grad():
        assert torch.equal(model(x), expected)
    assert not torch.equal(expected, make(Residual)(x))


def test_names_and_tensors_stay():
    model = make(Residual)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    ip.prune_(model, image(), Plan((HARD,)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.state_dict().keys() == before.keys()


def test_the_certificate_is_exact():
    certificate = ip.certificate_of(make(Residual), image(), Plan((HARD,)))
    assert certificate.verdict == "exact"
    assert certificate.difference == 0


def test_a_layer_that_gives_something_else_fails_the_certificate_and_leaves_no_trace():
    model, x = make(Residual), image()
    expected = model(x)
    for layer, size in (("one", 7), ("head", 5)):
        with pytest.raises(ip.errors.CertificateFailed, match=f"the output of {layer} is"):
            ip.prune_(model, x, Plan((SendFeatures(layer, Selection.hard(size, [0])),)))
        assert not model.get_submodule(layer)._forward_hooks
        assert torch.equal(model(x), expected)


def test_a_layer_that_is_not_there_is_a_stale_plan():
    with pytest.raises(ip.errors.StalePlan, match="no module three"):
        ip.prune_(make(Residual), image(), Plan((SendFeatures("three", Selection.hard(12, [0])),)))


def test_an_artefact_remembers_what_is_sent(tmp_path):
    model, x = make(Residual), image()
    plan = Plan((HARD,), inputs=(((2, 3, 8, 8), "float32"),))
    ip.prune_(model, x, plan)
    again = ip.load(ip.save(tmp_path / "a", model, plan), factory=Residual)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))
        assert not torch.equal(again(x), make(Residual)(x))


@pytest.mark.filterwarnings("ignore:(Attempted to insert a get_attr )?Node")  # torch 2.6, of its own doing
def test_a_sending_model_can_be_copied_exported_and_put_on_another_type():
    model, x = make(Residual), image()
    ip.prune_(model, x, Plan((HARD,)))
    with torch.no_grad():
        assert torch.equal(copy.deepcopy(model)(x), model(x))
        torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), model(x))
        assert model.double()(x.double()).dtype == torch.float64


def test_after_channels_have_left_features_are_sent_by_a_second_plan(tmp_path):
    model, x = make(Residual), image()
    first = ip.plan(model, x, ip.importance.IndependenceImportance(), budgets=[ip.budgets.macs(keep=0.6)], floor=0.1)
    ip.prune_(model, x, first)
    width = model.one.out_channels
    second = Plan((SendFeatures("one", Selection.hard(width, range(0, width, 2))),))
    ip.prune_(model, x, second)
    again = ip.load(ip.save(tmp_path / "a", model, [first, second]), factory=Residual)
    with torch.no_grad():
        assert torch.equal(again(x), model(x))


def test_two_plans_send_what_both_send():
    both = Plan((HARD,)) + Plan((SendFeatures("one", Selection.hard(12, [3, 4, 5])),))
    assert both.edits == (SendFeatures("one", Selection.hard(12, [3, 4])),)
    with pytest.raises(ip.errors.StalePlan, match="share no feature"):
        Plan((HARD,)) + Plan((SendFeatures("one", Selection.hard(12, [5])),))
    with pytest.raises(ip.errors.StalePlan, match="by other codecs"):
        Plan((HARD,)) + Plan((SOFT,))


def test_features_of_another_layer_are_a_bad_stream():
    stream = encode(torch.zeros(8, 4, 4), Selection.hard(8, [0]))
    with pytest.raises(ip.errors.BadStream, match="holds 8 features and one has 12"):
        HARD.decode(stream)


def test_no_ratio_can_say_what_is_sent():
    with pytest.raises(ValueError, match="no ratio can say"):
        Plan((HARD,)).pruning_ratios(make(Residual))


@pytest.mark.parametrize(
    "change",
    [
        {"layer": "../x"},
        {"layer": 3},
        {"size": 0},
        {"size": 10**9},
        {"size": True},
        {"parts": []},
        {"parts": [["zlib", 0, [12]]]},
        {"parts": [["zlib", 0, [1, 1]]]},
        {"parts": [["zlib", 0, []]]},
        {"parts": [["zlib", 7, [1]]]},
        {"parts": [["hevc", 52, [1]]]},
        {"parts": [["pickle", 0, [1]]]},
        {"parts": [["zlib", 0, [1]], ["zlib", 0, [1]]]},
        {"parts": [["zlib", 0]]},
        {"parts": [[["zlib"], 0, [1]]]},
        {"more": 1},
    ],
    ids=str,
)
def test_a_plan_that_lies_is_refused(change):
    data = json.loads(Plan((HARD,)).to_json())
    data["edits"][0].update(change)
    with pytest.raises(ip.errors.BadArtifact):
        Plan.from_json(json.dumps(data))


def test_a_block_can_be_the_layer():
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU()), nn.Conv2d(6, 2, 1)).eval()
    x = torch.randn(1, 3, 4, 4)
    ip.prune_(model, x, Plan((SendFeatures("0", Selection(6, (Part((1, 5), Zlib()),))),)))
    with torch.no_grad():
        assert [bool(f.any()) for f in features_at(model, "0", x)[0]] == [False, True, False, False, False, True]
