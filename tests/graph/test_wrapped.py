"""A certificate never compares a model with itself: wrappers are taken off, and what can't be followed is refused."""

import copy
import functools
import threading

import pytest
import torch
import torch_pruning as tp
from tests.small_nets import Attention, Residual, image, make
from torch import nn

import infoprune as ip
from infoprune.errors import CertificateFailed, Untraceable
from infoprune.graph import Graph

L2 = tp.importance.MagnitudeImportance(p=2)
HALF = ip.budgets.macs(keep=0.5)


def planned(model):
    return ip.plan(model, image(), L2, budgets=[HALF])


def answers(model):
    with torch.no_grad():
        return model(image())


def twin():
    """The plain network that the wrapped ones hold, pruned."""
    model = make(Residual)
    return ip.prune_(model, image(), planned(model))


def compiled(model):
    return torch.compile(model, backend="eager")


def compiled_in_place(model):
    model.compile(backend="eager")
    return model


WRAPPERS = {
    "torch.compile": compiled,
    "compile in place": compiled_in_place,
    "DataParallel": nn.DataParallel,
    "torch.compile of DataParallel": lambda model: compiled(nn.DataParallel(model)),
    "torch.fx": torch.fx.symbolic_trace,
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapped_model_is_pruned_as_the_plain_one_is(wrap):
    model = wrap(make(Residual))
    answers(model)
    plan = planned(model)
    assert plan.to_json() == planned(make(Residual)).to_json()
    assert ip.prune_(model, image(), plan) is model
    torch.testing.assert_close(answers(model), answers(twin()), rtol=0, atol=1e-6)
    assert ip.measure(model, image()).macs == plan.prices["macs"].after


@pytest.mark.parametrize("net", [Residual, Attention])
def test_compiled_code_of_before_the_surgery_is_not_run_any_more(net):
    """Its guards look at the parameters and at the numbers of the modules, all of which are others now."""
    graphs = []

    def counting(graph, _):
        graphs.append(graph)
        return graph.forward

    model = make(net)
    fast = torch.compile(model, backend=counting)
    answers(fast)
    before = len(graphs)
    ip.prune_(fast, image(), planned(fast))
    assert torch.equal(answers(fast), answers(model))
    assert len(graphs) > before


def test_the_certificate_of_a_compiled_model_compares_the_pruned_network_with_the_masked_one():
    """Masked by hand: what a wrapper ran instead was the dense network, 0.38 of the output away."""
    model, dense = make(Residual), make(Residual)
    fast = compiled(model)
    plan = planned(fast)
    found = ip.certificate_of(fast, image(), plan)
    ip.prune_(fast, image(), plan)
    kept = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in dense.named_parameters():
            if tensor.shape != kept[name].shape:
                tensor.mul_(torch.isin(tensor, kept[name]))
    torch.testing.assert_close(answers(fast), answers(dense), rtol=0, atol=1e-6)
    assert found.verdict == "exact"
    assert found.scale > 0


class Literal(nn.Module):
    """A size is written out in the code, which no removal survives: trials must find out, compiled or not."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.o = nn.Conv2d(3, 32, 3), nn.Conv2d(32, 32, 3), nn.Linear(32, 4)

    def forward(self, x):
        y = self.a(x)
        return self.o(torch.relu(self.b(y.view(-1, 32, *y.shape[2:]))).mean((2, 3)))


def test_trials_of_a_compiled_model_find_what_trials_of_the_plain_one_find():
    plain = Graph.trace(Literal().eval(), image()).quarantined
    assert plain
    assert Graph.trace(compiled(Literal().eval()), image()).quarantined == plain


@pytest.mark.parametrize("part", ["one", "stem"])
def test_a_model_with_compiled_parts_is_pruned_under_its_own_names(part):
    model = make(Residual)
    setattr(model, part, compiled(getattr(model, part)))
    model.two.compile(backend="eager")
    answers(model)
    plan = planned(model)
    assert any(f"{part}._orig_mod" in site for site in plan.widths)
    assert ip.certificate_of(model, image(), plan).verdict == "exact"
    ip.prune_(model, image(), plan)
    torch.testing.assert_close(answers(model), answers(twin()), rtol=0, atol=1e-6)


def test_what_is_seen_of_a_compiled_model_is_called_as_in_the_plain_one():
    batches = [torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))]
    plain = ip.observe(make(Residual), batches, progress=False)
    assert ip.observe(compiled(make(Residual)), batches, progress=False).layers == plain.layers
    assert ip.observe(compiled_in_place(make(Residual)), batches, progress=False).layers == plain.layers


def test_a_compiled_model_is_saved_as_the_plain_one(tmp_path):
    model = compiled(make(Residual))
    plan = planned(model)
    ip.prune_(model, image(), plan)
    ip.save(tmp_path / "a", model, plan)
    assert torch.equal(answers(ip.load(tmp_path / "a", factory=Residual)), answers(model._orig_mod))


def test_an_optimizer_goes_on_with_a_compiled_model():
    model = compiled(make(Residual))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    plan = planned(model)
    ip.prune_(model, image(), plan)
    ip.rebuild_optimizer(optimizer, plan, model)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(p) for p in model.parameters()]


@pytest.fixture
def one_worker():
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_model_under_ddp_is_planned_and_refused_to_be_cut_with_its_gradient_buckets(one_worker):
    model = nn.parallel.DistributedDataParallel(make(Residual))
    before = copy.deepcopy(model.module.state_dict())
    plan = planned(model)
    assert plan.to_json() == planned(make(Residual)).to_json()
    with pytest.raises(TypeError, match=r"prune model\.module, then wrap it again"):
        ip.prune_(model, image(), plan)
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())


# --------------------------------------------------------------------------------- functions that hold the original


def patched(model):
    """As tools do that wrap `forward`: the function holds the method of the original."""
    forward = model.forward

    @functools.wraps(forward)
    def wrapped(*args):
        return forward(*args)

    model.forward = wrapped
    return model


def with_a_closure(model):
    inner = model.two
    model.two = nn.Identity()
    model.middle = lambda x: torch.relu(x + model.bn(inner(torch.relu(model.one(x)))))
    return model


@pytest.mark.parametrize("spoil", [patched, with_a_closure])
def test_a_model_whose_copy_would_run_the_original_is_refused(spoil):
    model = spoil(make(Residual))
    for ask in (planned, lambda m: Graph.trace(m, image(), verify=False), lambda m: ip.skip_units(m, image())):
        with pytest.raises(Untraceable, match="a copy of the model still reads"):
            ask(model)


@pytest.mark.parametrize("macs", [0, 10**12], ids=["double", "single"])
def test_a_plan_for_the_plain_model_is_not_certified_on_one_whose_copy_runs_the_original(macs, monkeypatch):
    monkeypatch.setattr("infoprune.surgery.prune._macs", lambda *_: macs)
    plan, model = planned(make(Residual)), patched(make(Residual))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for ask in (ip.certificate_of, ip.prune_):
        with pytest.raises(CertificateFailed, match="compare the model with itself"):
            ask(model, image(), plan)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class Methods(Residual):
    def build(self):
        super().build()
        self.first = self.one.forward
        self.second = functools.partial(self.two.forward)
        self.held = [self.bn]

    def middle(self, x):
        return torch.relu(x + self.held[0](self.second(torch.relu(self.first(x)))))


def test_methods_partials_and_lists_of_own_modules_are_followed():
    model = make(Methods)
    plan = planned(model)
    assert plan.widths == planned(make(Residual)).widths
    ip.prune_(model, image(), plan)
    torch.testing.assert_close(answers(model), answers(twin()), rtol=0, atol=1e-6)


# ---------------------------------------------------------------------------------------------- what to pass instead


def locked():
    model = make(Residual)
    model.lock = threading.Lock()
    return model


def exported():
    return torch.export.export(make(Residual), (image(),))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize(
    ("made", "error", "told"),
    [
        (lambda: torch.jit.script(nn.Sequential(nn.Conv2d(3, 8, 3))), Untraceable, "then script it again"),
        (lambda: torch.jit.trace(make(Residual), image()), Untraceable, "then script it again"),
        (lambda: torch.ao.quantization.quantize_dynamic(make(Residual)), Untraceable, "before it is quantised"),
        (lambda: nn.Sequential(nn.LazyConv2d(8, 3)), Untraceable, "run the model once"),
        (exported, TypeError, "prune what was exported, then export again"),
        (lambda: exported().module(), Untraceable, "prune what was exported, then export again"),
        (lambda: answers, TypeError, "is a function; give a torch.nn.Module"),
        (locked, Untraceable, "can't be copied .*lock.* take what can't be copied out of its attributes"),
    ],
    ids=["scripted", "traced", "quantised", "lazy", "program", "exported", "function", "lock"],
)
def test_kinds_that_can_not_be_followed_are_one_sentence_that_says_what_to_pass(made, error, told):
    with pytest.raises(error, match=told):
        planned(made())
