"""The folders, what is wrong with files in them, and the pickles that they are read from."""
import contextlib
import json
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_coco_lvis import ANNOTATION, COCO_IDS, MAPPING, PHOTO_SIZE, REGIONS
from torch.utils.data import DataLoader

from utils.coco_lvis import read_annotations, read_layers
from utils.datasets import CocoLvisDataset, ISDataset, SampleError, TestDataset
from utils.points_sampler import MultiPointSampler
from utils.safe_pickle import UnsafePickleError, load_pickle

# ---------------------------------------------------------------------------------------------- COCO_LVIS


def test_samples_are_sorted_and_hold_the_photo_and_its_tree(coco_lvis):
    dataset = CocoLvisDataset(coco_lvis)
    assert [image_id for image_id, _ in dataset.dataset_samples] == list(COCO_IDS)
    assert (len(dataset), dataset.get_samples_number()) == (3, 3)
    sample = dataset.get_sample(1)
    assert sample.image.shape == (*PHOTO_SIZE, 3) and sample.image.dtype == np.uint8
    assert sample.image[15, 15].argmax() == 0 and sample.image[45, 90].argmax() == 2  # RGB: red and blue
    assert (sample.sample_id, sample.imname) == (1, f"{COCO_IDS[1]}.jpg")
    assert sample.objects_ids == [0, 1, 2]
    assert sample._objects[1] == {"mapping": (1, 1), "parent": 0, "children": [], "node_level": 1}
    assert sample._objects[2] == {"mapping": (0, 2), "parent": None, "children": [], "node_level": 0}
    for obj_id, region in enumerate(REGIONS[:3]):
        expected = np.zeros(PHOTO_SIZE)
        expected[region] = 1
        np.testing.assert_array_equal(sample.get_object_mask(obj_id), expected)


def test_stuff_is_an_object_or_background(coco_lvis):
    with_stuff = CocoLvisDataset(coco_lvis, stuff_prob=1.0).get_sample(0)
    assert with_stuff._objects[3] == {"mapping": (0, 3), "parent": None, "children": [], "node_level": 0}
    assert with_stuff.get_object_mask(3)[80, 64] == 1
    without = CocoLvisDataset(coco_lvis).get_sample(0)
    assert without.get_background_mask()[80, 64] and not with_stuff.get_background_mask()[80, 64]
    half = CocoLvisDataset(coco_lvis, stuff_prob=0.5)
    assert 10 < sum(3 in half.get_sample(0).objects_ids for _ in range(40)) < 30


def test_photos_are_read_as_stored_whatever_way_up_they_ask_to_be_shown(coco_lvis):
    photo = coco_lvis / "train" / "images" / PHOTO
    turned = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"  # orientation 6
    segment = b"\xff\xe1" + (len(turned) + 2).to_bytes(2, "big") + turned
    photo.write_bytes(photo.read_bytes()[:2] + segment + photo.read_bytes()[2:])
    assert cv2.imread(str(photo)).shape[:2] == PHOTO_SIZE[::-1]
    assert CocoLvisDataset(coco_lvis).get_sample(0).image.shape[:2] == PHOTO_SIZE


@pytest.mark.parametrize("ids", [[COCO_IDS[2], "000000000001"], [30]])
def test_the_allow_list_keeps_its_ids(coco_lvis, ids):
    (coco_lvis / "train" / "allowed.json").write_text(json.dumps(ids))
    dataset = CocoLvisDataset(coco_lvis, allow_list_name="allowed.json")
    assert [image_id for image_id, _ in dataset.dataset_samples] == [COCO_IDS[2]]
    assert dataset.get_sample(0).imname == f"{COCO_IDS[2]}.jpg"


def test_a_missing_folder_list_or_annotation_is_named(coco_lvis):
    with pytest.raises(FileNotFoundError, match="hannotation.pickle"):
        CocoLvisDataset(coco_lvis, split="val")
    with pytest.raises(FileNotFoundError, match="nobody.json"):
        CocoLvisDataset(coco_lvis, allow_list_name="nobody.json")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def write_masks(path: Path, layers: list, mapping: list = MAPPING) -> None:
    path.write_bytes(pickle.dumps((layers, mapping)))


def png(height: int, width: int, dtype: type = np.uint8) -> np.ndarray:
    return cv2.imencode(".png", np.zeros((height, width), dtype))[1]


