"""The study of proposals: its costs worked out by hand, its protocol on small pictures, and going on after a stop."""
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from benchmark_models import Disks

from utils.assisted import merged
from utils.benchmark import assisted_study
from utils.benchmark.__main__ import main
from utils.benchmark.assisted_report import cost_with_proposal, costs, figures_of
from utils.benchmark.assisted_study import Outcome, Plan, annotate
from utils.benchmark.concepts import trainings
from utils.models import Model

SHAPE = (48, 64)


@pytest.fixture
def data(tmp_path) -> Path:
    """Twelve pictures with one light ball each, and an empty one."""
    folder = tmp_path / "balls"
    for part in ("imgs", "masks"):
        (folder / part).mkdir(parents=True)
    for i in range(13):
        mask = np.zeros(SHAPE, np.uint8)
        if i < 12:
            cv2.circle(mask, (16 + 3 * i, 24), 8, 255, -1)
        picture = np.where(mask, 210, 90 + i).astype(np.uint8)
        cv2.imwrite(str(folder / "imgs" / f"{i:02d}.png"), np.dstack([picture] * 3))
        cv2.imwrite(str(folder / "masks" / f"{i:02d}.png"), mask)
    return folder


def run(data: Path, out: Path, *arguments: str) -> int:
    return main(["assisted", str(data), "--out", str(out), "--model", "benchmark_models:SmallDisks", "--clicks", "6",
                 "--orders", "2", *arguments])


def light(photo: np.ndarray) -> np.ndarray:
    """A concept model that knows better than to learn."""
    return (photo[..., 0] > 150).astype(np.float32)


# ------------------------------------------------------------------------------- costs


def outcome(name="a", nothing=(0.0, 0.5, 0.92), proposal=(), confidence=0.8, place=0, learnt=5) -> Outcome:
    return Outcome(name, 0, place, list(nothing), learnt, confidence, list(proposal))


@pytest.mark.parametrize(
    ("proposal", "check", "cost"),
    [((), 1, 2), ((0.91,), 1, 1), ((0.8, 0.95), 0.5, 1.5), ((0.4, 0.95), 1, 1 + 1 + 2), ((0.6, 0.7, 0.7), 0, 20)],
)
def test_what_a_picture_costs_with_a_proposal(proposal, check, cost):
    assert cost_with_proposal(outcome(proposal=proposal), check, 0.9, 20) == cost


def test_policies():
    good, bad = {"proposal": (0.93,), "confidence": 0.9}, {"proposal": (0.2, 0.3), "confidence": 0.3}
    outcomes = [outcome(f"{i}", place=i) for i in range(3)]
    outcomes += [outcome(f"{i}", place=i, **(good if i % 2 else bad)) for i in range(3, 23)]
    found = costs(outcomes, 1.0, 0.9, 20)
    assert found.nothing.tolist() == [2] * 23
    assert found.always.tolist() == [2] * 3 + [1 if i % 2 else 4 for i in range(3, 23)]
    assert found.oracle.tolist() == [2] * 3 + [1 if i % 2 else 2 for i in range(3, 23)]
    # once it knows three proposals, the gate hides those of low confidence
    assert found.gated[6:].tolist() == [1 if i % 2 else 2 for i in range(6, 23)]


def test_a_study_is_summarised(tmp_path):
    outcomes = [outcome(f"{i}", place=i, learnt=0) for i in range(5)]
    outcomes += [outcome(f"{i}", place=i, proposal=(0.93,)) for i in range(5, 15)]
    found = figures_of(Plan("", tmp_path, orders=1), outcomes, [0.0, 1.0])
    assert found["break-even check"] == 2 and found["useful after"] == 5
    assert found["stages"]["5"]["proposals"] == 10 and found["stages"]["5"]["saved"][0] == 1
    assert found["checks"]["0"]["saved by always"][0] == pytest.approx(20 / 15)
    assert found["clicks"]["90"]["from the proposal"] == {"NoC": 0.0, "NoF": 0}


def test_when_it_is_trained():
    assert trainings(30) == [5, 8, 12, 18, 27]
    assert trainings(5) == []


# ------------------------------------------------------------------------------- annotating


def test_a_proposal_is_corrected_and_accepted_at_ninety_per_cent():
    truth = np.zeros(SHAPE, np.int8)
    cv2.circle(truth, (30, 24), 8, 1, -1)
    image = np.zeros((*SHAPE, 3), np.uint8)
    perfect = annotate(Model(Disks()), image, truth, 6, truth == 1)
    assert perfect.ious == [1.0] and np.array_equal(perfect.mask, truth == 1)
    for target in (0.5, 0.95):
        ious = annotate(Model(Disks()), image, truth, 6, target=target).ious
        assert ious[0] == 0 and max(ious[:-1]) < target and (ious[-1] >= target or len(ious) == 7)


