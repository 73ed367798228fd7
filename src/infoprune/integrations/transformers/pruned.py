"""A config that holds a plan, and the class that a config with a plan makes.

transformers builds a network from its config, and no config of its own says widths layer by layer. So a pruned network
gets a config of another type, `infoprune`: the dense one's fields and the plans. Building from it builds the dense
network and carries the plans out; transformers' own loader then fills it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import infoprune
from infoprune.artifact import hugging_face
from infoprune.compensation import Compensation
from infoprune.errors import BadArtifact, InfopruneError, StalePlan
from infoprune.surgery.checked import mapping, sequence
from infoprune.surgery.plan import Plan, carry_out, check_all, plan_from

COMPENSATIONS = "compensations"


class PrunedConfig(PretrainedConfig):
    """What `AutoConfig` finds under `"model_type": "infoprune"`; it gives a config of the dense network's own kind."""

    model_type = "infoprune"

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        record = mapping(config_dict.get("infoprune"), "infoprune")
        architecture = mapping(record.get("architecture"), "architecture")
        kind, name = mapping(architecture.get("arguments"), "arguments").get("model_type"), architecture.get("name")
        section = _section(
            name, kind, [plan_from(p) for p in sequence(record.get("plans"), "plans", 1000)], _done(record)
        )
        fields = {**hugging_face.plain(config_dict), **_kept(config_dict)}
        hugging_face.check(str(name), {"model_type": kind, "config": hugging_face.plain(config_dict)})
        config_type, _ = _types(hugging_face.dense_class(str(name)), str(kind))
        return config_type.from_dict({**fields, "infoprune": section}, **kwargs)


AutoConfig.register("infoprune", PrunedConfig, exist_ok=True)


def prune_(model: PreTrainedModel, example_inputs: Any, plan: Plan, *, certify: bool = True) -> PreTrainedModel:
    """`infoprune.prune_`, after which `save_pretrained`, `push_to_hub` and Trainer's checkpoints hold the plan too.

    Args:
        model: The network; changed in place.
        example_inputs: What its forward takes.
        plan: What leaves.
        certify: As in `infoprune.prune_`.
    """
    _require_known(model)
    infoprune.prune_(model, example_inputs, plan, certify=certify)
    return record_(model, plan)


def record_(model: PreTrainedModel, plan: Plan | Sequence[Plan]) -> PreTrainedModel:
    """Write what pruned `model` into its config, from which transformers builds it again. Returns the model."""
    name, arguments = _require_known(model)
    old, plans = model.config, (plan,) if isinstance(plan, Plan) else tuple(plan)
    config_type, _ = _types(_dense_type(model), arguments["model_type"])
    fields = json.loads(old.to_json_string(use_diff=False))
    section = _section(name, arguments["model_type"], [*plans_of(old), *plans], compensations_of(old))
    config = config_type.from_dict({**hugging_face.plain(fields), **_kept(fields), "infoprune": section})
    config._attn_implementation = old._attn_implementation
    for module in model.modules():
        if getattr(module, "config", None) is old:
            module.config = config
    return model


def plans_of(config: Any) -> list[Plan]:
    """The plans that a config holds, in the order in which they were carried out."""
    record = getattr(config, "infoprune", None)
    return [plan_from(p) for p in record["plans"]] if isinstance(record, Mapping) else []


def compensate_(model: PreTrainedModel, dense: nn.Module, loader: Iterable[Any], **options: Any) -> Compensation:
    """`infoprune.compensate_`, after which `save_pretrained`, `push_to_hub` and checkpoints tell of it too.

    Args:
        model: A network pruned by `prune_` of this module; its weights change.
        dense: The network before surgery.
        loader: Gives what both take.
        **options: Further arguments of `infoprune.compensate_`.
    """
    if not plans_of(model.config):
        raise InfopruneError(
            "the model's config holds no plan, so that it can't tell what was refitted; prune with prune_() of "
            "infoprune.integrations.transformers, or call record_(model, plan)"
        )
    done = infoprune.compensate_(model, dense, loader, **options)
    tell_(model, done)
    return done


