"""A vision transformer: `num_heads` keeps heads whole, and the script tells attention its new sizes."""

import argparse

import timm
import torch
import torch_pruning as tp

import infoprune as ip

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="vit_tiny_patch16_224")
parser.add_argument("--size", type=int, default=224)
options = parser.parse_args()

model = timm.create_model(options.model, num_classes=10, img_size=options.size)
example_inputs = torch.randn(1, 3, options.size, options.size)
importance = ip.importance.CapacityIndependenceImportance(sigma=0.8)

attentions = [m for m in model.modules() if isinstance(m, timm.models.vision_transformer.Attention)]
pruner = tp.pruner.BasePruner(
    model,
    (example_inputs,),
    importance,
    pruning_ratio=0.5,
    num_heads={m.qkv: m.num_heads for m in attentions},
    ignored_layers=[model.get_classifier()],
)
pruner.step()
for attention in attentions:
    attention.num_heads = pruner.num_heads[attention.qkv]
    attention.attn_dim = attention.qkv.out_features // 3
    attention.head_dim = attention.attn_dim // attention.num_heads
model(example_inputs)

macs, parameters = tp.utils.count_ops_and_params(model, example_inputs)
print(f"{macs:,.0f} MACs and {parameters:,} parameters are left")
