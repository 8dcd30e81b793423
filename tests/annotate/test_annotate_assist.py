"""Assisted annotation: proposals on a picture, what they were worth, the trainer and its deaths."""
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient
from stub import Annotator, bright, editor_of, stub_editor, write_pictures

from utils import segment
from utils.annotate.__main__ import main
from utils.annotate.assist import process, trainer
from utils.annotate.assist.folder import Mark
from utils.annotate.assist.outcomes import Outcome, figures, least_sure
from utils.annotate.assist.trainer import Concept, Trainer
from utils.annotate.errors import AnnotationError, NotFoundError
from utils.annotate.server import create_app
from utils.assisted import needed
from utils.files import UserError
from utils.segment.segmentation import save_model

TWO_PARTS = np.zeros((60, 80), bool)
TWO_PARTS[10:40, 10:30] = TWO_PARTS[20:40, 50:70] = True
NAMES = [f"{number}.png" for number in range(9)]


@pytest.fixture
def editor(tmp_path):
    """Nine pictures, a label "car" that is learnt, and no trainer: tests put its files in their places."""
    return stub_editor(write_pictures(tmp_path / "images", *NAMES), tmp_path / "out", assist="")


def propose(editor, mask=TWO_PARTS, sure=0.9, model="m1", number=None) -> None:
    """What the trainer would write about all pictures, or one."""
    label = editor.assistant.folder.label("car")
    pictures = list(editor.project.pictures.values())
    chosen = pictures if number is None else [pictures[number]]
    for picture in chosen:
        label.write_mask(picture, mask)
    new = {picture.id: Mark(sure, not mask.any(), model) for picture in chosen}
    label.write_marks({**label.marks(), **new})


def finish(person: Annotator) -> None:
    if person.state["active"]:
        person.do("finish")
    person.do("mark", done=True)


# ---------------------------------------------------------------------------------------------- on a picture


@pytest.mark.parametrize("op", ["accept proposals", "take proposal", "click"])
def test_a_proposal_becomes_an_object_of_its_own_label_and_protected_ones_stay(editor, op):
    propose(editor)
    person = Annotator(editor)
    person.do("region", points=[[0, 0], [0, 20], [60, 20], [60, 0]], adds=True, label="person")
    person.do("finish")
    before = person.mask(0)
    [number] = person.state["proposals"]
    assert person.state["guesses"] == {str(number): {"label": "car", "sure": 0.9}}
    fields = {"accept proposals": {"proposals": [number]}, "take proposal": {"proposal": number},
              "click": {"proposal": number, "y": 25, "x": 27, "positive": True}}[op]
    person.do(op, label="person", **fields)
    assert person.state["proposals"] == [] == list(person.state["guesses"])
    person.state["active"] and person.do("finish")
    assert [each["label"] for each in person.state["objects"]] == ["person", "car"]
    assert np.array_equal(person.mask(0), before)
    if op != "click":
        assert np.array_equal(person.mask(1), TWO_PARTS & ~before)
    while person.state["proposals"] != [number]:
        person.do("undo")
    person.do("redo")
    assert Annotator(editor_again(editor)).state == person.editor.open(person.picture.id)


def editor_again(editor):
    """A new server on the same project."""
    editor.project.unlock()
    return stub_editor(editor.project.images, editor.project.out, assist="")


@pytest.mark.parametrize("y, x, positive", [(25, 20, False), (30, 60, False), (30, 40, True), (5, 75, True)])
def test_a_click_changes_the_part_under_it_alone(editor, y, x, positive):
    propose(editor)
    person = Annotator(editor)
    [number] = person.state["proposals"]
    person.click(y, x, positive, proposal=number)
    changed = person.mask() ^ TWO_PARTS
    assert changed[y, x] and (TWO_PARTS[changed] != positive).all()
    assert cv2.connectedComponents(changed.astype(np.uint8), connectivity=8)[0] == 2
    merged, previewed = person.mask(), Annotator(editor, 1)
    shown = editor.preview(previewed.picture.id, {"op": "click", "y": y, "x": x, "positive": positive,
                                                  "proposal": previewed.state["proposals"][0]}, lambda: True)
    assert shown["area"] == merged.sum()
    person.click(50, 5)
    person.click(50, 78, False)
    person.do("delete prompt", index=1)
    person.do("delete prompt", index=1)
    assert np.array_equal(person.mask(), merged)
    person.do("delete prompt", index=0)
    assert np.array_equal(person.mask(), TWO_PARTS)


