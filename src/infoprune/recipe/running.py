"""run(): from a recipe to an artefact and a report, in phases each of which is done once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from infoprune.artifact import save
from infoprune.data import Task
from infoprune.errors import BadRecipe, InfopruneError, Interrupted
from infoprune.files import held
from infoprune.finetune import Processes, Progress, Surroundings, Training, joined, train
from infoprune.observe import kept_randomness
from infoprune.recipe.basis import Basis, example
from infoprune.recipe.checks import check_classes, check_kind
from infoprune.recipe.cuts import Cut, Decision, cuts_of
from infoprune.recipe.display import Display, Silent, Wish, stopping
from infoprune.recipe.exporting import judged_files, running, write_files
from infoprune.recipe.folder import METRICS, Folder, Metrics, as_begun
from infoprune.recipe.networks import network_of
from infoprune.recipe.quality import Quality
from infoprune.recipe.recovery import check_pictures, compensate, match, move_norms_
from infoprune.recipe.rehearsal import rehearsed
from infoprune.recipe.reporting import ARTEFACT, COMPENSATED, MATCHED, SURGERY, UNDONE, report_of
from infoprune.recipe.results import DENSE, PASSED_ON, WEIGHTS, Results
from infoprune.recipe.sections import CompensateSection, MatchSection, Recipe
from infoprune.recipe.split_features import judged_over_the_wire, sent
from infoprune.recipe.sweeping import swept, ways_of
from infoprune.recipe.task_kinds import KINDS
from infoprune.recipe.tasks import task_of
from infoprune.report.model import Report
from infoprune.report.recovery import WORSE
from infoprune.surgery import Plan, certificate_of, prune_


def run(recipe: Recipe, out: str | Path, *, display: Display | None = None) -> Report:
    """Carry out `recipe` in the directory `out` and return its report.

    The same call goes on after an interruption, whatever its cause, and ends with bitwise the same weights. Before
    anything is trained or written every cut is rehearsed, so that what is wrong in a recipe is told at once. Under
    torchrun the processes share training and observation.
    """
    if recipe.budget is not None and recipe.budget.sizes:
        raise BadRecipe("budget: lists several sizes; carry the recipe out with infoprune run, or run_family()")
    started = time.perf_counter()
    with begun(recipe, Path(out), display or Silent()) as phases:
        phases.carry_out()
        return report_of(phases.results, started)


@contextmanager
def begun(recipe: Recipe, out: Path, display: Display) -> Iterator[Phases]:
    """The phases of a run whose recipe was found to be sound, in a directory that nobody else is at work on."""
    with joined() as processes, kept_randomness(), stopping(display.say) as wish:
        recipe = as_begun(out, recipe)
        sound = check_sound(recipe, out)
        with alone(processes, out):
            folder = Folder.opened(out, recipe)
            metrics = Metrics(out / METRICS, tensorboard=recipe.report.tensorboard)
            results = Results(recipe, *sound, folder, metrics)
            yield Phases(results, display if processes.first else Silent(), wish)


def check_sound(recipe: Recipe, out: Path) -> tuple[Task, torch.Tensor, torch.device, list[Cut]]:
    """Data, an example, the device and the cuts of a recipe that was found to be sound; nothing is written before."""
    task = task_of(recipe)
    check_kind(recipe, task)
    check_pictures(recipe, task)
    x, device = example(task), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dense = network_of(recipe, task.classes).to(device)
    check_classes(recipe, task, dense, x.to(device))
    cuts = cuts_of(recipe, dense, x)
    if not (out / DENSE).is_file():
        with kept_randomness():
            rehearsed(recipe, dense, task, cuts)
    return task, x, device, cuts


def alone(processes: Processes, out: Path) -> AbstractContextManager:
    """The first process holds the directory for all."""
    return held(out) if processes.first else nullcontext()


class Phases:
    """The phases, each of which leaves files that say it is done."""

    def __init__(self, results: Results, display: Display, wish: Wish):
        self.results, self.display, self.wish = results, display, wish
        self.recipe, self.task, self.folder = results.recipe, results.task, results.folder

    def of(self, results: Results) -> Phases:
        """The same of another run."""
        return Phases(results, self.display, self.wish)

    def carry_out(self) -> None:
        self.dense()
        for cut in self.results.cuts:
            self._plan(cut)
            self._compensate(cut)
            self._baselines(cut)
            self._tune(cut)
        self._artefact()
        self._sweep()

    def dense(self) -> None:
        """The dense network, trained where the recipe says so, and judged."""
        if not self.folder.has(DENSE):
            model, section = self.results.fresh(), self.recipe.model
            if section.train_epochs:
                options = {"epochs": section.train_epochs, "lr": section.train_lr, "distill": 0.0, "reestimate": 0}
                options["probe"] = 0.0  # rates are tried for what is right already
                self._train("dense", model, replace(self.recipe.finetune, **options, minutes=None), teacher=None)
            self.folder.write_tensors(DENSE, model.state_dict())
        self._judge("dense", self.results.dense)

    def _plan(self, cut: Cut) -> None:
        if self.folder.plan(cut.name) is not None:
            return
        self.pause()
        self.display.say(f"{cut.name}: observing, scoring and planning ({cut.kind})")
        basis = self.results.basis(cut, progress=self.display.counts, stop=lambda: self.wish.stop)
        self.note(cut, basis, cut.decide(basis))

    def note(self, cut: Cut, basis: Basis, decision: Decision) -> None:
        """Keep what was decided of a cut, once its plan is certified."""
        certificate = certificate_of(basis.model, basis.x, decision.plan)
        if certificate.verdict == "failed":
            raise InfopruneError(f"the plan's certificate failed ({certificate}); put suspect layers in ignored_layers")
        sentence = str(certificate)
        if empty := decision.plan.made_by.get("saturated"):
            self.display.say(f"{cut.name}: {empty}")
            sentence = f"{sentence}; {empty}"
        self.results.write_decision(cut, decision, sentence)

    def _compensate(self, cut: Cut) -> None:
        """How well the cut network does as surgery leaves it, and once what left is said by what stays."""
        if not cut.compensated or self.folder.has(f"{cut.name}/{WEIGHTS}"):
            return
        self._judge(f"{cut.name}-{SURGERY}", lambda: self._pruned(cut, self.results.plan(cut.name)))
        self._judge(f"{cut.name}-{COMPENSATED}", lambda: self._mended(cut, cut.name))
        if cut.matched:
            self._judge(f"{cut.name}-{MATCHED}", lambda: self._cut(cut, cut.name))

    def _baselines(self, cut: Cut) -> None:
        """The rivals, and the plan itself, after the same short tuning."""
        short = {"epochs": cut.epochs, "ema": None, "minutes": None, "warmup_epochs": 0.0, "probe": cut.probe}
        phases = (cut.ours, *map(cut.phase_of, cut.rivals)) if cut.epochs else ()
        for phase in phases:
            if self.results.judged(phase):
                continue
            self.pause()
            model = self._cut(cut, phase)
            training = replace(self.results.training(self._source(cut, phase)), **short)
            self._train(phase, model, training, teacher=self.results.dense)
            self._judge(phase, lambda model=model: model)

    def _tune(self, cut: Cut) -> None:
        if not self.folder.has(f"{cut.name}/{WEIGHTS}"):
            self.pause()
            model = self._cut(cut, cut.name)
            self._train(cut.name, model, self.results.training(cut.name), teacher=self.results.dense)
            model, quality = self._no_worse(cut, model)
            self.folder.write_tensors(f"{cut.name}/{WEIGHTS}", model.state_dict())
            if quality is not None:
                self.results.judge(cut.name, lambda: quality)
        if cut.tuned:
            self._judge(cut.name, lambda: self.results.after(cut))
            return
        for phase in (cut.name, *map(cut.phase_of, cut.rivals)):
            self._judge(phase, lambda: self.results.before(cut))

    def _no_worse(self, cut: Cut, tuned: nn.Module) -> tuple[nn.Module, Quality | None]:
        """The tuned network with how well it does, or the one before, where tuning made it worse beyond doubt.

        Only a network that was judged before its tuning is judged here.
        """
        phases = (f"{cut.name}-{MATCHED}", f"{cut.name}-{COMPENSATED}")
        before = next((self.results.quality(phase) for phase in phases if self.results.judged(phase)), None)
        if before is None:
            return tuned, None
        quality = self._quality(cut.name, tuned)
        if not quality.worse_than(before):
            return tuned, quality
        self._tell(f"{cut.name}-{UNDONE}", self.results.judge(f"{cut.name}-{UNDONE}", lambda: quality))
        self.display.say(f"{cut.name}: {WORSE}")
        return self._cut(cut, cut.name), before

    def _artefact(self) -> None:
        self.pause()
        results = self.results
        if Processes.now().first and not self.folder.has(f"{ARTEFACT}/config.json"):
            compensations = [done for cut in results.cuts if (done := results.compensation(cut.name))]
            save(self.folder.path / ARTEFACT, results.final().cpu(), results.plans(), compensation=compensations)
        if Processes.now().first:
            write_files(results, self.display.say)
        Processes.now().wait()
        for phase, path in judged_files(results).items():
            self._judge(phase, lambda path=path: running(path))

    def _sweep(self) -> None:
        """Point after point, each of which is kept."""
        split, sweep = self.recipe.split, self.recipe.sweep
        if split is None or sweep is None or self.results.swept():
            return
        points, basis = self.results.sent(), self.results.basis(self.results.cuts[-1])
        self.display.say(f"sweep: comparing every ranking at {len(ways_of(sweep))} ways of sending")
        for one in swept(basis, split, sweep, tuple(points)):
            points.append(one)
            self.results.write_sent(points)
            self.pause()
        self.results.write_sent(points, done=True)

    # ------------------------------------------------------------------------------------------------- networks

    def _pruned(self, cut: Cut, plan: Plan) -> nn.Module:
        """The network as surgery leaves it."""
        return prune_(self.results.before(cut), self.results.placed_x, plan, certify=False)

    def _cut(self, cut: Cut, phase: str) -> nn.Module:
        """The network as a phase of a cut begins to train it: readers are refitted, and blocks matched."""
        model, section, source = self._mended(cut, phase), self.recipe.match, self._source(cut, phase)
        if section is None or not cut.matched:
            return model
        return self.results.matched(source, model) or self._matched(cut, source, section, model)

    def _mended(self, cut: Cut, phase: str) -> nn.Module:
        """What mends the network without training is done."""
        plan, source = self._plan_of(cut, phase), self._source(cut, phase)
        model, section = self._pruned(cut, plan), self.recipe.compensate
        if section is not None and cut.compensated:
            if self.results.compensation(source) is None:
                self._refit(cut, source, section, model, plan)
            return self.results.compensated(source, model)
        if self.results.training(source).norms == "frozen":
            return move_norms_(self.results.basis(cut), model, plan)
        return model

    def _refit(self, cut: Cut, phase: str, section: CompensateSection, model: nn.Module, plan: Plan) -> None:
        self.pause()
        self.display.say(f"{phase}: refitting the readers of what left, from {section.samples:,} pictures at most")
        basis = self.results.basis(cut, progress=self.display.counts)
        [done] = compensate(basis, section.samples, [(model, plan)])
        self.display.say(f"{phase}: {done.in_short()}")
        self.results.write_compensation(phase, model, done)

    def _matched(self, cut: Cut, phase: str, section: MatchSection, model: nn.Module) -> nn.Module:
        self.pause()
        self.display.say(f"{phase}: matching blocks in {section.steps:,} steps")
        matching = match(
            self.results.basis(cut), section, model, self._plan_of(cut, phase), self._around(f"{phase}-{MATCHED}")
        )
        self.display.say(f"{phase}: {matching}")
        self.folder.write_tensors(f"{phase}/{PASSED_ON}", model.state_dict())
        return model

    def _source(self, cut: Cut, phase: str) -> str:
        """The phase whose compensated network this one trains: a cut's own is compared with its rivals as well."""
        return cut.name if phase == cut.ours else phase

    def _plan_of(self, cut: Cut, phase: str) -> Plan:
        """The cut's own plan, or a rival's; runs that were begun before rivals were kept decide once more."""
        if phase in (cut.ours, cut.name):
            return self.results.plan(cut.name)
        if self.folder.plan(phase) is None:
            self.results.write_rivals(cut, cut.decide(self.results.basis(cut)))
        return self.results.plan(phase)

    # -------------------------------------------------------------------------------------- training and judging

    def _train(self, phase: str, model: nn.Module, training: Training, teacher: Callable[[], nn.Module] | None) -> None:
        ended = train(
            model,
            self.task.train,
            training,
            batch=min(self.recipe.data.batch, len(self.task.train)),
            seed=self.recipe.seed,
            classes=self.task.classes,
            goal=KINDS[self.task.kind].goal,
            teacher=teacher() if teacher is not None and training.distill > 0 else None,
            around=self._around(phase),
        )
        if ended.ended == "stopped":
            raise Interrupted(f"stopped after step {ended.steps} of {phase}; the same command goes on from there")

    def _around(self, phase: str) -> Surroundings:
        return Surroundings(
            checkpoints=self.folder.path / phase / "checkpoints",
            workers=self.recipe.data.workers,
            note=lambda progress: self._note(phase, progress),
            say=self.display.say,
            stop=lambda: self.wish.stop,
        )

    def _note(self, phase: str, progress: Progress) -> None:
        self.results.metrics.progress(phase, progress)
        self.display.progress(phase, progress)

    def _judge(self, phase: str, model: Callable[[], nn.Module]) -> None:
        self._tell(phase, self.results.judge(phase, lambda: self._quality(phase, model())))

    def _tell(self, phase: str, quality: Quality) -> None:
        self.results.metrics.add({"phase": phase, **quality.numbers})
        self.display.say(f"{phase}: {quality.words}")

    def _quality(self, phase: str, model: nn.Module) -> Quality:
        """At a split, of what travels by the phase's plan; all features travel as floats where it says nothing."""
        data, split = self.recipe.data, self.recipe.split
        if split is not None:
            selection = sent(self.folder.plan(phase))
            return judged_over_the_wire(model, self.task, split.at, selection, batch=data.batch)
        judged, precision = KINDS[self.task.kind].judged, self.recipe.finetune.precision
        return judged(model, self.task, batch=data.batch, precision=precision, workers=data.workers)

    def pause(self) -> None:
        """Stop here, if somebody asked to."""
        if self.wish.stop:
            raise Interrupted("stopped between two phases; the same command goes on from there")
