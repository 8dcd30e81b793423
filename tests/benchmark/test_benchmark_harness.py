"""The speed measurements run and add up; how quick anything is, no test asserts."""
import cv2
import numpy as np
import pytest

from utils.benchmark.speed import measure


def test_measurements_add_up(tmp_path):
    for room in ("imgs", "masks"):
        (tmp_path / room).mkdir()
    for i in range(6):
        mask = np.zeros((50, 70), np.uint8)
        cv2.circle(mask, (30 + i, 25), 12, 255, -1)
        cv2.imwrite(str(tmp_path / "imgs" / f"{i}.png"), np.dstack([mask] * 3))
        cv2.imwrite(str(tmp_path / "masks" / f"{i}.png"), mask)
    found = measure(str(tmp_path), "benchmark_models:SlowDisks", tasks=6, clicks=3)
    assert found["image_sizes"] == ["70x50"]
    assert found["model_ms_per_click"] >= 10  # it sleeps for so long
    total = found["model_ms_per_click"] + found["harness_ms_per_click"]
    assert found["harness_part"] == pytest.approx(found["harness_ms_per_click"] / total)
    assert found["scaling"] == pytest.approx(found["tasks_per_second"][2] / found["tasks_per_second"][1])
