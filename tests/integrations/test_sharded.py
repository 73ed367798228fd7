"""A network spread over processes (FSDP2) is observed as it is; what needs whole weights refuses in a sentence."""

import sys

import pytest
import torch
from tests.two_processes import together
from torch import nn

import infoprune as ip

X = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
LOADER = [torch.randn(16, 3, 12, 12, generator=torch.Generator().manual_seed(i)) for i in range(2)]
CAPACITY = ip.importance.CapacityImportance()


def network():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(12, 5),
    )  # fmt: skip
    model[1].running_mean.normal_()  # trained, as far as anybody asks
    return model.eval()


def doors(spread, plan, folder):
    whole = network()
    return {
        "plan": lambda: ip.plan(spread, X, CAPACITY, rates=0.5),
        "Graph.trace": lambda: ip.Graph.trace(spread, X),
        "skip_units": lambda: ip.skip_units(spread, X),
        "curves": lambda: ip.layerwise.curves(spread, LOADER, CAPACITY, progress=False),
        "prune_": lambda: ip.prune_(spread, X, plan),
        "certificate_of": lambda: ip.certificate_of(spread, X, plan),
        "compensate_ pruned": lambda: ip.compensate_(spread, whole, LOADER, plan=plan, progress=False),
        "compensate_ dense": lambda: ip.compensate_(whole, spread, LOADER, plan=plan, progress=False),
        "save": lambda: ip.save(folder / "artefact", spread, plan),
        "export": lambda: ip.export(spread, X, folder / "m.pt2"),
    }


def told(folder):
    """What two processes say that hold half of every parameter each: refusals by door, and what they observed."""
    whole = network()
    plan = ip.plan(whole, X, CAPACITY, rates=0.5)
    torch.set_num_threads(1)

    def work(rank):
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        torch.set_num_threads(1)
        spread = fully_shard(network(), mesh=init_device_mesh("cpu", (2,)))
        parts = {name: p.to_local().clone() for name, p in spread.named_parameters()}
        said = {}
        for door, call in doors(spread, plan, folder).items():
            with pytest.raises(ip.errors.Untraceable) as refused:
                call()
            said[door] = str(refused.value)
        same = all(torch.equal(p.to_local(), parts[name]) for name, p in spread.named_parameters())
        seen = ip.observe(spread, LOADER, progress=False, moments=True).compute()
        counted = ip.measure(spread, X)
        return said, same, seen.value.tolist(), [counted.params, counted.macs]

    found = together(folder, work)
    return found, ip.observe(whole, LOADER, progress=False, moments=True).compute(), ip.measure(whole, X)


@pytest.mark.alone
@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_what_needs_whole_weights_is_refused_in_one_sentence_and_what_observes_is_as_on_the_whole(tmp_path):
    found, seen, counted = told(tmp_path)
    for said, same, values, numbers in found:
        assert len(said) == 10
        for door, sentence in said.items():
            assert sentence.startswith("0.weight is a DTensor, "), door
            assert "\n" not in sentence
        assert same
        assert numbers == [counted.params, counted.macs]
        torch.testing.assert_close(torch.tensor(values, dtype=seen.value.dtype), seen.value, rtol=0, atol=0)
    assert not [path for path in tmp_path.iterdir() if path.name in ("artefact", "m.pt2")]
