"""Prompts beyond clicks, labels that change, and reviews."""
import json
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stub import Annotator, StubModel, StubPredictor

from utils.annotate.document import Prompt, Settings
from utils.annotate.editor import Editor
from utils.annotate.engine import Engine
from utils.annotate.errors import AnnotationError, NotFoundError
from utils.annotate.project import COLOURS, Project
from utils.annotate.prompts import as_clicks, interactions, zoom_box
from utils.clicker import Click, Clicker

SHAPE = (60, 80)
POINT = st.tuples(st.floats(-20, 80), st.floats(-20, 100))


def asked(clicks, shape=SHAPE, start=None) -> np.ndarray:
    """The stand-in's probabilities for clicks (y, x, positive)."""
    predictor = StubPredictor()
    predictor.set_input_image(np.zeros((*shape, 3), np.uint8))
    return predictor.get_prediction(Clicker(init_clicks=[Click(positive, (y, x)) for y, x, positive in clicks]), start)


@given(st.sampled_from(["box", "stroke", "lasso"]), st.lists(POINT, min_size=2, max_size=9), st.booleans())
def test_any_prompt_is_clicks_inside_the_picture(kind, points, is_positive):
    prompt = Prompt(kind, tuple(points), is_positive)
    clicks = as_clicks(prompt, SHAPE)
    assert clicks and all(0 <= y < 60 and 0 <= x < 80 and sign == is_positive for y, x, sign in clicks)
    top, left, bottom, right = zoom_box(prompt, SHAPE)
    assert 0 <= top < bottom <= 60 and 0 <= left < right <= 80


def test_a_stroke_is_clicks_along_it():
    assert as_clicks(Prompt("stroke", ((10, 5), (10, 65))), SHAPE) == [(10, 15, True), (10, 35, True), (10, 55, True)]
    assert as_clicks(Prompt("stroke", ((10, 5), (10, 15)), False), SHAPE) == [(10, 10, False)]


def test_a_lasso_is_a_click_where_it_is_widest():
    corners = ((10, 10), (10, 14), (40, 14), (40, 60), (58, 60), (58, 10))  # an L
    [(y, x, is_positive)] = as_clicks(Prompt("lasso", corners), SHAPE)
    assert 44 <= y <= 54 and 14 <= x <= 56 and is_positive


def test_strokes_mix_with_clicks_and_are_undone_and_deleted_one_by_one(person):
    person.click(50, 70)
    clicked = person.mask()
    person.do("stroke", points=[[10, 5], [10, 65]], positive=True)
    stroked = asked([(50, 70, True), (10, 15, True), (10, 35, True), (10, 55, True)]) > 0.5
    assert np.array_equal(person.mask(), stroked) and person.state["spent"] == 2
    assert [prompt["kind"] for prompt in person.state["active"]["prompts"]] == ["click", "stroke"]
    assert [click[3] for click in person.state["active"]["clicks"]] == [0, 1, 1, 1]
    person.do("stroke", points=[[30, 30], [35, 35]], positive=False)
    person.do("delete prompt", index=0)
    person.do("delete prompt", index=1)
    assert np.array_equal(person.mask(), asked([(10, 15, True), (10, 35, True), (10, 55, True)]) > 0.5)
    for _ in range(3):
        person.do("undo")
    assert np.array_equal(person.mask(), stroked)
    person.do("undo")
    assert np.array_equal(person.mask(), clicked)


def test_a_box_looks_for_the_object_in_there_alone_and_clicks_go_on_from_it(person):
    person.do("box", box=[40, 50, 10, 20], label="car")  # corners in any order
    found = person.mask()
    part = asked([(25 - 4, 35 - 14, True)], (43, 43))
    expected = np.zeros(SHAPE, np.float32)
    expected[4:47, 14:57] = part
    inside = np.zeros(SHAPE, bool)
    inside[10:41, 20:51] = True
    assert np.array_equal(found, (expected > 0.5) & inside) and found.any()
    person.click(55, 75)
    assert np.array_equal(person.mask(), asked([(25, 35, True), (55, 75, True)], start=expected * inside) > 0.5)
    person.do("undo")
    person.click(5, 5)  # another line of clicks from the same box
    assert np.array_equal(person.mask(), asked([(25, 35, True), (5, 5, True)], start=expected * inside) > 0.5)
    person.do("delete prompt", index=0)
    assert np.array_equal(person.mask(), asked([(5, 5, True)]) > 0.5)
    person.do("undo")
    person.do("settings", settings={"threshold": 0.8})
    person.do("delete prompt", index=1)
    assert np.array_equal(person.mask(), (expected > 0.8) & inside)
    assert person.state["active"]["hasProbability"] and person.editor.probability_png(person.picture.id)


