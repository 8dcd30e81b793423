"""Labels, review, figures, what is shown and hidden, and a project without pictures."""
import json

import pytest
from annotate.stub import write_pictures
from person import Person
from playwright.sync_api import expect


def labels(person: Person) -> list[str]:
    project = json.loads((person.server.folder / "out" / "project.json").read_text(encoding="utf-8"))
    return [label["name"] for label in project["labels"]]


def finish_two(person: Person) -> None:
    """A car and a person."""
    person.click(200, 150)
    person.press("Space", "2")
    person.click(200, 400)
    person.press("Space")
    person.settle()


def test_a_label_is_renamed_recoloured_merged_and_deleted(person):
    finish_two(person)
    person.page.locator("#open-labels").click()
    person.page.get_by_label("Name of car").fill("lorry")
    person.press("Tab")
    expect(person.page.get_by_label("Name of lorry")).to_be_visible()
    person.page.get_by_label("Colour of lorry").fill("#102030")
    person.page.get_by_label("Delete label person").click()
    person.sees("#label-state", "label person")  # is used, and stays
    merge = person.page.get_by_label("Merge person into another label")
    person.page.once("dialog", lambda dialog: dialog.dismiss())
    merge.select_option("lorry")
    expect(person.page.locator("#label-rows li")).to_have_count(2)
    person.page.once("dialog", lambda dialog: dialog.accept())
    merge.select_option("lorry")
    expect(person.page.locator("#label-rows li")).to_have_count(1)
    person.press("Escape")
    expect(person.page.locator("#objects select").first).to_have_value("lorry")
    expect(person.page.locator("#objects select").last).to_have_value("lorry")
    expect(person.page.locator(".label-chip .dot")).to_have_css("background-color", "rgb(16, 32, 48)")
    person.page.locator("#new-label-name").fill("bird")
    person.press("Enter")
    expect(person.page.locator(".label-chip")).to_have_count(2)
    person.page.locator("#open-labels").click()
    person.page.get_by_label("Delete label bird").click()
    expect(person.page.locator("#label-rows li")).to_have_count(1)
    assert labels(person) == ["lorry"]
    person.problems.clear()  # the browser's own line about the refusal


def test_objects_are_hidden_and_shown(person):
    """The row's areas arrive between the press and the release of its button, which hides all the same."""
    before = person.colour(200, 150)
    held = []
    finish_two(person)
    person.page.route("**/outlines", lambda route: held.append(route))
    person.page.reload()
    person.wait_open("a.jpg")
    facts, hide = person.page.locator("[data-object='1'] .what"), person.page.get_by_label("Hide object 1")
    expect(facts).not_to_contain_text("px")
    hide.hover()
    person.page.mouse.down()
    for route in held:
        route.continue_()
    person.page.unroute("**/outlines")
    expect(facts).to_contain_text("px")
    person.page.mouse.up()
    expect(hide).to_have_attribute("aria-pressed", "true")
    hide.click()
    person.page.mouse.move(5, 5)
    person.settle()
    shown = person.colour(200, 150)
    assert shown != before
    hide.click()
    person.page.mouse.move(5, 5)
    assert becomes(person, before) and person.colour(200, 400) != before
    person.press("u")
    person.settle()
    assert person.colour(200, 400) not in (shown,)
    person.press("u")
    person.settle()
    assert becomes(person, shown)


def becomes(person, colour) -> bool:
    """Whether the first object's place is painted so before long: the browser paints when it has time."""
    for _ in range(100):
        if person.colour(200, 150) == colour:
            return True
        person.page.wait_for_timeout(100)
    return False


def test_two_objects_of_one_label_have_colours_of_their_own(person):
    for x in (150, 400):
        person.click(200, x)
        person.press("Space")
    person.settle()
    dots = person.page.locator("#objects .dot")
    colour = "(dots) => dots.map((dot) => getComputedStyle(dot).backgroundColor)"
    assert len(set(dots.evaluate_all(colour))) == 1
    person.page.locator("#colours").select_option("object")
    person.settle()
    assert len(set(dots.evaluate_all(colour))) == 2


def test_brightness_and_contrast_change_the_view_alone(person):
    before = person.colour(30, 30)
    person.page.locator("#brightness").fill("200")
    person.settle()
    assert sum(person.colour(30, 30)) > sum(before) + 30
    person.page.locator("#brightness").fill("100")
    person.page.locator("#contrast").fill("400")
    person.settle()
    assert person.colour(30, 30) != before
    person.page.locator("#contrast").fill("100")
    person.settle()
    assert person.colour(30, 30) == before