def test_rejected_proposals_go_until_undone(editor):
    propose(editor)
    person = Annotator(editor)
    numbers = person.state["proposals"]
    person.do("reject proposals", proposals=numbers)
    assert person.state["proposals"] == [] and Annotator(editor_again(editor)).state["proposals"] == []
    for op, fields in (("reject proposals", {"proposals": numbers}), ("click", {"y": 1, "x": 1, "positive": True})):
        with pytest.raises(AnnotationError, match="rejected"):
            person.do(op, label="car", proposal=numbers[0], **fields)
    person.do("undo")
    assert person.state["proposals"] == numbers
    with pytest.raises(NotFoundError):
        person.do("reject proposals", proposals=[numbers[0] + 1])


def test_a_number_never_means_another_mask(editor):
    """A newer model's proposals have other numbers, and none come once something was done."""
    propose(editor)
    person = Annotator(editor)
    [first] = person.state["proposals"]
    propose(editor, ~TWO_PARTS, model="m2")
    person.state = editor.open(person.picture.id)
    [second] = person.state["proposals"]
    assert second != first and editor.proposal_outline(person.picture.id, second)["area"] == (~TWO_PARTS).sum()
    with pytest.raises(NotFoundError):
        person.do("take proposal", proposal=first, label="car")
    person.do("protect", on=False)
    propose(editor, model="m3")
    assert editor.open(person.picture.id)["proposals"] == [second]
    assert Annotator(editor_again(editor)).state["proposals"] == [second]
    person.do("mark", done=True)
    assert person.state["proposals"] == []


def test_components_are_objects_where_the_label_says_so(editor):
    client = TestClient(create_app(editor), base_url="http://127.0.0.1:8000")
    labels = client.post("/api/labels/change", json={"name": "car", "separate": True}).json()["labels"]
    assert [label["separate"] for label in labels] == [True, False]
    specked = TWO_PARTS.copy()
    specked[55, 75] = True
    propose(editor, specked)
    person = Annotator(editor)
    person.do("accept proposals", proposals=person.state["proposals"], label="person")
    assert [person.mask(0).sum(), person.mask(1).sum()] == [600, 400]
    client.post("/api/labels/change", json={"name": "car", "to": "auto"})
    assert [each["label"] for each in editor.open(person.picture.id)["objects"]] == ["auto", "auto"]


@pytest.mark.parametrize("file", ["marks.json", "masks/0.png.png", "../../shown/0.png.json"])
def test_damaged_files_are_no_proposals(editor, file):
    propose(editor)
    Annotator(editor)
    path = editor.assistant.folder.label("car").masks.parent / file
    path.write_bytes(path.read_bytes()[:20])
    assert Annotator(editor_again(editor)).state["width"] == 80


# ---------------------------------------------------------------------------------------------- what they were worth


def shown(sure, cost, model="m2") -> Outcome:
    return Outcome(cost, model, sure, True, 0.5)


GOOD, BAD, ALONE = [shown(0.9, 0)] * 5, [shown(0.6, 7)] * 5, [Outcome(4.0)] * 3


@pytest.mark.parametrize("outcomes, least", [
    ([], 0), (GOOD + BAD, 0), (ALONE + BAD, 0), (ALONE + GOOD + BAD, 0.9), (ALONE + GOOD + GOOD, 0),
    (ALONE + BAD + BAD, 1.01), (ALONE + [shown(0.6, 7, "m0")] * 9, 0),
])
def test_the_gate_is_learnt_from_costs_of_the_last_models(outcomes, least):
    assert least_sure(outcomes, ["m1", "m2"]) == least


