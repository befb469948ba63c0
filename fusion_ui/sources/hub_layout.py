"""Which files of a hub dataset belong to which configuration and split: by its card, else by their names."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fusion_ui.errors import DomainError, SourceUnavailableError
from fusion_ui.sources.hub_card import Card, Splits, find_configs, find_default, read_card
from fusion_ui.sources.hub_dataset import CONVERTED, DatasetFiles, open_dataset

ENDINGS = (".parquet", ".csv", ".tsv", ".jsonl", ".json", ".csv.gz", ".tsv.gz", ".jsonl.gz")
KEYWORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Words in a path that name a split, as the library `datasets` reads them."""


@dataclass(frozen=True)
class DatasetLayout:
    """How a dataset's files are divided.

    Attributes:
        files: where the paths lie.
        configs: configuration -> split -> paths, in order.
        default: the configuration taken when none is asked for; empty where one must be chosen.
        card: the metadata at the top of README.md.
    """

    files: DatasetFiles = field(repr=False)
    configs: Mapping[str, Splits]
    default: str
    card: Card = field(repr=False)


def read_layout(repository: str, revision: str | None = None, token: str | None = None) -> DatasetLayout:
    """Find a dataset's configurations and splits without reading its rows.

    A dataset whose own files are in no format that is read here is taken from the hub's Parquet copy of it.

    Raises:
        DomainError: there is no data file that can be read.
        SourceError, SourceUnavailableError: as `open_dataset`.
    """
    files = open_dataset(repository, revision, token)
    card = read_card(files)
    paths = [path for path in sorted(files.sizes) if _is_data(path)]
    configs, default = find_configs(card, paths, _from_names), find_default(card)
    if not configs and paths:
        configs = {"default": _from_names(paths)}
    if not configs and revision is None:
        try:
            files = open_dataset(repository, CONVERTED, token)
        except SourceUnavailableError:
            files = DatasetFiles(repository, files.commit, {}, files.open_file)  # no copy: the message below
        configs = _from_folders(sorted(files.sizes))
    if not configs:
        raise DomainError(
            f"The dataset {repository} has no file that can be read here. It needs one that ends in "
            f"{', '.join(ENDINGS)}; a dataset made by a script or of pictures or archives does not fit."
        )
    candidates = [default, "default", *(configs if len(configs) == 1 else ())]
    return DatasetLayout(files, configs, next((name for name in candidates if name in configs), ""), card)


def choose_split(layout: DatasetLayout, config: str | None, split: str | None) -> tuple[str, str]:
    """Configuration and split: those asked for, else the default, ``train``, or the only one.

    Raises:
        DomainError: there is none of that name, or there are several and none was asked for; the message lists them.
    """
    what = f"The dataset {layout.files.repository}"
    config = _choose(what, "configuration", config, layout.configs, layout.default)
    splits = layout.configs[config]
    return config, _choose(f"{what} ({config})", "split", split, splits, "train" if "train" in splits else "")


def _choose(what: str, kind: str, asked: str | None, existing: Mapping[str, object], default: str) -> str:
    chosen = asked if asked is not None else default or (next(iter(existing)) if len(existing) == 1 else "")
    if chosen not in existing:
        problem = f"has no {kind} {asked[:80]!r}" if asked is not None else f"has several {kind}s; choose one"
        names = ", ".join(existing)
        raise DomainError(f"{what} {problem}. It has: {names[:500]}{' ...' if len(names) > 500 else ''}.")
    return chosen


def _is_data(path: str) -> bool:
    hidden = any(part.startswith((".", "__")) for part in path.split("/"))
    name = posixpath.basename(path).lower()
    return not hidden and name.endswith(ENDINGS) and name not in ("dataset_infos.json", "config.json", "state.json")


def _from_names(paths: Sequence[str]) -> Splits:
    """Splits by the words in folders, else in file names; all is ``train`` where no path holds one."""
    for parts in (posixpath.dirname, posixpath.basename):
        found: dict[str, list[str]] = {}
        for path in paths:
            words = re.split(r"[-._ 0-9/]+", parts(path).lower())
            for split, keywords in KEYWORDS.items():
                if any(word in keywords for word in words):
                    found.setdefault(split, []).append(path)
                    break
        if found:
            return {split: tuple(found[split]) for split in KEYWORDS if split in found}
    return {"train": tuple(paths)} if paths else {}


def _from_folders(paths: Sequence[str]) -> dict[str, Splits]:
    """The hub's own copy: ``config/split/0000.parquet``, with ``partial-`` before the split where it is not whole."""
    configs: dict[str, dict[str, tuple[str, ...]]] = {}
    for path in paths:
        parts = path.split("/")
        if len(parts) == 3 and path.endswith(".parquet"):
            splits = configs.setdefault(parts[0], {})
            split = parts[1].removeprefix("partial-")
            splits[split] = (*splits.get(split, ()), path)
    return dict(configs)
