"""The core of the annotation page without HTTP: steps, undo, protection, hand work, proposals, what is on the disk."""
import json
import os
import stat
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from stub import Annotator, StubModel, StubPredictor, editor_of, write_pictures

from utils.annotate import session
from utils.annotate.cache import ByteCache
from utils.annotate.document import Document
from utils.annotate.editor import Editor
from utils.annotate.engine import Engine
from utils.annotate.errors import AnnotationError, ConflictError, NoModelError, NotFoundError, UnavailableError
from utils.annotate.operations import replay
from utils.annotate.pictures import Picture, list_pictures, pictures_of, read_picture
from utils.annotate.project import Project
from utils.annotate.proposals import Proposals
from utils.annotate.session import to_json
from utils.clicker import Click, Clicker

SQUARE = [[10, 10], [10, 30], [30, 30], [30, 10]]


def expected(clicks: list[tuple[int, int, bool]], prev_mask: np.ndarray | None = None, threshold: float = 0.5):
    """What the model says to clicks, asked directly."""
    predictor = StubPredictor()
    predictor.set_input_image(np.zeros((60, 80, 3), np.uint8))
    clicker = Clicker(init_clicks=[Click(is_positive, (y, x)) for y, x, is_positive in clicks])
    return predictor.get_prediction(clicker, prev_mask) > threshold


def listed(images: Path) -> list[Picture]:
    return pictures_of(images, list_pictures(images).pictures)


def everything(person: Annotator) -> dict:
    """The state without what counts changes."""
    ignored = ("revision", "undo", "redo", "milliseconds")
    return {key: value for key, value in person.state.items() if key not in ignored}


# ---------------------------------------------------------------------------------------------- clicks and objects


def test_clicks_give_the_models_mask(person):
    person.click(20, 30)
    person.click(25, 45, positive=False)
    person.click(40, 60)
    assert np.array_equal(person.mask(), expected([(20, 30, True), (25, 45, False), (40, 60, True)]))
    assert person.state["spent"] == 3 and person.state["status"] == "in work"


def test_the_next_object_leaves_the_pixels_of_a_finished_one(person):
    person.click(30, 30)
    person.do("finish")
    person.click(30, 40, label="person")
    own = expected([(30, 40, True)])
    assert np.array_equal(person.mask(), own & ~person.mask(0))
    assert (own & person.mask(0)).any()


def test_protection_can_be_turned_off_and_on_in_the_middle_of_an_object(person):
    person.click(30, 30)
    person.do("finish")
    person.click(30, 40)
    protected = person.mask()
    person.do("protect", on=False)
    assert np.array_equal(person.mask(), expected([(30, 40, True)]))
    person.do("protect", on=True)
    assert np.array_equal(person.mask(), protected)


def test_deleting_a_click_asks_the_model_anew(person):
    for place in ((20, 30, True), (25, 45, False), (40, 60, True)):
        person.click(*place)
    person.do("delete click", index=1)
    assert np.array_equal(person.mask(), expected([(20, 30, True), (40, 60, True)]))
    assert person.state["spent"] == 3  # the deleted one was made all the same
    person.do("delete click", index=0)
    person.do("delete click", index=0)
    assert not person.mask().any()


def test_edit_relabel_and_delete_a_finished_object(person):
    person.click(20, 20)
    person.do("finish")
    person.do("relabel", object=1, label="person")
    assert person.state["objects"][0]["label"] == "person"
    person.do("edit", object=1)
    assert person.state["objects"] == [] and len(person.state["active"]["clicks"]) == 1
    person.click(40, 60)
    assert np.array_equal(person.mask(), expected([(20, 20, True), (40, 60, True)]))
    person.do("finish")
    person.do("delete", object=1)
    assert person.state["objects"] == []
    person.do("undo")
    assert [target["id"] for target in person.state["objects"]] == [1]


