"""Inspection and selection of COCO_LVIS folders, whole, broken and hostile ones."""
import json
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from prepare_helpers import convert_to, entries, photo, run, write_json
from small_coco_lvis import COCO_IDS, PHOTO_SIZE, REGIONS

from utils.datasets import CocoLvisDataset
from utils.prepare.inspect import TILE, draw_sheet, fixed_order, inspect_split
from utils.prepare.subset import Filters, select

FIRST, SECOND, THIRD = COCO_IDS
AREAS = [int(np.prod([side.stop - side.start for side in region])) for region in REGIONS]


def annotate_second(split: Path, annotation) -> None:
    """Gives the second photo another annotation; a dict adds to the one it has."""
    annotations = pickle.loads((split / "hannotation.pickle").read_bytes())
    annotations[SECOND] = annotations[SECOND] | annotation if isinstance(annotation, dict) else annotation
    (split / "hannotation.pickle").write_bytes(pickle.dumps(annotations))


@pytest.fixture
def split(coco_lvis: Path) -> Path:
    return coco_lvis / "train"


# ------------------------------------------------------------------------------------------------ inspect


def test_counts(coco_lvis, split, tmp_path, capsys):
    (split / "images" / "000000000099.jpg").write_bytes((split / "images" / f"{FIRST}.jpg").read_bytes())
    (split / "masks" / "000000000098.pickle").write_bytes(b"")
    assert run("inspect", str(coco_lvis), "--out", str(tmp_path / "report"), "--jobs", "1") == 0
    report = json.loads((tmp_path / "report/train.json").read_text())
    expected = {
        "annotated_photos": 3, "checked_photos": 3, "photos_without_annotation": 1, "masks_without_annotation": 1,
        "objects": 9, "parts": 3, "deepest_level": 1, "empty_objects": 0, "stuff_regions": 3, "problems": [],
    }  # fmt: skip
    assert expected.items() <= report.items()
    # objects of 2,500 and 400 pixels and one of 2,000, three times
    assert AREAS[:3] == [2500, 400, 2000]
    assert {bound: count for bound, count in report["area_histogram"].items() if count} == {"256": 3, "1024": 6}
    assert report["long_side"]["median"] == max(PHOTO_SIZE) and report["objects_a_photo"]["most"] == 3
    text = capsys.readouterr().out
    assert "annotated photos" in text and "no fault: the full archive has about 19,000" in text
    sheet = cv2.imread(str(tmp_path / "report/train.jpg"))
    assert sheet is not None and sheet.std() > 10


def test_sheet_shows_objects_in_colour_and_stuff_in_grey(split):
    blank = np.full((*PHOTO_SIZE, 3), 200, np.uint8)
    cv2.imwrite(str(split / "images" / f"{FIRST}.jpg"), blank)
    tile = draw_sheet(split, [FIRST])[-TILE[0] - 6 : -6, 6:-6]
    scale = min((TILE[0] - 24) / PHOTO_SIZE[0], TILE[1] / PHOTO_SIZE[1])
    left = (TILE[1] - round(PHOTO_SIZE[1] * scale)) // 2
    places = ((15, 15), (30, 30), (30, 90), (85, 60))  # objects 0 to 2, stuff
    colours = [tile[int(y * scale), left + int(x * scale)].astype(int) for y, x in places]
    saturations = [int(colour.max() - colour.min()) for colour in colours]
    assert min(saturations[:3]) > 60 and saturations[3] < 15
    assert min(np.abs(a - b).max() for i, a in enumerate(colours) for b in colours[:i]) > 40, "each has its own colour"


def replace_file(split: Path, name: str, change) -> None:
    path = split / name.format(SECOND)
    path.write_bytes(change(path.read_bytes()))


