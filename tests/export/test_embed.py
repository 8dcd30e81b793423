"""The client without Python in docs/embed: in a real browser its masks are those of Predictor."""
from __future__ import annotations

import functools
import http.server
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from solution import Predictor
from utils.clicker import Clicker

ROOT = Path(__file__).resolve().parents[2]
EMBED, SCENES = ROOT / "docs" / "embed", ROOT / "tests" / "00_sample_input"
PATIENCE = 180_000  # milliseconds; a busy machine is no failure


@pytest.fixture(scope="module")
def site(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of docs/embed, served with an exported model and onnxruntime-web as npm gives it."""
    folder = tmp_path_factory.mktemp("site")
    for path in (*EMBED.iterdir(), exported, exported.with_suffix(".json")):
        shutil.copy(path, folder)
    unpack_from_npm("onnxruntime-web", folder / "node_modules")
    handler = functools.partial(QuietHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()
    thread.join()
    server.server_close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def unpack_from_npm(package: str, folder: Path) -> None:
    """Fetches a package without what it depends on."""
    folder.mkdir()
    if shutil.which("npm") is None:
        pytest.skip("there is no npm here")
    command = ["npm", "pack", "--silent", package]
    fetched = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if fetched.returncode:
        pytest.skip(f"npm can't fetch {package}: {fetched.stderr.strip().splitlines()[-1:]}")
    with tarfile.open(folder / fetched.stdout.split()[-1]) as archive:
        archive.extractall(folder, filter="data")
    (folder / "package").rename(folder / package)


@pytest.mark.parametrize("name", ["doughnut", "cone"])
def test_the_browser_draws_the_masks_of_python(name: str, site: str, browser: Any, tmp_path: Path) -> None:
    image, picture = cv2.imread(str(SCENES / "imgs" / f"{name}.jpg")), tmp_path / "picture.png"
    cv2.imwrite(str(picture), image)  # JPEG decoders differ a little
    truth = cv2.imread(str(next((SCENES / "masks").glob(f"{name}.*"))), cv2.IMREAD_GRAYSCALE) > 0
    predictor = Predictor.from_checkpoint(ROOT / "checkpoint.pth")
    predictor.set_input_image(image[:, :, ::-1])
    clicker, mask = Clicker(gt_mask=truth), np.zeros(truth.shape, bool)
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(site)
    page.set_input_files("input", picture)
    page.wait_for_function("document.querySelector('output').value === 'ready'")
    for count in range(1, 4):
        clicker.make_next_click(mask)
        click = clicker.get_clicks()[-1]
        y, x = click.coords
        keys = [] if click.is_positive else ["Shift"]
        page.locator("canvas").click(position={"x": int(x), "y": int(y)}, modifiers=keys)
        page.wait_for_function(f"document.querySelector('output').value === '{count} clicks'")
        drawn = page.evaluate("Array.from(document.querySelector('canvas').mask)")
        found = np.array(drawn, bool).reshape(truth.shape)
        mask = predictor.get_mask(clicker)
        assert np.count_nonzero(found & mask) >= 0.99 * np.count_nonzero(found | mask) > 0
    page.close()
    assert {click.is_positive for click in clicker.get_clicks()} == {True, False}
