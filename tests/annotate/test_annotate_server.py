"""The annotation server: its answers, and whom it refuses."""
import contextlib
import io
import os
import socket
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from load_test import Client
from PIL import Image
from starlette.testclient import TestClient
from stub import CLICK, HOME, StubModel, first_id, post, stub_editor, write_pictures

from utils.annotate import engine, server
from utils.annotate.__main__ import listen, main
from utils.annotate.editor import Editor
from utils.annotate.engine import Engine
from utils.annotate.errors import AnnotationError
from utils.annotate.pictures import read_picture
from utils.annotate.project import Project
from utils.annotate.server import SAMPLE, create_app

ROOT = Path(__file__).resolve().parents[2]




def test_an_interaction(client, editor):
    project = client.get("/api/project").json()
    assert [picture["name"] for picture in project["pictures"]] == ["a.png", "b.png"]
    assert [(label["name"], label["colour"]) for label in project["labels"]] == [
        ("car", "#56b4e9"), ("person", "#e69f00")]
    picture_id = project["pictures"][0]["id"]
    state = client.get(f"/api/pictures/{picture_id}").json()
    state = post(client, picture_id, state["revision"], **CLICK).json()
    outline = state["active"]["outline"]
    mask = editor.project.masks(editor.project.picture(picture_id)).mask(state["active"]["mask"])
    assert outline["area"] == mask.sum() and outline["path"].startswith("M")
    assert state["listed"]["status"] == "in work" and state["listed"]["clicks"] == 1
    same = client.get(f"/api/pictures/{picture_id}/masks/{state['active']['mask']}")
    assert same.json() == outline and "immutable" in same.headers["cache-control"]
    grey = cv2.imdecode(np.frombuffer(client.get(f"/api/pictures/{picture_id}/probability").content, np.uint8), -1)
    assert grey.shape == (60, 80) and mask[grey > 128].all() and not mask[grey < 127].any()
    assert client.get(f"/api/status?picture={picture_id}").json()["revision"] == 1


def test_pictures_and_thumbnails(client):
    picture_id = first_id(client)
    for kind, size in (("image", (60, 80, 3)), ("thumbnail", (60, 80, 3))):
        answer = client.get(f"/api/pictures/{picture_id}/{kind}")
        assert cv2.imdecode(np.frombuffer(answer.content, np.uint8), 1).shape == size
        known = client.get(f"/api/pictures/{picture_id}/{kind}", headers={"if-none-match": answer.headers["etag"]})
        assert known.status_code == 304 and not known.content


def test_an_outdated_change_is_told(client):
    picture_id = first_id(client)
    assert post(client, picture_id, 0, **CLICK).status_code == 200
    answer = post(client, picture_id, 0, **CLICK)
    assert answer.status_code == 409 and "another tab" in answer.json()["error"]


def test_a_change_meant_for_another_project_is_refused(client):
    picture_id = first_id(client)
    answer = post(client, picture_id, 0, project="0" * 16, **CLICK)
    assert answer.status_code == 409 and "Another project" in answer.json()["error"]
    key = client.get("/api/project").json()["key"]
    assert client.get("/api/status").json()["project"] == key
    assert post(client, picture_id, 0, project=key, **CLICK).status_code == 200


def test_export_runs_behind_the_page(client, folder):
    picture_id = first_id(client)
    post(client, picture_id, 0, **CLICK)
    post(client, picture_id, 1, op="finish")
    assert client.post("/api/export", json={"format": "coco"}).status_code == 200
    while (job := client.get("/api/status").json()["job"])["state"] == "running":
        time.sleep(0.05)
    assert job["state"] == "done" and (folder / "out" / "export" / "coco" / "instances.json").is_file()
    assert client.post("/api/export", json={"format": "exe"}).status_code == 400


def test_labels_are_added(client):
    labels = client.post("/api/labels", json={"name": "<b>dog</b>"}).json()["labels"]
    assert labels[-1]["name"] == "<b>dog</b>"
    assert client.post("/api/labels", json={"name": "cat", "colour": "url(x)"}).status_code == 400
    assert client.post("/api/labels", json=["cat"]).status_code == 400


