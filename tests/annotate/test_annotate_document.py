"""What each step makes of a picture's annotation, and what a session file may hold: no model, no mask, no server."""
import json
from pathlib import Path

import pytest

from utils.annotate.document import Document, InitialMask, Prompt, Settings, Target
from utils.annotate.errors import AnnotationError, UnreadableError
from utils.annotate.operations import apply, replay
from utils.annotate.session import KEPT_CHANGES, MAX_COUNT, MAX_SIDE, Session, from_json, to_json

ONE, TWO, THREE, FOUR = (f"{number:020x}.png" for number in (1, 2, 3, 4))
LABEL = {"label": "cat", "settings": {"threshold": 0.4}}


def click(mask, y=1, x=2, positive=True, **more) -> dict:
    return {"op": "click", "y": y, "x": x, "positive": positive, "mask": mask, **LABEL, **more}


def brush(mask=TWO, edits=THREE) -> dict:
    return {"op": "brush", "mask": mask, "edits": edits, **LABEL}


def region(mask=TWO, edits=None) -> dict:
    return {"op": "region", "mask": mask, "edits": edits, **LABEL}


def proposal(number: int, mask: str = ONE, **more) -> dict:
    return {"proposal": number, "mask": mask, **more}


FINISH = {"op": "finish"}
BOX = {"op": "box", "box": [1, 2, 5, 6], "mask": ONE, **LABEL}
STROKE = {"op": "stroke", "points": [[1, 2], [3, 4]], "positive": False, "mask": ONE, **LABEL}
TAKE = {"op": "take proposal", **proposal(7), **LABEL}
OBJECTS = [click(ONE), FINISH, click(TWO), FINISH]  # 1 and 2
REVIEW = {"op": "review", "state": "approved", "note": "fine"}


def test_a_document_without_steps():
    assert replay([]) == Document() and Document().settled == set() and Document().find(1) is None
    with pytest.raises(ValueError, match="no object in work"):
        _ = Document().work


# ------------------------------------------------------------------------------------------------ prompts


@pytest.mark.parametrize("step, prompt", [
    (click(ONE, positive=False), Prompt("click", ((1, 2),), False)),
    (BOX, Prompt("box", ((1, 2), (5, 6)), True)), (STROKE, Prompt("stroke", ((1, 2), (3, 4)), False)),
    ({"op": "lasso", "points": [[1, 2]], "positive": True}, Prompt("lasso", ((1, 2),), True))])
def test_each_prompt_begins_an_object(step, prompt):
    now = replay([{**LABEL, "mask": ONE, **step}])
    assert now.active == Target(1, "cat", (prompt,), ONE, settings=Settings(threshold=0.4))
    assert (now.next_id, now.spent, now.objects) == (2, 1, ()) and now.find(1) is now.active
    assert now.work.settings.given() == {"threshold": 0.4} and now.work.needs_model


@pytest.mark.parametrize("before, initial, edits", [
    ([], None, None),
    ([click(ONE)], None, None),
    ([click(None)], None, None),
    ([click(ONE), brush()], InitialMask(TWO, 1), THREE),  # the model shall see the manual edits
    ([click(ONE), brush(), click(ONE)], InitialMask(TWO, 1), THREE),
    ([region()], InitialMask(TWO, 0), None),
    ([brush()], InitialMask(TWO, 0), THREE),
    ([brush(None)], None, THREE),
    ([click(ONE), region(edits=FOUR)], InitialMask(TWO, 1), FOUR),
    ([click(ONE), region(None)], None, None),
    ([TAKE], InitialMask(ONE, 0), None),
    ([TAKE, click(TWO)], InitialMask(TWO, 1), None),  # each prompt is merged into the mask before it
    ([TAKE, click(None)], None, None),
])
def test_what_the_next_prompt_starts_from(before, initial, edits):
    now = replay([*before, click(FOUR)]).work
    assert (now.initial, now.edits, now.mask, now.is_edited) == (initial, edits, FOUR, False)
    assert now.prompts_before_initial == (initial.prompts if initial else 0)
    assert len(now.prompts) == sum(step["op"] == "click" for step in before) + 1


def test_a_click_on_a_proposal_begins_with_it():
    now = replay([click(TWO, proposal=7, initial=ONE)]).work
    assert (now.proposal, now.mask, now.initial) == (7, TWO, InitialMask(ONE, 0))


@pytest.mark.parametrize("steps, needs, merges", [
    ([brush()], False, False), ([click(ONE)], True, False), ([click(ONE), region()], False, False),
    ([TAKE], False, False), ([TAKE, click(TWO)], True, True), ([TAKE, STROKE], True, True), ([TAKE, BOX], True, False)])