def test_choosing_another_object_keeps_the_one_in_work(person):
    person.click(20, 20)
    person.do("finish")
    person.click(45, 65)
    person.do("edit", object=1)
    assert [target["id"] for target in person.state["objects"]] == [2] and person.state["active"]["id"] == 1
    person.do("undo")
    assert person.state["active"]["id"] == 2


def test_the_threshold_is_the_objects_own_and_undone_like_a_step(person):
    person.click(30, 40)
    person.do("settings", settings={"threshold": 0.8})
    assert np.array_equal(person.mask(), expected([(30, 40, True)], threshold=0.8))
    person.click(30, 20)
    assert np.array_equal(person.mask(), expected([(30, 40, True), (30, 20, True)], threshold=0.8))
    person.do("undo")
    person.do("undo")
    assert np.array_equal(person.mask(), expected([(30, 40, True)]))


def test_the_models_settings_reach_the_model(folder):
    model = StubModel()
    project = Project(folder / "out", folder / "images")
    engine = Engine(lambda progress: model)
    engine.start()
    person = Annotator(Editor(project, engine))
    for_predictor = {"zoom_in": False, "expand_ratio": 1.8, "working_size": 320}
    person.click(30, 40, settings={**for_predictor, "threshold": 0.4})
    assert replace(model.asked[-1], threshold=None).given() == for_predictor


def test_done_finishes_the_object_in_work_and_new_work_takes_it_back(person):
    person.click(30, 40)
    person.do("mark", done=True)
    assert person.state["status"] == "done" and len(person.state["objects"]) == 1
    person.click(5, 5)
    assert person.state["status"] == "in work"


# ---------------------------------------------------------------------------------------------- by hand


def test_the_brush_stays_over_later_clicks(person):
    person.click(30, 20)
    person.do("brush", points=[[5, 70]], radius=3, adds=True)
    person.do("brush", points=[[30, 20]], radius=2, adds=False)
    person.click(50, 30)
    mask = person.mask()
    assert mask[5, 70] and not mask[30, 20]


def test_the_model_sees_what_the_hand_did(person):
    person.click(30, 20)
    person.do("brush", points=[[50, 70]], radius=5, adds=True)
    brushed = person.mask()
    person.click(20, 30)
    clicks = [(30, 20, True), (20, 30, True)]
    assert np.array_equal(person.mask(), expected(clicks, brushed.astype(np.float32)) | brushed)


def test_a_click_against_the_brush_wins(person):
    person.click(30, 20)
    person.do("brush", points=[[50, 70]], radius=5, adds=True)
    person.click(50, 70, positive=False)
    assert not person.mask()[50, 70]


def test_a_brush_stroke_alone_makes_an_object_and_respects_the_others(person):
    person.do("brush", points=[[20, 20], [20, 50]], radius=4, adds=True, label="car")
    first = person.mask()
    person.do("finish")
    person.do("brush", points=[[10, 30], [50, 30]], radius=4, adds=True, label="car")
    assert person.mask().any() and not (person.mask() & first).any()


def test_a_region_is_what_clicks_start_from(person):
    person.do("region", points=SQUARE, adds=True, label="car")
    region = person.mask()
    assert region.sum() == 21 * 21
    person.click(50, 70)
    assert np.array_equal(person.mask(), expected([(50, 70, True)], region.astype(np.float32)))
    person.do("delete click", index=0)
    assert np.array_equal(person.mask(), region)


def test_a_region_can_be_cut_out(person):
    person.do("region", points=SQUARE, adds=True, label="car")
    person.do("region", points=[[15, 15], [15, 20], [20, 20], [20, 15]], adds=False)
    assert person.mask().sum() == 21 * 21 - 36


# ---------------------------------------------------------------------------------------------- proposals


@pytest.fixture
def with_proposals(folder: Path) -> Annotator:
    labels = np.zeros((60, 80), np.uint8)
    labels[5:20, 5:20], labels[30:50, 30:60] = 3, 7
    write_pictures(folder / "masks")
    cv2.imwrite(str(folder / "masks" / "a.png"), labels)
    return Annotator(editor_of(folder))