def test_the_page_is_whole(client):
    """Everything that the page names is there, and nothing else is served."""
    page = client.get("/")
    assert page.status_code == 200 and "http" not in page.text.replace("http-equiv", "")
    files = {path.name for path in (ROOT / "utils" / "annotate" / "page").iterdir()}
    for name in files:
        assert client.get(f"/page/{name}").status_code == 200
        others = (client.get(f"/page/{other}").text for other in files - {name, SAMPLE.name})
        assert name in ("index.html", SAMPLE.name) or any(name in text for text in others)
    assert client.get("/page/../server.py").status_code == 404


def test_a_bomb_is_refused_and_the_rest_goes_on(client, folder, editor):
    bomb = bytearray((folder / "images" / "a.png").read_bytes())
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    (folder / "images" / "c.png").write_bytes(bomb)
    pictures = client.get("/api/project").json()["pictures"]
    for kind in ("", "/image", "/thumbnail"):
        answer = client.get(f"/api/pictures/{pictures[2]['id']}{kind}")
        assert answer.status_code == 422 and answer.json()["code"] == "unreadable_picture"
        assert "c.png" in answer.json()["error"] and answer.json()["values"]["picture"] == "c.png"
    assert client.get(f"/api/pictures/{pictures[0]['id']}").status_code == 200


def test_an_unforeseen_error_is_a_sentence(client, editor, monkeypatch):
    monkeypatch.setattr(editor, "open", lambda picture_id: 1 / 0)
    answer = client.get(f"/api/pictures/{first_id(client)}")
    assert answer.status_code == 500 and "nothing was changed" in answer.json()["error"]


def test_a_model_that_fails_is_told(folder):
    def load(progress):
        progress(0.5, "reading")
        raise RuntimeError("it is a cake")

    engine = Engine(load)
    client = TestClient(create_app(Editor(Project(folder / "out", folder / "images"), engine)), base_url=HOME)
    assert client.get("/api/status").json()["model"]["state"] == "loading"
    assert client.get(f"/api/pictures/{first_id(client)}").status_code == 200  # looking needs no model
    engine.start()
    answer = post(client, first_id(client), 0, **CLICK)
    assert "it is a cake" in answer.json()["error"]
    assert answer.json()["code"] == "no_model" and not answer.json()["retry"]  # the page goes on with brush and region
    assert client.get("/api/status").json()["model"]["state"] == "failed"


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_pictures_open_where_there_is_no_glibc(client, monkeypatch, platform):
    def missing(name: None) -> None:
        raise TypeError("as on Windows")

    monkeypatch.setattr(engine, "sys", SimpleNamespace(platform=platform))
    monkeypatch.setattr(engine, "ctypes", SimpleNamespace(CDLL=missing))
    assert post(client, first_id(client), 0, **CLICK).status_code == 200


def test_a_click_does_not_wait_for_another_picture_to_be_decoded(client, monkeypatch):
    here, other = (picture["id"] for picture in client.get("/api/project").json()["pictures"])
    client.get(f"/api/pictures/{here}")
    reads, goes_on = threading.Event(), threading.Event()

    def read_slowly(picture):
        reads.set()
        goes_on.wait(60)
        return read_picture(picture)

    monkeypatch.setattr("utils.annotate.editor.read_picture", read_slowly)
    with ThreadPoolExecutor(2) as threads:
        image = threads.submit(client.get, f"/api/pictures/{other}/image")
        assert reads.wait(60)
        assert threads.submit(post, client, here, 0, **CLICK).result(timeout=60).status_code == 200
        goes_on.set()
        assert image.result().status_code == 200


def test_the_status_tells_how_far_a_long_change_is(folder):
    labels = np.kron(np.arange(60).reshape(6, 10), np.ones((10, 8))).astype(np.uint8)
    write_pictures(folder / "masks")
    cv2.imwrite(str(folder / "masks" / "a.png"), labels)
    editor = stub_editor(folder / "images", folder / "out", folder / "masks")
    client = TestClient(create_app(editor), base_url=HOME)
    picture_id = first_id(client)
    proposals = client.get(f"/api/pictures/{picture_id}").json()["proposals"]
    store = editor.opened(picture_id).masks
    seen, put = [], store.put

    def slow_put(mask):
        seen.append(client.get("/api/status").json()["work"])
        return put(mask)

    store.put = slow_put
    assert post(client, picture_id, 0, op="accept proposals", proposals=proposals).status_code == 200
    assert [work["done"] for work in seen] == list(range(59)) and seen[0]["total"] == 59
    assert client.get("/api/status").json()["work"] is None
    assert post(client, picture_id, 1, op="take proposal", proposal=1).status_code == 400
    assert client.get("/api/status").json()["work"] is None


