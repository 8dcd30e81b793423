"""Charts: values stand where the axes say, ticks are round and few, and a file of its own is a whole SVG."""
from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils.plots import (
    MOST_POINTS,
    Curve,
    area_axis,
    count_axis,
    curves_chart,
    percent_axis,
    scatter_chart,
    value_axis,
    write_svg,
)


def line_of(chart: str) -> list[tuple[float, float]]:
    (line,) = re.findall(r'<polyline points="([^"]*)"', chart)
    return [tuple(map(float, point.split(","))) for point in line.split()]


def test_charts_place_values_on_their_axes():
    curve = Curve("one & all", [(1, 0.0), (2, 1.0)], [0.0, 0.9], [0.1, 1.0])
    chart = curves_chart("IoU", [curve], percent_axis("mean IoU, %"), count_axis("clicks", 2))
    assert "one &amp; all" in chart
    (x1, y1), (x2, y2) = line_of(chart)
    assert x1 < x2 and y1 > y2
    heights = {label: float(y) for y, label in re.findall(r'y="([\d.]+)" text-anchor="end">(\d+)<', chart)}
    assert heights["0"] - 4 == pytest.approx(y1) and heights["100"] - 4 == pytest.approx(y2)
    (band,) = re.findall(r'<polygon points="([^"]+)" fill="#0072b2" fill-opacity="\.14"', chart)
    assert len(band.split()) == 4


def test_a_curve_without_intervals_has_no_band():
    for bounds in ((), [None, None]):
        chart = curves_chart("IoU", [Curve("one", [(1, 0.2), (2, 0.4)], bounds, bounds)], y_label="IoU")
        assert "fill-opacity" not in chart


def test_values_that_are_no_numbers_are_left_out():
    chart = curves_chart("Loss", [Curve("loss", [(0, 1.0), (1, math.nan), (math.inf, 2.0), (2, 3.0)])])
    assert len(line_of(chart)) == 2
    assert line_of(curves_chart("Loss", [Curve("nothing yet", [])])) == []


def test_many_points_are_averaged():
    line = line_of(curves_chart("Loss", [Curve("loss", [(i, i % 2) for i in range(10 * MOST_POINTS)])]))
    assert len(line) == MOST_POINTS and len({y for _, y in line}) == 1


@pytest.mark.parametrize("clicks", [1, 2, 3, 5, 7, 20, 33, 100, 1234])
def test_ticks_of_counts(clicks):
    ticks = count_axis("clicks", clicks).ticks
    assert ticks[-1] == clicks and 1 <= len(ticks) <= 13 and list(ticks) == sorted(set(ticks))


@given(st.lists(st.floats(-1e9, 1e9).filter(lambda v: v == 0 or abs(v) > 1e-6), min_size=1, max_size=5))
def test_axes_hold_their_values_between_few_ticks_that_read_differently(values):
    axis = value_axis("loss", values)
    invisible = 1e-8 * (axis.high - axis.low)
    assert axis.low <= min(values) + invisible and axis.high >= max(values) - invisible
    assert 2 <= len(axis.ticks) <= 11


def test_ticks_are_written_short():
    assert [value_axis("x", [0, 90]).write(v) for v in (0, 20)] == ["0", "20"]
    axis = value_axis("samples", [0, 156800])
    assert [axis.write(tick) for tick in axis.ticks][:3] == ["0", "50k", "100k"]
    axis = value_axis("IoU", [0.71, 0.78])
    assert [axis.write(tick) for tick in axis.ticks][0] == "0.70"


def test_the_axis_of_areas_is_logarithmic():
    axis = area_axis([0.002, 0.3])
    assert (axis.low, axis.high) == (pytest.approx(0.002), pytest.approx(0.5))
    assert [axis.write(tick) for tick in axis.ticks] == ["0.2", "0.5", "1", "2", "5", "10", "20", "50"]
    assert axis.part(0.02) - axis.part(0.002) == pytest.approx(axis.part(0.2) - axis.part(0.02))
    assert (area_axis([1.0]).low, area_axis([1.0]).high) == (pytest.approx(0.1), 1.0)  # a single area has space too
    assert [axis.write(tick) for tick in area_axis([1e-4, 0.9]).ticks] == ["0.01", "0.1", "1", "10", "100"]
    assert scatter_chart("size", {"a": [(0.01, 0.5), (0.2, 0.9)]}, axis, percent_axis("IoU")).count("<circle") == 2 + 1


def test_a_chart_in_a_file_of_its_own(tmp_path):
    long = "a rather long name of a curve, too long for the width of the chart and so broken in lines"
    curves = [Curve(name, [(0, 1.0), (9, 2.0)]) for name in ("<b>", long, "c", "d", "e")]
    write_svg(tmp_path / "loss.svg", curves_chart("Training", curves, x_label="samples", y_label="loss"))
    root = ElementTree.parse(tmp_path / "loss.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    width, height = map(float, root.get("viewBox").split()[2:])
    texts = [text for text in root.iter("{http://www.w3.org/2000/svg}text") if text.get("x")]
    written = " ".join(text.text for text in texts)
    assert "<b>" in written and long in written
    assert all(float(text.get("x")) < width and float(text.get("y")) < height for text in texts)
