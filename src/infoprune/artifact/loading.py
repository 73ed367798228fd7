"""load(): check everything the files say before anything is built from them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from infoprune.artifact.architecture import check_architecture
from infoprune.artifact.config import Config, read_config, read_members
from infoprune.artifact.layout import WEIGHTS
from infoprune.artifact.probe import Answer, InputSpec, ask, check_answer, shown
from infoprune.artifact.provenance import tied_names
from infoprune.artifact.shared import read_member
from infoprune.errors import BadArtifact, StalePlan, first_line
from infoprune.family import known_member
from infoprune.files import digest_of
from infoprune.require import require_model, require_path
from infoprune.surgery.plan import carry_out, check_all


def load(
    directory: str | os.PathLike[str],
    *,
    factory: Callable[[], nn.Module] | None = None,
    member: str | float | None = None,
) -> nn.Module:
    """The model that `save` wrote, in evaluation mode, giving the outputs it gave then.

    `member` says which network of a family, by its name; 0.5 means "0.5". `factory` builds the dense model where no
    registry can (and is used instead of one if given). Nothing is unpickled, imported or downloaded on the word of the
    files; BadArtifact says what is wrong with them.
    """
    require_path(directory, "directory", "of the artefact")
    if factory is not None and not callable(factory):
        raise TypeError(f"factory is a {type(factory).__name__}; give the function or class that builds the network")
    place = Path(directory)
    config = read_config(place, member=member)
    weights = place / WEIGHTS
    if not weights.is_file():
        raise BadArtifact(f"{place} holds no {WEIGHTS}; pass a directory that infoprune.save wrote")
    model = _rebuilt(config, factory, device="meta")
    state = read_weights(weights, config, model) if member is None else _of_member(place, member, model)
    _fill(model, state)
    if _has_meta(model):
        model = _rebuilt(config, factory, device="cpu")
        _fill(model, state)
    model.eval()
    if config.answer is not None:
        _require_answer(model, config.plans[0].inputs, config.answer)
    return model


def _of_member(place: Path, member: str | float, model: nn.Module) -> dict[str, Tensor]:
    members = read_members(place)
    return read_member(place / WEIGHTS, members, known_member(member, list(members), str(place)), model)


# ------------------------------------------------------------------------------------------------------- rebuilding


def _rebuilt(config: Config, factory: Callable[[], nn.Module] | None, *, device: str) -> nn.Module:
    """The dense architecture with the plans applied; on "meta" it takes no memory."""
    if factory is None:
        check_architecture(config.architecture)
    random = torch.get_rng_state()
    try:
        with torch.device(device):
            model = config.architecture.build(factory)
    except BadArtifact:
        raise
    except Exception as error:
        if device == "meta":
            return _rebuilt(config, factory, device="cpu")
        raise BadArtifact(
            f"building {config.architecture.name} failed ({type(error).__name__}: {error}); pass factory="
        ) from error
    finally:
        torch.set_rng_state(random)
    require_model(model, "what factory() returns" if factory is not None else "what the registry builds")
    return pruned(model, config)


def pruned(model: nn.Module, config: Config) -> nn.Module:
    """The dense `model` with the plans of `config` carried out, in place."""
    for plan in config.plans:
        try:
            check_all(model, plan)
        except StalePlan as error:
            raise BadArtifact(f"the plan does not fit {config.architecture.name}: {error}") from error
        carry_out(model, plan.edits)
    return model


def read_weights(path: Path, config: Config, model: nn.Module) -> dict[str, Tensor]:
    """The tensors, once their names and shapes are known to be the model's and the file to be the one saved."""
    expected = {k: tuple(v.shape) for k, v in model.state_dict().items() if isinstance(v, Tensor)}
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise BadArtifact(f"{path} is not a safetensors file ({error}); save the model again") from error
    if shapes != expected:
        odd = sorted(name for name in shapes.keys() | expected.keys() if shapes.get(name) != expected.get(name))[0]
        raise BadArtifact(
            f"{path} holds {odd} as {shapes.get(odd)}, not {expected.get(odd)}; the two are not one artefact"
        )
    if digest_of(path) != config.sha256:
        raise BadArtifact(f"{path} was changed after it was written (its digest does not match); save the model again")
    return {name: tensor.clone() for name, tensor in load_file(path).items()}  # aligned, as fresh tensors are


def _fill(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Assign the tensors, and tie again what shares one parameter."""
    tied = tied_names(model)
    nn.Module.load_state_dict(model, state, strict=True, assign=True)  # a model's own may take other arguments
    for first, (_, *others) in tied.items():
        for other in others:
            owner, _, leaf = other.rpartition(".")
            setattr(model.get_submodule(owner), leaf, model.get_parameter(first))


def _asked(model: nn.Module, inputs: InputSpec) -> Answer:
    try:
        return ask(model, inputs)
    except BadArtifact:
        raise
    except Exception as error:
        raise BadArtifact(
            f"the loaded model does not take the probe's inputs {shown(inputs)} "
            f"({type(error).__name__}: {first_line(error)})"
        ) from error


def _require_answer(model: nn.Module, inputs: InputSpec, expected: Answer) -> None:
    """The outputs of then, or what may be why not."""
    try:
        check_answer(_asked(model, inputs), expected)
    except BadArtifact as error:
        unsaved = [n for n, b in model.named_buffers() if b.is_floating_point() and n not in model.state_dict()]
        if not unsaved:
            raise
        raise BadArtifact(
            f"{error}; {unsaved[0]} is a buffer that is not saved, so that building the model made another one; if it "
            "is drawn at random, register it with persistent=True and save the model again"
        ) from error


def _has_meta(model: nn.Module) -> bool:
    """Buffers that are not saved, and tensors that modules keep for themselves, must be computed for real."""
    held = [t for m in model.modules() for t in vars(m).values() if isinstance(t, Tensor)]
    return any(t.is_meta for t in [*model.parameters(), *model.buffers(), *held])
