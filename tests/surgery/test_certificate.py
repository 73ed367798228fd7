"""A verdict rests on a number, or says that there is none."""

import copy
import dataclasses

import pytest
import torch
import torch.nn.functional as F
import torch_pruning as tp
from torch import Tensor, nn

import infoprune as ip
from infoprune.errors import CertificateFailed, NotCompared
from infoprune.surgery import Plan
from infoprune.surgery.plan import Price

L2 = tp.importance.MagnitudeImportance(p=2)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(8, 16), nn.Linear(16, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.middle(F.relu(self.one(x))))

    def middle(self, x: Tensor) -> Tensor:
        return F.relu(self.two(x))


class InSingle(Plain):
    """`.float()`, as mixed-precision code has it."""

    def middle(self, x: Tensor) -> Tensor:
        return F.relu(self.two(x)).float() * 1.0


class IntoZeros(Plain):
    """A buffer made without a type is of single precision."""

    def middle(self, x: Tensor) -> Tensor:
        rows = torch.zeros(len(x), 12)
        return rows.index_add(0, torch.arange(len(x)), self.two(x))


def made(net: type[nn.Module] = Plain) -> nn.Module:
    torch.manual_seed(0)
    return net().eval()


def rows() -> Tensor:
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(1))


def half_of(model: nn.Module) -> Plan:
    return ip.plan(model, rows(), L2, rates={"one": 0.5})


@pytest.mark.parametrize("net", [InSingle, IntoZeros])
def test_code_that_insists_on_single_precision_is_certified_in_it(net):
    model = made(net)
    certificate = ip.certificate_of(model, rows(), half_of(model))
    assert (certificate.verdict, certificate.dtype) == ("exact", "float32")
    assert ip.prune_(model, rows(), half_of(model)).one.out_features == 8


def test_a_wrong_cut_is_seen_in_single_precision_too():
    model = made(InSingle)
    plan = half_of(model)
    edit = plan.edits[0]
    slots = [
        dataclasses.replace(s, runs=(s.runs[0]._replace(unit=1, count=15), s.runs[0]._replace(start=15, count=1)))
        if s.tensor == "two.weight"
        else s
        for s in edit.coupling.slots
    ]
    wrong = dataclasses.replace(edit, coupling=dataclasses.replace(edit.coupling, slots=tuple(slots)))
    assert ip.certificate_of(model, rows(), Plan((wrong,))).verdict == "failed"