def test_a_lasso_keeps_the_object_inside_it(person):
    corners = [[5, 5], [5, 70], [50, 70]]
    person.do("lasso", points=corners, label="car")
    mask = person.mask()
    y, x = np.nonzero(mask)
    assert mask.any() and (x - 5 >= (y - 5) * 65 / 45 - 2).all()


def test_prompts_are_saved_and_replayed(person, folder):
    person.click(20, 30)
    person.do("box", box=[5, 5, 40, 60])
    person.do("stroke", points=[[10, 5], [10, 65]], positive=False)
    person.do("lasso", points=[[5, 5], [5, 70], [50, 70]])
    person.do("finish")
    content = json.loads((folder / "out" / "sessions" / "a.png.json").read_text("utf-8"))
    assert [step["op"] for step in content["steps"]] == ["click", "box", "stroke", "lasso", "finish"]
    assert [prompt["kind"] for prompt in content["objects"][0]["prompts"]] == ["box", "stroke", "lasso"]
    again = Annotator(Editor(Project(folder / "out"), Engine(StubModel)))
    again.editor.engine.start()
    assert np.array_equal(again.mask(0), person.mask(0))
    again.do("edit", object=1)
    again.do("settings", settings={})  # the model is asked anew
    assert np.array_equal(again.mask(), person.mask(0))


def test_a_prompt_starts_from_manual_edits_and_frees_what_it_contradicts(person):
    person.do("brush", points=[[30, 20]], radius=5, adds=True, label="car")
    person.do("stroke", points=[[30, 20], [30, 22]], positive=False)
    assert not person.mask()[30, 20]


@pytest.mark.parametrize("change, sentence", [
    ({"op": "box", "box": [0, 0, 0, 50]}, "at least a pixel"),
    ({"op": "box", "box": [70, 0, 90, 50]}, "at least a pixel"),
    ({"op": "box", "box": [0, 0, 9]}, "four numbers"),
    ({"op": "box", "box": [0, 0, 9, float("nan")]}, "pair of numbers"),
    ({"op": "stroke", "points": [[90, 90], [95, 95]], "positive": True}, "outside the picture"),
    ({"op": "stroke", "points": [[9, 9]], "positive": 1}, "true or false"),
    ({"op": "lasso", "points": [[9, 9], [20, 20]]}, "3 to 20000 points"),
    ({"op": "lasso", "points": [[9, 9], [9, 20], [9, 30]]}, "at least a pixel"),
    ({"op": "import", "proposals": []}, "python -m utils.annotate import"),
    ({"op": "review", "state": "perfect"}, "approved, sent back, open"),
])
def test_odd_prompts_are_refused(person, change, sentence):
    with pytest.raises(AnnotationError, match=sentence):
        person.do(label="car", **change)
    assert person.editor.open(person.picture.id)["revision"] == 0


def test_settings_reach_the_model_inside_a_box(folder):
    model = StubModel()
    engine = Engine(lambda progress: model)
    engine.start()
    person = Annotator(Editor(Project(folder / "out", folder / "images"), engine))
    person.do("box", box=[5, 5, 40, 60], label="car", settings={"working_size": 320})
    assert model.asked[-1] == Settings(zoom_in=False, working_size=320)


# ---------------------------------------------------------------------------------------------- labels


def labels(project: Project) -> list[str]:
    return [label.name for label in project.labels]


def test_a_renamed_label_is_renamed_everywhere_and_undo_goes_on(person, folder):
    project = person.editor.project
    person.click(20, 30)
    person.do("finish")
    project.change_label("car", to="auto", colour="#112233")
    person.do("undo")
    person.do("redo")
    for state in (person.state, Annotator(Editor(Project(folder / "out"), person.editor.engine)).state):
        assert state["objects"][0]["label"] == "auto"
    project.add_label("car")  # is another class now
    person.click(50, 70, label="car")
    person.do("finish")
    assert [target["label"] for target in person.state["objects"]] == ["auto", "car"]
    assert labels(Project(folder / "out")) == ["auto", "person", "car"]


def test_merging_gives_the_objects_of_one_label_to_another(person, folder):
    project = person.editor.project
    person.click(20, 30)
    person.do("finish")
    project.change_label("car", to="person")
    assert labels(project) == ["person"]
    project.change_label("person", to="human")
    again = Annotator(Editor(Project(folder / "out"), person.editor.engine))
    assert again.state["objects"][0]["label"] == "human"


