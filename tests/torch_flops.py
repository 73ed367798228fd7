"""What torch counts as FLOPs, the same on every version: some leave out the attention that CPUs run."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

ATTENTION_ON_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def attention_flops(query, key, value, *args, out_shape=None, **kwargs):
    """Two for each multiply-add of query times key and of their product times value, from the shapes of the three."""
    batch, heads, asking, width = query
    return 2 * batch * heads * asking * key[2] * (width + value[3])


@torch.no_grad()
def torch_flops(model: nn.Module, x: torch.Tensor) -> int:
    with FlopCounterMode(display=False, custom_mapping={ATTENTION_ON_CPU: attention_flops}) as counter:
        model(x)
    return counter.get_total_flops()
