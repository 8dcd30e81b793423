"""Exports of the annotation page, read back by the field's own tools, and as training data."""
import csv
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from stub import Annotator, stub_editor, write_pictures

from utils.annotate.__main__ import main
from utils.annotate.errors import AnnotationError
from utils.annotate.export import export
from utils.annotate.formats import FORMATS
from utils.annotate.formats.base import MANIFEST
from utils.annotate.formats.coco import run_lengths
from utils.annotate.formats.polygons import edge_polygons
from utils.annotate.project import Project
from utils.datasets import CocoLvisDataset

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (60, 80)
MASKS = arrays(bool, (9, 11))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    """Two pictures: a ring with a car in it, cut into two parts; and one that is done and empty."""
    folder = tmp_path_factory.mktemp("export")
    write_pictures(folder / "images", "one.png", "two.png", "three.png")
    editor = stub_editor(folder / "images", folder / "out")
    person = Annotator(editor, picture=0)
    assert person.picture.name == "one.png"
    person.do("region", points=[[5, 5], [5, 50], [50, 50], [50, 5]], adds=True, label="person")
    person.do("region", points=[[15, 15], [15, 40], [40, 40], [40, 15]], adds=False)
    person.do("finish")
    person.do("region", points=[[20, 20], [20, 35], [35, 35], [35, 20]], adds=True, label="car")
    person.do("region", points=[[0, 26], [0, 28], [59, 28], [59, 26]], adds=False)
    person.do("finish")
    person.do("region", points=[[52, 60], [52, 70], [58, 70]], adds=True, label="car")  # never finished
    Annotator(editor, picture=2).do("mark", done=True)
    return Project(folder / "out")


def truth(project: Project) -> dict[str, np.ndarray]:
    """The masks of the first picture, by label."""
    picture = next(iter(project.pictures.values()))
    session = project.read_session(picture)
    return {target.label: project.masks(picture).mask(target.mask) for target in session.document.objects}


@given(MASKS)
def test_run_lengths_are_cocos(mask):
    rle = coco_masks.frPyObjects({"size": list(mask.shape), "counts": run_lengths(mask)}, *mask.shape)
    assert np.array_equal(coco_masks.decode(rle), mask)


@given(MASKS)
def test_polygons_hold_the_mask_exactly_for_pycocotools(mask):
    polygons = [polygon[:, ::-1].ravel().tolist() for polygon in edge_polygons(mask)]
    decoded = np.zeros(mask.shape, np.uint8)
    if polygons:
        decoded = coco_masks.decode(coco_masks.merge(coco_masks.frPyObjects(polygons, *mask.shape)))
    assert np.array_equal(decoded, mask)