def test_a_proposal_is_taken_and_corrected(with_proposals):
    person = with_proposals
    assert person.state["proposals"] == [3, 7]
    person.do("take proposal", proposal=7, label="car")
    assert person.mask().sum() == 20 * 30 and person.state["proposals"] == [3]
    proposed = person.mask()
    person.click(10, 70)
    assert np.array_equal(person.mask(), expected([(10, 70, True)], proposed.astype(np.float32)))
    assert person.state["spent"] == 1
    person.do("undo")
    person.do("undo")
    assert person.state["proposals"] == [3, 7]


def test_all_proposals_at_once(with_proposals):
    person = with_proposals
    person.do("accept proposals", proposals=[3, 7], label="person")
    assert [person.mask(0).sum(), person.mask(1).sum()] == [15 * 15, 20 * 30]
    assert person.state["proposals"] == [] and person.state["spent"] == 0
    with pytest.raises(AnnotationError, match="taken already"):
        person.do("take proposal", proposal=3, label="car")


def test_a_models_probability_map_proposes_one_object(folder):
    write_pictures(folder / "masks")
    ramp = np.tile(np.linspace(0, 255, 80).astype(np.uint8), (60, 1))
    cv2.imwrite(str(folder / "masks" / "a.jpg.png"), ramp)  # belongs to another picture
    cv2.imwrite(str(folder / "masks" / "a.png"), ramp)
    person = Annotator(editor_of(folder))
    assert person.state["proposals"] == [1]
    person.do("take proposal", proposal=1, label="car")
    assert np.array_equal(person.mask(), ramp > 127)


def proposed(folder: Path, image: np.ndarray | Image.Image, kind: str = "auto", name: str = "a.png") -> list:
    """The masks that a file proposes for the first picture."""
    write_pictures(folder / "masks")
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(folder / "masks" / name)
    proposals, pictures = Proposals(folder / "masks", kind), listed(folder / "images")
    proposals.pair(pictures)
    return [proposals.mask(pictures[0], number, (60, 80)) for number in proposals.numbers(pictures[0], (60, 80))]


TWO = np.zeros((60, 80), np.uint8)
TWO[5:20, 5:20], TWO[30:50, 30:60] = 1, 2


@pytest.mark.parametrize("colours", [(128, 0, 0, 0, 128, 0), (255, 255, 255, 9, 9, 9)])
def test_the_entries_of_a_palette_are_objects(folder, colours):
    """As DAVIS and VOC keep them, where a program that looks at colours sees two objects of one brightness."""
    image = Image.frombytes("P", (80, 60), TWO.tobytes())
    image.putpalette([0, 0, 0, *colours])
    first, second = sorted(proposed(folder, image), key=np.count_nonzero)
    assert np.array_equal(first, TWO == 1) and np.array_equal(second, TWO == 2)


@pytest.mark.parametrize("channels", [3, 4])
def test_each_colour_is_an_object(folder, channels):
    colours = np.zeros((60, 80, channels), np.uint8)
    colours[..., 3:] = 255
    colours[TWO == 1, 0] = colours[TWO == 2, 1] = 200
    first, second = sorted(proposed(folder, colours), key=np.count_nonzero)
    assert np.array_equal(first, TWO == 1) and np.array_equal(second, TWO == 2)


def test_a_photo_is_no_mask(folder):
    with pytest.raises(AnnotationError, match=r"a\.png has \d+ colours; a mask has one for each object"):
        proposed(folder, np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))


def test_many_objects_are_not_taken_for_probabilities(folder):
    labels = np.zeros((60, 80), np.uint8)
    labels[::5, ::8] = np.arange(1, 121).reshape(12, 10)
    assert len(proposed(folder, labels)) == 120  # as the PNG export writes more than 64 objects
    assert len(proposed(folder, labels * 2, "labels")) == 120
    assert np.array_equal(proposed(folder, labels, "probabilities"), [])


