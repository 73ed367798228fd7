"""A sweep at a split: the same numbers as the library's functions give one by one, kept point by point."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tests.recipe.test_rehearsal import SCENES, told

from infoprune import split as sp
from infoprune.errors import BadRecipe, Interrupted
from infoprune.recipe import recipe_of, run, running
from infoprune.recipe.judging import metrics_of, three_maps
from infoprune.recipe.networks import build_network
from infoprune.recipe.tasks import task_of
from infoprune.report import swept as drawn
from infoprune.wire import HEVC

SPLIT = {"at": "backbone.neck", "share": 0.5}
SWEEP = {"shares": [0.75, 0.5], "bases": [0.5], "qps": [20, 40], "encoders": ["hevc"], "pictures": 3}


def recipe(tmp_path, **sections):
    scenes = {"name": "scenes", "size": 32, "scenes": 4, "held_out": 4}
    given = told(tmp_path, **{**SCENES, "data": scenes, "layer_importance": None, "split": SPLIT, "sweep": SWEEP})
    given["model"] = {"name": "small_three_task", "train_epochs": 0}
    return recipe_of({**given, **sections})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    made = recipe(folder)
    return made, folder / "out", run(made, folder / "out")


def test_every_point_is_what_single_calls_give(finished):
    made, out, report = finished
    task = task_of(made)
    model = build_network("small_three_task", num_classes=task.classes)
    model.load_state_dict(load_file(out / "dense.safetensors"))
    model.eval()
    pictures, targets = task.held_out.batch(0, range(3))
    halves, metrics = sp.SplitModel(model, at="backbone.neck"), metrics_of(task.classes)
    with torch.no_grad():
        features = [halves.edge(pictures)]
    seen = sp.observe_tasks(
        model,
        [task.train.batch(0, range(4))[0]],
        layers=["backbone.neck"],
        view=sp.PrincipalAxes(2),
        outputs=three_maps,
        progress=False,
    )
    order = sp.rank(seen, by=sp.l2)
    hard = sp.accuracy_against_share(halves, features, [targets], metrics, order, shares=(1.0, 0.75, 0.5))
    soft = sp.accuracy_against_bytes(halves, features, [targets], metrics, order, {20: HEVC(20), 40: HEVC(40)})
    found = {(one.ranking, one.share, one.qp): one for one in report.sweep.sent}
    for point in (*hard, *soft):
        name = "everything" if point.share == 1 else "l2"
        one = found[name, point.share, point.qp]
        assert one.scores == pytest.approx(point.scores, rel=1e-4)
        assert one.bytes == pytest.approx(point.bytes_per_image, rel=0.01)
    # 4 rankings by information (three tasks and all of them), three by norms, one at random; five ways each
    assert len(report.sweep.sent) == 1 + 8 * 4


def test_the_page_draws_the_three_figures(finished):
    _, out, report = finished
    page = (out / "report.html").read_text()
    for title in ("segmentation by the share of features", "disparity by bytes, 50% as base", "hard 50%", "soft 50%"):
        assert title in page
    sweep = report.sweep
    whole = sweep.sent[0].scores
    losses = {
        name: {
            task: sp.task_distortion(
                whole[task],
                next(
                    one.scores[task]
                    for one in sweep.sent
                    if (one.ranking, one.share, one.qp) == (name, 0.5, None) and one.task in ("", task)
                ),
            )
            for task in whole
        }
        for name in ("information", "l2")
    }
    share = sp.winner_map(losses["information"], losses["l2"]).share
    assert drawn._maps(sweep, [0.5])["hard 50%"].share == pytest.approx(share)
    assert f"beats l2 on {share:.0%}" in page


def test_a_sweep_that_is_stopped_goes_on_with_the_point_after(finished, tmp_path, monkeypatch):
    made, _, report = finished
    swept, seen = running.swept, []

    def counted(*given):
        for one in swept(*given):
            seen.append(one)
            if len(seen) == 5:
                raise Interrupted("by the test")
            yield one

    monkeypatch.setattr(running, "swept", counted)
    with pytest.raises(Interrupted):
        run(made, tmp_path / "out")
    assert len(json.loads((tmp_path / "out" / "sweep.json").read_text())["sent"]) == 4
    monkeypatch.setattr(running, "swept", lambda *given: (seen.append(one) or one for one in swept(*given)))
    again = run(made, tmp_path / "out")
    assert again.sweep == report.sweep
    assert len(seen) == 5 + len(report.sweep.sent) - 4


@pytest.mark.parametrize(
    ("sweep", "told_"),
    [
        ({"qps": [60]}, r"sweep\.qps is 60"),
        ({"shares": [0]}, r"sweep\.shares is 0"),
        ({"encoders": ["zlib"]}, r"sweep\.encoders is 'zlib'; give codecs with a quality"),
        ({"encoders": ["hevcc"]}, "did you mean 'hevc'"),
        ({"pictures": 0}, r"sweep\.pictures is 0"),
        ({"bases": []}, r"sweep\.bases is \[\]"),
    ],
)
def test_what_cannot_be_swept_is_told_when_read(tmp_path, sweep, told_):
    with pytest.raises(BadRecipe, match=told_):
        recipe(tmp_path, sweep=sweep)


def test_a_sweep_needs_a_split(tmp_path):
    with pytest.raises(BadRecipe, match="add a section split:"):
        recipe_of(told(tmp_path, sweep=SWEEP))
