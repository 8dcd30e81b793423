"""Nothing that was annotated is lost: damaged sessions, the trash, full disks, repeated and outdated requests."""
import copy
import errno
import json
import os
import uuid
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient
from stub import Annotator, StubModel, editor_of, write_pictures

from utils.annotate.__main__ import main
from utils.annotate.editor import Editor
from utils.annotate.engine import Engine
from utils.annotate.errors import NotFoundError, UnreadableError
from utils.annotate.project import Project
from utils.annotate.server import create_app
from utils.annotate.session import from_json, to_json


def session_path(folder: Path, name: str = "a.png") -> Path:
    return folder / "out" / "sessions" / f"{name}.json"


def again(folder: Path) -> Editor:
    """A new server on the same project."""
    return Editor(Project(folder / "out"), Engine(StubModel))


def worked(person: Annotator) -> dict:
    """A session with one of each kind of step, as in its file."""
    person.click(20, 30)
    person.do("stroke", points=[[10, 10], [30, 40]], positive=True)
    person.do("box", box=[5, 5, 40, 50])
    person.do("brush", points=[[5, 5]], radius=3, adds=True)
    person.do("settings", settings={"threshold": 0.4, "zoom_in": False})
    person.do("finish")
    person.do("region", points=[[40, 40], [40, 60], [55, 60]], adds=True, label="person")
    person.do("review", state="sent back", note="two\nlines")
    person.do("undo")
    return json.loads(session_path(person.editor.project.out.parent).read_text("utf-8"))


# ---------------------------------------------------------------------------------------------- damaged sessions

ODD = st.one_of(st.none(), st.booleans(), st.integers(-3, 2**70), st.floats(), st.text(max_size=5), st.just([]),
                st.just({}), st.lists(st.integers(), max_size=3), st.just([[float("nan"), 1]]), st.just("../x.png"))


