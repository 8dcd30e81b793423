"""Clicks on the annotation page, and what the model makes of them."""
import re
import shutil
import sys

import cv2
import numpy as np
import pytest
from annotate.stub import StubModel, StubPredictor, write_pictures
from person import PHOTO, TESTS, Person, expected
from playwright.sync_api import expect

from utils.clicker import Click, Clicker
from utils.images import read_photo

CHECKPOINT = TESTS.parent / "checkpoint.pth"


def test_three_clicks_give_the_python_apis_mask(person):
    person.click(200, 260)
    person.click(220, 350, button="right")
    person.click(260, 200)
    person.settle()
    clicks = [(200, 260, True), (220, 350, False), (260, 200, True)]
    saved = [(step["y"], step["x"], step["positive"]) for step in person.server.session("a.jpg")["steps"]]
    assert saved == clicks
    assert np.array_equal(person.server.mask("a.jpg"), expected(read_photo(PHOTO).pixels, *clicks))
    assert "3 clicks spent" in person.text("#picture-facts") and "answered in" in person.text("#answered")


def test_alt_click_is_negative(person):
    person.click(200, 260)
    person.page.keyboard.down("Alt")
    person.click(220, 350)
    person.page.keyboard.up("Alt")
    person.settle()
    assert [step["positive"] for step in person.server.session("a.jpg")["steps"]] == [True, False]


def test_the_mask_is_drawn_over_the_picture_where_it_is(person):
    before = person.colour(200, 300)
    outside = person.colour(30, 30)
    person.click(200, 260)
    person.settle()
    blue = person.colour(200, 300)
    assert blue[2] > before[2] + 20 and person.colour(30, 30) == outside
    person.press("w", "w", "w")  # contour, probability, the plain picture
    person.settle()
    assert person.colour(200, 300) == before


def test_fast_clicks_keep_their_order(person):
    places = [(100 + 10 * (i % 7), 150 + 11 * i) for i in range(15)]
    for y, x in places:
        person.click(y, x)
    person.settle()
    assert [(step["y"], step["x"]) for step in person.server.session("a.jpg")["steps"]] == places


def test_undo_and_redo(person):
    person.click(200, 260)
    person.settle()
    one = person.server.mask("a.jpg")
    person.click(220, 350, button="right")
    person.settle()
    two = person.server.mask("a.jpg")
    person.press("Control+z")
    person.settle()
    assert np.array_equal(person.server.mask("a.jpg"), one) and "1 click" in person.text("#work-facts")
    person.press("Control+Shift+z")
    person.settle()
    assert np.array_equal(person.server.mask("a.jpg"), two)
    person.press("Control+z", "Control+z")
    person.settle()
    assert person.server.session("a.jpg")["in_work"] is None and person.page.locator("#undo").is_disabled()


def test_a_click_is_deleted_from_the_list_and_under_the_pointer(person):
    for place in ((200, 260), (100, 100), (300, 400)):
        person.click(*place)
    person.settle()
    person.page.get_by_label("Delete click 2, positive").click()
    person.settle()
    person.page.mouse.move(*person.place(300, 400))
    person.press("Delete")
    person.settle()
    assert np.array_equal(person.server.mask("a.jpg"), expected(read_photo(PHOTO).pixels, (200, 260, True)))


def test_the_threshold_slider_changes_the_mask(person):
    person.click(200, 260)
    person.settle()
    slider = person.page.locator("#threshold")
    slider.fill("0.8")
    person.settle()
    predictor = StubPredictor()
    predictor.set_input_image(read_photo(PHOTO).pixels)
    probability = predictor.get_prediction(Clicker(init_clicks=[Click(True, (200, 260))]))
    assert np.array_equal(person.server.mask("a.jpg"), probability > 0.8)


