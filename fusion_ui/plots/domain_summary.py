"""A domain before it is used, in two small panels: how many rows each label has, and how long the texts are."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import Any

from fusion_ui.domains.summary import DomainSummary, TokenLengths
from fusion_ui.plots.style import DOMAIN_COLORS, Figure, new_figure

COLOR, CUT_COLOR = DOMAIN_COLORS[:2]
GRID = "rgba(128,128,128,0.25)"
MAX_BARS, MAX_BINS = 8, 24
LONGEST_LABEL = 14
BAR_HEIGHT, LENGTHS_HEIGHT, AXIS_HEIGHT, TOP = 26, 90, 52, 8
"""Pixels: of one label's bar, of the histogram, of what stands below a panel, and above the first."""


def domain_summary_figure(summary: DomainSummary) -> Figure:
    """Class balance as horizontal bars above token lengths as a histogram; a panel without data is left out.

    Made for a width of 300 pixels. Texts that the model would cut have a colour of their own.
    """
    bars, lengths, unit = _shown_labels(summary), summary.token_lengths, "words" if summary.num_words else "rows"
    heights = [BAR_HEIGHT * len(bars)] * bool(bars) + [LENGTHS_HEIGHT] * bool(lengths)
    height = TOP + sum(heights) + AXIS_HEIGHT * max(1, len(heights))
    traces: list[dict[str, Any]] = []
    layout: dict[str, Any] = {
        "showlegend": False,
        "bargap": 0.25,
        "margin": {"l": 8, "r": 12, "t": TOP, "b": AXIS_HEIGHT},
    }
    if bars:
        traces.append(_bars(bars, summary.num_words or summary.num_rows, unit))
        layout |= _axes("", f"{unit} with each label", (1 - heights[0] / (height - TOP - AXIS_HEIGHT), 1.0))
        layout["yaxis"] |= {
            "tickvals": list(range(len(bars))),
            "ticktext": [escape(_cut(label), quote=False) for label, _ in bars],  # plotly reads tags
            "autorange": "reversed",
            "showgrid": False,
        }
    if lengths:
        axis = "2" if bars else ""
        traces.append(_histogram(lengths) | {"xaxis": f"x{axis}", "yaxis": f"y{axis}"})
        top = LENGTHS_HEIGHT / (height - TOP - AXIS_HEIGHT) if bars else 1.0
        layout |= _axes(axis, _lengths_title(lengths), (0.0, top))
        layout[f"yaxis{axis}"] |= {"nticks": 4}
    return new_figure(height, traces, **layout)


def _shown_labels(summary: DomainSummary) -> list[tuple[str, int]]:
    """Labels with their counts; those that there is no room for as one bar."""
    counts = list(summary.num_by_label.items())
    if len(counts) <= MAX_BARS:
        return counts
    others = counts[MAX_BARS - 1 :]
    return [*counts[: MAX_BARS - 1], (f"{len(others)} others", sum(count for _, count in others))]


def _bars(bars: list[tuple[str, int]], total: int, unit: str) -> dict[str, Any]:
    return {
        "type": "bar",
        "orientation": "h",
        "name": unit,
        "x": [count for _, count in bars],
        "y": list(range(len(bars))),
        "text": [f"{count / total:.0%}" for _, count in bars],
        "textposition": "auto",
        "marker": {"color": COLOR},
        "customdata": [escape(label[:300], quote=False) for label, _ in bars],
        "hovertemplate": f"%{{customdata}}: %{{x:,}} {unit} (%{{text}})<extra></extra>",
    }


def _histogram(lengths: TokenLengths) -> dict[str, Any]:
    """Bins of whole tokens with an edge behind `max_length`. The longest hundredth shares the last bin."""
    low, high = lengths.lengths[0], lengths.quantile(0.99)
    width = (high - low) // MAX_BINS + 1
    first = low - (low - lengths.max_length - 1) % width
    counts = Counter((min(length, high) - first) // width for length in lengths.lengths)
    starts = [first + number * width for number in range(max(counts) + 1)]
    names = [f"{max(low, start)} to {start + width - 1} tokens" if width > 1 else f"{start} tokens" for start in starts]
    if lengths.lengths[-1] >= starts[-1] + width:
        names[-1] = f"{starts[-1]} to {lengths.lengths[-1]:,} tokens"
    return {
        "type": "bar",
        "name": "texts",
        "x": [start + (width - 1) / 2 for start in starts],
        "y": [counts[number] for number in range(len(starts))],
        "width": [0.9 * width] * len(starts),
        "marker": {"color": [CUT_COLOR if start > lengths.max_length else COLOR for start in starts]},
        "customdata": names,
        "hovertemplate": "%{customdata}: %{y:,} texts<extra></extra>",
    }


def _lengths_title(lengths: TokenLengths) -> str:
    if not lengths.truncated_share:
        return f"tokens in a text; {lengths.max_length:,} are read"
    share = f"{lengths.truncated_share:.0%}" if lengths.truncated_share >= 0.005 else "<1%"
    return escape(f"tokens; {share} over {lengths.max_length:,} are cut", quote=False)


def _axes(number: str, title: str, domain: tuple[float, float]) -> dict[str, Any]:
    """The two axes of a panel between two heights, as shares of the figure's."""
    shared = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "fixedrange": True, "automargin": True}
    return {
        f"xaxis{number}": shared | {"title": {"text": title, "standoff": 6}, "nticks": 5, "anchor": f"y{number}"},
        f"yaxis{number}": shared | {"domain": list(domain), "anchor": f"x{number}"},
    }


def _cut(label: str) -> str:
    return label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"
