"""Which files of a hub dataset belong to which configuration and split: by its card, else by their names."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fusion_ui.errors import DomainError, SourceError, SourceUnavailableError
from fusion_ui.sources.hub_dataset import CONVERTED, DatasetFiles, open_dataset

ENDINGS = (".parquet", ".csv", ".tsv", ".jsonl", ".json", ".csv.gz", ".tsv.gz", ".jsonl.gz")
MAX_CARD_BYTES = 1 << 20
KEYWORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Words in a path that name a split, as the library `datasets` reads them."""

Splits = Mapping[str, tuple[str, ...]]


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
    card: Mapping[str, Any] = field(repr=False)


def read_layout(repository: str, revision: str | None = None, token: str | None = None) -> DatasetLayout:
    """Find a dataset's configurations and splits without reading its rows.

    A dataset whose own files are in no format that is read here is taken from the hub's Parquet copy of it.

    Raises:
        DomainError: there is no data file that can be read.
        SourceError, SourceUnavailableError: as `open_dataset`.
    """
    files = open_dataset(repository, revision, token)
    card = _read_card(files)
    paths = [path for path in sorted(files.sizes) if _is_data(path)]
    configs, default = _from_card(card, paths), ""
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
    marked = [entry["config_name"] for entry in _entries(card) if entry.get("default") is True]
    for name in [*marked, "default", *(configs if len(configs) == 1 else ())]:
        default = default or (name if name in configs else "")
    return DatasetLayout(files, configs, default, card)


def _is_data(path: str) -> bool:
    hidden = any(part.startswith((".", "__")) for part in path.split("/"))
    name = posixpath.basename(path).lower()
    return not hidden and name.endswith(ENDINGS) and name not in ("dataset_infos.json", "config.json", "state.json")


def _read_card(files: DatasetFiles) -> dict[str, Any]:
    """The YAML between two lines of three dashes at the top of README.md; empty where there is none."""
    import yaml

    if not 0 < files.sizes.get("README.md", 0) <= MAX_CARD_BYTES:
        return {}
    with files.open_file("README.md") as file:
        text = file.read().decode("utf-8", "replace")
    found = re.match(r"\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)", text, re.DOTALL)
    try:
        card = yaml.safe_load(found[1]) if found else {}
    except (yaml.YAMLError, RecursionError) as error:
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise SourceError(f"The card of the dataset {files.repository} cannot be read: {reason}.") from None
    return card if isinstance(card, dict) else {}


def _entries(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    entries = card.get("configs")
    named = [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
    return [e | {"config_name": str(e["config_name"])} for e in named if e.get("config_name") is not None]


def _from_card(card: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Splits]:
    """What ``configs`` in the card says. Its patterns pick from the dataset's own files and can name no other place."""
    configs: dict[str, Splits] = {}
    for entry in _entries(card):
        folder = str(entry.get("data_dir") or "").strip("/")
        inside = [path for path in paths if not folder or path.startswith(folder + "/")]
        if "data_files" not in entry:
            splits = _from_names(inside)
        else:
            splits = {
                split: tuple(found)
                for split, patterns in _patterns(entry["data_files"]).items()
                if (found := [p for p in inside if any(_fits(p, posixpath.join(folder, q)) for q in patterns)])
            }
        if splits:
            configs[entry["config_name"]] = splits
    return configs


def _patterns(value: Any) -> dict[str, list[str]]:
    """``data_files`` in each of the forms in which cards write it, as split -> patterns."""

    def listed(patterns: Any) -> list[str]:
        return [str(p) for p in patterns] if isinstance(patterns, list) else [str(patterns)]

    if isinstance(value, dict):
        return {str(split): listed(patterns) for split, patterns in value.items()}
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return {str(item.get("split", "train")): listed(item.get("path", [])) for item in value}
    return {"train": listed(value)}


def _fits(path: str, pattern: str) -> bool:
    from fsspec.utils import glob_translate

    pattern = posixpath.normpath(pattern)
    if len(pattern) > 300 or pattern.count("*") > 8:  # more would make the regular expression slow, on purpose
        return False
    try:
        return re.fullmatch(glob_translate(pattern), path) is not None
    except (ValueError, re.error):
        return path == pattern


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
