"""What was done on the annotation page is never lost: killed servers, full disks, closed tabs, other tabs."""
import sys

import numpy as np
import pytest
from annotate.stub import write_pictures
from person import PATIENCE, STUB, Person, expected
from playwright.sync_api import expect


def test_a_killed_server_loses_nothing(browser, serve_process, tmp_path):
    write_pictures(tmp_path / "images", "a.png")
    server = serve_process()
    person = Person(browser, server)
    person.click(30, 40)
    person.settle()
    server.kill()
    person.click(20, 60, button="right")
    person.click(50, 20)
    person.sees("#saved", "2 steps kept")
    serve_process(port=server.port)
    person.settle()
    clicks = [(30, 40, True), (20, 60, False), (50, 20, True)]
    assert [(step["y"], step["x"], step["positive"]) for step in server.session("a.png")["steps"]] == clicks
    assert np.array_equal(server.mask("a.png"), expected(np.zeros((60, 80, 3), np.uint8), *clicks))
    person.press(*["Control+z"] * 3)
    person.settle()
    assert server.session("a.png")["in_work"] is None


def test_a_page_without_a_server_goes_on_when_it_is_back(browser, serve_process, tmp_path):
    write_pictures(tmp_path / "images", "a.png", "b.png")
    server = serve_process()
    person = Person(browser, server)
    person.page.wait_for_load_state("networkidle")
    server.kill()
    person.press("d")
    person.sees("#messages", "can't be reached")
    person.sees("#picture-facts", "couldn't be opened")
    serve_process(port=server.port)
    person.wait_open("b.png")
    person.click(30, 40)
    person.settle()
    assert len(server.session("b.png")["steps"]) == 1


def test_a_picture_that_cannot_be_opened_does_not_show_the_last_one(browser, serve, tmp_path):
    write_pictures(tmp_path / "images", "a.png")
    (tmp_path / "images" / "b.png").write_bytes(b"damaged")
    person = Person(browser, serve())
    row = "() => new Set(document.querySelector('#base').getContext('2d').getImageData(300, 300, 60, 1).data).size"
    person.settle()
    assert person.page.evaluate(row) > 4
    person.page.locator("#next").click()
    person.sees("#picture-facts", "couldn't be opened")
    person.page.wait_for_timeout(200)
    assert person.page.evaluate(row) == 4  # one colour and its opacity
    person.leave()


def test_a_tab_of_one_project_does_not_write_into_another(browser, serve_process, tmp_path):
    """Folders of frames have the same names; one is annotated, the server ended, the next one served."""
    write_pictures(tmp_path / "images", "00000.png", "00001.png")
    server = serve_process()
    person = Person(browser, server)
    person.page.wait_for_load_state("networkidle")
    server.kill()
    person.click(30, 40)
    person.sees("#saved", "1 step kept")
    stub, port = STUB, server.port
    with person.page.expect_event("load", timeout=PATIENCE):  # the page begins anew with the other project
        serve_process(command=[sys.executable, stub, str(tmp_path / "images"), str(tmp_path / "other"), port])
    person.wait_open("00000.png")
    person.settle()
    assert not (tmp_path / "other" / "sessions").exists()
    person.sees("#picture-facts", "0 clicks spent")
    person.leave()


def test_clicks_are_kept_until_a_new_server_has_seen_its_token(browser, serve, tmp_path):
    """A server beyond this machine forgets its browsers when it ends; what they have to say isn't lost by that."""
    write_pictures(tmp_path / "images", "a.png")
    person = Person(browser, serve())
    refusal = {"error": "Open the full address that the server printed last."}
    person.page.route("**/api/**", lambda route: route.fulfill(status=401, json=refusal))
    person.click(30, 40)
    person.click(20, 60)
    person.sees("#saved", "2 steps kept")
    person.sees("#messages", "Open the full address")
    person.page.unroute("**/api/**")
    person.settle()
    assert len(person.server.session("a.png")["steps"]) == 2