def test_a_float_map_holds_probabilities(folder):
    ramp = np.tile(np.linspace(0, 1, 80, dtype=np.float32), (60, 1))
    [mask] = proposed(folder, ramp, name="a.tiff")
    assert np.array_equal(mask, ramp > 0.5)


def test_proposals_are_counted_once_and_again_when_the_file_changes(with_proposals, folder, monkeypatch):
    person, count = with_proposals, []
    unique = np.unique
    monkeypatch.setattr(np, "unique", lambda *options, **more: count.append(1) or unique(*options, **more))
    for y in range(5):
        person.click(10 + y, 70)
    assert not count
    path = folder / "masks" / "a.png"
    cv2.imwrite(str(path), np.full((60, 80), 9, np.uint8))
    os.utime(path, ns=(1, 1))
    assert person.click(20, 70)["proposals"] == [9]


@pytest.mark.parametrize("content, notice", [
    (cv2.imencode(".png", np.ones((30, 80), np.uint8))[1].tobytes(), "a.png is 80x30, its picture 80x60"),
    (b"no picture", "a.png is damaged"),
])
def test_a_mask_that_cannot_be_used_is_named_and_the_picture_still_annotated(folder, content, notice):
    write_pictures(folder / "masks")
    (folder / "masks" / "a.png").write_bytes(content)
    person = Annotator(editor_of(folder))
    assert person.state["proposals"] == [] and notice in person.state["notice"]
    with pytest.raises(AnnotationError, match=r"a\.png"):
        person.do("take proposal", proposal=1, label="car")
    person.click(10, 10)
    assert person.mask().any()


# ---------------------------------------------------------------------------------------------- undo and the disk

OPERATIONS = st.sampled_from([
    "click", "click", "negative", "delete click", "clear", "brush", "erase", "region", "settings", "protect",
    "unprotect", "relabel", "finish", "edit", "delete", "mark", "undo", "redo",
])


def attempt(person: Annotator, op: str, y: int, x: int) -> None:
    """A step of a person who doesn't look; refusals change nothing."""
    line = [[y, x], [y + 9, x + 5], [y + 2, x + 12]]
    fields = {
        "click": {"op": "click", "y": y, "x": x, "positive": True},
        "negative": {"op": "click", "y": y, "x": x, "positive": False},
        "delete click": {"op": "delete click", "index": x % 3},
        "brush": {"op": "brush", "points": line, "radius": 3, "adds": True},
        "erase": {"op": "brush", "points": line, "radius": 3, "adds": False},
        "region": {"op": "region", "points": line, "adds": True},
        "settings": {"op": "settings", "settings": {"threshold": 0.3 + x / 200}},
        "protect": {"op": "protect", "on": True},
        "unprotect": {"op": "protect", "on": False},
        "relabel": {"op": "relabel", "object": 1 + y % 3, "label": "person"},
        "edit": {"op": "edit", "object": 1 + y % 3},
        "delete": {"op": "delete", "object": 1 + y % 3},
        "mark": {"op": "mark", "done": True},
    }.get(op, {"op": op})
    before = everything(person)
    try:
        person.do(**{"label": "car", **fields})
    except ConflictError:
        raise
    except AnnotationError:
        person.state = person.editor.open(person.picture.id)
        assert everything(person) == before


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(OPERATIONS, st.integers(0, 59), st.integers(0, 79)), max_size=25))
def test_any_work_is_undone_and_redone_exactly_and_read_back_from_the_disk(tmp_path_factory, work):
    folder = tmp_path_factory.mktemp("work")
    write_pictures(folder / "images", "a.png")
    person = Annotator(editor_of(folder))
    states = {0: everything(person)}
    for op, y, x in work:
        attempt(person, op, y, x)
        states[person.editor.opened(person.picture.id).session.position] = everything(person)
    again = Annotator(Editor(Project(folder / "out"), person.editor.engine))
    assert everything(again) == everything(person)
    position = again.editor.opened(again.picture.id).session.position
    for earlier in reversed(range(position)):
        again.do("undo")
        assert everything(again) == states[earlier]
    for later in range(1, position + 1):
        again.do("redo")
        assert everything(again) == states[later]
    files = {path.name for path in (folder / "out" / "masks" / "a.png").glob("*")}
    assert files >= again.editor.opened(again.picture.id).session.mask_files()