def test_whose_mask_it_is(steps, needs, merges):
    now = replay(steps).work
    assert (now.needs_model, now.merges) == (needs, merges)


@pytest.mark.parametrize("before, index, step, initial", [
    ([click(ONE), click(TWO)], 0, {}, None),
    ([click(ONE), region(), click(TWO)], 0, {}, InitialMask(TWO, 0)),
    ([click(ONE), region(), click(TWO)], 1, {}, InitialMask(TWO, 1)),
    ([TAKE, click(TWO), click(THREE)], 1, {"initial": ONE}, InitialMask(ONE, 0)),
    ([TAKE, click(TWO), click(THREE), click(FOUR)], 1, {"initial": ONE}, InitialMask(ONE, 1)),
    ([TAKE, click(TWO)], 0, {"initial": ONE}, InitialMask(ONE, 0)),
    ([TAKE, click(TWO)], 0, {"initial": None}, None)])
def test_a_prompt_is_deleted(before, index, step, initial):
    steps = [{**each, "y": number} if each["op"] == "click" else each for number, each in enumerate(before)]
    was = replay(steps).work.prompts
    now = replay([*steps, {"op": "delete prompt", "index": index, "mask": FOUR, **step}])
    assert now.work.prompts == (*was[:index], *was[index + 1 :]) and now.work.initial == initial
    assert now.work.mask == FOUR and now.spent == len(was), "what was spent stays spent"


def test_clear_settings_and_protection():
    now = replay([TAKE, click(TWO), brush(), {"op": "clear"}])
    assert now.active == Target(1, "cat", settings=Settings(threshold=0.4)) and now.spent == 1
    now = apply(now, {"op": "settings", "settings": {"zoom_in": False}, "mask": FOUR})
    assert now.work.settings == Settings(zoom_in=False) and now.work.mask == FOUR
    assert now.protects and not apply(now, {"op": "protect", "on": False, "mask": ONE}).protects
    assert apply(now, {"op": "protect", "on": False, "mask": ONE}).work.mask == ONE
    assert apply(Document(), {"op": "protect", "on": False}) == Document(protects=False)


# ------------------------------------------------------------------------------------------------ objects


def test_objects_stay_in_the_order_of_their_beginning():
    now = replay(OBJECTS)
    assert [(each.id, each.mask) for each in now.objects] == [(1, ONE), (2, TWO)] and now.active is None
    edited = apply(now, {"op": "edit", "object": 1})
    assert edited.work.id == 1 and [each.id for each in edited.objects] == [2] and edited.find(2) is edited.objects[0]
    assert apply(edited, FINISH) == now
    assert replay([*OBJECTS, click(None), FINISH]).objects == now.objects, "one without a mask vanishes"
    assert replay([*OBJECTS, click(None), FINISH]).next_id == 4, "its number does not come again"
    second = replay([*OBJECTS, click(THREE), {"op": "edit", "object": 2}])
    assert [each.id for each in second.objects] == [1, 3] and second.work.id == 2


@pytest.mark.parametrize("steps, number, left, active", [
    (OBJECTS, 1, [2], None), ([*OBJECTS, click(THREE)], 3, [1, 2], None), ([*OBJECTS, click(THREE)], 2, [1], 3)])
def test_an_object_is_deleted(steps, number, left, active):
    now = replay([*steps, REVIEW if active is None and number < 3 else {"op": "mark", "done": False},
                  {"op": "delete", "object": number}])
    assert [each.id for each in now.objects] == left and now.review == ""
    assert (now.active.id if now.active else None) == active


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_object_gets_another_label(number):
    now = replay([*OBJECTS, click(THREE), {"op": "relabel", "object": number, "label": "dog"}])
    labels = {each.id: each.label for each in (*now.objects, now.work)}
    assert labels == {1: "cat", 2: "cat", 3: "cat"} | {number: "dog"}


def test_proposals_are_taken_accepted_and_rejected():
    now = replay([click(FOUR), TAKE])
    assert [each.mask for each in now.objects] == [FOUR] and now.settled == {7}
    taken = Target(2, "cat", mask=ONE, initial=InitialMask(ONE, 0), settings=Settings(threshold=0.4), proposal=7)
    assert now.active == taken
    now = apply(now, {"op": "reject proposals", "rejected": [3, 0]})
    now = apply(now, {"op": "reject proposals", "rejected": [4]})
    assert now.rejected == (3, 0, 4) and now.settled == {0, 3, 4, 7}
    accepted = [proposal(0, TWO), proposal(9, THREE, label="dog")]
    now = apply(now, {"op": "accept proposals", "label": "cat", "proposals": accepted})
    assert now.objects[1:] == (
        taken, Target(3, "cat", mask=TWO, initial=InitialMask(TWO, 0), proposal=0),
        Target(4, "dog", mask=THREE, initial=InitialMask(THREE, 0), proposal=9))
    assert now.active is None and now.next_id == 5 and now.settled == {0, 3, 4, 7, 9}


