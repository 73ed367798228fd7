"""save_plain: networks with one width in all blocks load by timm and transformers alone, with equal logits."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torch_pruning as tp
from tests.fresh import python
from tests.small_decoders import decoder, ids

import infoprune as ip
from infoprune.artifact import plain
from infoprune.artifact.probe import Answer
from infoprune.errors import NotPlain

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # the packages warn about themselves
L2 = tp.importance.MagnitudeImportance(p=2)
MLPS = {"*": 1.0, "*blocks.*.mlp.fc1*": 0.1}  # floors: nothing but hidden widths leaves
HIDDEN = {"tied": ["*blocks.*.mlp.fc1*"], "floor": MLPS, "budgets": [ip.budgets.macs(keep=0.8)]}
TIMM = {
    "vit_tiny_patch16_224": {"img_size": 32}, "deit_tiny_distilled_patch16_224": {"img_size": 32},
    "deit3_small_patch16_224": {"img_size": 32}, "cait_xxs24_224": {"img_size": 32}, "convit_tiny": {},
    "xcit_nano_12_p16_224": {}, "swin_tiny_patch4_window7_224": {}, "eva02_tiny_patch14_224": {"img_size": 28},
}  # fmt: skip
DECODERS = ("Llama", "Qwen2", "Qwen3", "Mistral", "Gemma", "Mixtral", "GPT2", "OPT", "Phi", "GPTNeoX")
KEPT = {"GPT2": "*.c_fc", "OPT": "*.fc1", "Phi": "*.fc1", "GPTNeoX": "*.dense_h_to_4h"}  # their heads have no words


def elsewhere(saved, tmp_path):
    """What the directories' networks say in a process that can't import infoprune."""
    script, told = Path(__file__).parent / "without_infoprune.py", []
    for name, (library, x) in saved.items():
        torch.save(x, tmp_path / f"{name}.x.pt")
        told += [str(tmp_path / name), library]
    environment = {"HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    done = python("-c", script.read_text(), *told, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    return {name: torch.load(tmp_path / f"{name}.said.pt", weights_only=True) for name in saved}


def agrees(said, model, x):
    with torch.no_grad():
        expected = model.eval()(x)
    expected = expected if isinstance(expected, torch.Tensor) else expected.logits
    assert said["params"] == sum(p.numel() for p in model.parameters())
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(said["said"], expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def pruned_timm(name, **settings):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5, **settings).eval()
    x = torch.rand(2, 3, *[settings.get("img_size", 224)] * 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 50)
    plan = ip.plan(model, x, L2, **HIDDEN)
    assert len(plan.widths) > 3
    return ip.prune_(model, x, plan), plan, x


def pruned_decoder(name):
    """Half of the hidden widths, of the heads where the config says their dimensions, and of the stream there."""
    model, heads = decoder(name), "*.self_attn.q_proj"
    rates = {KEPT[name]: 0.5} if name in KEPT else {"*.gate_proj": 0.5, heads: 0.5} if name == "Gemma" else 0.5
    plan = ip.plan(model, ids(), L2, rates=rates, round_to=4)
    return ip.prune_(model, ids(), plan), plan


def without_layer(model, number):
    from infoprune.depth.units import removals

    gone = tuple(edit for edit in removals(model, ids()) if f".{number}." in edit.site.name)
    return ip.Plan(gone, inputs=ip.plan(model, ids(), L2, rates=0.1).inputs)


def test_a_vit_and_a_llama_load_where_infoprune_is_not(tmp_path):
    vit, vit_plan, x = pruned_timm("vit_tiny_patch16_224", img_size=32)
    llama = decoder("Llama")
    llama_plan = ip.plan(llama, ids(), L2, budgets=[ip.budgets.params(keep=0.7)], tied=True, round_to=4)
    ip.prune_(llama, ids(), llama_plan)
    ip.save_plain(tmp_path / "vit", vit, vit_plan)
    ip.save_plain(tmp_path / "llama", llama, llama_plan, max_shard_size="20KB")
    assert len(list((tmp_path / "llama").glob("*.safetensors"))) > 1
    said = elsewhere({"vit": ("timm", x), "llama": ("transformers", ids())}, tmp_path)
    agrees(said["vit"], vit, x)
    agrees(said["llama"], llama, ids())
    told = json.loads((tmp_path / "llama" / "config.json").read_text())
    assert told["model_type"] == "llama"
    assert told["intermediate_size"] == llama.model.layers[0].mlp.down_proj.weight.shape[1] < 48
    assert not {"infoprune", "auto_map"} & told.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", TIMM)
def test_eight_families_of_timm_load_where_infoprune_is_not(name, tmp_path):
    model, plan, x = pruned_timm(name, **TIMM[name])
    ip.save_plain(tmp_path / name, model, plan)
    agrees(elsewhere({name: ("timm", x)}, tmp_path)[name], model, x)


@pytest.mark.slow
def test_ten_decoders_load_where_infoprune_is_not(tmp_path):
    made = {name: pruned_decoder(name) for name in DECODERS}
    for name, (model, plan) in made.items():
        assert len(plan.widths) >= (3 if name in KEPT else 6)
        ip.save_plain(tmp_path / name, model, plan)
    said = elsewhere({name: ("transformers", ids()) for name in made}, tmp_path)
    for name, (model, _) in made.items():
        agrees(said[name], model, ids())


def test_a_layer_that_left_is_left_out_and_generate_goes_on(tmp_path):
    model = decoder("Llama")
    plan = without_layer(model, 1)
    pruned = ip.prune_(model, ids(), plan)
    ip.save_plain(tmp_path / "plain", pruned, plan)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "plain")
    assert again.config.num_hidden_layers == len(again.model.layers) == 2
    torch.testing.assert_close(again(ids()).logits, pruned(ids()).logits)
    options = {"do_sample": False, "min_new_tokens": 6, "max_new_tokens": 6, "pad_token_id": 0}
    assert torch.equal(again.generate(ids(), **options), pruned.generate(ids(), **options))


def test_a_block_of_a_vit_that_left_is_left_out(tmp_path):
    from infoprune.depth.units import removals

    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=32).eval()
    x = torch.rand(2, 3, 32, 32)
    gone = tuple(edit for edit in removals(model, x) if edit.site.name.startswith("blocks.4."))
    plan = ip.Plan(gone, inputs=ip.plan(model, x, L2, rates=0.1).inputs)
    pruned = ip.prune_(model, x, plan)
    ip.save_plain(tmp_path / "plain", pruned, plan)
    again = timm.create_model(f"local-dir:{tmp_path / 'plain'}", pretrained=True).eval()
    assert len(again.blocks) == 11
    torch.testing.assert_close(again(x), pruned(x))


def test_widths_that_differ_are_refused_by_name_and_nothing_is_written(tmp_path):
    model = decoder("Llama")
    plan = ip.plan(model, ids(), L2, rates={"model.layers.1.mlp.gate_proj": 0.5})
    pruned = ip.prune_(model, ids(), plan)
    with pytest.raises(NotPlain, match=r"intermediate_size is 48 at model\.layers\.0.* and 24 at model\.layers\.1"):
        ip.save_plain(tmp_path / "plain", pruned, plan)
    assert not (tmp_path / "plain").exists()


def test_what_cannot_be_compared_is_not_written(tmp_path):
    pruned, plan = pruned_decoder("Llama")
    with pytest.raises(NotPlain, match="outputs can't be compared"):
        ip.save_plain(tmp_path / "plain", pruned, replace(plan, inputs=()))
    assert not (tmp_path / "plain").exists()


def test_an_answer_of_nan_is_no_agreement(tmp_path, monkeypatch):
    pruned, plan = pruned_decoder("Llama")
    said = iter([Answer("ours", (0.0, float("nan")), 1.0), Answer("theirs", (0.0, 1.0), 1.0)])
    monkeypatch.setattr(plain, "ask", lambda *_: next(said))
    with pytest.raises(NotPlain, match="gives other outputs"):
        ip.save_plain(tmp_path / "plain", pruned, plan)


def test_widths_that_differ_are_recorded_and_what_loaders_do_with_that_is_known(tmp_path):
    """The config reads the record. Its class builds nothing from it in the releases that are there."""
    model = decoder("Llama")
    plan = ip.plan(model, ids(), L2, rates={"model.layers.1.mlp.gate_proj": 0.5})
    pruned = ip.prune_(model, ids(), plan)
    if not hasattr(transformers.PretrainedConfig, "per_layer_config"):
        with pytest.raises(NotPlain, match="has no record"):
            ip.save_plain(tmp_path / "plain", pruned, plan, per_layer=True)
        return
    ip.save_plain(tmp_path / "plain", pruned, plan, per_layer=True)
    config = transformers.AutoConfig.from_pretrained(tmp_path / "plain")
    assert [layer.intermediate_size for layer in config.per_layer_config] == [48, 24, 48]
    with pytest.raises(Exception, match="per-layer attribute"):
        transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "plain")


def test_what_a_class_says_to_its_numbers_is_told(tmp_path):
    """A Llama's stream is to be divisible by its heads."""
    model = decoder("Llama")
    plan = ip.plan(model, ids(), L2, rates={"model.layers.0.self_attn.o_proj": 0.1})
    assert plan.widths == {"model.layers.0.self_attn.o_proj": 29}
    with pytest.raises(NotPlain, match=r"builds nothing from these numbers .*29.* heads"):
        ip.save_plain(tmp_path / "plain", ip.prune_(model, ids(), plan), plan)


