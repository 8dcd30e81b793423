"""Fetching and unpacking against a server on loopback that breaks off, lies and serves hostile archives."""
import http.server
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
        self.files: dict[str, bytes] = {}
        self.requests: list[dict[str, str]] = []  # headers of each request
        self.cuts: list[int | None] = []  # bytes after which the next answers break off
        self.ranges = True
        self.etag: str | None = '"one"'
        self.stated_length: int | None = None
        self.states_length = True
        self.statuses: list[int] = []  # answers to the next requests instead of the file
        self.redirect: str | None = None
        self.range_shift = 0  # by which an answer to a range lies about where it begins

    def handle_error(self, *_: object) -> None:
        """Clients that go away in the middle of an answer are what some tests are about."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:  # noqa: N802 (the name that http.server calls)
        server = self.server
        server.requests.append({key.lower(): value for key, value in self.headers.items()})
        body = server.files.get(self.path)
        if server.redirect:
            return self.answer(302, {"Location": server.redirect})
        if server.statuses:
            return self.answer(server.statuses.pop(0), {})
        if body is None:
            return self.answer(404, {})
        start = self.start_of_range()
        if start is not None and start >= len(body):
            return self.answer(416, {"Content-Range": f"bytes */{len(body)}"})
        headers = {"ETag": server.etag} if server.etag else {}
        if start is not None:
            told = start + server.range_shift
            headers["Content-Range"] = f"bytes {told}-{len(body) - 1}/{len(body)}"
        rest = body[start or 0 :]
        if server.states_length:
            headers["Content-Length"] = str(server.stated_length or len(rest))
        cut = server.cuts.pop(0) if server.cuts else None
        self.answer(200 if start is None else 206, headers, rest[:cut])

    def start_of_range(self) -> int | None:
        stated = self.headers.get("Range")
        current = self.headers.get("If-Range") in (None, self.server.etag)
        return int(stated[len("bytes=") : -1]) if stated and self.server.ranges and current else None

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for key, value in {"Content-Length": "0", **headers}.items():
            if key != "Content-Length" or key in headers or status not in (200, 206):
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


def test_fetch_whole_file(server, tmp_path):
    assert get(server, tmp_path) == BODY
    assert "range" not in server.requests[0]


def test_broken_connections_are_gone_on_from(server, tmp_path):
    server.cuts = [1_000_000, 0, 700_000, 1]
    assert get(server, tmp_path) == BODY
    asked = [int(request["range"][len("bytes=") : -1]) for request in server.requests if "range" in request]
    assert asked == sorted(asked) and asked[0] == 1_000_000 and asked[-1] == 1_700_001
    assert all(request["if-range"] == '"one"' for request in server.requests[1:])


def test_a_killed_run_is_gone_on_from(server, tmp_path, monkeypatch):
    server.cuts = [1_000_000]
    monkeypatch.setattr(fetching.time, "sleep", stop)
    with pytest.raises(KeyboardInterrupt):
        get(server, tmp_path)
    assert (tmp_path / "file.zip.part").stat().st_size == 1_000_000 and not (tmp_path / "file.zip").exists()
    assert get(server, tmp_path) == BODY
    assert server.requests[-1]["range"] == "bytes=1000000-"


def stop(seconds: float) -> None:
    raise KeyboardInterrupt


def test_server_that_ignores_ranges_gives_the_file_anew(server, tmp_path):
    server.ranges, server.cuts = False, [1_000_000, 2_000_000]
    assert get(server, tmp_path) == BODY


def test_server_that_always_breaks_off_is_given_up(server, tmp_path):
    server.ranges, server.cuts = False, [1_000_000] * 100
    with pytest.raises(UserError, match="broke off 6 times.*same command"):
        get(server, tmp_path)
    assert len(server.requests) <= 2 * fetching.TRIES


@pytest.mark.parametrize("etag", ['"two"', None])
def test_a_file_that_changed_in_between_is_never_mixed(server, tmp_path, monkeypatch, etag):
    server.cuts = [1_000_000]
    with monkeypatch.context() as patch:
        patch.setattr(fetching.time, "sleep", stop)
        server.etag = '"one"' if etag else None
        with pytest.raises(KeyboardInterrupt):
            get(server, tmp_path)
    server.etag, server.files["/file.zip"] = etag, BODY[::-1] + b"longer"
    assert get(server, tmp_path) == BODY[::-1] + b"longer"


def test_a_range_that_begins_elsewhere_is_not_taken(server, tmp_path):
    server.cuts, server.range_shift = [1_000_000], 10
    assert get(server, tmp_path) == BODY


def test_part_of_another_address_is_not_taken(server, tmp_path, monkeypatch):
    server.files["/other/file.zip"] = BODY[::-1]
    server.cuts = [1_000_000]
    with monkeypatch.context() as patch:
        patch.setattr(fetching.time, "sleep", stop)
        with pytest.raises(KeyboardInterrupt):
            fetch(f"{server.url}/other/file.zip", tmp_path / "file.zip", 10**7)
    assert get(server, tmp_path) == BODY


def test_size_that_is_stated_too_large_is_noticed(server, tmp_path):
    server.stated_length, server.ranges = len(BODY) + 5, False
    with pytest.raises(UserError, match="3.0 MB of 3.0 MB|broke off"):
        get(server, tmp_path)
    assert not (tmp_path / "file.zip").exists()


def test_what_is_larger_than_it_can_be_is_refused_before_it_is_fetched(server, tmp_path):
    with pytest.raises(UserError, match=r"has 3.0 MB, more than the 1.0 MB"):
        get(server, tmp_path, max_size=10**6)
    assert not (tmp_path / "file.zip.part").exists()


def test_what_goes_on_without_a_stated_size_is_left(server, tmp_path):
    server.states_length = False
    with pytest.raises(UserError, match="goes on beyond"):
        get(server, tmp_path, max_size=10**6)
    assert (tmp_path / "file.zip.part").stat().st_size <= 10**6


def test_without_a_stated_size_the_connection_ends_the_file(server, tmp_path):
    server.states_length = False
    assert get(server, tmp_path) == BODY


def test_passing_errors_are_tried_again_lasting_ones_are_not(server, tmp_path):
    server.statuses = [503, 429]
    assert get(server, tmp_path) == BODY
    (tmp_path / "file.zip").unlink()
    server.requests.clear()
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
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**6))
    with pytest.raises(UserError, match="1.0 MB free, but to download file.zip takes 3.0 MB"):
        get(server, tmp_path)


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
    archive = tmp_path / name
    archive.write_bytes(content)
    target = tmp_path / "target"
    unpack(archive, target, limit)
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}


GOOD = {"top/img/a b.jpg": b"photo", "top/gt/a b.png": b"mask", "top/ümlaut.txt": b""}


@pytest.mark.parametrize("name, make", [("x.zip", zip_of), ("x.tar.gz", tar_of), ("x.tgz", tar_of)])
def test_unpack(tmp_path, name, make):
    assert unpacked(tmp_path, name, make(GOOD)) == GOOD


@pytest.mark.parametrize("name, make", [("x.zip", zip_of), ("x.tgz", tar_of)])
@pytest.mark.parametrize("path", ["../evil", "a/../../evil", "/tmp/evil", "..\\evil"])
def test_paths_that_lead_out_are_refused_and_nothing_is_written(tmp_path, name, make, path):
    with pytest.raises(ArchiveRefusedError, match="outside"):
        unpacked(tmp_path, name, make({"good": b"1", path: b"2"}))
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE])
def test_links_and_devices_in_tar_files(tmp_path, kind):
    with pytest.raises(ArchiveRefusedError, match="link or a device"):
        unpacked(tmp_path, "x.tgz", tar_of({"img": b""}, kind, "/etc"))


def test_links_in_zip_files_become_files(tmp_path):
    content = zip_of({"img": b"/etc"}, external_attr=(stat.S_IFLNK | 0o777) << 16)
    assert unpacked(tmp_path, "x.zip", content) == {"img": b"/etc"} and not (tmp_path / "target/img").is_symlink()


def test_encrypted_zip_files(tmp_path):
    content = bytearray(zip_of({"a": b"1"}))
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(ArchiveRefusedError, match="encrypted"):
        unpacked(tmp_path, "x.zip", bytes(content))


@pytest.mark.parametrize("files", [{"a": b"", "a/b": b""}, {"e" * 300: b""}])
@pytest.mark.parametrize("name, make", [("x.zip", zip_of), ("x.tgz", tar_of)])
def test_names_that_can_not_be_written(tmp_path, name, make, files):
    with pytest.raises(ArchiveRefusedError, match="was not unpacked"):
        unpacked(tmp_path, name, make(files))


@pytest.mark.parametrize("name, make", [("x.zip", zip_of), ("x.tgz", tar_of)])
def test_bombs(tmp_path, name, make):
    with pytest.raises(ArchiveRefusedError, match="far more than it should"):
        unpacked(tmp_path, name, make({f"{i}": bytes(400_000) for i in range(3)}))
    assert not (tmp_path / "target").exists() and not (tmp_path / "target.part").exists()


def test_zip_file_that_hides_its_size(tmp_path):
    """A bomb whose directory states ten bytes: no more are read, and the check sum then tells."""
    content = bytearray(zip_of({"a": bytes(10**6)}))
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", content, content.rindex(signature) + offset, 10)
    with pytest.raises(ArchiveRefusedError, match="CRC|bytes"):
        unpacked(tmp_path, "x.zip", bytes(content), limit=1000)


@pytest.mark.parametrize("name, make", [("x.zip", zip_of), ("x.tgz", tar_of)])
def test_damaged_archives(tmp_path, name, make):
    whole = make({"a": BODY[:100_000], "b": BODY[:5000]})
    flipped = bytearray(whole)
    flipped[60_000] ^= 255
    for damaged in (b"", b"<html>not found</html>", whole[:50_000], whole[:-8], bytes(flipped)):
        with pytest.raises(ArchiveRefusedError, match="was not unpacked"):
            unpacked(tmp_path, name, damaged)
        assert not (tmp_path / "target").exists()


# ------------------------------------------------------------------------------------------------ data sets


def png(values: np.ndarray) -> bytes:
    return cv2.imencode(".png", values.astype(np.uint8))[1].tobytes()


def jpg(seed: int = 0) -> bytes:
    return cv2.imencode(".jpg", np.random.default_rng(seed).integers(0, 255, (20, 30, 3), np.uint8))[1].tobytes()


MASK = np.zeros((20, 30), np.uint8)
MASK[5:9, 5:9], MASK[9:11, 5:9] = 255, 128


def contents(folder: Path) -> list[str]:
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in files if not name.endswith(".lock"))


def test_test_sets_are_laid_out_for_run_py_too(server, tmp_path, capsys):
    server.files["/m/GrabCut.zip"] = zip_of({"GrabCut/data_GT/a.jpg": jpg(), "GrabCut/boundary_GT/a.bmp": png(MASK)})
    server.cuts = [300]
    assert main(["download", "grabcut", "--out", str(tmp_path), "--mirror", f"{server.url}/m"]) == 0
    assert contents(tmp_path) == [
        ".downloads.json", "01_grabcut_input/imgs/a.jpg", "01_grabcut_input/masks/a.png",
        "GrabCut/boundary_GT/a.bmp", "GrabCut/data_GT/a.jpg",
    ]  # fmt: skip
    mask = cv2.imread(str(tmp_path / "01_grabcut_input/masks/a.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(mask, np.where(MASK == 255, 255, 0)), "the unsure band is background"
    assert "(published size: 11 MB (RITM's README)), SHA-256 " in capsys.readouterr().out
    count = len(server.requests)
    assert main(["download", "grabcut", "--out", str(tmp_path), "--mirror", f"{server.url}/m"]) == 0
    assert len(server.requests) == count and "is in place" in capsys.readouterr().out


def test_what_the_finder_adds_to_an_archive_is_not_taken_for_the_set(server, tmp_path):
    files = {"data_GT/a.jpg": jpg(), "boundary_GT/a.bmp": png(MASK)}
    archive = {f"grabcut/{name}": content for name, content in files.items()}
    server.files["/m/GrabCut.zip"] = zip_of({**archive, **{f"__MACOSX/grabcut/{name}": b"finder" for name in files}})
    assert main(["download", "grabcut", "--out", str(tmp_path), "--mirror", f"{server.url}/m"]) == 0
    assert (tmp_path / "GrabCut" / "data_GT" / "a.jpg").read_bytes() == jpg()


def test_several_objects_of_a_photo_become_several_tests(tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir(), masks.mkdir()
    (images / "7.jpg").write_bytes(jpg())
    for name in ("7#001.png", "7#002.png"):
        (masks / name).write_bytes(png(MASK))
    write_run_folder(images, masks, tmp_path / "run")
    assert contents(tmp_path / "run") == ["imgs/7#001.jpg", "imgs/7#002.jpg", "masks/7#001.png", "masks/7#002.png"]


def coco_lvis_archives(server: Server) -> None:
    """The full set's three archives, small: val is annotated in a photo that only train2017.zip has."""
    def annotation(ids):
        return pickle.dumps({i: {"num_instance_masks": 1, "hierarchy": {0: None}} for i in ids})

    layers = pickle.dumps(([cv2.imencode(".png", (MASK > 0).astype(np.uint8))[1].ravel()], [(0, 1)]))
    server.files["/cocolvis_annotation.tar.gz"] = tar_of({
        "COCO_LVIS/train/hannotation.pickle": annotation(["000000000001"]),
        "COCO_LVIS/train/masks/000000000001.pickle": layers,
        "COCO_LVIS/val/hannotation.pickle": annotation(["000000000002", "000000000004"]),
        "COCO_LVIS/val/masks/000000000002.pickle": layers,
        "COCO_LVIS/val/masks/000000000004.pickle": layers,
    })
    server.files["/val2017.zip"] = zip_of({"val2017/": b"", "val2017/000000000004.jpg": jpg(4)})
    server.files["/train2017.zip"] = zip_of({f"train2017/{i:012d}.jpg": jpg(i) for i in (1, 2, 3)})


