"""run_family(): a recipe that lists several sizes; one dense network, one look, then a run a member."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from infoprune.artifact import save
from infoprune.artifact.layout import CONFIG
from infoprune.errors import BadRecipe
from infoprune.family import Family, Member
from infoprune.finetune import joined
from infoprune.observe import kept_randomness
from infoprune.recipe.cuts import cuts_of
from infoprune.recipe.display import Display, Silent
from infoprune.recipe.folder import RECIPE, Folder, as_begun
from infoprune.recipe.members import members_of, sizes_of, width_of
from infoprune.recipe.networks import network_of
from infoprune.recipe.reading import kept_recipe
from infoprune.recipe.recovery import compensate
from infoprune.recipe.rehearsal import rehearsed_family
from infoprune.recipe.reporting import ARTEFACT
from infoprune.recipe.results import DENSE, Results
from infoprune.recipe.running import Phases, alone, begun, check_sound, run
from infoprune.recipe.sections import Recipe
from infoprune.recipe.varying import lend
from infoprune.report import family as page
from infoprune.report.model import Report
from infoprune.surgery import prune_


def run_family(recipe: Recipe, out: str | Path, *, display: Display | None = None) -> dict[str, Report]:
    """Carry out a recipe whose budget lists several sizes; the report of each member, by its name.

    Each member is a run in a folder of its own under `out`, which shares the dense network with the others. Scores,
    plans and compensation come from one look, and every network is inside the one before. All members become one
    artefact beside, and one page draws them. The same call goes on after an interruption, and does nothing again that
    is done.
    """
    display, out = display or Silent(), Path(out)
    recipe = as_begun(out, recipe)
    if not (members := members_of(recipe)):
        raise BadRecipe("budget: lists no sizes; give e.g. macs: [0.75, 0.5], or carry the recipe out with run()")
    with joined() as processes, kept_randomness():
        _check(recipe, members, out)
        with alone(processes, out):
            Folder.opened(out, recipe)
            runs = _look(recipe, members, out, display)
            reports = {name: run(one, out / name, display=display) for name, one in members.items()}
            if processes.first:
                _keep(runs, reports, out)
            processes.wait()
            return reports


def _check(recipe: Recipe, members: dict[str, Recipe], out: Path) -> None:
    """Raise what is wrong with any member before anything is written."""
    name, first = next(iter(members.items()))
    if (out / name / DENSE).is_file():
        return
    task, _, device, [cut] = check_sound(first, out / name)
    dense = network_of(first, task.classes).to(device)
    with kept_randomness():
        for _ in rehearsed_family(first, dense, task, width_of([cut]), [*sizes_of(recipe).values()]):
            pass


def _look(recipe: Recipe, members: dict[str, Recipe], out: Path, display: Display) -> dict[str, Results]:
    """The dense network, and what each member's run has of it: the network itself, its plan, its refitted weights."""
    name, first = next(iter(members.items()))
    with begun(first, out / name, display) as phases:
        phases.dense()
        runs = {name: phases.results}
        for other, one in list(members.items())[1:]:
            lend(out / name, out / other, one)
            cuts = cuts_of(one, phases.results.dense(), phases.results.x)
            folder = Folder.opened(out / other, one)
            runs[other] = replace(phases.results, recipe=one, cuts=cuts, folder=folder)
        _decide(recipe, phases, runs, display)
        _compensate(phases, runs, display)
    return runs


def _decide(recipe: Recipe, phases: Phases, runs: dict[str, Results], display: Display) -> None:
    missing = [name for name, results in runs.items() if results.folder.plan(results.cuts[0].name) is None]
    if not missing:
        return
    phases.pause()
    display.say(f"observing and scoring once, planning {len(runs)} networks inside each other")
    cut = width_of(phases.results.cuts)
    basis = phases.results.basis(cut, progress=display.counts)
    decisions = cut.decide_family(basis, [*sizes_of(recipe).values()])
    for (name, results), decision in zip(runs.items(), decisions, strict=True):
        if name in missing:
            phases.of(results).note(results.cuts[0], basis, decision)


def _compensate(phases: Phases, runs: dict[str, Results], display: Display) -> None:
    """Refit what is not refitted yet, beside one pass of the dense network."""
    section = phases.recipe.compensate
    missing = {name: results for name, results in runs.items() if results.compensation(results.cuts[0].name) is None}
    if section is None or not missing:
        return
    phases.pause()
    display.say(f"refitting {', '.join(missing)} from {section.samples:,} pictures at most, looked at once")
    basis = phases.results.basis(phases.results.cuts[0], progress=display.counts)
    plans = {name: results.plan(results.cuts[0].name) for name, results in missing.items()}
    networks = [(prune_(phases.results.dense(), basis.x, plan, certify=False), plan) for plan in plans.values()]
    done = compensate(basis, section.samples, networks)
    for (name, results), (model, _), compensation in zip(missing.items(), networks, done, strict=True):
        display.say(f"{name}: {compensation.in_short()}")
        results.write_compensation(results.cuts[0].name, model, compensation)


def reports_in(directory: str | Path) -> dict[str, Report]:
    """The report of each member of the family that was carried out in a directory; empty where it holds none."""
    place = Path(directory)
    members = sizes_of(kept_recipe(place / RECIPE)) if (place / RECIPE).is_file() else {}
    return {name: Report.of_run(place / name) for name in members}


def curve_in(directory: str | Path, reports: dict[str, Report]) -> page.Curve:
    """The members of the family in a directory, as its page draws them."""
    place = Path(directory)
    return page.curve_of_runs(place.resolve().name, reports, str(place / ARTEFACT))


def _keep(runs: dict[str, Results], reports: dict[str, Report], out: Path) -> None:
    """All members in one artefact, and the page of them."""
    if not (out / ARTEFACT / CONFIG).is_file():
        save(out / ARTEFACT, Family(tuple(_member(name, results) for name, results in runs.items())))
    page.write(curve_in(out, reports), out)


def _member(name: str, results: Results) -> Member:
    done = results.compensation(results.cuts[0].name)
    return Member(name, results.final().cpu(), tuple(results.plans()), () if done is None else (done,))