def test_a_network_that_adds_noise_draws_the_same_on_both_sides_and_leaves_the_generators():
    class Noisy(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + torch.randn(4)

    model, plan = made(Noisy), half_of(made())
    state = torch.get_rng_state()
    certificate = ip.certificate_of(model, rows(), plan)
    assert torch.equal(torch.get_rng_state(), state)
    assert (certificate.verdict, certificate.dtype) == ("exact", "float64")
    assert certificate.difference <= 1e-12


def test_a_network_that_scales_its_input_where_it_is_gets_a_copy():
    class InPlace(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.mul_(255))

    model, x = made(InPlace), rows()
    plan = ip.plan(model, x, L2, rates=0.5)
    assert torch.equal(x, rows())
    assert plan.widths == {"one": 8, "two": 6}
    assert ip.certificate_of(model, x, plan).verdict == "exact"
    assert torch.equal(x, rows())


@pytest.mark.parametrize(
    "second",
    [
        lambda y: (y <= 0).sum(1),
        lambda y: y.ge(-0.1).sum(-1) > 8,
        lambda y: (y.sigmoid().sum(1) * 10).long(),
        lambda y: y.exp().sum(1) * 1j,
    ],
    ids=["counts", "truth values", "whole numbers", "complex"],
)
def test_outputs_that_are_no_floating_point_numbers_are_compared_too(second):
    class Counting(Plain):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = self.one(x)
            return self.head(self.middle(F.relu(y))), second(y)

    plan = ip.plan(made(Counting), rows(), L2, rates=0.5)
    assert plan.widths == {"two": 6}
    wrong = ip.certificate_of(made(Counting), rows(), half_of(made()))
    assert wrong.verdict == "failed"


def test_a_network_that_writes_into_its_buffers_finds_them_as_they_were(tmp_path):
    class Counted(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            self.calls.add_(1)
            return super().forward(F.dropout(x, 0.3, True)) * self.calls

    model, state = made(Counted), torch.get_rng_state()
    plan = ip.plan(model, rows(), L2, rates=0.5)
    assert plan.widths == {"one": 8, "two": 6}
    assert ip.certificate_of(model, rows(), plan).verdict == "exact"
    ip.measure(model, rows())
    ip.prune_(model, rows(), plan)
    ip.save(tmp_path / "a", model, plan)
    assert model.calls.item() == 0
    assert torch.equal(torch.get_rng_state(), state)
    assert ip.load(tmp_path / "a", factory=Counted).one.out_features == 8


def test_a_network_of_half_precision_is_certified_in_double():
    model = made().half()
    certificate = ip.certificate_of(model, rows().half(), ip.plan(model, rows().half(), L2, rates=0.5))
    assert (certificate.verdict, certificate.dtype) == ("exact", "float64")


@pytest.mark.parametrize(("value", "reason"), [(0.0, "no output is other than zero"), (float("nan"), "not finite")])
def test_outputs_of_zero_or_nan_compare_nothing_and_prune_warns(value, reason):
    model = made()
    plan = half_of(model)
    with torch.no_grad():
        model.head.weight.fill_(value)
        model.head.bias.fill_(value)
    certificate = ip.certificate_of(model, rows(), plan)
    assert certificate.verdict == "not compared"
    assert not certificate.compared
    assert reason in str(certificate)
    with pytest.warns(NotCompared, match=f"compared with nothing.*{reason}"):
        ip.prune_(model, rows(), plan)


def test_infinities_that_both_have_are_no_reason_to_compare_nothing():
    class Barred(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).masked_fill(torch.tensor([True, False, False, False]), -torch.inf)

    model = made(Barred)
    certificate = ip.certificate_of(model, rows(), half_of(model))
    assert certificate.verdict == "exact"
    assert 0 < certificate.scale < 10


def test_a_network_that_costs_something_else_than_planned_is_not_pruned():
    model = made()
    plan = half_of(model)
    before = copy.deepcopy(model.state_dict())
    macs = plan.prices["macs"]
    wrong = dataclasses.replace(plan, prices={**plan.prices, "macs": Price(macs.before, macs.after - 1)})
    with pytest.raises(CertificateFailed, match=r"costs [\d,]+ MACs and the plan says [\d,]+; the model is unchanged"):
        ip.prune_(model, rows(), wrong)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_code_that_casts_down_on_the_way_is_judged_as_single_precision():
    """RMS norms of decoders compute in single precision, whatever they are given."""

    class CastsDown(Plain):
        def middle(self, x: Tensor) -> Tensor:
            y = self.two(x)
            return F.relu(torch.nn.functional.softplus(y.to(torch.float32)).to(x.dtype) * y)

    model = made(CastsDown)
    certificate = ip.certificate_of(model, rows(), ip.plan(model, rows(), L2, rates=0.5))
    assert certificate.verdict == "exact"
    assert certificate.dtype in ("float32", "float64")


class Gated(Plain):
    """A gate that is closed on positive numbers, before code that divides by the number of channels."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.one(x))
        return self.head(self.middle(y)) + x.mean().clamp(max=0) * y.sum(-1, keepdim=True) / y.size(-1)


class TwoWays(Plain):
    """Another layer for negative numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(16, 12)

    def middle(self, x: Tensor) -> Tensor:
        return F.relu(self.two(x))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.one(x))
        return self.head(self.middle(y) if x.mean() > 0 else self.other(y))


def without(plan: Plan, tensor: str) -> Plan:
    """A plan that does not know of one tensor."""
    edit = plan.edits[0]
    slots = tuple(slot for slot in edit.coupling.slots if slot.tensor != tensor)
    return Plan((dataclasses.replace(edit, coupling=dataclasses.replace(edit.coupling, slots=slots)),))


def test_a_network_that_agrees_on_the_example_alone_fails():
    model, x = made(Gated), rows().abs()
    plan = half_of(made(Plain))
    assert ip.certificate_of(made(Plain), x, plan).verdict == "exact"
    certificate = ip.certificate_of(model, x, plan)
    assert certificate.verdict == "failed"
    with pytest.raises(CertificateFailed, match="not on other numbers"):
        ip.prune_(model, x, plan)


def test_a_layer_that_only_other_numbers_reach_fails_the_certificate_too():
    x = rows().abs()
    plan = ip.plan(made(TwoWays), x, L2, rates={"one": 0.5})
    assert ip.certificate_of(made(TwoWays), x, plan).verdict == "exact"
    assert ip.certificate_of(made(TwoWays), x, without(plan, "other.weight")).verdict == "failed"


def test_a_certificate_says_that_the_model_takes_no_other_numbers():
    class Positive(Plain):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) and bool((x.sum(0) != rows().abs().sum(0)).any()):
                raise ValueError("these are not the numbers I know")
            return super().forward(x)

    model, x = made(Positive), rows().abs()
    certificate = ip.certificate_of(model, x, half_of(made(Plain)))
    assert certificate.verdict == "exact"
    assert "the example alone was compared" in str(certificate)