def test_coco_lvis_is_laid_out_as_training_reads_it(server, tmp_path):
    coco_lvis_archives(server)
    assert main(["download", "cocolvis", "--out", str(tmp_path), "--mirror", server.url]) == 0
    assert contents(tmp_path / "COCO_LVIS") == [
        *(f"train/{name}" for name in ("hannotation.pickle", *(f"images/{i:012d}.jpg" for i in (1, 2, 3)))),
        "train/masks/000000000001.pickle",
        *(f"val/{name}" for name in ("hannotation.pickle", *(f"images/{i:012d}.jpg" for i in (2, 4)))),
        *(f"val/masks/{i:012d}.pickle" for i in (2, 4)),
    ]
    for split in ("train", "val"):
        dataset = CocoLvisDataset(tmp_path / "COCO_LVIS", split)
        for i in range(dataset.get_samples_number()):
            assert np.array_equal(dataset.get_sample(i).gt_mask > 0, MASK > 0)


def download_stopped_once(name, tmp_path, url, monkeypatch, stop_at):
    """Downloads a data set, stopped at its stop_at-th rename, and then again to the end."""
    rename, calls = os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) == stop_at:
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        with pytest.raises(KeyboardInterrupt):
            download(sources.DATA_SETS[name], tmp_path, url)
    download(sources.DATA_SETS[name], tmp_path, url)