def test_a_session_is_a_readable_file(person, folder):
    person.click(20, 30)
    person.do("finish")
    content = json.loads((folder / "out" / "sessions" / "a.png.json").read_text())
    assert content["picture"] == "a.png" and content["status"] == "in work" and content["clicks_spent"] == 1
    assert content["objects"][0]["clicks"] == [[20, 30, "+"]]
    assert content["checkpoint"] == {"file": "stub.pth", "sha256": "0" * 64}
    click = content["steps"][0]
    assert (click["op"], click["y"], click["x"], click["positive"]) == ("click", 20, 30, True)
    assert click["time"].endswith("+00:00")
    assert (folder / "out" / "masks" / "a.png" / click["mask"]).is_file()


def test_files_are_as_readable_as_others(person, folder):
    assert stat.S_IMODE(os.stat(folder / "out" / "project.json").st_mode) & 0o044 == 0o044 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_new_work_after_undo_drops_the_undone_masks(person, folder):
    person.click(20, 30)
    person.do("undo")
    person.click(40, 50)
    names = {path.name for path in (folder / "out" / "masks" / "a.png").iterdir()}
    assert names == {person.state["active"]["mask"]} and person.state["redo"] is None


def test_leftovers_of_a_crash_are_removed(person, folder):
    person.click(20, 30)
    masks = folder / "out" / "masks" / "a.png"
    (masks / "0123456789abcdef0123.png").write_bytes(b"x")
    (masks / "half.png.tmp").write_bytes(b"x")
    Annotator(Editor(Project(folder / "out"), person.editor.engine))
    assert {path.name for path in masks.iterdir()} == {person.state["active"]["mask"]}


def test_a_failed_write_changes_nothing(person, monkeypatch):
    person.click(20, 30)
    before = everything(person)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(UnavailableError, match="could not be saved: No space left"):
            person.click(40, 40)
    person.state = person.editor.open(person.picture.id)
    assert everything(person) == before
    person.click(40, 40)  # and it works again


def test_a_repeated_change_is_done_once(person):
    change = {"op": "click", "id": "a" * 32, "revision": 0, "y": 5, "x": 5, "positive": True, "label": "car"}
    first = person.editor.change(person.picture.id, change)
    again = person.editor.change(person.picture.id, change)
    assert first["revision"] == again["revision"] == 1 and again["spent"] == 1


def test_a_change_of_an_outdated_view_is_refused(person):
    old = dict(person.state)
    person.click(20, 30)
    person.state, newest = old, person.state
    with pytest.raises(ConflictError, match="another tab"):
        person.click(5, 5)
    person.state = newest
    assert person.click(5, 5)["spent"] == 2


def test_two_servers_on_one_folder_are_refused(person, folder):
    with pytest.raises(AnnotationError, match="Another annotation server"):
        editor_of(folder)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"x"), lambda path: path.unlink()])
def test_a_damaged_mask_leaves_the_picture_open_to_undo(person, folder, damage):
    person.click(20, 30)
    whole = person.mask()
    person.click(40, 60)
    name = person.state["active"]["mask"]
    damage(folder / "out" / "masks" / "a.png" / name)
    person = Annotator(Editor(Project(folder / "out"), person.editor.engine))
    assert person.state["active"]["outline"] is None
    with pytest.raises(AnnotationError, match=name):
        person.editor.mask_outline(person.picture.id, name)
    person.do("undo")
    assert np.array_equal(person.mask(), whole) and person.state["active"]["outline"]["area"] == whole.sum()