# ------------------------------------------------------------------------------------------------ the picture


def test_done_and_review():
    done = replay([click(ONE), {"op": "mark", "done": True}])
    assert done.is_done and len(done.objects) == 1 and done.active is None and done.review == ""
    opened = replay([click(ONE), {"op": "mark", "done": False}])
    assert not opened.is_done and opened.active is not None
    approved = replay([click(ONE), REVIEW])
    assert approved.is_done and approved.review == "approved" and approved.note == "fine" and not approved.active
    assert apply(approved, {"op": "mark", "done": True}).review == ""
    back = replay([click(ONE), {**REVIEW, "state": "sent back"}])
    assert (back.is_done, back.review, back.active is None) == (False, "sent back", False)
    reopened = apply(approved, {"op": "review", "state": "open", "note": ""})
    assert (reopened.is_done, reopened.review, reopened.note) == (True, "", "")


@pytest.mark.parametrize("step, takes_back", [
    (click(TWO), True), (brush(), True), (region(), True), (TAKE, True), ({"op": "edit", "object": 1}, True),
    ({"op": "accept proposals", "label": "cat", "proposals": [proposal(1)]}, True),
    ({"op": "accept proposals", "label": "cat", "proposals": []}, False),
    ({"op": "reject proposals", "rejected": [1]}, False),
    ({"op": "relabel", "object": 1, "label": "dog"}, False), (FINISH, False)], ids=lambda value: str(value)[:26])
def test_touching_an_object_takes_back_that_the_picture_is_done(step, takes_back):
    now = replay([click(ONE), REVIEW, step])
    assert (now.is_done, now.review) == ((False, "") if takes_back else (True, "approved"))


# ------------------------------------------------------------------------------------------------ sessions

STEPS = (click(ONE, edits=FOUR, initial=THREE), brush(), FINISH,
         {"op": "import", "label": "cat", "proposals": [{"proposal": None, "mask": ONE}]},
         {"op": "accept proposals", "label": "cat", "proposals": [proposal(3, TWO, initial=THREE)]})


def made(steps=STEPS) -> Session:
    session = Session("a.png", 30, 20)
    for number, step in enumerate(steps):
        session = session.with_step(step, f"change {number}", {"file": "x.pth", "sha256": "0"} if number == 0 else None)
    return session


def test_a_session_is_its_steps():
    session = made()
    assert (session.position, session.revision, session.changes[-1]) == (5, 5, "change 4")
    assert session.checkpoint == {"file": "x.pth", "sha256": "0"} and session.document == replay(STEPS)
    assert session.mask_files() == {ONE, TWO, THREE, FOUR}
    undone = session.moved(-1, "undo").moved(-1, "undo again")
    assert (undone.position, undone.revision, undone.document) == (3, 7, replay(STEPS[:3]))
    assert undone.steps == STEPS and undone.lines == session.lines and undone.mask_files() == session.mask_files()
    assert undone.moved(1, "redo").document == replay(STEPS[:4])
    other = undone.with_step(click(TWO), "other")
    assert other.steps == (*STEPS[:3], click(TWO)) and other.document == replay(other.steps)
    assert other.lines == Session("a.png", 30, 20, other.steps).lines and other.checkpoint == session.checkpoint
    assert len(made([FINISH] * (KEPT_CHANGES + 3)).changes) == KEPT_CHANGES


@pytest.mark.parametrize("by, session, sentence, code", [
    (-1, Session("a", 1, 1), "nothing to undo", "nothing_to_undo"), (1, made(), "nothing to redo", "nothing_to_redo")])
def test_there_is_nothing_to_undo_or_redo(by, session, sentence, code):
    with pytest.raises(AnnotationError, match=sentence) as refused:
        session.moved(by, "x")
    assert refused.value.code == code


@pytest.mark.parametrize("steps, status", [
    ([], "untouched"), ([click(ONE)], "in work"), ([{"op": "mark", "done": True}], "done"), ([REVIEW], "approved"),
    ([{**REVIEW, "state": "sent back"}], "sent back")])
def test_the_status_of_a_picture(steps, status):
    assert made(steps).status == status and made([*steps, click(ONE)]).moved(-1, "undo").status == status


