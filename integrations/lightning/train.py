"""Train a classifier of digits with Lightning; half of its multiply-adds leave on the way, at two steps."""

import argparse

import lightning as L
import timm
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from sklearn.datasets import load_digits
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import infoprune as ip
from infoprune.integrations.lightning import PruneCallback

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="resnet10t")
parser.add_argument("--size", type=int, default=32)
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--to", default="runs/digits", help="where the pruned network is saved")
options = parser.parse_args()


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = timm.create_model(options.model, num_classes=10, in_chans=1)

    def training_step(self, batch, _):
        images, labels = batch
        loss = F.cross_entropy(self.net(images), labels)
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def keeping(share):
    """A planner: what stays of the network is worth `share` of the multiply-adds that it has when it is asked."""
    importance = ip.importance.CapacityIndependenceImportance()
    return lambda net, x: ip.plan(net, x, importance, budgets=[ip.budgets.macs(keep=share)])


digits = load_digits()
images = F.interpolate(torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, options.size)
loader = DataLoader(TensorDataset(images, torch.tensor(digits.target)), 32, shuffle=True)

prune = PruneCallback(  # the only change
    images[:1],
    {options.steps // 3: keeping(0.7), options.steps // 2: keeping(0.7)},
    network="net",
    directory=options.to,
)
trainer = L.Trainer(
    max_steps=options.steps,
    callbacks=[EMAWeightAveraging(decay=0.99), prune],
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
)
module = Classifier()
trainer.fit(module, loader)

again = ip.load(options.to)
print(f"{ip.measure(again, images[:1]).macs:,} MACs are left")
