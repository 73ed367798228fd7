"""Code that the example does not reach: what it would need stays, unless it is shown."""

import pytest
import torch
import torch.nn.functional as F
import torch_pruning as tp
from torch import Tensor, nn

import infoprune as ip
from infoprune.errors import Untraceable
from infoprune.graph import Graph

L2 = tp.importance.MagnitudeImportance(p=2)


class Branches(nn.Module):
    """Pictures go one way, very dark ones another."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mid = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 20, 3)
        self.bright, self.dark = nn.Conv2d(20, 32, 1), nn.Conv2d(20, 32, 1)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mid(self.stem(x).relu()).relu()
        return self.head((self.bright(y) if x.mean() > -5 else self.dark(y)).mean((2, 3)))


class Auxiliary(nn.Module):
    """A second head that runs in training only, behind dropout and a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.mid = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 20, 3)
        self.head, self.second = nn.Linear(20, 5), nn.Linear(16, 5)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        y = self.norm(self.stem(x)).relu()
        out = self.head(self.mid(y).relu().mean((2, 3)))
        return (out, self.second(self.drop(y.mean((2, 3))))) if self.training else out


def pictures(factor: int = 1) -> Tensor:
    return factor * torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(1))


def made(net: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return net().eval()


def test_what_a_branch_that_was_not_reached_may_read_stays():
    model = made(Branches)
    plan = ip.plan(model, pictures(), L2, rates=0.5)
    assert plan.widths == {"stem": 8}
    assert {told.split(":")[0] for told in plan.made_by["quarantined"]} == {"mid", "bright"}
    assert all("dark.weight was not read" in told for told in plan.made_by["quarantined"])
    ip.prune_(model, pictures(), plan)
    assert model(pictures(-20)).shape == (2, 5)


def test_a_branch_that_is_shown_shrinks_with_the_rest():
    model = made(Branches)
    plan = ip.plan(model, pictures(), L2, rates=0.5, also=[pictures(-20)])
    assert plan.widths == {"stem": 8, "mid": 10, "bright": 16}
    assert plan.prices["macs"].before == ip.measure(model, pictures()).macs
    ip.prune_(model, pictures(), plan)
    assert plan.prices["macs"].after == ip.measure(model, pictures()).macs
    assert model.dark.weight.shape == (16, 10, 1, 1)
    assert model(pictures(-20)).shape == (2, 5)


def test_what_only_other_modules_handle_may_leave_though_it_is_as_long():
    """A mask token is as long as all heads together, which its module never holds in its hands."""

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token, self.embed = nn.Parameter(torch.randn(16)), nn.Linear(6, 16)
            self.inner = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))
            self.head = nn.Linear(16, 3)

        def forward(self, x: Tensor, hide: bool = False) -> Tensor:
            y = self.embed(x)
            return self.head(self.inner(y * 0 + self.token if hide else y))

    graph = Graph.trace(made(Masked), torch.randn(4, 6))
    assert set(graph.couplings) == {"inner.0"}
    assert set(graph.quarantined) == {"embed", "inner.2"}
    shown = Graph.trace(made(Masked), torch.randn(4, 6), also=[{"x": torch.randn(4, 6), "hide": True}])
    assert set(shown.couplings) == {"embed", "inner.0", "inner.2"}


