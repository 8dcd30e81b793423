"""Keyboards of all layouts, double clicks, fingers and half-drawn regions on the annotation page."""
from pathlib import Path

import cv2
import numpy as np
import pytest
from annotate.stub import write_pictures
from person import Person
from playwright.sync_api import expect

RUSSIAN = {"z": ("я", "KeyZ"), "b": ("и", "KeyB"), "v": ("м", "KeyV"), "[": ("х", "BracketLeft"), "d": ("в", "KeyD")}


def press_russian(person: Person, key: str, **modifiers: bool) -> None:
    """A key as a Russian keyboard reports it; Playwright's own keyboard knows the American layout only."""
    own, code = RUSSIAN[key]
    person.page.evaluate("""([key, code, modifiers]) => document.body.dispatchEvent(
        new KeyboardEvent("keydown", { key, code, bubbles: true, cancelable: true, ...modifiers }))""",
                         [own, code, modifiers])


def test_shortcuts_work_on_a_russian_keyboard(person):
    person.click(200, 260)
    person.settle()
    press_russian(person, "z", ctrlKey=True)
    person.settle()
    assert person.server.session("a.jpg")["in_work"] is None
    press_russian(person, "z", ctrlKey=True, shiftKey=True)
    person.settle()
    assert person.server.session("a.jpg")["in_work"]
    brush = person.page.locator("#brush-size")
    before = int(brush.input_value())
    press_russian(person, "b")
    press_russian(person, "[")
    expect(person.page.locator("[data-tool=brush]")).to_have_attribute("aria-pressed", "true")
    assert int(brush.input_value()) == before - 5
    press_russian(person, "d")
    person.wait_open("b.png")


@pytest.mark.parametrize(("key", "code", "shift", "is_meant"), [
    ("&", "Digit1", False, True), ("/", "Digit7", True, False), ("a", "KeyQ", False, False)])
def test_latin_keyboards_count_by_what_they_write_but_for_digits(person, key, code, shift, is_meant):
    """French digits without Shift choose labels; German Shift+7 is a slash; the French A lies where Q is."""
    person.press("2")
    person.page.evaluate("""([key, code, shiftKey]) => document.body.dispatchEvent(
        new KeyboardEvent("keydown", { key, code, shiftKey, bubbles: true, cancelable: true }))""", [key, code, shift])
    chosen = person.page.locator(".label-chip[aria-checked=true]").inner_text()
    assert chosen.startswith("car" if is_meant else "person")
    if key == "/":
        expect(person.page.locator("#search")).to_be_focused()


def test_keys_are_called_as_on_the_persons_keyboard(browser, serve, tmp_path):
    write_pictures(tmp_path / "images", "a.png")
    layout = "navigator.keyboard.getLayoutMap = async () => new Map([['KeyZ', 'я'], ['KeyV', 'м'], ['KeyC', 'c']])"
    person = Person(browser, serve(), init=layout)
    assert person.page.locator("#undo").get_attribute("title") == "Nothing to undo (Ctrl+Я)"
    person.press("?")
    keys = person.page.locator("#help kbd").all_inner_texts()
    assert {"Ctrl+Я", "Ctrl+Shift+Я", "М", "C", "X"} <= set(keys)
    person.leave()


def test_the_keyboard_alone_annotates(person):
    """A cross is moved by Shift and arrows; G clicks there, Shift+G off the object."""
    person.page.locator("#overlay").focus()
    person.press("g", *["Shift+ArrowLeft"] * 5, "g", *["Shift+ArrowDown"] * 20, "Shift+G", "Space")
    person.settle()
    clicks = person.server.clicks("a.jpg")
    assert [positive for _, _, positive in clicks] == [True, False]  # the first G shows the cross
    assert clicks[1][0] > clicks[0][0] and abs(clicks[1][1] - clicks[0][1]) <= 1
    assert len(person.server.session("a.jpg")["objects"]) == 1


def test_regions_and_boxes_are_set_by_keys(person):
    person.page.locator("#overlay").focus()
    person.press("m", "g", "g", *["Shift+ArrowRight"] * 9, *["Shift+ArrowDown"] * 9, "g", "Space", "r")
    for way in ("Left", "Up", "Right"):
        person.press("g", *[f"Shift+Arrow{way}"] * 9)
    person.press("g", "Enter")
    person.settle()
    box, _, region = person.server.session("a.jpg")["steps"]
    top, left, bottom, right = box["box"]
    assert box["op"] == "box" and bottom - top == right - left > 30
    assert region["op"] == "region" and len(region["points"]) == 4


def test_a_double_click_sets_one_click(person):
    person.page.mouse.dblclick(*person.place(200, 260))
    person.settle()
    assert person.server.clicks("a.jpg") == [(200, 260, True)]


def test_a_double_click_with_select_edits(person):
    person.click(200, 260)
    person.press("Space")
    person.settle()
    person.press("s")
    person.page.mouse.dblclick(*person.place(200, 260))
    person.sees("#work-title", "Object 1")
    person.settle()
    assert person.server.session("a.jpg")["in_work"]["id"] == 1


def test_a_half_drawn_region_waits_for_its_picture_and_outlives_the_page(person):
    person.press("r")
    for corner in ((50, 50), (50, 150), (120, 150)):
        person.click(*corner)
    person.page.locator("#next").click()
    person.wait_open("b.png")
    expect(person.page.locator("#region-bar")).to_be_hidden()
    person.press("v", "a")
    person.wait_open("a.jpg")
    person.page.reload()
    person.wait_open("a.jpg")
    expect(person.page.locator("[data-tool=region]")).to_have_attribute("aria-pressed", "true")
    person.click(120, 50)
    person.press("Enter")
    person.settle()
    mask = person.server.mask("a.jpg")
    assert mask[52:119, 52:149].all() and abs(int(mask.sum()) - 71 * 101) < 250


