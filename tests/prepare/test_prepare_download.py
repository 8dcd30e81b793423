"""Fetching and unpacking against a server on loopback that breaks off, lies and serves hostile archives."""
import contextlib
import http.server
import importlib.util
import io
import os
import pickle
import shutil
import stat
import struct
import tarfile
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from prepare_helpers import run

from utils.datasets import CocoLvisDataset
from utils.files import UsageError, UserError
from utils.prepare import fetch as fetching
from utils.prepare import sources
from utils.prepare.__main__ import main
from utils.prepare.download import download, write_run_folder
from utils.prepare.fetch import ArchiveRefusedError, NotThereError, fetch, unpack

BODY = np.random.default_rng(3).bytes(3_000_000)


class Server(http.server.ThreadingHTTPServer):
    """Gives `files` by path; each attribute is a way to misbehave."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.files: dict[str, bytes] = {}
        self.requests: list[dict[str, str]] = []  # headers of each request
        self.cuts: list[int | None] = []  # bytes after which the next answers break off
        self.ranges, self.states_length = True, True
        self.etag: str | None = '"one"'
        self.stated_length: int | None = None
        self.statuses: list[int] = []  # answers to the next requests instead of the file
        self.redirect: str | None = None
        self.range_shift = 0  # by which an answer to a range lies about where it begins

    def handle_error(self, *_: object) -> None:
        """Clients that go away in the middle of an answer are what some tests are about."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:  # noqa: N802 (the name that http.server calls)
        server, body = self.server, self.server.files.get(self.path)
        server.requests.append({key.lower(): value for key, value in self.headers.items()})
        if server.redirect or server.statuses or body is None:
            status = 302 if server.redirect else server.statuses.pop(0) if server.statuses else 404
            return self.answer(status, {"Location": server.redirect or "", "Content-Length": "0"})
        stated, current = self.headers.get("Range"), self.headers.get("If-Range") in (None, server.etag)
        start = int(stated[len("bytes=") : -1]) if stated and server.ranges and current else None
        if start is not None and start >= len(body):
            return self.answer(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": "0"})
        headers = {"ETag": server.etag} if server.etag else {}
        if start is not None:
            headers["Content-Range"] = f"bytes {start + server.range_shift}-{len(body) - 1}/{len(body)}"
        rest = body[start or 0 :]
        if server.states_length:
            headers["Content-Length"] = str(server.stated_length or len(rest))
        cut = server.cuts.pop(0) if server.cuts else None
        self.answer(200 if start is None else 206, headers, rest[:cut])

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        running.files["/file.zip"] = BODY
        yield running
        running.shutdown()
        thread.join()


def get(server: Server, tmp_path: Path, **kwargs) -> bytes:
    target = tmp_path / "file.zip"
    fetch(f"{server.url}/file.zip", target, **{"max_size": 10**7, **kwargs})
    assert not list(tmp_path.glob("*.part*")), "nothing is left beside the file"
    return target.read_bytes()


# ------------------------------------------------------------------------------------------------ one file


def stopped_once(server: Server, target: Path, url: str = "") -> None:
    """A download that is killed when its connection breaks off after a million bytes."""
    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    server.cuts = [1_000_000]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(fetching.time, "sleep", stop)
        fetch(url or f"{server.url}/file.zip", target / "file.zip", 10**7)
    assert (target / "file.zip.part").stat().st_size == 1_000_000 and not (target / "file.zip").exists()


def test_broken_connections_are_gone_on_from(server, tmp_path):
    server.cuts = [1_000_000, 0, 700_000, 1]
    assert get(server, tmp_path) == BODY
    asked = [int(request["range"][len("bytes=") : -1]) for request in server.requests if "range" in request]
    assert asked == sorted(asked) and asked[0] == 1_000_000 and asked[-1] == 1_700_001
    assert "range" not in server.requests[0]
    assert all(request["if-range"] == '"one"' for request in server.requests[1:])


def test_a_killed_run_is_gone_on_from(server, tmp_path):
    stopped_once(server, tmp_path)
    assert get(server, tmp_path) == BODY
    assert server.requests[-1]["range"] == "bytes=1000000-"


@pytest.mark.parametrize("changes", [
    {"ranges": False, "cuts": [1_000_000, 2_000_000]}, {"cuts": [1_000_000], "range_shift": 10},
    {"states_length": False}, {"statuses": [503, 429]}], ids=lambda changes: ", ".join(changes))
def test_servers_that_do_not_do_as_they_should(server, tmp_path, changes):
    vars(server).update(changes)
    assert get(server, tmp_path) == BODY


@pytest.mark.parametrize("changes", [{"ranges": False, "cuts": [1_000_000] * 100},
                                     {"ranges": False, "stated_length": len(BODY) + 5}], ids=["cuts", "length"])
def test_a_server_that_always_breaks_off_is_given_up(server, tmp_path, changes):
    vars(server).update(changes)
    with pytest.raises(UserError, match="broke off 6 times.*same command"):
        get(server, tmp_path)
    assert len(server.requests) <= 2 * fetching.TRIES and not (tmp_path / "file.zip").exists()


@pytest.mark.parametrize("etag", ['"two"', None])
@pytest.mark.parametrize("body", [BODY[::-1] + b"longer", BODY[:500]], ids=["longer", "shorter"])
def test_a_file_that_changed_in_between_is_never_mixed(server, tmp_path, etag, body):
    server.etag = '"one"' if etag else None
    stopped_once(server, tmp_path)
    server.etag, server.files["/file.zip"] = etag, body
    assert get(server, tmp_path) == body


def test_a_file_that_became_shorter_under_its_etag_begins_again(server, tmp_path):
    stopped_once(server, tmp_path)
    server.files["/file.zip"] = BODY[:500]
    assert get(server, tmp_path) == BODY[:500]


def test_part_of_another_address_is_not_taken(server, tmp_path):
    server.files["/other/file.zip"] = BODY[::-1]
    stopped_once(server, tmp_path, f"{server.url}/other/file.zip")
    assert get(server, tmp_path) == BODY


@pytest.mark.parametrize("states_length, reason, left", [(True, "has 3.0 MB, more than the 1.0 MB", 0),
                                                         (False, "goes on beyond", 10**6)])
def test_what_is_larger_than_it_can_be_is_refused(server, tmp_path, states_length, reason, left):
    server.states_length, part = states_length, tmp_path / "file.zip.part"
    with pytest.raises(UserError, match=reason):
        get(server, tmp_path, max_size=10**6)
    assert (part.stat().st_size if part.exists() else 0) <= left
    assert get(server, tmp_path, max_size=len(BODY)) == BODY, "a limit may be reached"


def test_lasting_errors_are_not_tried_again(server, tmp_path):
    server.statuses = [403]
    with pytest.raises(NotThereError, match="403.*--mirror"):
        get(server, tmp_path)
    assert len(server.requests) == 1


def test_redirects_are_followed_but_not_out_of_the_web(server, tmp_path):
    server.redirect = "file:///etc/hostname"
    with pytest.raises(NotThereError, match="302"):
        get(server, tmp_path)
    secure = fetching.urllib.request.Request("https://example.org/file.zip")
    with pytest.raises(NotThereError, match="leads to http://example.org.*not followed"):
        fetching._Redirects().redirect_request(secure, None, 302, "Found", {}, "http://example.org/file.zip")


def test_nobody_listens(tmp_path, server):
    closed = Server()
    closed.server_close()
    with pytest.raises(UserError, match="broke off"):
        fetch(f"{closed.url}/file.zip", tmp_path / "file.zip", 10**7)


def test_checksum(server, tmp_path):
    server.files["/file.zip"] = b"abc"
    with pytest.raises(UserError, match="MD5 900150983cd24fb0d6963f7d28e17f72, published is 00"):
        get(server, tmp_path, md5="00")
    assert not list(tmp_path.iterdir())
    assert get(server, tmp_path, md5="900150983cd24fb0d6963f7d28e17f72") == b"abc"  # RFC 1321's example


def test_disk_space_is_checked_first(server, tmp_path, monkeypatch):
    stopped_once(server, tmp_path)  # only what is missing counts
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_999_999))
    with pytest.raises(UserError, match="2.0 MB free, but to download file.zip takes 2.0 MB"):
        get(server, tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2_000_000))
    assert get(server, tmp_path) == BODY


