"""The regression set of late clicks: built, kept, replayed."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from predictor_tools import Painter, small
from small_coco_lvis import COCO_IDS

from solution import Predictor
from utils import late_states
from utils.late_states import Change, State, build, check, read_states, report, write_states
from utils.models import Model

CLICKS = 2


@pytest.fixture
def split(coco_lvis: Path) -> Path:
    return coco_lvis / "train"


@pytest.fixture
def model() -> Model:
    return Model(small(Painter()), 0.5)


@pytest.fixture
def states(model, split) -> list[State]:
    return list(build(model, split, clicks=CLICKS))


def test_states_are_late_seeded_and_kept(model, split, states, tmp_path):
    assert sorted(state.image_id for state in states) == list(COCO_IDS)
    assert all(len(state.clicks) == CLICKS and state.mask.any() for state in states)
    write_states(tmp_path / "states.npz", states)
    again, other = read_states(tmp_path / "states.npz"), list(build(model, split, count=2, clicks=CLICKS))
    for found in (again, other):
        for one, state in zip(found, states, strict=len(found) == len(states)):
            assert tuple(map(tuple, one.clicks)) == tuple(state.clicks) and one.number == state.number
            assert np.array_equal(one.probability, state.probability)


def test_the_next_click_goes_on_from_the_state(split, states):
    seen = Painter()
    changes = list(check(Model(small(seen), 0.5), states, split))
    assert len(changes) == len(states) == len(seen.seen)  # one pass each: the clicks so far are not played again
    for change, (inputs, points) in zip(changes, seen.seen, strict=True):
        assert inputs[0, 3].max() > 0.9 and (points[0, :, 2] >= 0).sum() == CLICKS + 1
        assert change.after > change.before  # the painter makes no click in vain


def test_hurtful_clicks_are_counted_and_the_worst_ones_named():
    state = State("12", 3, [], np.zeros((2, 2), np.uint8), 0.5)
    changes = [Change(state._replace(image_id=str(n)), 0.9, 0.9 + gain) for n, gain in
               enumerate([0.01] * 17 + [-0.04, -0.06, -0.3])]
    lines = report(changes).splitlines()
    assert "0.9000 -> 0.8885 (-0.0115 +- " in lines[0] and "2 of 20 clicks (10.0%)" in lines[1]
    assert [line.split()[0] for line in lines[3:6]] == ["19", "18", "17"] and len(lines) == 3 + 10


def test_the_command_builds_and_checks(split, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(late_states, "open_model", lambda name: Model(Predictor(Painter()), 0.5))
    path = tmp_path / "states.npz"
    assert late_states.main(["build", "a.pth", str(path), "--split", str(split), "--clicks", "2"]) == 0
    assert late_states.main(["check", "b.pth", str(path), "--split", str(split)]) == 0
    out = capsys.readouterr().out
    assert "3 states after 2 clicks" in out and "hurtful     0 of 3" in out
    (split / "masks" / f"{COCO_IDS[0]}.pickle").unlink()
    assert late_states.main(["check", "b.pth", str(path), "--split", str(split)]) == 1
    path.write_bytes(path.read_bytes()[:-40])
    assert late_states.main(["check", "b.pth", str(path)]) == 1
    assert late_states.main(["build", "a.pth", str(path), "--count", "0"]) == 2
    error = capsys.readouterr().err
    assert COCO_IDS[0] in error and "build it again" in error and error.count("utils.late_states: ") == 3