def test_a_label_in_use_is_deleted_only_into_another(person):
    project = person.editor.project
    person.click(20, 30)
    person.do("finish")
    with pytest.raises(AnnotationError, match="1 objects have the label car") as refusal:
        project.delete_label("car")
    assert refusal.value.code == "label_used" and refusal.value.values["objects"] == 1
    project.delete_label("car", to="person")
    assert labels(project) == ["person"]


def test_the_last_label_stays(person):
    person.editor.project.delete_label("car")
    with pytest.raises(AnnotationError, match="last label"):
        person.editor.project.delete_label("person")
    with pytest.raises(NotFoundError):
        person.editor.project.change_label("car", to="x")


def test_labels_of_every_script_and_a_colour_each(person):
    project = person.editor.project
    names = ["\u06a9\u062a\u0627\u0628\u200c\u0647\u0627", "\u0915\u094d\u200d\u0937", "\u732b", "a\u00a0b"]
    names += map(str, range(40))
    for name in names:
        project.add_label(name)
    assert labels(project)[2:] == names
    colours = [label.colour for label in project.labels]
    assert colours[:10] == list(COLOURS) and len(set(colours)) == len(colours)


def test_a_label_that_a_click_brings_is_kept(person, folder):
    person.click(20, 30, label="new")
    assert labels(Project(folder / "out")) == ["car", "person", "new"]


# ---------------------------------------------------------------------------------------------- reviews


def test_a_review_is_a_step_and_new_work_takes_it_back(person):
    person.click(20, 30)
    person.do("mark", done=True)
    person.do("review", state="sent back", note="the left ear")
    assert person.state["status"] == "sent back" and person.state["note"] == "the left ear"
    assert person.editor.project.summary(person.picture).status == "sent back"
    person.do("edit", object=1)
    assert person.state["status"] == "in work" and person.state["note"] == "the left ear"
    person.do("review", state="approved")
    assert person.state["status"] == "approved" and len(person.state["objects"]) == 1
    person.do("review", state="open")
    assert person.state["status"] == "done"
    for status in ("approved", "in work", "sent back", "done"):
        person.do("undo")
        assert person.state["status"] == status


class DrawingPredictor(StubPredictor):
    """A model that understands strokes and contours: it remembers what it was given, and answers with nothing."""

    given: ClassVar[list] = []

    def get_prediction(self, clicker, prev_mask=None) -> np.ndarray:
        DrawingPredictor.given = clicker if isinstance(clicker, list) else clicker.get_clicks()
        return np.full(self.shape, 0.6, np.float32)


class DrawingModel(StubModel):
    understands = ("click", "stroke", "contour")

    def predictor(self, settings: Settings) -> DrawingPredictor:
        return DrawingPredictor()


def test_a_model_is_given_what_it_understands(folder):
    """Strokes and contours as such; one that crosses itself is none, and becomes a click in its zoom-in box."""
    engine = Engine(DrawingModel)
    engine.start()
    engine.wait()
    person = Annotator(Editor(Project(folder / "out", folder / "images"), engine))
    person.click(20, 30)
    person.do("stroke", points=[[-9, 10], [30, 40]], positive=False)
    person.do("box", box=[5, 5, 40, 50])
    person.do("lasso", points=[[5, 5], [5, 90], [30, 90], [30, 5]], positive=True)
    kinds = [type(each).__name__ for each in DrawingPredictor.given]
    assert kinds == ["Click", "Stroke", "Contour", "Contour"]
    assert DrawingPredictor.given[1].points == ((0, 10), (30, 40)) and not DrawingPredictor.given[1].is_positive
    assert [click[3] for click in person.state["active"]["clicks"]] == [0]
    person.do("lasso", points=[[5, 5], [50, 70], [5, 70], [50, 5]], positive=True)
    assert {type(each).__name__ for each in DrawingPredictor.given} == {"Click"}  # inside the box of the lasso
    assert person.mask()[25, 60] and not person.mask()[6, 37]


def test_the_predictor_takes_what_prompts_become():
    from solution import ISModel, NetworkConfig, Predictor

    predictor = Predictor(ISModel(config=NetworkConfig(drawings="separate")).eval())
    predictor.set_input_image(np.zeros((40, 50, 3), np.uint8))
    prompts = (Prompt("click", ((5, 5),)), Prompt("stroke", ((0, 0), (90, 90))), Prompt("box", ((-3, 1), (20, 70))),
               Prompt("lasso", ((1, 1), (30, 3), (20, 45)), False))
    given = [each for prompt in prompts for each in interactions(prompt, (40, 50), ("click", "stroke", "contour"))]
    assert len(given) == 4 and predictor.get_prediction(given).shape == (40, 50)