def test_a_matrix_that_would_read_flattened_maps_keeps_them():
    class Flattened(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head, self.second = nn.Conv2d(3, 16, 3), nn.Linear(16, 5), nn.Linear(16 * 49, 5)

        def forward(self, x: Tensor, second: bool = False) -> Tensor:
            y = self.stem(x).relu()
            return self.second(y.flatten(1)) if second else self.head(y.mean((2, 3)))

    graph = Graph.trace(made(Flattened), pictures())
    assert "second.weight was not read" in graph.quarantined["stem"]
    shown = Graph.trace(made(Flattened), pictures(), also=[(pictures(), True)])
    assert set(shown.couplings) == {"stem"}


def test_a_buffer_that_only_training_writes_shrinks_with_what_it_holds():
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Linear(6, 16), nn.Linear(16, 3)
            self.register_buffer("centre", torch.zeros(16))

        def forward(self, x: Tensor) -> Tensor:
            y = self.stem(x).relu()
            if self.training:
                self.centre.mul_(0.9).add_(y.detach().mean(0), alpha=0.1)
            return self.head(y)

    model, x = made(Centred), torch.randn(4, 6)
    ip.prune_(model, x, ip.plan(model, x, L2, rates=0.5))
    assert model.train()(x).shape == (4, 3)


def test_another_call_that_fails_is_told():
    with pytest.raises(Untraceable, match=r"forward failed on example_inputs \[\(2, 7\)\]"):
        Graph.trace(made(Branches), pictures(), also=[torch.rand(2, 7)])


def test_a_head_that_runs_in_training_only_shrinks_with_what_it_reads():
    model = made(Auxiliary)
    plan = ip.plan(model, pictures(), L2, rates=0.5)
    assert plan.widths == {"stem": 8, "mid": 10}
    ip.prune_(model, pictures(), plan)
    assert model.second.weight.shape == (5, 8)
    assert [tuple(t.shape) for t in model.train()(pictures())] == [(2, 5), (2, 5)]


def test_looking_at_the_training_mode_changes_nothing():
    model = made(Auxiliary)
    model.mid.train()
    before, state = {n: t.clone() for n, t in model.state_dict().items()}, torch.get_rng_state()
    Graph.trace(model, pictures())
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert [n for n, m in model.named_modules() if m.training] == ["mid"]


def test_training_code_that_insists_on_the_dense_width_keeps_it():
    class Literal(Auxiliary):
        def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            y = self.norm(self.stem(x)).relu()
            out = self.head(self.mid(y).relu().mean((2, 3)))
            return (out, self.second(y.mean((2, 3)).view(-1, 2, 8).flatten(1))) if self.training else out

    graph = Graph.trace(made(Literal), pictures())
    assert set(graph.couplings) == {"mid"}
    assert "RuntimeError: shape '[-1, 2, 8]'" in graph.quarantined["stem"]


class Flagged(nn.Module):
    """Two layers of 16 and 24 channels, and a third that only a flag reaches; `reads` says what it makes of them."""

    def __init__(self, other: nn.Module) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 24, 3), nn.Conv2d(24, 5, 1)
        self.other = other

    def forward(self, x: Tensor, flag: bool = False) -> Tensor:
        y = self.one(x).relu()
        z = self.two(y).relu()
        return self.other(self.reads(y[..., 2:, 2:], z, x[..., 4:, 4:])).relu().sum((1, 2, 3)) if flag else self.head(z)

    def reads(self, y: Tensor, z: Tensor, x: Tensor) -> Tensor:
        return z


class SideBySide(Flagged):
    def reads(self, y: Tensor, z: Tensor, x: Tensor) -> Tensor:
        return torch.cat([y, z], 1)


class BesideTheInput(Flagged):
    def reads(self, y: Tensor, z: Tensor, x: Tensor) -> Tensor:
        return torch.cat([y, x[..., :5, :5]], 1)


class APart(Flagged):
    def reads(self, y: Tensor, z: Tensor, x: Tensor) -> Tensor:
        return z.chunk(2, 1)[0]


class Shuffled(Flagged):
    def reads(self, y: Tensor, z: Tensor, x: Tensor) -> Tensor:
        return F.pixel_shuffle(y, 2)


class Unshuffled(Flagged):
    def reads(self, y: Tensor, z: Tensor, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(z[..., :4, :4], 2)


@pytest.mark.parametrize(
    ("net", "other", "stay"),
    [
        (SideBySide, nn.Conv2d(40, 5, 1), {"one", "two"}),
        (SideBySide, nn.BatchNorm2d(40), {"one", "two"}),
        (SideBySide, nn.BatchNorm2d(40, affine=False, track_running_stats=False), {"one", "two"}),
        (BesideTheInput, nn.Conv2d(19, 5, 1), {"one"}),
        (APart, nn.Conv2d(12, 5, 1), {"two"}),
        (Shuffled, nn.Conv2d(4, 5, 1), {"one"}),
        (Unshuffled, nn.Conv2d(96, 5, 1), {"two"}),
        (Flagged, nn.GroupNorm(2, 24, affine=False), {"two"}),
    ],
)
def test_what_a_layer_might_make_of_the_channels_around_it_stays(net, other, stay):
    torch.manual_seed(0)
    model = net(other).eval()
    graph = Graph.trace(model, pictures())
    assert set(graph.quarantined) >= stay
    assert all("other" in reason for reason in graph.quarantined.values())
    ip.prune_(model, pictures(), ip.plan(model, pictures(), L2, rates=0.5, also=[(pictures(), True)]))
    model(pictures(), flag=True)


def test_a_layer_that_has_a_reader_of_its_length_keeps_nothing_else():
    """The third layer reads 24 channels, which the second gives; that it could read the first one's 16 and 8 of
    something else is no reason to keep these."""
    torch.manual_seed(0)
    graph = Graph.trace(Flagged(nn.Sequential(nn.Conv2d(24, 48, 1), nn.BatchNorm2d(48))).eval(), pictures())
    assert set(graph.quarantined) == {"two"}


def test_what_a_module_is_given_counts_as_in_its_hands():
    class Inner(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.usual, self.other = nn.Linear(16, 24), nn.Linear(16, 24)

        def forward(self, y: Tensor, flag: bool) -> Tensor:
            return self.other(y) if flag else self.usual(y)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.inner, self.head = nn.Linear(8, 16), Inner(), nn.Linear(24, 3)

        def forward(self, x: Tensor, flag: bool = False) -> Tensor:
            return self.head(self.inner(y=self.one(x), flag=flag))

    graph = Graph.trace(made(Outer), torch.randn(4, 8))
    assert set(graph.quarantined) == {"one", "inner.usual"}
