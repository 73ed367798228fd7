"""Vision transformers of a few thousand parameters, restless enough that a wrong token shows."""

import timm
import torch
from timm.models.vision_transformer import VisionTransformer

from infoprune.models import LVViT


def restless(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def vit(img_size=32, **options):
    made = VisionTransformer(
        img_size=img_size, patch_size=8, embed_dim=24, depth=4, num_heads=3, num_classes=5, **options
    )
    return restless(made)


def lv_vit(**options):
    return restless(LVViT(depth=4, dim=24, heads=3, skip_lam=2.0, num_classes=5, img_size=64, **options))


FAMILIES = {
    "vit": vit,
    "deit": lambda: restless(timm.create_model("deit_tiny_distilled_patch16_224", img_size=64, depth=4, embed_dim=24)),
    "deit3": lambda: vit(init_values=0.5, no_embed_class=True),
    "dinov2 with registers": lambda: vit(init_values=0.5, reg_tokens=4, no_embed_class=True),
    "mean pooling without a class token": lambda: vit(global_pool="avg", class_token=False, fc_norm=False),
    "attention pooling": lambda: vit(global_pool="map", class_token=False),
    "not square": lambda: vit(img_size=(32, 48)),
    "lv-vit": lv_vit,
}


def image_of(model, batch=2):
    from infoprune.families.tokens import token_layout

    return torch.randn(batch, *token_layout(model).image, generator=torch.Generator().manual_seed(2))