@pytest.mark.parametrize("stop_at", range(1, 12))
def test_a_download_killed_anywhere_goes_on(server, tmp_path, monkeypatch, stop_at):
    coco_lvis_archives(server)
    download_stopped_once("cocolvis", tmp_path, server.url, monkeypatch, stop_at)
    placed = contents(tmp_path / "COCO_LVIS")
    assert len(placed) == 10
    assert contents(tmp_path) == [".downloads.json", *(f"COCO_LVIS/{name}" for name in placed)]


@pytest.mark.parametrize("stop_at", range(1, 8))
def test_a_test_set_killed_anywhere_goes_on(server, tmp_path, monkeypatch, stop_at):
    server.files["/DAVIS.zip"] = zip_of({"DAVIS/img/a.jpg": jpg(), "DAVIS/gt/a.png": png(MASK)})
    download_stopped_once("davis", tmp_path, server.url, monkeypatch, stop_at)
    assert contents(tmp_path) == [
        ".downloads.json", "04_davis_input/imgs/a.jpg", "04_davis_input/masks/a.png",
        "DAVIS/gt/a.png", "DAVIS/img/a.jpg",
    ]  # fmt: skip


def test_a_refused_archive_is_kept_aside_and_fetched_anew(server, tmp_path, capsys):
    server.files["/DAVIS.zip"] = zip_of({"../../evil": b"1"})
    call = ["download", "davis", "--out", str(tmp_path), "--mirror", server.url]
    assert main(call) == 1
    assert "outside its folder" in capsys.readouterr().err
    assert contents(tmp_path) == ["archives/DAVIS.zip.refused"]
    server.files["/DAVIS.zip"] = zip_of({"readme.txt": b"1"})
    assert main(call) == 1
    assert "holds no folder with img/ and gt/" in capsys.readouterr().err
    server.files["/DAVIS.zip"] = zip_of({"img/a.jpg": jpg(), "gt/a.png": png(MASK)})
    assert main(call) == 0
    assert "DAVIS/img/a.jpg" in contents(tmp_path)


