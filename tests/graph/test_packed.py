"""Outputs and arguments are found whatever they are packed in."""

from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch
import torch_pruning as tp
from tests.small_nets import Residual, image, make
from torch import Tensor, nn

import infoprune as ip
from infoprune.errors import Untraceable
from infoprune.graph import Graph
from infoprune.graph.arguments import Arguments
from infoprune.graph.nested import outputs_of, with_tensors

L2 = tp.importance.MagnitudeImportance(p=2)


@dataclass
class Answer:
    logits: Tensor
    inner: object = None


@dataclass(frozen=True, slots=True)
class Slotted:
    logits: Tensor
    inner: object = None


class Boxes:
    """As detectors write them: a plain object with a tensor and methods."""

    def __init__(self, tensor):
        self.tensor = tensor

    def area(self):
        raise AssertionError("nobody asked")


class Instances:
    def __init__(self, size, **fields):
        self._size, self._fields = size, fields


class Loop:
    def __init__(self, logits, inner):
        self.logits, self.inner, self.me = logits, inner, self


Named = namedtuple("Named", ["logits", "inner"])

PACKINGS = {
    "a dataclass": Answer,
    "a frozen dataclass with slots": Slotted,
    "a dataclass in a dataclass": lambda a, b: Answer(a, Answer(b)),
    "a namespace": lambda a, b: SimpleNamespace(logits=a, inner=b),
    "a named tuple": Named,
    "a tuple in a list": lambda a, b: [(a, None), 3, b],
    "a mapping": lambda a, b: OrderedDict(logits=a, more={"inner": b}),
    "a mapping of one's own": lambda a, b: UserDict(logits=a, inner=b),
    "an object of boxes": lambda a, b: [Instances((4, 4), scores=a, boxes=Boxes(b))],
    "an object that holds itself": Loop,
    "a distribution": lambda a, b: torch.distributions.Normal(a, b.exp(), validate_args=False),
}  # fmt: skip


def _model_output(a, b):
    transformers = pytest.importorskip("transformers")
    return transformers.modeling_outputs.BaseModelOutputWithPooling(last_hidden_state=a, pooler_output=b)


PACKINGS["an output of transformers"] = _model_output


class Packed(nn.Module):
    """What `a` computes is an output and is read inside as well."""

    def __init__(self, pack):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Linear(6, 16), nn.Linear(16, 16), nn.Linear(16, 4)
        self.pack = pack

    def forward(self, x):
        y = self.a(x)
        return self.pack(y, self.c(torch.relu(self.b(y)).repeat(1, 1)).repeat(1, 4))


X = torch.randn(3, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("pack", PACKINGS.values(), ids=PACKINGS)
def test_an_output_that_is_also_read_inside_stays_whole_whatever_it_is_packed_in(pack):
    model = Packed(pack).eval()
    assert [site.name for site in Graph.trace(model, X).sites] == ["b"]
    plan = ip.plan(model, X, L2, budgets=[ip.budgets.macs(keep=0.7)])
    found = ip.certificate_of(model, X, plan)
    assert found.verdict == "exact"
    assert found.scale > 0
    ip.prune_(model, X, plan)
    assert [tuple(t.shape) for t in outputs_of(model(X))] == [(3, 16), (3, 16)]


@pytest.mark.parametrize("pack", PACKINGS.values(), ids=PACKINGS)
def test_tensors_are_found_in_their_order(pack):
    a, b = torch.zeros(1), torch.ones(1)
    found = outputs_of(pack(a, b))
    assert [float(t) for t in found] == pytest.approx([0, torch.e if pack is PACKINGS["a distribution"] else 1])


@pytest.mark.parametrize("pack", PACKINGS.values(), ids=PACKINGS)
def test_arguments_are_changed_in_a_copy_that_is_packed_alike(pack):
    before = pack(torch.zeros(1), torch.ones(1))
    after = with_tensors(before, lambda t: t + 10)
    assert type(after) is type(before)
    assert [float(t) + 10 for t in outputs_of(before)] == [float(t) for t in outputs_of(after)]


@pytest.mark.parametrize("nothing", [None, 3, "done", iter(()), object(), SimpleNamespace(done=True)])
def test_outputs_without_a_tensor_are_refused_with_what_to_do(nothing):
    with pytest.raises(Untraceable, match=r"gives back .* wrap the model in a module whose forward gives the tensors"):
        Graph.trace(Packed(lambda a, b: nothing).eval(), X)


def test_a_cache_of_keys_and_values_is_state_and_no_output():
    """A decoder gives it back to be handed in again: heads that leave take their part of it along."""
    transformers = pytest.importorskip("transformers")
    cache = transformers.DynamicCache()
    cache.update(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4), 0)
    assert outputs_of((torch.ones(1), cache)) == [torch.ones(1)]


def test_a_dict_is_keyword_arguments_and_a_dict_in_a_tuple_is_an_argument():
    assert Arguments.of({"x": 1}) == Arguments((), {"x": 1})
    assert Arguments.of(({"x": 1},)) == Arguments(({"x": 1},))
    assert Arguments.of([1, None]) == Arguments((1, None))
    assert Arguments.of(X) == Arguments((X,))


def test_a_list_that_a_model_appends_to_is_empty_again_in_the_next_run():
    class Appends(Residual):
        def forward(self, x, seen):
            seen.append(x)
            assert len(seen) == 1
            return super().forward(x)

    model, seen = make(Appends), []
    plan = ip.plan(model, (image(), seen), L2, budgets=[ip.budgets.macs(keep=0.5)])
    ip.prune_(model, (image(), seen), plan)
    assert seen == []


@dataclass
class Request:
    image: Tensor
    boxes: list = field(default_factory=list)


def test_arguments_packed_in_objects_are_followed_and_certified_in_double_precision():
    class Asked(Residual):
        def forward(self, request, *, scale):
            return super().forward(request.image + request.boxes[0]) * scale["by"]

    model = make(Asked)
    call = {"request": Request(image(), [torch.ones(1)]), "scale": {"by": torch.tensor(2.0)}}
    plan = ip.plan(model, call, L2, budgets=[ip.budgets.macs(keep=0.5)])
    assert ip.certificate_of(model, call, plan).dtype == "float64"
    assert ip.certificate_of(model, call, plan).verdict == "exact"