def tell_(model: PreTrainedModel, done: Compensation) -> None:
    """Write into the config of a pruned network what was refitted."""
    config: Any = model.config
    config.infoprune = {**config.infoprune, COMPENSATIONS: [*config.infoprune.get(COMPENSATIONS, []), done.to_json()]}


def compensations_of(config: Any) -> tuple[Compensation, ...]:
    """What a config says was refitted after surgery, in order."""
    record = getattr(config, "infoprune", None)
    return _done(record) if isinstance(record, Mapping) else ()


def _done(record: Mapping[str, Any]) -> tuple[Compensation, ...]:
    return tuple(Compensation.from_json(one) for one in sequence(record.get(COMPENSATIONS, []), COMPENSATIONS, 1000))


# -------------------------------------------------------------------------------------------------------- types


@cache
def _types(dense: type, model_type: str) -> tuple[type, type]:
    """The config and the model class of the pruned networks of one dense class, known to the Auto classes."""
    dense_config = CONFIG_MAPPING[model_type]
    config = type(
        f"Pruned{dense_config.__name__}", (dense_config,), {"model_type": "infoprune", "__module__": __name__}
    )
    model = type(
        dense.__name__, (_Loads, dense), {"config_class": config, "__module__": dense.__module__, "_made": dense}
    )
    for auto in vars(modeling_auto).values():
        mapped = getattr(auto, "_model_mapping", None)
        if isinstance(auto, type) and mapped is not None and _files(mapped, model_type, dense.__name__):
            auto.register(config, model, exist_ok=True)
    return config, model


_Dense = PreTrainedModel if TYPE_CHECKING else object  # whose methods it calls, standing before a dense class


class _Loads(_Dense):
    """Between a dense class and the Auto classes: carries the plans out as soon as the dense network stands."""

    _made: type

    def __init__(self, config: Any, *arguments: Any, **keywords: Any) -> None:
        super().__init__(config, *arguments, **keywords)
        for plan in plans_of(config):
            try:
                check_all(self, plan)
            except StalePlan as error:
                raise BadArtifact(f"the plan does not fit {type(self).__name__}: {error}") from error
            carry_out(self, plan.edits)

    @classmethod
    def from_pretrained(cls, place: Any, *arguments: Any, **keywords: Any) -> Any:
        """transformers' own loading, strict about names, giving a network of the dense network's own class."""
        wants_info = keywords.pop("output_loading_info", False)
        loaded: Any = super().from_pretrained(place, *arguments, output_loading_info=True, **keywords)
        model, info = loaded
        odd = sorted(str(key) for key in [*info["missing_keys"], *info["unexpected_keys"]])
        if odd:
            raise BadArtifact(f"the weights in {place} and its plan are not one network ({odd[0]}); save it again")
        model.__class__ = cls._made
        return (model, info) if wants_info else model


def _files(mapped: Any, model_type: str, name: str) -> bool:
    classes = mapped._model_mapping.get(model_type)
    return name in (classes if isinstance(classes, list | tuple) else (classes,))


# ------------------------------------------------------------------------------------------------------- config


def _section(name: Any, model_type: Any, plans: Sequence[Plan], done: Sequence[Compensation]) -> dict[str, Any]:
    architecture = {"source": "transformers", "name": name, "arguments": {"model_type": model_type}}
    section = {"architecture": architecture, "plans": [json.loads(plan.to_json()) for plan in plans]}
    return {**section, COMPENSATIONS: [one.to_json() for one in done]} if done else section


def _kept(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What no architecture needs, and transformers does on loading."""
    return {key: fields[key] for key in ("architectures", "dtype", "torch_dtype") if fields.get(key) is not None}


def _dense_type(model: nn.Module) -> type:
    return getattr(type(model), "_made", type(model))


def _require_known(model: nn.Module) -> tuple[str, dict[str, Any]]:
    known = hugging_face.described(model) if isinstance(model, PreTrainedModel) else None
    if known is None:
        raise InfopruneError(
            f"{type(model).__name__} is no class that transformers' Auto classes build; use infoprune.prune_, "
            "infoprune.save and infoprune.load(directory, factory=...)"
        )
    return known
