"""The probe of an artefact is the call that was planned with, whatever it is called with."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch_pruning as tp
from torch import nn

import infoprune as ip
from infoprune.artifact import read_config
from infoprune.artifact.probe import probe_inputs
from infoprune.graph.arguments import Arguments
from infoprune.surgery import Plan
from infoprune.surgery.inputs import MOST_TEXT, described, reproducible

L2 = tp.importance.MagnitudeImportance(p=2)


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(8, 32), nn.Linear(32, 4)

    def run(self, x):
        return self.b(torch.relu(self.a(x)))


class Optional(Head):
    def forward(self, x, mask=None, scale=None):
        y = torch.relu(self.a(x))
        y = y if scale is None else y * scale
        return self.b(y if mask is None else y * mask)


class Dictionary(Head):
    def forward(self, batch):
        return self.run(batch["x"] * batch["deep"][0]["scale"])


class Flags(Head):
    def forward(self, x, task, share, double):
        assert (type(task), type(share), type(double)) == (int, float, bool)
        return self.run(x) * task * share * (2 if double else 1)


class Keyword(Head):
    def forward(self, *, image, mode="train"):
        assert mode == "test"
        return self.run(image)


class Lengths(Head):
    def forward(self, x, lengths):
        assert int(lengths.max()) == x.size(1), "lengths are not those of the batch"
        return self.run(x)


class Tokens(Head):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(50, 8)

    def forward(self, ids, attention_mask):
        assert bool(attention_mask.any(-1).all()), "a sentence without a word"
        return self.run(self.words(ids))


class Pair(Head):
    def forward(self, pair, more):
        assert (type(pair), type(more)) == (tuple, list)
        return self.run(pair[0] + pair[1] + more[0])


class Positive(Head):
    def forward(self, x):
        return self.run(x.log())


class Infinite(Head):
    def forward(self, x, mask):
        return self.run((x @ x.T + mask).softmax(-1) @ x)


X = torch.randn(2, 8, generator=torch.Generator().manual_seed(1))
CAUSAL = torch.full((2, 2), float("-inf")).triu(1)
CALLS = {
    "a tensor": (Optional, X),
    "none between tensors": (Optional, (X, None, torch.ones(2, 1))),
    "a mask of truth values": (Optional, (X, torch.tensor([[True], [False]]))),
    "a dict that is an argument": (Dictionary, ({"x": X, "deep": [{"scale": torch.rand(2, 1)}]},)),
    "int, float and bool": (Flags, (X, 3, 0.5, True)),
    "keywords only": (Keyword, {"image": X, "mode": "test"}),
    "lengths": (Lengths, (torch.randn(2, 5, 8), torch.tensor([5, 3]))),
    "token ids by keyword": (Tokens, {"ids": torch.tensor([[49, 7]]), "attention_mask": torch.tensor([[1, 0]])}),
    "a tuple and a list": (Pair, ((X, X), [X])),
    "numbers above zero": (Positive, X.abs() + 0.1),
    "infinite numbers": (Infinite, (X, CAUSAL)),
}  # fmt: skip


def called(model, example_inputs):
    with torch.no_grad():
        return Arguments.of(example_inputs).run(model)


@pytest.mark.parametrize(("kind", "example_inputs"), CALLS.values(), ids=CALLS)
def test_a_model_that_is_called_so_is_planned_pruned_saved_and_loaded_bit_for_bit(kind, example_inputs, tmp_path):
    model = kind().eval()
    plan = ip.plan(model, example_inputs, L2, budgets=[ip.budgets.macs(keep=0.5)])
    ip.prune_(model, example_inputs, plan)
    ip.save(tmp_path / "a", model, plan)
    assert json.loads((tmp_path / "a" / "config.json").read_text())["infoprune"]["probe"] is not None
    assert torch.equal(called(ip.load(tmp_path / "a", factory=kind), example_inputs), called(model, example_inputs))
    assert ip.measure(model, example_inputs).macs == plan.prices["macs"].after


@pytest.mark.parametrize("example_inputs", [call for _, call in CALLS.values()], ids=CALLS)
def test_a_description_survives_json(example_inputs):
    told = described(Arguments.of(example_inputs))
    assert Plan.from_json(Plan(inputs=told).to_json()).inputs == told


def test_integers_keep_their_values_and_floats_their_range():
    call = Arguments((torch.tensor([[49, 7]]), torch.tensor([True, False]), CAUSAL, torch.rand(64) + 3))
    ids, mask, infinite, numbers = probe_inputs(Head(), described(call)).positional
    assert torch.equal(ids, call.positional[0])
    assert torch.equal(mask, call.positional[1])
    assert torch.equal(infinite, CAUSAL)
    assert 3 <= float(numbers.min()) < float(numbers.max()) <= 4


def test_a_mask_over_many_tokens_is_kept_and_does_not_blow_the_config_up():
    mask = torch.ones(1, 1, 1024, 1024, dtype=torch.bool).tril()
    told = described(Arguments.of(mask))
    assert torch.equal(probe_inputs(Head(), told).positional[0], mask)
    assert len(Plan(inputs=told).to_json()) < 20_000


def test_token_ids_that_are_too_many_are_drawn_from_their_range():
    ids = torch.randint(100, 30_000, (64, 2048), generator=torch.Generator().manual_seed(0))
    told = described(Arguments.of(ids))
    drawn = probe_inputs(Head(), told).positional[0]
    assert len(Plan(inputs=told).to_json()) < MOST_TEXT
    assert (drawn.shape, drawn.dtype) == (ids.shape, ids.dtype)
    assert int(ids.min()) <= int(drawn.min()) < int(drawn.max()) <= int(ids.max())


def test_a_plan_of_a_release_before_draws_the_inputs_that_it_drew_then():
    """The numbers come from torch's generator alone, so that they can be asked for here as they were there."""
    text = (
        '{"version":1,"edits":[],"made_by":{},"prices":{},'
        '"inputs":[[[2,3],"float32"],[[4],"int64"],[[[[2,2],"float32"]],"list"]]}'
    )
    image, ids, inner = probe_inputs(Head(), Plan.from_json(text).inputs).positional
    generator = torch.Generator().manual_seed(20_260_101)
    assert torch.equal(image, torch.randn(2, 3, generator=generator))
    assert torch.equal(ids, torch.randint(0, 2, (4,), generator=generator))
    assert torch.equal(inner[0], torch.randn(2, 2, generator=generator))


