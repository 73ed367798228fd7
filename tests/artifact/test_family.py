"""Many sizes in one artefact: each comes back as it was, and what they share is kept once."""

import json
from pathlib import Path

import pytest
import torch
import torch_pruning as tp
from safetensors.torch import load_file, save_file
from tests.kill_points import draws, writes_before
from tests.small_nets import Residual, image, make

import infoprune as ip
from infoprune.artifact.layout import content_digest
from infoprune.errors import BadArtifact, InfopruneError, UnknownName
from infoprune.files import digest_of
from infoprune.models import models

L2 = tp.importance.MagnitudeImportance(p=2)
KEEPS = [0.8, 0.6, 0.4]


def pictures():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(16, *image().shape[1:], generator=generator) for _ in range(2)]


def made(loader=None, keeps=KEEPS):
    return ip.family(make(Residual), image(), None, keeps=keeps, importance=L2, loader=loader, progress=False)


def answer(model):
    with torch.no_grad():
        return model(image())


def same(one, other):
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in one.state_dict().items())


def loaded(directory, member):
    return ip.load(directory, member=member, factory=Residual)


@pytest.fixture(scope="module", params=["as surgery left them", "compensated"])
def family(request):
    return made(pictures() if request.param == "compensated" else None)


def test_a_member_is_bitwise_what_it_is_saved_alone(family, tmp_path):
    ip.save(tmp_path / "all", family, factory=Residual)
    for member in family:
        ip.save(tmp_path / member.name, member.model, member.plans)
        alone, ours = ip.load(tmp_path / member.name, factory=Residual), loaded(tmp_path / "all", member.name)
        assert torch.equal(answer(ours), answer(alone))
        assert same(ours, alone)
        assert not ours.training


def test_the_members_are_listed_with_their_plans_and_what_was_refitted(family, tmp_path):
    ip.save(tmp_path / "a", family)
    told = ip.artifact.read_members(tmp_path / "a")
    assert list(told) == ["0.8", "0.6", "0.4"]
    for member in family:
        assert told[member.name].plans == member.plans
        assert told[member.name].compensations == member.compensations
        assert told[member.name].answer is not None


def held(directory):
    """member -> the tensors that the file has for it, read without this library."""
    found = {}
    for key, tensor in load_file(directory / "model.safetensors").items():
        member, name = key.split("/")
        found.setdefault(member, {})[name] = tensor
    return found


def test_as_surgery_left_them_the_smaller_networks_take_no_room(tmp_path):
    """They are slices of the largest one."""
    family = made()
    ip.save(tmp_path / "a", family)
    assert held(tmp_path / "a").keys() == {"0.8"}


def test_compensated_only_what_was_refitted_is_kept_again(tmp_path):
    family = made(pictures())
    ip.save(tmp_path / "a", family)
    for name, tensors in list(held(tmp_path / "a").items())[1:]:
        [done] = family[name].compensations
        refitted = {f"{row.reader}.{leaf}" for row in done.rows for leaf in ("weight", "bias")}
        assert {n for n in tensors if not n.endswith(("running_mean", "running_var"))} <= refitted


def test_one_directory_is_smaller_than_its_members_apart(family, tmp_path):
    ip.save(tmp_path / "all", family)
    apart = [ip.save(tmp_path / member.name, member.model, member.plans) for member in family]
    assert weighs(tmp_path / "all") < sum(map(weighs, apart))


def weighs(directory):
    return sum(tensor.nbytes for tensor in load_file(directory / "model.safetensors").values())


def test_networks_of_a_registry_need_no_factory(tmp_path):
    torch.manual_seed(0)
    model, x = models["resnet20_cifar"]().eval(), torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        next(m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)).running_mean.add_(0.1)
    family = ip.family(model, x, None, keeps=[0.7, 0.3], importance=L2)
    ip.save(tmp_path / "a", family)
    with torch.no_grad():
        assert torch.equal(ip.load(tmp_path / "a", member=0.3)(x), family[0.3].model(x))


def test_a_family_of_a_network_that_was_pruned_before_comes_back(tmp_path):
    model = make(Residual)
    first = ip.plan(model, image(), L2, rates={"stem": 0.3})
    ip.prune_(model, image(), first)
    family = ip.family(model, image(), None, keeps=KEEPS, importance=L2, loader=pictures(), progress=False)
    ip.save(tmp_path / "a", family)
    for member in family:
        assert member.plans[0] == first
        assert torch.equal(answer(loaded(tmp_path / "a", member.name)), answer(member.model))


def test_networks_that_were_trained_further_come_back(tmp_path):
    """They share nothing then but what the training left alone."""
    family = made()
    for member in family:
        with torch.no_grad():
            for parameter in member.model.parameters():
                parameter.mul_(1.01)
    ip.save(tmp_path / "a", family)
    for member in family:
        assert torch.equal(answer(loaded(tmp_path / "a", member.name)), answer(member.model))


