"""Every wrong argument of the public functions is one sentence: what was found, what was needed, what to do."""

import pytest
import torch
import torch_pruning as tp

import infoprune as ip
from infoprune.errors import BadWeights, Untraceable
from tests.small_nets import Residual, image, make

L2, X = tp.importance.MagnitudeImportance(p=2), image()


def planning(model=None, x=X, importance=L2, **options):
    budgets = {} if "rates" in options else {"budgets": [ip.budgets.macs(keep=0.5)]}
    return ip.plan(make(Residual) if model is None else model, x, importance, **{**budgets, **options})


def in_inference_mode(call):
    with torch.inference_mode():
        call()


def pruned():
    model = make(Residual)
    plan = planning(model)
    return ip.prune_(model, X, plan), plan


def with_nan_in_a_buffer(call):
    model = make(Residual)
    model.bn.running_mean[0] = float("nan")
    call(model)


WRONG = {
    "plan(None)": (lambda: ip.plan(None, X, L2), r"model is None; give a torch\.nn\.Module"),
    "plan(text)": (lambda: planning("resnet18"), "model is the text 'resnet18'; build the network first"),
    "plan(class)": (lambda: planning(Residual), r"model is the class Residual; call it to make one: Residual\("),
    "keep of nothing": (
        lambda: planning(budgets=[ip.budgets.macs(keep=1e-9)]),
        r"macs keep=1e-09 of [\d,]+ is less than 1; keep a larger share",
    ),
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
    "NaN in a buffer": (
        lambda: with_nan_in_a_buffer(planning),
        r"the buffer bn\.running_mean holds NaN; load weights",
    ),
    "prune_ with NaN inputs": (
        lambda: ip.prune_(make(Residual), X * float("nan"), planning()),
        "example_inputs hold NaN; give numbers",
    ),
    "prune_ with NaN in a buffer": (
        lambda: with_nan_in_a_buffer(lambda model: ip.prune_(model, X, planning())),
        r"the buffer bn\.running_mean holds NaN; load weights",
    ),
    "plan in inference mode": (lambda: in_inference_mode(planning), r"inside torch\.inference_mode\(\)"),
    "measure in inference mode": (
        lambda: in_inference_mode(lambda: ip.measure(make(Residual), X)),
        r"inside torch\.inference_mode\(\), .*; use torch\.no_grad\(\)",
    ),
    "prune_ in inference mode": (
        lambda: (lambda model, plan: in_inference_mode(lambda: ip.prune_(model, X, plan)))(make(Residual), planning()),
        r"inside torch\.inference_mode\(\)",
    ),
    "certificate_of in inference mode": (
        lambda: (lambda plan: in_inference_mode(lambda: ip.certificate_of(make(Residual), X, plan)))(planning()),
        r"inside torch\.inference_mode\(\)",
    ),
    "curves in inference mode": (
        lambda: in_inference_mode(lambda: ip.layerwise.curves(make(Residual), [X.repeat(4, 1, 1, 1)], L2)),
        r"inside torch\.inference_mode\(\)",
    ),
    "macs without a word": (
        lambda: ip.budgets.macs(0.5),
        r"macs was given 0\.5 without saying what it is; write keep=0\.5 \(the share that remains\) or at_most=",
    ),
    "latency without a word": (lambda: ip.budgets.latency("8ms"), r"latency_us was given '8ms' without saying"),
    "macs(keep=text)": (lambda: ip.budgets.macs(keep="0.5"), r"macs keep is '0\.5'; give a number"),
    "macs(keep=True)": (lambda: ip.budgets.macs(keep=True), r"macs keep is True; give a number"),
    "macs(at_most=text)": (lambda: ip.budgets.macs(at_most="2G"), r"macs at_most is '2G'; give a number"),
    "latency(at_most=list)": (lambda: ip.budgets.latency(at_most=[8]), r"\[8\] is not a duration"),
    "budgets=None": (lambda: planning(budgets=None), r"budgets is None; give e\.g\. \["),
    "a rate as text": (lambda: planning(rates={"one": "x"}), r"the rate of one is 'x'; it is the share to remove"),
    "heads as text": (
        lambda: (lambda model: planning(model, num_heads={model.one: "x"}))(make(Residual)),
        "num_heads says 'x' of a layer; give how many heads it has, a whole number",
    ),
    "ignored_layers=3": (lambda: planning(ignored_layers=3), r"ignored_layers is 3; give a list of layers"),
    "Hessian": (
        lambda: planning(importance=tp.importance.GroupHessianImportance()),
        r"GroupHessianImportance reads gradients and the model has none; call backward\(\)",
    ),
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
    "save(None)": (lambda: ip.save(None, make(Residual), planning()), "directory is None; give the path"),
    "save(., None)": (lambda: ip.save("nowhere", None, planning()), "model is None; give a"),
    "export": (lambda: ip.export(X, make(Residual), "a.pt2"), "model is a Tensor; give a"),
    "measure": (lambda: ip.measure(None, X), "model is None; give a"),
    "observe": (lambda: ip.observe(None, [X]), "model is None; give a"),
    "save(., ., text)": (lambda: ip.save("nowhere", make(Residual), "plan"), "plan is a str; pass what plan"),
    "save(., ., [text])": (lambda: ip.save("nowhere", make(Residual), ["plan"]), "plan is a str; pass what plan"),
    "load(None)": (lambda: ip.load(None), "directory is None; give the path of the artefact"),
    "export(., ., None)": (lambda: ip.export(make(Residual), X, None), "path is None; give the path of the file"),
    "measure(., None)": (
        lambda: ip.measure(make(Residual), None),
        r"the model's forward failed on example_inputs \[None\] \(TypeError: conv2d.*; pass the tensor",
    ),
    "compare_latency": (lambda: ip.compare_latency(None, make(Residual), X), "dense is None; give a"),
    "compare_latency(seconds=text)": (
        lambda: ip.compare_latency(make(Residual), make(Residual), X, seconds="x"),
        "seconds is 'x'; give a number",
    ),
    "compensate_": (lambda: ip.compensate_(None, make(Residual), [X]), "pruned is None; give a"),
    "compensate_(., None)": (lambda: ip.compensate_(pruned()[0], None, [X]), "dense is None; give a"),
    "rebuild_optimizer": (
        lambda: ip.rebuild_optimizer(pruned()[1], None, make(Residual)),
        r"optimizer is a Plan; call rebuild_optimizer\(optimizer, plan, model\)",
    ),
    "curves": (lambda: ip.layerwise.curves(None, [X], L2), "model is None; give a"),
    "curves(., ., None)": (lambda: ip.layerwise.curves(make(Residual), [X], None), "importance is None; pass an"),
    "load": (lambda: ip.load("nowhere", factory="net"), "factory is a str; give the function or class"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_it_is_one_sentence(wrong, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, told = WRONG[wrong]
    with pytest.raises((TypeError, ValueError, BadWeights, Untraceable), match=told) as caught:
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
