"""Pruned networks of the transformers package through its own calls: Auto classes, save_pretrained, Trainer."""

import copy
import json
import runpy
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_pruning as tp
from tests.integrations.continuing import mask_
from tests.small_decoders import decoder, generated, ids
from torch import nn

import infoprune as ip
from infoprune.artifact import read_config
from infoprune.errors import BadArtifact, InfopruneError, MissingExtra

pytest.importorskip("accelerate", reason="accelerate is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
from infoprune.integrations import transformers as hf  # noqa: E402

ROOT = Path(__file__).parent.parent.parent
SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
L2 = tp.importance.MagnitudeImportance(p=2)
IMAGES, TEXTS = transformers.AutoModelForImageClassification, transformers.AutoModelForSequenceClassification

pytestmark = pytest.mark.filterwarnings("ignore")  # the package warns about itself


def vision(kind: str = "ViT") -> nn.Module:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(image_size=16, patch_size=8, num_labels=5, **SMALL)
    return getattr(transformers, f"{kind}ForImageClassification")(config).eval()


def bert() -> nn.Module:
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=30, max_position_embeddings=16, num_labels=3, **SMALL)
    return transformers.BertForSequenceClassification(config).eval()


def pictures(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def words() -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(0, 30, (2, 8), generator=torch.Generator().manual_seed(1))
    return ids, (torch.arange(8) < torch.tensor([[8], [5]])).long()


CASES = {
    "ViT": (lambda: vision("ViT"), (pictures(),), IMAGES),
    "DeiT": (lambda: vision("DeiT"), (pictures(),), IMAGES),
    "BERT": (bert, words(), TEXTS),
}


def halved(kind: str) -> tuple[nn.Module, Any, Any, ip.Plan]:
    model, plan = _halved(kind)
    return copy.deepcopy(model), *CASES[kind][1:], plan


@cache
def _halved(kind: str) -> tuple[nn.Module, ip.Plan]:
    build, x, _ = CASES[kind]
    model = build()
    plan = ip.plan(model, x, L2, rates=0.5)
    return hf.prune_(model, x, plan), plan


def logits(model: nn.Module, x: tuple) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(*x).logits


@pytest.mark.parametrize("kind", CASES)
def test_auto_classes_read_what_either_library_saves(kind, tmp_path):
    """Half of all heads, hidden and embedding widths; two ways to save, two to load, the same numbers."""
    model, x, auto, plan = halved(kind)
    model.save_pretrained(tmp_path / "theirs")
    ip.save(tmp_path / "ours", model, plan)
    for place in ("theirs", "ours"):
        again = auto.from_pretrained(tmp_path / place)
        assert type(again) is type(model)
        assert again.config.num_labels == model.config.num_labels
        assert torch.equal(logits(again, x), logits(model, x))
        again.save_pretrained(tmp_path / "again")
        assert torch.equal(logits(auto.from_pretrained(tmp_path / "again"), x), logits(model, x))
    assert torch.equal(logits(ip.load(tmp_path / "ours"), x), logits(model, x))
    assert read_config(tmp_path / "ours").architecture.source == "transformers"
    heads = {m.num_attention_heads for m in again.modules() if isinstance(getattr(m, "num_attention_heads", None), int)}
    assert heads == {2}


def test_plans_add_up_in_the_config(tmp_path):
    model, x = vision(), (pictures(),)
    for _ in range(2):
        hf.prune_(model, x, ip.plan(model, x, L2, budgets=[ip.budgets.macs(keep=0.7)]))
    model.save_pretrained(tmp_path / "twice")
    again = IMAGES.from_pretrained(tmp_path / "twice")
    assert len(hf.plans_of(again.config)) == 2
    assert torch.equal(logits(again, x), logits(model, x))


def test_a_network_pruned_before_is_recorded(tmp_path):
    model, x = vision(), (pictures(),)
    plan = ip.plan(model, x, L2, rates=0.5)
    hf.record_(ip.prune_(model, x, plan, certify=False), plan).save_pretrained(tmp_path / "a")
    assert torch.equal(logits(IMAGES.from_pretrained(tmp_path / "a"), x), logits(model, x))


def test_another_task_gets_a_new_head(tmp_path):
    halved("ViT")[0].save_pretrained(tmp_path / "a")
    again = IMAGES.from_pretrained(tmp_path / "a", num_labels=7, ignore_mismatched_sizes=True)
    assert logits(again, (pictures(),)).shape == (2, 7)
    assert again.config.num_labels == 7


def test_a_dense_class_refuses_rather_than_loading_half(tmp_path):
    halved("ViT")[0].save_pretrained(tmp_path / "a")
    with pytest.raises(RuntimeError):
        transformers.ViTForImageClassification.from_pretrained(tmp_path / "a")


def changed(place: Path, change: Any) -> Path:
    config = json.loads((place / "config.json").read_text())
    change(config)
    (place / "config.json").write_text(json.dumps(config))
    return place


HOSTILE = {
    "a class that is none of theirs": lambda c: c["infoprune"]["architecture"].update(name="os.system"),
    "a class of another kind": lambda c: c["infoprune"]["architecture"].update(name="BertForSequenceClassification"),
    "too many layers": lambda c: c.update(num_hidden_layers=10**7),
    "too wide": lambda c: c.update(hidden_size=1 << 40),
    "a plan of another network": lambda c: c.update(intermediate_size=40),
    "no plans": lambda c: c["infoprune"].pop("plans"),
    "no section": lambda c: c.pop("infoprune"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_changed_configs_are_refused_in_a_sentence(what, tmp_path):
    halved("ViT")[0].save_pretrained(tmp_path / "a")
    with pytest.raises(BadArtifact):
        IMAGES.from_pretrained(changed(tmp_path / "a", HOSTILE[what]))


def test_code_named_by_a_file_is_not_looked_at(tmp_path):
    model, x, *_ = halved("ViT")
    model.save_pretrained(tmp_path / "a")
    place = changed(tmp_path / "a", lambda c: c.update(auto_map={"AutoConfig": "evil.Config"}))
    assert torch.equal(logits(IMAGES.from_pretrained(place, trust_remote_code=False), x), logits(model, x))


def test_weights_of_another_network_are_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    halved("ViT")[0].save_pretrained(tmp_path / "a")
    file = tmp_path / "a" / "model.safetensors"
    state = load_file(file)
    state.pop("classifier.bias")
    save_file(state, file, metadata={"format": "pt"})
    with pytest.raises(BadArtifact, match=r"classifier\.bias"):
        IMAGES.from_pretrained(tmp_path / "a")


def test_a_class_of_ones_own_is_told_what_to_use_instead():
    class Own(transformers.ViTForImageClassification):
        pass

    model = Own(vision().config)
    with pytest.raises(InfopruneError, match="Own is no class that transformers' Auto classes build"):
        hf.prune_(model, pictures(), ip.plan(model, pictures(), L2, rates=0.5))


def test_a_part_of_a_network_is_saved_with_a_factory(tmp_path):
    part = next(m for m in vision().modules() if type(m).__name__ == "ViTLayer")
    x = torch.randn(2, 5, 24)
    plan = ip.plan(part, x, L2, rates=0.5)
    ip.save(tmp_path / "a", ip.prune_(part, x, plan), plan)
    assert read_config(tmp_path / "a").architecture.source == "factory"


def test_an_absent_package_is_one_sentence_naming_the_extra(monkeypatch, tmp_path):
    model, _, _, plan = halved("ViT")
    ip.save(tmp_path / "a", model, plan)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r"^transformers is not installed; pip install 'infoprune\[transformers\]'$"):
        ip.load(tmp_path / "a")


# ------------------------------------------------------------------------------------------------------- training


class Watch(transformers.TrainerCallback):
    """What a step begins with: learning rate, loss on fixed pictures, and whether the optimizer holds this network."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.fits: list[bool] = []

    def on_step_begin(self, args, state, control, model=None, optimizer=None, **others):
        self.rates.append(optimizer.param_groups[0]["lr"])
        self.losses.append(loss_of(model))
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        moments = [optimizer.state[p]["exp_avg"].shape == p.shape for p in model.parameters() if state.global_step]
        self.fits.append(held == {id(p) for p in model.parameters()} and all(moments))
        model.train()


def loss_of(model: nn.Module) -> float:
    return float(nn.functional.cross_entropy(logits(model, (pictures(5),)), torch.arange(5)))


def trainer(model: nn.Module, place: Path, *callbacks: Any, **arguments: Any) -> Any:
    told = {
        "max_steps": 5,
        "per_device_train_batch_size": 4,
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    }
    settings = transformers.TrainingArguments(str(place), **{**told, "save_strategy": "no", **arguments})
    data = [{"pixel_values": picture, "labels": number % 5} for number, picture in enumerate(pictures(8))]
    return transformers.Trainer(model, settings, train_dataset=data, callbacks=list(callbacks))


class Mask(transformers.TrainerCallback):
    """What pruning amounts to: before step 2 the same units become zero, in the network and in what AdamW remembers."""

    def on_step_begin(self, args, state, control, model=None, optimizer=None, **others):
        if state.global_step == 2:
            mask_(model, exact_half(model, pictures()), [optimizer])


def exact_half(model: nn.Module, x: torch.Tensor) -> ip.Plan:
    """Half of heads and hidden widths; the stream stays, whose norms would change by design."""
    return ip.plan(model, x, L2, rates=0.5, ignored_layers=[m for m in model.modules() if isinstance(m, nn.Conv2d)])


def test_optimizer_and_scheduler_of_a_trainer_go_on_after_surgery(tmp_path):
    """Every further step of the pruned network is the masked one's, so that nothing jumps but by what leaves."""
    watches = []
    for callback in (hf.PruneCallback(pictures(), {2: exact_half}), Mask()):
        watches.append(Watch())
        run = trainer(vision(), tmp_path, callback, watches[-1], learning_rate=1e-3)
        run.train()
    pruned, masked = watches
    assert pruned.losses == pytest.approx(masked.losses, rel=1e-4)  # single precision, five steps
    assert abs(pruned.losses[2] / pruned.losses[1] - 1) > 1e-3  # what leaves does matter
    assert pruned.rates == pytest.approx([1e-3 * (1 - step / 5) for step in range(5)])
    assert pruned.fits == [True] * 5


def test_checkpoints_hold_the_plan_and_training_resumes_from_them(tmp_path):
    stage = {2: lambda model, x: ip.plan(model, x, L2, rates=0.5)}
    first = trainer(
        vision(), tmp_path, hf.PruneCallback(pictures(), stage), save_strategy="steps", save_steps=3, max_steps=3
    )
    first.train()
    checkpoint = str(tmp_path / "checkpoint-3")
    model = IMAGES.from_pretrained(checkpoint)
    assert torch.equal(logits(model, (pictures(),)), logits(first.model, (pictures(),)))
    if tuple(int(n) for n in transformers.__version__.split(".")[:2]) < (4, 48):
        return  # these can't read their own random states with torch 2.6 and later
    again = trainer(model, tmp_path, hf.PruneCallback(pictures(), stage), max_steps=4)
    again.train(resume_from_checkpoint=checkpoint)
    assert again.state.global_step == 4
    assert len(hf.plans_of(again.model.config)) == 1


def test_what_left_is_said_by_what_stays_before_the_step_is_taken():
    from types import SimpleNamespace

    dense = vision().eval()
    model, plan = copy.deepcopy(dense), exact_half(dense, pictures())
    loader = [{"pixel_values": pictures(16), "labels": torch.zeros(16, dtype=torch.long)}]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    callback = hf.PruneCallback(pictures(), {3: lambda model, x: plan}, compensate=loader)
    state = SimpleNamespace(global_step=3)
    callback.on_step_begin(SimpleNamespace(world_size=1), state, None, model=model, optimizer=optimizer)
    by_hand = ip.prune_(copy.deepcopy(dense), pictures(), plan)
    done = ip.compensate_(by_hand, dense, loader, progress=False)
    assert callback.compensations == {3: done}
    assert any(row.taken for row in done.rows)
    assert all(torch.equal(a, b) for a, b in zip(by_hand.parameters(), model.parameters(), strict=True))
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters()}
    assert hf.compensations_of(model.config) == (done,)


def test_a_saved_config_tells_what_was_refitted(tmp_path):
    dense = vision()
    model = hf.prune_(copy.deepcopy(dense), pictures(), exact_half(dense, pictures()))
    with pytest.raises(InfopruneError, match="config holds no plan"):
        hf.compensate_(copy.deepcopy(dense), dense, [{"pixel_values": pictures(16)}], progress=False)
    done = hf.compensate_(model, dense, [{"pixel_values": pictures(16)}], progress=False)
    model.save_pretrained(tmp_path)
    loaded = IMAGES.from_pretrained(tmp_path)
    assert hf.compensations_of(loaded.config) == (done,)
    assert torch.equal(loaded(pictures()).logits, model.eval()(pictures()).logits)
    plan = exact_half(loaded, pictures())
    assert hf.compensations_of(hf.prune_(loaded, pictures(), plan).config) == (done,)
    assert not hf.compensations_of(dense.config)


def test_pruned_decoders_of_any_widths_are_saved_in_shards(tmp_path):
    model, x = decoder("Llama"), ids()
    plan = ip.plan(model, x, L2, rates={"model.layers.1.mlp.gate_proj": 0.5, "model.layers.2.self_attn.q_proj": 0.5})
    hf.prune_(model, x, plan).save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again(x).logits, model(x).logits)
    assert torch.equal(generated(again, x), generated(model, x))


