"""Halves share nothing that a call changes: not with each other, not with other threads, not with the model's owner."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tests.split.split_nets import Skip
from torch import nn

import infoprune as ip

SIZES = (15, 16, 17, 18, 24, 32)  # pairs of them give features of the same size


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


@torch.no_grad()
def served(split: ip.split.SplitModel, x: torch.Tensor) -> dict:
    return split.cloud(split.edge(x))


def attributes(model: nn.Module) -> dict:
    return {name: {**vars(module), "hooks": list(module._forward_hooks)} for name, module in model.named_modules()}


def test_many_threads_get_what_the_model_gives():
    torch.manual_seed(0)
    model = Skip().eval()
    split = ip.split.SplitModel(model, at="join")
    pictures = [torch.rand(1 + i % 3, 3, SIZES[i % 6], SIZES[i % 5]) for i in range(120)]
    expected, before = [model(x) for x in pictures], attributes(model)
    gate = threading.Barrier(4)

    def work(mine: int) -> list[dict]:
        gate.wait()
        return [served(split, x) for x in pictures[mine::4]]

    with ThreadPoolExecutor(4) as pool:
        found = [each for part in zip(*pool.map(work, range(4)), strict=True) for each in part]
    for outputs, wanted in zip(found, expected, strict=True):
        assert all(torch.equal(outputs[task], wanted[task]) for task in wanted)
    assert attributes(model) == before


def test_the_model_is_untouched_while_a_half_runs():
    """Who trains the model in one thread does not notice that another serves it."""
    model, seen = Skip().train(), []
    hook = model.classes.register_forward_hook(lambda *_: seen.append(attributes(model)))
    before = attributes(model)
    served(ip.split.SplitModel(model, at="join"), torch.rand(1, 3, 16, 16))
    hook.remove()
    assert seen
    assert all(state == before for state in seen)


def test_a_call_within_a_call_is_a_call_of_its_own():
    model, x, inner = Skip().eval(), torch.rand(1, 3, 16, 16), torch.rand(2, 3, 24, 24)
    split, expected, found = ip.split.SplitModel(model, at="join"), model(inner), []

    def within(*_: object) -> None:
        if not found:
            found.append(None)
            found.append((served(split, inner), model(inner)))

    wanted = model(x)
    handle = model.depth.register_forward_hook(within)
    outputs = served(split, x)
    handle.remove()
    assert torch.equal(outputs["disparity"], wanted["disparity"])
    assert all(torch.equal(each[task], expected[task]) for each in found[1] for task in expected)


def test_a_failing_call_leaves_nothing_behind():
    model, x = Skip().train(), torch.rand(1, 3, 16, 16)
    split, before = ip.split.SplitModel(model, at="join"), attributes(model)
    features = split.edge(x)
    wrongs = [
        (lambda: split.edge(torch.rand(1, 2, 16, 16)), RuntimeError, "channels"),
        (lambda: split.cloud(features.double()), TypeError, "float64; 'join' gives torch.float32"),
    ]
    for wrong, error, told in wrongs:
        with pytest.raises(error, match=told):
            wrong()
        assert attributes(model) == before
    assert torch.equal(split.cloud(features)["disparity"], copy.deepcopy(model).eval()(x)["disparity"])


def test_halves_follow_what_becomes_of_the_model():
    model, x = Skip().eval(), torch.rand(1, 3, 16, 16)
    split = ip.split.SplitModel(model, at="join")
    served(split, x)
    model.load_state_dict(Skip().state_dict())
    model.depth = nn.Conv2d(8, 2, 1)
    model.stem.bias = nn.Parameter(torch.ones(8))
    model.inner.register_forward_hook(lambda module, inputs, output: 2 * output)
    wanted = model(x)
    assert all(torch.equal(output, wanted[task]) for task, output in served(split, x).items())


def test_a_split_model_can_be_copied_and_pickled():
    model, x = Skip().eval(), torch.rand(1, 3, 16, 16)
    split = ip.split.SplitModel(model, at="join")
    wanted = served(split, x)["disparity"]
    for twin in (copy.deepcopy(split), pickle.loads(pickle.dumps(split))):
        assert twin.edge.model is twin.cloud.model
        assert torch.equal(served(twin, x)["disparity"], wanted)
        twin.edge.model.stem.weight.zero_()
    assert torch.equal(served(split, x)["disparity"], wanted)


def test_attention_with_a_fast_path_is_split():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.Sequential(nn.Linear(8, 8), nn.TransformerEncoder(layer, 3), nn.Linear(8, 3)).eval()
    x = torch.rand(2, 5, 8)
    for at in ("0", "1.layers.1"):
        torch.testing.assert_close(served(ip.split.SplitModel(model, at=at), x), model(x), rtol=0, atol=1e-6)
    assert torch.backends.mha.get_fastpath_enabled()
