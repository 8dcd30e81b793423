"""Exports of the annotation page, read back by the field's own tools, and as training data."""
import csv
import json
import os
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from stub import Annotator, StubModel, stub_editor, write_pictures

from utils.annotate import project as project_module
from utils.annotate.__main__ import main
from utils.annotate.editor import Editor
from utils.annotate.engine import Engine
from utils.annotate.errors import AnnotationError
from utils.annotate.export import export
from utils.annotate.formats import FORMATS
from utils.annotate.formats.base import MANIFEST
from utils.annotate.formats.coco import run_lengths
from utils.annotate.formats.polygons import edge_polygons
from utils.annotate.formats.yolo import as_polygons, divided
from utils.annotate.import_objects import KINDS, import_objects
from utils.annotate.project import Project
from utils.datasets import CocoLvisDataset
from utils.images import turn_back
from utils.prepare.__main__ import main as prepare

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


def annotated(folder: Path, *names: str) -> Editor:
    """An editor on pictures that have an object each, labelled with their numbers."""
    write_pictures(folder / "images", *names)
    editor = stub_editor(folder / "images", folder / "out")
    for number, picture in enumerate(editor.project.pictures.values()):
        person = Annotator(editor, number)
        person.click(20, 30, label=picture.shown_name[-40:])
        person.do("finish")
    return editor


FILES = {"png": "labels/**/*.png", "labelme": "**/*.json", "yolo": "labels/**/*.txt", "voc": "Annotations/**/*.xml"}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("names", [
    ["cat.jpg", "cat.png", "cat.jpg.png"], ["cat.png", "CAT.jpg"], ["e" * 251 + ".png", "e" * 250 + "f.png", "e.png"],
    [b"\xff.png", b"\xfe.png", "a.png"], ["\u00e9.png", "e\u0301.jpg"],
])
def test_every_picture_has_a_file_of_its_own(tmp_path, kind, names):
    editor = annotated(tmp_path, *(os.fsdecode(name) for name in names))
    result = export(editor.project, tmp_path / "to", kind)
    files = list((tmp_path / "to").glob(FILES[kind]))
    assert result.pictures == len(files) == len(names)
    assert len({path.relative_to(tmp_path / "to").as_posix().casefold() for path in files}) == len(names)
    if kind == "yolo":  # ultralytics finds labels by the image's name
        images = sorted(path.stem for path in (tmp_path / "to" / "images").iterdir())
        assert images == sorted(path.stem for path in files)


def test_coco_names_a_picture_whose_name_is_not_utf8_in_utf8(tmp_path):
    editor = annotated(tmp_path, os.fsdecode(b"\xff.png"), "a.png")
    export(editor.project, tmp_path / "to", "coco")
    content = json.loads((tmp_path / "to" / "instances.json").read_text("utf-8"))
    assert {image["file_name"] for image in content["images"]} == {"\ufffd.png", "a.png"}
    assert content["info"]["frame"] == "upright"


@pytest.mark.parametrize("kind, name", [("yolo", "images/a.png"), ("voc", "JPEGImages/a.png")])
def test_pictures_are_copied_unless_links_are_asked_for(tmp_path, kind, name):
    editor = annotated(tmp_path, "a.png")
    original = (tmp_path / "images" / "a.png").read_bytes()
    export(editor.project, tmp_path / "to", kind)
    (tmp_path / "to" / name).write_bytes(b"edited")
    assert (tmp_path / "images" / "a.png").read_bytes() == original
    export(editor.project, tmp_path / "to", kind, link=True)
    assert (tmp_path / "to" / name).samefile(tmp_path / "images" / "a.png")


