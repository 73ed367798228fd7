"""Making the importances reachable where torch-pruning scripts look names up."""

from __future__ import annotations

import torch_pruning as tp

from infoprune.errors import NameTaken
from infoprune.importance.base import importances


def register() -> None:
    """Put every registered importance under `tp.importance` by its class name; safe to call again.

    Raises NameTaken, and changes nothing, if a name there belongs to something else.

    >>> register()
    >>> tp.importance.CapacityIndependenceImportance(sigma=0.7).sigma
    0.7
    """
    classes = {factory.__name__: factory for factory in importances.values()}
    taken = [name for name, factory in classes.items() if getattr(tp.importance, name, factory) is not factory]
    if taken:
        raise NameTaken(f"tp.importance already has another {', '.join(taken)}; rename yours before registering")
    for name, factory in classes.items():
        setattr(tp.importance, name, factory)
