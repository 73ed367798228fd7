"""save(from_pruner=): what stock pruners of torch-pruning made comes back without pickle, bit for bit."""

import copy
import json

import pytest
import timm
import torch
import torch_pruning as tp
import torchvision
from tests.small_nets import Grouped, Residual, image, make
from torch import nn

import infoprune as ip
from infoprune.artifact import read_config
from infoprune.artifact.layout import content_digest
from infoprune.surgery.widths import Axis, KeepWidths, Number

SMALL = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
pytestmark = pytest.mark.filterwarnings("ignore:Unwrapped parameters", "ignore:.*non-full backward hook")


def network(name="test_resnet", **more):
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=10, **more)


def stock(model, x=SMALL, kind=tp.pruner.BasePruner, importance=None, **options):
    importance = importance or tp.importance.MagnitudeImportance(p=2)
    head = model.get_classifier() if hasattr(model, "get_classifier") else list(model.modules())[-1]
    options = {"pruning_ratio": 0.5, "ignored_layers": [head], **options}
    return kind(model, (x,), importance, in_channel_groups={}, out_channel_groups={}, **options)


def assert_comes_back(directory, model, pruner, x=SMALL, **factory):
    """The artefact gives the same logits in every bit, and the cut is not an empty one."""
    ip.save(directory, model, from_pruner=pruner)
    with torch.no_grad():
        assert torch.equal(ip.load(directory, **factory)(x), model.eval()(x))
    assert read_config(directory).plans[0].edits


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_resnet", {}),
        ("test_resnet", {"global_pruning": True, "pruning_ratio": 0.3}),
        ("test_resnet", {"global_pruning": True, "isomorphic": True}),
        ("test_resnet", {"round_to": 16, "pruning_ratio": 0.4}),
        ("test_resnet", {"kind": tp.pruner.GroupNormPruner, "importance": tp.importance.GroupMagnitudeImportance()}),
        ("test_efficientnet", {"importance": ip.importance.CapacityIndependenceImportance(sigma=0.8)}),
        ("test_byobnet", {}),
        ("test_convnext", {}),
    ],
)
def test_a_step_of_a_stock_pruner_is_saved(tmp_path, name, options):
    model = network(name)
    pruner = stock(model, **options)
    pruner.step()
    assert_comes_back(tmp_path / "a", model, pruner)
    assert read_config(tmp_path / "a").architecture.name == name


def test_iterative_pruning_with_training_between_is_saved(tmp_path):
    model = network()
    pruner = stock(model, iterative_steps=3)
    for _ in range(3):
        pruner.step()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        nn.functional.cross_entropy(model(SMALL.repeat(2, 1, 1, 1)), torch.tensor([1, 2])).backward()
        optimizer.step()
    assert_comes_back(tmp_path / "a", model, pruner)
    assert read_config(tmp_path / "a").plans[0].widths["conv1.0"] == 8


def test_interactive_pruning_is_saved(tmp_path):
    model = network()
    pruner = stock(model)
    for group in pruner.step(interactive=True):
        if not group[0].dep.target.name.startswith("layer4"):
            group.prune()
    assert_comes_back(tmp_path / "a", model, pruner)
    widths = read_config(tmp_path / "a").plans[0].widths
    assert "layer3.0.bn1" in widths
    assert "layer4.0.bn1" not in widths


@pytest.mark.parametrize("whole_heads", [False, True])
def test_a_transformer_whose_heads_the_script_sets_is_saved(tmp_path, whole_heads):
    model = network("test_vit", img_size=64, depth=2)
    heads = {m.qkv: m.num_heads for m in model.modules() if isinstance(m, timm.models.vision_transformer.Attention)}
    how = {"prune_num_heads": True, "prune_head_dims": False, "head_pruning_ratio": 0.5} if whole_heads else {}
    pruner = stock(model, num_heads=heads, **how)
    pruner.step()
    for m in (m for m in model.modules() if isinstance(m, timm.models.vision_transformer.Attention)):
        m.num_heads = pruner.num_heads[m.qkv]
        m.attn_dim = m.qkv.out_features // 3
        m.head_dim = m.attn_dim // m.num_heads
    with pytest.raises(ip.errors.StalePlan, match="pass factory="):  # timm's name says 12 blocks
        ip.save(tmp_path / "a", model, from_pruner=pruner)
    build = lambda: network("test_vit", img_size=64, depth=2)  # noqa: E731
    ip.save(tmp_path / "a", model, from_pruner=pruner, factory=build)
    loaded = ip.load(tmp_path / "a", factory=build)
    with torch.no_grad():
        assert torch.equal(loaded(SMALL), model.eval()(SMALL))
    assert loaded.blocks[0].attn.num_heads == (1 if whole_heads else 2)
    assert loaded.pos_embed.shape == (1, 17, 32)