@pytest.mark.parametrize("kind", FORMATS)
def test_the_last_deleted_object_leaves_an_export_too(tmp_path, kind):
    editor = annotated(tmp_path, "a.png")
    export(editor.project, tmp_path / "to", kind)
    Annotator(editor).do("delete", object=1)
    result = export(editor.project, tmp_path / "to", kind)
    assert result.pictures == 0
    left = b"".join(path.read_bytes() for path in (tmp_path / "to").rglob("*.[tjx]*") if path.is_file())
    assert b"bbox" not in left and b"points" not in left and not list((tmp_path / "to").glob(FILES.get(kind, "x")))


def test_what_no_longer_fits_is_named_and_loses_itself_alone(tmp_path):
    annotated(tmp_path, "gone.png", "odd.png", "resized.png", "whole.png", "unread.png")
    (tmp_path / "images" / "gone.png").unlink()
    (tmp_path / "images" / "unread.png").write_bytes(b"no picture")
    (tmp_path / "out" / "sessions" / "odd.png.json").write_text('{"format": "click annotations 1"}', encoding="utf-8")
    write_pictures(tmp_path / "images", "resized.png", height=50)
    result = export(Project(tmp_path / "out"), tmp_path / "to", "coco")
    assert result.pictures == 1 == len(COCO(tmp_path / "to" / "instances.json").dataset["images"])
    said = result.text(tmp_path / "to")
    assert said.startswith("1 picture written")
    assert all(name in said for name in ("gone.png", "odd.png", "resized.png is left out: it is 80x50", "unread.png"))


def test_an_export_is_a_snapshot(tmp_path):
    """Masks that vanish while it runs are still there for it."""
    editor = annotated(tmp_path, "a.png", "b.png")
    before = Annotator(editor, 1).mask(0)

    def edit(done: int, total: int) -> None:
        if done == 0:
            person = Annotator(editor, 1)
            person.do("undo")
            person.do("undo")
            person.click(50, 60)
            assert not (editor.project.masks(person.picture).folder / name).exists()

    name = Annotator(editor, 1).state["objects"][0]["mask"]
    assert export(Project(tmp_path / "out"), tmp_path / "to", "png", progress=edit).pictures == 2
    assert np.array_equal(cv2.imread(str(tmp_path / "to" / "instances" / "b.png"), -1) > 0, before)


def test_sessions_are_parsed_once_for_an_export(tmp_path, monkeypatch):
    annotated(tmp_path, "a.png", "b.png", "c.png")
    parsed, parse = [], project_module.from_json
    monkeypatch.setattr(project_module, "from_json", lambda text, path: parsed.append(path) or parse(text, path))
    export(Project(tmp_path / "out"), tmp_path / "to", "coco")
    assert len(parsed) == 3


def test_only_approved_pictures(tmp_path):
    editor = annotated(tmp_path, "a.png", "b.png")
    Annotator(editor, 1).do("review", state="approved")
    assert export(editor.project, tmp_path / "to", "coco", only="approved").pictures == 1


def test_pictures_of_subfolders(tmp_path):
    for folder in ("one", "two"):
        write_pictures(tmp_path / "images" / folder, "a.png")
    project = Project(tmp_path / "out", tmp_path / "images", recursive=True)
    project.save()
    for number in range(2):
        person = Annotator(Editor(project, Engine(StubModel)), number)
        person.do("region", points=[[5, 5], [5, 30 + number], [30, 30]], adds=True, label="car")
        person.do("finish")
    again = Project(tmp_path / "out")
    for kind, pattern in FILES.items():
        assert export(again, tmp_path / kind, kind).pictures == 2
        assert len(list((tmp_path / kind).glob(pattern))) == 2
    export(again, tmp_path / "coco", "coco")
    assert [image["file_name"] for image in COCO(tmp_path / "coco" / "instances.json").dataset["images"]] == [
        "one/a.png", "two/a.png"]


