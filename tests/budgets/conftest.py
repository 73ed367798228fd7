"""Networks to price; measurements stay out of the user's cache, and take moments."""

import importlib

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

import infoprune.budgets


@pytest.fixture(autouse=True)
def _quick_and_apart(tmp_path_factory, monkeypatch):
    assert infoprune.budgets.latency
    module = importlib.import_module("infoprune.budgets.latency")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr(module, "SECONDS", 0.001)
    monkeypatch.setattr(module, "NETWORK_ROUNDS", 5)
    monkeypatch.setattr(module, "NETWORK_SECONDS", 0.05)


class Mixed(nn.Module):
    """All kinds of convolutions, a sum, a concatenation, a norm and linear layers."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
        self.point = nn.Conv2d(16, 16, 1)
        self.grouped = nn.Conv2d(16, 24, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(40, 8, 2, stride=2)
        self.norm = nn.LayerNorm(8)
        self.fc1, self.fc2 = nn.Linear(8, 20), nn.Linear(20, 5)

    def forward(self, x):
        x = self.stem(x).relu()
        x = x + self.point(self.depthwise(x))
        x = torch.cat([x, self.grouped(x)], 1)
        x = self.norm(self.up(x).flatten(2).mT)
        return self.fc2(self.fc1(x).relu()).mean(1)


def small_llama(**settings):
    """Four query heads of two key heads each."""
    import transformers

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 60}
    heads = {"num_attention_heads": 8, "num_key_value_heads": 4}
    config = transformers.LlamaConfig(**{**sizes, **heads, "max_position_embeddings": 32, **settings})
    return transformers.LlamaForCausalLM(config).eval()


def make_mixed():
    return Mixed(), torch.randn(2, 3, 6, 6)


def make_residual():
    return resnet18(num_classes=4), torch.randn(1, 3, 32, 32)


NETS = {"mixed": make_mixed, "residual": make_residual}


@pytest.fixture(params=sorted(NETS))
def net(request):
    return NETS[request.param]()


@pytest.fixture(name="mixed")
def mixed_net():
    return make_mixed()


@pytest.fixture(name="residual")
def residual_net():
    return make_residual()