PHOTO, MASKS = "images/{}.jpg", "masks/{}.pickle"
NODE = {"children": [7], "parent": None, "node_level": 0}
BREAKERS = [
    (lambda split: replace_file(split, PHOTO, lambda content: content[:200]), "jpg is truncated or no image"),
    (lambda split: (split / PHOTO.format(SECOND)).unlink(), "jpg can't be read (No such file"),
    (lambda split: (split / MASKS.format(SECOND)).unlink(), "pickle can't be read (No such file"),
    (lambda split: replace_file(split, MASKS, lambda content: content[:50]), "is truncated or no pickle"),
    (lambda split: replace_file(split, PHOTO, lambda _: photo(size=(9, 9))), "jpg is 9x9 pixels"),
    *((lambda split, wrong=wrong: annotate_second(split, wrong), "does not fit its annotation") for wrong in (
        {"num_instance_masks": 9}, {"hierarchy": {0: NODE, 1: None, 2: None}}, "text",
        {"hierarchy": {0: {**NODE, "children": [0]}, 1: None, 2: None}}, {"hierarchy": {3: None}})),
]


@pytest.mark.parametrize("damage, reason", BREAKERS)
def test_what_is_broken_is_named_and_the_rest_is_counted(split, capsys, damage, reason):
    damage(split)
    assert run("inspect", str(split), "--jobs", "1") == 1
    out, error = capsys.readouterr()
    assert reason in error and SECOND in error and error.count("\n") == 1
    assert "(3 looked at, 1 broken)" in out and " 6  (2 are parts" in out.replace("  objects   ", "")


def test_a_pickle_that_wants_to_run_something_is_refused(split, capsys):
    class Hostile:
        def __reduce__(self):
            return print, ("ran",)

    (split / "masks" / f"{SECOND}.pickle").write_bytes(pickle.dumps(Hostile()))
    assert run("inspect", str(split), "--jobs", "1") == 1
    (split / "hannotation.pickle").write_bytes(pickle.dumps(Hostile()))
    assert run("inspect", str(split), "--jobs", "1") == 1
    out, error = capsys.readouterr()
    assert "ran" not in out.split() and error.count("refused") == 2


def test_processes_and_limits_change_nothing_else(split):
    whole = inspect_split(split)
    assert inspect_split(split, jobs=2).facts == whole.facts
    (only,) = inspect_split(split, limit=1).facts
    assert only in whole.facts


def test_real_data_are_whole(shared_data):
    split = shared_data / "COCO_LVIS" / "val"
    report = inspect_split(split, limit=30)
    assert len(report.facts) == 30 and not report.problems
    dataset = CocoLvisDataset(split.parent, "val")
    samples = {image_id: i for i, (image_id, _) in enumerate(dataset.dataset_samples)}
    for facts in report.facts:
        sample = dataset.get_sample(samples[facts.image_id])
        assert facts.areas == tuple(int((sample.get_object_mask(i) == 1).sum()) for i in sorted(sample.objects_ids))


# ------------------------------------------------------------------------------------------------ subset


STATED = {FIRST: (4, ["dog", "cup"]), SECOND: (1, ["dog"]), THIRD: (4, ["cat", "cup"])}


@pytest.fixture
def info(tmp_path: Path) -> Path:
    """What is stated of the three photos, as the subset's own list states it."""
    content = {i: {"license_id": n, "categories": names} for i, (n, names) in STATED.items()}
    return write_json(tmp_path / "info.json", content)


@pytest.fixture
def coco_info(tmp_path: Path) -> Path:
    """The same as COCO's JSON file states it, with the annotations first."""
    numbers = {"cat": 17, "dog": 18, "cup": 47, "airplane": 5}
    return write_json(tmp_path / "instances.json", {
        "annotations": [{"image_id": int(i), "category_id": numbers[name]} for i in STATED for name in STATED[i][1]],
        "images": [{"id": int(i), "license": license_id} for i, (license_id, _) in STATED.items()],
        "categories": [{"id": number, "name": name} for name, number in numbers.items()]})


@pytest.mark.parametrize("source", ["info", "coco_info"])
@pytest.mark.parametrize(
    "filters, chosen",
    [
        (Filters(licenses=[4]), [FIRST, THIRD]),
        (Filters(categories=["dog"]), [FIRST, SECOND]),
        (Filters(categories=["dog", "cat"], without=["cup"]), [SECOND]),
        (Filters(licenses=[4], categories=["cup"], without=["dog"]), [THIRD]),
        (Filters(licenses=[9]), []),
    ],
)
def test_licences_and_categories(split, request, source, filters, chosen):
    assert select(split, filters, info=[request.getfixturevalue(source)]) == chosen