PHOTO, MASKS = f"{COCO_IDS[0]}.jpg", f"{COCO_IDS[0]}.pickle"
DAMAGES = {
    "photo missing": (PHOTO, lambda photo, masks: photo.unlink()),
    "photo truncated": (PHOTO, lambda photo, masks: truncate(photo)),
    "photo empty": (PHOTO, lambda photo, masks: photo.write_bytes(b"")),
    "photo is text": (PHOTO, lambda photo, masks: photo.write_text("<html>404</html>")),
    "photo of another size": (PHOTO, lambda photo, masks: cv2.imwrite(str(photo), np.zeros((96, 127, 3)))),
    "masks missing": (MASKS, lambda photo, masks: masks.unlink()),
    "masks truncated": (MASKS, lambda photo, masks: truncate(masks)),
    "masks empty": (MASKS, lambda photo, masks: masks.write_bytes(b"")),
    "masks are no pair": (MASKS, lambda photo, masks: masks.write_bytes(pickle.dumps(3))),
    "a layer truncated": (MASKS, lambda photo, masks: write_masks(masks, [png(96, 128)[:40]])),
    "a layer of another size": (MASKS, lambda photo, masks: write_masks(masks, [png(96, 128), png(95, 128)])),
    "a layer of 16 bits": (MASKS, lambda photo, masks: write_masks(masks, [png(96, 128, np.uint16)] * 2)),
    "no layer": (MASKS, lambda photo, masks: write_masks(masks, [])),
    "a layer too few": (MASKS, lambda photo, masks: write_masks(masks, [png(96, 128)])),
    "an object too few": (MASKS, lambda photo, masks: write_masks(masks, [png(96, 128)] * 2, MAPPING[:2])),
    "a foreign class": (MASKS, lambda photo, masks: masks.write_bytes(pickle.dumps(Path("x")))),
}


