"""What a person sees of data before it is added: its parts, its first rows, guessed columns, balance and lengths."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from fusion_ui.domains.columns import Preview
from fusion_ui.errors import FusionError
from fusion_ui.projects.confined import HubFinding
from fusion_ui.projects.data import Columns, DataPlace
from fusion_ui.ui.bringing import Bringing
from fusion_ui.ui.handlers import as_message
from fusion_ui.ui.panels.project import ProjectPanel
from fusion_ui.ui.render import render_status

NO_LABELS = ":none"
"""Stands for the label column of text that has no labels."""


def place_controls(panel: ProjectPanel) -> list[Any]:
    """Where data is, in the order of `read_place`."""
    return [panel.data, panel.dataset, panel.config, panel.split, panel.token]


def column_controls(panel: ProjectPanel) -> list[Any]:
    """Which columns are meant, in the order of `read_columns`."""
    return [panel.text_column, panel.pair_column, panel.label_column]


def read_place(path: object, dataset: object, config: object, split: object, token: object) -> DataPlace:
    """The values of `place_controls`. ``owner/name:config:split`` says all in one."""
    repository, *said = [*_clean(dataset).split(":"), "", ""][:3]
    chosen = [part or _clean(value) or None for part, value in zip(said, (config, split), strict=True)]
    return DataPlace(Path(path) if isinstance(path, str) else None, repository, *chosen, token=_clean(token) or None)


def read_columns(text: object, pair: object, label: object) -> Columns:
    """The values of `column_controls`, the usual names where nothing was chosen."""
    column = _clean(label) or "label"
    return _clean(text) or "text", _clean(pair) or None, None if column == NO_LABELS else column


def _clean(value: object) -> str:
    """What a control holds; one that was never shown holds nothing."""
    return value.strip() if isinstance(value, str) else ""


def wire_data_hints(panel: ProjectPanel, bringing: Bringing) -> None:
    """Preview a file as soon as it is there, and a hub data set when asked; follow every choice."""
    places, columns = place_controls(panel), column_controls(panel)
    seen = [panel.preview, *columns, panel.message]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 4}

    def refuse(error: Exception) -> list[Any]:
        if not isinstance(error, FusionError):
            raise as_message(error) from None
        empty = gr.update(choices=[], value=None)
        return [{}, empty, empty, empty, render_status(str(error), is_error=True)]

    def preview(request: gr.Request, path: str | None) -> Iterator[list[Any]]:
        if not path:
            yield [{}, *[gr.update(choices=[], value=None)] * 3, gr.skip()]
            return
        try:
            for step in bringing.preview(request.session_hash, path):
                yield _show(step) if isinstance(step, Preview) else _say(step, len(seen))
        except Exception as error:
            yield refuse(error)

    def look(request: gr.Request, *values: Any) -> Iterator[list[Any]]:
        place = read_place(*values)
        try:
            for step in bringing.look_at(request.session_hash, place):
                yield show_parts(step, place) if isinstance(step, HubFinding) else _say(step, len(found))
        except Exception as error:
            yield [gr.update(visible=False), gr.skip(), gr.skip(), *refuse(error)]

    def show_parts(found: HubFinding, place: DataPlace) -> list[Any]:
        parts = found.parts
        config = place.config or next(iter(parts))
        split = place.split if place.split in parts[config] else parts[config][0]
        configs, splits = gr.update(choices=[*parts], value=config), gr.update(choices=[*parts[config]], value=split)
        return [gr.update(visible=True), configs, splits, *_show(found.preview)]

    def restart(request: gr.Request, dataset: str, config: str, token: str) -> Iterator[list[Any]]:
        """Another configuration: its own first split."""
        yield from look(request, None, dataset, config, None, token)

    def summarise(request: gr.Request, *values: Any) -> Iterator[Any]:
        place, chosen = read_place(*values[: len(places)]), read_columns(*values[len(places) :])
        if not _clean(values[len(places)]):  # the preview was refused, or names no column that could be summarised
            yield {}
            return
        figure: Any = {}
        try:
            for step in bringing.summarise(request.session_hash, place, chosen):
                if isinstance(step, dict):
                    figure = step
                else:
                    yield gr.skip()  # so that it ends where its visitor goes
        except FusionError:  # the columns are not chosen yet; adding the data says what is wrong
            figure = {}
        yield figure

    found = [panel.parts, panel.config, panel.split, *seen]
    panel.data.change(preview, panel.data, seen, **quiet).success(
        summarise, [*places, *columns], panel.summary, **quiet
    )
    for column in columns:
        column.input(summarise, [*places, *columns], panel.summary, **quiet)
    gr.on([panel.look.click, panel.dataset.submit, panel.split.input], look, places, found, **quiet)
    panel.config.input(restart, [panel.dataset, panel.config, panel.token], found, **quiet)


def _say(step: tuple[float, str], num_outputs: int) -> list[Any]:
    """How far it is, on the last of the outputs."""
    return [*[gr.skip()] * (num_outputs - 1), render_status(step[1], step[0])]


def _show(found: Preview) -> list[Any]:
    """First rows, the guessed columns, and a sentence on them."""
    table = {"headers": list(found.columns), "rows": [[cell[:80] for cell in row] for row in found.rows]}
    text, pair = [*found.guess.text_columns, None, None][:2]
    counts = ", ".join(f"{label} {count}" for label, count in list(found.num_by_label.items())[:6])
    balance = f" Labels: {counts}." if counts else ""
    rows = f"{found.num_rows:,} rows. " if found.num_rows is not None else ""
    names = list(found.columns)
    return [
        table,
        gr.update(choices=names, value=text),
        gr.update(choices=["", *names], value=pair or ""),
        gr.update(choices=[("(no labels)", NO_LABELS), *names], value=found.guess.label_column or NO_LABELS),
        render_status(f"{rows}{found.guess.reason}{balance}"),
    ]
