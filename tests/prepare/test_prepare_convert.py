"""Splits that follow their inputs: going on, changes, additions, removals, locks, places, splits by name."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from prepare_helpers import SIZE, coco, convert_to, entries, photo, read_back, rectangle, run_lengths, write_json

from utils.datasets import CocoLvisDataset
from utils.files import folder_lock
from utils.formats.picture import own_ids
from utils.prepare.convert import hold_out

ROOT = Path(__file__).parents[2]


def make_folder(home: Path, names, value: int = 1) -> None:
    for name in ("imgs", "masks"):
        (home / name).mkdir(exist_ok=True, parents=True)
    for number, name in enumerate(names):
        (home / "imgs" / f"{name}.jpg").write_bytes(photo(number))
        draw_mask(home, name, value=value)


def draw_mask(home: Path, name: str, height: int = 20, value: int = 1) -> None:
    cv2.imwrite(str(home / "masks" / f"{name}.png"), rectangle(0, height, 0, 30).astype(np.uint8) * value)


def convert(home: Path, *options, out: str = "out") -> int:
    return convert_to(home / out, "folder", "--images", home / "imgs", "--masks", home / "masks", *options)


def areas(out: Path, split: str = "train") -> dict[str, list[int]]:
    return {name: [int(mask.sum()) for mask in masks] for name, (masks, _, _) in read_back(out, split).items()}


def times(out: Path) -> dict[str, int]:
    return {entry["source"]: (out / "train/masks" / f"{entry['id']}.pickle").stat().st_mtime_ns
            for entry in entries(out)}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    make_folder(tmp_path, "abcd")
    assert convert(tmp_path, "--split", "train") == 0
    return tmp_path


# ------------------------------------------------------------------------------------------------ inputs that change


def test_what_is_unchanged_is_not_made_again(home, capsys):
    before = times(home / "out")
    assert convert(home, "--split", "train") == 0
    assert times(home / "out") == before and "4 were as before" in capsys.readouterr().out


@pytest.mark.parametrize("change", ["mask", "photo", "output"])
def test_what_changed_is_made_again_alone(home, change):
    before = times(home / "out")
    if change == "mask":
        draw_mask(home, "b", height=40)
    elif change == "photo":
        (home / "imgs/b.jpg").write_bytes(photo(99))
    else:
        (home / "out/train/images" / f"{own_ids(['a.jpg', 'b.jpg'])['b.jpg']}.jpg").unlink()
    assert convert(home, "--split", "train") == 0
    after = times(home / "out")
    assert {name for name in after if after[name] != before[name]} == {"b.jpg"}
    assert areas(home / "out")["b.jpg"] == [(40 if change == "mask" else 20) * 30]


def test_rules_and_settings_count_as_inputs(home, monkeypatch):
    before = times(home / "out")
    with monkeypatch.context() as patch:
        patch.setattr("utils.prepare.convert.RULES", 0)
        assert convert(home, "--split", "train") == 0
    assert not set(before.items()) & set(times(home / "out").items())
    assert convert(home, "--split", "train", "--binary", "0") == 0
    assert {name for entry in entries(home / "out") for name in entry["categories"]} == {"object"}


def test_what_is_new_gone_damaged_or_empty_now(home, capsys):
    make_folder(home, "e")
    (home / "imgs/a.jpg").unlink()
    (home / "masks/b.png").write_bytes(b"damaged")
    draw_mask(home, "c", height=0)
    assert convert(home, "--split", "train") == 1
    said = capsys.readouterr()
    assert said.out.count("no longer among the inputs and taken out: a.jpg\n") == 1 and "b.png" in said.err
    assert "1 photos without any were left out; 1 were as before" in said.out
    assert set(areas(home / "out")) == {"d.jpg", "e.jpg"}
    assert len(list((home / "out/train/masks").iterdir())) == len(list((home / "out/train/images").iterdir())) == 2


def test_annotations_of_coco_files_are_compared_photo_by_photo(tmp_path):
    (tmp_path / "imgs").mkdir()
    content = coco([1, 2], [(i, 1, run_lengths(rectangle(0, 20, 0, 30)), {}) for i in (1, 2)])
    for i in (1, 2):
        (tmp_path / f"imgs/{i:012d}.jpg").write_bytes(photo(i))
    call = ["coco", "--images", tmp_path / "imgs", "--instances", write_json(tmp_path / "i.json", content)]
    assert convert_to(tmp_path / "out", *call) == 0
    before = times(tmp_path / "out")
    content["annotations"][0]["segmentation"] = run_lengths(rectangle(0, 20, 5, 35))
    write_json(tmp_path / "i.json", content)
    assert convert_to(tmp_path / "out", *call) == 0
    after = times(tmp_path / "out")
    assert [name for name in after if after[name] != before[name]] == ["000000000001.jpg"]


def test_a_folder_made_from_something_else_is_refused(home, tmp_path, capsys, coco_lvis):
    make_folder(tmp_path / "other", "xy")
    before = (home / "out/train/hannotation.pickle").read_bytes()
    other = tmp_path / "other"
    assert convert_to(home / "out", "folder", "--images", other / "imgs", "--masks", other / "masks") == 2
    assert "holds other pictures" in capsys.readouterr().err
    (other / "imgs/p.json").write_text('{"shapes": [], "imagePath": "x.jpg"}')
    assert convert_to(home / "out", "labelme", "--labels", other / "imgs") == 2
    assert "was made by convert folder" in capsys.readouterr().err
    assert (home / "out/train/hannotation.pickle").read_bytes() == before
    before = (coco_lvis / "train/hannotation.pickle").read_bytes()
    assert convert_to(coco_lvis, "folder", "--images", home / "imgs", "--masks", home / "masks") == 2
    assert "not converted here" in capsys.readouterr().err
    assert (coco_lvis / "train/hannotation.pickle").read_bytes() == before


# ------------------------------------------------------------------------------------------------ runs that end early


def many(tmp_path: Path, count: int) -> list:
    (tmp_path / "many").mkdir()
    for i in range(1, count + 1):
        (tmp_path / "many" / f"{i:012d}.jpg").write_bytes(photo(i))
    ids = range(1, count + 1)
    content = coco(ids, [(i, 1, run_lengths(rectangle(0, 9 + i % 9, 0, 9)), {}) for i in ids])
    return ["coco", "--images", tmp_path / "many", "--instances", write_json(tmp_path / "instances.json", content)]


def test_a_killed_conversion_goes_on(tmp_path):
    """kill -9 of two processes in the middle: what is recorded stays, and the whole is as one process makes it."""
    call, out = many(tmp_path, 12), tmp_path / "out"
    pipes = [tmp_path / "many" / f"{i:012d}.jpg" for i in (6, 7)]
    for path in pipes:  # reading a pipe that nobody writes to never ends: both processes are killed at work
        path.unlink()
        os.mkfifo(path)
    command = [sys.executable, "-m", "utils.prepare", "convert", *map(str, call), "--out", str(out), "--jobs", "2"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
    record = out / "train/objects.jsonl"
    while process.poll() is None and (not record.exists() or record.read_bytes().count(b"\n") < 6):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "train/hannotation.pickle").exists()
    before = times(out)
    assert len(before) == 5
    for i, path in enumerate(pipes, 6):
        path.unlink()
        path.write_bytes(photo(i))
    assert convert_to(out, *call) == 0
    assert {name: written for name, written in times(out).items() if name in before} == before
    assert convert_to(tmp_path / "whole", *call) == 0
    files = [{path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
             for folder in (out, tmp_path / "whole")]
    assert files[0] == files[1] and len(read_back(out)) == 12


def test_a_torn_line_of_the_record_is_done_again_and_a_damaged_one_named(home, capsys):
    record = home / "out/train/objects.jsonl"
    whole = record.read_bytes()
    settings, first, *_ = map(json.loads, whole.decode("utf-8").splitlines())
    assert settings["command"] == "convert folder" and first["size"] == list(SIZE)
    record.write_bytes(whole[:-20])
    assert convert(home, "--split", "train") == 0
    assert record.read_bytes() == whole
    record.write_text('{"command": "convert folder"}\n{"id": 3\n')
    assert convert(home) == 1
    assert "objects.jsonl is damaged" in capsys.readouterr().err


def test_a_process_that_dies_loses_its_photo_alone(home, monkeypatch, capfd):
    sitecustomize = home / "patch/sitecustomize.py"
    sitecustomize.parent.mkdir()
    sitecustomize.write_text("import os, utils.images as i\nread = i.read_labels\n"
                             "dies = lambda p: str(p).endswith('b.png')\n"
                             "i.read_labels = lambda p, **k: os._exit(9) if dies(p) else read(p, **k)\n")
    monkeypatch.setenv("PYTHONPATH", f"{sitecustomize.parent}:{ROOT}")
    draw_mask(home, "b", height=9)
    assert convert_to(home / "out", "folder", "--images", home / "imgs", "--masks", home / "masks", "--split", "train",
                      jobs=2) == 1
    assert "b.jpg: its process died" in capfd.readouterr().err
    assert set(areas(home / "out")) == {"a.jpg", "c.jpg", "d.jpg"}


def test_two_conversions_into_one_folder(home, capsys):
    with folder_lock(home / "out/train", "conversion"):
        assert convert(home, "--split", "train") == 1
    assert "another conversion is writing to" in capsys.readouterr().err


def test_a_full_disk_stops_with_a_sentence(home, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise OSError(28, os.strerror(28), "masks")

    monkeypatch.setattr("utils.prepare.convert.write_layers", full)
    assert convert(home, "--split", "train", out="new") == 1
    assert "disk is full" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="setpriv")
def test_a_place_that_can_not_be_written_to(home):
    (home / "share").mkdir(mode=0o555)
    call = ["convert", "folder", "--images", home / "imgs", "--masks", home / "masks", "--out", home / "share/out"]
    drop = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"] if os.getuid() == 0 else []
    ended = subprocess.run([*drop, sys.executable, "-m", "utils.prepare", *map(str, call)], cwd=ROOT, text=True,
                           capture_output=True)
    assert ended.returncode == 1 and "no permission" in ended.stderr and "Traceback" not in ended.stderr


def test_names_that_the_terminal_can_not_show(tmp_path):
    home = tmp_path / "снимки 写真"
    make_folder(home, ["ё"])
    call = ["convert", "folder", "--images", home / "imgs", "--masks", home / "masks", "--out", home / "выход"]
    ended = subprocess.run([sys.executable, "-m", "utils.prepare", *map(str, call), "--jobs", "1"], cwd=ROOT,
                           env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True)
    assert ended.returncode == 0 and b"1 photos with 1 objects" in ended.stdout, ended.stderr
    assert [entry["source"] for entry in entries(home / "выход")] == ["ё.jpg"]


# ------------------------------------------------------------------------------------------------ train and val


def test_a_tenth_is_held_out_by_name_and_stays_held_out(tmp_path):
    names = [f"{i}" for i in range(20)]
    make_folder(tmp_path, names)
    assert convert(tmp_path) == 0
    train, val = (set(areas(tmp_path / "out", split)) for split in ("train", "val"))
    assert len(train) == 18 and len(val) == 2
    assert convert(tmp_path, out="again") == 0
    assert set(areas(tmp_path / "again", "val")) == val, "the names alone decide"
    make_folder(tmp_path, [*names, *(f"{i}" for i in range(20, 40))])
    assert convert(tmp_path) == 0
    assert set(areas(tmp_path / "out", "train")) >= train and set(areas(tmp_path / "out", "val")) > val
    assert len(areas(tmp_path / "out", "val")) == 4
    ids = [entry["id"] for split in ("train", "val") for entry in entries(tmp_path / "out", split)]
    assert len(set(ids)) == 40 and all(image_id >= "9" and len(image_id) == 12 for image_id in ids)
    assert CocoLvisDataset(tmp_path / "out", "val").get_samples_number() == 4


@pytest.mark.parametrize("options, count", [([], 0), (["--val", "0.5"], 2), (["--val", "0"], 0)])
def test_the_share_can_be_chosen_and_few_photos_are_all_trained_on(tmp_path, options, count):
    make_folder(tmp_path, "abc")
    assert convert(tmp_path, *options) == 0
    assert len(areas(tmp_path / "out")) == 3 - count
    assert (tmp_path / "out/val").exists() == (count > 0)


def test_own_ids_stay_when_names_come_or_go(tmp_path):
    assert hold_out([], tmp_path, 0.1) == {"train": [], "val": []}
    few, many = own_ids(["a", "b"]), own_ids([f"{i}" for i in range(2000)] + ["b", "a"])
    assert few["a"] == many["a"] and few["b"] == many["b"] and len(set(many.values())) == 2002