def test_while_a_click_waits_for_the_model_others_work(folder):
    engine = Engine(StubModel)
    app = create_app(Editor(Project(folder / "out", folder / "images"), engine))
    patient, busy = (TestClient(app, base_url=HOME) for _ in range(2))
    picture_id, other_id = (picture["id"] for picture in busy.get("/api/project").json()["pictures"])
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(post, patient, picture_id, 0, **CLICK)
        assert post(busy, other_id, 0, op="brush", points=[[5, 5]], radius=3, adds=True).status_code == 200
        assert busy.get(f"/api/pictures/{picture_id}").json()["revision"] == 0 and not waiting.done()
        engine.start()
        assert waiting.result().json()["revision"] == 1


# ---------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize("arguments, sentence", [
    (["nowhere"], "folder nowhere doesn't exist"),
    (["{images}", "--masks", "nowhere"], "folder of masks nowhere doesn't exist"),
    (["{images}", "--labels", "x" * 99], "A label must be"),
    (["{images}", "--checkpoint", "nowhere.pth"], "nowhere.pth is not a file"),
    (["{images}", "--out", "/proc/nothing"], "name another with --out"),
    (["{images}", "--host", "203.0.113.1", "--port", "1"], "Can't listen on 203.0.113.1 port 1"),
])
def test_the_command_refuses_in_a_sentence(folder, capsys, arguments, sentence):
    arguments = [str(folder / "images") if argument == "{images}" else argument for argument in arguments]
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert sentence in said and said.count("\n") == 1