@pytest.mark.parametrize("named, damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_sample_is_named_and_another_one_drawn(coco_lvis, named, damage):
    damage(coco_lvis / "train" / "images" / PHOTO, coco_lvis / "train" / "masks" / MASKS)
    dataset = CocoLvisDataset(coco_lvis, min_object_area=10)
    with pytest.raises(SampleError, match=named):
        dataset.get_sample(0)
    with pytest.warns(UserWarning, match=named):
        assert dataset[0]["images"].shape == (3, *PHOTO_SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it has been named
        assert dataset[0]["instances"].any()
    assert len(dataset.unreadable) == 1


def test_sizes_that_differ_are_both_given(coco_lvis):
    cv2.imwrite(str(coco_lvis / "train" / "images" / PHOTO), np.zeros((90, 100, 3)))
    with pytest.raises(SampleError, match=f"100x90.*{MASKS} is 128x96"):
        CocoLvisDataset(coco_lvis).get_sample(0)


@pytest.mark.filterwarnings("ignore:another sample")
def test_a_dataset_where_nothing_can_be_read_ends_with_an_error(coco_lvis):
    for image in (coco_lvis / "train" / "images").iterdir():
        image.unlink()
    with pytest.raises(SampleError, match=r"random samples.*\.jpg can't be read"):
        CocoLvisDataset(coco_lvis)[0]
    dataset = CocoLvisDataset(coco_lvis)
    dataset.dataset_samples.clear()
    with pytest.raises(SampleError, match="no samples"):
        dataset[0]


# ---------------------------------------------------------------------------------------------- items


def test_items_have_the_shapes_and_types_that_training_reads(coco_lvis):
    item = CocoLvisDataset(coco_lvis, points_sampler=MultiPointSampler(8), min_object_area=10)[0]
    assert set(item) == {"images", "points", "instances"}
    batch = next(iter(DataLoader([item, item], batch_size=2)))
    assert {k: tuple(v.shape[1:]) for k, v in batch.items()} == {
        "images": (3, *PHOTO_SIZE), "points": (16, 3), "instances": (1, *PHOTO_SIZE),
    }
    assert all(value.dtype == torch.float32 for value in batch.values())
    assert batch["images"].min() >= 0 and 0.9 < batch["images"].max() <= 1
    y, x, index = item["points"][0].astype(int)
    assert item["instances"][0, y, x] == 1 and index == 100


def test_epoch_len_draws_at_random_and_its_absence_goes_through_in_order(coco_lvis):
    class Recorder(CocoLvisDataset):
        def get_sample(self, index):
            asked.append(index)
            return super().get_sample(index)

    asked: list[int] = []
    dataset = Recorder(coco_lvis, min_object_area=10)
    assert len([dataset[i] for i in range(len(dataset))]) == 3 and asked == [0, 1, 2]
    dataset = Recorder(coco_lvis, min_object_area=10, epoch_len=50)
    asked.clear()
    assert len([dataset[0] for _ in range(len(dataset))]) == 50 and set(asked) == {0, 1, 2}


def test_small_objects_are_never_asked_for(coco_lvis):
    dataset = CocoLvisDataset(coco_lvis, min_object_area=2100)  # only object 0 is larger
    assert {int(dataset[0]["instances"].sum()) for _ in range(20)} == {2500}
    with pytest.raises(SampleError, match="no object of 2501 pixels"):
        CocoLvisDataset(coco_lvis, min_object_area=2501)[0]


def test_a_sample_that_augmentation_left_without_objects_is_drawn_again(coco_lvis):
    calls = []

    def lose_objects_mostly(image, mask):
        calls.append(1)
        return {"image": image, "mask": mask if len(calls) % 4 == 0 else mask * 0}

    dataset = CocoLvisDataset(coco_lvis, augmentator=lose_objects_mostly, min_object_area=10)
    for _ in range(3):
        assert dataset[0]["instances"].any()
    assert len(calls) == 12


def test_albumentations_compose_is_an_augmentator(coco_lvis):
    compose = A.Compose([A.Affine(rotate=(-10, 10), p=1), A.PadIfNeeded(140, 140), A.RandomCrop(64, 80), A.RGBShift()])
    dataset = CocoLvisDataset(coco_lvis, augmentator=compose, min_object_area=50, epoch_len=20)
    for batch in DataLoader(dataset, batch_size=4):
        assert batch["images"].shape == (4, 3, 64, 80) and batch["instances"].flatten(1).any(dim=1).all()


class Noise:
    """A stand-in for an albumentations Compose: a random state of its own, which forked workers share."""

    def __init__(self):
        self.random = np.random.default_rng(0)

    def set_random_state(self, random_generator, py_random):
        self.random = random_generator

    def __call__(self, image, mask):
        return {"image": self.random.integers(256, size=image.shape, dtype=np.uint8), "mask": mask}


@pytest.mark.parametrize("compose", [Noise(), A.Compose([A.RandomBrightnessContrast(p=1)], seed=0)])
def test_loader_workers_augment_differently(coco_lvis, compose):
    dataset = CocoLvisDataset(coco_lvis, augmentator=compose, min_object_area=10, epoch_len=8)
    levels = [float(item["images"].mean()) for item in DataLoader(dataset, batch_size=None, num_workers=2)]
    assert len(set(levels)) == 8


@pytest.mark.filterwarnings("ignore:another sample")
def test_loader_workers_survive_damaged_files(coco_lvis):
    truncate(coco_lvis / "train" / "images" / PHOTO)
    dataset = CocoLvisDataset(coco_lvis, min_object_area=10)
    assert len(list(DataLoader(dataset, batch_size=None, num_workers=1))) == 3


def test_items_are_made_without_albumentations(coco_lvis):
    code = """if True:
        import sys
        sys.modules["albumentations"] = None  # importing it fails from now on
        from utils.datasets import CocoLvisDataset
        print(sorted(CocoLvisDataset(sys.argv[1], min_object_area=10)[0]))
    """
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code, coco_lvis], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "['images', 'instances', 'points']", done.stderr


def test_the_base_class_has_no_samples_of_its_own():
    with pytest.raises(NotImplementedError):
        ISDataset().get_sample(0)


def test_the_real_subset_is_read_whole(shared_data):
    for split in ("train", "val"):
        dataset = CocoLvisDataset(shared_data / "COCO_LVIS", split, stuff_prob=1.0)
        ids = [image_id for image_id, _ in dataset.dataset_samples]
        assert ids == sorted(ids) and len(ids) >= 200
        for index in range(0, len(dataset), 23):
            sample = dataset.get_sample(index)
            assert sample.imname == f"{ids[index]}.jpg" and max(sample.image.shape) <= 512
            assert len(sample) >= dataset.dataset_samples[index][1]["num_instance_masks"]
            sample.remove_small_objects(1)
            assert all(sample.get_object_mask(i).max() == 1 for i in sample.objects_ids)


# ---------------------------------------------------------------------------------------------- test folders


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """Images b.jpg, a.png and c.tail.jpg; masks a.png (a coloured palette), b.png (16 bits)."""
    images, masks = tmp_path / "imgs", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    for name in ("b.jpg", "a.png", "c.tail.jpg"):
        cv2.imwrite(str(images / name), np.full((6, 9, 3), (255, 0, 0), np.uint8))  # blue, as BGR
    cv2.imwrite(str(masks / "a.png"), np.pad(np.full((2, 3, 3), (0, 0, 7), np.uint8), ((2, 2), (3, 3), (0, 0))))
    cv2.imwrite(str(masks / "b.png"), np.eye(6, 9, dtype=np.uint16) * 300)
    cv2.imwrite(str(masks / "c.png"), np.zeros((6, 8), np.uint8))
    return images, masks


def test_test_images_are_sorted_and_their_masks_are_binary(folders):
    dataset = TestDataset(images=folders[0], masks=str(folders[1]))
    assert dataset.dataset_samples == ["a.png", "b.jpg", "c.tail.jpg"] and len(dataset) == 3
    sample = dataset.get_sample(0)
    assert (sample.imname, sample.sample_id, sample.objects_ids) == ("a.png", 0, [1])
    assert sample.image[0, 0].tolist() == [0, 0, 255] and sample.image.dtype == np.uint8  # RGB
    assert sample.gt_mask.dtype == np.int32
    np.testing.assert_array_equal(sample.gt_mask, np.pad(np.ones((2, 3)), ((2, 2), (3, 3))))
    np.testing.assert_array_equal(dataset.get_sample(1).gt_mask, np.eye(6, 9))  # 300 of 65535 is 1 of 255


def test_what_is_wrong_with_a_test_folder_is_said(folders):
    images, masks = folders
    with pytest.raises(SampleError, match=r"c.tail.jpg is 9x6 pixels.*c.png is 8x6"):
        TestDataset(images, masks).get_sample(2)
    (masks / "a.png").unlink()
    (masks / "c.png").rename(masks / "c.tail.png")
    with pytest.raises(SampleError, match=r"a\.png has no mask: put a\.png"):
        TestDataset(images, masks).get_sample(0)
    with pytest.raises(SampleError, match=r"c\.tail\.jpg has no mask: put c\.png"):
        TestDataset(images, masks).get_sample(2)
    (images / "b.jpg").write_bytes(b"nonsense")
    with pytest.raises(SampleError, match=r"b\.jpg is truncated"):
        TestDataset(images, masks).get_sample(1)
    with pytest.raises(ValueError, match="folder of masks"):
        TestDataset(images)
    with pytest.raises(ValueError, match="folder of images.*nowhere"):
        TestDataset("nowhere", masks)


# ---------------------------------------------------------------------------------------------- pickles


def reduced_array(core: bytes, dtype: bytes = b"u2", order: bytes = b"<") -> bytes:
    """By hand, as protocol 2 spells np.array([[1, 2], [3, 4]]) of a dtype of two bytes, under either module name."""
    values = {b"<": b"\x01\x00\x02\x00\x03\x00\x04\x00", b">": b"\x00\x01\x00\x02\x00\x03\x00\x04"}[order]
    return (
        b"cnumpy." + core + b".multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02K\x02\x86cnumpy\ndtype\nU" + bytes([len(dtype)]) + dtype + b"\x89\x88\x87R"
        b"(K\x03U\x01" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x08" + values + b"tb"
    )


def written(tmp_path: Path, content: bytes) -> Path:
    (tmp_path / "file.pickle").write_bytes(content)
    return tmp_path / "file.pickle"


@pytest.mark.parametrize("core", [b"core", b"_core"])
@pytest.mark.parametrize("order", [b"<", b">"])
def test_both_spellings_of_numpy_are_read(tmp_path, core, order):
    pair = load_pickle(written(tmp_path, b"\x80\x02" + reduced_array(core, order=order) + b"K\x07\x86."))
    assert pair[1] == 7 and isinstance(pair[0], np.ndarray) and pair[0].dtype == np.uint16
    np.testing.assert_array_equal(pair[0], [[1, 2], [3, 4]])


@pytest.mark.parametrize("core", [b"core", b"_core"])
def test_the_newer_spelling_of_arrays_is_read_under_both_names(tmp_path, core):
    content = (
        b"\x80\x05cnumpy." + core + b".numeric\n_frombuffer\n(\x96\x06" + bytes(7) + b"\x01\x02\x03\x04\x05\x06"
        b"cnumpy\ndtype\n\x8c\x02u1\x89\x88\x87R(K\x03\x8c\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"K\x02K\x03\x86\x8c\x01FtR."
    )
    np.testing.assert_array_equal(load_pickle(written(tmp_path, content)), [[1, 3, 5], [2, 4, 6]])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_and_arrays_of_every_protocol_come_back(tmp_path, protocol):
    data = {
        "a": [1, 2.5, None, True, (1, "ж"), {3}, frozenset([4]), 1 + 2j, b"bytes", b"", 2**70],
        5: [np.float32(2.5), np.int64(-3), np.bool_(True), np.str_("text")],
        "arrays": [
            np.arange(6, dtype=dtype).reshape(2, 3, order=order) for dtype in ("u1", "<i4", ">f8") for order in "CF"
        ],
        "strings": np.array(["ab", "c"]),
        "empty": np.zeros((0, 3)),
    }
    read = load_pickle(written(tmp_path, pickle.dumps(data, protocol)))
    assert read["a"] == data["a"] and read[5] == data[5]
    for key in ("strings", "empty"):
        np.testing.assert_array_equal(read[key], data[key])
    for expected, array in zip(data["arrays"], read["arrays"], strict=True):
        assert array.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(array, expected)


HOSTILE = {
    "os.system": b"cos\nsystem\n(S'echo no > hacked'\ntR.",
    "posix.system": b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
    "builtins.eval": b"\x80\x03cbuiltins\neval\nX\x03\x00\x00\x001+1\x85R.",
    "__builtin__.getattr": b"c__builtin__\ngetattr\n(c__builtin__\nset\nS'__doc__'\ntR.",
    "builtins.bytearray": b"\x80\x03cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
    "torch.load": b"ctorch\nload\n(S'x'\ntR.",
    "collections.OrderedDict": b"ccollections\nOrderedDict\n(tR.",
    "numpy.load": b"cnumpy\nload\n(S'x'\ntR.",
    "numpy.lib.npyio.NpzFile": b"(S'x'\ninumpy.lib.npyio\nNpzFile\n.",
    "'O8'": b"\x80\x02" + reduced_array(b"core", dtype=b"O8") + b".",
    "'V2'": b"\x80\x02" + reduced_array(b"core", dtype=b"V2") + b".",
    "'rot13'": b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
}


@pytest.mark.parametrize("name, content", HOSTILE.items(), ids=HOSTILE)
def test_a_pickle_that_wants_more_is_refused_by_name(tmp_path, monkeypatch, name, content):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsafePickleError, match=rf"file\.pickle: refused.*{name}"):
        load_pickle(written(tmp_path, content))
    assert [path.name for path in tmp_path.iterdir()] == ["file.pickle"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        pickle.dumps(list(range(1000)))[:500],
        b"\x80\x02cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02f8\x89\x88\x87RU\x01x\x86R.",  # 1 byte of 8
        b"\x80\x02" + reduced_array(b"core", dtype=b"f8") + b".",  # 8 bytes of 32
        b"\x80\x02cnumpy\nndarray\nK\x00\x85R}b.",  # a state that is none
        b"Pid\n.",  # a persistent id
    ],
)
def test_a_damaged_pickle_is_named(tmp_path, content):
    with pytest.raises(pickle.UnpicklingError, match=r"file\.pickle is truncated or no pickle"):
        load_pickle(written(tmp_path, content))


