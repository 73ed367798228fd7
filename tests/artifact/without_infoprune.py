"""Load networks where infoprune can't be imported, and write what they say: DIRECTORY LIBRARY ..."""

import sys
from importlib.abc import MetaPathFinder


class Refused(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "infoprune":
            raise ModuleNotFoundError("this environment has no infoprune", name="infoprune")


sys.meta_path.insert(0, Refused())

import torch  # noqa: E402


def loaded(directory, library):
    if library == "timm":
        import timm

        return timm.create_model(f"local-dir:{directory}", pretrained=True)
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(directory)
    assert not type(model.config).__module__.startswith("infoprune")
    return model


def answers(model, x):
    with torch.no_grad():
        said = model.eval()(x)
        said = said if isinstance(said, torch.Tensor) else said.logits
        return {"said": said, "params": sum(p.numel() for p in model.parameters())}


for directory, library in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    x = torch.load(f"{directory}.x.pt", weights_only=True)
    torch.save(answers(loaded(directory, library), x), f"{directory}.said.pt")
assert not any(name.split(".")[0] == "infoprune" for name in sys.modules)