def test_without_the_extra_the_command_names_it(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main([str(folder / "images")]) == 1
    assert "pip install -r utils/annotate/requirements.txt" in capsys.readouterr().err


def test_no_answer_waits_for_an_acknowledgement():
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_picture_that_was_mended_is_listed_as_such(client, folder):
    picture_id, path = first_id(client), folder / "images" / "a.png"
    content = path.read_bytes()
    path.write_bytes(b"no picture")
    assert client.get(f"/api/pictures/{picture_id}").status_code == 422
    assert client.get("/api/project").json()["pictures"][0]["status"] == "unreadable"
    path.write_bytes(content)
    assert client.get(f"/api/pictures/{picture_id}").status_code == 200
    assert client.get("/api/project").json()["pictures"][0]["status"] == "untouched"


@contextlib.contextmanager
def started(*arguments: object):
    """The command in a process of its own, which ends with the block."""
    command = [sys.executable, "-m", "utils.annotate", *map(str, arguments), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
                          env={**os.environ, "PYTHONUNBUFFERED": "1"}) as process:
        try:
            yield process
        finally:
            process.kill()


def test_on_this_machine_too_browsers_show_a_token(folder):
    with started(folder / "images", "--without-model") as process:
        address = next(line for line in iter(process.stdout.readline, "") if "http" in line).split()[2]
        assert "?token=" in address
        with pytest.raises(AnnotationError, match="token"):
            Client(address.split("?")[0]).get("/api/project")
        client = Client(address)
        picture_id = client.get("/api/project")["pictures"][0]["id"]
        state = client.get(f"/api/pictures/{picture_id}")
        drawn = client.change(state, "brush", points=[[5, 5]], radius=3, adds=True, label="object")
        assert drawn["active"]["mask"]
        with pytest.raises(AnnotationError, match="no_model"):
            client.change(drawn, "click", y=3, x=3, positive=True)


def test_a_checkpoint_that_cannot_be_used_ends_the_start(folder, capsys):
    (folder / "bad.pth").write_bytes(b"no checkpoint")
    assert main([str(folder / "images"), "--checkpoint", str(folder / "bad.pth"), "--port", "0"]) == 1
    said = capsys.readouterr().err
    assert "bad.pth" in said and "--without-model" in said and "Traceback" not in said


def test_pictures_of_subfolders_and_what_was_left_out(folder):
    write_pictures(folder / "images" / "more", "a.png")
    (folder / "images" / "film.mp4").write_bytes(b"x")
    flat = TestClient(create_app(stub_editor(folder / "images", folder / "out")), base_url=HOME).get("/api/project")
    assert len(flat.json()["pictures"]) == 2
    assert "1 .mp4 files" in flat.json()["left_out"] and "1 subfolders" in flat.json()["left_out"]
    project = Project(folder / "deep", folder / "images", recursive=True)
    project.save()
    assert [picture.name for picture in Project(folder / "deep").pictures.values()] == ["a.png", "b.png", "more/a.png"]


def test_an_empty_folder_gets_a_sample(tmp_path, monkeypatch):
    (tmp_path / "images").mkdir()
    monkeypatch.setattr(server, "SAMPLE", write_pictures(tmp_path / "page", "sample.jpg") / "sample.jpg")
    client = TestClient(create_app(stub_editor(tmp_path / "images", tmp_path / "out")), base_url=HOME)
    assert client.get("/api/project").json()["pictures"] == []
    [picture] = client.post("/api/sample", json={}).json()["pictures"]
    assert client.get(f"/api/pictures/{picture['id']}").status_code == 200
    assert not list((tmp_path / "images").iterdir())
    write_pictures(tmp_path / "images", "own.png")
    assert [each["name"] for each in client.get("/api/project").json()["pictures"]] == ["own.png"]


# ---------------------------------------------------------------------------------------------- what the page asks for


def test_the_table_of_operations_reaches_the_page(client):
    project = client.get("/api/project").json()
    assert project["operations"]["brush"]["limits"]["radius"] == project["limits"]["radius"] == [0.5, 500]
    assert project["operations"]["click"]["needs_model"] and not project["operations"]["finish"]["needs_model"]
    low, high = project["limits"]["working_size"]
    for value, status in ((low, 200), (high, 200), (low - 1, 400), (high + 1, 400)):
        answer = post(client, project["pictures"][0]["id"], revision(client), settings={"working_size": value}, **CLICK)
        assert answer.status_code == status
        if status == 200:
            post(client, project["pictures"][0]["id"], revision(client), op="undo")


def revision(client: TestClient) -> int:
    return client.get(f"/api/pictures/{first_id(client)}").json()["revision"]


def test_thousands_of_proposals_come_at_once(folder):
    labels = np.arange(1500, dtype=np.uint16).reshape(25, 60)
    write_pictures(folder / "masks")
    write_pictures(folder / "images", "a.png", height=50, width=120)
    cv2.imwrite(str(folder / "masks" / "a.png"), np.kron(labels, np.ones((2, 2), np.uint16)))
    client = TestClient(create_app(stub_editor(folder / "images", folder / "out", folder / "masks")), base_url=HOME)
    address = f"/api/pictures/{first_id(client)}"
    proposals = client.get(address).json()["proposals"]
    assert len(proposals) == 1499
    outlines = client.post(f"{address}/outlines", json={"proposals": [*proposals[:499], 70_000]}).json()["proposals"]
    assert len(outlines) == 499 and outlines["1"] == {"path": "M2 0h2v2h-2z", "box": [0, 2, 2, 4], "area": 4}
    assert client.post(f"{address}/outlines", json={"proposals": proposals[:501]}).status_code == 400
    state = post(client, first_id(client), 0, op="accept proposals", proposals=proposals).json()
    assert len(state["objects"]) == 1499 and state["proposals"] == []
    state = post(client, first_id(client), 1, **CLICK).json()
    assert state["active"]["mask"] is None and state["covered_by"] in [target["id"] for target in state["objects"]]


def test_a_preview_shows_what_a_click_would_give_and_changes_nothing(client, editor):
    address = f"/api/pictures/{first_id(client)}"
    assert client.get(f"{address}/preview?y=20&x=30&positive=1").status_code == 204  # not open yet
    before = client.get(address).json()
    shown = client.get(f"{address}/preview?y=20&x=30&positive=1").json()
    assert client.get(address).json() == before
    assert post(client, first_id(client), 0, **CLICK).json()["active"]["outline"]["area"] == shown["area"]
    assert client.get(f"{address}/preview?y=20&x=-1").status_code == 400
    post(client, first_id(client), 1, op="finish")
    post(client, first_id(client), 2, op="click", y=40, x=50, positive=True)  # the finished one is protected
    shown = client.get(f"{address}/preview?y=30&x=40&positive=1").json()
    assert post(client, first_id(client), 3, op="click", y=30, x=40, positive=True).json()["active"]["outline"] == shown
    assert editor.preview(first_id(client), CLICK, lambda: False) is None  # a change waits


def test_an_export_can_be_downloaded(client, folder):
    post(client, first_id(client), 0, op="brush", points=[[5, 5]], radius=3, adds=True)
    post(client, first_id(client), 1, op="finish")
    for request, pictures in (({}, 1), ({"only_done": True}, 0), ({"only_approved": True}, 0)):
        client.post("/api/export", json={"format": "png", **request})
        while (job := client.get("/api/status").json()["job"])["state"] == "running":
            time.sleep(0.02)
        assert job["values"]["pictures"] == pictures
    post(client, first_id(client), 2, op="review", state="approved")
    client.post("/api/export", json={"format": "png", "only_approved": True})
    while (job := client.get("/api/status").json()["job"])["state"] == "running":
        time.sleep(0.02)
    answer = client.get(job["download"])
    assert "attachment" in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert {"labels/a.png", "objects.csv"} <= set(archive.namelist())
    assert client.get("/api/export/..%2fproject.json").status_code == 404


def test_statistics(client):
    post(client, first_id(client), 0, **CLICK)
    post(client, first_id(client), 1, op="finish")
    post(client, first_id(client), 2, op="mark", done=True)
    found = client.get("/api/statistics").json()
    assert [list(label.values()) for label in found["labels"]] == [["car", 1, 1], ["person", 0, 0]]
    assert (found["pictures"], found["done"]) == (2, 1) and found["seconds_per_picture"] is not None
    [day] = found["days"]
    assert (day["clicks"], day["objects"], day["done"]) == (1, 1, 1)


# ---------------------------------------------------------------------------------------------- pictures of every kind


def shown(folder: Path, name: str) -> tuple[np.ndarray, str | None]:
    """What the page gets of the only picture: its pixels RGB, and the notice about it."""
    client = TestClient(create_app(stub_editor(folder / "images", folder / "out")), base_url=HOME)
    [picture] = client.get("/api/project").json()["pictures"]
    address = f"/api/pictures/{picture['id']}"
    with Image.open(io.BytesIO(client.get(f"{address}/image").content)) as image:
        return np.array(image), client.get(address).json()["notice"]


RAMP = np.tile(np.linspace(0, 1, 80), (60, 1))


@pytest.mark.parametrize("name, image, words", [
    ("a.tif", (RAMP * 4095).astype(np.uint16), "12 bits"),
    ("a.tiff", (RAMP * 3 - 1).astype(np.float32), "from -1 to 2"),
    ("a.jfif", (RAMP * 255).astype(np.uint8), None),
    ("a.gif", (RAMP * 255).astype(np.uint8), None),
])
def test_pictures_of_every_depth_and_suffix_can_be_seen(tmp_path, name, image, words):
    (tmp_path / "images").mkdir()
    kind = {"jfif": "JPEG", "gif": "GIF"}.get(name[2:], "TIFF")
    Image.fromarray(image).save(tmp_path / "images" / name, kind)
    pixels, notice = shown(tmp_path, name)
    assert pixels[:, 2].mean() < 20 and pixels[:, -3].mean() > 235
    assert (words in notice) if words else notice is None


def test_a_drawing_on_a_transparent_ground_can_be_seen(tmp_path):
    (tmp_path / "images").mkdir()
    drawing = np.zeros((60, 80, 4), np.uint8)
    drawing[20:40, 20:60, 3] = 255
    Image.fromarray(drawing).save(tmp_path / "images" / "a.png")
    pixels, _ = shown(tmp_path, "a.png")
    assert pixels[30, 40].max() < 20 and pixels[5, 5].min() > 200


def test_a_jpeg_whose_end_is_missing_and_a_turned_one_are_shown_with_a_word(tmp_path):
    (tmp_path / "images").mkdir()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8))
    exif = image.getexif()
    exif[0x0112] = 6
    content = io.BytesIO()
    image.save(content, "JPEG", exif=exif)
    (tmp_path / "images" / "a.jpg").write_bytes(content.getvalue()[:-1500])
    pixels, notice = shown(tmp_path, "a.jpg")
    assert pixels.shape == (640, 480, 3) and "the end of the file is missing" in notice
