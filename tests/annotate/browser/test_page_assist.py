"""The concept model on the annotation page: its proposals, its panel, and a whole annotation with it."""
from pathlib import Path

import cv2
import numpy as np
from person import PATIENCE, Person, show_concept
from playwright.sync_api import expect

SIZE = (90, 120)
RADIUS = 0.2 * min(SIZE)  # of the things in the scenes, and of what the stand-in for the click model makes of a click


def write_scenes(folder: Path, count: int) -> list[tuple[int, int]]:
    """Dark pictures, each with a bright disk; gives the middles (y, x)."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    middles = []
    for number in range(count):
        y, x = (int(rng.integers(30, side - 30)) for side in SIZE)
        image = rng.normal(60, 10, (*SIZE, 3))
        image[disk(y, x)] += (150, 160, 170)
        cv2.imwrite(str(folder / f"{number:02}.png"), image.clip(0, 255).astype(np.uint8))
        middles.append((y, x))
    return middles


def disk(y: int, x: int) -> np.ndarray:
    """Mask bool of a scene's thing."""
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return np.hypot(rows - y, columns - x) < RADIUS


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_twelve_pictures_are_annotated_and_the_thirteenth_comes_with_a_proposal(
        browser, serve_process, tmp_path, monkeypatch):
    monkeypatch.setenv("STUB_ASSIST", "")  # a model that is trained
    middles = write_scenes(tmp_path / "images", 13)
    server = serve_process()
    person = Person(browser, server)
    person.page.locator("#gate").uncheck()
    for number, middle in enumerate(middles[:12]):
        person.wait_open(f"{number:02}.png")
        person.click(*middle)
        person.press("Space", "Enter")
    person.wait_open("12.png")
    person.sees(".concept .lines", "trained on")
    person.page.get_by_label("Take proposal 1").wait_for(timeout=2 * PATIENCE)
    person.press("t")
    person.settle()
    (accepted,) = server.session("12.png")["objects"]
    assert accepted["clicks"] == [] and accepted["label"] == "car"
    assert iou(server.mask("12.png", 0), disk(*middles[12])) > 0.5
    person.page.locator(".concept").scroll_into_view_if_needed()
    with person.page.expect_download() as download:
        person.page.get_by_role("link", name="Model (.pth)").click()
    assert download.value.path().stat().st_size > 10_000
    person.leave()


def test_proposals_are_rejected_or_corrected_and_the_panel_says_what_they_are_worth(
        browser, serve_process, tmp_path, monkeypatch):
    monkeypatch.setenv("STUB_ASSIST", "annotate.stub:bright")  # a model that is ready
    middles = write_scenes(tmp_path / "images", 6)
    person = Person(browser, serve_process())
    proposal = person.page.get_by_label("Take proposal 1")
    proposal.wait_for(timeout=PATIENCE)
    reject_and_correct(person, *middles[0])
    person.sees("#hint", "Dashed: proposals")
    person.page.set_viewport_size({"width": 820, "height": 1180})
    person.page.locator("#finish-here").click()  # as hands without a keyboard accept
    person.settle()
    assert len(person.server.session("01.png")["objects"]) == 1
    person.press("Control+z")
    person.settle()
    person.page.set_viewport_size({"width": 1280, "height": 720})
    proposal.wait_for(timeout=PATIENCE)
    person.press("Enter")
    person.sees("#messages", "1 proposal was neither accepted nor rejected")
    look_at_the_panel(person)
    assert person.problems == []
    person.leave()


def reject_and_correct(person: Person, y: int, x: int) -> None:
    """Rejects the proposal of the first scene, brings it back, cuts something off it by a click, finishes the scene."""
    person.page.mouse.move(5, 5)
    person.press("Delete")
    person.sees("#messages", "1 proposal was rejected")
    expect(person.page.locator("#proposal-section")).to_be_hidden()
    person.settle()
    assert [step["op"] for step in person.server.session("00.png")["steps"]] == ["reject proposals"]
    person.press("Control+z")
    expect(person.page.get_by_label("Take proposal 1")).to_be_visible()
    person.settle()
    proposed = person.page.evaluate(OUTLINE)["area"]
    edge = x + round(RADIUS) - 2
    person.click(y, edge, button="right")
    person.press("Space")
    person.settle()
    (target,) = person.server.session("00.png")["objects"]
    assert target["label"] == "car" and target["clicks"] == [[y, edge, "-"]]
    mask = person.server.mask("00.png", 0)
    assert not mask[y, edge] and 0 < mask.sum() < proposed
    person.press("Enter")
    person.wait_open("01.png")


OUTLINE = """async () => {
  const get = async (path) => (await fetch(`/api/pictures/${location.hash.slice(1)}${path}`)).json();
  const [proposal] = (await get("")).proposals;
  return get(`/proposals/${proposal}`);
}"""


def look_at_the_panel(person: Person) -> None:
    """With figures that take long to come by."""
    person.page.route("**/api/project", lambda route: route.fulfill(json=surely(route.fetch().json())))
    show_concept(person)
    for text in ("trained on 12 pictures · in training", "IoU 0.80 of its last 2 proposals, before correction",
                 "1.3 clicks a picture with proposals (7 pictures)", "3.5 clicks a picture without (5 pictures)"):
        person.sees(".concept .lines", text)
    person.sees("#assist-problem", "PyTorch is missing (it is away)")
    curve = person.page.locator(".concept svg").get_attribute("aria-label")
    assert curve.endswith(": 5: 0.33; 8: 0.53; 12: 0.80")
    for button, what in (("Train now", "train"), ("Stop", "stop")):
        with person.page.expect_request("**/api/assist") as request:
            person.page.locator(".concept").get_by_role("button", name=button).evaluate(
                "(button) => { button.disabled = false; button.click(); }")
        assert request.value.post_data_json == {"do": what, "label": "car"}
    names = person.page.locator("#picture-list .name")
    person.sees("#picture-list", "likely empty, 70 %")
    for order, numbers in (("uncertain", "543201"), ("empty", "345201")):
        person.page.locator("#order").select_option(order)
        expect(names).to_have_text([f"0{number}.png" for number in numbers])


def surely(project: dict) -> dict:
    """A project of which the model is ever less sure from the first picture on, and sees nothing on the third."""
    for number, picture in enumerate(project["pictures"]):
        picture.update(sure=0.9 - number / 10, empty=number == 2)
    return project