def test_the_gate_hides_and_can_be_turned_off(editor, monkeypatch):
    monkeypatch.setattr("utils.annotate.assist.assistant.least_sure", lambda outcomes, models: 0.8)
    propose(editor, sure=0.7)
    propose(editor, sure=0.85, number=1)
    person, other = Annotator(editor), Annotator(editor, 1)
    assert (person.state["proposals"], person.state["gated"]) == ([], 1) and len(other.state["proposals"]) == 1
    person.do("protect", on=False)
    editor.assistant.command({"gate": False})
    state = editor.open(person.picture.id)
    assert len(state["proposals"]) == 1 and state["gated"] == 0
    editor.assistant.command({"gate": True})
    assert editor.open(person.picture.id)["proposals"] == state["proposals"]  # what was seen stays


def test_the_panel_compares_what_was_proposed_with_what_became_of_it(editor):
    """IoUs before correction; costs with and without, a rejection being one click; newest results of each picture."""
    people = [Annotator(editor, number) for number in range(5)]
    people[0].click(30, 20), people[0].click(30, 30)
    propose(editor)
    for person in people[1:4]:
        person.state = editor.open(person.picture.id)
    people[1].do("accept proposals", proposals=people[1].state["proposals"], label="car")
    people[2].do("reject proposals", proposals=people[2].state["proposals"])
    people[2].do("region", points=[[10, 10], [10, 29], [39, 29], [39, 10]], adds=True, label="car")
    propose(editor, np.zeros((60, 80), bool), sure=0.6, number=4)
    people[4].state = editor.open(people[4].picture.id)
    for person in people:
        finish(person)
    assistant, history = editor.assistant, editor.assistant.folder.label("car")
    history.remember({"model": "m1", "done": 5, "request": 0, "photos": 4, "held_out": 0.7, "seconds": 1})
    for assistant in (editor.assistant, editor_again(editor).assistant):
        [panel] = assistant.panel()["labels"]
        assert panel["ious"] == [1, 0.6, 0]  # nothing became of the last one
        assert panel["with"] == {"pictures": 3, "clicks": pytest.approx(2 / 3, abs=1e-3)}
        assert panel["without"] == {"pictures": 1, "clicks": 2}
        assert panel["curve"] == [{"trained_on": 5, "held_out": 0.7, "iou": pytest.approx(1.6 / 3, abs=1e-3)}]
    people[1].do("mark", done=False)
    assert editor.assistant.panel()["labels"][0]["ious"] == [0.6, 0]


def test_pictures_finished_before_count_too(editor, monkeypatch):
    person = Annotator(editor)
    person.click(30, 20)
    finish(person)
    (editor.assistant.folder.root / "outcomes.jsonl").write_text('{"picture": "0.p', encoding="utf-8")  # a crash
    again = editor_again(editor).assistant
    monkeypatch.setattr(process.TrainerProcess, "start", lambda self: None)
    again.start()
    until(lambda: again.panel()["labels"][0]["without"] == {"pictures": 1, "clicks": 1})
    assert again.status()["labels"][0] == {"label": "car", "state": "waiting", "done": 1, "needed": 5, "trained_on": 0,
                                           "fraction": None, "reason": None}


def test_figures_of_nothing():
    nothing = {"pictures": 0, "clicks": None}
    assert figures([], []) == {"ious": [], "iou": None, "with": nothing, "without": nothing, "curve": []}


def test_trainings_are_due_at_growth():
    assert [needed(count) for count in (0, 5, 8, 12, 18)] == [5, 8, 12, 18, 27]


def test_the_page_is_told_and_asks(editor):
    client = TestClient(create_app(editor), base_url="http://127.0.0.1:8000")
    assert client.get("/api/project").json()["assist"] is True
    version = client.get("/api/status").json()["assist"]["version"]
    propose(editor, sure=0.75)
    listed = client.get("/api/project").json()["pictures"][0]
    assert (listed["sure"], listed["empty"]) == (0.75, False)
    assert client.get("/api/status").json()["assist"]["version"] > version
    assert client.post("/api/assist", json={"do": "stop", "label": "car"}).json()["labels"][0]["state"] == "stopped"
    assert client.post("/api/assist", json={"do": "train", "label": "car"}).json()["labels"][0]["state"] == "waiting"
    assert client.post("/api/assist", json={"gate": False}).json()["gate"] is False
    for wrong in ({"do": "train", "label": "bus"}, {"do": "fly", "label": "car"}, [], {"gate": 1}):
        assert client.post("/api/assist", json=wrong).status_code == 400
    [panel] = client.get("/api/assist").json()["labels"]
    assert panel["model"] is None and client.get("/api/assist/files/car.pth").json()["code"] == "no_model_yet"
    assert client.get(panel["masks"]).content.startswith(b"PK")


