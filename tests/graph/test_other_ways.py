"""Ways through the code that the example does not take: in training, and on other numbers."""

import pytest
import torch
import torch.nn.functional as F
import torch_pruning as tp
from torch import Tensor, nn

import infoprune as ip
from infoprune.graph import Graph
from infoprune.graph.arguments import Arguments
from infoprune.graph.other_ways import negated, other_ways
from infoprune.graph.passes import Pass

L2 = tp.importance.MagnitudeImportance(p=2)


class Two(nn.Module):
    """Two layers, with room for something between them."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.head = nn.Linear(8, 32), nn.Linear(32, 3)
        self.drop = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.between(self.wide(x)))

    def between(self, y: Tensor) -> Tensor:
        return y


class NoiseInTraining(Two):
    def between(self, y: Tensor) -> Tensor:
        return y + torch.randn(32) if self.training else y


class NormInTraining(Two):
    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.LayerNorm(32, elementwise_affine=False)

    def between(self, y: Tensor) -> Tensor:
        return self.plain(y) if self.training else y


class NoiseOfItsSize(Two):
    """Adds noise of whatever width there is, which is no reason to keep it."""

    def between(self, y: Tensor) -> Tensor:
        return y + 0.1 * torch.randn_like(y) if self.training else y


class Dropped(Two):
    def between(self, y: Tensor) -> Tensor:
        return F.dropout(self.drop(y), 0.2, self.training)


class SwitchedWeight(Two):
    """The same operation, with another weight in training."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = (nn.Parameter(torch.randn(5, 32)) for _ in range(2))

    def between(self, y: Tensor) -> Tensor:
        return y * F.linear(y, self.two if self.training else self.one).sum(-1, keepdim=True)


class Gated(Two):
    """A gate that is closed on the example, before code that divides by the number of channels."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.wide(x)
        return self.head(y) + x.mean().clamp(max=0) * y.sum(-1, keepdim=True) / y.size(-1)


class Chosen(Two):
    def forward(self, x: Tensor) -> Tensor:
        y = self.wide(x)
        return self.head(torch.where(x.mean() > 0, y, y * torch.linspace(0, 1, y.size(-1))))


class OtherLayer(Two):
    def __init__(self) -> None:
        super().__init__()
        self.dark = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return (self.head if x.mean() > 0 else self.dark)(self.wide(x))


def bright() -> Tensor:
    return torch.rand(4, 8, generator=torch.Generator().manual_seed(1))


def made(net: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return net().eval()


def test_a_width_that_only_training_code_names_stays():
    assert set(Graph.trace(made(NoiseInTraining), bright()).quarantined) == {"wide"}


def test_a_norm_without_weights_that_only_training_runs_shrinks_along():
    model = made(NormInTraining)
    ip.prune_(model, bright(), ip.plan(model, bright(), L2, rates=0.5))
    assert model.train()(bright()).shape == (4, 3)


@pytest.mark.parametrize("net", [NoiseOfItsSize, Dropped])
def test_chance_in_training_keeps_nothing(net):
    assert set(Graph.trace(made(net), bright()).couplings) == {"wide"}


def test_training_is_followed_only_where_it_does_something_else():
    ways = {net: other_ways(made(net), Pass(Arguments.of(bright()))) for net in (Two, Dropped, NoiseInTraining)}
    assert {net: [way.training for way in found] for net, found in ways.items()} == {
        Two: [], Dropped: [], NoiseInTraining: [True],
    }  # fmt: skip


def test_another_weight_in_training_shrinks_along():
    graph = Graph.trace(made(SwitchedWeight), bright())
    assert {slot.tensor for slot in graph.couplings["wide"].slots} >= {"one", "two"}


@pytest.mark.parametrize("net", [Gated, Chosen])
def test_what_the_example_multiplies_by_zero_or_leaves_aside_is_compared_on_other_numbers(net):
    assert "differ by" in Graph.trace(made(net), bright()).quarantined["wide"]


def test_a_layer_that_other_numbers_reach_shrinks_along():
    graph = Graph.trace(made(OtherLayer), bright())
    assert {slot.tensor for slot in graph.couplings["wide"].slots} >= {"head.weight", "dark.weight"}


def test_other_numbers_are_as_large_and_spare_integers_and_masks():
    inputs = Arguments.of((torch.tensor([1.0, 2.0, float("-inf"), 4.0]), torch.tensor([3, 4]), torch.zeros(2), 0.5))
    first, ids, zeros, number = negated(inputs).positional
    assert first.tolist() == [-4.0, -2.0, float("-inf"), -1.0]
    assert (ids.tolist(), number) == ([3, 4], 0.5)
    assert (zeros != 0).all()


def test_what_a_batch_of_one_hides_is_compared_on_two():
    class Centred(Two):
        def between(self, y: Tensor) -> Tensor:
            y = y * torch.linspace(0, 1, y.size(-1))
            return y - y.mean(0)

    graph = Graph.trace(made(Centred), bright()[:1])
    assert "differ by" in graph.quarantined["wide"]


def test_a_model_that_takes_one_example_at_a_time_is_tried_on_one():
    class One(Two):
        def between(self, y: Tensor) -> Tensor:
            return y.view(1, -1)

    assert set(Graph.trace(made(One), bright()[:1]).couplings) == {"wide"}