# ------------------------------------------------------------------------------------------------ archives


def zip_of(files: dict[str, bytes], **attributes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.writestr(info, body)
    return content.getvalue()


def tar_of(files: dict[str, bytes], kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            info.size = len(body) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(body))
    return content.getvalue()


def unpacked(tmp_path: Path, name: str, content: bytes, limit: int = 10**6) -> dict[str, bytes]:
    tmp_path.mkdir(parents=True, exist_ok=True)
    archive = tmp_path / name
    archive.write_bytes(content)
    target = tmp_path / "target"
    unpack(archive, target, limit)
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}


GOOD = {"top/img/a b.jpg": b"photo", "top/gt/a b.png": b"mask", "top/ümlaut.txt": b""}


ARCHIVES = pytest.mark.parametrize("name, make", [("x.zip", zip_of), ("x.tgz", tar_of)])


@pytest.mark.parametrize("name, make", [("x.zip", zip_of), ("x.tar.gz", tar_of), ("x.tgz", tar_of)])
def test_unpack(tmp_path, name, make):
    assert unpacked(tmp_path, name, make(GOOD), limit=9) == GOOD, "a limit may be reached"


@ARCHIVES
@pytest.mark.parametrize("path", ["../evil", "a/../../evil", "/tmp/evil", "..\\evil"])
def test_nothing_lands_outside_the_folder(tmp_path, name, make, path):
    with contextlib.suppress(ArchiveRefusedError):
        found = unpacked(tmp_path / "deep" / "down", name, make({"good": b"1", path: b"2"}))
        assert sorted(found.values()) == [b"1", b"2"]
    outside = [each for each in tmp_path.rglob("*") if each.is_file() and "target" not in each.parts]
    assert [each.name for each in outside] == [name] and not Path("/tmp/evil").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_links_and_devices_in_tar_files(tmp_path, kind):
    with pytest.raises(ArchiveRefusedError, match="link or a device"):
        unpacked(tmp_path, "x.tgz", tar_of({"img": b""}, kind, "other"))


