"""A person at the annotation page in a real browser, and servers for them."""
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from annotate.stub import StubPredictor
from playwright.sync_api import Browser, BrowserContext, Page, expect

from utils.clicker import Click, Clicker

TESTS = Path(__file__).resolve().parents[2]
PHOTO = TESTS / "00_sample_input" / "imgs" / "apple.jpg"
STUB = str(TESTS / "annotate" / "stub.py")
PATIENCE = 60_000  # milliseconds; a busy machine is no failure


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
        return json.loads((self.folder / "out" / "sessions" / f"{name}.json").read_text(encoding="utf-8"))

    def clicks(self, name: str) -> list[tuple[int, int, bool]]:
        """The clicks of the history, (y, x, positive)."""
        steps = self.session(name)["steps"]
        return [(step["y"], step["x"], step["positive"]) for step in steps if step["op"] == "click"]

    def mask(self, name: str, number: int | None = None) -> np.ndarray:
        """The mask on the disk: of the object in work, or of a finished one."""
        session = self.session(name)
        summary = session["in_work"] if number is None else session["objects"][number]
        path = self.folder / "out" / "masks" / name / summary["mask"]
        return cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0


def start_process(folder: Path, port: str = "0", command: list[str] | None = None) -> Server:
    """A server that can be killed, with the stand-in model unless a command is given."""
    stub = [sys.executable, STUB, str(folder / "images"), str(folder / "out"), port]
    environment = {**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"}
    process = subprocess.Popen(command or stub, stdout=subprocess.PIPE, text=True, cwd=TESTS.parent, env=environment)
    line = next(line for line in iter(process.stdout.readline, "") if "http://" in line)
    return Server(folder, "http" + line.split("http", 1)[1].split()[0], process)


class Person:
    """Somebody at the page, in a browser of their own or in a further tab of a context."""

    def __init__(self, browser: Browser | BrowserContext, server: Server, *, await_picture: bool = True, init: str = "",
                 **options) -> None:
        options = {"viewport": {"width": 1280, "height": 720}, **options}
        self.server = server
        self.context = browser.new_context(**options) if isinstance(browser, Browser) else browser
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda line: self.problems.append(line.text) if line.type == "error" else None)
        if init:
            self.page.add_init_script(init)
        self.page.goto(server.address)
        if await_picture:
            self.wait_open()

    def leave(self) -> None:
        """Closes the browser, without waiting for answers that a test still stands in for."""
        if not self.page.is_closed():
            self.page.unroute_all(behavior="ignoreErrors")
        self.context.close()

    def wait_open(self, name: str = "") -> None:
        self.sees("#picture-name", name)
        self.sees("#picture-facts", " × ")

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
        box, tools = (self.page.locator(selector).bounding_box() for selector in ("#stage", "#tools"))
        margin = tools["x"] + tools["width"] - box["x"] + 10
        free = box["width"] - margin - 10, box["height"] - 20
        scale = min(free[0] / width, free[1] / height, 24)
        left = box["x"] + margin + (free[0] - width * scale) / 2
        top = box["y"] + 10 + (free[1] - height * scale) / 2
        return round(left + (x + 0.5) * scale), round(top + (y + 0.5) * scale)  # as a mouse has it

    def click(self, y: float, x: float, button: str = "left", **options) -> None:
        self.page.mouse.click(*self.place(y, x), button=button, **options)

    def drag(self, *points: tuple[float, float], button: str = "left") -> None:
        self.page.mouse.move(*self.place(*points[0]))
        self.page.mouse.down(button=button)
        for point in points[1:]:
            self.page.mouse.move(*self.place(*point), steps=4)
        self.page.mouse.up(button=button)

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


def expected(image: np.ndarray, *clicks: tuple[int, int, bool]) -> np.ndarray:
    """The stand-in model's mask."""
    predictor = StubPredictor()
    predictor.set_input_image(image)
    clicker = Clicker(init_clicks=[Click(is_positive, (y, x)) for y, x, is_positive in clicks])
    return predictor.get_prediction(clicker) > 0.5


FIGURES = {"label": "car", "trained_on": 12, "ious": [0.7, 0.9], "iou": 0.8, "with": {"pictures": 7, "clicks": 1.25},
           "without": {"pictures": 5, "clicks": 3.5}, "model": "/api/assist/files/car.pth", "masks": None,
           "curve": [{"trained_on": n, "iou": n / 15, "held_out": n / 20} for n in (5, 8, 12)]}
PROBLEM = {"code": "no_torch", "error": "No.", "values": {"reason": "it is away"}}
TRAINING = {"label": "car", "state": "training", "done": 13, "needed": 18, "trained_on": 12, "fraction": 0.5}
STATUS = {"version": 99, "gate": True, "problem": PROBLEM, "labels": [TRAINING]}


def show_concept(person: Person) -> None:
    """Lets the page hear of a concept model that has learnt for some time and has just died."""
    person.page.route("**/api/assist", lambda route: route.fulfill(
        json=STATUS if route.request.method == "POST" else {"labels": [FIGURES]}))
    person.page.route("**/api/status*", lambda route: route.fulfill(json={**route.fetch().json(), "assist": STATUS}))
    expect(person.page.locator(".concept svg")).to_be_attached(timeout=PATIENCE)