def test_an_archive_put_there_by_hand_needs_no_server(tmp_path):
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives" / "DAVIS.zip").write_bytes(zip_of({"img/a.jpg": jpg(), "gt/a.png": png(MASK)}))
    call = ["download", "davis", "--out", str(tmp_path), "--mirror", "http://127.0.0.1:9", "--keep-archives"]
    assert main(call) == 0
    assert (tmp_path / "archives" / "DAVIS.zip").exists()


def test_addresses_are_tried_in_turn(server, tmp_path):
    archive = sources.Archive(tuple(f"{server.url}/{n}/x.zip" for n in "abc"), "", 10**6, 10**6)
    data_set = sources.DataSet("X", (archive,), "none", "img", "gt")
    with pytest.raises(UserError, match="a/x.zip answered 404.*b/x.zip answered 404.*c/x.zip answered 404"):
        download(data_set, tmp_path)
    server.files["/b/x.zip"] = zip_of({"X/img/a.jpg": jpg(), "X/gt/a.png": png(MASK)})
    download(data_set, tmp_path)
    assert contents(tmp_path / "X") == ["gt/a.png", "img/a.jpg"]


def test_a_folder_in_the_way_is_not_touched(tmp_path):
    (tmp_path / "DAVIS").mkdir()
    with pytest.raises(UsageError, match="in the way"):
        download(sources.DATA_SETS["davis"], tmp_path, "http://127.0.0.1:9")


@pytest.mark.parametrize(
    "call", [["imagenet", "--out", "x"], ["davis"], ["davis", "--out", "x", "--mirror", "ftp://example"]]
)
def test_wrong_calls(call):
    try:
        assert main(["download", *call]) == 2
    except SystemExit as error:
        assert error.code == 2


def test_the_published_checksum_is_the_one_that_torchvision_states():
    from torchvision.datasets import SBDataset

    (archive,) = sources.DATA_SETS["sbd"].archives
    assert (archive.addresses, archive.md5, archive.name) == ((SBDataset.url,), SBDataset.md5, SBDataset.filename)


def test_every_address_names_its_archive():
    for data_set in sources.DATA_SETS.values():
        for archive in data_set.archives:
            assert all(address.rsplit("/", 1)[1] == archive.name for address in archive.addresses)
