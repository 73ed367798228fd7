"""Every wrong argument of the public functions is one sentence: what was found, what was needed, what to do."""

import pytest
import torch
import torch_pruning as tp

import infoprune as ip
from infoprune.errors import BadWeights
from tests.small_nets import Residual, image, make

L2, X = tp.importance.MagnitudeImportance(p=2), image()


def planning(model=None, x=X, importance=L2, **options):
    budgets = {} if "rates" in options else {"budgets": [ip.budgets.macs(keep=0.5)]}
    return ip.plan(make(Residual) if model is None else model, x, importance, **{**budgets, **options})


def inside_inference_mode():
    with torch.inference_mode():
        planning()


def with_nan_in_a_buffer():
    model = make(Residual)
    model.bn.running_mean[0] = float("nan")
    planning(model)


WRONG = {
    "plan(None)": (lambda: ip.plan(None, X, L2), r"model is None; give a torch\.nn\.Module"),
    "plan(text)": (lambda: planning("resnet18"), "model is the text 'resnet18'; build the network first"),
    "plan(class)": (lambda: planning(Residual), r"model is the class Residual; call it to make one: Residual\("),
    "budgets": (lambda: planning(budgets=0.5), r"budgets is 0\.5; give e\.g\. \[infoprune\.budgets\.macs\(keep=0\.5"),
    "rates by module": (
        lambda: planning(rates={torch.nn.ReLU(): 0.5}),
        "rates names a ReLU that is not in the model; give its modules",
    ),
    "floor by module": (lambda: planning(floor={torch.nn.ReLU(): 0.5}), "floor names a ReLU that is not in the model"),
    "rates as text": (lambda: planning(rates="0.5"), r"rates is '0\.5'; give the share that leaves"),
    "depth": (lambda: planning(depth="x"), r"depth is 'x'; give an infoprune\.DepthPath"),
    "tokens": (lambda: planning(tokens="x"), r"tokens is 'x'; give an infoprune\.TokenPath"),
    "num_heads": (lambda: planning(num_heads=3), "num_heads is 3; give heads by layer"),
    "solver": (lambda: planning(solver=3), "solver is 3; give a name of `infoprune list solvers`"),
    "an empty batch": (lambda: planning(x=X[:0]), r"hold an empty tensor, \[0, .*\]; give one example"),
    "NaN inputs": (lambda: planning(x=X * float("nan")), "hold NaN; give numbers"),
    "NaN in a buffer": (with_nan_in_a_buffer, r"the buffer bn\.running_mean holds NaN; load weights"),
    "inference mode": (inside_inference_mode, r"inside torch\.inference_mode\(\)"),
    "importance class": (
        lambda: planning(importance=tp.importance.MagnitudeImportance),
        r"importance is the class MagnitudeImportance; call it: MagnitudeImportance\(\)",
    ),
    "Taylor": (
        lambda: planning(importance=tp.importance.TaylorImportance()),
        r"TaylorImportance reads gradients and the model has none; call backward\(\)",
    ),
    "ignored_layers": (lambda: planning(ignored_layers="one"), r"the text 'one'; give a list: \['one'\]"),
    "utility": (lambda: planning(utility="x"), "utility is 'x'; give p = 1"),
    "prune_": (lambda: ip.prune_(X, make(Residual), planning()), "model is a Tensor; give a"),
    "save(None)": (lambda: ip.save(None, make(Residual), planning()), "directory is a NoneType; give the path"),
    "save(., None)": (lambda: ip.save("nowhere", None, planning()), "model is None; give a"),
    "export": (lambda: ip.export(X, make(Residual), "a.pt2"), "model is a Tensor; give a"),
    "measure": (lambda: ip.measure(None, X), "model is None; give a"),
    "observe": (lambda: ip.observe(None, [X]), "model is None; give a"),
    "load": (lambda: ip.load("nowhere", factory="net"), "factory is a str; give the function or class"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_it_is_one_sentence(wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, told = WRONG[wrong]
    with pytest.raises((TypeError, ValueError, BadWeights), match=told) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_factory_that_builds_nothing_is_told(tmp_path):
    model = make(Residual)
    plan = planning(model)
    ip.save(tmp_path / "a", ip.prune_(model, X, plan), plan)
    with pytest.raises(TypeError, match=r"what factory\(\) returns is None; give a torch\.nn\.Module"):
        ip.load(tmp_path / "a", factory=lambda: None)


def test_gradients_that_are_there_are_read():
    model = make(Residual)
    model(X).square().sum().backward()
    assert planning(model, importance=tp.importance.TaylorImportance()).edits
