"""Learning what was lost without losing what is right: rates that are tried first, norms that keep their statistics."""

from dataclasses import replace

import pytest
import torch
from tests.finetune.test_resume import examples, net, run, same

from infoprune.finetune import Surroundings, Training, train
from infoprune.finetune.domain import Domain
from infoprune.finetune.probing import FACTORS

SHORT = Training(epochs=6, lr=0.05, distill=0.5, reestimate=0, save_seconds=0.0, norms="moving")


def statistics(model):
    return {name: t.clone() for name, t in model.state_dict().items() if "running" in name}


def trained(model, training, teacher=None):
    said = []
    train(
        model, examples(), training, batch=16, seed=5, classes=4, teacher=teacher, around=Surroundings(say=said.append)
    )
    return model, said


def at_home():
    """A network that was trained on these pictures."""
    return trained(net(1), replace(SHORT, epochs=40, distill=0.0))[0]


def elsewhere():
    """One whose norms know pictures of another kind."""
    model = at_home()
    for norm in (model[1], model[5]):
        norm.running_mean += torch.linspace(-4, 4, 8)
        norm.running_var *= 20
    return model


def test_frozen_norms_keep_their_statistics_and_learn_their_weights():
    model = at_home()
    before, weights = statistics(model), model[1].weight.clone()
    trained(model, replace(SHORT, norms="frozen", reestimate=32))
    after = statistics(model)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert not torch.equal(model[1].weight, weights)


@pytest.mark.parametrize(("teacher", "frozen"), [(at_home, False), (elsewhere, True)])
def test_norms_freeze_where_a_renewed_copy_of_the_teacher_disagrees_with_it(teacher, frozen):
    model = net()
    before = statistics(model)
    _, said = trained(model, replace(SHORT, norms="auto", reestimate=32), teacher())
    after = statistics(model)
    assert all(torch.equal(after[name], before[name]) for name in before) is frozen
    assert any(message.startswith("norms keep" if frozen else "norms move") for message in said)


def test_without_a_trained_teacher_nobody_knows_and_norms_move():
    assert Domain().alike
    model = trained(net(), replace(SHORT, norms="auto"), net(1))[0]
    assert not same(model, trained(net(), replace(SHORT, norms="frozen"), net(1))[0])


def test_what_was_found_of_the_norms_is_not_asked_again(tmp_path):
    def part(teacher, stop):
        model = net()
        around = Surroundings(checkpoints=tmp_path, stop=stop)
        training = replace(SHORT, norms="auto")
        train(model, examples(), training, batch=16, seed=5, classes=4, teacher=teacher, around=around)
        return model

    part(elsewhere(), lambda: True)
    assert same(part(elsewhere(), lambda: False), trained(net(), replace(SHORT, norms="frozen"), elsewhere())[0])


def test_of_rates_that_are_tried_the_best_trains():
    """At a hopeless rate the smallest is best, and the training is the one that names it."""
    wild = replace(SHORT, lr=30.0, probe=0.34, epochs=6)
    model, said = trained(net(), wild, at_home())
    [told] = [message for message in said if message.startswith("trying rates")]
    assert told.endswith("3 it is")
    assert same(model, trained(net(), replace(SHORT, lr=30.0 * FACTORS[2]), at_home())[0])


def test_a_training_too_short_to_try_rates_takes_the_one_it_was_given():
    assert same(trained(net(), replace(SHORT, probe=0.01))[0], trained(net(), SHORT)[0])


@pytest.mark.parametrize("at", [1, 20])
def test_a_training_that_tries_rates_goes_on_bitwise(tmp_path, at):
    """Stopped in the middle of the trials, and in the middle of the training."""
    training = replace(SHORT, probe=0.34, norms="auto", ema=0.9)
    whole, asked = run(training)[0], []

    def stop():
        asked.append(1)
        return len(asked) == at

    assert run(training, tmp_path, stop)[1].ended == "stopped"
    assert same(run(training, tmp_path)[0], whole)
