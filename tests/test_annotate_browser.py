"""The annotation page in a real browser: Chromium, driven as a person would."""
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import uvicorn
from annotate_stub import StubModel, StubPredictor, stub_editor, write_pictures
from playwright.sync_api import Browser, Page, expect, sync_playwright

from utils.annotate.__main__ import listen
from utils.annotate.pictures import read_picture
from utils.annotate.server import create_app
from utils.clicker import Click, Clicker

ROOT = Path(__file__).resolve().parents[1]
PHOTO = ROOT / "tests" / "00_sample_input" / "imgs" / "apple.jpg"
CHECKPOINT = ROOT / "checkpoint.pth"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SWITCHES = ("--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
            "--disable-component-update --disable-sync").split()
LEFT_OF_THE_TOOLS = 82
PATIENCE = 60_000  # milliseconds; a busy machine is no failure

pytestmark = pytest.mark.skipif(CHROMIUM is None and not os.environ.get("CI"), reason="there is no Chromium here")


@dataclass
class Server:
    """A running server and the folder of its project."""

    folder: Path
    address: str
    process: subprocess.Popen | None = None

    @property
    def port(self) -> str:
        return self.address.rstrip("/").rsplit(":", 1)[1]

    def kill(self) -> None:
        """Ends its process at once, by SIGKILL."""
        self.process.kill()
        self.process.wait()

    def session(self, name: str) -> dict:
        return json.loads((self.folder / "out" / "sessions" / f"{name}.json").read_text())

    def mask(self, name: str, number: int | None = None) -> np.ndarray:
        """The mask on the disk: of the object in work, or of a finished one."""
        session = self.session(name)
        summary = session["in_work"] if number is None else session["objects"][number]
        path = self.folder / "out" / "masks" / name / summary["mask"]
        return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0


def start_process(folder: Path, port: str = "0", command: list[str] | None = None) -> Server:
    """A server that can be killed, with the stand-in model unless a command is given."""
    stub = [sys.executable, str(ROOT / "tests" / "annotate_stub.py"), str(folder / "images"), str(folder / "out"), port]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    process = subprocess.Popen(command or stub, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment)
    line = next(line for line in iter(process.stdout.readline, "") if "http://" in line)
    return Server(folder, "http" + line.split("http", 1)[1].split()[0], process)