def test_links_in_zip_files_become_files(tmp_path):
    content = zip_of({"img": b"/etc"}, external_attr=(stat.S_IFLNK | 0o777) << 16)
    assert unpacked(tmp_path, "x.zip", content) == {"img": b"/etc"} and not (tmp_path / "target/img").is_symlink()


@ARCHIVES
@pytest.mark.parametrize("files, reason", [
    ({"a": b"", "a/b": b""}, "was not unpacked"), ({"e" * 300: b""}, "was not unpacked"),
    ({f"{i}": bytes(400_000) for i in range(3)}, "far more than it should")])
def test_what_can_not_be_written_leaves_nothing(tmp_path, name, make, files, reason):
    with pytest.raises(ArchiveRefusedError, match=reason):
        unpacked(tmp_path, name, make(files))
    assert [path.name for path in tmp_path.iterdir()] == [name]


@ARCHIVES
def test_damaged_archives(tmp_path, name, make):
    whole = make({"a": BODY[:100_000], "b": BODY[:5000]})
    flipped = bytearray(whole)
    flipped[60_000] ^= 255
    damaged = [b"", b"<html>not found</html>", whole[:50_000], whole[:-8], bytes(flipped)]
    if make is zip_of:
        encrypted, bomb = bytearray(zip_of({"a": b"1"})), bytearray(zip_of({"a": bytes(10**6)}))
        encrypted[encrypted.rindex(b"PK\x01\x02") + 8] |= 1
        for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):  # it states ten bytes
            struct.pack_into("<I", bomb, bomb.rindex(signature) + offset, 10)
        damaged += [bytes(encrypted), bytes(bomb)]
    for content in damaged:
        with pytest.raises(ArchiveRefusedError, match="was not unpacked"):
            unpacked(tmp_path, name, content, limit=200_000)
        assert not (tmp_path / "target").exists()


# ------------------------------------------------------------------------------------------------ data sets


def png(values: np.ndarray) -> bytes:
    return cv2.imencode(".png", values.astype(np.uint8))[1].tobytes()


def jpg(seed: int = 0) -> bytes:
    return cv2.imencode(".jpg", np.random.default_rng(seed).integers(0, 255, (20, 30, 3), np.uint8))[1].tobytes()