def test_leftovers_that_cannot_be_removed_do_no_harm(person, folder):
    person.click(20, 30)
    (folder / "out" / "masks" / "a.png" / "folder.png").mkdir()  # can't be unlinked
    person.do("undo")
    assert person.click(40, 50)["spent"] == 1


def test_names_are_made_to_last(person, folder, monkeypatch):
    """A renamed file survives a power failure only when its folder was synced too."""
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino) or fsync(descriptor))
    person.click(20, 30)
    assert os.stat(folder / "out" / "sessions").st_ino in synced
    assert os.stat(folder / "out" / "masks" / "a.png").st_ino in synced


def test_a_long_history_is_not_written_out_anew_for_each_step(person, monkeypatch):
    person.click(20, 30)
    for x in range(20):
        person.do("brush", points=[[5, x]], radius=1, adds=True)
    person.do("undo")
    dumped, dump = [], session._dump
    monkeypatch.setattr(session, "_dump", lambda value: dumped.append(value) or dump(value))
    person.click(40, 50)
    person.do("undo")
    assert sum(isinstance(value, dict) and value.get("op") == "brush" for value in dumped) == 0
    now = person.editor.opened(person.picture.id).session
    fresh = replace(now)  # without what is remembered
    assert to_json(fresh) == to_json(now) and fresh.document == now.document


@pytest.mark.parametrize("change, sentence", [
    ({"op": "click", "y": 60, "x": 0, "positive": True, "label": "car"}, "y must be a number from 0 to 59"),
    ({"op": "click", "y": 1.5, "x": 0, "positive": True, "label": "car"}, "whole number"),
    ({"op": "click", "y": float("nan"), "x": 0, "positive": True, "label": "car"}, "y must be"),
    ({"op": "click", "y": 0, "x": 0, "positive": 1, "label": "car"}, "true or false"),
    ({"op": "click", "y": 0, "x": 0, "positive": True, "label": "a\nb"}, "label"),
    ({"op": "click", "y": 0, "x": 0, "positive": True, "label": "car", "settings": {"device": 1}}, "settings"),
    ({"op": "brush", "points": [], "radius": 2, "adds": True, "label": "car"}, "1 to 20000 points"),
    ({"op": "brush", "points": [[0, 1e9]], "radius": 2, "adds": True, "label": "car"}, "near the picture"),
    ({"op": "region", "points": [[0, 0], [99, 99]] * 9999, "adds": True, "label": "car"}, "longer than 500000 pixels"),
    ({"op": "brush", "points": [[0, 1]], "radius": 1e9, "adds": True, "label": "car"}, "radius"),
    ({"op": "finish"}, "no object in work"),
    ({"op": "delete click", "index": 0}, "no object in work"),
    ({"op": "edit", "object": 1}, "doesn't exist"),
    ({"op": "undo"}, "nothing to undo"),
    ({"op": "redo"}, "nothing to redo"),
    ({"op": "take proposal", "proposal": 1, "label": "car"}, "no such proposal"),
    ({"op": "__class__"}, "doesn't know"),
])
def test_nonsense_is_refused_in_a_sentence(person, change, sentence):
    with pytest.raises(AnnotationError, match=sentence):
        person.do(**change)
    assert person.editor.open(person.picture.id)["revision"] == 0


def test_without_a_model_brush_and_region_still_work(folder):
    def load(progress):
        raise NoModelError("The model can't be loaded: no file checkpoint.pth")

    engine = Engine(load)
    engine.start()
    person = Annotator(Editor(Project(folder / "out", folder / "images"), engine))
    with pytest.raises(NoModelError, match=r"no file checkpoint\.pth"):
        person.click(20, 30)
    person.do("brush", points=[[20, 20]], radius=5, adds=True, label="car")
    assert person.mask().any()
    assert engine.status()["state"] == "failed"


