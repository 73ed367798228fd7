"""Prune in the middle of a DistributedDataParallel training.

torchrun --nproc-per-node 2 integrations/ddp/prune_midway.py
"""

import argparse

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import infoprune as ip

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=20)
parser.add_argument("--macs", type=float, default=0.5, help="share of the MACs that remains")
parser.add_argument("--out", default="runs/ddp", help="directory of the artefact")


class Net(nn.Module):
    def __init__(self, width=16):
        super().__init__()
        self.one, self.norm = nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.two, self.head = nn.Conv2d(width, 2 * width, 3, 2), nn.Linear(2 * width, 4)

    def forward(self, x):
        return self.head(self.two(self.norm(self.one(x)).relu()).relu().mean((2, 3)))


def batch(step, rank, n=16):
    """This worker's own pictures of four classes; a DataLoader with a DistributedSampler in your script."""
    generator = torch.Generator().manual_seed(1000 * step + rank)
    labels = torch.randint(4, (n,), generator=generator)
    return torch.randn(n, 3, 16, 16, generator=generator) + labels[:, None, None, None], labels


def pruned(ddp, optimizer, macs):
    """The network within the budget, wrapped again, and the optimizer with its momentum cut likewise."""
    network, x = ddp.module, torch.randn(1, 3, 16, 16)
    network.eval()
    importance = ip.importance.CapacityIndependenceImportance(sigma=0.5, readers=True)
    told = [ip.plan(network, x, importance, budgets=[ip.budgets.macs(keep=macs)]).to_json()]
    dist.broadcast_object_list(told)  # weights agree, and so should plans; now they do for certain
    plan = ip.Plan.from_json(told[0])
    network = ip.prune_(network, x, plan)
    optimizer = ip.rebuild_optimizer(optimizer, plan, network)
    return DistributedDataParallel(network.train()), optimizer, plan


def train(options):
    rank = dist.get_rank()
    torch.manual_seed(0)
    ddp = DistributedDataParallel(Net())
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.05, momentum=0.9)
    losses, plan = [], None
    for step in range(options.steps):
        if step == options.steps // 2:
            ddp, optimizer, plan = pruned(ddp, optimizer, options.macs)
        images, labels = batch(step, rank)
        optimizer.zero_grad()
        loss = F.cross_entropy(ddp(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    if rank == 0:
        ip.save(options.out, ddp.module, plan, factory=Net)
    return ddp, optimizer, losses


if __name__ == "__main__":
    options = parser.parse_args()
    dist.init_process_group("gloo")  # "nccl" on GPUs
    ddp, _, losses = train(options)
    if dist.get_rank() == 0:
        print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}; {ip.measure(ddp.module.eval(), torch.zeros(1, 3, 16, 16))}")
    dist.destroy_process_group()