def test_sizes(split):
    cv2.imwrite(str(split / "images" / f"{SECOND}.jpg"), np.zeros((40, 40, 3), np.uint8))
    layers = [cv2.imencode(".png", np.ones((40, 40), np.uint8))[1]]
    (split / "masks" / f"{SECOND}.pickle").write_bytes(pickle.dumps((layers, [(0, 1)])))
    annotate_second(split, {"num_instance_masks": 1, "hierarchy": {0: None}})
    both, small = [FIRST, THIRD], [SECOND]
    assert select(split, Filters(min_side=41)) == both and select(split, Filters(min_side=40)) == sorted(COCO_IDS)
    assert select(split, Filters(min_area=1601)) == both
    assert select(split, Filters(min_area=1600, max_area=1600)) == small
    assert select(split, Filters(min_area=401, min_objects=2)) == both
    assert select(split, Filters(min_objects=4)) == [], "stuff does not count"
    (split / PHOTO.format(FIRST)).unlink()
    assert select(split, Filters(min_objects=1)) == [SECOND, THIRD]


def test_the_choice_depends_on_the_seed_alone_and_grows():
    ids = [f"{i:012d}" for i in range(500)]
    order = fixed_order(ids)
    assert order == fixed_order(ids[::-1]) != fixed_order(ids, seed=1)
    assert order[:3] == ["000000000157", "000000000303", "000000000243"], "the same on every machine"
    assert [i for i in fixed_order(ids + ["x"]) if i != "x"] == order


def test_the_list_is_what_training_reads(coco_lvis, split, info, capsys):
    call = ["subset", str(coco_lvis), "--info", str(info), "--licenses", "4", "--list", "mine.json", "--jobs", "1"]
    assert run(*call) == 0
    assert "allow_list_name='mine.json'" in capsys.readouterr().out
    dataset = CocoLvisDataset(coco_lvis, "train", allow_list_name="mine.json")
    assert [image_id for image_id, _ in dataset.dataset_samples] == [FIRST, THIRD]
    assert run(*call, "--photos", "1") == 0
    assert len(json.loads((split / "mine.json").read_text())) == 1


def test_a_converted_split_needs_no_info(tmp_path):
    for name, value in (("a", 3), ("b", 4)):
        for folder, content in (("imgs", np.zeros((20, 20, 3))), ("masks", np.full((20, 20), value))):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), content)
    assert convert_to(tmp_path / "o", "folder", "--images", tmp_path / "imgs", "--masks", tmp_path / "masks") == 0
    (chosen,) = select(tmp_path / "o/train", Filters(categories=["4"]))
    assert [entry["source"] for entry in entries(tmp_path / "o") if entry["id"] == chosen] == ["b.png"]


def test_wrong_calls(coco_lvis, tmp_path, info, capsys):
    call = ["subset", str(coco_lvis), "--jobs", "1"]
    assert run("inspect", str(tmp_path)) == 2 and run("inspect", str(tmp_path / "nowhere")) == 2
    assert "is no COCO_LVIS folder" in capsys.readouterr().err
    assert run(*call, "--licenses", "4") == 2
    assert "name COCO's JSON files with --info" in capsys.readouterr().err
    assert run(*call, "--info", str(info), "--categories", "dgo") == 2
    assert "no photo has the category 'dgo'; did you mean dog?" in capsys.readouterr().err
    assert run(*call, "--info", str(tmp_path / "nowhere.json")) == 2
    annotations = (coco_lvis / "train/hannotation.pickle").read_bytes()
    for name in ("../x.json", "hannotation.pickle", "objects.jsonl", ".."):
        assert run(*call, "--list", name) == 2
    assert (coco_lvis / "train/hannotation.pickle").read_bytes() == annotations
    assert run("subset", str(coco_lvis), "--split", "test") == 2
    assert run("subset", str(coco_lvis), "--split", "../COCO_LVIS/train") == 2
    assert run(*call, "--info", str(info), "--licenses", "9") == 1
    assert "ask for less" in capsys.readouterr().err
    (tmp_path / "odd.json").write_text('{"images": [3]}')
    assert run(*call, "--info", str(tmp_path / "odd.json"), "--licenses", "4") == 1
    assert "odd.json is neither" in capsys.readouterr().err