def test_a_damaged_mask_is_told_and_undone(browser, serve_process, tmp_path):
    write_pictures(tmp_path / "images", "a.png")
    server = serve_process()
    person = Person(browser, server)
    person.click(30, 40)
    person.settle()
    server.kill()
    for path in (tmp_path / "out" / "masks" / "a.png").iterdir():
        path.write_bytes(b"x")
    serve_process(port=server.port)
    person.page.reload()
    person.wait_open("a.png")
    person.sees("#messages", "is damaged")
    person.press("Control+z")
    person.settle()
    assert server.session("a.png")["in_work"] is None


def test_a_full_disk_is_waited_for(person):
    refusal = {"error": "The step could not be saved: No space left on device. Nothing was changed.", "retry": True}
    person.page.route("**/change", lambda route: route.fulfill(status=503, json=refusal))
    person.click(200, 260)
    person.click(220, 350, button="right")
    person.sees("#saved", "2 steps kept")
    person.sees("#banner", "No space left")
    expect(person.page.locator("#saved")).to_have_attribute("data-state", "trouble")
    person.page.unroute("**/change")
    person.settle()
    assert person.server.clicks("a.jpg") == [(200, 260, True), (220, 350, False)]
    expect(person.page.locator("#banner")).to_be_hidden()
    person.problems.clear()  # the browser's own lines about status 503


def test_a_step_that_needs_a_model_which_cannot_be_loaded_does_not_hold_up_others(person):
    refusal = {"error": "The model can't be loaded.", "code": "no_model", "retry": False}
    person.page.route("**/change", lambda route: route.fulfill(status=503, json=refusal)
                      if route.request.post_data_json["op"] == "click" else route.continue_())
    person.click(200, 260)
    person.sees("#messages", "can't be loaded")
    person.press("b")
    person.drag((20, 20), (20, 120))
    person.settle()
    assert [step["op"] for step in person.server.session("a.jpg")["steps"]] == ["brush"]
    person.problems.clear()


def test_a_closed_tab_loses_nothing(browser, serve_process, tmp_path):
    """The server is killed, three clicks are made, the tab is closed; the next tab sends them."""
    write_pictures(tmp_path / "images", "a.png", "b.png")
    server = serve_process()
    person = Person(browser, server)
    server.kill()
    clicks = [(30, 40, True), (20, 60, False), (50, 20, True)]
    for y, x, is_positive in clicks:
        person.click(y, x, button="left" if is_positive else "right")
    person.sees("#saved", "3 steps kept")
    person.page.close()
    serve_process(port=server.port)
    again = Person(person.context, server)
    again.sees("#picture-facts", "3 clicks spent")
    again.settle()
    assert server.clicks("a.png") == clicks
    again.page.reload()
    again.wait_open("a.png")
    again.settle()
    assert server.clicks("a.png") == clicks  # and aren't sent once more
    again.leave()


def test_steps_that_were_saved_unheard_are_not_repeated(person):
    """The answer is lost on the way, the tab is closed: the next one sends the click again, with the same id."""
    person.page.route("**/change", lambda route: (route.fetch(), route.abort()))
    person.click(200, 260)
    person.sees("#saved", "1 step kept")
    again = Person(person.context, person.server)
    person.page.unroute_all(behavior="ignoreErrors")
    person.page.close()
    again.sees("#picture-facts", "1 click spent")
    again.page.wait_for_timeout(2500)  # it looks for tabs that have gone every 1.5 s
    again.settle()
    assert person.server.clicks("a.jpg") == [(200, 260, True)]
    person.problems.clear()


def keep_quiet(person: Person) -> None:
    """Lets a page not hear by itself of changes that others make."""
    person.page.route("**/api/status*", lambda route: route.fulfill(json={**route.fetch().json(), "revision": None}))


