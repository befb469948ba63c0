"""What the card of a hub dataset or a model says: the metadata at the top of README.md. It may be missing, or wrong."""

from __future__ import annotations

import posixpath
import re
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fusion_ui.errors import SourceError
from fusion_ui.sources.hub_dataset import DatasetFiles

MAX_CARD_BYTES = 1 << 20

Splits = Mapping[str, tuple[str, ...]]
Card = Mapping[str, Any]


def read_card(files: DatasetFiles) -> Card:
    """The YAML between two lines of three dashes at the top of README.md; empty where there is none.

    Raises:
        SourceError: it is no YAML.
        SourceUnavailableError: the hub does not give it.
    """
    if not 0 < files.sizes.get("README.md", 0) <= MAX_CARD_BYTES:
        return {}
    with files.open_file("README.md") as file:
        text = file.read().decode("utf-8", "replace")
    return parse_card(text, f"dataset {files.repository}")


def parse_card(text: str, what: str) -> Card:
    """The metadata at the top of a card's text; empty where there is none.

    Args:
        what: kind and name, ``dataset owner/name``, for the message.

    Raises:
        SourceError: it is no YAML.
    """
    import yaml

    found = re.match(r"\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|$)", text, re.DOTALL)
    try:
        card = yaml.safe_load(found[1]) if found else {}
    except (yaml.YAMLError, RecursionError) as error:
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise SourceError(f"The card of the {what} cannot be read: {reason}.") from None
    return card if isinstance(card, dict) else {}


def _entries(card: Card) -> list[dict[str, Any]]:
    entries = card.get("configs")
    named = [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
    return [e | {"config_name": str(e["config_name"])} for e in named if e.get("config_name") is not None]


def find_default(card: Card) -> str | None:
    """The configuration that is marked as the default."""
    return next((entry["config_name"] for entry in _entries(card) if entry.get("default") is True), None)


def find_configs(card: Card, paths: Sequence[str], divide: Callable[[Sequence[str]], Splits]) -> dict[str, Splits]:
    """What ``configs`` in the card says. Its patterns pick from the dataset's own files and can name no other place.

    Args:
        paths: sorted.
        divide: paths -> splits, for configurations that name none.
    """
    configs: dict[str, Splits] = {}
    for entry in _entries(card):
        folder = str(entry.get("data_dir") or "").strip("/")
        inside = [path for path in paths if not folder or path.startswith(folder + "/")]
        if "data_files" not in entry:
            splits = divide(inside)
        else:
            splits = {
                split: tuple(sorted(found))
                for split, patterns in _patterns(entry["data_files"]).items()
                if (found := {path for q in patterns for path in _match(inside, posixpath.join(folder, q))})
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


def _match(paths: Sequence[str], pattern: str) -> list[str]:
    """Those of the sorted paths that fit a pattern; of perhaps many, only those that begin like it are looked at."""
    from fsspec.utils import glob_translate

    pattern = posixpath.normpath(pattern)
    beginning = re.split(r"[*?\[{]", pattern, maxsplit=1)[0]
    near = paths[bisect_left(paths, beginning) : bisect_right(paths, beginning + chr(sys.maxunicode))]
    if len(pattern) > 300 or pattern.count("*") > 8:  # more would make the regular expression slow, on purpose
        return []
    try:
        expression = re.compile(glob_translate(pattern))
    except (ValueError, re.error):
        return [path for path in near if path == pattern]
    return [path for path in near if expression.fullmatch(path)]


def find_num_rows(card: Card, config: str, split: str) -> int | None:
    """How many rows the card says that a split has."""
    for info in _infos(card, config):
        splits = info.get("splits")
        for entry in splits if isinstance(splits, list) else ():
            if isinstance(entry, dict) and entry.get("name") == split and isinstance(entry.get("num_examples"), int):
                return entry["num_examples"]
    return None


def find_class_names(card: Card, config: str, column: str) -> tuple[str, ...] | None:
    """The names of a column's classes by number, as the card says."""
    for info in _infos(card, config):
        features = info.get("features")
        for feature in features if isinstance(features, list) else ():
            try:
                about = feature if "dtype" in feature else {"dtype": feature.get("sequence", feature.get("list"))}
                names = about["dtype"]["class_label"]["names"] if feature["name"] == column else None
                if isinstance(names, dict):  # number, as text -> name
                    names = [name for _, name in sorted(names.items(), key=lambda item: int(item[0]))]
            except (KeyError, TypeError, ValueError):
                continue
            if isinstance(names, list):
                return tuple(map(str, names))
    return None


def _infos(card: Card, config: str) -> Iterator[dict[str, Any]]:
    """The entries of ``dataset_info`` that are about a configuration."""
    infos = card.get("dataset_info")
    for info in infos if isinstance(infos, list) else [infos]:
        if isinstance(info, dict) and str(info.get("config_name", config)) == config:
            yield info
