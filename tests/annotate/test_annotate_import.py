"""Importing from the page: by name in the served folder, and files that the browser sends."""
import io
import json
import zipfile

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient
from stub import Annotator, stub_editor, write_pictures

from utils.annotate import import_job
from utils.annotate.errors import AnnotationError
from utils.annotate.server import create_app

SQUARE = {"version": "5.0", "flags": {}, "imagePath": "a.png", "imageHeight": 60, "imageWidth": 80, "shapes": [
    {"label": "bus", "shape_type": "rectangle", "points": [[10, 10], [30, 30]], "flags": {}, "group_id": None}]}
SENT = {"content-type": "application/octet-stream"}


@pytest.fixture
def editor(folder):
    (folder / "images" / "more").mkdir()
    for place in ("more", "."):
        (folder / "images" / place / "a.json").write_text(json.dumps(SQUARE), encoding="utf-8")
    write_pictures(folder / "images", "a.png")
    return stub_editor(folder / "images", folder / "out")


@pytest.fixture
def client(editor):
    return TestClient(create_app(editor), base_url="http://127.0.0.1:8000", raise_server_exceptions=False)


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, part in files.items():
            archive.writestr(name, part)
    return content.getvalue()


LABELME = json.dumps(SQUARE).encode()
MAP = cv2.imencode(".png", np.kron(np.eye(2), np.ones((30, 40))).astype(np.uint8))[1].tobytes()
COCO = json.dumps({
    "images": [{"id": 1, "file_name": "a.png", "height": 60, "width": 80}], "categories": [{"id": 1, "name": "bus"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 400, "bbox": [10, 10, 20, 20],
                     "segmentation": [[10, 10, 30, 10, 30, 30, 10, 30]]}]}).encode()


@pytest.mark.parametrize("name, content, format_name", [
    ("../../a.json", LABELME, "labelme"), ("b.zip", zipped({"x/a.json": LABELME}), "labelme"),
    ("instances.json", COCO, "coco"), ("c.zip", zipped({"instances.json": COCO, "__MACOSX/x": b""}), "coco"),
    ("a.png", MAP, "png")])
def test_a_file_that_is_sent_becomes_objects(client, editor, folder, name, content, format_name):
    person = Annotator(editor)
    answer = client.post("/api/import", params={"format": format_name, "name": name}, content=content, headers=SENT)
    assert answer.status_code == 200 and answer.json()["objects"] == answer.json()["pictures"] == 1
    state = client.get(f"/api/pictures/{person.picture.id}").json()
    assert len(state["objects"]) == 1 and state["undo"] == "import"
    assert not list((folder / "out").glob(".upload-*"))


@pytest.mark.parametrize("path", ["more", "more/a.json", "./a.json"])
def test_what_lies_in_the_served_folder_is_named(client, editor, path):
    assert client.get("/api/project").json()["import_formats"]
    answer = client.post("/api/import", json={"format": "labelme", "path": path})
    assert answer.status_code == 200 and answer.json()["text"] == "1 objects on 1 picture"


def test_proposals_are_there_at_once_and_after_a_new_start(client, editor, folder):
    answer = client.post("/api/import", params={"format": "labelme", "name": "a.json", "kind": "proposals"},
                         content=LABELME, headers=SENT)
    assert answer.json()["objects"] == 1 and len(Annotator(editor).state["proposals"]) == 1
    other = stub_editor(folder / "images", folder / "elsewhere", folder / "images")
    with pytest.raises(AnnotationError) as refusal:
        other.import_objects(folder / "images" / "a.json", "labelme", "proposals")
    assert refusal.value.code == "other_masks"


@pytest.mark.parametrize("given, code", [
    ({"format": "exe", "path": "more"}, "import_format"), ({"format": "coco", "kind": "x"}, "import_format"),
    ({"format": "coco"}, "import_missing"), ({"format": "coco", "path": "gone"}, "import_missing"),
    ({"format": "coco", "path": "../out"}, "import_outside"), ({"format": "coco", "path": "/etc"}, "import_outside"),
    ({"format": "coco", "path": "a\0"}, "import_missing"), ({"format": "yolo", "path": "more"}, "import_nothing"),
    ([], "import_format")])
def test_imports_are_refused_by_a_code(client, folder, given, code):
    answer = client.post("/api/import", json=given)
    assert answer.status_code == 400 and answer.json()["code"] == code and str(folder) not in answer.text


@pytest.mark.parametrize("content, code", [
    (b"", "import_nothing"), (b"{", "import_nothing"), (zipped({}), "import_nothing"),
    (zipped({"a.json": LABELME}).replace(b"bus", b"car", 1), "import_damaged"),
    (b"x" * 2000, "import_too_large"), (zipped({"a.json": bytes(5000)}), "import_too_large")])
def test_files_that_cannot_be_taken(client, folder, monkeypatch, content, code):
    monkeypatch.setattr(import_job, "MOST_SENT", 1500)
    monkeypatch.setattr(import_job, "MOST_UNPACKED", 3000)
    answer = client.post("/api/import", params={"format": "labelme", "name": "a.json"}, content=content, headers=SENT)
    assert answer.status_code == 400 and answer.json()["code"] == code and str(folder) not in answer.text
    assert not list((folder / "out").glob(".upload-*"))


def test_files_are_sent_to_the_import_alone(client):
    assert client.post("/api/labels", content=b"{}", headers=SENT).status_code == 403
    foreign = {**SENT, "origin": "http://evil.example"}
    assert client.post("/api/import", content=b"{}", headers=foreign).status_code == 403
