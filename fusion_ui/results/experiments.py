"""Pairs and growth as tidy tables for figures, and as rows of text for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import pandas as pd

from fusion_ui.evaluation.comparison import CandidateScores
from fusion_ui.evaluation.growth import GrowthPoint, keep_in_domain
from fusion_ui.evaluation.pairs import PairChange, PairResult
from fusion_ui.evaluation.scores import DomainScore
from fusion_ui.tasks import shared_metric
from fusion_ui.tasks.scales import Scale

PAIR_HEADERS = ("Pair", "Score", "vs better", "vs worse")
PAIR_COLUMNS = ["first", "second", "where", "split", "num_examples", "metric", "detail"]
PAIR_COLUMNS += [f"{quantity}{end}" for quantity in ("score", "better", "worse") for end in ("", "_low", "_high")]
NO_TITLES: Mapping[str, str] = MappingProxyType({})
GROWTH_COLUMNS = ["num_experts", "series", "domain", "role", "split", "num_examples", "metric", "value", "low", "high"]


def pair_table(results: Iterable[PairResult], titles: Mapping[str, str]) -> pd.DataFrame:
    """One row a pair and kind of domains: "own" or "others".

    Args:
        titles: domain name -> title, for the column "detail", a list with a sentence for each domain.
    """
    records = [
        _pair_record(result.experts, where, change, titles)
        for result in results
        for where, change in (("own", result.own), ("others", result.others))
        if change is not None
    ]
    return pd.DataFrame.from_records(records, columns=PAIR_COLUMNS)


def _pair_record(experts: tuple[str, str], where: str, change: PairChange, titles: Mapping[str, str]) -> dict[str, Any]:
    low, high = change.interval
    record: dict[str, Any] = {"first": experts[0], "second": experts[1], "where": where}
    record |= {"split": change.merged[0].split, "num_examples": sum(score.num_examples for score in change.merged)}
    record |= {"metric": shared_metric(score.metric for score in change.merged)}
    record |= {"score": change.mean, "score_low": low, "score_high": high}
    for name, against in (("better", change.better), ("worse", change.worse)):
        record |= {name: against.value, f"{name}_low": against.low, f"{name}_high": against.high}
    record["detail"] = [
        f"{titles.get(m.domain, m.domain)}: {m.scale.show(m.value)}, "
        f"alone {' and '.join(s.scale.show(s.value) for s in (a, b) if s)}"
        for m, a, b in zip(change.merged, *change.alone, strict=True)
    ]
    return record


def pair_row(result: PairResult, where: str, titles: Mapping[str, str] = NO_TITLES) -> list[str]:
    """The cells under `PAIR_HEADERS`: score and changes with 95 % intervals, shares in percent.

    Args:
        where: "own" or "others".
        titles: expert name -> title; without one the name stands.
    """
    change = {"own": result.own, "others": result.others}[where]
    name = _join(result.experts, titles)
    if change is None:
        return [name, "-", "-", "-"]
    score = _with_interval(change.scale, change.mean, *change.interval)
    return [name, score, *(change.scale.write_change(d.value, d.low, d.high) for d in (change.better, change.worse))]


def growth_table(points: Iterable[GrowthPoint]) -> pd.DataFrame:
    """One row a set of experts and series.

    The series are "domain", "own so far" and "all" for the merge, "ensemble" over the domains of the experts so far,
    and "own expert" for each domain's own expert, which does not change.
    """
    points, records = list(points), list[dict[str, Any]]()
    for point in points:
        count = len(point.experts)
        records += [_score_record(count, "domain", score) for score in point.scores.scores]
        means = {"own so far": keep_in_domain(point.scores), "all": point.scores}
        means["ensemble"] = keep_in_domain(point.ensemble) if point.ensemble else None
        records += [_mean_record(count, series, row) for series, row in means.items() if row and row.scores]
    if points:
        records += [_score_record(len(points[-1].experts), "own expert", score) for score in points[-1].own]
    return pd.DataFrame.from_records(records, columns=GROWTH_COLUMNS)


def _score_record(count: int, series: str, score: DomainScore) -> dict[str, Any]:
    about = {key: getattr(score, key) for key in GROWTH_COLUMNS[2:]}
    return {"num_experts": count, "series": series, **about, "role": str(score.role)}


def _mean_record(count: int, series: str, row: CandidateScores) -> dict[str, Any]:
    low, high = row.interval
    about = {"split": row.scores[0].split, "num_examples": sum(score.num_examples for score in row.scores)}
    about |= {"domain": "", "role": "", "metric": shared_metric(score.metric for score in row.scores)}
    about |= {"value": row.mean, "low": low, "high": high}
    return {"num_experts": count, "series": series, **about}


def growth_headers(domains: Iterable[str], has_ensemble: bool) -> list[str]:
    """The headers over the cells of `growth_row`."""
    return ["Experts", "Own so far", "All", *domains, *(["Ensemble, own so far", "Ensemble, all"] * has_ensemble)]


def growth_row(point: GrowthPoint, titles: Mapping[str, str] = NO_TITLES) -> list[str]:
    """Cells, shares in percent; the means with 95 % intervals, a domain whose expert was not added yet in brackets,
    one of another task than those that were a dash.

    Args:
        titles: expert name -> title; without one the name stands.
    """
    cells = [_join(point.experts, titles), _mean(keep_in_domain(point.scores)), _mean(point.scores)]
    scores = {score.domain: score for score in point.scores.scores}
    for score in map(scores.get, point.domains):
        cells.append("-" if score is None else _in_or_out(score))
    if point.ensemble:
        cells += [_mean(keep_in_domain(point.ensemble)), _mean(point.ensemble)]
    return cells


def _in_or_out(score: DomainScore) -> str:
    written = score.scale.write(score.value)
    return written if score.role == "in-domain" else f"({written})"


def _join(experts: Iterable[str], titles: Mapping[str, str]) -> str:
    return " + ".join(titles.get(name, name) for name in experts)


def _mean(row: CandidateScores | None) -> str:
    return _with_interval(row.scale, row.mean, *row.interval) if row and row.scores else "-"


def _with_interval(scale: Scale, value: float, low: float, high: float) -> str:
    return f"{scale.write(value)} {scale.write_interval(low, high)}"
