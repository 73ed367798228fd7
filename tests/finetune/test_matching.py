"""match_: blocks of a pruned network are trained to pass on what the dense ones do."""

import copy

import pytest
import timm
import torch
from tests.compensation.tied_nets import keeping
from tests.depth.skip_nets import CifarResNet
from torch import nn

import infoprune as ip
from infoprune.compensation.survivors import Survivors
from infoprune.errors import Interrupted, StalePlan, UnusableData
from infoprune.finetune import Surroundings
from infoprune.finetune.block_ends import both_ends, ends_of

IMAGE = torch.zeros(2, 3, 8, 8)


def pictures(count=6, batch=16, seed=0, size=8):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 3, size, size, generator=generator) for _ in range(count)]


def network():
    torch.manual_seed(0)
    net = CifarResNet().eval()
    ip.compensation.reestimate_(net, pictures(seed=1))
    return net


def half(dense, x=IMAGE):
    graph = ip.Graph.trace(dense, x)
    plan = keeping(dense, x, {s.name: list(range(0, s.size, 2)) for s in graph.sites})
    return ip.prune_(copy.deepcopy(dense), x, plan), plan


def inner(dense):
    """With half of what only blocks see."""
    graph = ip.Graph.trace(dense, IMAGE)
    kept = {s.name: list(range(0, s.size, 2)) for s in graph.sites if s.name.endswith("conv1")}
    return ip.prune_(copy.deepcopy(dense), IMAGE, keeping(dense, IMAGE, kept))


def outputs_apart(dense, pruned):
    x = torch.cat(pictures(2, seed=9))
    with torch.no_grad():
        return float((dense(x) - pruned(x)).square().mean())


def test_after_compensation_matching_brings_other_pictures_closer_to_the_dense_answers():
    dense = network()
    pruned = inner(dense)
    ip.compensate_(pruned, dense, pictures(), progress=False)
    before = outputs_apart(dense, pruned)
    told = ip.match_(pruned, dense, pictures(), steps=60, lr=0.01, progress=False)
    assert told.taken
    assert told.after < told.before
    assert (told.steps, told.fitted_on, told.held_out) == (60, 84, 12)
    assert outputs_apart(dense, pruned) < 0.7 * before


def test_of_what_leaves_a_block_the_entries_that_stayed_are_compared():
    dense = network().double()
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    pruned, plan = half(dense, x)
    ours, whole = both_ends(pruned, dense, Survivors.of(dense, [plan]), x)
    assert list(ours.at) == ends_of(dense) == [f"layers.{i}" for i in range(6)]
    told = ours(x)
    with torch.no_grad():
        assert [t.shape for t in told] == [t.shape for t in whole(x)]
        first = dense.layers[0](torch.relu(dense.bn(dense.conv(x))))
        torch.testing.assert_close(whole(x)[0], first[:, ::2])


def stopped_after(steps, checkpoints):
    seen = []
    return Surroundings(checkpoints=checkpoints, note=lambda p: seen.append(p), stop=lambda: len(seen) >= steps)


def test_an_interrupted_matching_goes_on_to_bitwise_the_same_weights(tmp_path):
    dense = network()
    straight, plan = half(dense)
    again, before = copy.deepcopy(straight), copy.deepcopy(straight.state_dict())
    ip.match_(straight, dense, pictures(), steps=40, progress=False)
    with pytest.raises(Interrupted, match="after step"):
        ip.match_(again, dense, pictures(), steps=40, progress=False, plan=plan, around=stopped_after(2, tmp_path))
    assert all(torch.equal(t, before[name]) for name, t in again.state_dict().items())
    around = Surroundings(checkpoints=tmp_path)
    told = ip.match_(again, dense, pictures(), steps=40, progress=False, plan=plan, around=around)
    assert told.taken
    assert all(torch.equal(t, straight.state_dict()[name]) for name, t in again.state_dict().items())


def test_weights_that_answer_no_better_are_not_taken():
    dense = network()
    pruned, _ = half(dense)
    before = copy.deepcopy(pruned.state_dict())
    told = ip.match_(pruned, dense, pictures(), steps=5, lr=1e3, progress=False)
    assert not told.taken
    assert "stay what they were" in str(told)
    assert all(torch.equal(t, before[name]) for name, t in pruned.state_dict().items())


def test_networks_labels_modes_and_random_numbers_are_left_alone():
    dense = network().train()
    pruned = inner(dense).train()
    whole = copy.deepcopy(dense.state_dict())
    norms = {name: t.clone() for name, t in pruned.state_dict().items() if "running" in name}
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    labelled = [(x, torch.zeros(len(x)).long()) for x in pictures()]
    assert ip.match_(pruned, dense, labelled, steps=30, lr=0.01, progress=False).taken
    assert torch.equal(torch.randn(3), expected)
    assert dense.training
    assert pruned.training
    assert all(torch.equal(t, whole[name]) for name, t in dense.state_dict().items())
    assert all(torch.equal(pruned.state_dict()[name], t) for name, t in norms.items())
    assert not any(p.grad is not None for net in (dense, pruned) for p in net.parameters())


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_transformers_are_told_at_every_block_also_where_the_stream_is_narrower():
    torch.manual_seed(0)
    dense = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=16, embed_dim=24, depth=3, num_heads=3, num_classes=4
    ).eval()
    x = torch.randn(2, 3, 32, 32)
    pruned, plan = half(dense, x)
    ours, whole = both_ends(pruned, dense, Survivors.of(dense, [plan]), x)
    assert ours.at == ("blocks.0", "blocks.1", "blocks.2")
    assert [t.shape for t in ours(x)] == [t.shape for t in whole(x)]
    assert ours(x)[0].shape[-1] < 24
    assert ip.match_(pruned, dense, pictures(size=32), steps=30, progress=False).taken


def test_networks_without_blocks_are_told_at_every_second_layer():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.Flatten(), nn.Linear(64, 3)
    )
    assert ends_of(net) == ["2"]


def test_what_it_cannot_match_is_refused_and_changes_nothing():
    dense, other = network(), CifarResNet(n=1).eval()
    pruned, plan = half(dense)
    before = copy.deepcopy(pruned.state_dict())
    with pytest.raises(StalePlan):
        ip.match_(pruned, other, pictures(), progress=False)
    with pytest.raises(StalePlan, match="is not known"):
        ip.match_(copy.deepcopy(pruned), dense, pictures(), progress=False)
    with pytest.raises(UnusableData, match="is empty"):
        ip.match_(pruned, dense, [], progress=False, plan=plan)
    with pytest.raises(UnusableData, match="one tensor"):
        ip.match_(pruned, dense, [{"x": x} for x in pictures()], progress=False)
    with pytest.raises(UnusableData, match="2 sizes"):
        ip.match_(pruned, dense, [*pictures(), *pictures(size=16)], progress=False)
    with pytest.raises(ValueError, match="lr is 0"):
        ip.match_(pruned, dense, pictures(), lr=0, progress=False)
    with pytest.raises(ValueError, match="steps is 0"):
        ip.match_(pruned, dense, pictures(), steps=0, progress=False)
    assert all(torch.equal(t, before[name]) for name, t in pruned.state_dict().items())