MASK = np.zeros((20, 30), np.uint8)
MASK[5:9, 5:9], MASK[9:11, 5:9] = 255, 128
GRABCUT = {"data_GT/a.jpg": jpg(), "boundary_GT/a.bmp": png(MASK)}
DAVIS = {"img/a.jpg": jpg(), "gt/a.png": png(MASK)}


def contents(folder: Path) -> list[str]:
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in files if not name.endswith(".lock"))


def command(name: str, out: Path, mirror: str = "http://127.0.0.1:9", *options: str) -> int:
    return main(["download", name, "--out", str(out), "--mirror", mirror, *options])


def test_test_sets_are_laid_out_for_run_py_too(server, tmp_path, capsys):
    finder = {f"__MACOSX/GrabCut/{name}": b"finder" for name in GRABCUT}  # its copies are not taken for the set
    server.files["/m/GrabCut.zip"] = zip_of({**finder, **{f"GrabCut/{name}": body for name, body in GRABCUT.items()}})
    server.cuts = [300]
    assert command("grabcut", tmp_path, f"{server.url}/m") == 0
    assert contents(tmp_path) == [
        ".downloads.json", "01_grabcut_input/imgs/a.jpg", "01_grabcut_input/masks/a.png",
        "GrabCut/boundary_GT/a.bmp", "GrabCut/data_GT/a.jpg",
    ]  # fmt: skip
    assert (tmp_path / "GrabCut/data_GT/a.jpg").read_bytes() == jpg()
    mask = cv2.imread(str(tmp_path / "01_grabcut_input/masks/a.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(mask, np.where(MASK == 255, 255, 0)), "the unsure band is background"
    assert "(published size: 11 MB (RITM's README)), SHA-256 " in capsys.readouterr().out
    count = len(server.requests)
    assert command("grabcut", tmp_path, f"{server.url}/m") == 0
    assert len(server.requests) == count and "is in place" in capsys.readouterr().out


def test_several_objects_of_a_photo_become_several_tests(tmp_path):
    for folder, name, content in (("images", "7.jpg", jpg()), ("masks", "7#001.png", png(MASK)),
                                  ("masks", "7#002.png", png(MASK == 128))):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_bytes(content)
    write_run_folder(tmp_path / "images", tmp_path / "masks", tmp_path / "run")
    assert contents(tmp_path / "run") == ["imgs/7#001.jpg", "imgs/7#002.jpg", "masks/7#001.png", "masks/7#002.png"]
    assert cv2.imread(str(tmp_path / "run/masks/7#002.png"), cv2.IMREAD_UNCHANGED).max() == 255
    (tmp_path / "masks/8.png").write_bytes(png(MASK))
    with pytest.raises(ArchiveRefusedError, match="mask 8.png has no photo"):
        write_run_folder(tmp_path / "images", tmp_path / "masks", tmp_path / "again")


def coco_lvis_archives() -> dict[str, bytes]:
    """The full set's three archives, small: val is annotated in a photo that only train2017.zip has."""
    def annotation(ids):
        return pickle.dumps({i: {"num_instance_masks": 1, "hierarchy": {0: None}} for i in ids})

    layers = pickle.dumps(([cv2.imencode(".png", (MASK > 0).astype(np.uint8))[1].ravel()], [(0, 1)]))
    return {"/cocolvis_annotation.tar.gz": tar_of({
        "COCO_LVIS/train/hannotation.pickle": annotation(["000000000001"]),
        "COCO_LVIS/val/hannotation.pickle": annotation(["000000000002", "000000000004"]),
        **{f"COCO_LVIS/{split}/masks/{i:012d}.pickle": layers for split, i in (("train", 1), ("val", 2), ("val", 4))},
    }), "/val2017.zip": zip_of({"val2017/": b"", "val2017/000000000004.jpg": jpg(4)}),
        "/train2017.zip": zip_of({f"train2017/{i:012d}.jpg": jpg(i) for i in (1, 2, 3)})}


LAID_OUT = {
    "cocolvis": [*(f"COCO_LVIS/train/{name}" for name in (
        "hannotation.pickle", *(f"images/{i:012d}.jpg" for i in (1, 2, 3)), "masks/000000000001.pickle")),
        "COCO_LVIS/val/hannotation.pickle", *(f"COCO_LVIS/val/images/{i:012d}.jpg" for i in (2, 4)),
        *(f"COCO_LVIS/val/masks/{i:012d}.pickle" for i in (2, 4))],
    "davis": ["04_davis_input/imgs/a.jpg", "04_davis_input/masks/a.png", "DAVIS/gt/a.png", "DAVIS/img/a.jpg"]}


def test_coco_lvis_is_laid_out_as_training_reads_it(server, tmp_path):
    server.files |= coco_lvis_archives()
    assert command("cocolvis", tmp_path, server.url) == 0
    assert contents(tmp_path) == [".downloads.json", *LAID_OUT["cocolvis"]]
    for split in ("train", "val"):
        dataset = CocoLvisDataset(tmp_path / "COCO_LVIS", split)
        for i in range(dataset.get_samples_number()):
            assert np.array_equal(dataset.get_sample(i).gt_mask > 0, MASK > 0)


@pytest.mark.parametrize("name, stop_at", [*(("cocolvis", n) for n in range(1, 12, 2)), ("cocolvis", 2),
                                           *(("davis", n) for n in range(1, 8))])
def test_a_download_killed_anywhere_goes_on(server, tmp_path, monkeypatch, name, stop_at):
    """It is stopped at each of its renames in turn."""
    server.files |= coco_lvis_archives() | {"/DAVIS.zip": zip_of({f"DAVIS/{path}": DAVIS[path] for path in DAVIS})}
    rename, calls = os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", replace)
        download(sources.DATA_SETS[name], tmp_path, server.url)
    download(sources.DATA_SETS[name], tmp_path, server.url)
    assert contents(tmp_path) == [".downloads.json", *LAID_OUT[name]]


def test_a_refused_archive_is_kept_aside_and_fetched_anew(server, tmp_path, capsys):
    for content, reason in ((b"no archive", "was not unpacked"), (zip_of({"readme.txt": b"1"}), "no folder with img/")):
        server.files["/DAVIS.zip"] = content
        assert command("davis", tmp_path, server.url) == 1
        assert reason in capsys.readouterr().err and contents(tmp_path) == ["archives/DAVIS.zip.refused"]
    server.files["/DAVIS.zip"] = zip_of(DAVIS)
    assert command("davis", tmp_path, server.url) == 0
    assert "DAVIS/img/a.jpg" in contents(tmp_path)


def test_an_archive_put_there_by_hand_needs_no_server(tmp_path):
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives/DAVIS.zip").write_bytes(zip_of(DAVIS))
    assert command("davis", tmp_path, "http://127.0.0.1:9", "--keep-archives") == 0
    assert (tmp_path / "archives/DAVIS.zip").exists()


def test_addresses_are_tried_in_turn(server, tmp_path):
    archive = sources.Archive(tuple(f"{server.url}/{n}/x.zip" for n in "abc"), "", 10**6, 10**6)
    data_set = sources.DataSet("X", (archive,), "none", "img", "gt")
    with pytest.raises(UserError, match="a/x.zip answered 404.*b/x.zip answered 404.*c/x.zip answered 404"):
        download(data_set, tmp_path)
    server.files["/b/x.zip"] = zip_of({f"X/{path}": DAVIS[path] for path in DAVIS})
    download(data_set, tmp_path)
    assert contents(tmp_path / "X") == ["gt/a.png", "img/a.jpg"]


def test_a_folder_in_the_way_is_not_touched(tmp_path):
    (tmp_path / "DAVIS").mkdir()
    with pytest.raises(UsageError, match="in the way"):
        download(sources.DATA_SETS["davis"], tmp_path, "http://127.0.0.1:9")


@pytest.mark.parametrize("call", [["imagenet", "--out", "x"], ["davis"],
                                  ["davis", "--out", "x", "--mirror", "ftp://example"]])
def test_wrong_calls(call):
    assert run("download", *call) == 2


def test_sources():
    (archive,) = sources.DATA_SETS["sbd"].archives
    torchvision = Path(importlib.util.find_spec("torchvision").origin).parent  # importing its data sets takes long
    stated = (torchvision / "datasets/sbd.py").read_text(encoding="utf-8")
    assert all(f'"{value}"' in stated for value in (*archive.addresses, archive.md5, archive.name))
    for data_set in sources.DATA_SETS.values():
        for archive in data_set.archives:
            assert all(address.rsplit("/", 1)[1] == archive.name for address in archive.addresses)
