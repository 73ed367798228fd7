"""PruneCallback in Lightning's own Trainer: losses, schedule, average, checkpoints and the artefact."""

import copy
import importlib
import runpy
import sys
from pathlib import Path

import lightning as L
import pytest
import timm
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from tests.integrations.continuing import half, mask_
from torch.utils.data import DataLoader, TensorDataset

import infoprune as ip
from infoprune.integrations.lightning import PruneCallback

ROOT = Path(__file__).parent.parent.parent
X = torch.zeros(1, 3, 32, 32, dtype=torch.float64)
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*smaller than the logging interval",
    "ignore:.*LeafSpec", "ignore:.*number of training batches", "ignore:.*isinstance.treespec", "ignore:GPU available",
)  # fmt: skip


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = timm.create_model("test_resnet", num_classes=10).double()
        self.losses, self.rates = [], []

    def training_step(self, batch, _):
        images, labels = batch
        loss = torch.nn.functional.cross_entropy(self.net(images), labels)
        self.losses.append(loss.item())
        self.rates.append(self.optimizers().param_groups[0]["lr"])
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        return [optimizer], [{"scheduler": torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5), "interval": "step"}]


class MaskCallback(L.Callback):
    """What pruning replaces: the same units set to zero at the same step."""

    def __init__(self, average):
        self.average = average

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 2:
            plan = half(pl_module.net, X)
            mask_(pl_module.net, plan, trainer.optimizers)
            mask_(self.average._average_model.module.net, plan)


def fitted(tmp_path, *callbacks, steps=4, **more):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(16, 3, 32, 32, generator=generator, dtype=torch.float64)
    loader = DataLoader(TensorDataset(images, torch.arange(16) % 10), 4)
    module = Classifier()
    trainer = L.Trainer(
        max_steps=steps, callbacks=list(callbacks), accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path, **more,
    )  # fmt: skip
    trainer.fit(module, loader)
    return module, trainer


def test_losses_rates_and_average_are_those_of_the_masked_training(tmp_path):
    average = EMAWeightAveraging(decay=0.9)
    masked, _ = fitted(tmp_path, average, MaskCallback(average))
    prune = PruneCallback(X, {2: half}, network="net", directory=tmp_path / "a")
    pruned, _ = fitted(tmp_path, EMAWeightAveraging(decay=0.9), prune)
    torch.testing.assert_close(pruned.losses, masked.losses, rtol=1e-9, atol=0)  # double precision
    assert pruned.rates == masked.rates == [1e-3, 5e-4, 2.5e-4, 1.25e-4]
    images = torch.ones(2, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():  # both hold the average now
        torch.testing.assert_close(pruned.eval().net(images), masked.eval().net(images), rtol=1e-7, atol=1e-9)
        assert torch.equal(ip.load(tmp_path / "a")(images), pruned.net(images))
    assert prune.plans[2].edits


def test_accumulated_gradients_prune_once_and_stages_in_turn(tmp_path):
    asked = []

    def planner(net, x):
        asked.append(ip.measure(net, x).macs)
        return half(net, x)

    prune = PruneCallback(X, {0: planner, 1: planner}, network="net", directory=tmp_path / "a")
    fitted(tmp_path, prune, steps=2, accumulate_grad_batches=2)
    assert len(asked) == 2
    assert asked[1] < asked[0]
    assert ip.measure(ip.load(tmp_path / "a"), X).macs < asked[1]


def test_what_left_is_said_by_what_stays_before_the_step_is_taken(tmp_path):
    pictures = [torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(2), dtype=torch.float64)]

    class Keep(L.Callback):
        """The network before its first step, and once more right after surgery."""

        def on_train_start(self, trainer, pl_module):
            self.dense = copy.deepcopy(pl_module.net)

        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            self.cut = copy.deepcopy(pl_module.net)

    average, keep = EMAWeightAveraging(decay=0.9), Keep()
    prune = PruneCallback(X, {0: half}, network="net", directory=tmp_path / "a", compensate=pictures)
    fitted(tmp_path, keep, average, prune, steps=1)
    by_hand = ip.prune_(copy.deepcopy(keep.dense), X, prune.plans[0])
    done = ip.compensate_(by_hand, keep.dense, pictures, progress=False)
    assert prune.compensations == {0: done}
    [record] = ip.artifact.read_config(tmp_path / "a").compensations
    assert record == done
    assert all(torch.equal(a, b) for a, b in zip(by_hand.parameters(), keep.cut.parameters(), strict=True))
    again = PruneCallback(X, {0: half}, network="net")
    again.load_state_dict(prune.state_dict())
    assert again.compensations == prune.compensations


def test_a_resumed_run_remembers_its_plans():
    prune = PruneCallback(X, {2: half}, network="net")
    model = Classifier().net
    prune.plans = {2: half(model, X)}
    again = PruneCallback(X, {2: half}, network="net")
    again.load_state_dict(prune.state_dict())
    assert again.plans == prune.plans


def test_parameters_outside_the_network_are_not_dropped_in_silence(tmp_path):
    class WithHead(Classifier):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
    module = WithHead()
    trainer.strategy.optimizers = [torch.optim.SGD(module.parameters(), lr=0.1)]
    with pytest.raises(ip.InfopruneError, match="outside 'net'"):
        PruneCallback(X, {0: half}, network="net").on_train_batch_start(trainer, module, None, 0)


def test_the_script_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    to = str(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", "--model", "test_resnet", "--steps", "6", "--to", to])
    names = runpy.run_path(str(ROOT / "integrations" / "lightning" / "train.py"), run_name="__main__")
    dense = ip.measure(timm.create_model("test_resnet", num_classes=10, in_chans=1).eval(), names["images"][:1]).macs
    left = int(capsys.readouterr().out.splitlines()[-1].split()[0].replace(",", ""))
    assert left <= 0.49 * dense


def test_without_lightning_one_sentence_names_the_extra(monkeypatch):
    for name in ("lightning", "lightning.pytorch"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "infoprune.integrations.lightning")
    with pytest.raises(
        ip.errors.MissingExtra, match=r"^lightning is not installed; pip install 'infoprune\[lightning\]'$"
    ):
        importlib.import_module("infoprune.integrations.lightning")