@pytest.fixture
def serve_process(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts processes that end with the test."""
    servers = []

    def serve_now(**options) -> Server:
        servers.append(start_process(tmp_path, **options))
        return servers[-1]

    yield serve_now
    for server in servers:
        server.kill()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[], Server]]:
    """Starts a server in a thread of this process, on the pictures in tmp_path/images."""
    running = []

    def serve_now() -> Server:
        masks = tmp_path / "masks"
        editor = stub_editor(tmp_path / "images", tmp_path / "out", masks if masks.is_dir() else None)
        listener = listen("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(create_app(editor), log_level="warning", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((server, thread))
        return Server(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}/")

    yield serve_now
    for server, thread in running:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=SWITCHES)
        yield chromium
        chromium.close()


class Person:
    """Somebody at the page."""

    def __init__(self, browser: Browser, server: Server, **options) -> None:
        options = {"viewport": {"width": 1280, "height": 720}, **options}
        self.server = server
        self.page: Page = browser.new_context(**options).new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda line: self.problems.append(line.text) if line.type == "error" else None)
        self.page.goto(server.address)
        self.wait_open()

    def leave(self) -> None:
        """Closes the page, without waiting for answers that a test still stands in for."""
        self.page.unroute_all(behavior="ignoreErrors")
        self.page.context.close()

    def wait_open(self, name: str = "") -> None:
        self.sees("#picture-name", name)
        self.sees("#picture-facts", "spent")

    def sees(self, selector: str, text: str) -> None:
        """Waits until an element contains a text."""
        expect(self.page.locator(selector)).to_contain_text(text, timeout=PATIENCE)

    def settle(self) -> None:
        """Waits until everything is saved and drawn."""
        expect(self.page.locator("#saved")).to_have_attribute("data-state", "saved", timeout=PATIENCE)
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def place(self, y: float, x: float) -> tuple[int, int]:
        """Where a pixel of the picture lies on the screen, as long as the picture is fitted."""
        width, height = (int(part) for part in self.text("#picture-facts").split(" · ")[0].split(" × "))
        box = self.page.locator("#stage").bounding_box()
        free = box["width"] - LEFT_OF_THE_TOOLS - 10, box["height"] - 20
        scale = min(free[0] / width, free[1] / height, 24)
        left = box["x"] + LEFT_OF_THE_TOOLS + (free[0] - width * scale) / 2
        top = box["y"] + 10 + (free[1] - height * scale) / 2
        return round(left + (x + 0.5) * scale), round(top + (y + 0.5) * scale)  # as a mouse has it

    def click(self, y: float, x: float, button: str = "left") -> None:
        self.page.mouse.click(*self.place(y, x), button=button)

    def drag(self, *points: tuple[float, float]) -> None:
        self.page.mouse.move(*self.place(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.place(*point), steps=4)
        self.page.mouse.up()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def text(self, selector: str) -> str:
        return self.page.locator(selector).inner_text()

    def colour(self, y: float, x: float) -> list[int]:
        """What is seen at a pixel of the picture: RGB."""
        x, y = self.place(y, x)
        clip = {"x": x, "y": y, "width": 1, "height": 1}
        png = np.frombuffer(self.page.screenshot(clip=clip), np.uint8)
        return cv2.imdecode(png, cv2.IMREAD_COLOR)[0, 0, ::-1].tolist()


@pytest.fixture
def person(browser, serve, tmp_path) -> Person:
    """At a page with the photo of an apple, called a.jpg, and a small picture b.png."""
    write_pictures(tmp_path / "images", "b.png")
    shutil.copy(PHOTO, tmp_path / "images" / "a.jpg")
    someone = Person(browser, serve())
    yield someone
    assert someone.problems == []


def expected(image: np.ndarray, *clicks: tuple[int, int, bool]) -> np.ndarray:
    predictor = StubPredictor()
    predictor.set_input_image(image)
    clicker = Clicker(init_clicks=[Click(is_positive, (y, x)) for y, x, is_positive in clicks])
    return predictor.get_prediction(clicker) > 0.5


# ---------------------------------------------------------------------------------------------- clicks


def test_three_clicks_give_the_python_apis_mask(person):
    person.click(200, 260)
    person.click(220, 350, button="right")
    person.click(260, 200)
    person.settle()
    clicks = [(200, 260, True), (220, 350, False), (260, 200, True)]
    saved = [(step["y"], step["x"], step["positive"]) for step in person.server.session("a.jpg")["steps"]]
    assert saved == clicks
    assert np.array_equal(person.server.mask("a.jpg"), expected(read_picture(PHOTO), *clicks))
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
    assert np.array_equal(person.server.mask("a.jpg"), expected(read_picture(PHOTO), (200, 260, True)))


# ---------------------------------------------------------------------------------------------- objects


def test_two_objects_are_finished_and_the_first_is_protected(person):
    person.click(200, 240)
    person.press("Space")
    person.press("2")
    person.click(200, 300)
    person.press("Space")
    person.settle()
    session = person.server.session("a.jpg")
    assert [target["label"] for target in session["objects"]] == ["car", "person"]
    first, second = (person.server.mask("a.jpg", number) for number in (0, 1))
    image = read_picture(PHOTO)
    assert np.array_equal(first, expected(image, (200, 240, True)))
    assert np.array_equal(second, expected(image, (200, 300, True)) & ~first)
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


def test_the_threshold_slider_changes_the_mask(person):
    person.click(200, 260)
    person.settle()
    slider = person.page.locator("#threshold")
    slider.fill("0.8")
    person.settle()
    predictor = StubPredictor()
    predictor.set_input_image(read_picture(PHOTO))
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


def test_touch(browser, serve, tmp_path):
    write_pictures(tmp_path / "images", "a.png")
    server = serve()
    person = Person(browser, server, has_touch=True, viewport={"width": 1024, "height": 768})
    person.page.touchscreen.tap(*person.place(30, 40))
    person.settle()
    x, y = person.place(10, 10)
    session = person.page.context.new_cdp_session(person.page)
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    expect(person.page.locator(".click-chip.negative")).to_have_count(1)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    person.settle()
    steps = server.session("a.png")["steps"]
    assert [(step["y"], step["x"], step["positive"]) for step in steps] == [(30, 40, True), (10, 10, False)]


# ---------------------------------------------------------------------------------------------- trouble


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
    stub, port = str(ROOT / "tests" / "annotate_stub.py"), server.port
    with person.page.expect_event("load", timeout=PATIENCE):  # the page begins anew with the other project
        serve_process(command=[sys.executable, stub, str(tmp_path / "images"), str(tmp_path / "other"), port])
    person.wait_open("00000.png")
    person.settle()
    assert not (tmp_path / "other" / "sessions").exists()
    person.sees("#picture-facts", "0 clicks spent")


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


def test_two_tabs_do_not_overwrite_each_other(person, browser):
    other = Person(browser, person.server)

    def keep_quiet(route):  # so that it doesn't hear of changes by itself
        route.fulfill(json={**route.fetch().json(), "revision": None})

    other.page.route("**/api/status*", keep_quiet)
    person.click(200, 260)
    person.settle()
    other.click(100, 100)
    other.sees("#messages", "another tab")
    other.sees("#picture-facts", "1 click spent")
    assert len(person.server.session("a.jpg")["steps"]) == 1
    other.click(300, 300)
    other.settle()
    person.sees("#picture-facts", "2 clicks spent")
    person.sees("#messages", "another tab")
    other.leave()


def test_a_refusal_is_a_sentence_on_the_page(person):
    person.press("Space")
    assert "no object in work" in person.text("#messages")
    person.page.evaluate("fetch('/api/nowhere')")
    person.problems.clear()


@pytest.mark.parametrize("name", ["'\"><img src=x onerror=alert(1)>.png", "<script>alert(1)&amp;ü 写真 %2e%2e #?.png"])
def test_a_hostile_file_name_is_only_a_name(browser, serve, tmp_path, name):
    write_pictures(tmp_path / "images", name.replace("/", "_"))
    server = serve()
    person = Person(browser, server)
    person.page.on("dialog", lambda dialog: pytest.fail("the name ran as code"))
    assert person.page.locator("#picture-name").text_content() == name
    assert person.page.locator("#picture-list .name").text_content() == name
    person.click(30, 40)
    person.press("Space")
    person.settle()
    assert server.session(name)["objects"][0]["clicks"] == [[30, 40, "+"]]
    assert person.page.locator("img[src='x']").count() == 0 and person.problems == []


def test_a_hostile_label_is_only_a_label(person):
    name = "<img src=x onerror=alert(1)>"
    person.page.locator("#new-label-name").fill(name)
    person.press("Enter")
    expect(person.page.locator(".label-chip")).to_have_count(3)
    person.click(200, 260)
    person.press("Space")
    person.settle()
    assert person.server.session("a.jpg")["objects"][0]["label"] == name
    assert person.page.locator("img[src='x']").count() == 0


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


@pytest.mark.parametrize("size", [(1280, 720), (1024, 768), (820, 1180), (768, 1024)])
def test_everything_is_within_reach_on_small_screens(person, size):
    person.page.set_viewport_size({"width": size[0], "height": size[1]})
    for selector in ("#undo", "#done", "#open-export", "#zoom-fit", "[data-tool=pan]", "#views [data-view=picture]"):
        box = person.page.locator(selector).bounding_box()
        assert 0 <= box["x"] and box["x"] + box["width"] <= size[0] and box["y"] + box["height"] <= size[1], selector
    is_cut = "(element) => element.scrollWidth > element.clientWidth"
    assert size[0] > 820 or not person.page.locator("#picture-facts").evaluate(is_cut)
    for toggle, wanted in (("#toggle-list", "#search"), ("#toggle-panel", "#finish")):
        if person.page.locator(toggle).is_visible():
            person.page.locator(toggle).click()
        expect(person.page.locator(wanted)).to_be_in_viewport(ratio=1)


def test_text_is_readable(person):
    """Contrast of at least 4.5 to 1 for all text (WCAG 2.1, level AA)."""
    person.click(200, 260)
    person.press("Space")
    person.settle()
    poor = person.page.evaluate(CONTRAST)
    assert poor == []


CONTRAST = """() => {
  const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const ground = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = rgb(getComputedStyle(each).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.9) return colour;
    }
    return [0, 0, 0];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(":disabled, kbd, dialog:not([open])")) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) poor.push(`${element.tagName} ${element.textContent.slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return poor;
}"""


def test_export_from_the_page(person):
    person.click(200, 260)
    person.press("Space")
    person.settle()
    person.page.locator("#open-export").click()
    for button in ("COCO JSON", "PNG masks", "labelme JSON", "YOLO"):
        person.page.get_by_role("button", name=button).click()
        kind = {"COCO JSON": "coco", "PNG masks": "png", "labelme JSON": "labelme", "YOLO": "yolo"}[button]
        person.sees("#export-state", f"/export/{kind}")
    person.press("Escape")
    expect(person.page.locator("#export")).to_be_hidden()
    person.press("Enter")  # is the picture's again, not the button's that opened the dialog
    person.wait_open("b.png")
    exported = person.server.folder / "out" / "export"
    assert json.loads((exported / "coco" / "instances.json").read_text())["annotations"]
    label_map = cv2.imread(str(exported / "png" / "labels" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(label_map == 1, person.server.mask("a.jpg", 0))


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
    predictor.set_input_image(read_picture(PHOTO))
    clicks = [Click(step["positive"], (step["y"], step["x"])) for step in steps]
    mask = None
    for count in range(1, len(clicks) + 1):
        mask = predictor.get_prediction(Clicker(init_clicks=clicks[:count])) > model.pred_thr
    assert len(clicks) == 3 and np.array_equal(server.mask("a.jpg"), mask)