def test_zeros_keep_their_signs(tmp_path):
    """-0 equals 0 and is not the same bits."""
    family = made()
    small = family.members[-1].model
    with torch.no_grad():
        for network in (member.model for member in family):
            network.head.bias.zero_()
        small.head.bias.neg_()
    ip.save(tmp_path / "a", family)
    assert bool(loaded(tmp_path / "a", "0.4").head.bias.signbit().all())
    assert not bool(loaded(tmp_path / "a", "0.8").head.bias.signbit().any())


@pytest.mark.parametrize(
    ("member", "told"),
    [(None, "holds a family; name one of its members, 0.8, 0.6, 0.4"), ("0.7", "no member 0.7"), ([], "no member")],
)
def test_an_unknown_member_is_told_which_there_are(member, told, tmp_path):
    ip.save(tmp_path / "a", made())
    with pytest.raises(UnknownName, match=told):
        loaded(tmp_path / "a", member)


def test_one_network_has_no_members(tmp_path):
    [member] = made(keeps=[0.5])
    ip.save(tmp_path / "a", member.model, member.plans)
    assert ip.artifact.read_members(tmp_path / "a") == {}
    with pytest.raises(UnknownName, match=r"holds one network and no member 0\.5"):
        loaded(tmp_path / "a", 0.5)


def test_a_family_brings_its_plans(tmp_path):
    family = made()
    with pytest.raises(TypeError, match="brings its plans"):
        ip.save(tmp_path / "a", family, family.members[0].plan)
    assert not (tmp_path / "a").exists()


# ---------------------------------------------------------------------------------------------- kills and bad files


def test_killed_at_any_step_the_old_or_the_new_family_is_there(tmp_path):
    old, new, target = made(), made(keeps=[0.8, 0.7, 0.4]), tmp_path / "a"
    ip.save(target, old)
    steps = writes_before(lambda: ip.save(target, new))
    assert steps >= 8
    for step in draws(12, steps):
        ip.save(target, old)
        writes_before(lambda: ip.save(target, new), step)
        names = list(ip.artifact.read_members(target))
        assert names in ([*old.names], [*new.names])
        whole = old if names == [*old.names] else new
        assert all(torch.equal(answer(loaded(target, m.name)), answer(m.model)) for m in whole)
    ip.save(target, old)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_files_of_others_are_not_replaced(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.txt").write_text("mine")
    with pytest.raises(InfopruneError, match="not an artefact of ours"):
        ip.save(tmp_path / "a", made())
    assert (tmp_path / "a" / "mine.txt").read_text() == "mine"


def test_a_bit_that_flipped_in_the_weights_is_found(tmp_path):
    file = Path(ip.save(tmp_path / "a", made())) / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(BadArtifact, match="digest does not match"):
        loaded(tmp_path / "a", "0.4")


def rewritten(directory, change):
    """The directory after `change` of its config and tensors, with digests that fit again."""
    file, config = directory / "model.safetensors", json.loads((directory / "config.json").read_text())
    tensors = load_file(file)
    change(config["infoprune"], tensors)
    save_file(tensors, file)
    config["infoprune"]["sha256"] = digest_of(file)
    config["digest"] = content_digest(config["infoprune"])
    (directory / "config.json").write_text(json.dumps(config))


def exchange_plans(config, _):
    one, other = config["members"][0], config["members"][2]
    one["plans"], other["plans"] = other["plans"], one["plans"]


def other_units(config, _):
    """As many as before, others."""
    edit = config["members"][2]["plans"][0]["edits"][0]
    others = sorted({*range(max(edit["kept"]) + 1)} - {*edit["kept"]})
    edit["kept"] = sorted([others[0], *edit["kept"][1:]])


def lose_a_tensor(_, tensors):
    del tensors["0.8/head.weight"]


def add_a_tensor(_, tensors):
    tensors["0.4/more"] = torch.zeros(3)


def shorten(_, tensors):
    tensors["0.8/head.weight"] = tensors["0.8/head.weight"][:, :1].contiguous()


def name_twice(config, _):
    config["members"][1]["name"] = "0.8"


def odd_name(config, _):
    config["members"][1]["name"] = "../up"


def no_plan(config, _):
    config["members"][1] |= {"plans": [], "probe": None}


def scale(_, tensors):
    tensors["0.8/head.weight"] *= 2


LIES = [exchange_plans, other_units, lose_a_tensor, add_a_tensor, shorten, name_twice, odd_name, no_plan, scale]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_files_that_lie_are_refused_in_one_sentence(lie, tmp_path):
    ip.save(tmp_path / "a", made())
    rewritten(tmp_path / "a", lie)
    with pytest.raises(BadArtifact) as told:
        loaded(tmp_path / "a", "0.4")
    assert "\n" not in str(told.value)


def test_two_artefacts_do_not_make_one(tmp_path):
    ip.save(tmp_path / "a", made())
    ip.save(tmp_path / "b", made(pictures()))
    (tmp_path / "b" / "model.safetensors").replace(tmp_path / "a" / "model.safetensors")
    with pytest.raises(BadArtifact, match="digest"):
        loaded(tmp_path / "a", "0.6")
