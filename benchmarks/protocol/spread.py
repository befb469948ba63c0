"""Numbers over several seeds: mean and range, and who is ahead in every one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from benchmarks.protocol.section import markdown

MEAN = "mean"
"""Stands for the mean of all domains where the name of a domain could stand."""
LEAST = 1e-9
"""Less than any one sentence makes: what differs by no more is level but for rounding."""
SPREAD = "mean (smallest to largest) of the seeds"


def with_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Besides the rows of ``seed, candidate, domain, value``, those of the mean over domains."""
    means = frame.groupby(["seed", "candidate"], as_index=False, sort=False)["value"].mean().assign(domain=MEAN)
    return pd.concat([frame, means], ignore_index=True)


def cell(values: Sequence[float]) -> str:
    """In percent: mean, and in brackets the smallest and the largest."""
    shown = [100 * value for value in values]
    return f"{sum(shown) / len(shown):.1f} ({min(shown):.1f} to {max(shown):.1f})"


def points(values: Sequence[float]) -> str:
    """A difference likewise, with its sign."""
    shown = [100 * value for value in values]
    return f"{sum(shown) / len(shown):+.1f} ({min(shown):+.1f} to {max(shown):+.1f})"


def spread_table(frame: pd.DataFrame, columns: Mapping[str, str]) -> str:
    """A row a candidate, in the order of the frame, and a column a domain.

    Args:
        columns: domain name, or `MEAN` -> header.
    """
    rows = []
    for candidate, own in frame.groupby("candidate", sort=False):
        values = {name: own.loc[own["domain"] == name, "value"].tolist() for name in columns}
        rows.append([str(candidate), *(cell(found) if found else "" for found in values.values())])
    return markdown(["", *columns.values()], rows)


def differences(frame: pd.DataFrame, first: str, second: str) -> dict[str, list[float]]:
    """Domain, in order -> by how much `first` is ahead of `second`, seed by seed."""
    wide = frame.pivot_table(index=["domain", "seed"], columns="candidate", values="value", sort=False)
    wide = (wide[first] - wide[second]).dropna()
    found: dict[str, list[float]] = {}
    for key, value in wide.items():
        domain: Any = key
        found.setdefault(domain[0], []).append(float(value))
    return found


def compare(frame: pd.DataFrame, first: str, second: str, titles: Mapping[str, str]) -> str:
    """Where `first` is ahead of `second` in every seed, and where behind in every one."""
    found = {"the mean" if d == MEAN else titles[d]: v for d, v in differences(frame, first, second).items()}
    places = {verdict: [d for d, v in found.items() if judge(v) == verdict] for verdict in ("ahead", "behind")}
    said = [
        f"{verdict} in every seed on {'; '.join(f'{name} {points(found[name])}' for name in names)}"
        for verdict, names in places.items()
        if names
    ]
    num_undecided = len(found) - sum(map(len, places.values()))
    said += [f"undecided {'elsewhere' if said else 'everywhere'}"] if num_undecided else []
    return f"{first} against {second}, in points: {', '.join(said)}."


def summarise(frame: pd.DataFrame, first: str) -> str:
    """What the mean over domains of `first` is above in every seed, what below, and what neither."""
    means = frame[frame["domain"] == MEAN]
    verdicts = {c: judge(differences(means, first, c)[MEAN]) for c in dict.fromkeys(means["candidate"]) if c != first}
    starts = {"ahead": "above", "behind": "below", "undecided": "now above, now below or level with"}
    said = [
        f"{start} {', '.join(names)}"
        for verdict, start in starts.items()
        if (names := [c for c, found in verdicts.items() if found == verdict])
    ]
    return f"from seed to seed, {first}'s mean is {'; '.join(said)}."


def judge(values: Sequence[float]) -> str:
    """Of the differences of every seed: all above zero, all below, or neither."""
    return "ahead" if min(values) > LEAST else "behind" if max(values) < -LEAST else "undecided"
