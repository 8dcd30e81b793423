"""Where the field publishes its data: every address, who states it, and what is known of the file.

Addresses are those in the README of RITM (Sofiiuk et al., 2021, github.com/SamsungLabs/ritm_interactive_segmentation;
its authors' organisation was saic-vul, and GitHub leads from the old name to the new one), on cocodataset.org, and in
torchvision's SBDataset. The tests never leave loopback: they show that the program works, not that a server does.

Sizes: RITM's README and cocodataset.org state them rounded, as quoted; of cocolvis_annotation.tar.gz and benchmark.tgz
no published size is known here. Checksums: torchvision publishes one, of SBD; of the other archives none is known. What
is checked of those is that the bytes are as many as the server states, the archive's own check sums, and the layout
found in it; and the SHA-256 of what came is written down. The limits are ours: a larger file is not the one meant.
"""
from __future__ import annotations

from dataclasses import dataclass

MB, GB = 10**6, 10**9


@dataclass(frozen=True)
class Archive:
    """A published file.

    Args:
        name: its file name.
        addresses: tried in turn until one has it.
        published_size: as the publisher words it; "" if not known.
        md5: as published; "" if none is.
        max_size: bytes beyond which it is not downloaded.
        max_unpacked: bytes beyond which it is not unpacked.
    """

    name: str
    addresses: tuple[str, ...]
    published_size: str
    max_size: int
    max_unpacked: int
    md5: str = ""


@dataclass(frozen=True)
class DataSet:
    """A data set: its archives, and how the authors lay it out.

    Args:
        title: the folder it becomes.
        archives: fetched in turn.
        terms: licence, as far as it is stated by the authors.
        images, masks: the authors' names of these folders.
        run_folder: folder in run.py's layout that is made too; "" if none is.
    """

    title: str
    archives: tuple[Archive, ...]
    terms: str
    images: str = ""
    masks: str = ""
    run_folder: str = ""


def _release(name: str, repository: str) -> str:
    return f"https://github.com/SamsungLabs/{repository}/releases/download/v1.0/{name}"


def _test_archive(name: str, published_size: str, max_size: int) -> Archive:
    """RITM's README links these at the release of its authors' earlier work, f-BRS (Sofiiuk et al., 2020)."""
    repositories = ("fbrs_interactive_segmentation", "ritm_interactive_segmentation")
    return Archive(name, tuple(_release(name, r) for r in repositories), published_size, max_size, 5 * max_size)


COCO_PHOTOS = "http://images.cocodataset.org/zips/"
SBD_FOLDER = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/"

DATA_SETS = {
    "cocolvis": DataSet(
        "COCO_LVIS",
        (
            Archive(
                "cocolvis_annotation.tar.gz",
                (_release("cocolvis_annotation.tar.gz", "ritm_interactive_segmentation"),),
                "",
                4 * GB,
                40 * GB,
            ),
            Archive("val2017.zip", (COCO_PHOTOS + "val2017.zip",), "1GB (cocodataset.org)", 2 * GB, 4 * GB),
            Archive("train2017.zip", (COCO_PHOTOS + "train2017.zip",), "18GB (cocodataset.org)", 30 * GB, 40 * GB),
        ),
        "annotations CC BY 4.0; photos under their Flickr licences, which COCO's JSON files state",
    ),
    "davis": DataSet(
        "DAVIS", (_test_archive("DAVIS.zip", "43 MB (RITM's README)", 200 * MB),), "CC BY-NC 4.0", "img", "gt",
        "04_davis_input",
    ),
    "grabcut": DataSet(
        "GrabCut", (_test_archive("GrabCut.zip", "11 MB (RITM's README)", 100 * MB),),
        "Microsoft Research, research use", "data_GT", "boundary_GT", "01_grabcut_input",
    ),
    "berkeley": DataSet(
        "Berkeley", (_test_archive("Berkeley.zip", "7 MB (RITM's README)", 100 * MB),), "see the Berkeley BSDS page",
        "images", "masks", "02_berkeley_input",
    ),
    "coco_mval": DataSet(
        "COCO_MVal", (_test_archive("COCO_MVal.zip", "127 MB (RITM's README)", 500 * MB),),
        "annotations CC BY 4.0; photos under their Flickr licences", "img", "gt", "03_coco_mval_input",
    ),
    "sbd": DataSet(
        "SBD",
        (
            Archive(
                "benchmark.tgz",
                (SBD_FOLDER + "benchmark.tgz",),
                "",
                4 * GB,
                12 * GB,
                md5="82b4d87ceb2ed10f6038a1cba92111cb",
            ),
        ),
        "see the page of Hariharan et al. (2011)",
        "img",
        "inst",
    ),
}
