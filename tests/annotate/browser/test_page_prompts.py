"""Boxes, strokes and lassos on the annotation page, and the preview of a click."""
import time

import numpy as np
import pytest
from annotate.stub import write_pictures
from person import Person
from playwright.sync_api import expect


def steps(person: Person) -> list[dict]:
    """The history of a.jpg without what was undone."""
    session = person.server.session("a.jpg")
    return session["steps"][: session["position"]]


def test_a_box_is_dragged(person):
    person.page.locator("[data-tool=box]").click()
    person.drag((120, 150), (280, 330))
    person.settle()
    (step,) = steps(person)
    assert step["op"] == "box" and np.abs(np.subtract(step["box"], [120, 150, 280, 330])).max() <= 1
    assert person.server.mask("a.jpg")[200, 240]
    expect(person.page.locator(".click-chip")).to_have_text(["+▭1"])


@pytest.mark.parametrize(("button", "positive"), [("left", True), ("right", False)])
def test_a_stroke_is_dragged_with_the_click_tool(person, button, positive):
    person.click(200, 240)
    person.drag((150, 150), (160, 300), (240, 300), button=button)
    person.settle()
    click, stroke = steps(person)
    assert (click["op"], stroke["op"], stroke["positive"]) == ("click", "stroke", positive)
    assert len(stroke["points"]) > 2 and np.abs(np.subtract(stroke["points"][-1], (240, 300))).max() <= 2


def test_a_lasso_is_drawn(person):
    person.press("l")
    person.drag((100, 150), (100, 330), (290, 330), (290, 150))
    person.settle()
    assert [step["op"] for step in steps(person)] == ["lasso"]
    assert person.server.mask("a.jpg").any()


def test_prompts_mix_and_are_taken_back_one_by_one(person):
    person.press("m")
    person.drag((120, 150), (280, 330))
    person.press("v")
    person.click(200, 240)
    person.drag((150, 170), (160, 300))
    person.settle()
    expect(person.page.locator(".click-chip")).to_have_text(["+▭1", "+2", "+~3"])
    person.page.get_by_label("Delete box 1, positive").click()
    expect(person.page.locator(".click-chip")).to_have_text(["+1", "+~2"])
    person.settle()
    person.press(*["Control+z"] * 3)
    person.settle()
    assert [step["op"] for step in steps(person)] == ["box"]
    expect(person.page.locator(".click-chip")).to_have_text(["+▭1"])
    person.page.reload()
    person.wait_open("a.jpg")
    expect(person.page.locator(".click-chip")).to_have_text(["+▭1"])


def test_a_press_that_hardly_moves_is_a_click(person):
    x, y = person.place(200, 260)
    person.page.mouse.move(x, y)
    person.page.mouse.down()
    person.page.mouse.move(x + 4, y + 3)
    person.page.mouse.up()
    person.settle()
    assert [step["op"] for step in steps(person)] == ["click"]
    person.press("m")
    person.click(100, 100)  # a box without an extent
    person.settle()
    assert len(steps(person)) == 1


def test_a_preview_is_shown_where_the_pointer_rests_and_is_not_saved(person):
    person.sees("#model-name", "stub.pth")
    person.page.mouse.move(*person.place(30, 30))
    before = person.colour(200, 300)
    person.page.mouse.move(*person.place(200, 260))
    deadline = time.monotonic() + 30
    while person.colour(200, 300) == before and time.monotonic() < deadline:
        person.page.wait_for_timeout(100)
    assert person.colour(200, 300) != before
    person.page.mouse.move(*person.place(10, 10))
    person.page.locator("#previews").uncheck()
    person.page.mouse.move(*person.place(200, 260))
    person.page.wait_for_timeout(600)
    assert person.colour(200, 300) == before
    assert not (person.server.folder / "out" / "sessions" / "a.jpg.json").exists()


def test_a_preview_never_holds_up_a_click(browser, serve, tmp_path):
    """A preview that is never answered is given up, and the click goes its way."""
    write_pictures(tmp_path / "images", "a.png")
    server = serve()
    person = Person(browser, server)
    person.sees("#model-name", "stub.pth")
    asked = []
    person.page.route("**/preview*", lambda route: asked.append(route))
    person.page.mouse.move(*person.place(30, 40))
    with person.page.expect_event("requestfailed", lambda request: "/preview" in request.url):
        while not asked:
            person.page.wait_for_timeout(50)
        person.page.mouse.down()
        person.page.mouse.up()
    person.settle()
    assert len(server.clicks("a.png")) == 1
    person.leave()
