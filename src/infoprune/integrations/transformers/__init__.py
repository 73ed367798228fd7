"""Pruned networks of the transformers package: saved, loaded and trained by its own calls, without remote code.

After `import infoprune.integrations.transformers`, a directory that `infoprune.save` wrote, or `save_pretrained` of a
network that `prune_` of this module pruned, is read by `AutoModelForImageClassification.from_pretrained` and the like.
"""

from infoprune.integrations import toolkit

with toolkit("transformers", extra="transformers"):
    import transformers as _transformers  # noqa: F401

from infoprune.integrations.transformers.pruned import PrunedConfig as PrunedConfig
from infoprune.integrations.transformers.pruned import compensate_ as compensate_
from infoprune.integrations.transformers.pruned import compensations_of as compensations_of
from infoprune.integrations.transformers.pruned import plans_of as plans_of
from infoprune.integrations.transformers.pruned import prune_ as prune_
from infoprune.integrations.transformers.pruned import record_ as record_


def __getattr__(name: str) -> type:
    """The callback needs what `Trainer` needs, which loads for those who ask for it."""
    if name != "PruneCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with toolkit("accelerate", extra="transformers"):
        import accelerate as _accelerate  # noqa: F401
    from infoprune.integrations.transformers.callback import PruneCallback

    return PruneCallback
