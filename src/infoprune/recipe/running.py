"""run(): from a recipe to an artefact and a report, in phases each of which is done once."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch_pruning as tp
from torch import Tensor, nn

from infoprune.artifact import save
from infoprune.data import Task, datasets
from infoprune.errors import InfopruneError, Interrupted
from infoprune.export import export
from infoprune.files import held
from infoprune.finetune import Progress, Surroundings, Training, Workers, hits, joined, train
from infoprune.finetune.checkpoints import load_tensors
from infoprune.observe import kept_randomness
from infoprune.planning import plan as plan_widths
from infoprune.recipe.checks import check_classes, check_kind
from infoprune.recipe.cuts import Cut, Decision, baseline_rates, cuts_of, decide, example
from infoprune.recipe.display import Display, Silent, Wish, stopping
from infoprune.recipe.folder import METRICS, Folder, Metrics
from infoprune.recipe.goals import GOALS
from infoprune.recipe.judging import JUDGES, Judged
from infoprune.recipe.networks import build_network
from infoprune.recipe.sections import Recipe
from infoprune.recipe.splitting import judged_over_the_wire, sent
from infoprune.report.model import Allocation, Interval, Report, SiteChange
from infoprune.surgery import Plan, certificate_of, prune_

ARTEFACT, EXPORTED = "artefact", "model.onnx"
HITS, SCORES = "hits.json", "scores.json"
BASELINES: dict[str, Callable[[], Any]] = {
    "random": tp.importance.RandomImportance,
    "l2": lambda: tp.importance.MagnitudeImportance(p=2),
}


def run(recipe: Recipe, out: str | Path, *, display: Display | None = None) -> Report:
    """Carry out `recipe` in the directory `out` and return its report.

    The same call goes on after an interruption, whatever its cause, and ends with bitwise the same weights. Under
    torchrun the workers share training and observation.
    """
    from infoprune.recipe.reporting import report_of

    display = display or Silent()
    out = Path(out)
    with joined() as workers, kept_randomness(), stopping(display.say) as wish, _alone(workers, out):
        us = _Run(recipe, out, display if workers.first else Silent(), wish)
        us.carry_out()
        return report_of(us)


def _alone(workers: Workers, out: Path) -> AbstractContextManager:
    """The first worker holds the directory for all."""
    return held(out) if workers.first else nullcontext()


class _Run:
    def __init__(self, recipe: Recipe, out: Path, display: Display, wish: Wish):
        self.recipe, self.display, self.wish = recipe, display, wish
        data = recipe.data
        self.task: Task = datasets[data.name](data.root, size=data.size, seed=recipe.seed, **data.options)
        check_kind(recipe, self.task)
        self.x = example(self.task)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dense = self._fresh()
        check_classes(recipe, self.task, dense, self._placed_x())
        self.cuts = cuts_of(recipe, dense, self.x)
        self.folder = Folder.opened(out, recipe)
        self.metrics = Metrics(out / METRICS, tensorboard=recipe.report.tensorboard)
        self.started = time.perf_counter()

    # ------------------------------------------------------------------------------------------------- phases

    def carry_out(self) -> None:
        self._dense()
        for cut in self.cuts:
            self._plan(cut)
            self._baselines(cut)
            self._tune(cut)
        self._artefact()

    def _dense(self) -> None:
        if not self.folder.has("dense.safetensors"):
            model, section = self._fresh(), self.recipe.model
            if section.train_epochs:
                options = {"epochs": section.train_epochs, "lr": section.train_lr, "distill": 0.0, "reestimate": 0}
                self._train("dense", model, replace(self.recipe.finetune, **options, minutes=None), teacher=None)
            self.folder.write_tensors("dense.safetensors", model.state_dict())
        self._judge("dense", self.dense, features=self.recipe.split is not None)

    def _plan(self, cut: Cut) -> None:
        if self.folder.plan(cut.name) is not None:
            return
        self._pause()
        self.display.say(f"{cut.name}: observing, scoring and planning ({cut.kind})")
        model = self.model_before(cut)
        made = decide(cut, self.recipe, model, self._placed_x(), self.task, progress=self.display.terminal)
        certificate = certificate_of(model, self._placed_x(), made.plan)
        if certificate.verdict == "failed":
            raise InfopruneError(f"the plan's certificate failed ({certificate}); put suspect layers in ignored_layers")
        told = {
            "kind": cut.kind,
            "sites": [asdict(site) for site in made.sites],
            "allocation": None if made.allocation is None else asdict(made.allocation),
            "certificate": str(certificate),
        }
        self.folder.write_json(f"{cut.name}/told.json", told)
        for name, plan in made.simpler.items():
            self.folder.write(f"{cut.name}-{name}/plan.json", plan.to_json())
        self.folder.write(f"{cut.name}/plan.json", made.plan.to_json())

    def _tune(self, cut: Cut) -> None:
        if not self.folder.has(f"{cut.name}/weights.safetensors"):
            self._pause()
            model = self._pruned(cut)
            self._train(cut.name, model, self.recipe.finetune, teacher=self.dense)
            self.folder.write_tensors(f"{cut.name}/weights.safetensors", model.state_dict())
        if cut.kind == "features":
            for phase in (cut.name, *(f"{cut.name}-{name}" for name in BASELINES)):
                self._judge(phase, lambda: self.model_before(cut), features=True)
        else:
            self._judge(cut.name, lambda: self.model_after(cut))

    def _baselines(self, cut: Cut) -> None:
        """Random and L2, and the plan itself, at the same widths after the same short tuning."""
        epochs = self.recipe.report.baseline_epochs
        if not self.compared(cut):
            return
        short = replace(self.recipe.finetune, epochs=epochs, ema=None, minutes=None, warmup_epochs=0.0)
        for name in ("ours", *BASELINES):
            phase = f"{cut.name}-{name}"
            if self.folder.has(f"{phase}/{self._judged}"):
                continue
            self._pause()
            model = self._pruned(cut) if name == "ours" else self._alternative(cut, name)
            self._train(phase, model, short, teacher=self.dense)
            self._judge(phase, lambda model=model: model)

    def _artefact(self) -> None:
        self._pause()
        if Workers.now().first and not self.folder.has(f"{ARTEFACT}/config.json"):
            save(self.folder.path / ARTEFACT, self.final().cpu(), self.plans())
        if Workers.now().first and self.recipe.export is not None and not self.folder.has(EXPORTED):
            self.display.say(str(export(self.final().cpu(), self.x, self.folder.path / EXPORTED)))
        Workers.now().wait()

    # ------------------------------------------------------------------------------------------------- models

    def _fresh(self, *, published: bool = True) -> nn.Module:
        """The dense network before any training; its architecture alone without the `published` weights."""
        section = self.recipe.model
        given = section.pretrained or section.weights is not None
        return build_network(
            section.name,
            num_classes=section.num_classes or (None if given else self.task.classes),
            weights=Path(section.weights) if published and section.weights else None,
            pretrained=published and section.pretrained,
            seed=self.recipe.seed,
        ).to(self.device)

    def dense(self) -> nn.Module:
        return self._loaded(self._fresh(published=False), "dense.safetensors")

    def model_before(self, cut: Cut) -> nn.Module:
        """As the cuts before left it, built from files alone, so that interrupted runs see the same tensors."""
        place = self.cuts.index(cut)
        return self.model_after(self.cuts[place - 1]) if place else self.dense()

    def model_after(self, cut: Cut) -> nn.Module:
        model = self._fresh(published=False)
        for earlier in self.cuts[: self.cuts.index(cut) + 1]:
            prune_(model, self._placed_x(), self._known(earlier), certify=False)
        return self._loaded(model, f"{cut.name}/weights.safetensors")

    def final(self) -> nn.Module:
        return self.model_after(self.cuts[-1])

    def plans(self) -> list[Plan]:
        return [self._known(cut) for cut in self.cuts]

    def compared(self, cut: Cut) -> bool:
        return cut.kind == "width" and self.recipe.report.baseline_epochs > 0

    def _known(self, cut: Cut) -> Plan:
        plan = self.folder.plan(cut.name)
        assert plan is not None
        return plan

    def _loaded(self, model: nn.Module, name: str) -> nn.Module:
        model.load_state_dict(load_tensors(self.folder.path / name))
        return model.eval()

    def _pruned(self, cut: Cut) -> nn.Module:
        return prune_(self.model_before(cut), self._placed_x(), self._known(cut), certify=False)

    def _alternative(self, cut: Cut, name: str) -> nn.Module:
        """The same widths by another importance."""
        model, told = self.model_before(cut), self.told(cut)
        with kept_randomness():
            torch.manual_seed(self.recipe.seed)
            assert self.recipe.budget is not None
            plan = plan_widths(
                model,
                self._placed_x(),
                BASELINES[name](),
                rates=baseline_rates(self._known(cut), told.sites),
                ignored_layers=self.recipe.budget.ignored_layers,
            )
        return prune_(model, self._placed_x(), plan, certify=False)

    def told(self, cut: Cut) -> Decision:
        """The plan of a cut with what was noted when it was made."""
        found = self.folder.read_json(f"{cut.name}/told.json")
        sites = tuple(SiteChange(**{**site, "weight": _interval(site["weight"])}) for site in found["sites"])
        allocation = None if found["allocation"] is None else Allocation(**found["allocation"])
        return Decision(self._known(cut), sites, allocation)

    # ------------------------------------------------------------------------------------------------- helpers

    def _train(self, phase: str, model: nn.Module, training: Training, teacher: Callable[[], nn.Module] | None) -> None:
        checkpoints = self.folder.path / phase / "checkpoints"
        distilled = teacher is not None and training.distill > 0
        around = Surroundings(
            checkpoints=checkpoints,
            workers=self.recipe.data.workers,
            note=lambda progress: self._note(phase, progress),
            say=self.display.say,
            stop=lambda: self.wish.stop,
        )
        ended = train(
            model,
            self.task.train,
            training,
            batch=min(self.recipe.data.batch, len(self.task.train)),
            seed=self.recipe.seed,
            classes=self.task.classes,
            goal=GOALS[self.task.kind],
            teacher=teacher() if distilled and teacher is not None else None,
            around=around,
        )
        if ended.ended == "stopped":
            raise Interrupted(f"stopped after step {ended.steps} of {phase}; the same command goes on from there")

    def _note(self, phase: str, progress: Progress) -> None:
        self.metrics.progress(phase, progress)
        self.display.progress(phase, progress)

    @property
    def _judged(self) -> str:
        return HITS if self.task.kind == "labels" else SCORES

    def _judge(self, phase: str, model: Callable[[], nn.Module], *, features: bool = False) -> None:
        """Which held-out examples the model names rightly, or its scores; done once a phase.

        With `features` those of the phase's plan travel, or all of them as floats where it has none.
        """
        if not self.folder.has(f"{phase}/{self._judged}"):
            self.folder.write_json(f"{phase}/{self._judged}", self._found(phase, model(), features))
        if self.task.kind == "labels":
            right = self.folder.read_json(f"{phase}/{HITS}")
            accuracy = sum(right) / len(right)
            self.metrics.add({"phase": phase, "accuracy": accuracy})
            self.display.say(f"{phase}: {accuracy:.2%} of {len(right)} held-out pictures")
            return
        scores = self.scores(phase)
        self.metrics.add({"phase": phase, "scores": {score.name: score.value for score in scores}})
        self.display.say(f"{phase}: " + ", ".join(f"{s.name} {s.value:.4g} {s.unit}" for s in scores))

    def _found(self, phase: str, model: nn.Module, features: bool) -> list[Any]:
        data, precision, batch = self.recipe.data, self.recipe.finetune.precision, max(self.recipe.data.batch, 256)
        if self.task.kind == "labels":
            return hits(model, self.task.held_out, batch=batch, precision=precision, workers=data.workers)
        if not features:
            found = JUDGES[self.task.kind](model, self.task, batch=data.batch, precision=precision)
        else:
            assert self.recipe.split is not None
            plan = self.folder.plan(phase)
            selection = None if plan is None else sent(plan)
            found = judged_over_the_wire(model, self.task, self.recipe.split.at, selection, batch=data.batch)
        return [asdict(judged) for judged in found]

    def scores(self, phase: str) -> list[Judged]:
        rows = self.folder.read_json(f"{phase}/{SCORES}")
        return [Judged(**{**row, "without": tuple(row["without"])}) for row in rows]

    def _pause(self) -> None:
        if self.wish.stop:
            raise Interrupted("stopped between two phases; the same command goes on from there")

    def _placed_x(self) -> Tensor:
        return self.x.to(self.device)


def _interval(told: dict[str, float] | None) -> Interval | None:
    return None if told is None else Interval(**told)
