"""Where families are filed: each finds, in one forward pass, the parts that one kind of skip connection lets leave."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from infoprune.families.dataflow import Dataflow
from infoprune.families.units import SkipUnit
from infoprune.graph.arguments import Arguments
from infoprune.registry import Registry

Family = Callable[[nn.Module, Arguments, Dataflow], list[SkipUnit]]
families: Registry[Family] = Registry("family")
