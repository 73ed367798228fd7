"""What a run has so far - networks, plans, qualities - built from its files alone, so that interrupted runs agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from torch import Tensor, device, nn

from infoprune.compensation import Compensation
from infoprune.data import Task
from infoprune.errors import InfopruneError
from infoprune.finetune import Domain, Training, domain_of
from infoprune.finetune.checkpoints import load_tensors
from infoprune.finetune.domain import ASKED
from infoprune.finetune.options import Norms
from infoprune.recipe.basis import Basis
from infoprune.recipe.cuts import Cut, Decision
from infoprune.recipe.evidence import first_of
from infoprune.recipe.folder import Folder, Metrics
from infoprune.recipe.networks import network_of
from infoprune.recipe.quality import Quality
from infoprune.recipe.sections import Recipe
from infoprune.recipe.task_kinds import KINDS
from infoprune.report.model import Allocation, Interval, Sent, SiteChange
from infoprune.surgery import Plan, prune_

DENSE, WEIGHTS, NOTES = "dense.safetensors", "weights.safetensors", "told.json"
SENT = "sweep.json"
DOMAIN, COMPENSATION, COMPENSATED = "dense/domain.json", "compensation.json", "compensated.safetensors"
PASSED_ON = "matched.safetensors"  # what blocks pass on is matched


@dataclass(frozen=True)
class Results:
    """A run of `recipe` on `task` in `folder`; `x` is an example of the network's input."""

    recipe: Recipe
    task: Task
    x: Tensor
    device: device
    cuts: list[Cut]
    folder: Folder
    metrics: Metrics

    # ------------------------------------------------------------------------------------------------- networks

    def fresh(self, *, published: bool = True) -> nn.Module:
        return network_of(self.recipe, self.task.classes, published=published).to(self.device)

    def dense(self) -> nn.Module:
        return self._loaded(self.fresh(published=False), DENSE)

    def before(self, cut: Cut) -> nn.Module:
        """As the cuts before left it."""
        place = self.cuts.index(cut)
        return self.after(self.cuts[place - 1]) if place else self.dense()

    def after(self, cut: Cut) -> nn.Module:
        model = self.fresh(published=False)
        for earlier in self.cuts[: self.cuts.index(cut) + 1]:
            prune_(model, self.placed_x, self.plan(earlier.name), certify=False)
        return self._loaded(model, f"{cut.name}/{WEIGHTS}")

    def final(self) -> nn.Module:
        return self.after(self.cuts[-1])

    @property
    def placed_x(self) -> Tensor:
        return self.x.to(self.device)

    def _loaded(self, model: nn.Module, name: str) -> nn.Module:
        model.load_state_dict(load_tensors(self.folder.path / name))
        return model.eval()

    # ------------------------------------------------------------------------------------------------ decisions

    def basis(self, cut: Cut, *, progress: bool = False, stop: Callable[[], bool] = lambda: False) -> Basis:
        return Basis(self.recipe, self.before(cut), self.placed_x, self.task, progress, stop=stop)

    def plan(self, phase: str) -> Plan:
        plan = self.folder.plan(phase)
        if plan is None:
            raise InfopruneError(f"{self.folder.path / phase} has no plan.json; remove that folder and run again")
        return plan

    def plans(self) -> list[Plan]:
        return [self.plan(cut.name) for cut in self.cuts]

    def decision(self, cut: Cut) -> Decision:
        """The plan of a cut with what was noted when it was made."""
        notes = self.folder.read_json(f"{cut.name}/{NOTES}")
        sites = tuple(SiteChange(**{**site, "weight": _interval(site["weight"])}) for site in notes["sites"])
        allocation = None if notes["allocation"] is None else Allocation(**notes["allocation"])
        return Decision(self.plan(cut.name), sites, allocation)

    def certificates(self) -> list[str]:
        return [self.folder.read_json(f"{cut.name}/{NOTES}")["certificate"] for cut in self.cuts]

    def write_decision(self, cut: Cut, decision: Decision, certificate: str) -> None:
        """The plan last, which says that the rest is there."""
        notes = {
            "kind": cut.kind,
            "sites": [asdict(site) for site in decision.sites],
            "allocation": None if decision.allocation is None else asdict(decision.allocation),
            "certificate": certificate,
        }
        self.folder.write_json(f"{cut.name}/{NOTES}", notes)
        self.write_rivals(cut, decision)
        self.folder.write(f"{cut.name}/plan.json", decision.plan.to_json())

    def write_rivals(self, cut: Cut, decision: Decision) -> None:
        for rival, plan in decision.rivals.items():
            self.folder.write(f"{cut.phase_of(rival)}/plan.json", plan.to_json())

    # ------------------------------------------------------------------------------------------------- recovery

    def domain(self) -> Domain:
        """Whether norms may see the training pictures anew; found once. Those it was trained on need no asking."""
        if self.recipe.finetune.norms != "auto" or self.recipe.model.train_epochs or not KINDS[self.task.kind].named:
            return Domain()
        if not self.folder.has(DOMAIN):
            images = (x.to(self.device) for x, _ in first_of(self.recipe, self.task, ASKED))
            self.folder.write_json(DOMAIN, asdict(domain_of(self.dense(), images)))
        return Domain(**self.folder.read_json(DOMAIN))

    def training(self, phase: str) -> Training:
        """How a phase trains: norms that were moved already are not renewed, those of another domain stay."""
        asked, done = self.recipe.finetune, self.compensation(phase)
        norms: Norms = asked.norms if asked.norms != "auto" else "moving" if self.domain().alike else "frozen"
        return replace(asked, norms=norms, reestimate=0 if done is not None and done.norms else asked.reestimate)

    def compensation(self, phase: str) -> Compensation | None:
        """What was refitted; None where nothing was yet, or is to be."""
        path = f"{phase}/{COMPENSATION}"
        return Compensation.from_json(self.folder.read_json(path)) if self.folder.has(path) else None

    def write_compensation(self, phase: str, model: nn.Module, done: Compensation) -> None:
        """What was refitted last, which says that the weights are there."""
        self.folder.write_tensors(f"{phase}/{COMPENSATED}", model.state_dict())
        self.folder.write_json(f"{phase}/{COMPENSATION}", done.to_json())

    def compensated(self, phase: str, model: nn.Module) -> nn.Module:
        """The model as compensation left it."""
        return self._loaded(model, f"{phase}/{COMPENSATED}")

    def matched(self, phase: str, model: nn.Module) -> nn.Module | None:
        """The model as matching left it; None where nothing was yet."""
        path = f"{phase}/{PASSED_ON}"
        return self._loaded(model, path) if self.folder.has(path) else None

    # ------------------------------------------------------------------------------------------------ qualities

    def sent(self) -> list[Sent]:
        """What was found of single ways of sending."""
        return [Sent(**point) for point in self.folder.read_json(SENT)["sent"]] if self.folder.has(SENT) else []

    def swept(self) -> bool:
        return self.folder.has(SENT) and self.folder.read_json(SENT)["done"]

    def write_sent(self, sent: list[Sent], *, done: bool = False) -> None:
        self.folder.write_json(SENT, {"done": done, "sent": [asdict(one) for one in sent]})

    def judged(self, phase: str) -> bool:
        return self.folder.has(self._file(phase))

    def judge(self, phase: str, judgement: Callable[[], Quality]) -> Quality:
        """How well the network of a phase does; found once."""
        if not self.judged(phase):
            self.folder.write_json(self._file(phase), judgement().kept())
        return self.quality(phase)

    def quality(self, phase: str) -> Quality:
        return KINDS[self.task.kind].quality.of(self.folder.read_json(self._file(phase)))

    def _file(self, phase: str) -> str:
        return f"{phase}/{KINDS[self.task.kind].quality.file}"


def _interval(ends: dict[str, float] | None) -> Interval | None:
    return None if ends is None else Interval(**ends)
