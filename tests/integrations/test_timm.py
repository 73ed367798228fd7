"""Pruned artefacts as models of timm's registry, by the calls that timm's own scripts make."""

import copy
import json
import runpy
import sys
from pathlib import Path

import pytest
import timm
import torch
import torch_pruning as tp
from tests.integrations.continuing import mask_
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import nn

import infoprune as ip
import infoprune.integrations.timm
from infoprune.artifact import read_config

ROOT = Path(__file__).parent.parent.parent
SIZE = 32


def picture() -> torch.Tensor:
    return torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def made(name: str, place: Path, **arguments) -> nn.Module:
    """Half of every site of a network of timm's, saved; the first moments of its pictures are told too."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=7, **arguments).eval()
    model.pretrained_cfg = {**model.pretrained_cfg, "mean": (0.1, 0.2, 0.3), "crop_pct": 0.75}
    plan = ip.plan(model, picture(), tp.importance.MagnitudeImportance(p=2), rates=0.5)
    ip.save(place, ip.prune_(model, picture(), plan, certify=False), plan)
    return model


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    place = tmp_path_factory.mktemp("timm") / "resnet"
    return made("resnet10t", place), place


def same(a: nn.Module, b: nn.Module) -> bool:
    with torch.no_grad():
        return torch.equal(a.eval()(picture()), b.eval()(picture()))


def loaded(place: Path, **arguments) -> nn.Module:
    return timm.create_model("infoprune", pretrained=True, directory=str(place), **arguments)


# The arguments that the three scripts of timm 1.0.29 give create_model where nothing is asked for on the command line.
TRAIN = {
    "in_chans": 3, "num_classes": None, "drop_rate": 0.0, "drop_path_rate": None, "drop_block_rate": None,
    "global_pool": None, "bn_momentum": None, "bn_eps": None, "scriptable": False, "checkpoint_path": "",
}  # fmt: skip
VALIDATE = {"num_classes": None, "in_chans": 3, "global_pool": None, "scriptable": False}
BENCHMARK = {
    "num_classes": None, "in_chans": 3, "global_pool": "fast", "scriptable": False, "drop_rate": 0.0,
    "drop_path_rate": None, "drop_block_rate": None,
}  # fmt: skip


@pytest.mark.parametrize("arguments", [TRAIN, VALIDATE, BENCHMARK], ids=["train", "validate", "benchmark"])
def test_the_calls_of_timms_scripts_bring_the_network_back(resnet, arguments):
    model, place = resnet
    again = loaded(place, **arguments)
    assert again.training
    assert again.num_classes == 7
    assert same(again, model)


def test_timm_finds_an_artefact_as_it_finds_its_own_folders(resnet):
    model, place = resnet
    assert same(timm.create_model(f"local-dir:{place}", pretrained=True, **TRAIN), model)


def test_timm_finds_an_artefact_on_the_hub(resnet, tmp_path, monkeypatch):
    """What the hub's client keeps of a repository, without a network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    model, place = resnet
    revision = "0" * 40
    snapshot = tmp_path / "models--you--half" / "snapshots" / revision
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(place)
    (tmp_path / "models--you--half" / "refs").mkdir()
    (tmp_path / "models--you--half" / "refs" / "main").write_text(revision)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(
        sys.modules["huggingface_hub.file_download"], "constants", sys.modules["huggingface_hub.constants"]
    )
    assert same(timm.create_model("hf-hub:you/half", pretrained=True), model)
    assert same(timm.create_model("hf-hub:you/half@main", pretrained=True), model)


def test_without_pretrained_the_pruned_shape_starts_anew(resnet):
    model, place = resnet
    torch.manual_seed(5)
    again = timm.create_model("infoprune", directory=place)
    assert {n: p.shape for n, p in again.named_parameters()} == {n: p.shape for n, p in model.named_parameters()}
    assert not same(again, model)


@pytest.mark.parametrize("classes", [0, 3])
def test_another_number_of_classes_gets_a_head_of_the_pruned_width(resnet, classes):
    model, place = resnet
    again = loaded(place, num_classes=classes)
    assert again.num_classes == classes
    assert again.eval()(picture()).shape == (1, classes or model.get_classifier().in_features)
    again.reset_classifier(5)
    assert again(picture()).shape == (1, 5)


def test_pictures_become_inputs_as_they_did_for_the_saved_network(resnet):
    data = timm.data.resolve_data_config({}, model=loaded(resnet[1]))
    assert (data["mean"], data["crop_pct"]) == ((0.1, 0.2, 0.3), 0.75)


def test_what_is_loaded_can_be_saved_again(resnet, tmp_path):
    model, place = resnet
    again = loaded(place).eval()
    ip.save(tmp_path / "again", again, read_config(place).plans)
    assert same(ip.load(tmp_path / "again"), model)


