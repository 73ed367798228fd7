"""How often the largest logit is a right label's."""

from __future__ import annotations

import torch
from torch import nn

from infoprune.data import Examples, InOrder
from infoprune.finetune.number_format import autocast
from infoprune.finetune.options import Precision
from infoprune.graph.evaluating import evaluating
from infoprune.processes import Processes


@torch.no_grad()
def hits(
    model: nn.Module, examples: Examples, *, batch: int = 500, precision: Precision = "fp32", workers: int = 0
) -> list[bool]:
    """One entry an example: whether the model names its label, or one of them where several are right (n x k).

    Processes share the examples; all get all entries.

    Args:
        model: The network.
        examples: What it is asked about, with labels.
        batch: Examples in a batch.
        precision: "fp32", or that of an autocast.
        workers: Processes that prepare examples; none by default.
    """
    us, device = Processes.now(), next(model.parameters()).device
    by_batch: dict[int, list[bool]] = {}
    with evaluating(model), autocast(device, precision):
        for place, (images, labels) in enumerate(InOrder(examples, batch, workers)):
            if place % us.world == us.rank:
                answers = model(images.to(device, memory_format=torch.channels_last)).argmax(1).cpu()
                by_batch[place] = (answers[:, None] == torch.as_tensor(labels).view(len(answers), -1)).any(1).tolist()
    everywhere = {place: right for part in us.gathered(by_batch) for place, right in part.items()}
    return [right for place in sorted(everywhere) for right in everywhere[place]]
