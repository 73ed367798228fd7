"""The sections of a recipe, one reader each: every value that can be wrong is found here, by its key."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from infoprune.allocation import solvers
from infoprune.budgets import Budget, budgets
from infoprune.compensation.pictures import FEWEST
from infoprune.data import datasets
from infoprune.errors import BadRecipe, UnknownName
from infoprune.importance import rankings
from infoprune.layerwise import layerwise
from infoprune.models.three_task import TASKS
from infoprune.recipe import sections as s
from infoprune.recipe.evidence import check_options, unservable
from infoprune.recipe.networks import check_name
from infoprune.recipe.values import converted, refuse, section
from infoprune.registry import nearest
from infoprune.surgery.token_scores import token_scores
from infoprune.typed import nearest_word
from infoprune.wire import codecs

Names = Mapping[str, Callable[..., Any]]
FORMER_ESTIMATES = {"corrected": "excess", "plug-in": "value"}  # as recipes of the last release have them


def _model(content: Any, path: str) -> s.ModelSection:
    own, more = section(s.ModelSection, content, path, {"options": Mapping})
    model = s.ModelSection(**own, options=dict(more.get("options") or {}))
    if model.file is None:
        _named(f"{path}.name", lambda: check_name(model.name))
    else:
        model = replace(model, file=_code(model.file, path))
    if model.num_classes is not None and model.num_classes < 1:
        refuse(f"{path}.num_classes", model.num_classes, "a number of classes, at least 1")
    if not model.train_epochs >= 0:
        refuse(f"{path}.train_epochs", model.train_epochs, "a number of epochs, at least 0")
    if not model.train_lr > 0:
        refuse(f"{path}.train_lr", model.train_lr, "a number above 0")
    if model.weights is not None and not Path(model.weights).is_file():
        refuse(f"{path}.weights", model.weights, "the path of a checkpoint; there is no such file")
    return model


def _data(content: Any, path: str) -> s.DataSection:
    if isinstance(content, Mapping) and content.get("file") is not None:
        known = {f.name for f in fields(s.DataSection)} - {"options"}
        options = {key: value for key, value in content.items() if key not in known}
        own, _ = section(s.DataSection, {key: value for key, value in content.items() if key in known}, path)
        own["file"] = _code(own["file"], path)
    else:
        factory = _factory(datasets, content, path)
        own, options = section(s.DataSection, content, path, _options(factory, skip=("root", "size", "seed", "view")))
    data = s.DataSection(**own, options=options)
    for name, least in (("size", 1), ("batch", 1), ("workers", 0), ("calibration", 8)):
        value = getattr(data, name)
        if value is not None and value < least:
            refuse(f"{path}.{name}", value, f"a whole number, at least {least}")
    return data


def _code(file: str, path: str) -> str:
    """The absolute path of a Python file that is there; it is not run yet."""
    place = Path(file).resolve()
    if place.suffix != ".py" or not place.is_file():
        refuse(f"{path}.file", file, "the path of a Python file; there is no such file")
    return str(place)


def _importance(content: Any, path: str) -> s.ImportanceSection:
    factory = _servable(rankings, content, path, s.ImportanceSection.name)
    own, options = section(s.ImportanceSection, content, path, _options(factory))
    _built(path, lambda: factory(**options), evidence=factory.about.needs_data)
    return s.ImportanceSection(**own, options=options)


def _layer_importance(content: Any, path: str) -> s.LayerImportanceSection:
    factory = _servable(layerwise, content, path, s.LayerImportanceSection.name)
    own, options = section(s.LayerImportanceSection, content, path, _options(factory))
    _built(path, lambda: check_options(factory, options))
    return s.LayerImportanceSection(**own, options=options)


def _budget(content: Any, path: str) -> s.BudgetSection:
    keys = content if isinstance(content, Mapping) else {}
    listed = [name for name in budgets if isinstance(keys.get(name), list)]
    kinds = {name: tuple[float | str, ...] if name in listed else float | str for name in budgets}
    own, limits = section(s.BudgetSection, content, path, kinds)
    budget = s.BudgetSection(**own, limits=limits)
    for name, limit in limits.items():
        try:
            parsed = [budgets[name].parse(one) for one in (limit if name in listed else [limit])]
        except ValueError as error:
            raise BadRecipe(f"{path}.{name} is {error}") from error
        _falling(parsed, content[name], f"{path}.{name}")
    if len(listed) > 1:
        raise BadRecipe(f"{path} lists sizes by {' and by '.join(listed)}; list them by one, and limit the other once")
    if bool(limits) == (budget.rates is not None):
        have = "both a limit and rates" if limits else "neither a limit nor rates"
        raise BadRecipe(f"{path} has {have}; give e.g. macs: 0.5 for half of the MACs, or rates: 0.5")
    if budget.tied and budget.rates is not None:
        refuse(f"{path}.tied", budget.tied, "it with a limit; rates say what leaves every layer")
    for share in _each(budget.rates):
        if not 0 <= share < 1:
            refuse(f"{path}.rates", share, "the share that leaves, from 0 to below 1")
    for share in _each(budget.floor):
        if not 0 < share <= 1:
            refuse(f"{path}.floor", share, "the share of units that always stays, above 0 and at most 1")
    for name, fine, need in (
        ("round_to", budget.round_to >= 1, "a number of channels, at least 1"),
        ("batch", budget.batch is None or budget.batch >= 1, "a number of pictures, at least 1"),
        ("batch", budget.batch is None or "latency" in limits, "it with a latency; nothing else depends on it"),
        ("rounding", budget.rounding == "up" or budget.rates is not None, "it with rates; budgets are never exceeded"),
        ("utility", budget.utility <= 0 or budget.utility == 1, "a power of at most 0, such as -1, or 1"),
    ):
        if not fine:
            refuse(f"{path}.{name}", getattr(budget, name), need)
    solver = budget.solver
    if solver is not None:
        _named(f"{path}.solver", lambda: solvers[solver])
    return budget


def _falling(parsed: Sequence[Budget], sizes: Any, path: str) -> None:
    """One budget, or a list of several that ask for less and less, in one way."""
    if not parsed:
        refuse(path, sizes, "sizes that fall, such as [0.75, 0.5]")
    amounts = [budget.keep or budget.at_most or 0.0 for budget in parsed]
    alike = len({budget.keep is None for budget in parsed}) == 1
    if not alike or any(after >= before for before, after in pairwise(amounts)):
        refuse(path, sizes, "sizes that fall, each once, all shares or all amounts, such as [0.75, 0.5]")


def _each(shares: float | Mapping[str, float] | None) -> list[float]:
    return [] if shares is None else list(shares.values()) if isinstance(shares, Mapping) else [shares]


def _depth(content: Any, path: str) -> s.DepthSection:
    own, _ = section(s.DepthSection, content, path)
    depth = s.DepthSection(**own)
    if not 0 <= depth.probe <= 1:
        refuse(f"{path}.probe", depth.probe, "the share of the epochs that each number of units is tried for, up to 1")
    if not 0 <= depth.tolerance < 1:
        refuse(f"{path}.tolerance", depth.tolerance, "the accuracy that a stage may lose, a share from 0 to below 1")
    if sum([depth.keep_units is not None, bool(depth.clusters), depth.joint, depth.probe > 0]) != 1:
        ways = "keep_units:, clusters:, probe: and joint: true"
        raise BadRecipe(f"{path} needs one of {ways}; give e.g. keep_units: 9")
    if depth.stages < 1:
        refuse(f"{path}.stages", depth.stages, "a whole number, at least 1")
    if depth.keep_units is not None and depth.keep_units < 1:
        refuse(f"{path}.keep_units", depth.keep_units, "a whole number, at least 1")
    if list(depth.clusters) != sorted(set(depth.clusters), reverse=True) or any(k < 1 for k in depth.clusters):
        refuse(f"{path}.clusters", list(depth.clusters), "falling whole numbers, at least 1, such as [20, 15, 10]")
    return depth


def _tokens(content: Any, path: str) -> s.TokensSection:
    own, _ = section(s.TokensSection, content, path)
    tokens = s.TokensSection(**own)
    tokens = replace(tokens, score=token_scores.current(tokens.score))
    _named(f"{path}.score", lambda: token_scores[tokens.score])
    if (tokens.keep is None) == (not tokens.schedule):
        have = "both keep and a schedule" if tokens.schedule else "neither keep nor a schedule"
        raise BadRecipe(f"{path} has {have}; give e.g. keep: 0.63, or schedule: {{3: 0.7, 6: 0.7, 9: 0.7}}")
    if tokens.keep is not None and not 0 < tokens.keep < 1:
        refuse(f"{path}.keep", tokens.keep, "a share between 0 and 1")
    for block, share in tokens.schedule.items():
        if not 0 < share <= 1:
            refuse(f"{path}.schedule.{block}", share, "the share of tokens that goes on, above 0 and at most 1")
    return tokens


def _split(content: Any, path: str) -> s.SplitSection:
    if isinstance(content, Mapping) and content.get("estimate") in FORMER_ESTIMATES:
        content = {**content, "estimate": FORMER_ESTIMATES[content["estimate"]]}
    own, _ = section(s.SplitSection, content, path)
    split = s.SplitSection(**own)
    if not 0 < split.share <= 1:
        refuse(f"{path}.share", split.share, "the share of features that travel best, above 0 and at most 1")
    if split.qp is not None and not 0 <= split.qp <= 51:
        refuse(f"{path}.qp", split.qp, "a quality from 0 (finest) to 51")
    for name in ("patch", "cells"):
        if getattr(split, name) < 1:
            refuse(f"{path}.{name}", getattr(split, name), "a whole number, at least 1")
    for task in split.tasks:
        if task not in TASKS:
            refuse(f"{path}.tasks", task, f"some of {', '.join(TASKS)}{nearest_word(task, TASKS)}")
    return split


def _sweep(content: Any, path: str) -> s.SweepSection:
    sweep = s.SweepSection(**section(s.SweepSection, content, path)[0])
    for name in ("shares", "bases"):
        for share in getattr(sweep, name):
            if not 0 < share <= 1:
                refuse(f"{path}.{name}", share, "shares of the features, above 0 and at most 1")
    for qp in sweep.qps:
        if not 0 <= qp <= 51:
            refuse(f"{path}.qps", qp, "qualities from 0 (finest) to 51")
    for encoder in sweep.encoders:
        if not _named(f"{path}.encoders", lambda encoder=encoder: codecs[encoder]).has_qp:
            refuse(f"{path}.encoders", encoder, "codecs with a quality, such as hevc or kvazaar")
    for name in ("shares", "bases", "qps", "encoders"):
        if not getattr(sweep, name):
            refuse(f"{path}.{name}", [], "at least one")
    if sweep.pictures < 1:
        refuse(f"{path}.pictures", sweep.pictures, "a whole number, at least 1")
    return sweep


def _switch(kind: Any, content: Any, path: str, example: str) -> Any:
    """The section, with its defaults where it is just switched on; None where it is off."""
    if isinstance(content, bool):
        return kind() if content else None
    if not isinstance(content, Mapping):
        refuse(path, content, f"true, false, or a section such as {example}")
    return kind(**section(kind, content, path)[0])


def _compensate(content: Any, path: str) -> s.CompensateSection | None:
    compensation = _switch(s.CompensateSection, content, path, "{samples: 256}")
    if compensation is not None and compensation.samples < FEWEST:
        refuse(f"{path}.samples", compensation.samples, f"a number of pictures, at least {FEWEST}, better 256 and more")
    return compensation


def _match(content: Any, path: str) -> s.MatchSection | None:
    matching = _switch(s.MatchSection, content, path, "{steps: 300}")
    if matching is None:
        return None
    if matching.samples < FEWEST:
        refuse(f"{path}.samples", matching.samples, f"a number of pictures, at least {FEWEST}, better 1,000 and more")
    if matching.steps < 1:
        refuse(f"{path}.steps", matching.steps, "a number of steps, at least 1")
    if not 0 < matching.lr < 1e9:
        refuse(f"{path}.lr", matching.lr, "a finite number above 0")
    return matching


def _finetune(content: Any, path: str) -> s.Training:
    own, _ = section(s.Training, content, path)
    return _built(path, lambda: s.Training(**own))


def _plain_section(kind: Any) -> Callable[[Any, str], Any]:
    return lambda content, path: kind(**section(kind, content, path)[0])


def _report(content: Any, path: str) -> s.ReportSection:
    report = _plain_section(s.ReportSection)(content, path)
    if report.baseline_epochs < 0:
        refuse(f"{path}.baseline_epochs", report.baseline_epochs, "a number of epochs, at least 0")
    return report


def _seed(value: Any, path: str) -> int:
    seed = converted(value, int, path)
    return seed if 0 <= seed < 2**63 else refuse(path, value, "a whole number from 0 to below 2^63")


READERS: dict[str, Callable[[Any, str], Any]] = {
    "model": _model,
    "data": _data,
    "importance": _importance,
    "layer_importance": _layer_importance,
    "budget": _budget,
    "depth": _depth,
    "tokens": _tokens,
    "split": _split,
    "sweep": _sweep,
    "compensate": _compensate,
    "match": _match,
    "finetune": _finetune,
    "export": _plain_section(s.ExportSection),
    "report": _report,
    "seed": _seed,
}


# ------------------------------------------------------------------------------------------------- names, options


def _factory(registry: Names, content: Any, path: str, default: str | None = None) -> Callable[..., Any]:
    if not isinstance(content, Mapping):
        refuse(path, content, "a section with keys such as name:")
    name = content.get("name", default)
    if name is None:
        raise BadRecipe(f"{path}.name is missing; {nearest('', list(registry))}")
    name = converted(name, str, f"{path}.name")
    return _named(f"{path}.name", lambda: registry[name])


def _servable(registry: Names, content: Any, path: str, default: str) -> Callable[..., Any]:
    """The factory that is named, if a recipe has the evidence that it asks for."""
    factory = _factory(registry, content, path, default)
    missing = unservable(factory)
    if missing is not None:
        name = content.get("name", default)
        raise BadRecipe(f"{path}.name is {name!r}, which needs {missing!r} that no recipe can give; use it from Python")
    return factory


def _options(factory: Callable[..., Any], skip: Sequence[str] = ()) -> dict[str, Any]:
    """Keyword options with their types; what is not a plain value (evidence, functions) can't be written in YAML."""
    hints = typing.get_type_hints(factory)
    parameters = inspect.signature(factory).parameters.values()
    own = [p for p in parameters if p.kind is p.KEYWORD_ONLY or (inspect.isclass(factory) and p.name != "seen")]
    return {p.name: hints[p.name] for p in own if p.name in hints and p.name not in skip}


def _named(path: str, lookup: Callable[[], Any]) -> Any:
    try:
        return lookup()
    except UnknownName as error:
        raise BadRecipe(f"{path}: {error}") from error


def _built(path: str, build: Callable[[], Any], *, evidence: bool = False) -> Any:
    """What `build` makes; its complaint about a value, with the section in front."""
    try:
        return None if evidence else build()
    except (ValueError, TypeError) as error:
        raise BadRecipe(f"{path}.{error}") from error