@pytest.mark.parametrize("name", ["resnet10t", pytest.param("mobilenetv3_small_050", marks=pytest.mark.slow)])
def test_backbones_give_the_features_of_the_pruned_network(name, tmp_path):
    model = made(name, tmp_path / "a")
    backbone = loaded(tmp_path / "a", features_only=True, out_indices=(1, 3)).eval()
    with torch.no_grad():
        given, expected = (
            backbone(picture()),
            model.forward_intermediates(picture(), indices=(1, 3), intermediates_only=True),
        )
    assert backbone.feature_info.channels() == [features.shape[1] for features in given]
    dense = timm.create_model(name, features_only=True, out_indices=(1, 3)).feature_info
    assert backbone.feature_info.reduction() == dense.reduction()
    assert all(pruned < whole for pruned, whole in zip(backbone.feature_info.channels(), dense.channels(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(given, expected, strict=True))


def test_wrong_requests_are_told_in_a_sentence(resnet, tmp_path):
    place = resnet[1]
    with pytest.raises(ValueError, match="pass directory="):
        timm.create_model("infoprune")
    with pytest.raises(ValueError, match="takes 3 input channels, not 1"):
        loaded(place, in_chans=1)
    with pytest.raises(ValueError, match="checkpoint_path"):
        loaded(place, pretrained_cfg_overlay={"file": "weights.pth"})
    with pytest.raises(ip.errors.BadArtifact, match=r"holds no config\.json"):
        loaded(tmp_path)


def test_timm_without_us_says_which_name_it_lacks(resnet):
    assert json.loads((resnet[1] / "config.json").read_text())["architecture"] == "infoprune"
    assert timm.is_model("infoprune")


def test_optimizer_scheduler_and_average_go_on_after_surgery():
    """Every further step of the pruned network is the masked one's, so that nothing jumps but by what leaves."""
    torch.manual_seed(0)
    x, labels = torch.randn(4, 3, SIZE, SIZE, dtype=torch.float64), torch.arange(4)

    class Training:
        def __init__(self, model: nn.Module):
            self.model, self.ema = model, ModelEmaV3(model, decay=0.5)
            self.optimizer = create_optimizer_v2(model, opt="momentum", lr=0.01, weight_decay=0.05)
            self.scheduler, _ = create_scheduler_v2(self.optimizer, sched="cosine", num_epochs=4)

        def step(self, epoch: int) -> list[float]:
            """Losses in training, of the average, and the learning rate after the epoch."""
            loss = nn.functional.cross_entropy(self.model.train()(x), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.ema.update(self.model)
            self.scheduler.step(epoch)
            with torch.no_grad():
                mean = nn.functional.cross_entropy(self.ema.module.eval()(x), labels)
            return [float(loss.detach()), float(mean), self.optimizer.param_groups[0]["lr"]]

    dense = timm.create_model("resnet10t", num_classes=7).double()
    pruned, masked = Training(dense), Training(copy.deepcopy(dense))
    assert pruned.step(1) == masked.step(1)
    plan = ip.plan(dense, x, tp.importance.MagnitudeImportance(p=2), rates=0.5)
    for network in (pruned.model, pruned.ema.module):
        ip.prune_(network, x, plan)
    ip.rebuild_optimizer(pruned.optimizer, plan, pruned.model)
    mask_(masked.model, plan, [masked.optimizer])
    mask_(masked.ema.module, plan)
    for epoch in (2, 3):
        assert pruned.step(epoch) == pytest.approx(masked.step(epoch), rel=1e-9)


def run(monkeypatch, capsys, script: Path, *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    runpy.run_path(str(script), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")  # a script of others' prints its warnings
def test_the_loop_that_people_copy_runs(monkeypatch, capsys, tmp_path):
    script, place = ROOT / "integrations" / "timm" / "finetune.py", tmp_path / "pruned"
    arguments = ("--model", "resnet10t", "--size", "32", "--epochs", "2", "--output", str(place))
    lines = run(monkeypatch, capsys, script, *arguments).splitlines()
    first, second = (int(line.split(", ", 2)[2].split()[0].replace(",", "")) for line in lines[:2])
    assert second <= 0.5 * first
    assert (place / "model.safetensors").is_file()


def test_a_script_of_timms_runs_unchanged_behind_our_command(monkeypatch, capsys, resnet, tmp_path):
    script = tmp_path / "validate.py"
    script.write_text(
        "import sys, timm, pathlib\n"
        "model = timm.create_model(sys.argv[1], pretrained=True, directory=sys.argv[2])\n"
        "print(model.num_classes, sys.path[0] == str(pathlib.Path(__file__).parent))\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", ["infoprune", str(script), "infoprune", str(resnet[1])])
    runpy.run_module("infoprune.integrations.timm.__main__", run_name="__main__")
    assert capsys.readouterr().out.split() == ["7", "True"]
    monkeypatch.setattr(sys, "argv", ["infoprune", str(tmp_path / "absent.py")])
    with pytest.raises(SystemExit, match="is not a file"):
        runpy.run_module("infoprune.integrations.timm.__main__", run_name="__main__")


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # timm's
def test_a_network_is_made_up_for_from_a_folder_of_pictures(tmp_path, monkeypatch, capsys):
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    for i in range(24):
        place = tmp_path / "pictures" / str(i % 2) / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        coarse = torch.rand(1, 3, 6, 6, generator=generator)
        smooth = nn.functional.interpolate(coarse, size=160, mode="bilinear")[0].permute(1, 2, 0)
        Image.fromarray((255 * smooth).byte().numpy()).save(place)
    torch.manual_seed(0)
    model = timm.create_model("test_resnet").train()
    with torch.no_grad():
        model(torch.rand(16, 3, 160, 160))
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    words = [str(tmp_path / "pictures"), "--model", "test_resnet", "--checkpoint", str(tmp_path / "weights.pth")]
    monkeypatch.setattr(sys, "argv", ["compensate.py", *words, "--to", str(tmp_path / "out")])
    names = runpy.run_path(str(ROOT / "integrations" / "timm" / "compensate.py"), run_name="__main__")
    done = names["done"]
    assert str(done) in capsys.readouterr().out
    assert min(done.outputs.values()) < done.outputs["plain"]
    assert (done.fitted_on, done.held_out) == (21, 3)
    again = timm.create_model("infoprune", pretrained=True, directory=tmp_path / "out").eval()
    with torch.no_grad():
        assert torch.equal(again(names["example_inputs"]), names["pruned"](names["example_inputs"]))