@pytest.mark.parametrize("polygons", [False, True])
def test_coco_is_read_by_pycocotools(project, tmp_path, polygons):
    assert export(project, tmp_path, "coco", polygons=polygons).pictures == 2
    coco = COCO(tmp_path / "instances.json")
    names = {category["id"]: category["name"] for category in coco.dataset["categories"]}
    assert list(names.values()) == ["car", "person"]
    image = next(image for image in coco.dataset["images"] if image["file_name"] == "one.png")
    assert (image["height"], image["width"]) == SHAPE
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
    assert len(annotations) == 2
    for annotation in annotations:
        mask = truth(project)[names[annotation["category_id"]]]
        assert np.array_equal(coco.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum()
        x, y, width, height = annotation["bbox"]
        assert mask[y : y + height, x : x + width].sum() == mask.sum() and mask[y].any() and mask[:, x].any()


def test_label_maps(project, tmp_path):
    export(project, tmp_path, "png")
    masks = truth(project)
    classes = cv2.imread(str(tmp_path / "labels" / "one.png"), cv2.IMREAD_UNCHANGED)
    instances = cv2.imread(str(tmp_path / "instances" / "one.png"), cv2.IMREAD_UNCHANGED)
    numbers = json.loads((tmp_path / "classes.json").read_text())
    assert numbers == {"car": 1, "person": 2}
    for label, number, instance in (("person", 2, 1), ("car", 1, 2)):
        assert np.array_equal(classes == number, masks[label])
        assert np.array_equal(instances == instance, masks[label])
        single = cv2.imread(str(tmp_path / "objects" / "one" / f"{instance:03d}.png"), cv2.IMREAD_GRAYSCALE)
        assert np.array_equal(single > 0, masks[label])
    assert not cv2.imread(str(tmp_path / "labels" / "two.png")).any()  # done, with nothing on it
    assert not (tmp_path / "labels" / "three.png").exists()  # untouched
    with open(tmp_path / "objects.csv", newline="", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert [(row["picture"], row["label"], int(row["pixels"])) for row in rows] == [
        ("one.png", label, masks[label].sum()) for label in ("person", "car")]


@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_gone_leaves_nothing_behind_in_the_next_export(tmp_path, kind):
    write_pictures(tmp_path / "images", "one.png", "two.png")
    editor = stub_editor(tmp_path / "images", tmp_path / "out")
    people = [Annotator(editor, number) for number in (0, 1)]
    for person in people:
        person.click(20, 30)
        person.do("finish")
    people[0].click(50, 70)
    people[0].do("finish")
    export(editor.project, tmp_path / "to", kind)
    (tmp_path / "to" / "notes.txt").write_text("not ours")
    people[0].do("delete", object=2)
    people[1].do("delete", object=1)
    export(editor.project, tmp_path / "to", kind)
    export(editor.project, tmp_path / "fresh", kind)
    names = [sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
             for folder in (tmp_path / "to", tmp_path / "fresh")]
    assert names[0] == sorted([*names[1], "notes.txt"])


def test_only_files_of_the_folder_are_removed(project, tmp_path):
    export(project, tmp_path / "to", "png")
    kept = tmp_path / "kept.png"
    kept.write_bytes(b"x")
    for names in ('["../kept.png", 7]', "{}", "["):
        (tmp_path / "to" / MANIFEST).write_text(names)
        export(project, tmp_path / "to", "png")
        assert kept.exists()


def test_label_maps_are_masks_to_start_from(project, tmp_path):
    export(project, tmp_path / "png", "png")
    editor = stub_editor(project.images, tmp_path / "again", tmp_path / "png" / "instances")
    person = Annotator(editor)
    person.do("accept proposals", proposals=person.state["proposals"], label="car")
    assert np.array_equal(person.mask(0), truth(project)["person"])


def test_labelme(project, tmp_path):
    export(project, tmp_path, "labelme")
    content = json.loads((tmp_path / "one.json").read_text())
    assert (content["imageHeight"], content["imageWidth"]) == SHAPE
    assert (tmp_path / content["imagePath"]).resolve() == (project.images / "one.png").resolve()
    for label, parts in (("person", 1), ("car", 2)):
        shapes = [shape for shape in content["shapes"] if shape["label"] == label]
        assert len(shapes) == parts and len({shape["group_id"] for shape in shapes}) == 1
        decoded = np.zeros(SHAPE, bool)
        for shape in shapes:
            polygon = [np.array(shape["points"]).ravel().tolist()]
            decoded |= coco_masks.decode(coco_masks.frPyObjects(polygon, *SHAPE))[..., 0] > 0
        assert np.array_equal(decoded, truth(project)[label])


def drawn_by_ultralytics(line: str, shape: tuple[int, int]) -> np.ndarray:
    """A line's polygon as ultralytics draws it."""
    points = np.array(line.split()[1:], float).reshape(-1, 2) * shape[::-1]
    canvas = np.zeros(shape, np.uint8)
    cv2.fillPoly(canvas, [np.asarray(points, np.int32)], 1)
    return canvas > 0


def test_yolo(project, tmp_path):
    export(project, tmp_path, "yolo")
    lines = (tmp_path / "labels" / "one.txt").read_text().splitlines()
    assert (tmp_path / "labels" / "two.txt").read_text() == ""
    for label, number in (("car", "0"), ("person", "1")):
        drawn = [drawn_by_ultralytics(line, SHAPE) for line in lines if line.split()[0] == number]
        assert iou(np.any(drawn, axis=0), truth(project)[label]) >= 0.99
    assert (tmp_path / "images" / "one.png").read_bytes() == (project.images / "one.png").read_bytes()
    assert 'names:\n  0: "car"\n  1: "person"\n' in (tmp_path / "data.yaml").read_text()


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return np.count_nonzero(a & b) / np.count_nonzero(a | b)


def test_only_done_pictures(project, tmp_path):
    assert export(project, tmp_path, "coco", only="done").pictures == 1
    assert [image["file_name"] for image in COCO(tmp_path / "instances.json").dataset["images"]] == ["two.png"]


@pytest.mark.parametrize("kind", FORMATS)
def test_exporting_twice_gives_the_same_files(project, tmp_path, kind):
    contents = []
    for _ in range(2):
        export(project, tmp_path, kind)
        contents.append({path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()})
    assert contents[0] == contents[1]


def test_nothing_to_export(tmp_path):
    write_pictures(tmp_path / "images", "a.png")
    editor = stub_editor(tmp_path / "images", tmp_path / "out")
    with pytest.raises(AnnotationError, match="nothing to export"):
        export(editor.project, tmp_path / "to", "coco")


def test_the_command(project, tmp_path, capsys):
    assert main(["export", str(project.out), "--format", "coco", "--polygons", "--to", str(tmp_path)]) == 0
    assert "2 pictures written" in capsys.readouterr().out and (tmp_path / "instances.json").is_file()
    assert main(["export", str(tmp_path), "--format", "coco"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(tmp_path) in said


@pytest.mark.parametrize("polygons", [False, True])
def test_coco_comes_back_as_training_data(project, tmp_path, polygons):
    export(project, tmp_path / "coco", "coco", polygons=polygons)
    convert("coco", "--images", project.images, "--instances", tmp_path / "coco" / "instances.json",
            "--out", tmp_path / "COCO_LVIS")
    check_training_data(project, tmp_path / "COCO_LVIS")


def test_labelme_comes_back_as_training_data(project, tmp_path):
    export(project, tmp_path / "labelme", "labelme")
    convert("labelme", "--labels", tmp_path / "labelme", "--images", project.images, "--out", tmp_path / "COCO_LVIS")
    check_training_data(project, tmp_path / "COCO_LVIS")


def convert(*arguments: object) -> None:
    command = [sys.executable, "-m", "utils.prepare", "convert", *map(str, arguments), "--jobs", "1"]
    ended = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert ended.returncode == 0, ended.stderr


def check_training_data(project: Project, folder: Path) -> None:
    dataset = CocoLvisDataset(folder, split="train")
    samples = [dataset.get_sample(i) for i in range(dataset.get_samples_number())]
    found = [sample.get_object_mask(i) == 1 for sample in samples for i in sample.objects_ids]
    assert {mask.tobytes() for mask in found} == {mask.tobytes() for mask in truth(project).values()}