def test_without_assist_there_is_none(folder):
    client = TestClient(create_app(editor_of(folder)), base_url="http://127.0.0.1:8000")
    assert client.get("/api/status").json()["assist"] is None
    assert client.get("/api/assist").json()["code"] == "no_assist"


# ---------------------------------------------------------------------------------------------- the trainer


def until(is_so, seconds=120) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_pictures_that_are_opened_next_come_first_and_finished_ones_never(editor):
    person = Annotator(editor, 3)
    person.do("mark", done=True)
    editor.assistant.renew()
    editor.open(list(editor.project.pictures)[2], [list(editor.project.pictures)[7], "no picture"])
    (editor.project.images / "5.png").write_bytes(b"no picture")
    at_work = Trainer(editor.assistant.folder, 1, Concept("m1", bright))
    label, seen = editor.assistant.folder.label("car"), []
    while at_work.step():
        seen += [path.name for path in label.masks.glob("*.png") if path.name not in seen]
    assert seen == [f"{number}.png.png" for number in (2, 7, 4, 6, 8, 0, 1)]
    marks = label.marks()
    assert marks[list(editor.project.pictures)[5]].sure is None and len(marks) == 8
    Annotator(editor, 8)
    assert not at_work.step()  # nothing is done twice
    again = Trainer(editor.assistant.folder, 1, Concept("m2", bright))
    assert again.step()
    assert Annotator(editor, 8).state["proposals"]


def scene(rng) -> tuple[np.ndarray, np.ndarray]:
    """A red disk on a dark ground, and its mask."""
    photo, mask = rng.integers(0, 60, (60, 80, 3), dtype=np.uint8), np.zeros((60, 80), np.uint8)
    cv2.circle(mask, tuple(rng.integers(15, 45, 2).tolist()), 12, 1, -1)
    photo[mask == 1] = (200, 60, 40)
    return photo, mask.view(bool)


def test_a_model_is_trained_and_its_held_out_pictures_stay_so(editor, monkeypatch, tmp_path):
    save_model(segment.ConceptModel(segment.Settings(network="unet", size=64)), tmp_path / "small.pth")
    monkeypatch.setattr(trainer, "START", tmp_path / "small.pth")
    rng = np.random.default_rng(1)
    truths = []
    for name in NAMES:
        photo, mask = scene(rng)
        (editor.project.images / name).write_bytes(cv2.imencode(".png", photo[..., ::-1])[1].tobytes())
        truths.append(mask)
    label, at_work = editor.assistant.folder.label("car"), Trainer(editor.assistant.folder, 0.01)

    def annotate(numbers) -> None:
        for number in numbers:
            person = Annotator(editor, number)
            corners = cv2.findContours(truths[number].view(np.uint8), 0, 2)[0][0][:, 0, ::-1].tolist()
            person.do("region", points=corners, adds=True, label="car")
            finish(person)

    annotate(range(4))
    assert not at_work.step() and not label.model.exists()
    annotate([4])
    label.training.mkdir(parents=True)  # of a process that was killed
    (label.training / "held_out.json").write_text('["4.png"]', encoding="utf-8")
    assert at_work.step()
    first, held = label.history(), label.held_out()
    assert first[0]["done"] == 5 and held and label.model.is_file() and not label.training.exists()
    while at_work.step():
        pass
    annotate(range(5, 8))
    asked = {}
    true_train = segment.train
    monkeypatch.setattr(segment, "train", lambda data, out, recipe, **more: asked.update(more) or true_train(
        data, out, recipe, **more))
    assert at_work.step()
    assert set(held) <= set(asked["held_out"]) and asked["start"] == label.model
    assert set(held) <= set(label.held_out()) and len(label.history()) == 2
    editor.assistant.command({"do": "train", "label": "car"})
    editor.assistant.command({"do": "stop", "label": "car"})
    assert at_work.step() and len(label.history()) == 2  # stopped: it proposes only


