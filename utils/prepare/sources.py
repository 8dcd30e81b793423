"""Where the field publishes its data: every address, who states it, and what is known of the file.

Addresses are those in the README of RITM (Sofiiuk et al., 2021, github.com/SamsungLabs/ritm_interactive_segmentation),
on cocodataset.org, and in torchvision's SBDataset. The tests never leave loopback: they show that the program works,
not that a server does.

Sizes are quoted as RITM's README and cocodataset.org round them; of cocolvis_annotation.tar.gz and benchmark.tgz none
is published. Of checksums torchvision states that of SBD; of the other archives the SHA-256 of what came is written
down. The limits are ours: a larger file is not the one meant.
"""
from __future__ import annotations

from dataclasses import dataclass

MB, GB = 10**6, 10**9
RELEASES = "https://github.com/SamsungLabs/{}_interactive_segmentation/releases/download/v1.0/{}"
COCO_PHOTOS = "http://images.cocodataset.org/zips/"
SBD_FOLDER = "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/"


@dataclass(frozen=True)
class Archive:
    """A published file.

    Attributes:
        addresses: tried in turn until one has it; all end in its name.
        published_size: as the publisher words it; "" if not known.
        max_size: bytes beyond which it is not downloaded.
        max_unpacked: bytes beyond which it is not unpacked.
        md5: as published; "" if none is.
    """

    addresses: tuple[str, ...]
    published_size: str
    max_size: int
    max_unpacked: int
    md5: str = ""

    @property
    def name(self) -> str:
        """Its file name."""
        return self.addresses[0].rsplit("/", 1)[1]


@dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes:
        title: the folder it becomes.
        archives: fetched in turn.
        terms: licence, as far as its authors state it.
        images, masks: the authors' names of these folders.
        run_folder: folder in run.py's layout that is made too; "" if none is.
    """

    title: str
    archives: tuple[Archive, ...]
    terms: str
    images: str = ""
    masks: str = ""
    run_folder: str = ""


def _test_archive(name: str, published_size: str, max_size: int) -> tuple[Archive]:
    """RITM's README links these at the release of its authors' earlier work, f-BRS (Sofiiuk et al., 2020)."""
    addresses = tuple(RELEASES.format(work, name) for work in ("fbrs", "ritm"))
    return (Archive(addresses, f"{published_size} (RITM's README)", max_size, 5 * max_size),)


DATA_SETS = {
    "cocolvis": DataSet("COCO_LVIS", (
        Archive((RELEASES.format("ritm", "cocolvis_annotation.tar.gz"),), "", 4 * GB, 40 * GB),
        Archive((COCO_PHOTOS + "val2017.zip",), "1GB (cocodataset.org)", 2 * GB, 4 * GB),
        Archive((COCO_PHOTOS + "train2017.zip",), "18GB (cocodataset.org)", 30 * GB, 40 * GB),
    ), "annotations CC BY 4.0; photos under their Flickr licences, which COCO's JSON files state"),
    "davis": DataSet("DAVIS", _test_archive("DAVIS.zip", "43 MB", 200 * MB), "CC BY-NC 4.0", "img", "gt",
                     "04_davis_input"),
    "grabcut": DataSet("GrabCut", _test_archive("GrabCut.zip", "11 MB", 100 * MB), "Microsoft Research, research use",
                       "data_GT", "boundary_GT", "01_grabcut_input"),
    "berkeley": DataSet("Berkeley", _test_archive("Berkeley.zip", "7 MB", 100 * MB), "see the Berkeley BSDS page",
                        "images", "masks", "02_berkeley_input"),
    "coco_mval": DataSet("COCO_MVal", _test_archive("COCO_MVal.zip", "127 MB", 500 * MB),
                         "annotations CC BY 4.0; photos under their Flickr licences", "img", "gt",
                         "03_coco_mval_input"),
    "sbd": DataSet("SBD", (
        Archive((SBD_FOLDER + "benchmark.tgz",), "", 4 * GB, 12 * GB, "82b4d87ceb2ed10f6038a1cba92111cb"),
    ), "see the page of Hariharan et al. (2011)", "img", "inst"),
}