def test_a_click_fits_what_another_tab_has_finished(person, browser):
    other = Person(browser, person.server)
    keep_quiet(other)
    person.click(200, 260)
    person.press("Space")
    person.settle()
    other.click(100, 100)
    other.settle()
    assert person.server.clicks("a.jpg") == [(200, 260, True), (100, 100, True)]
    assert len(person.server.session("a.jpg")["objects"]) == 1
    other.leave()


@pytest.mark.parametrize("is_applied", [True, False])
def test_a_click_that_does_not_fit_another_tabs_change_waits_in_view(person, browser, is_applied):
    other = Person(browser, person.server)
    keep_quiet(other)
    person.click(200, 260)
    person.settle()
    other.click(100, 100)  # meant as a new object, but the first tab has one in work
    other.sees("#banner", "1 step made here doesn't fit")
    expect(other.page.locator(".click-chip")).to_have_count(2)
    assert person.server.clicks("a.jpg") == [(200, 260, True)]
    other.page.reload()
    other.sees("#banner", "1 step made here doesn't fit")
    other.page.get_by_role("button", name="Apply all the same" if is_applied else "Discard").click()
    other.settle()
    expect(other.page.locator("#banner")).to_be_hidden()
    assert person.server.clicks("a.jpg") == [(200, 260, True), (100, 100, True)][: 1 + is_applied]
    other.problems.clear()
    other.leave()


def test_the_first_tab_hears_of_the_second(person, browser):
    other = Person(browser, person.server)
    other.click(300, 300)
    other.settle()
    person.sees("#picture-facts", "1 click spent")
    person.sees("#messages", "another tab")
    other.leave()


@pytest.mark.parametrize("way", ["button", "key"])
def test_a_stray_enter_is_taken_back_at_once(person, way):
    person.click(200, 260)
    person.press("Enter")
    person.wait_open("b.png")
    person.sees("#messages", "a.jpg is marked as done")
    if way == "button":
        person.page.locator("#messages").get_by_role("button", name="Undo").click()
    else:
        person.press("Control+z")
    person.wait_open("a.jpg")
    person.settle()
    session = person.server.session("a.jpg")
    assert session["status"] == "in work" and session["objects"] == [] and len(session["in_work"]["clicks"]) == 1
    person.press("Control+z")  # is the picture's own again
    person.settle()
    assert person.server.session("a.jpg")["in_work"] is None


def test_the_last_good_session_is_put_back(browser, serve_process, tmp_path):
    write_pictures(tmp_path / "images", "a.png", "b.png")
    server = serve_process()
    person = Person(browser, server)
    person.click(30, 40)
    person.click(20, 60, button="right")
    person.settle()
    server.kill()
    path = tmp_path / "out" / "sessions" / "a.png.json"
    path.write_bytes(path.read_bytes()[:100])
    serve_process(port=server.port)
    person.page.reload()
    person.sees("#progress-text", "1 can't be read")
    person.page.locator("#picture-list li").first.click()
    person.sees("#broken-text", "a.png.json")
    person.page.get_by_role("button", name="Put back the last good version").click()
    person.wait_open("a.png")
    person.settle()
    assert server.clicks("a.png")[:1] == [(30, 40, True)]
    person.leave()


@pytest.mark.parametrize("broken", ["Object.defineProperty(window, 'indexedDB', { value: null })",
                                    "IDBObjectStore.prototype.getAll = () => { throw new Error('damaged'); }"])
def test_a_browser_without_a_database_annotates_all_the_same(browser, serve, tmp_path, broken):
    write_pictures(tmp_path / "images", "a.png")
    server = serve()
    person = Person(browser, server, init=broken)
    person.page.route("**/change", lambda route: route.abort())
    person.click(30, 40)
    if "null" in broken:
        person.sees("#banner", "Keep this tab open")
    person.page.unroute("**/change")
    person.settle()
    assert server.clicks("a.png") == [(30, 40, True)]
    person.leave()
