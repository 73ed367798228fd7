"""Hooks are on while `hooked` lasts, however it ends."""

import pytest
import torch
from torch import nn

from infoprune.graph.hooks import hooked


def test_hooks_are_called_while_it_lasts_and_gone_after_an_error():
    model, calls = nn.Sequential(nn.Linear(2, 2), nn.ReLU()), []
    with (
        pytest.raises(RuntimeError, match="inside"),
        hooked(layer.register_forward_hook(lambda *_: calls.append(1)) for layer in model),
    ):
        model(torch.ones(1, 2))
        raise RuntimeError("inside")
    assert len(calls) == 2
    model(torch.ones(1, 2))
    assert len(calls) == 2


def test_the_first_hooks_are_gone_where_a_later_one_cannot_be_registered():
    layer = nn.ReLU()

    def handles():
        yield layer.register_forward_hook(lambda *_: None)
        raise KeyError("no such layer")

    with pytest.raises(KeyError), hooked(handles()):
        pass
    assert not layer._forward_hooks
