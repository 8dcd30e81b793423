"""Objects on the annotation page: finishing, labels, drawing, proposals, export; going from picture to picture."""
import json
import zipfile

import cv2
import numpy as np
from annotate.stub import write_pictures
from person import PHOTO, Person, expected
from playwright.sync_api import expect

from utils.images import read_photo


def test_two_objects_are_finished_and_the_first_is_protected(person):
    person.click(200, 240)
    person.press("Space")
    person.press("2")
    person.click(200, 340)
    person.press("Space")
    person.settle()
    session = person.server.session("a.jpg")
    assert [target["label"] for target in session["objects"]] == ["car", "person"]
    first, second = (person.server.mask("a.jpg", number) for number in (0, 1))
    image = read_photo(PHOTO).pixels
    assert np.array_equal(first, expected(image, (200, 240, True)))
    assert np.array_equal(second, expected(image, (200, 340, True)) & ~first)
    person.page.get_by_label("Protect finished objects' pixels").uncheck()
    person.click(200, 300)
    person.settle()
    assert np.array_equal(person.server.mask("a.jpg"), expected(image, (200, 300, True)))


def test_a_finished_object_is_relabelled_edited_and_deleted(person):
    person.click(200, 240)
    person.press("Space")
    person.settle()
    person.page.get_by_label("Label of object 1").select_option("person")
    person.settle()
    assert person.server.session("a.jpg")["objects"][0]["label"] == "person"
    person.page.keyboard.down("Control")
    person.click(200, 240)
    person.page.keyboard.up("Control")
    person.press("o")
    person.settle()
    assert "Object 1 · person" in person.text("#work-title")
    person.press("Space")
    person.settle()
    person.press("j", "Delete")
    person.settle()
    assert person.server.session("a.jpg")["objects"] == [] and "brings it back" in person.text("#messages")


def test_space_finishes_even_after_the_mouse_used_a_button(person):
    person.click(200, 240)
    person.page.locator("#views [data-view=contour]").click()
    person.press("Space")
    person.settle()
    assert len(person.server.session("a.jpg")["objects"]) == 1


def test_brush_and_eraser(person):
    person.click(200, 260)
    person.settle()
    before = person.server.mask("a.jpg")
    person.press("b")
    person.drag((20, 20), (20, 120))
    person.press("e")
    person.drag((200, 260), (200, 300))
    person.settle()
    mask = person.server.mask("a.jpg")
    assert mask[20, 20:121].all() and not mask[200, 260:301].any() and before[200, 260:301].all()
    person.press("v")
    person.click(300, 100)
    person.settle()
    assert person.server.mask("a.jpg")[20, 20:121].all()


def test_a_brush_of_one_pixel_paints_one_pixel(person):
    person.press("b", *["["] * 20)
    person.click(123, 234)
    person.settle()
    assert np.argwhere(person.server.mask("a.jpg")).tolist() == [[123, 234]]


def test_a_region_by_corners_and_by_dragging(person):
    person.press("r")
    for corner in ((50, 50), (50, 150), (120, 150), (120, 50)):
        person.click(*corner)
    person.press("Enter")
    person.settle()
    mask = person.server.mask("a.jpg")
    assert mask[50:121, 50:151].all() and abs(int(mask.sum()) - 71 * 101) < 250
    person.drag((200, 200), (200, 300), (300, 300), (300, 200))
    person.settle()
    assert person.server.mask("a.jpg")[205:295, 205:295].all()
    person.press("v")
    person.click(85, 100)
    person.settle()
    assert person.server.session("a.jpg")["steps"][-1]["op"] == "click"


def test_done_goes_on_to_the_next_picture(person):
    person.click(200, 260)
    person.press("Enter")
    person.wait_open("b.png")
    person.settle()
    assert person.server.session("a.jpg")["status"] == "done"
    assert "1 of 2 done" in person.text("#progress-text")
    listed = person.text("#picture-list li:first-child")
    assert "● done" in listed and "1 object · 1 click" in listed
    person.press("a")
    person.wait_open("a.jpg")


def test_the_keyboard_alone_finds_a_picture(person):
    person.press("/")
    person.page.keyboard.type("b.p")
    assert person.page.locator("#picture-list li").count() == 1
    person.press("Enter")
    person.wait_open("b.png")
    person.press("?")
    assert person.page.locator("#help").is_visible()
    person.press("Escape")
    assert person.page.locator("#help").is_hidden()


def test_proposals_are_accepted_and_corrected(browser, serve, tmp_path):
    write_pictures(tmp_path / "images", "a.png")
    labels = np.zeros((60, 80), np.uint8)
    labels[5:20, 5:20], labels[30:50, 30:60] = 1, 2
    write_pictures(tmp_path / "masks")
    cv2.imwrite(str(tmp_path / "masks" / "a.png"), labels)
    server = serve()
    person = Person(browser, server)
    person.page.get_by_label("Take proposal 2").click()
    person.click(10, 70)
    person.press("Space", "t")
    person.settle()
    assert [target["clicks"] for target in server.session("a.png")["objects"]] == [[[10, 70, "+"]], []]
    assert np.array_equal(server.mask("a.png", 1), labels == 1)
    assert server.mask("a.png", 0)[30:50, 30:60].all() and "1 click spent" in person.text("#picture-facts")


def test_export_from_the_page(person):
    person.click(200, 260)
    person.press("Space")
    person.settle()
    person.page.locator("#open-export").click()
    kinds = person.page.locator("#export-formats input").evaluate_all("(all) => all.map(({ value }) => value)")
    assert {"coco", "png", "labelme", "yolo"} <= set(kinds)
    for kind in kinds:
        person.page.locator(f"#export-formats [value={kind}]").check()
        person.page.locator("#start-export").click()
        person.sees("#export-state", f"/export/{kind}")
    person.page.locator("#export-formats [value=coco]").check()
    person.page.locator("#start-export").click()
    person.sees("#export-state", "/export/coco")
    with person.page.expect_download() as download:
        person.page.locator("#export-download").click()
    with zipfile.ZipFile(download.value.path()) as archive:
        assert "instances.json" in archive.namelist()
    person.press("Escape")
    expect(person.page.locator("#export")).to_be_hidden()
    person.press("Enter")  # is the picture's again, not the button's that opened the dialog
    person.wait_open("b.png")
    exported = person.server.folder / "out" / "export"
    assert json.loads((exported / "coco" / "instances.json").read_text())["annotations"]
    label_map = cv2.imread(str(exported / "png" / "labels" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(label_map == 1, person.server.mask("a.jpg", 0))
