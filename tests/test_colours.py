"""Colours are told apart by colour-blind eyes, and stand out on the light and on the dark page.

Seen through eyes without one kind of cones (Machado et al., 2009), distance is that of CAM02-UCS, in which 1 is about
what can just be noticed (Luo et al., 2006). Contrast is that of WCAG 2: 4.5 for text, 3 for lines and marks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from colorspacious import cspace_convert

from fusion_ui.evaluation.combined import ENSEMBLE_COLOR
from fusion_ui.evaluation.scores import DomainScore, Role
from fusion_ui.methods import METHODS
from fusion_ui.plots.accuracy import accuracy_figure
from fusion_ui.plots.growth import growth_figure
from fusion_ui.plots.layers import ACROSS_ZERO, LIGHT_TO_DARK
from fusion_ui.plots.parameter_curve import Level, curve_figure
from fusion_ui.plots.style import CELL_INK, DOMAIN_COLORS, domain_line
from fusion_ui.plots.two_features import MEAN_COLOR, REGMEAN_COLOR
from fusion_ui.projects.building import MAX_DOMAINS
from fusion_ui.results.curve import COLUMNS, curve_table
from fusion_ui.results.experiments import growth_table
from fusion_ui.results.table import tidy_table
from fusion_ui.ui.comparison import EXPERT_COLOR, MULTITASK_COLOR
from fusion_ui.ui.theme import make_theme

EYES = (None, "protanomaly", "deuteranomaly", "tritanomaly")
"""All cones, or one kind missing: an anomaly of severity 100."""
APART, CLOSE = 12.0, 10.0
"""Between any two domains, and between methods that stand beside each other."""
LINE, TEXT = 3.0, 4.5
METHOD_COLORS = {method.name: method.color for method in METHODS}
AT_FIRST = {name: METHOD_COLORS[name] for name in ("regmean", "regmean_plusplus", "simple_mean", "fisher")}
AT_FIRST |= {"experts": EXPERT_COLOR, "multi-task": MULTITASK_COLOR}
MARKS = {**METHOD_COLORS, **AT_FIRST, "ensemble": ENSEMBLE_COLOR, "mean": MEAN_COLOR, "path": REGMEAN_COLOR}
MARKS |= {f"domain {i}": color for i, color in enumerate(DOMAIN_COLORS)}
SCALES = {"one way": LIGHT_TO_DARK, "both ways": ACROSS_ZERO}


def read_color(color: str) -> np.ndarray:
    return np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])


def see(colors: Sequence[str] | np.ndarray, eyes: str | None) -> np.ndarray:
    """In CAM02-UCS, as those eyes see them."""
    rgb = np.array([read_color(c) for c in colors]) if not isinstance(colors, np.ndarray) else colors
    if eyes:
        space = {"name": "sRGB1+CVD", "cvd_type": eyes, "severity": 100}
        rgb = np.clip(cspace_convert(rgb, space, "sRGB1"), 0, 1)
    return cspace_convert(rgb, "sRGB1", "CAM02-UCS")


def distance(first: str, second: str) -> float:
    """What is left of it in the eyes that see least of it."""
    return min(float(np.linalg.norm(np.subtract(*see([first, second], eyes)))) for eyes in EYES)


def luminance(rgb: np.ndarray) -> np.ndarray:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def contrast(first: str | np.ndarray, second: str | np.ndarray) -> np.ndarray:
    low, high = sorted([luminance(read_color(c) if isinstance(c, str) else c) for c in (first, second)], key=np.max)
    return (np.maximum(low, high) + 0.05) / (np.minimum(low, high) + 0.05)


def theme_color(name: str) -> str:
    theme = make_theme()
    value = getattr(theme, name)
    while value.startswith("*"):
        value = getattr(theme, value[1:])
    return "#ffffff" if value == "white" else value


SHEETS = {"light": theme_color("background_fill_primary"), "dark": theme_color("background_fill_primary_dark")}


def sample(scale: Sequence[tuple[float, str]]) -> np.ndarray:
    """101 colours of a scale, as plotly mixes them."""
    places, colors = [place for place, _ in scale], np.array([read_color(color) for _, color in scale])
    at = np.linspace(0, 1, 101)
    return np.stack([np.interp(at, places, colors[:, channel]) for channel in range(3)], axis=1)


def test_the_measures_are_the_known_ones():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    assert distance("#ff0000", "#00ff00") < float(np.linalg.norm(np.subtract(*see(["#ff0000", "#00ff00"], None))))
    assert distance("#4c78ff", "#8f5bd6") < APART, "blue and violet, which deuteranopes take for one"


@pytest.mark.parametrize(("first", "second"), combinations(range(len(DOMAIN_COLORS)), 2))
def test_any_two_domains_are_told_apart(first: int, second: int):
    assert distance(DOMAIN_COLORS[first], DOMAIN_COLORS[second]) >= APART


@pytest.mark.parametrize(("first", "second"), combinations(AT_FIRST, 2))
def test_what_stands_beside_regmean_is_told_apart(first: str, second: str):
    assert distance(AT_FIRST[first], AT_FIRST[second]) >= CLOSE


@pytest.mark.parametrize("number", range(len(METHODS) - 1))
def test_neighbouring_methods_are_told_apart(number: int):
    first, second = METHODS[number], METHODS[number + 1]
    assert distance(first.color, second.color) >= CLOSE, (first.name, second.name)


@pytest.mark.parametrize("name", MARKS)
@pytest.mark.parametrize("theme", SHEETS)
def test_lines_and_marks_stand_out(name: str, theme: str):
    assert contrast(MARKS[name], SHEETS[theme]) >= LINE


@pytest.mark.parametrize("name", SCALES)
def test_numbers_in_cells_are_read(name: str):
    assert contrast(sample(SCALES[name]), read_color(CELL_INK)[None]).min() >= TEXT


@pytest.mark.parametrize("eyes", EYES)
def test_more_is_never_lighter_and_less_looks_unlike_more(eyes: str | None):
    lightness = see(sample(LIGHT_TO_DARK), eyes)[:, 0]
    assert np.all(np.diff(lightness) < 0) and lightness[0] - lightness[-1] > 30
    across = see(sample(ACROSS_ZERO), eyes)
    assert np.all(np.diff(across[:51, 0]) > 0) and np.all(np.diff(across[50:, 0]) < 0), "zero is the lightest"
    assert np.linalg.norm(across[0] - across[-1]) >= 2 * APART


@pytest.mark.parametrize("suffix", ["", "_dark"])
@pytest.mark.parametrize("name", ["body_text_color", "body_text_color_subdued", "link_text_color", "error_text_color"])
def test_text_is_read_on_every_ground(name: str, suffix: str):
    for ground in ("background_fill_primary", "background_fill_secondary"):
        assert contrast(theme_color(name + suffix), theme_color(ground + suffix)) >= TEXT, ground


def test_shape_or_pattern_says_what_colour_says():
    domains = {f"d{i}": f"Domain {i}" for i in range(MAX_DOMAINS)}
    abouts = [{"name": n, "title": n, "color": "#4c6ef5", "is_reference": n == "a"} for n in "abcdefgh"]
    score = DomainScore("d0", "report", Role.IN_DOMAIN, 0.7, 7, 10, 10, 0.6, 0.8)
    table = tidy_table((about, [score]) for about in abouts)
    marks = [trace["marker"]["symbol"] for trace in accuracy_figure(table, domains)["data"]]
    bars = [trace["marker"]["pattern"]["shape"] for trace in accuracy_figure(table, domains, is_from_zero=True)["data"]]
    rows = [(0.5, name, 0.7, 0.6, 0.8, 10, True, "accuracy") for name in domains]
    curve = curve_figure(pd.DataFrame.from_records(rows, columns=COLUMNS), domains, "α", 0.5, (0, 1))
    lines = [t["marker"]["symbol"] for t in curve["data"] if "marker" in t and t["name"] != "mean" and t["x"]]
    assert len(set(marks)) == len(set(bars)) == len(abouts) and len(set(lines)) == len(domains)
    levels = [Level(name, "#4c6ef5", 0.7) for name in "abcde"]
    dashes = curve_figure(curve_table({}), domains, "α", 0.5, (0, 1), levels)["data"][-5:]
    assert len({trace["line"]["dash"] for trace in dashes}) == len(levels)


def lines_of_domains() -> dict[str, list[tuple[str, str]]]:
    """Figure -> (colour, dash) of every domain of a project that is full."""
    domains = {f"d{i}": f"Domain {i}" for i in range(MAX_DOMAINS)}
    rows = [(0.5, name, 0.7, 0.6, 0.8, 10, True, "accuracy") for name in domains]
    curve = curve_figure(pd.DataFrame.from_records(rows, columns=COLUMNS), domains, "α", 0.5, (0, 1))
    growth = growth_figure(growth_table([]), domains, list(domains.values()))
    drawn = {"curve": curve, "growth": growth}
    titles = set(domains.values())
    return {
        kind: [
            (t["line"]["color"], t["line"]["dash"])
            for t in figure["data"]
            if t["name"] in titles and "lines" in t["mode"]
        ]
        for kind, figure in drawn.items()
    }


@pytest.mark.parametrize(("first", "second"), combinations(range(MAX_DOMAINS), 2))
def test_any_two_of_a_full_project_are_told_apart(first: int, second: int):
    (one, symbol, dash), (other, another, second_dash) = domain_line(first), domain_line(second)
    assert symbol != another, "where only marks are drawn, the symbol alone has to tell"
    assert distance(one, other) >= APART or dash != second_dash
    for kind, lines in lines_of_domains().items():
        assert len(lines) == MAX_DOMAINS, kind
        assert lines[first] != lines[second], kind