def test_of_several_dense_networks_that_fit_the_smallest_is_meant(tmp_path):
    model = network("test_vit", img_size=64)
    pruner = stock(model, ignored_layers=[m for m in model.blocks.modules() if hasattr(m, "qkv")] + [model.head])
    pruner.step()
    ip.save(tmp_path / "a", model, from_pruner=pruner)
    assert dict(read_config(tmp_path / "a").architecture.arguments)["img_size"] == (64, 64)


def test_torchvisions_models_are_found_by_name(tmp_path):
    model = torchvision.models.mobilenet_v2(num_classes=4)
    pruner = stock(model)
    pruner.step()
    assert_comes_back(tmp_path / "a", model, pruner)


@pytest.mark.parametrize("net", [Residual, Grouped])
def test_an_own_class_needs_its_factory_on_loading_only(tmp_path, net):
    model = make(net)
    pruner = stock(model, image())
    pruner.step()
    assert_comes_back(tmp_path / "a", model, pruner, image(), factory=net)
    without = read_config(tmp_path / "a")
    ip.save(tmp_path / "a", model, from_pruner=pruner, factory=net)
    assert read_config(tmp_path / "a").plans == without.plans


class Recurrent(nn.Module):
    """A layer with several gates a channel, and one that knows its widths by name."""

    def __init__(self):
        super().__init__()
        self.first, self.mixed, self.head = nn.Linear(6, 8), nn.PReLU(8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.mixed(self.first(x)))


def test_vectors_and_activations_with_weights_are_saved(tmp_path):
    model, x = Recurrent(), torch.randn(2, 6)
    pruner = stock(model, x)
    pruner.step()
    assert_comes_back(tmp_path / "a", model, pruner, x, factory=Recurrent)


class Scaled(Residual):
    def build(self):
        super().build()
        self.gain = nn.Parameter(torch.ones(1, 8, 1, 1))

    def middle(self, x):
        return self.gain * super().middle(x)


def test_parameters_that_are_no_layers_need_the_factory(tmp_path):
    model = make(Scaled)
    pruner = stock(model, image())
    pruner.step()
    with pytest.raises(ip.errors.StalePlan, match=r"\(1, 8, 1, 1\) that is no layer's"):
        ip.save(tmp_path / "a", model, from_pruner=pruner)
    ip.save(tmp_path / "a", model, from_pruner=pruner, factory=Scaled)
    with torch.no_grad():
        assert torch.equal(ip.load(tmp_path / "a", factory=Scaled)(image()), model.eval()(image()))


def test_the_averaged_copy_is_saved_through_the_same_pruner(tmp_path):
    model = network()
    pruner = stock(model)
    pruner.step()
    average = torch.optim.swa_utils.AveragedModel(model)
    assert_comes_back(tmp_path / "a", average.module, pruner)


def test_the_probe_asks_what_the_pruner_traced(tmp_path):
    model = network()
    pruner = stock(model)
    pruner.step()
    ip.save(tmp_path / "a", model, from_pruner=pruner)
    assert read_config(tmp_path / "a").plans[0].inputs == (((1, 3, 64, 64), "float32"),)
    for node in pruner.DG.module2node.values():
        node.grad_fn = None
    with pytest.raises(ValueError, match="pass example_inputs"):
        ip.save(tmp_path / "a", model, from_pruner=pruner)
    ip.save(tmp_path / "a", model, from_pruner=pruner, example_inputs=SMALL.repeat(2, 1, 1, 1))
    assert read_config(tmp_path / "a").plans[0].inputs == (((2, 3, 64, 64), "float32"),)


# ---------------------------------------------------------------------------------------------------------- refusals


def test_a_model_that_the_pruner_left_broken_is_told_as_such(tmp_path):
    model = network("test_vit", img_size=64)
    pruner = stock(model, num_heads={m.qkv: m.num_heads for m in model.modules() if hasattr(m, "qkv")})
    pruner.step()
    with pytest.raises(ValueError, match=r"does not run on .*\(1, 3, 64, 64\).*RuntimeError.*repair"):
        ip.save(tmp_path / "a", model, from_pruner=pruner)


