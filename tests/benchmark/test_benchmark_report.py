"""The report: of the rendered scenes, with the GrabCut floor and a checkpoint, read as a file and in a browser."""
import http.server
import json
import os
import re
import shutil
import subprocess
import threading
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from solution import ISModel, Predictor, save_model
from utils.benchmark.__main__ import main
from utils.benchmark.records import Record
from utils.benchmark.report import choose_pictures
from utils.clicker import Clicker
from utils.interactions import Contour, Stroke, to_plain
from utils.pictures import draw_task
from utils.report import signed

ROOT = Path(__file__).resolve().parents[2]
SCENES = ROOT / "tests" / "00_sample_input"
CLICKS = 3
TASKS = 6


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """Ours, or one that has learned nothing where there is none yet."""
    if (ROOT / "checkpoint.pth").exists():
        return ROOT / "checkpoint.pth"
    path = tmp_path_factory.mktemp("model") / "checkpoint.pth"
    save_model(ISModel().eval(), path)
    return path


@pytest.fixture(scope="module")
def out(tmp_path_factory, checkpoint) -> Path:
    """The output folder of the run."""
    folder = tmp_path_factory.mktemp("benchmark")
    models = ("--model", "grabcut", "--model", str(checkpoint))
    assert main([str(SCENES), "--out", str(folder), "--clicks", str(CLICKS), "--limit", str(TASKS), *models]) == 0
    return folder


class Outline(HTMLParser):
    """The tags of a page, checked for being closed, with their attributes."""

    VOID = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.cells: list[list[str]] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self._open.append(tag)
        if tag == "tr":
            self.cells.append([])
        elif tag in ("td", "th"):
            self.cells[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self._open) and "small" not in self._open:
            self.cells[-1][-1] += data


def test_the_file_needs_nothing_else(out):
    text = (out / "report.html").read_text()
    outline = Outline(text)
    for tag, attributes in outline.tags:
        assert tag not in ("script", "link", "iframe", "object")
        for name in ("src", "href", "srcset", "xlink:href"):
            assert attributes.get(name, "#").startswith(("data:", "#"))
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"url\(|@import|https?://", text)
    pictures = [attributes for tag, attributes in outline.tags if tag == "img"]
    assert len(pictures) == 2 * TASKS  # of each model all: the 24 worst and 24 random ones would be the same
    assert all(picture["alt"] for picture in pictures)


def test_the_tables_show_the_summary(out):
    summary = json.loads((out / "summary.json").read_text())
    cells = [row for row in Outline((out / "report.html").read_text()).cells if row]
    rows = {row[0]: row[1:] for row in reversed(cells)}  # the first table of a figure has both models
    results = summary["results"]
    assert [result["model"] for result in results] == ["GrabCut", "checkpoint"]
    for name in [f"{measure}@{k}" for measure in ("IoU", "BIoU") for k in range(1, CLICKS + 1)]:
        assert rows[name] == [f"{100 * result['figures'][name]['mean']:.1f}" for result in results]
    assert rows["NoC@90"] == [f"{result['figures']['NoC3@90']['mean']:.2f}" for result in results]
    assert rows["NoF@90"] == [str(result["failures"]["NoF3@90"]) for result in results]
    report = (out / "report.html").read_text()
    for result in results:
        rate = {name: f"{100 * value:.1f}" for name, value in result["figures"]["NoF3@90"].items()}
        cell = f"{result['failures']['NoF3@90']}<small>{rate['mean']} %</small><small>{rate['low']} to {rate['high']}"
        assert f"<td>{cell}</small></td>" in report
    (pair,) = summary["pairs"]
    difference = f"{100 * pair['figures']['IoU@3']['mean']:+.1f}".replace("-", "−")
    assert [difference] in [row[1:] for row in cells if row[0] == "IoU@3"]


def test_what_was_run_is_told(out, checkpoint):
    text = (out / "report.html").read_text()
    summary = json.loads((out / "summary.json").read_text())
    for fact in (*summary["Models"].values(), *summary["Data"].values(), *summary["Versions"].values()):
        assert fact in text.replace("&#x27;", "'")
    assert "sha256" in summary["Models"]["checkpoint"] and "sha256" in summary["Data"]["00_sample_input"]
    assert "python -m utils.benchmark" in text


def test_the_checkpoint_is_measured_as_it_predicts(out, checkpoint):
    model = ISModel()
    model.restore_from_checkpoint(str(checkpoint), torch.device("cpu"))
    predictor = Predictor(model.eval(), torch.device("cpu"))
    image = cv2.imread(str(SCENES / "imgs" / "apple.jpg"))[:, :, ::-1]
    truth = cv2.imread(str(SCENES / "masks" / "apple.png")).max(axis=2) > 0
    clicker, mask = Clicker(gt_mask=truth), np.zeros(truth.shape, bool)
    predictor.set_input_image(image)
    lines = [json.loads(line) for line in (out / "clicks.jsonl").read_text().splitlines()]
    (record,) = [line for line in lines if (line["task"], line["model"]) == ("apple", "checkpoint")]
    for iou in record["ious"]:
        clicker.make_next_click(mask)
        mask = predictor.get_prediction(clicker) > model.pred_thr
        assert iou == pytest.approx((mask & truth).sum() / (mask | truth).sum(), abs=5e-3)  # threads round differently


# ------------------------------------------------------------------------------- in a browser