def test_the_models_own_settings_are_shown_when_it_is_loaded(browser, serve, tmp_path):
    write_pictures(tmp_path / "images", "a.png")
    person = Person(browser, serve())
    person.sees("#model-name", "stub.pth")
    assert person.text("#expand-ratio + output") == f"× {StubModel.defaults.expand_ratio}"
    loading = {"model": {"state": "loading", "fraction": 0.5, "text": "reading"}, "job": None, "work": None,
               "revision": None}
    person.page.route("**/api/status*", lambda route: route.fulfill(json={**route.fetch().json(), **loading}))
    person.page.reload()
    person.wait_open("a.png")
    person.sees("#loading", "Loading the model: reading")
    for setting in ("threshold", "expand-ratio", "working-size"):
        assert person.text(f"#{setting} + output") == "–" and person.page.locator(f"#{setting}").is_disabled()
    person.leave()


def test_a_long_change_shows_how_far_it_is(browser, serve, tmp_path):
    write_pictures(tmp_path / "images", "a.png")
    person = Person(browser, serve())
    work = {"text": "Taking proposals", "done": 3, "total": 12}
    person.page.route("**/api/status*", lambda route: route.fulfill(json={**route.fetch().json(), "work": work}))
    person.sees("#loading", "Taking proposals: 3 of 12")
    assert person.page.locator("#loading-bar").evaluate("(bar) => bar.value") == 0.25
    person.leave()


def test_zoomed_in_clicks_hit_the_pixel_that_is_seen(person):
    x, y = person.place(100, 400)
    person.page.mouse.move(x, y)
    for _ in range(8):
        person.page.mouse.wheel(0, -240)
    expect(person.page.locator("#zoom-value")).to_have_text(re.compile(r"^[1-9]\d{3} %$"))
    person.page.mouse.click(x, y)
    person.settle()
    step = person.server.session("a.jpg")["steps"][0]
    assert (step["y"], step["x"]) == (100, 400)
    person.page.mouse.move(x, y)
    person.page.mouse.down(button="middle")
    person.page.mouse.move(x + 100, y)
    person.page.mouse.up(button="middle")
    person.press("f")
    person.click(300, 50)
    person.settle()
    step = person.server.session("a.jpg")["steps"][1]
    assert (step["y"], step["x"]) == (300, 50)


def test_a_large_picture(browser, serve, tmp_path):
    """12 megapixels, clicked at the far corner's pixel."""
    image = cv2.resize(cv2.imread(str(PHOTO)), (4000, 3000), interpolation=cv2.INTER_CUBIC)
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "large.jpg"), image)
    server = serve()
    person = Person(browser, server)
    person.page.mouse.move(*person.place(2900, 3900))
    person.click(1500, 2000)
    person.settle()
    step = server.session("large.jpg")["steps"][0]
    assert abs(step["y"] - 1500) <= 3 and abs(step["x"] - 2000) <= 3  # a screen pixel covers several of the picture
    assert np.array_equal(server.mask("large.jpg"), expected(np.zeros((3000, 4000, 3), np.uint8),
                                                             (step["y"], step["x"], True)))


@pytest.mark.skipif(not CHECKPOINT.is_file(), reason="there is no checkpoint.pth yet")
def test_the_real_model_gives_the_page_the_apis_mask(browser, serve_process, tmp_path):
    import torch

    from solution import ISModel, Predictor

    (tmp_path / "images").mkdir()
    shutil.copy(PHOTO, tmp_path / "images" / "a.jpg")
    command = [sys.executable, "-u", "-m", "utils.annotate", str(tmp_path / "images"), "--out", str(tmp_path / "out")]
    server = serve_process(command=[*command, "--port", "0", "--checkpoint", str(CHECKPOINT)])
    person = Person(browser, server)
    person.click(200, 260)
    person.click(60, 60, button="right")
    person.click(230, 300)
    person.settle()
    steps = server.session("a.jpg")["steps"]
    model = ISModel()
    model.restore_from_checkpoint(str(CHECKPOINT), torch.device("cpu"))
    predictor = Predictor(model.eval(), torch.device("cpu"))
    predictor.set_input_image(read_photo(PHOTO).pixels)
    clicks = [Click(step["positive"], (step["y"], step["x"])) for step in steps]
    mask = None
    for count in range(1, len(clicks) + 1):
        mask = predictor.get_prediction(Clicker(init_clicks=clicks[:count])) > model.pred_thr
    assert len(clicks) == 3 and np.array_equal(server.mask("a.jpg"), mask)