class Exits(Plain):
    """Goes on with the rows that are bright enough."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.one(x))
        return self.head(F.relu(self.two(y[y.sum(-1) > 1.5])))


def test_a_price_that_depends_on_values_is_told():
    model = made(Exits)
    plan = ip.plan(model, rows(), L2, rates={"one": 0.8})
    certificate = ip.certificate_of(model, rows(), plan)
    assert certificate.verdict == "exact"
    assert "since values decide how much is computed" in str(certificate)
    with pytest.warns(NotCompared, match="since values decide how much is computed"):
        ip.prune_(model, rows(), plan)


def test_a_certificate_counts_what_it_compares():
    model = made()
    plan = half_of(model)
    wrong = dataclasses.replace(plan, prices={"macs": Price(plan.prices["macs"].before, 1)})
    certificate = ip.certificate_of(model, rows(), wrong)
    assert certificate.verdict == "failed"
    assert "and the plan says 1" in str(certificate)


class Told(Plain):
    """Gives its answer away as something that is no tensor, made by code that divides by the number of channels."""

    def forward(self, x: Tensor) -> object:
        y = F.relu(self.one(x))
        return self.told(y.sum(-1) / y.size(-1) + self.head(self.middle(y)).sum(-1))

    def told(self, answer: Tensor) -> object:
        return answer.tolist()


class AsArray(Told):
    def told(self, answer: Tensor) -> object:
        return {"scores": answer.numpy(), "classes": 4}


class AsNumber(Told):
    def told(self, answer: Tensor) -> object:
        return {"size": 16, "loss": answer.mean().item(), "zeros": torch.zeros(3)}


@pytest.mark.parametrize("net", [Told, AsArray, AsNumber])
def test_outputs_that_are_no_tensors_are_compared(net, tmp_path):
    certificate = ip.certificate_of(made(net), rows(), half_of(made(Plain)))
    assert certificate.verdict == "failed"
    graph = ip.Graph.trace(made(net), rows())
    assert set(graph.couplings) == {"two", "head"}
    assert "differ by" in graph.quarantined["one"]
    model = made(net)
    plan = ip.plan(model, rows(), L2, rates=0.5)
    ip.prune_(model, rows(), plan)
    ip.save(tmp_path / "saved", model, plan, factory=net)
    ip.load(tmp_path / "saved", factory=net)