def test_voc(project, tmp_path):
    export(project, tmp_path, "voc")
    masks = truth(project)
    with Image.open(tmp_path / "SegmentationClass" / "one.png") as image:
        assert image.mode == "P" and image.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
        for label, number in (("car", 1), ("person", 2)):
            assert np.array_equal(np.array(image) == number, masks[label])
    root = ElementTree.parse(tmp_path / "Annotations" / "one.xml").getroot()
    for node in root.iter("object"):
        left, top, right, bottom = (int(node.find("bndbox")[i].text) for i in range(4))
        y, x = np.nonzero(masks[node.find("name").text])
        assert (left, top, right, bottom) == (x.min() + 1, y.min() + 1, x.max() + 1, y.max() + 1)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("taken_as", KINDS)
def test_what_is_exported_comes_in_again(project, tmp_path, kind, taken_as):
    export(project, tmp_path / "to", kind)
    again = Project(tmp_path / "again", project.images)
    again.save()
    source = tmp_path / "to" / "instances.json" if kind == "coco" else tmp_path / "to"
    import_objects(again, source, kind, taken_as)
    if taken_as == "proposals":
        person = Annotator(stub_editor(project.images, tmp_path / "again", tmp_path / "again" / "proposals"))
        person.do("accept proposals", proposals=person.state["proposals"], label="car")
    else:
        person = Annotator(Editor(again, Engine(StubModel)))
    found = {target["label"]: person.mask(number) for number, target in enumerate(person.state["objects"])}
    if taken_as == "objects" and kind != "yolo":  # which knows no parts
        assert set(found) == {"car", "person"}
        assert all(np.array_equal(found[label], mask) for label, mask in truth(project).items())
        person.do("undo")
        assert len(person.state["objects"]) == 1
    whole = np.any([person.mask(number) for number in range(len(person.state["objects"]))], axis=0)
    if taken_as == "objects" and kind != "yolo":
        return
    assert iou(whole, np.any(list(truth(project).values()), axis=0)) >= 0.99


NAMES = st.sampled_from(["a.jpg", "\u0444\u043e\u0442\u043e 1.jpeg", "a.b.jpg", "x" * 240 + ".jpg", "#1 '&<.jpg"])


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arrays(np.uint8, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12), elements=st.integers(0, 3)),
       st.integers(1, 8), NAMES)
def test_any_masks_in_any_frame_come_back_the_same(tmp_path_factory, labels, orientation, name):
    """Holes, parts, lines of one pixel, borders; pictures that a camera turned."""
    folder = tmp_path_factory.mktemp("round")
    (folder / "images").mkdir()
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = turn_back(np.repeat(labels[..., None] * 80, 3, axis=2), orientation)
    Image.fromarray(stored).save(folder / "images" / name, exif=exif)
    values = [value for value in (1, 2, 3) if (labels == value).any()]
    if not values:
        return
    first = Project(folder / "out", folder / "images")
    first.save()
    Image.fromarray(labels).save(folder / "labels.png")
    (folder / "maps").mkdir()
    (folder / "labels.png").rename(folder / "maps" / f"{name}.png")
    import_objects(first, folder / "maps", "png")
    for kind in FORMATS:
        export(first, folder / kind, kind)
        again = Project(folder / f"{kind} again", folder / "images")
        again.save()
        import_objects(again, folder / kind / "instances.json" if kind == "coco" else folder / kind, kind)
        [picture] = again.pictures.values()
        found = [again.masks(picture).mask(target.mask) for target in again.read_session(picture).document.objects]
        assert found
        if kind != "yolo":  # which is exact for larger objects only, see above
            assert sorted(mask.tobytes() for mask in found) == sorted((labels == each).tobytes() for each in values)
    coco = COCO(folder / "coco" / "instances.json")
    drawn = [coco.annToMask(annotation).astype(bool).tobytes() for annotation in coco.dataset["annotations"]]
    assert sorted(drawn) == sorted((labels == value).tobytes() for value in values)