def test_enter_passes_over_pictures_that_cannot_be_read(browser, serve, tmp_path):
    write_pictures(tmp_path / "images", "a.png", "c.png")
    (tmp_path / "images" / "b.png").write_bytes(b"no picture")
    person = Person(browser, serve())
    person.page.locator("#next").click()
    person.sees("#broken-text", "b.png")
    person.sees("#progress-text", "1 can't be read")
    person.press("Enter")
    person.wait_open("c.png")
    person.press("Enter")
    person.wait_open("a.png")
    person.press("Enter")
    person.sees("#messages", "No other picture is left")
    person.sees("#progress-text", "2 of 2 done")
    person.leave()


def test_a_click_on_a_finished_protected_object_offers_to_edit_it(person):
    person.click(200, 260)
    person.press("Space")
    person.settle()
    person.click(200, 300)
    person.sees("#messages", "finished object 1 (car)")
    person.page.get_by_role("button", name="Click all the same").click()
    person.settle()
    assert len(person.server.clicks("a.jpg")) == 2
    person.press("Control+z")
    person.settle()
    person.click(200, 320)
    person.page.locator("#messages").get_by_role("button", name="Edit object 1").click()
    person.sees("#work-title", "Object 1")
    person.settle()
    assert len(person.server.clicks("a.jpg")) == 1


class Fingers:
    """One finger or two on the screen, drawing lines."""

    def __init__(self, person: Person) -> None:
        self.person, self.session = person, person.page.context.new_cdp_session(person.page)

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """touchStart, touchMove or touchEnd at pixels of the picture."""
        places = [dict(zip("xy", self.person.place(*point), strict=True)) for point in points]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    def draw(self, *steps: list[tuple[float, float]]) -> None:
        """Fingers go through places; each step has one for each of them."""
        self.touch("touchStart", *steps[0])
        for step in steps[1:]:
            self.touch("touchMove", *step)
        self.touch("touchEnd")


def test_fingers_tap_press_draw_and_pinch(browser, serve, tmp_path):
    write_pictures(tmp_path / "images", "a.png")
    server = serve()
    person = Person(browser, server, has_touch=True, viewport={"width": 820, "height": 1180})
    screen, fingers = person.page.touchscreen, Fingers(person)
    screen.tap(*person.place(30, 40))
    fingers.touch("touchStart", (10, 10))
    expect(person.page.locator(".click-chip.negative")).to_have_count(1)  # by pressing long
    fingers.touch("touchEnd")
    person.page.locator("#sign").tap()
    screen.tap(*person.place(50, 10))
    fingers.draw([(20, 60)], [(25, 64)], [(30, 68)], [(35, 70)])
    person.settle()
    before = person.text("#zoom-value")
    fingers.draw([(20, 30), (20, 40)], [(20, 25), (20, 45)], [(20, 15), (20, 55)])
    expect(person.page.locator("#zoom-value")).not_to_have_text(before)
    person.press("f")
    for button in ("#toggle-list", "#toggle-panel"):
        person.page.locator(button).tap()
        screen.tap(*person.place(50, 40))  # closes the drawer, and does nothing else
        expect(person.page.locator("#scrim")).to_be_hidden()
    person.settle()
    steps = server.session("a.png")["steps"]
    assert [(step["op"], step["positive"]) for step in steps] == [
        ("click", True), ("click", False), ("click", False), ("stroke", False)]
    assert server.clicks("a.png") == [(30, 40, True), (10, 10, False), (50, 10, False)]
    assert np.abs(np.subtract(steps[3]["points"][-1], (35, 70))).max() <= 2
    person.leave()


def write_proposals(folder: Path, count: int) -> None:
    """A picture with a grid of small proposals, its last rows free: 8 pixels across, 100 in a row."""
    height = 8 * -(-count // 100) + 40
    write_pictures(folder / "images", "a.png", height=height, width=800)
    labels = np.zeros((height, 800), np.uint16)
    for number in range(count):
        y, x = divmod(number, 100)
        labels[8 * y + 1 : 8 * y + 7, 8 * x + 1 : 8 * x + 7] = number + 1
    write_pictures(folder / "masks")
    cv2.imwrite(str(folder / "masks" / "a.png"), labels)


def test_5000_proposals_do_not_stand_in_the_way(browser, serve, tmp_path):
    write_proposals(tmp_path, 5000)
    server = serve()
    person = Person(browser, server)
    person.sees("#proposal-count", "5,000")
    person.sees("#proposals", "4,900 more")
    person.page.wait_for_load_state("networkidle")  # the outlines come in parts
    person.press("s")
    person.click(396, 796)  # takes the last one, which no button stands for
    person.sees("#proposal-count", "4,999")
    person.press("v")
    person.click(430, 400)
    person.settle()
    assert server.clicks("a.png") == [(430, 400, True)]
    assert server.mask("a.png")[394:399, 794:799].all()
    person.leave()


def test_more_than_1000_proposals_are_accepted(browser, serve, tmp_path):
    write_proposals(tmp_path, 1100)
    server = serve()
    person = Person(browser, server)
    person.sees("#proposal-count", "1,100")
    person.press("t")
    person.sees("#object-count", "1,100")
    assert person.page.locator("#objects li").count() < 40  # as many as are in sight
    person.page.locator("#objects").evaluate("(list) => { list.scrollTop = list.scrollHeight; }")
    expect(person.page.locator("#objects [data-object='1100']")).to_be_visible()
    person.click(110, 400)
    person.settle()
    assert server.clicks("a.png") == [(110, 400, True)]
    person.leave()