MEASURE = """<!doctype html><body><script>
const frame = document.createElement("iframe");
frame.style = "border:0;width:%dpx;height:900px";
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement;
  const letters = [...page.querySelectorAll(".charts svg text")].map(t => {
    const box = t.getBoundingClientRect(); return Math.min(box.width, box.height); });
  document.body.dataset.found = JSON.stringify({
    overflow: root.scrollWidth - root.clientWidth,
    cut: [...page.querySelectorAll(".table:not(.wide)")].filter(t => t.scrollWidth > t.clientWidth)
      .map(t => t.ariaLabel),
    heights: [...new Set([...page.querySelectorAll(".pictures img")].map(i => Math.round(i.clientHeight)))],
    charts: page.querySelectorAll(".charts svg[role=img]").length,
    broken: [...page.images].filter(i => !i.naturalWidth).length,
    tallest: Math.max(...letters), least: Math.min(...letters),
    sections: [...page.querySelectorAll("h2")].map(h => h.textContent) });
};
frame.src = "report.html";
document.body.append(frame);
</script>"""


@pytest.fixture(scope="module")
def chromium():
    """Runs headless Chromium with arguments and gives what it prints."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("CI needs Chromium for the report's test: install it")
        pytest.skip("there is no Chromium here")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
             "--disable-background-networking", "--disable-component-update"]

    def run(folder: Path, *arguments: str) -> str:
        command = [program, *quiet, f"--user-data-dir={folder}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout

    return run


@pytest.fixture
def served(out, tmp_path):
    """The address of a loopback server of the report and of a page that measures it."""
    shutil.copy(out / "report.html", tmp_path)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *_: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize("width", [390, 1200, 1280])
def test_it_fits_a_phone_and_a_desk(served, chromium, width):
    folder, address = served
    (folder / "measure.html").write_text(MEASURE % width)
    page = chromium(folder / "profile", "--virtual-time-budget=20000", "--dump-dom", f"{address}/measure.html")
    found = json.loads(re.search(r'data-found="([^"]+)"', page)[1].replace("&quot;", '"'))
    assert found["overflow"] == 0 and found["broken"] == 0
    assert found["charts"] == 4
    assert width < 1000 or found["cut"] == []
    assert len(found["heights"]) == 1  # rows are even, whatever the pictures' shapes
    assert found["least"] >= 5 and found["tallest"] >= 10  # letters of 10 pixels: a chart is not shrunk beyond reading
    assert found["sections"] == ["00_sample_input", "Paired differences", "Pictures", "Measures", "What was run"]


def test_it_prints(served, chromium):
    folder, address = served
    chromium(folder / "profile", f"--print-to-pdf={folder / 'report.pdf'}", f"{address}/report.html")
    content = (folder / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 12


# ------------------------------------------------------------------------------- its parts


def test_a_picture_of_a_task():
    truth = np.zeros((100, 200), np.int8)
    truth[20:80, 40:100], truth[:, 180:] = 1, -1
    mask = np.zeros((100, 200), bool)
    mask[20:80, 60:140] = True
    picture = draw_task(np.full((100, 200, 3), 100, np.uint8), truth, mask, [(50, 70, True), (50, 120, False)], 400)
    assert picture.shape == (200, 400, 3)
    assert picture[100, 80].min() > 230  # the truth's left edge is white
    assert picture[100, 279, 0] > 220 > 60 > picture[100, 279, 2]  # the prediction's right edge is orange
    assert picture[107, 145, 2] > 150 > picture[107, 145, 0]  # a positive click is blue,
    assert picture[107, 245, 0] > 150 > picture[107, 245, 2]  # a negative one red
    assert (picture[10, 390] == 45).all() and (picture[10, 200] == 100).all()


def test_a_picture_of_strokes_and_contours():
    truth = np.zeros((100, 200), np.int8)
    drawn = [to_plain(Stroke(True, ((20, 20), (20, 180)))), to_plain(Contour(False, ((40, 60), (90, 60), (90, 140))))]
    picture = draw_task(np.zeros((100, 200, 3), np.uint8), truth, truth > 0, drawn, 200).astype(int)
    assert picture[20, 100, 2] > 150 > picture[20, 100, 0]  # a positive stroke is blue,
    assert picture[90, 100, 0] > 150 > picture[90, 100, 2]  # a negative contour red
    assert picture[65, 100, 0] > 150 and not picture[80, 80].any()  # closed, and not filled


def test_a_click_at_the_edge_is_drawn_whole():
    truth = np.zeros((100, 200), np.int8)
    middle, corner = (draw_task(np.zeros((100, 200, 3), np.uint8), truth, truth > 0, [at], 200)
                      for at in ((50, 100, False), (0, 0, False)))
    assert corner.any(axis=2).sum() == middle.any(axis=2).sum() > 200


def test_signs_of_differences():
    assert [signed(v) for v in (1.5, -1.5, 0.001, -0.001, 0.0)] == ["+1.50", "−1.50", "0.00", "0.00", "0.00"]


def record(task: str, iou: float) -> Record:
    return Record("", "data", task, task, "", "", "model", "exact", "nothing", ious=[iou] * 3)


def test_the_worst_and_random_tasks_are_shown():
    records = [record(f"{i:03d}", i / 100) for i in range(100)]
    found = choose_pictures(records, seed=0)
    assert list(found) == ["the 24 worst tasks", "24 random tasks"]
    assert [r.task for r in found["the 24 worst tasks"]] == [f"{i:03d}" for i in range(24)]
    drawn = found["24 random tasks"]
    assert len({r.task for r in drawn}) == 24 and max(r.ious[2] for r in drawn) > 0.5
    assert drawn == choose_pictures(records, seed=0)["24 random tasks"]
    assert drawn != choose_pictures(records, seed=1)["24 random tasks"]
    assert choose_pictures(records[:24][::-1], seed=0) == {"all 24 tasks, the worst first": records[:24]}