def test_the_layer_that_does_not_follow_is_named_and_nothing_is_written(tmp_path):
    model = network()
    pruner = stock(model)
    pruner.step()
    model.layer1[0].conv2 = nn.Conv2d(32, 999, 3, bias=False)
    with pytest.raises(ip.errors.StalePlan, match=r"layer1.0.conv2.\w+ is \(999, 32, .*and was"):
        ip.save(tmp_path / "a", model, from_pruner=pruner)
    assert not list(tmp_path.iterdir())


def test_another_factory_is_refused_by_the_widths_that_the_pruner_met(tmp_path):
    model = make(Residual)
    pruner = stock(model, image())
    pruner.step()

    def wider():
        net = Residual()
        net.one, net.two = nn.Conv2d(8, 20, 3, padding=1), nn.Conv2d(20, 8, 3, padding=1)
        return net

    with pytest.raises(ip.errors.StalePlan, match=r"two had \(8, 12\) channels.*has \(8, 20\)"):
        ip.save(tmp_path / "a", model, from_pruner=pruner, factory=wider)
    with pytest.raises(ValueError, match="factory\\(\\) fails"):
        ip.save(tmp_path / "a", model, from_pruner=pruner, factory=lambda: 1 / 0)


def test_exactly_one_story_is_told(tmp_path):
    model = network()
    with pytest.raises(ValueError, match="neither of plan and from_pruner"):
        ip.save(tmp_path / "a", model)
    with pytest.raises(ValueError, match="both of plan and from_pruner"):
        ip.save(tmp_path / "a", model, ip.Plan(), from_pruner=stock(model))
    with pytest.raises(TypeError, match="from_pruner is a ResNet"):
        ip.save(tmp_path / "a", model, from_pruner=model)


# ---------------------------------------------------------------------------------------------------------- the edit

EDIT = KeepWidths("a", (Axis("a.weight", 0, 8, 4),), (Number("", "heads", None, 4, 2),))


def test_widths_survive_json():
    plan = ip.Plan((EDIT,), {"pruner": "x"})
    assert ip.Plan.from_json(plan.to_json()) == plan
    assert plan.widths == {"a": 4}


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("axes", 0, 3), 8),
        (("axes", 0, 3), 0),
        (("axes", 0, 2), 2**63),
        (("axes", 0, 0), "../a"),
        (("axes", 0, 1), -1),
        (("axes", 0), [1, 2]),
        (("numbers", 0, 1), "__class__"),
        (("numbers", 0, 4), 9),
        (("numbers", 0, 0), "os.system()"),
        (("layer",), ""),
    ],
)
def test_widths_that_lie_are_refused(place, value):
    data = json.loads(ip.Plan((EDIT,)).to_json())
    *path, last = place
    inner = data["edits"][0]
    for step in path:
        inner = inner[step]
    inner[last] = value
    with pytest.raises(ip.errors.BadArtifact):
        ip.Plan.from_json(json.dumps(data))


def test_plans_of_widths_are_not_mixed_with_others():
    other = KeepWidths("a", (Axis("a.weight", 0, 8, 2),))
    assert (ip.Plan((EDIT,)) + ip.Plan((EDIT,))).edits == (EDIT,)
    with pytest.raises(ip.errors.StalePlan):
        ip.Plan((EDIT,)) + ip.Plan((other,))
    model = nn.Module()
    model.a, model.heads = nn.Linear(3, 8), 4
    with pytest.raises(ValueError, match="run that one again"):
        ip.Plan((EDIT,)).pruning_ratios(model)


def test_a_number_changed_in_the_file_is_noticed(tmp_path):
    """A digest made right again does not help a file whose weights do not fit."""
    model = network()
    pruner = stock(model)
    pruner.step()
    path = ip.save(tmp_path / "a", model, from_pruner=pruner) / "config.json"
    data = json.loads(path.read_text())
    changed = copy.deepcopy(data)
    changed["infoprune"]["plans"][0]["edits"][0]["axes"][0][3] -= 1
    changed["digest"] = content_digest(changed["infoprune"])
    path.write_text(json.dumps(changed))
    with pytest.raises(ip.errors.BadArtifact, match="not one artefact"):
        ip.load(tmp_path / "a")