@pytest.mark.parametrize("steps, beginning", [
    ([click(ONE)], None), ([TAKE, click(TWO)], ONE), ([click(TWO, proposal=7, initial=THREE)], THREE),
    ([{"op": "accept proposals", "label": "cat", "proposals": [proposal(7), proposal(8, TWO)]},
      {"op": "edit", "object": 2}], TWO),
    ([TAKE, {"op": "delete", "object": 1}, {**TAKE, "mask": FOUR}], FOUR)])
def test_the_beginning_of_an_object(steps, beginning):
    session = made([*steps, click(THREE), {**TAKE, "mask": THREE, "proposal": 99}, *[FINISH] * 2])
    session = session.moved(-1, "x").moved(-1, "x").moved(-1, "x")
    assert session.beginning_of(session.document.work) == beginning


def test_a_file_is_the_session_again():
    for session in (made(), made().moved(-1, "undo"), Session("a.png", 30, 20)):
        text = to_json(session)
        again = from_json(text, Path("x.json"))
        assert again == session and to_json(again) == text
    content = json.loads(to_json(made([*STEPS, click(ONE, positive=False), {
        "op": "box", "box": [1, 2, 3, 4], "mask": TWO}])))
    assert (content["status"], content["clicks_spent"], [each["id"] for each in content["objects"]]) == (
        "in work", 3, [1, 2, 3])
    assert content["in_work"] == {
        "id": 4, "label": "cat", "mask": TWO, "clicks": [[1, 2, "-"]], "settings": {"threshold": 0.4},
        "prompts": [{"kind": "box", "points": [[1, 2], [3, 4]], "positive": True}]}
    assert "prompts" not in content["objects"][0] and content["objects"][0]["clicks"] == [[1, 2, "+"]]


def changed(at: str, value) -> str:
    content = json.loads(to_json(made()))
    inner, (*path, last) = content, [int(key) if key.isdigit() else key for key in at.split("/")]
    for key in path:
        inner = inner[key]
    inner[last] = value
    return json.dumps(content)


WRONG = {
    "format": ["x", None], "picture": [3, None], "width": [0, -1, True, "30", MAX_SIDE + 1, 1.5],
    "position": [6, -1, None], "revision": [-1, 2.5, MAX_COUNT + 1], "checkpoint": ["x", []], "changes": ["x", [3]],
    "steps": [{}, None, [3], [{"op": "x"}]], "steps/0/y": [20, -1, 1.5], "steps/0/x": [30, "2"],
    "steps/0/positive": [1, None], "steps/0/mask": ["x.png", 3, "../" + ONE], "steps/0/edits": ["x"],
    "steps/0/initial": [f"{ONE}x"], "steps/0/label": [3], "steps/0/op": [[]],
    "steps/0/settings": [[], {"threshold": "x"}, {"zoom_in": 1}, {"threshold": 1e300}, {"unknown": 1}],
    "steps/0/points": [[], [3], [[1]], [[1, 2, 3]], [[1, "2"]]], "steps/0/proposal": [-1, "x"], "steps/0/index": [-1],
    "steps/4/proposals": [{}, [3], [{"proposal": -1, "mask": ONE}], [{"proposal": 1, "mask": None}],
                          [{"proposal": 1, "mask": "x"}], [{"proposal": 1, "mask": ONE, "label": 3}]],
}


@pytest.mark.parametrize("at, value", [(at, value) for at, values in WRONG.items() for value in values])
def test_a_file_with_a_value_that_no_session_has_is_refused_by_name(at, value):
    with pytest.raises(UnreadableError, match=r"x\.json is not a readable session \(.*\); put the last good one back"):
        from_json(changed(at, value), Path("x.json"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"width": NaN}', "[" * 100_000])
def test_what_is_no_session_is_refused(text):
    with pytest.raises(UnreadableError, match="is not a readable session"):
        from_json(text, Path("x.json"))


@pytest.mark.parametrize("at, value", [("width", MAX_SIDE), ("steps/0/y", 19), ("steps/0/x", 29), ("position", 0),
                                       ("revision", MAX_COUNT), ("steps/0/mask", None), ("checkpoint", None)])
def test_the_largest_and_smallest_values_are_read(at, value):
    assert from_json(changed(at, value), Path("x.json")).picture == "a.png"


def test_older_files_are_read():
    content = json.loads(to_json(made()))
    content["last_change"] = content.pop("changes")[-1]
    content["steps"][1]["hand"] = content["steps"][1].pop("edits")
    session = from_json(json.dumps(content), Path("x.json"))
    assert session.changes == ("change 4",) and session.steps == STEPS
    content["last_change"] = ""
    assert from_json(json.dumps(content), Path("x.json")).changes == ()
