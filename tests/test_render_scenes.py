"""The sample scenes: the committed folder is what its generator draws, and it shows what it is meant to show."""
from __future__ import annotations

import cv2
import numpy as np
import pytest
from rendering import Picture, ellipse, ring, rod

import render_scenes
from render_scenes import SAMPLE_FOLDER, SCENES


def read(folder, name):
    """A scene's image and mask as they lie in a folder."""
    image = cv2.imread(str(folder / "imgs" / f"{name}.jpg"), cv2.IMREAD_UNCHANGED)
    return image, cv2.imread(str(folder / "masks" / f"{name}.png"), cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize("name", SCENES)
def test_the_generator_draws_the_committed_folder(name, tmp_path):
    render_scenes.write_scene(name, tmp_path)
    (image, mask), (committed_image, committed_mask) = read(tmp_path, name), read(SAMPLE_FOLDER, name)
    assert np.array_equal(mask, committed_mask)
    difference = cv2.absdiff(image, committed_image)
    assert difference.mean() < 1.0 and np.quantile(difference, 0.999) <= 12  # what another JPEG encoder may differ


def test_the_folder_holds_the_scenes_and_nothing_else():
    assert sorted(p.name for p in SAMPLE_FOLDER.glob("imgs/*")) == sorted(f"{name}.jpg" for name in SCENES)
    assert sorted(p.name for p in SAMPLE_FOLDER.glob("masks/*")) == sorted(f"{name}.png" for name in SCENES)
    assert len(SCENES) >= 12
    assert sum(p.stat().st_size for p in SAMPLE_FOLDER.rglob("*.*")) < 2_000_000


def test_the_folder_has_the_variety_it_promises():
    pairs = {name: read(SAMPLE_FOLDER, name) for name in SCENES}
    for name, (image, mask) in pairs.items():
        assert image.shape[:2] == mask.shape == (SCENES[name].height, SCENES[name].width)
        assert set(np.unique(mask)) == {0, 255} and 0.01 < (mask > 0).mean() < 0.6
    pixels = [mask.size for _, mask in pairs.values()]
    assert min(pixels) < 10_000 and max(pixels) > 1_500_000
    assert [name for name, (image, _) in pairs.items() if image.ndim == 2] == ["vase"]
    regions = {name: cv2.connectedComponents(255 - mask)[0] - 1 for name, (_, mask) in pairs.items()}
    assert all(regions[name] >= holes + 1 for name, holes in (("doughnut", 1), ("mug", 1), ("wheel", 12), ("key", 4)))
    assert cv2.connectedComponents(pairs["fish"][1])[0] - 1 > 1  # weeds before it cut it into parts


def test_what_is_painted_later_hides_the_target():
    picture = Picture(100, 100, seed=0)
    picture.paint(ellipse(0.5, 0.5, 0.3, 0.3), (1, 0, 0), target=True)
    whole = np.count_nonzero(picture.mask())
    assert whole == pytest.approx(np.pi * 30**2, rel=0.01)
    picture.paint(ring(0.5, 0.5, 0.1, 0.1, 0.05), (0, 1, 0), opacity=0.4)
    assert np.count_nonzero(picture.mask()) == whole  # a veil hides nothing
    picture.model(rod((0.5, -1), (0.5, 2), 0.05), (0, 0, 1), roundness=0.05)
    assert not picture.mask()[46:54].any() and picture.mask()[30].any()


def test_command_line(tmp_path, monkeypatch, capsys):
    sheet = tmp_path / "sheet.png"
    for name in SCENES:
        monkeypatch.setitem(SCENES, name, SCENES["cone"])
    monkeypatch.setattr("sys.argv", ["render_scenes.py", "--output", str(tmp_path), "--sheet", str(sheet)])
    render_scenes.main()
    assert len(list(tmp_path.glob("*/*"))) == 2 * len(SCENES) and cv2.imread(str(sheet)).shape[1] == 5 * 320
    monkeypatch.setattr("sys.argv", ["render_scenes.py", "unicorn"])
    with pytest.raises(SystemExit):
        render_scenes.main()
    assert "no scene is called unicorn" in capsys.readouterr().err