@pytest.mark.parametrize(("button", "status"), [("#approve", "approved"), ("#send-back", "sent back")])
def test_a_picture_is_reviewed_with_a_note(person, button, status):
    finish_two(person)
    person.page.locator("#review-note").fill("the wheel is missing")
    person.page.locator(button).click()
    person.sees("#picture-facts", status)
    person.settle()
    person.page.reload()
    person.wait_open("")
    person.page.locator("#picture-list li").first.click()
    person.wait_open("a.jpg")
    expect(person.page.locator("#review-note")).to_have_value("the wheel is missing")
    person.sees("#review-state", status)
    person.page.locator(button).click()  # takes it back
    expect(person.page.locator("#review-state")).to_have_text("")


def test_statistics(person):
    finish_two(person)
    person.press("Enter")
    person.wait_open("b.png")
    person.settle()
    person.page.locator("#open-statistics").click()
    person.sees("#statistics-facts", "1 of 2 done")
    rows = person.page.locator("#statistics-tables tbody tr").all_inner_texts()
    assert [row.split() for row in rows[:2]] == [["car", "1", "1"], ["person", "1", "1"]]
    assert rows[2].split()[1:] == ["2", "2", "1"]  # today


def test_sliders_go_as_far_as_the_server_allows(person):
    limits = person.page.evaluate("fetch('/api/project').then((answer) => answer.json())")["limits"]
    for name in ("threshold", "expand_ratio", "working_size"):
        slider = name.replace("_", "-")
        ends = [person.page.locator(f"#{slider}").get_attribute(end) for end in ("min", "max")]
        assert [float(end) for end in ends] == limits[name]


def test_an_empty_project_shows_how_to_begin(browser, serve, tmp_path):
    (tmp_path / "images").mkdir()
    server = serve()
    person = Person(browser, server, await_picture=False)
    expect(person.page.locator("#empty li")).to_have_count(3)
    person.page.locator("#take-sample").click()
    person.wait_open("sample.jpg")
    expect(person.page.locator("#empty")).to_be_hidden()
    person.click(380, 290)
    person.settle()
    assert len(server.clicks("sample.jpg")) == 1
    assert person.problems == []
    person.leave()


def test_pictures_that_come_later_appear(browser, serve, tmp_path):
    (tmp_path / "images").mkdir()
    person = Person(browser, serve(), await_picture=False)
    expect(person.page.locator("#empty")).to_be_visible()
    write_pictures(tmp_path / "images", "a.png")
    person.page.reload()
    person.wait_open("a.png")
    person.leave()


def labelme(label: str, *points: tuple[int, int]) -> str:
    """A file of labelme about a.jpg, with a polygon."""
    shape = {"label": label, "points": points, "shape_type": "polygon"}
    return json.dumps({"shapes": [shape], "imagePath": "a.jpg", "imageHeight": 400, "imageWidth": 520})


def test_what_was_annotated_elsewhere_is_taken_in(person, tmp_path):
    corners = (50, 60), (150, 60), (150, 120), (50, 120)
    upload, named = tmp_path / "a.json", tmp_path / "images" / "more" / "a.json"
    upload.write_text(labelme("bird", *corners), encoding="utf-8")
    named.parent.mkdir()
    named.write_text(labelme("car", *((x + 200, y) for x, y in corners)), encoding="utf-8")
    person.page.locator("#open-import").click()
    person.page.locator("#start-import").click()
    person.sees("#import-state", "Choose a file")
    person.page.locator("#import-formats [value=labelme]").check()
    person.page.locator("#import-file").set_input_files(upload)
    person.page.locator("#start-import").click()
    person.sees("#import-state", "1 object was taken in on 1 picture.")
    person.sees("#object-count", "1")
    assert person.server.mask("a.jpg", 0)[62:118, 52:148].all()
    person.page.get_by_label("proposals, to accept or correct").check()
    person.page.locator("#import-path").fill("more")
    person.page.locator("#start-import").click()
    person.sees("#proposal-count", "1")
    person.page.locator("#import-path").fill("../secret.json")
    person.page.locator("#start-import").click()
    person.sees("#import-state", "Only files in the picture folder")
    person.press("Escape", "t")
    person.sees("#object-count", "2")
    assert "bird" in labels(person)
    person.problems.clear()  # the browser's own line about the refusal
