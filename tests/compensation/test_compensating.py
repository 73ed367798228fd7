"""compensate_ on networks where not all can be told: what it promises of errors, of the model, and of bad input."""

import copy
import random

import numpy as np
import pytest
import torch
from tests.compensation.tied_nets import Joined, Stream, keeping, pictures
from torch import nn

import infoprune as ip
from infoprune.compensation.judging import output_errors
from infoprune.compensation.pictures import Pictures
from infoprune.compensation.weights import commit
from infoprune.errors import BadWeights, StalePlan, UnusableData
from infoprune.surgery import Plan

IMAGE = torch.zeros(2, 3, 8, 8)


def network():
    """A chain with a norm, a stream and dropout, in single precision."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.Dropout(0.3),
        nn.Conv2d(12, 10, 3, padding=1, bias=False), nn.BatchNorm2d(10), nn.ReLU(), nn.Conv2d(10, 4, 1), nn.Flatten(),
        nn.Linear(256, 3),
    )  # fmt: skip
    for norm in (model[1], model[5]):
        nn.init.uniform_(norm.running_mean, -0.2, 0.2)
        nn.init.uniform_(norm.bias, -0.5, 0.5)
    return model.eval()


def images(count=4, seed=1):
    """Pictures whose colours and neighbours depend on each other."""
    flat = [x.float() for x in pictures(3, 4, 4, count=count, seed=seed)]
    return [nn.functional.interpolate(x, size=(8, 8), mode="bilinear", align_corners=False) for x in flat]


def pruned_network(dense):
    graph = ip.Graph.trace(dense, IMAGE)
    half = {site.name: list(range(0, site.size, 2)) for site in graph.sites}
    return ip.prune_(copy.deepcopy(dense), IMAGE, keeping(dense, IMAGE, half))


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def distance(dense, model, x):
    with torch.no_grad():
        want, got = dense(x), model(x)
    return float((want - got).square().sum() / (want - want.mean(0)).square().sum())


def test_outputs_come_closer_to_the_dense_ones_on_other_pictures():
    dense = network()
    plain, told = pruned_network(dense), pruned_network(dense)
    table = ip.compensate_(told, dense, images(), progress=False)
    other = torch.cat(images(seed=7))
    assert distance(dense, told, other) < 0.5 * distance(dense, plain, other)
    assert all(row.refitted < row.plain for row in table.rows)
    assert min(table.outputs.values()) == pytest.approx(distance(dense, told, held_out(images())), rel=1e-3)


def held_out(batches):
    """Every fourth and eighth of eight samples, counted over batches."""
    return torch.stack([x for i, x in enumerate(torch.cat(batches)) if i % 16 in (3, 15)])


def test_the_table_s_plain_error_is_what_the_slice_does_to_the_dense_input():
    dense = network()
    pruned = pruned_network(dense)
    plain = copy.deepcopy(pruned)
    row = ip.compensate_(pruned, dense, images(), progress=False).rows[0]
    with torch.no_grad():
        x = dense[:4](held_out(images()))
        want, got = dense[4](x)[:, ::2], plain[4](x[:, ::2])
        error = (want - got).square().sum()
        fit = torch.cat(images())[[i for i in range(96) if i % 16 not in (3, 15)]]
        spread = (want - dense[4](dense[:4](fit))[:, ::2].mean((0, 2, 3), keepdim=True)).square().sum()
    assert row.plain == pytest.approx(float(error / spread), rel=1e-4)


@pytest.mark.parametrize("worse", [1.5, float("nan")])
def test_refits_that_leave_the_network_further_from_the_dense_one_are_undone(monkeypatch, worse):
    dense = network()
    pruned = pruned_network(dense)
    before = state(pruned)
    further = iter([[1.0, worse], [1.2]])  # plain and refitted, then with norms moved
    monkeypatch.setattr("infoprune.compensation.compensating.output_errors", lambda *_: next(further))
    table = ip.compensate_(pruned, dense, images(), progress=False)
    assert not any(row.taken for row in table.rows)
    assert all(row.refitted < row.plain for row in table.rows)
    assert same(state(pruned), before)
    assert "keeps its plain slice" in str(table)


def test_a_whole_network_comes_out_unharmed():
    dense = network()
    same_again = copy.deepcopy(dense)
    table = ip.compensate_(same_again, dense, images(), progress=False, plan=Plan())
    assert not table.rows
    assert same(state(same_again), state(dense))


def test_it_is_deterministic_and_reads_a_shuffled_loader_alike_every_time():
    dense = network()
    loader = torch.utils.data.DataLoader(torch.cat(images()), batch_size=24, shuffle=True)
    found = []
    for _ in range(2):
        torch.manual_seed(5)
        pruned = pruned_network(dense)
        ip.compensate_(pruned, dense, loader, progress=False)
        found.append(state(pruned))
    assert same(*found)


def test_an_iterator_gives_what_a_list_gives():
    dense = network()
    found = []
    for loader in (images(), iter(images())):
        pruned = pruned_network(dense)
        ip.compensate_(pruned, dense, loader, progress=False)
        found.append(state(pruned))
    assert same(*found)


def test_modes_hooks_gradients_and_random_numbers_are_as_before():
    dense = network()
    pruned = pruned_network(dense)
    for model in (dense, pruned):
        model.train()[1].eval()
    pruned[4].weight.grad = torch.ones_like(pruned[4].weight)
    pruned[0].weight.requires_grad_(False)
    calls = []
    pruned[4].register_forward_hook(lambda *_: calls.append(1))
    before = {m: [(n, x.training, len(x._forward_hooks)) for n, x in m.named_modules()] for m in (dense, pruned)}
    identities, whole = [id(p) for p in pruned.parameters()], state(dense)
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    drawn = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    ip.compensate_(pruned, dense, images(), progress=False)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == drawn
    assert before == {
        m: [(n, x.training, len(x._forward_hooks)) for n, x in m.named_modules()] for m in (dense, pruned)
    }
    assert [id(p) for p in pruned.parameters()] == identities
    assert torch.equal(pruned[4].weight.grad, torch.ones_like(pruned[4].weight))
    assert pruned[4].weight.requires_grad
    assert not pruned[0].weight.requires_grad
    assert same(state(dense), whole)


def test_networks_in_training_mode_give_what_they_give_in_evaluation_mode():
    found = []
    for training in (False, True):
        dense = network()
        pruned = pruned_network(dense)
        ip.compensate_(pruned.train(training), dense.train(training), images(), progress=False)
        found.append(state(pruned))
    assert same(*found)


def failing(kind):
    def batches():
        yield from images(3)
        raise kind("no more")

    class Loader:
        def __iter__(self):
            return batches()

    return Loader()


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_whatever_the_loader_raises_the_model_is_as_it_was(kind):
    dense = network()
    pruned = pruned_network(dense).train()
    before = state(pruned)
    with pytest.raises(kind, match="no more"):
        ip.compensate_(pruned, dense, failing(kind), progress=False)
    assert same(state(pruned), before)
    assert all(module.training for module in pruned.modules())


def test_an_interrupt_while_weights_are_written_undoes_them(monkeypatch):
    dense = network()
    pruned = pruned_network(dense)
    other = copy.deepcopy(pruned)
    with torch.no_grad():
        for tensor in other.parameters():
            tensor.add_(1)
    before, copies = state(pruned), []

    def copying(tensor, value, _copy=torch.Tensor.copy_):
        copies.append(1)
        if len(copies) == 3:
            raise KeyboardInterrupt
        return _copy(tensor, value)

    monkeypatch.setattr(torch.nn.Parameter, "copy_", copying, raising=False)
    with torch.no_grad(), pytest.raises(KeyboardInterrupt):
        commit(pruned, other)
    assert len(copies) > 3
    monkeypatch.undo()
    assert same(state(pruned), before)


def broken(batches, place=5, number=float("nan")):
    batches[1][place, 0, 0, 0] = number
    return batches


WRONG = {
    "NaN": (lambda: broken(images()), UnusableData, "NaN"),
    "NaN held out": (lambda: broken(images(), 3), UnusableData, "NaN"),
    "infinite": (lambda: broken(images(), number=float("inf")), UnusableData, "infinite"),
    "some of another size": (lambda: [*images(), torch.zeros(16, 3, 9, 9)], UnusableData, "324 numbers instead of 256"),
    "one colour too few": (lambda: [torch.zeros(16, 1, 8, 8)], UnusableData, "size and kind"),
    "one sample again and again": (lambda: [torch.ones(16, 3, 8, 8)] * 4, UnusableData, "all 64 samples are the same"),
    "empty iterator": (lambda: iter([]), UnusableData, "the loader is empty"),
    "empty": (lambda: [], UnusableData, "the loader is empty"),
    "few": (lambda: [images()[0][:5]], UnusableData, "gave 5 samples"),
    "another size": (lambda: [torch.zeros(16, 3, 9, 9)], UnusableData, r"\(1, 3, 9, 9\).*size and kind"),
    "no tensors": (lambda: [object()], UnusableData, "without tensors"),
    "no loader": (lambda: 3, TypeError, "loader is int"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_loader_is_told_and_changes_nothing(wrong):
    loader, error, told = WRONG[wrong]
    dense = network()
    pruned = pruned_network(dense)
    before = state(pruned)
    with pytest.raises(error, match=told):
        ip.compensate_(pruned, dense, loader(), progress=False)
    assert same(state(pruned), before)


@pytest.mark.parametrize("samples", ["many", 40.5, True])
def test_samples_are_a_whole_number(samples):
    dense = network()
    with pytest.raises(TypeError, match="give a whole number"):
        ip.compensate_(pruned_network(dense), dense, images(), samples=samples, progress=False)


def test_what_is_no_model_is_told():
    dense = network()
    pruned = pruned_network(dense)
    for networks in ((3, dense), (pruned, 3)):
        with pytest.raises(TypeError, match="int"):
            ip.compensate_(*networks, images(), progress=False)


def test_an_endless_loader_is_read_as_far_as_it_is_asked():
    dense = network()

    def forever():
        while True:
            yield images(1)[0]

    pruned = pruned_network(dense)
    table = ip.compensate_(pruned, dense, forever(), samples=40, progress=False)
    assert (table.fitted_on, table.held_out) == (35, 5)


def test_a_dense_model_that_is_not_the_ancestor_is_refused():
    dense = network()
    pruned = pruned_network(dense)
    before = state(pruned)
    with torch.no_grad():
        dense[1].weight.add_(0.1)
    with pytest.raises(StalePlan, match=r"1\.weight does not hold what the dense model has"):
        ip.compensate_(pruned, dense, images(), progress=False)
    with pytest.raises(StalePlan, match="unlike the pruned one"):
        ip.compensate_(pruned, Joined().eval(), images(), progress=False)
    assert same(state(pruned), before)


def test_a_copy_needs_to_be_told_the_plan():
    dense = network()
    pruned = copy.deepcopy(pruned_network(dense))
    with pytest.raises(StalePlan, match="pass plan="):
        ip.compensate_(pruned, dense, images(), progress=False)
    with pytest.raises(TypeError, match="plan holds a str"):
        ip.compensate_(pruned, dense, images(), progress=False, plan=["half"])


def test_outputs_of_other_shapes_are_not_compared():
    """As where objects are found, more of them or fewer."""

    class Some(nn.Module):
        def __init__(self, count):
            super().__init__()
            self.count = count

        def forward(self, x):
            return [x[:, : self.count], x]

    seen = Pictures.of([torch.randn(16, 4)], 16, torch.device("cpu"), progress=False)
    same, other = output_errors(Some(3), [Some(3), Some(2)], seen)
    assert same == 0
    assert np.isnan(other)


def test_fewer_samples_than_channels_do_no_harm():
    dense = network()
    plain, told = pruned_network(dense), pruned_network(dense)
    ip.compensate_(told, dense, [images()[0][:8]], progress=False)
    other = torch.cat(images(seed=7))
    assert distance(dense, told, other) <= distance(dense, plain, other)


def test_that_there_were_too_few_samples_is_said():
    dense = network()
    seven = keeping(dense, IMAGE, {"0": list(range(7))})
    pruned = [ip.prune_(copy.deepcopy(dense), IMAGE, seven) for _ in range(2)]
    few, many = (
        ip.compensate_(model, dense, images(), samples=samples, progress=False)
        for model, samples in zip(pruned, (8, 96), strict=True)
    )
    assert few.short == ["4"]
    assert "no more samples than inputs that stay at 4" in str(few)
    assert (few.fitted_on, few.held_out) == (7, 1)
    assert many.short == []
    assert "more samples" not in str(many)


def test_weights_that_are_not_numbers_are_told_and_nothing_changes():
    dense = network()
    pruned = pruned_network(dense)
    with torch.no_grad():
        dense[4].weight[0, 0] = float("nan")
    before = state(pruned)
    with pytest.raises(BadWeights, match=r"4\.weight holds NaN, in the pruned model or the dense one"):
        ip.compensate_(pruned, dense, images(), progress=False)
    assert same(state(pruned), before)


def test_constant_channels_are_told_by_a_constant():
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(192, 2)).eval()
    with torch.no_grad():
        dense[0].weight[1:] = 0
    pruned = ip.prune_(copy.deepcopy(dense), IMAGE, keeping(dense, IMAGE, {"0": [0, 3]}))
    ip.compensate_(pruned, dense, images(), progress=False)
    assert distance(dense, pruned, torch.cat(images(seed=7))) < 1e-8


def test_readers_that_can_t_be_refitted_are_named_with_the_reason():
    class Standardised(nn.Conv2d):
        def forward(self, x):
            return nn.functional.conv2d(x, self.weight / self.weight.norm(), self.bias)

    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(3, 8, 1), Standardised(8, 6, 1), nn.Flatten(), nn.Linear(384, 2)).eval()
    pruned = ip.prune_(copy.deepcopy(dense), IMAGE, keeping(dense, IMAGE, {"0": [0, 3, 5]}), certify=False)
    table = ip.compensate_(pruned, dense, images(), progress=False)
    assert table.alone == {"1": "its answer is not linear in its weight"}
    assert "1: left alone, its answer is not linear in its weight" in str(table)


def test_the_table_says_every_reader_and_survives_json():
    import json

    torch.manual_seed(0)
    dense = Stream().eval()
    pruned = ip.prune_(copy.deepcopy(dense), IMAGE, keeping(dense, IMAGE, {"stem": [0, 2, 3, 6]}))
    table = ip.compensate_(pruned, dense, images(), progress=False)
    text = str(table)
    assert all(f"{row.reader} " in text and f"{row.kept} of {row.columns}" in text for row in table.rows)
    assert json.loads(json.dumps(table.to_json()))["fitted_on"] == 84
