"""A timm training loop that prunes half-way: optimizer, scheduler and EMA go on with what stayed."""

import argparse

import timm
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import infoprune as ip
import infoprune.integrations.timm

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="resnet18")
parser.add_argument("--pretrained", action="store_true")
parser.add_argument("--data", help="a folder of folders of pictures; random ones without it")
parser.add_argument("--size", type=int, default=224)
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--epochs", type=int, default=4)
parser.add_argument("--macs", type=float, default=0.5, help="share of the MACs that remains")
parser.add_argument("--output", default="runs/pruned")
options = parser.parse_args()


def pictures():
    if options.data is None:
        return TensorDataset(torch.randn(16, 3, options.size, options.size), torch.arange(16) % 10)
    transform = timm.data.create_transform((3, options.size, options.size), is_training=True)
    return timm.data.create_dataset("", options.data, split="train", transform=transform)


torch.manual_seed(0)
model = timm.create_model(options.model, pretrained=options.pretrained, num_classes=10)
example_inputs = torch.randn(1, 3, options.size, options.size)
loader = DataLoader(pictures(), batch_size=options.batch, shuffle=True)
optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05)
scheduler, epochs = create_scheduler_v2(optimizer, sched="cosine", num_epochs=options.epochs)
ema = ModelEmaV3(model, decay=0.9)
loss_of = nn.CrossEntropyLoss()

for epoch in range(epochs):
    if epoch == epochs // 2:  # added: these four lines
        importance = ip.importance.CapacityIndependenceImportance()
        plan = ip.plan(model, example_inputs, importance, budgets=[ip.budgets.macs(keep=options.macs)])
        for network in (model, ema.module):
            ip.prune_(network, example_inputs, plan)
        ip.rebuild_optimizer(optimizer, plan, model)
    model.train()
    for inputs, labels in loader:
        loss = loss_of(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.update(model)
    scheduler.step(epoch + 1)
    macs = ip.measure(model, example_inputs).macs
    print(f"epoch {epoch}: loss {loss.item():.3f}, lr {optimizer.param_groups[0]['lr']:.2e}, {macs:,} MACs")

ip.save(options.output, ema.module, plan)
again = timm.create_model("infoprune", pretrained=True, directory=options.output).eval()
with torch.no_grad():
    assert torch.equal(again(example_inputs), ema.module.eval()(example_inputs))
print(f"saved to {options.output}; timm's scripts take it as --model local-dir:{options.output} --pretrained")