def test_the_masks_of_others_come_in(tmp_path):
    """pycocotools' compressed RLE, iscrowd, names with folders, and what can't be read loses itself."""
    write_pictures(tmp_path / "images", "a.png")
    mask = np.zeros(SHAPE, np.uint8)
    mask[7:31, 11:60] = mask[40:50, 3:9] = 1
    rle = coco_masks.encode(np.asfortranarray(mask))
    rle["counts"] = rle["counts"].decode()
    images = [{"id": number, "file_name": name, "width": 80, "height": 60}
              for number, name in ((1, "train\\a.png"), (2, "gone.png"))]
    good = {"id": 1, "image_id": 1, "category_id": 9, "segmentation": rle, "iscrowd": 1}
    bad = [{**good, "id": 2, "segmentation": []}, {**good, "id": 3, "segmentation": [[1, 2]]}, {**good, "image_id": 7}]
    content = {"images": images, "categories": [{"id": 9, "name": "cat"}], "annotations": [good, *bad]}
    (tmp_path / "coco.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(content).encode())
    project = Project(tmp_path / "out", tmp_path / "images")
    said = str(import_objects(project, tmp_path / "coco.json", "coco"))
    assert said.startswith("1 objects on 1 picture\n")
    for note in ("annotation 3 (instances) was left out", "1 pictures are not in", "1 annotations belong to no photo",
                 "1 annotations have a box", "3 crowd regions (iscrowd) were taken as objects\n"):
        assert note in said
    person = Annotator(Editor(project, Engine(StubModel)))
    assert person.state["objects"][0]["label"] == "cat" and np.array_equal(person.mask(0), mask > 0)


LINE = "0 0.1 0.1 0.5 0.1 0.5 0.5\n"


@pytest.mark.parametrize("pictures, labels, owners, notes", [
    (["a.png"], {"labels/train/a.txt": LINE}, ["a.png"], 0),
    (["one/a.png", "two/a.png"], {"one/a.txt": LINE, "two/a.txt": LINE * 2}, ["one/a.png", "two/a.png"], 0),
    (["one/a.png"], {"two/a.txt": LINE, "one/a.txt": LINE + "x\n"}, ["one/a.png"], 2)])
def test_the_labels_of_a_tree_go_to_their_pictures_alone(tmp_path, pictures, labels, owners, notes):
    for name in pictures:
        write_pictures((tmp_path / "images" / name).parent, "a.png")
    for name, text in labels.items():
        (tmp_path / "from" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "from" / name).write_text(text)
    project = Project(tmp_path / "out", tmp_path / "images", recursive=True)
    said = str(import_objects(project, tmp_path / "from", "yolo"))
    assert said.count("\n") == notes
    sessions = {picture.name: project.read_session(picture) for picture in project.pictures.values()}
    assert [name for name in sorted(sessions) if sessions[name]] == owners
    assert sum(len(session.document.objects) for session in sessions.values() if session) == "".join(
        labels.values()).count("0.5\n") - (notes > 0)


def test_a_picture_whose_name_is_not_utf8_gets_its_objects_back(tmp_path):
    editor = annotated(tmp_path, os.fsdecode(b"\xff.png"), "a.png")
    export(editor.project, tmp_path / "to", "coco")
    again = Project(tmp_path / "again", tmp_path / "images")
    assert str(import_objects(again, tmp_path / "to/instances.json", "coco")) == "2 objects on 2 pictures"


def test_what_can_not_be_taken_in_is_said(tmp_path):
    write_pictures(tmp_path / "images", "a.png", "b.png")
    project, maps = Project(tmp_path / "out", tmp_path / "images"), tmp_path / "maps"
    maps.mkdir()
    cv2.imwrite(str(maps / "a.png"), cv2.GaussianBlur(np.eye(60, 80, dtype=np.uint8) * 255, (9, 9), 3))
    cv2.imwrite(str(maps / "b.png"), np.ones((9, 9), np.uint8))
    with pytest.raises(AnnotationError, match="(?s)holds no object.*starting the page with --masks.*b.png is 80x60"):
        import_objects(project, maps, "png")
    with pytest.raises(AnnotationError, match="nowhere doesn't exist"):
        import_objects(project, tmp_path / "nowhere", "png")
    (maps / "x.json").write_text('{"shapes": [], "imagePath": "x.jpg"}')
    with pytest.raises(AnnotationError, match="its picture 'x.jpg' is neither in"):
        import_objects(project, maps, "labelme")
    via = {"a": {"filename": "a.png", "regions": [{"region_attributes": {"thing": "cat"}, "shape_attributes": {
        "name": "rect", "x": 5, "y": 6, "width": 20, "height": 10}}]}}
    (maps / "via.json").write_text(json.dumps(via))
    assert str(import_objects(project, maps / "via.json", "via")) == "1 objects on 1 picture"


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


@given(MASKS, st.integers(1, 7))
def test_yolo_as_ultralytics_draws_it_is_the_object(mask, size):
    """Holes, parts, borders, corners that touch: every object of 100 pixels and more."""
    mask = np.kron(mask, np.ones((size, size), bool))
    assume(np.count_nonzero(mask) >= 100)
    lines = [f"0 {divided(polygon, mask.shape)}" for polygon in as_polygons(mask)]
    assert iou(np.any([drawn_by_ultralytics(line, mask.shape) for line in lines], axis=0), mask) >= 0.99


def test_yolo_keeps_far_parts_in_one_line_where_a_seam_can_run_outside_the_picture():
    mask = np.zeros((300, 400), bool)
    mask[3:23, 3:23] = mask[275:297, 377:397] = True
    [polygon] = as_polygons(mask)
    line = f"0 {divided(polygon, mask.shape)}"
    values = np.array(line.split()[1:], float).reshape(-1, 2)
    assert iou(drawn_by_ultralytics(line, mask.shape), mask) >= 0.99
    centre, size = (values.min(axis=0) + values.max(axis=0)) / 2, np.ptp(values, axis=0)
    assert ((centre >= 0) & (centre <= 1) & (size <= 1)).all()  # what ultralytics checks before it takes a label


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


CONVERTED = {
    "coco": ["coco", "--images", "{images}", "--instances", "{to}/instances.json"],
    "coco polygons": ["coco", "--images", "{images}", "--instances", "{to}/instances.json"],
    "labelme": ["labelme", "--labels", "{to}"],
    "png": ["folder", "--images", "{images}", "--masks", "{to}/instances", "--skip-missing"],
    "yolo": ["yolo", "--labels", "{to}/labels", "--images", "{to}/images"],
    "voc": ["voc", "--folder", "{to}"],
}


@pytest.mark.parametrize("kind", CONVERTED)
def test_what_is_exported_is_training_data(project, tmp_path, kind):
    to, out = tmp_path / "to", tmp_path / "COCO_LVIS"
    export(project, to, kind.split()[0], polygons=kind.endswith("polygons"))
    call = [part.format(images=project.images, to=to) for part in CONVERTED[kind]]
    assert prepare(["convert", *call, "--out", str(out), "--split", "train", "--jobs", "1"]) == 0
    dataset = CocoLvisDataset(out, split="train")
    [sample] = [dataset.get_sample(i) for i in range(dataset.get_samples_number())]
    found = [sample.get_object_mask(i) == 1 for i in sample.objects_ids]
    if kind == "yolo":  # which knows no parts
        assert iou(np.any(found, axis=0), np.any(list(truth(project).values()), axis=0)) >= 0.99
    else:
        assert {mask.tobytes() for mask in found} == {mask.tobytes() for mask in truth(project).values()}
    lines = (out / "train/objects.jsonl").read_text().splitlines()[1:]
    names = {name for line in lines for name in json.loads(line)["categories"]}
    assert names == ({"1", "2"} if kind == "png" else {"car", "person"})