@dataclass
class Request:
    x: torch.Tensor


class Asked(Head):
    def forward(self, request):
        return self.run(request.x)


def test_an_argument_that_plain_data_does_not_tell_leaves_the_artefact_without_a_probe(tmp_path):
    model, call = Asked().eval(), Request(X)
    plan = ip.plan(model, call, L2, rates=0.5)
    ip.prune_(model, call, plan)
    ip.save(tmp_path / "a", model, plan)
    assert not reproducible(plan.inputs)
    assert json.loads((tmp_path / "a" / "config.json").read_text())["infoprune"]["probe"] is None
    assert torch.equal(called(ip.load(tmp_path / "a", factory=Asked), call), called(model, call))


class Labels(Head):
    def forward(self, x):
        return self.run(x).argmax(-1)


def test_a_model_that_gives_out_integers_alone_has_a_probe(tmp_path):
    model = Labels().eval()
    ip.save(tmp_path / "a", model, Plan(inputs=described(Arguments.of(X))))
    assert torch.equal(ip.load(tmp_path / "a", factory=Labels)(X), model(X))


class Both(nn.Module):
    """What `saved_before` holds: written by the release whose descriptions knew tensors and lists of them alone."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 32), nn.Linear(32, 4)

    def forward(self, images, ids):
        return self.b(torch.relu(self.a(images[0]) + ids[:, None]))


def test_an_artefact_of_a_release_before_loads():
    """Its probe was answered by that release: other inputs than it drew would be another answer."""
    place = Path(__file__).parent / "saved_before"
    assert read_config(place).answer is not None
    assert ip.load(place, factory=Both).a.out_features == 8
