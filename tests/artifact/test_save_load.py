"""save() and load(): the same logits in another process, nothing half-written, nothing unpickled."""

import json

import pytest
import timm
import torch
import torch_pruning as tp
import torchvision
from tests.fresh import python
from tests.small_nets import Attention, Residual, TwoInputs, image, make

import infoprune as ip
from infoprune import files
from infoprune.artifact import architecture, read_config, saving

L2 = tp.importance.MagnitudeImportance(p=2)


def pruned(model, x):
    plan = ip.plan(model, x, L2, budgets=[ip.budgets.macs(keep=0.5)], floor=1)
    return ip.prune_(model, x, plan), plan


def timm_net(name="resnet18", **more):
    torch.manual_seed(0)
    return timm.create_model(name, **more).eval()


SMALL = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_a_fresh_process_gives_bitwise_equal_logits(tmp_path):
    model, plan = pruned(timm_net(num_classes=7), SMALL)
    ip.save(tmp_path / "a", model, plan)
    with torch.no_grad():
        expected = model(SMALL)
    script = (
        "import torch, infoprune as ip; torch.set_num_threads(1)\n"
        "x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))\n"
        f"m = ip.load({str(tmp_path / 'a')!r})\n"
        "print(m.training, *m(x).detach().view(torch.int32).flatten().tolist())"
    )
    done = python("-c", script)
    assert done.returncode == 0, done.stderr
    out = done.stdout.split()
    assert out[0] == "False"
    assert [int(v) for v in out[1:]] == expected.view(torch.int32).flatten().tolist()


@pytest.mark.parametrize(
    ("model", "source", "arguments"),
    [
        (lambda: timm_net("mobilenetv2_050"), "timm", {}),
        pytest.param(
            lambda: timm_net("resnet18", num_classes=3, in_chans=3),
            "timm",
            {"num_classes": 3},
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda: timm_net("vit_tiny_patch16_224", img_size=64),
            "timm",
            {"num_classes": 1000, "img_size": (64, 64)},
            marks=pytest.mark.slow,
        ),
        (lambda: torchvision.models.resnet18(num_classes=4), "torchvision", {"num_classes": 4}),
        pytest.param(lambda: torchvision.models.mobilenet_v2(), "torchvision", {}, marks=pytest.mark.slow),
    ],
)
def test_named_architectures_are_found_and_loaded_bitwise_equal(tmp_path, model, source, arguments):
    model, plan = pruned(model().eval(), SMALL)
    ip.save(tmp_path / "a", model, plan)
    architecture = read_config(tmp_path / "a").architecture
    assert (architecture.source, dict(architecture.arguments)) == (source, arguments)
    with torch.no_grad():
        assert torch.equal(ip.load(tmp_path / "a")(SMALL), model(SMALL))


@pytest.mark.parametrize("net", [Residual, Attention])
def test_the_users_own_class_loads_through_its_factory(tmp_path, net):
    model, plan = pruned(make(net), image())
    ip.save(tmp_path / "a", model, plan)
    with torch.no_grad():
        assert torch.equal(ip.load(tmp_path / "a", factory=net)(image()), model(image()))
    with pytest.raises(ip.errors.BadArtifact, match="pass load\\(directory, factory"):
        ip.load(tmp_path / "a")


def test_builders_that_compute_widths_with_tensors_are_found():
    model = torchvision.models.regnet_x_400mf(num_classes=7)
    found = architecture.identify(model, architecture.shapes_of(model))
    assert (found.source, found.name, dict(found.arguments)) == ("torchvision", "regnet_x_400mf", {"num_classes": 7})


def test_building_a_detector_fetches_nothing(monkeypatch):
    def fetch(*_, **__):
        raise AssertionError("a download was tried")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fetch)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    with torch.device("meta"):
        architecture.Architecture("torchvision", "ssdlite320_mobilenet_v3_large").build()


def test_an_artefact_says_how_it_is_loaded(tmp_path):
    for model, told in ((timm_net(), f'infoprune.load("{tmp_path}")'), (make(Residual), "factory=...")):
        found = architecture.identify(model, architecture.shapes_of(model))
        assert told in found.call(tmp_path)