def test_a_number_that_means_more_than_a_width_is_noticed(tmp_path):
    """Gemma multiplies embeddings by the root of its hidden size: fewer channels are another network there."""
    model = decoder("Gemma")
    plan = ip.plan(model, ids(), L2, rates={"model.layers.0.self_attn.o_proj": 0.5})
    with pytest.raises(NotPlain, match="has the same tensors and gives other outputs"):
        ip.save_plain(tmp_path / "plain", ip.prune_(model, ids(), plan), plan)


def test_what_a_library_has_no_words_for_is_refused(tmp_path):
    """timm's ViT has heads as wide as its stream divided by their number, and torchvision's builders take no widths."""
    import torchvision

    vit, x = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=32).eval(), torch.rand(1, 3, 32, 32)
    plan = ip.plan(vit, x, L2, rates={"blocks.*.attn.qkv": 0.5})
    with pytest.raises(
        NotPlain, match=r"blocks\.0\.attn\.qkv\.weight is \(384, 192\) here, and what it builds has \(576"
    ):
        ip.save_plain(tmp_path / "vit", ip.prune_(vit, x, plan), plan)
    resnet, x = torchvision.models.resnet18(num_classes=5).eval(), torch.rand(1, 3, 64, 64)
    plan = ip.plan(resnet, x, L2, rates=0.5)
    with pytest.raises(NotPlain, match="neither timm nor transformers"):
        ip.save_plain(tmp_path / "resnet", ip.prune_(resnet, x, plan), plan)
    assert not list(tmp_path.iterdir())