def places(value, path=()):
    """The ways to every value inside a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[dict, Path]:
    folder = tmp_path_factory.mktemp("whole")
    write_pictures(folder / "images", "a.png", "b.png")
    person = Annotator(editor_of(folder))
    return worked(person), folder


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_session_with_an_odd_value_is_refused_in_a_sentence_or_opens(whole, data):
    """Never a traceback, neither when it is read nor when the picture is opened and shown."""
    content, folder = copy.deepcopy(whole[0]), whole[1]
    way = data.draw(st.sampled_from(list(places(content))[1:]))
    inner = content
    for key in way[:-1]:
        inner = inner[key]
    inner[way[-1]] = data.draw(ODD)
    session_path(folder).write_text(json.dumps(content), encoding="utf-8")
    editor = again(folder)
    picture = next(iter(editor.project.pictures))
    try:
        editor.open(picture)
    except UnreadableError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
    assert editor.open(list(editor.project.pictures)[1])["width"] == 80  # the others can be worked on


@pytest.mark.parametrize("damage", ["", "{", "[]", "[" * 100_000, '{"format": "click annotations 9"}', "\x00" * 500])
def test_a_damaged_session_leaves_everything_in_its_place(person, folder, damage):
    person.click(20, 30)
    person.do("finish")
    files = {path.name for path in (folder / "out" / "masks").rglob("*.png")}
    session_path(folder).write_text(damage, encoding="utf-8")
    with pytest.raises(UnreadableError, match=r"a\.png\.json") as refusal:
        Annotator(again(folder))
    assert refusal.value.values["backup"] is True
    assert session_path(folder).read_text("utf-8") == damage
    assert {path.name for path in (folder / "out" / "masks").rglob("*.png")} == files


def test_the_last_good_session_is_put_back(person, folder):
    person.click(20, 30)
    first = person.mask()
    person.click(40, 50)
    session_path(folder).write_bytes(session_path(folder).read_bytes()[:300])
    client = TestClient(create_app(again(folder)), base_url="http://127.0.0.1:8000")
    picture = client.get("/api/project").json()["pictures"][0]
    assert picture["status"] == "unreadable"
    answer = client.get(f"/api/pictures/{picture['id']}")
    assert answer.status_code == 422 and answer.json()["code"] == "damaged_session"
    assert answer.json()["values"]["backup"]
    state = client.post(f"/api/pictures/{picture['id']}/restore", json={}).json()
    assert len(state["active"]["clicks"]) == 1 and state["active"]["outline"]["area"] == first.sum()
    assert list((folder / "out" / "trash").rglob("session-*.json"))  # the damaged one is kept too
    assert client.get("/api/project").json()["pictures"][0]["status"] == "in work"


def test_without_an_earlier_session_there_is_nothing_to_put_back(person, folder):
    person.click(20, 30)
    session_path(folder).write_text("{", encoding="utf-8")
    editor = again(folder)
    with pytest.raises(NotFoundError):
        editor.restore(person.picture.id)
    assert session_path(folder).read_text("utf-8") == "{"


def test_sessions_of_before_prompts_and_edits_are_read(person, folder):
    person.click(20, 30)
    person.do("brush", points=[[5, 5]], radius=3, adds=True)
    person.do("delete prompt", index=0)
    content = json.loads(session_path(folder).read_text("utf-8"))
    del content["changes"], content["note"]
    content["last_change"] = "x" * 32
    for step in content["steps"]:
        if "edits" in step:
            step["hand"] = step.pop("edits")
    content["steps"][-1]["op"] = "delete click"
    session_path(folder).write_text(json.dumps(content), encoding="utf-8")
    state = Annotator(again(folder)).state
    assert {**state, "undo": 0} == {**person.editor.open(person.picture.id), "undo": 0}


# ---------------------------------------------------------------------------------------------- the trash


def test_deleted_masks_go_to_the_trash_which_a_command_empties(person, folder, capsys):
    person.click(20, 30)
    person.do("undo")
    person.click(40, 50)
    person.do("protect", on=True)  # now the session before doesn't need it either
    [trashed] = (folder / "out" / "trash" / "a.png").iterdir()
    kept = {path.name for path in (folder / "out" / "masks" / "a.png").iterdir()}
    assert trashed.name not in kept and kept == {person.state["active"]["mask"]}
    person.editor.project.unlock()
    assert main(["empty-trash", str(folder / "out")]) == 0
    assert "1 files deleted" in capsys.readouterr().out and not trashed.exists()
    assert Annotator(again(folder)).mask().any()


def test_what_a_session_names_is_never_deleted(person, folder):
    """Neither what the session before the last step needs."""
    person.click(20, 30)
    mask = person.state["active"]["mask"]
    trash = folder / "out" / "trash" / "a.png"
    trash.mkdir(parents=True)
    os.replace(folder / "out" / "masks" / "a.png" / mask, trash / mask)
    assert again(folder).project.empty_trash() == 0
    assert (folder / "out" / "masks" / "a.png" / mask).exists()
    session_path(folder).write_text("{", encoding="utf-8")
    with pytest.raises(UnreadableError):
        again(folder).project.empty_trash()  # nobody knows what it needs
    assert (folder / "out" / "masks" / "a.png" / mask).exists()


# ---------------------------------------------------------------------------------------------- full disks


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_step_on_a_full_disk_may_be_sent_again(person, monkeypatch):
    client = TestClient(create_app(person.editor), base_url="http://127.0.0.1:8000")
    address = f"/api/pictures/{person.picture.id}/change"
    body = {"id": uuid.uuid4().hex, "op": "click", "y": 5, "x": 5, "positive": True, "label": "car", "revision": 0}
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        answer = client.post(address, json=body)
    assert answer.status_code == 503 and answer.json()["retry"] and answer.json()["code"] == "disk_full"
    assert client.post(address, json=body).json()["revision"] == 1


@pytest.mark.parametrize("path, body", [
    ("/api/labels", {"name": "dog"}), ("/api/labels/change", {"name": "car", "to": "dog"}),
    ("/api/labels/change", {"name": "car", "to": "person"}), ("/api/labels/delete", {"name": "car"}),
])
def test_labels_on_a_full_disk_stay_as_they_were(person, monkeypatch, path, body):
    client = TestClient(create_app(person.editor), base_url="http://127.0.0.1:8000")
    before = client.get("/api/project").json()["labels"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        answer = client.post(path, json=body)
    assert answer.status_code == 503 and answer.json()["retry"]
    assert client.get("/api/project").json()["labels"] == before
    assert client.post(path, json=body).json()["labels"] != before


# ---------------------------------------------------------------------------------------------- repeated requests


def test_a_change_that_comes_again_after_others_changes_nothing(person, folder):
    """The answer was lost, another tab went on, the page sends it again; also to a new server, and after an undo."""
    change = {"op": "click", "id": "a" * 32, "revision": 0, "y": 5, "x": 5, "positive": True, "label": "car"}
    person.editor.change(person.picture.id, change)
    person.state = person.editor.open(person.picture.id)
    for y in range(20, 40, 2):
        person.click(y, 40)
    person.do("undo")
    for editor in (person.editor, again(folder)):
        state = editor.change(person.picture.id, {**change, "revision": 7})
        assert state["revision"] == 12 and state["spent"] == 10


def test_a_session_survives_its_file(person, folder):
    content = worked(person)
    session = person.editor.opened(person.picture.id).session
    assert from_json(json.dumps(content), Path("x")) == session == from_json(to_json(session), Path("x"))


def test_masks_are_the_same_for_a_new_server(person, folder):
    worked(person)
    assert np.array_equal(Annotator(again(folder)).mask(0), person.mask(0))