# ---------------------------------------------------------------------------------------------- pictures


def test_pictures_are_listed_in_natural_order_and_only_from_the_folder(tmp_path):
    images = write_pictures(tmp_path / "images", "p10.png", "p2.png", "P1.PNG".lower())
    write_pictures(tmp_path / "elsewhere", "secret.png")
    (images / "link.png").symlink_to(tmp_path / "elsewhere" / "secret.png")
    (images / "notes.txt").write_text("x")
    assert [picture.name for picture in listed(images)] == ["p1.png", "p2.png", "p10.png"]


@pytest.mark.parametrize("name", [
    "ein Bild.png", "写真.png", "'\"><img src=x onerror=alert(1)>.png", "a\nb.png", "..png", "%2e%2e.png",
    b"\xff\xfe.png", "x" * 251 + ".png", "e\u0301.png",
])
def test_any_file_name_works(tmp_path, name):
    (tmp_path / "images").mkdir()
    path = os.path.join(os.fsencode(tmp_path / "images"), os.fsencode(name))
    with open(path, "wb") as file:
        file.write(cv2.imencode(".png", np.zeros((60, 80, 3), np.uint8))[1].tobytes())
    if os.fsencode(name).startswith(b"."):
        assert listed(tmp_path / "images") == []  # hidden files stay hidden
        return
    person = Annotator(editor_of(tmp_path))
    person.click(20, 30)
    person.do("finish")
    again = Annotator(Editor(Project(tmp_path / "out"), person.editor.engine))
    assert len(again.state["objects"]) == 1
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert all((tmp_path / "out").resolve() in path.resolve().parents for path in written)
    json.dumps(again.picture.shown_name).encode()  # can be sent


def test_a_decompression_bomb_is_not_opened(tmp_path):
    images = write_pictures(tmp_path / "images", "small.png")
    bomb = bytearray((images / "small.png").read_bytes())
    bomb[16:24] = (40_000).to_bytes(4, "big") * 2  # the header claims 1.6 gigapixels
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    (images / "bomb.png").write_bytes(bomb)
    with pytest.raises(AnnotationError, match=r"bomb\.png has 1600 megapixels"):
        read_picture(listed(images)[0])


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_picture_is_named(tmp_path, content):
    (tmp_path / "bad.png").write_bytes(content)
    with pytest.raises(AnnotationError, match=r"bad\.png"):
        read_picture(listed(tmp_path)[0])


def test_a_picture_that_changed_its_size_is_refused(person, folder):
    person.click(20, 30)
    write_pictures(folder / "images", "a.png", height=50)
    with pytest.raises(AnnotationError, match="80x50 now, but 80x60"):
        Annotator(Editor(Project(folder / "out"), person.editor.engine))


def test_unknown_ids_and_masks_are_not_found(person):
    with pytest.raises(NotFoundError):
        person.editor.open("../../etc/passwd")
    for name in ("../project.json", "0" * 20 + ".png", "..%2f"):
        with pytest.raises(NotFoundError):
            person.editor.mask_outline(person.picture.id, name)


def test_labels_are_kept(person, folder):
    person.editor.project.add_label("dog", "#112233")
    assert [label.name for label in Project(folder / "out").labels] == ["car", "person", "dog"]
    for name, colour in (("", None), ("x" * 61, None), ("a\x00", None), ("cat", "red; }")):
        with pytest.raises(AnnotationError):
            person.editor.project.add_label(name, colour)


def test_the_cache_stays_within_its_bytes():
    cache = ByteCache(100, size=len)
    made = [cache.get(n, lambda: b"x" * 30) for n in range(10)]
    assert len(made) == 10 and len(cache) == 3 and cache.held == 90
    cache.get("large", lambda: b"x" * 500)
    assert len(cache) == 1
    cache.put("large", b"x")
    assert cache.held == 1


def test_an_empty_history_is_an_empty_document():
    assert replay([]) == Document()
