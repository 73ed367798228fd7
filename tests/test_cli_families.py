"""Several sizes by one command: the artefact that the library makes, listed, and used by its members' names."""

import json

import pytest
import torch

import infoprune as ip
from infoprune.cli import main
from tests.test_cli_compensating import X, data, place  # noqa: F401 - a fixture
from tests.test_cli_running import spoken
from tests.torch_flops import torch_flops

SIZES = "0.7,0.4"


@pytest.fixture(scope="module")
def network(place):  # noqa: F811
    return ["resnet20_cifar", "--weights", place / "dense.safetensors", "--num-classes", 4]


def test_one_command_makes_all_sizes_and_compensates_them(place, network, capsys, tmp_path):  # noqa: F811
    told = [*network, *data(place, **{"compensate.samples": 24}), "--compensate", "--out", tmp_path / "a"]
    code, out, err = spoken(capsys, "prune", *told, "--macs", SIZES)
    assert code == 0, err
    members = ip.artifact.read_members(tmp_path / "a")
    assert list(members) == ["0.7", "0.4"]
    for name, config in members.items():
        price = config.plans[-1].prices["macs"]
        assert torch_flops(ip.load(tmp_path / "a", member=name), X) // 2 == price.after <= float(name) * price.before
        assert config.compensations[0].outputs
        assert f"\n{name}: " in out
    assert 'member="0.4"' in out


@pytest.fixture(scope="module")
def family(network, tmp_path_factory):
    out = tmp_path_factory.mktemp("family") / "a"
    words = ["prune", *network, "--input", "1x3x16x16", "--macs", SIZES, "--out", out]
    assert main([str(word) for word in words]) == 0
    return out


def test_show_lists_members_and_what_each_keeps(family, capsys):
    code, out, _ = spoken(capsys, "show", family)
    assert code == 0
    assert "2 members" in out
    assert "0.4 0" in out.splitlines()[-1]
    assert main(["show", str(family), "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["members"]] == ["0.7", "0.4"]


def test_a_member_is_exported_by_its_name(family, capsys, tmp_path):
    code, _, err = spoken(capsys, "export", family, tmp_path / "a.pt2")
    assert code == 2
    assert "0.7, 0.4, with --member" in err
    code, _, err = spoken(capsys, "export", family, tmp_path / "a.pt2", "--member", "0.4")
    assert code == 0, err
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        found = torch.export.load(tmp_path / "a.pt2").module()(x)
        assert torch.allclose(found, ip.load(family, member=0.4)(x), atol=1e-5)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--macs", "0.4,0.7"], 2, "--macs"),
        (["--macs", "0.7,0.4", "--params", "0.7,0.4"], 2, "by macs and by params"),
        (["--macs", "0.7,0.0001"], 3, "cannot be met"),
        (["--macs", "0.7,,0.4"], 2, "--macs"),
    ],
    ids=str,
)
def test_sizes_that_make_no_family_are_told_and_nothing_is_written(words, code, told, network, capsys, tmp_path):
    found, _, err = spoken(capsys, "prune", *network, "--input", "1x3x16x16", *words, "--out", tmp_path / "a")
    assert found == code
    assert told in err
    assert not (tmp_path / "a").exists()


def test_a_plan_has_one_size(network, capsys):
    code, _, err = spoken(capsys, "plan", *network, "--input", "1x3x16x16", "--macs", SIZES)
    assert code == 2
    assert "a plan is of one size" in err