def test_a_concept_that_cannot_be_learnt_is_told(editor):
    for number in range(5):
        person = Annotator(editor, number)
        person.do("region", points=[[5, 5], [5, 9], [9, 9]], adds=True, label="car")
        finish(person)
    for path in (editor.project.out / "masks").rglob("?????*.png"):
        path.unlink()
    at_work = Trainer(editor.assistant.folder, 0.02)
    at_work.step()
    [status] = editor.assistant.status()["labels"]
    assert status["state"] == "failed" and ".png" in status["reason"]
    assert not at_work.step()  # until there is something new


@pytest.mark.parametrize("source", ["stub:missing", "nowhere:thing", "numpy:asarray", "gone.pth"])
def test_a_model_that_is_none_is_told(source):
    with pytest.raises(UserError, match=source):
        trainer.open_concept(source).predict(np.zeros((9, 9, 3), np.uint8))


def test_people_are_proposed_without_training():
    concept = trainer.open_concept("people")
    probability = concept.predict(np.zeros((60, 80, 3), np.uint8))
    assert probability.shape == (60, 80) and probability.max() <= 1


# ---------------------------------------------------------------------------------------------- its process


@pytest.fixture
def at_work(tmp_path, monkeypatch):
    """A server's assistant with a trainer that gives `bright`."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setattr(process, "FIRST_DELAY", 0.05)
    editor = stub_editor(write_pictures(tmp_path / "images", *NAMES[:2]), tmp_path / "out", assist="stub:bright")
    yield editor
    editor.assistant.close()


def test_a_killed_trainer_is_told_and_starts_again(at_work):
    assistant = at_work.assistant
    assistant.start()
    until(lambda: assistant.folder.status())
    first = assistant.trainer
    monitored = []
    os.kill(first, signal.SIGKILL)
    until(lambda: monitored.append(assistant.status()["problem"]) or assistant.trainer not in (None, first))
    assert any(problem and problem["values"] == {"reason": "SIGKILL"} for problem in monitored)
    until(lambda: len(assistant.folder.label("car").marks()) == 2 and assistant.status()["problem"] is None)
    until(lambda: os.getpriority(os.PRIO_PROCESS, assistant.trainer) == 19)


@pytest.mark.parametrize("given, torch, code", [
    ("", "raise ImportError('no torch here')", "no_torch"), ("nowhere:thing", "", "assist_model")])
def test_what_would_fail_again_is_told_and_not_tried_again(at_work, tmp_path, monkeypatch, given, torch, code):
    if torch:
        (tmp_path / "torch.py").write_text(torch, encoding="utf-8")
        monkeypatch.setattr(process, "ROOT", f"{tmp_path}{os.pathsep}{process.ROOT}")
    keeper = process.TrainerProcess(at_work.assistant.folder, ["--given", given])
    keeper.start()
    until(lambda: keeper.problem)
    assert keeper.problem["code"] == code and keeper.problem["values"]["reason"]
    time.sleep(0.2)
    assert keeper.pid is None
    keeper.close()


def test_it_pauses_while_a_click_is_answered_and_ends_with_the_server(tmp_path):
    busy, count = tmp_path / "busy", tmp_path / "count"
    code = (f"from pathlib import Path\nfrom utils.annotate.assist.trainer import end_with_server, pausing_while\n"
            f"end_with_server()\nn = 0\nwith pausing_while(Path({str(busy)!r})):\n while True:\n  n += 1\n"
            f"  Path({str(count)!r}).write_text(str(n))\n")
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=process.ROOT) as child:
        until(lambda: count.exists() and count.read_text())
        busy.touch()
        time.sleep(0.3)
        before = count.read_text()
        time.sleep(0.3)
        assert count.read_text() == before
        busy.unlink()
        until(lambda: count.read_text() not in ("", before))
        child.stdin.close()
        child.wait(timeout=60)


def test_the_command_refuses_in_a_sentence(tmp_path, capsys):
    write_pictures(tmp_path / "images", "a.png")
    assert main([str(tmp_path / "images"), "--assist", "--assist-minutes", "0"]) == 1
    assert "--assist-minutes" in capsys.readouterr().err
