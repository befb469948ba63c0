"""Where a person's data is, and how it is read: an uploaded file, or a part of a hub data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fusion_ui.domains.columns import Preview
from fusion_ui.domains.domain import Domain
from fusion_ui.domains.hub import list_configs_and_splits
from fusion_ui.domains.hub_cache import read_hub_domain
from fusion_ui.domains.hub_preview import preview_hub_domain
from fusion_ui.domains.loaders import load_domain
from fusion_ui.errors import DomainError

Columns = tuple[str, str | None, str | None]
"""Of the text, of the second text where there are pairs, and of the label where there are labels."""
MAX_STREAMED = 3_000
"""Sentences taken from a hub data set."""


@dataclass(frozen=True)
class DataPlace:
    """Where data is to be read.

    Attributes:
        path: an uploaded file; None for a hub data set.
        dataset: ``owner/name``.
        config, split: None takes the usual ones.
        token: the visitor's own, for gated and private data; used for this reading alone.
    """

    path: Path | None = None
    dataset: str = ""
    config: str | None = None
    split: str | None = None
    token: str | None = None


def read_data(place: DataPlace, columns: Columns, cache: Path, has_empty_labels: bool = False) -> Domain:
    """The labelled text; of a hub data set, `MAX_STREAMED` rows from all over it, kept in the directory `cache`.

    Args:
        has_empty_labels: as of `load_domain`.

    Raises:
        DomainError: there is nothing to read, or not in these columns.
        SourceError: the hub does not give it.
    """
    text, pair, label = columns
    if place.path:
        return load_domain(
            place.path, place.path.stem, text, label, pair_column=pair, has_empty_labels=has_empty_labels
        )
    if not place.dataset:
        raise DomainError("Choose a data file, or name a data set on the hub.")
    return read_hub_domain(
        cache,
        place.dataset,
        place.dataset.rsplit("/", 1)[-1],
        config=place.config,
        split=place.split,
        text_column=text,
        label_column=label,
        pair_column=pair,
        num_examples=MAX_STREAMED,
        token=place.token,
    )


def look_at(place: DataPlace) -> tuple[Mapping[str, tuple[str, ...]], Preview]:
    """Configurations with their splits, and the first rows of the chosen ones, of a hub data set.

    Raises:
        DomainError, SourceError: as `read_data`.
    """
    if not place.dataset:
        raise DomainError("Name a data set on the hub first.")
    parts = list_configs_and_splits(place.dataset, None, place.token)
    return parts, preview_hub_domain(place.dataset, place.config, place.split, None, place.token)
