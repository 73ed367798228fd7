"""torchvision's reference loop for classification (SGD, warm schedule, averaged weights), pruned between two epochs.

What is ours stands in `prune`, and in one line of `main` that calls it.
"""

import argparse

import torch
import torchvision
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader
from torchvision import transforms

import infoprune as ip


def prune(model, ema, optimizer, example_inputs, keep):
    """Leave `keep` of the multiply-adds; optimizer and average go on with what is left, and with them the schedule."""
    importance = ip.importance.CapacityIndependenceImportance()
    plan = ip.plan(model, example_inputs, importance, budgets=[ip.budgets.macs(keep=keep)])
    ip.prune_(model, example_inputs, plan)
    ip.prune_(ema.module, example_inputs, plan)
    ip.rebuild_optimizer(optimizer, plan, model)
    return plan


def train_one_epoch(model, ema, criterion, optimizer, loader):
    model.train()
    losses = []
    for images, labels in loader:
        loss = criterion(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.update_parameters(model)
        losses.append(loss.item())
    return losses


@torch.no_grad()
def evaluate(model, loader):
    model.eval()
    hits = [(model(images).argmax(1) == labels).float() for images, labels in loader]
    return torch.cat(hits).mean().item()


def data(options):
    if options.data_path:
        crop = transforms.Compose([transforms.RandomResizedCrop(options.size), transforms.ToTensor()])
        found = torchvision.datasets.ImageFolder(options.data_path, crop)
    else:
        found = torchvision.datasets.FakeData(32, (3, options.size, options.size), 10, transforms.ToTensor())
    return DataLoader(found, options.batch_size, shuffle=True)


def main(options):
    loader = data(options)
    model = torchvision.models.get_model(options.model, num_classes=10)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.SGD(model.parameters(), lr=options.lr, momentum=0.9, weight_decay=1e-4)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=1)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.epochs)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, falling], [1])
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99), use_buffers=True)
    plans = []
    for epoch in range(options.epochs):
        if epoch == options.prune_epoch:
            plans.append(prune(model, ema, optimizer, torch.randn(1, 3, options.size, options.size), options.macs))
        losses = train_one_epoch(model, ema, criterion, optimizer, loader)
        schedule.step()
        print(f"epoch {epoch}: loss {losses[-1]:.3f}, accuracy of the average {evaluate(ema.module, loader):.2f}")
    return ip.save(options.to, ema.module, plans)  # in place of torch.save({"model": ...})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-path", help="folders of images, one a class; random images without it")
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--lr", type=float, default=0.05)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--prune-epoch", type=int, default=2)
    parser.add_argument("--macs", type=float, default=0.5, help="share of the multiply-adds that remains")
    parser.add_argument("--to", default="runs/torchvision")
    main(parser.parse_args())
