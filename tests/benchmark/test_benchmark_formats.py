"""The formats that data sets are handed out in, each built small: its tasks, truths, clusters and complaints."""
import errno
import pickle
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from utils.benchmark.annotations import DataError
from utils.benchmark.formats import find_photos
from utils.benchmark.tasks import list_tasks, read_task
from utils.datasets import CocoLvisDataset
from utils.safe_pickle import load_pickle

HEIGHT, WIDTH = 40, 60
SHAPE = (HEIGHT, WIDTH)


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def write_image(path: Path) -> Path:
    return write(path, np.full((*SHAPE, 3), 90, np.uint8))


def box(top: int, left: int, side: int = 10) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def write_palette(path: Path, labels: np.ndarray) -> None:
    """As PASCAL stores its labels: indices into a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(labels.astype(np.uint8), mode="P")
    picture.putpalette([channel for i in range(256) for channel in (255 - i, (7 * i) % 256, i)])
    picture.save(path)


VOC_LABELS = np.where(box(5, 5), 1, np.where(box(20, 30), 2, 0))
VOC_LABELS[:2] = 255


def truths(data, **options):
    """Ground truths by task."""
    return {task.name: read_task(task)[1] for task in list_tasks(str(data), **options).tasks}


def test_run(tmp_path):
    for name in ("dog.jpg", "cat.a.png"):
        write_image(tmp_path / "imgs" / name)
    write(tmp_path / "masks" / "dog.png", box(5, 5) * np.uint8(3))
    write(tmp_path / "masks" / "cat.png", np.dstack([box(9, 9)] * 3) * np.uint8(255))
    assert find_photos(str(tmp_path)).format == "run"
    found = truths(tmp_path)
    assert list(found) == ["cat", "dog"]
    assert np.array_equal(found["dog"], box(5, 5)) and np.array_equal(found["cat"], box(9, 9))


def test_davis_frames_share_their_sequence(tmp_path):
    for name in ("bear_00001", "bear_00002", "bmx-trees_00001"):
        write_image(tmp_path / "img" / f"{name}.jpg")
        write(tmp_path / "gt" / f"{name}.png", box(5, 5) * np.uint8(255))
    format, photos, _ = find_photos(str(tmp_path))
    assert format == "davis"
    assert [photo.cluster for photo in photos] == ["bear", "bear", "bmx-trees"]
    _, photos, _ = find_photos(str(tmp_path), cluster="image")
    assert len({photo.cluster for photo in photos}) == 3


def davis_tree(folder: Path) -> Path:
    for sequence, frames in (("bear", 2), ("camel", 1)):
        for i in range(frames):
            write_image(folder / "JPEGImages" / "480p" / sequence / f"{i:05d}.jpg")
            write_palette(folder / "Annotations" / "480p" / sequence / f"{i:05d}.png", box(5, 5) + 2 * box(20, 30))
    lists = folder / "ImageSets"
    (lists / "480p").mkdir(parents=True)
    (lists / "480p" / "val.txt").write_text("/JPEGImages/480p/camel/00000.jpg /Annotations/480p/camel/00000.png\n")
    return folder


def test_the_davis_tree_merges_its_objects(tmp_path):
    folder = davis_tree(tmp_path)
    assert find_photos(str(folder)).format == "davis-tree"
    found = truths(folder)
    assert list(found) == ["bear_00000", "bear_00001", "camel_00000"]
    assert np.array_equal(found["bear_00000"], box(5, 5) | box(20, 30))
    assert list(truths(folder, split="val")) == ["camel_00000"]
    with pytest.raises(DataError, match="no list test.txt"):
        list_tasks(str(folder), split="test")


def test_a_list_of_davis_2017_names_sequences(tmp_path):
    folder = davis_tree(tmp_path)
    shutil.rmtree(folder / "ImageSets" / "480p")
    (folder / "ImageSets" / "2017").mkdir()
    (folder / "ImageSets" / "2017" / "val.txt").write_text("bear\n")
    assert list(truths(folder, split="val")) == ["bear_00000", "bear_00001"]


def test_grabcuts_unsure_band_is_ignored(tmp_path):
    write_image(tmp_path / "data_GT" / "flower.jpg")
    trimap = np.where(box(5, 5, 14), 128, 0)
    trimap[box(7, 7)] = 255
    write(tmp_path / "boundary_GT" / "flower.bmp", trimap.astype(np.uint8))
    assert find_photos(str(tmp_path)).format == "grabcut"
    truth = truths(tmp_path)["flower"]
    assert np.array_equal(truth == 1, box(7, 7))
    assert np.array_equal(truth == -1, box(5, 5, 14) & ~box(7, 7))


def test_berkeley_has_several_objects_an_image(tmp_path):
    for name in ("101", "101_2b", "37"):
        write_image(tmp_path / "images" / f"{name}.jpg")
    for name, mask in (("101#1", box(1, 1)), ("101#2", box(9, 9)), ("37", box(5, 5)), ("101_2b", box(2, 2))):
        write(tmp_path / "masks" / f"{name}.png", mask * np.uint8(255))
    format, photos, _ = find_photos(str(tmp_path))
    assert format == "berkeley"
    found = truths(tmp_path)
    assert list(found) == ["101#1", "101#2", "101_2b", "37"]
    assert np.array_equal(found["101#2"], box(9, 9))
    assert [task.photo.cluster for task in list_tasks(str(tmp_path)).tasks][:2] == ["101", "101"]


@pytest.mark.parametrize("rooms", [("images", "masks"), ("imgs", "masks")])
def test_a_photo_that_is_there_once_for_each_object_is_one_cluster(tmp_path, rooms):
    for name in ("101#001", "101#002", "37"):
        write_image(tmp_path / rooms[0] / f"{name}.jpg")
        write(tmp_path / rooms[1] / f"{name}.png", box(5, 5) * np.uint8(255))
    for cluster in ("auto", "image"):
        tasks = list_tasks(str(tmp_path), cluster=cluster).tasks
        assert [(t.name, t.photo.cluster) for t in tasks] == [("101#001", "101"), ("101#002", "101"), ("37", "37")]


@pytest.mark.parametrize("above", ["", "dataset", "benchmark_RELEASE/dataset"])
def test_sbd(tmp_path, above):
    folder = tmp_path / above
    write_image(folder / "img" / "2008_000001.jpg")
    write_image(folder / "img" / "2008_000002.jpg")
    (folder / "inst").mkdir()
    instances = np.zeros((1, 1), [(name, object) for name in ("Segmentation", "Boundaries", "Categories")])
    instances[0, 0] = (VOC_LABELS.astype(np.uint8), np.zeros((2, 1)), np.array([[3], [5]]))
    for name in ("2008_000001", "2008_000002"):
        savemat(folder / "inst" / f"{name}.mat", {"GTinst": instances})
    (folder / "val.txt").write_text("2008_000002\n")
    assert find_photos(str(tmp_path)).format == "sbd"
    found = truths(tmp_path)
    assert list(found) == ["2008_000002#1", "2008_000002#2"]
    assert np.array_equal(found["2008_000002#2"] == 1, box(20, 30))
    assert (found["2008_000002#2"][:2] == -1).all()


@pytest.mark.parametrize("kind", ["palette", "grey", "colours"])
def test_voc(tmp_path, kind):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    write_image(root / "JPEGImages" / "2007_000033.jpg")
    path = root / "SegmentationObject" / "2007_000033.png"
    if kind == "palette":
        write_palette(path, VOC_LABELS)
    elif kind == "grey":
        write(path, np.where(VOC_LABELS == 255, 220, VOC_LABELS).astype(np.uint8))
    else:
        colours = {0: (0, 0, 0), 1: (0, 0, 128), 2: (0, 128, 0), 255: (192, 224, 224)}  # BGR
        write(path, np.array([[colours[label] for label in row] for row in VOC_LABELS.tolist()], np.uint8))
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("2007_000033\n")
    assert find_photos(str(tmp_path)).format == "voc"
    found = list(truths(tmp_path).values())
    assert len(found) == 2
    assert {tuple(np.argwhere(truth == 1)[0]) for truth in found} == {(5, 5), (20, 30)}
    assert all(np.array_equal(truth == -1, VOC_LABELS == 255) for truth in found)
    with pytest.raises(DataError, match=r"test.txt is missing; choose a split that has a list \(val\)"):
        list_tasks(str(tmp_path), split="test")


def test_coco_lvis_gives_the_masks_of_the_training_data(coco_lvis):
    split = coco_lvis / "train"
    assert find_photos(str(split)).format == "cocolvis"
    found = truths(split)  # 400 pixels of the inner object are too few
    dataset = CocoLvisDataset(coco_lvis, "train")
    names = [f"{photo}#{i}" for photo in ("000000000009", "000000000025", "000000000030") for i in (0, 2)]
    assert list(found) == names  # and stuff is no task
    for i, (number, _) in enumerate(dataset.dataset_samples):
        sample = dataset.get_sample(i)
        for object_id in (0, 2):
            assert np.array_equal(found[f"{number}#{object_id}"], sample.get_object_mask(object_id))
    assert len(truths(split, min_area=1)) == 9
    shutil.copytree(split, coco_lvis / "val")
    assert list(truths(coco_lvis)) == names


def test_a_coco_lvis_photo_without_objects_is_no_fault(coco_lvis):
    split = coco_lvis / "train"
    before = list_tasks(str(split))
    annotations = load_pickle(split / "hannotation.pickle")
    annotations["000000999999"] = {"num_instance_masks": 0, "hierarchy": {}}
    (split / "hannotation.pickle").write_bytes(pickle.dumps(annotations))
    (split / "masks" / "000000999999.pickle").write_bytes(pickle.dumps(([], [])))
    write_image(split / "images" / "000000999999.jpg")
    assert list_tasks(str(split)) == before and not before.broken


def test_labels(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    write(tmp_path / "labels" / "a.png", np.where(box(5, 5), 300, np.where(box(20, 30), 7, 0)).astype(np.uint16))
    write_image(tmp_path / "images" / "b.jpg")
    write(tmp_path / "labels" / "b.png", np.where(box(5, 5), 255, 4 * box(20, 30)).astype(np.uint8))
    assert find_photos(str(tmp_path)).format == "labels"
    found = truths(tmp_path)
    assert list(found) == ["a#7", "a#300", "b#4"]
    assert np.array_equal(found["a#300"], box(5, 5)) and np.array_equal(found["b#4"] == -1, box(5, 5))
    assert list(truths(tmp_path, ignore=(7,))) == ["a#300", "b#4", "b#255"]


def test_the_format_can_be_named(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    write(tmp_path / "masks" / "a.png", (box(5, 5) + 2 * box(20, 30)).astype(np.uint8))
    assert list(truths(tmp_path)) == ["a"]
    assert list(truths(f"labels:{tmp_path}")) == ["a#1", "a#2"]


def test_a_limit_is_spread_over_the_list(tmp_path):
    for i in range(10):
        write_image(tmp_path / "imgs" / f"{i}.jpg")
        write(tmp_path / "masks" / f"{i}.png", box(5, 5) * np.uint8(255))
    assert [task.name for task in list_tasks(str(tmp_path), limit=5).tasks] == ["0", "2", "4", "6", "8"]
    assert len(list_tasks(str(tmp_path), limit=50).tasks) == 10


def test_digests_follow_the_pixels(tmp_path):
    write_image(tmp_path / "imgs" / "a.jpg")
    write(tmp_path / "masks" / "a.png", box(5, 5) * np.uint8(255))
    before = list_tasks(str(tmp_path))
    assert list_tasks(str(tmp_path)).digest == before.digest
    write(tmp_path / "masks" / "a.png", box(5, 6) * np.uint8(255))
    after = list_tasks(str(tmp_path))
    assert after.digest != before.digest and after.tasks[0].files != before.tasks[0].files


# ------------------------------------------------------------------------------- what can be wrong


def test_unknown_folders(tmp_path):
    with pytest.raises(DataError, match="is of no known format; name the format"):
        list_tasks(str(tmp_path))
    with pytest.raises(DataError, match="nowhere is no folder"):
        list_tasks(str(tmp_path / "nowhere"))
    (tmp_path / "imgs").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="has no photos in the format run"):
        list_tasks(str(tmp_path))


def test_broken_photos_are_named_and_the_others_stay(tmp_path):
    for name in ("good", "maskless", "twice"):
        write_image(tmp_path / "imgs" / f"{name}.jpg")
    for name in ("good.png", "twice.png", "twice.bmp"):
        write(tmp_path / "masks" / name, box(5, 5) * np.uint8(255))
    data = list_tasks(str(tmp_path))
    assert [task.name for task in data.tasks] == ["good"]
    reasons = dict(data.broken)
    assert "has no mask: put maskless.png into" in reasons["maskless"]
    assert "twice.bmp, twice.png fits twice.jpg" in reasons["twice"]


def test_a_file_that_can_not_be_read_loses_itself_only(tmp_path, monkeypatch):
    for name in ("bad", "good"):
        write_image(tmp_path / "imgs" / f"{name}.jpg")
        write(tmp_path / "masks" / f"{name}.png", box(5, 5) * np.uint8(255))
    read_bytes = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.name == "bad.png":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    data = list_tasks(str(tmp_path))
    assert [task.name for task in data.tasks] == ["good"]
    ((name, reason),) = data.broken
    assert name == "bad" and "bad.png can't be read (Permission denied)" in reason


def test_a_jpeg_is_no_label_map(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    write(tmp_path / "labels" / "a.jpg", box(5, 5) * np.uint8(9))
    ((_, reason),) = list_tasks(str(tmp_path)).broken
    assert "a.jpg is a JPEG, which blurs labels" in reason


@pytest.mark.parametrize("content", [b"", b"no picture", None])
def test_broken_label_maps(tmp_path, content):
    write_image(tmp_path / "images" / "a.jpg")
    write(tmp_path / "labels" / "a.png", box(5, 5) * np.uint8(1))
    whole = (tmp_path / "labels" / "a.png").read_bytes()
    (tmp_path / "labels" / "a.png").write_bytes(whole[: len(whole) // 2] if content is None else content)
    broken = list_tasks(str(tmp_path)).broken
    assert [name for name, _ in broken] == ["a"]
    assert re.search("a.png (is|has) ", broken[0][1])


def test_a_mask_of_another_size(tmp_path):
    write_image(tmp_path / "imgs" / "a.jpg")
    write(tmp_path / "masks" / "a.png", np.ones((30, 60), np.uint8))
    with pytest.raises(DataError, match=r"a.jpg is 60x40 pixels, but .*a.png is 60x30; they must be equal"):
        read_task(list_tasks(str(tmp_path)).tasks[0])


def test_no_object_large_enough(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    write(tmp_path / "labels" / "a.png", box(5, 5) * np.uint8(1))
    with pytest.raises(DataError, match="has no object of 101 pixels"):
        list_tasks(str(tmp_path), min_area=101)


# ------------------------------------------------------------------------------- what is stored counts


LABELS = np.where(box(5, 5), 1, np.where(box(20, 30), 2, 0)).astype(np.uint8)
LABELS[:2] = 255


def save_grey(path: Path, labels: np.ndarray) -> None:
    Image.fromarray(labels).save(path)


def save_deep(path: Path, labels: np.ndarray) -> None:
    Image.fromarray(labels.astype(np.uint16)).save(path)


def save_palette(path: Path, labels: np.ndarray) -> None:
    """Indices in a palette in which all labels but one are black."""
    picture = Image.fromarray(labels, mode="P")
    picture.putpalette([0] * 6 + [9, 99, 200] + [0] * (253 * 3))
    picture.save(path)


def save_colours(path: Path, labels: np.ndarray) -> None:
    Image.fromarray(np.repeat(labels[..., None], 3, axis=2)).save(path)


@pytest.mark.parametrize("save", [save_grey, save_deep, save_palette, save_colours])
def test_a_map_stored_in_another_way_has_the_same_objects(tmp_path, save):
    write_image(tmp_path / "images" / "a.jpg")
    (tmp_path / "labels").mkdir()
    save(tmp_path / "labels" / "a.png", LABELS)
    found = truths(tmp_path)
    assert list(found) == ["a#1", "a#2"]
    assert np.array_equal(found["a#1"] == 1, LABELS == 1) and np.array_equal(found["a#1"] == -1, LABELS == 255)


@pytest.mark.parametrize("save", [save_grey, save_deep, save_palette, save_colours])
def test_a_mask_of_ones_has_its_object_however_it_is_stored(tmp_path, save):
    write_image(tmp_path / "imgs" / "a.jpg")
    (tmp_path / "masks").mkdir()
    save(tmp_path / "masks" / "a.png", box(5, 5).astype(np.uint8))
    assert np.array_equal(truths(tmp_path)["a"], box(5, 5))


def test_tasks_without_an_object_are_named_and_left_out(tmp_path):
    for name, mask in (("a", box(5, 5)), ("b", np.zeros(SHAPE, bool))):
        write_image(tmp_path / "imgs" / f"{name}.jpg")
        write(tmp_path / "masks" / f"{name}.png", mask * np.uint8(255))
        write_image(tmp_path / "other" / "images" / f"{name}.jpg")
        write(tmp_path / "other" / "labels" / f"{name}.png", mask * np.uint8(3))
    for data, name in ((tmp_path, "a"), (tmp_path / "other", "a#3")):
        found = list_tasks(str(data))
        assert ([task.name for task in found.tasks], found.empty) == ([name], ("b",))
        assert not found.broken


def test_a_soft_mask_is_no_label_map(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    soft = cv2.GaussianBlur(box(10, 20, 20) * np.uint8(255), (0, 0), 2)
    write(tmp_path / "labels" / "a.png", soft)
    ((_, reason),) = list_tasks(str(tmp_path)).broken
    assert "soft edges and no label map; use folders imgs and masks" in reason


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("images", "masks"), [("imgs", "masks"), ("images", "labels")])
def test_photo_and_mask_are_turned_alike(tmp_path, orientation, images, masks):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for part, suffix in ((images, "webp"), (masks, "png")):
        (tmp_path / part).mkdir()
        picture = Image.fromarray(np.where(box(5, 5), 200, 0).astype(np.uint8))
        picture.save(tmp_path / part / f"a.{suffix}", exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    (task,) = list_tasks(str(tmp_path)).tasks
    image, truth = read_task(task)
    assert image.shape[:2] == ((WIDTH, HEIGHT) if orientation > 4 else SHAPE)
    assert np.array_equal(image[..., 0] > 100, truth == 1)


def test_other_files_in_the_folder_are_named_once(tmp_path):
    write_image(tmp_path / "imgs" / "a.jpg")
    write(tmp_path / "masks" / "a.png", box(5, 5) * np.uint8(255))
    for name in (".DS_Store", "Thumbs.db", "notes.txt"):
        (tmp_path / "imgs" / name).write_bytes(b"x")
    data = list_tasks(str(tmp_path))
    assert len(data.tasks) == 1 and not data.broken
    (note,) = data.notes
    assert "1 .txt files" in note


def test_pictures_of_one_stem_have_names_and_masks_of_their_own(tmp_path):
    for name in ("cat.jpg", "cat.png", "dog.a.jpg"):
        write_image(tmp_path / "imgs" / name)
    for i, name in enumerate(("cat.jpg.png", "cat.png.png", "dog.png")):
        write(tmp_path / "masks" / name, box(5, 5 + i) * np.uint8(255))
    found = truths(tmp_path)
    assert {name: int(np.nonzero(truth)[1].min()) for name, truth in found.items()} == {
        "cat.jpg": 5, "cat.png": 6, "dog": 7}


def test_real_grabcut(shared_data):
    data = list_tasks(str(shared_data / "tests" / "01_test_grabcut_input"), limit=3)
    assert len(data.tasks) == 3 and data.format == "run"
    assert all(read_task(task)[1].any() for task in data.tasks)


def test_real_davis_sequences(shared_data):
    data = list_tasks(str(shared_data / "tests" / "00_test_davis_input"))
    assert (len(data.tasks), len({task.photo.cluster for task in data.tasks})) == (208, 30)


def test_real_coco_lvis(shared_data):
    data = list_tasks(str(shared_data / "COCO_LVIS"), limit=5)
    assert (data.format, data.broken) == ("cocolvis", ())
    assert all(np.count_nonzero(read_task(task)[1] == 1) >= 1000 for task in data.tasks)


@pytest.mark.parametrize("content", [b"", b"torn", b"\x80\x04]\x94.", b"\x80\x04}\x94K\x01}\x94s."])
def test_a_broken_list_of_annotations(coco_lvis, content):
    (coco_lvis / "train" / "hannotation.pickle").write_bytes(content)
    with pytest.raises(DataError, match="hannotation.pickle .*fetch it again"):
        list_tasks(str(coco_lvis / "train"))