def test_only_the_change_under_the_click_is_merged():
    mask, answer = np.zeros((9, 20), bool), np.zeros((9, 20), bool)
    mask[2:5, 2:5] = True
    answer[2:5, 10:14] = answer[7:9, 0:3] = True  # a new part, another one far away, and the old one lost
    found = merged(mask, answer, [(3, 11, True)])
    assert found[3, 11] and found[3, 3] and not found[8, 1]
    assert not merged(mask, answer, [(3, 3, False)])[3, 3]
    assert np.array_equal(merged(mask, answer, [(3, 3, True)]), mask)


# ------------------------------------------------------------------------------- the command


def test_the_work_travels_between_processes(tmp_path):
    for work in (assisted_study.FromNothing(Plan("", tmp_path)), assisted_study.FromProposals(Plan("", tmp_path), [])):
        assert type(pickle.loads(pickle.dumps(work))) is type(work)


def test_a_given_model(data, tmp_path, capsys):
    assert run(data, tmp_path / "out", "--concept", f"{__name__}:light", "--merge") == 0
    shown = capsys.readouterr()
    assert "left out, as the concept is not on them: 1 pictures (12" in shown.err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["pictures"] == 12 and summary["stages"]["-1"]["iou"][0] == 1
    assert summary["checks"]["1"]["always"] == 1 < summary["checks"]["1"]["nothing"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Proposals that helped most" in page and page.count("<svg") == 2
    places = [[json.loads(line)["name"] for line in (tmp_path / "out" / f"order_{k}" / "outcomes.jsonl").open()]
              for k in (1, 2)]
    assert places[0] != places[1] and sorted(places[0]) == sorted(places[1])


def test_ready_masks_and_a_stop(data, tmp_path, capsys):
    call = (data, tmp_path / "out", "--concept", str(data / "masks"), "--block", "4")
    assert run(*call) == 0
    first = (tmp_path / "out" / "summary.json").read_bytes()
    log = tmp_path / "out" / "order_2" / "outcomes.jsonl"
    whole = log.read_bytes()
    log.write_bytes(whole[: len(whole) // 2])  # as if it had been killed
    assert run(*call) == 0
    assert log.read_bytes() == whole and (tmp_path / "out" / "summary.json").read_bytes() == first
    cv2.imwrite(str(data / "masks" / "03.png"), np.full(SHAPE, 255, np.uint8))
    assert run(*call) == 2
    assert "holds a study with other concept content, pictures; choose another --out" in capsys.readouterr().err


def test_a_model_that_learns_from_earlier_pictures_only(data, tmp_path, monkeypatch):
    """What is trained on, and when; the training itself is utils.segment's."""
    trained = []

    def train(samples, out, recipe, settings, pretrained, start, **options):
        trained.append(([sample.name for sample in samples], start and start.name, recipe.epochs * len(samples)))
        photo, mask = samples[0].read()
        assert photo.shape[:2] == mask.shape == samples[0].shape() and mask.max() == 1
        return type("Result", (), {"model": out})

    monkeypatch.setattr(assisted_study, "train", train)
    monkeypatch.setattr(assisted_study, "open_concept_model", lambda path: None)
    monkeypatch.setattr(assisted_study, "probabilities", lambda model, photo: light(photo))
    assert run(data, tmp_path / "out", "--orders", "1", "--photos", "40") == 0
    names = [json.loads(line)["name"] for line in (tmp_path / "out" / "order_1" / "outcomes.jsonl").open()]
    assert trained == [(names[:5], None, 40), (names[:8], "model_5", 40)]
    learnt = [json.loads(line)["learnt"] for line in (tmp_path / "out" / "order_1" / "outcomes.jsonl").open()]
    assert learnt == [0] * 5 + [5] * 3 + [8] * 4


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere"], "has no photos with masks"),
        (["DATA", "--model", "missing.pth"], "missing.pth is missing"),
        (["DATA", "--model", "benchmark_models:CannotStart"], "can't correct a proposal"),
        (["DATA", "--concept", "missing.pth"], "missing.pth"),
    ],
)
def test_a_call_that_can_not_be_carried_out(data, tmp_path, capsys, arguments, complaint):
    arguments = [str(data) if argument == "DATA" else argument for argument in arguments]
    model = [] if "--model" in arguments else ["--model", "benchmark_models:Disks"]
    assert main(["assisted", *arguments, *model, "--out", str(tmp_path / "out")]) == 2
    assert complaint in capsys.readouterr().err.strip().splitlines()[-1]