def test_a_decoder_is_pruned_and_written_plainly_by_the_script_that_people_copy(monkeypatch, capsys, tmp_path):
    path = ROOT / "integrations" / "transformers" / "decoder.py"
    monkeypatch.setattr(sys, "argv", [str(path), "--cache", "0.75", "--output", str(tmp_path / "out")])
    runpy.run_path(str(path), run_name="__main__")
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == "12,288 kv_cache_bytes of 12,288 allowed"
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "llama"


def test_several_processes_are_refused():
    from types import SimpleNamespace

    callback = hf.PruneCallback(pictures(), {0: lambda model, x: ip.Plan()})
    with pytest.raises(InfopruneError, match="training runs in 4 processes"):
        callback.on_step_begin(SimpleNamespace(world_size=4), SimpleNamespace(global_step=0), None, model=vision())


@pytest.mark.parametrize("script", ["image_classification.py", "text_classification.py"])
def test_the_scripts_that_people_copy_run(script, monkeypatch, capsys, tmp_path):
    path = ROOT / "integrations" / "transformers" / script
    size = ("--size", "16") if script.startswith("image") else ("--length", "8")
    monkeypatch.setattr(sys, "argv", [str(path), *size, "--steps", "3", "--output", str(tmp_path / "out")])
    runpy.run_path(str(path), run_name="__main__")
    assert "MACs" in capsys.readouterr().out.splitlines()[-1]
