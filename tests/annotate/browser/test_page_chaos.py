"""A scripted annotation through killed servers, closed tabs and a disk that fills up: all of it arrives, once."""
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from annotate.stub import write_pictures
from person import PATIENCE, TESTS, Person, Server, expected, start_process
from playwright.sync_api import Browser, expect

DISTURBANCES = int(os.environ.get("ANNOTATE_CHAOS", "10"))  # 100 take some minutes
PICTURES = 10
OBJECTS = (  # key of the label, clicks (y, x, positive)
    ("1", [(20, 18, True), (38, 18, True), (52, 30, False)]),
    ("2", [(20, 60, True), (42, 64, True)]),
)


class Chaos:
    """A person who goes on whatever happens."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self.folder, self.random = folder, random.Random(0)
        self.server = self.start("0")
        self.person = Person(browser, self.server)
        self.happened: list[str] = []

    def start(self, port: str) -> Server:
        command = [sys.executable, str(Path(__file__).with_name("full_disk_server.py")), str(self.folder), port]
        return start_process(self.folder, command=command)

    def disturb(self) -> None:
        """Now and then something goes wrong, or what went wrong is mended."""
        mean = DISTURBANCES / (PICTURES * 7)  # actions of a picture
        for _ in range(int(mean) + (self.random.random() < mean % 1)):
            if self.random.random() < 0.4:
                self.mend()
            kind = self.random.choice(["server", "tab", "disk"])
            self.happened.append(kind)
            getattr(self, f"lose_{kind}")()

    def lose_server(self) -> None:
        self.server.kill()

    def lose_disk(self) -> None:
        (self.folder / "full").touch()

    def lose_tab(self) -> None:
        """The tab is closed as soon as the page says that all is kept; another one is opened at the same picture."""
        self.mend()
        name = self.person.text("#picture-name")
        kept = self.person.page.locator("#saved[data-state=saved], #saved:text-matches('kept')")
        expect(kept).to_be_visible(timeout=PATIENCE)
        self.person.page.close()
        self.person = Person(self.person.context, self.server)
        self.person.page.locator("#picture-list li", has_text=name).click()
        self.person.wait_open(name)

    def mend(self) -> None:
        (self.folder / "full").unlink(missing_ok=True)
        if self.server.process.poll() is not None:
            self.server = self.start(self.server.port)
            self.person.server = self.server

    def annotate(self, name: str) -> None:
        """The objects of one picture, which is then done."""
        for key, clicks in OBJECTS:
            self.person.press(key)
            for y, x, is_positive in clicks:
                self.person.click(y, x, button="left" if is_positive else "right")
                self.disturb()
            self.person.press("Space")
            self.disturb()
        self.person.press("Enter")
        self.mend()


@pytest.fixture
def chaos(browser, tmp_path) -> Iterator[Chaos]:
    write_pictures(tmp_path / "images", *(f"{number}.png" for number in range(PICTURES)))
    person = Chaos(browser, tmp_path)
    yield person
    person.server.kill()
    person.person.leave()


def test_nothing_is_lost_and_nothing_comes_twice(chaos, tmp_path):
    for number in range(PICTURES):
        name = f"{number}.png"
        chaos.person.wait_open(name)
        chaos.annotate(name)
    chaos.mend()
    chaos.person.settle()
    print("disturbed by", {kind: chaos.happened.count(kind) for kind in sorted(set(chaos.happened))})
    assert len(chaos.happened) > DISTURBANCES // 2
    command = [sys.executable, "-m", "utils.annotate", "export", str(tmp_path / "out"), "--format", "png"]
    subprocess.run(command, check=True, cwd=TESTS.parent, stdout=subprocess.DEVNULL)
    blank = np.zeros((60, 80, 3), np.uint8)
    first, second = (expected(blank, *clicks) for _, clicks in OBJECTS)
    for number in range(PICTURES):
        session = chaos.server.session(f"{number}.png")
        made = [click for _, clicks in OBJECTS for click in clicks]
        assert chaos.server.clicks(f"{number}.png") == made and session["status"] == "done"
        assert [target["label"] for target in session["objects"]] == ["car", "person"]
        labels = cv2.imread(str(tmp_path / "out" / "export" / "png" / "labels" / f"{number}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(labels == 1, first) and np.array_equal(labels == 2, second & ~first)