def test_hostile_annotations_are_refused_by_the_dataset(coco_lvis):
    (coco_lvis / "train" / "hannotation.pickle").write_bytes(HOSTILE["os.system"])
    with pytest.raises(SampleError, match=r"hannotation\.pickle: refused os\.system"):
        CocoLvisDataset(coco_lvis)
    photo = pickle.dumps({COCO_IDS[0]: ANNOTATION})
    (coco_lvis / "train" / "hannotation.pickle").write_bytes(photo)
    (coco_lvis / "train" / "masks" / MASKS).write_bytes(HOSTILE["posix.system"])
    with pytest.raises(SampleError, match=rf"{MASKS}: refused posix\.system"):
        CocoLvisDataset(coco_lvis).get_sample(0)


@given(st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes_of_masks_and_annotations_are_a_sample_error(tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("changed") / "file.pickle"
    layers = [cv2.imencode(".png", np.zeros((8, 9), np.uint8))[1].ravel()] * 2
    for content, read in ((pickle.dumps((layers, MAPPING)), read_layers),
                          (pickle.dumps({COCO_IDS[0]: ANNOTATION}), read_annotations)):
        changed = bytearray(content)
        for place, value in changes:
            changed[int(place * len(changed))] = value
        path.write_bytes(bytes(changed))
        with contextlib.suppress(SampleError):
            read(path)