def test_a_factory_of_another_architecture_is_refused(tmp_path):
    ip.save(tmp_path / "a", *pruned(make(Residual), image()))
    with pytest.raises(ip.errors.BadArtifact):
        ip.load(tmp_path / "a", factory=Attention)


def test_several_inputs_are_probed(tmp_path):
    inputs = image(), torch.randn(2, 1, 8, 8)
    model, plan = pruned(make(TwoInputs), inputs)
    ip.save(tmp_path / "a", model, plan)
    with torch.no_grad():
        assert torch.equal(ip.load(tmp_path / "a", factory=TwoInputs)(*inputs)["logits"], model(*inputs)["logits"])


def test_a_model_pruned_twice_is_saved_with_both_plans(tmp_path):
    model, first = pruned(make(Residual), image())
    model, second = pruned(model, image())
    ip.save(tmp_path / "a", model, [first, second])
    with torch.no_grad():
        assert torch.equal(ip.load(tmp_path / "a", factory=Residual)(image()), model(image()))


def test_tied_parameters_stay_tied(tmp_path):
    class Tied(Residual):
        def build(self):
            super().build()
            self.again = self.two

        def middle(self, x):
            return super().middle(x) + self.again(torch.relu(self.one(x)))

    model, plan = pruned(make(Tied), image())
    ip.save(tmp_path / "a", model, plan)
    loaded = ip.load(tmp_path / "a", factory=Tied)
    assert loaded.again.weight is loaded.two.weight
    assert torch.equal(loaded(image()), model(image()))


def test_the_layout_is_one_that_timm_users_know(tmp_path):
    ip.save(tmp_path / "a", *pruned(timm_net(num_classes=7), SMALL))
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert (config["architecture"], config["num_classes"]) == ("infoprune", 7)  # what timm's loaders look up
    assert config["pretrained_cfg"]["architecture"] == "resnet18"
    assert config["pretrained_cfg"]["mean"] == [0.485, 0.456, 0.406]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["config.json", "model.safetensors"]


def test_loading_draws_no_random_numbers(tmp_path):
    ip.save(tmp_path / "a", *pruned(timm_net(num_classes=7), SMALL))
    state = torch.get_rng_state()
    ip.load(tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), state)


STEPS = ("write_tensors", "identify", "ask", "content_digest", "_check_loads", "replace_directory")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("existing", [False, True])
def test_an_exception_at_any_step_of_save_leaves_the_directory_as_it_was(tmp_path, monkeypatch, step, existing):
    model, plan = pruned(make(Residual), image())
    if existing:
        ip.save(tmp_path / "a", model, plan)
    before = {p.name: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def failing(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(saving, step, failing)
    with pytest.raises(KeyboardInterrupt):
        ip.save(tmp_path / "a", model, plan)
    assert {p.name: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert (tmp_path / "a").exists() == existing


def test_a_rename_that_fails_brings_the_old_artefact_back(tmp_path, monkeypatch):
    model, plan = pruned(make(Residual), image())
    monkeypatch.setattr(files, "_exchanged", lambda one, other: False)
    target = ip.save(tmp_path / "a", model, plan)
    before = (target / "config.json").read_bytes()
    rename = type(target).rename

    def failing(self, to):
        if to == target and self.name != "old":
            raise OSError("disk full")
        return rename(self, to)

    monkeypatch.setattr(type(target), "rename", failing)
    with pytest.raises(OSError, match="disk full"):
        ip.save(target, model, plan)
    assert (target / "config.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_an_artefact_is_replaced_and_anything_else_is_refused(tmp_path):
    model, plan = pruned(make(Residual), image())
    ip.save(tmp_path / "a", model, plan)
    ip.save(tmp_path / "a", model, plan)
    (tmp_path / "a" / "notes.txt").write_text("mine")
    with pytest.raises(ip.InfopruneError, match=r"also holds \['notes.txt'\]"):
        ip.save(tmp_path / "a", model, plan)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("mine")
    with pytest.raises(ip.InfopruneError, match="not an artefact of ours"):
        ip.save(tmp_path / "b", model, plan)
    assert (tmp_path / "b" / "thesis.tex").read_text() == "mine"
