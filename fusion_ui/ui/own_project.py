"""Wiring of the project panel: each button changes the visitor's project, and the controls follow it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from fusion_ui.errors import FusionError
from fusion_ui.projects.building import BASE, MAX_EXPERTS
from fusion_ui.projects.labels import explain_labels, label_table
from fusion_ui.projects.measures import has_threshold
from fusion_ui.projects.project import Project
from fusion_ui.ui.bringing import Bringing
from fusion_ui.ui.data_hints import column_controls, place_controls, read_columns, read_place, wire_data_hints
from fusion_ui.ui.handlers import as_message
from fusion_ui.ui.panels.methods import MethodsPanel, method_choices
from fusion_ui.ui.panels.models import ModelsPanel, row_values
from fusion_ui.ui.panels.project import OWN, ProjectPanel
from fusion_ui.ui.placing import SettingControls
from fusion_ui.ui.render import render_status

Chain = Callable[[Any], None]


@dataclass(frozen=True)
class Display:
    """How the page is made to show what a session holds.

    Attributes:
        components: everything that follows a session's project and settings.
        show: session id and sentences for the project panel -> their updates.
    """

    panel: ProjectPanel
    components: list[Any]
    show: Callable[[str | None, list[str]], list[Any]]


def wire_project(
    panel: ProjectPanel,
    models: ModelsPanel,
    methods: MethodsPanel,
    others: SettingControls,
    bringing: Bringing,
    facts: gr.HTML,
    describe: Callable[[Project], str],
    chain: Chain,
) -> Display:
    """Connect the panel's events.

    Args:
        others: the controls that a project's own rows leave.
        facts: the page's header, which names the project.
        describe: the header of a project.
        chain: what follows a change of project: evaluate it, fill the curve.

    Returns:
        How the whole page is made to show what a session holds.
    """
    rows = [*models.included, *models.calibration, *models.weights, methods.methods]
    shown = [
        facts,
        *rows,
        *others.components,
        panel.contents,
        panel.removed,
        panel.statistics_of,
        panel.labels,
        panel.aligned,
        panel.heads,
        panel.threshold,
    ]
    shown += [panel.preset, panel.weighed, panel.project, panel.message]  # a refusal speaks through the last

    def show(session_id: str | None, sentences: list[str]) -> list[Any]:
        session = bringing.sessions.get(session_id)
        project, request = session.project, session.request
        values = [row_values(project, request, number) for number in range(MAX_EXPERTS)]
        names = [BASE] if session.own.base else []
        names += list(dict.fromkeys([e.name for e in session.own.experts] + [d.name for d in session.own.domains]))
        return [
            describe(project),
            *(gr.update(**properties) for column in zip(*values, strict=True) for properties in column),
            gr.update(choices=method_choices(project, len(request.experts)), value=list(request.methods)),
            *others.show(request, project),
            {"rows": bringing.contents(session_id)},
            gr.update(choices=names, value=None),
            gr.update(choices=[expert.name for expert in session.own.experts], value=None),
            [list(row) for row in label_table(session.own)],
            render_status(explain_labels(session.own)),
            session.own.heads or "",
            gr.update(visible=has_threshold(session.own)),
            gr.update(visible=False),
            render_status(""),
            project.name,
            render_status(" ".join(sentences)),
        ]

    def say(status: dict[str, Any]) -> list[Any]:
        return [*[gr.skip()] * (len(shown) - 1), status]

    def refuse(error: Exception) -> list[Any]:
        if not isinstance(error, FusionError):
            raise as_message(error) from None
        return say(render_status(str(error), is_error=True))

    def changing(change: Callable[..., list[str]]) -> Callable[..., list[Any]]:
        def handle(request: gr.Request, *values: Any) -> list[Any]:
            try:
                return show(request.session_hash, change(request.session_hash, *values))
            except Exception as error:
                return refuse(error)

        return handle

    def choose(session_id: str | None, name: str) -> list[Any]:
        if name not in (OWN, bringing.demo.name):  # a preset is opened by its button, once its cost was read
            about = render_status(" ".join(bringing.weigh_preset(session_id, name)))
            return [*[gr.skip()] * (len(shown) - 4), gr.update(visible=True), about, gr.skip(), gr.skip()]
        bringing.choose(session_id, name)
        sentence = "Models fine-tuned from one base, and text for each." if name == OWN else "The demo is shown."
        return show(session_id, [sentence])

    def choosing(request: gr.Request, name: str) -> list[Any]:
        try:
            return choose(request.session_hash, name)
        except FusionError as error:
            about = render_status(str(error), is_error=True)
            return [*[gr.skip()] * (len(shown) - 4), gr.update(visible=True), about, gr.skip(), gr.skip()]
        except Exception as error:
            raise as_message(error) from None

    def stepping(change: Callable[..., Iterator[Any]], is_final: bool = True) -> Callable[..., Iterator[list[Any]]]:
        """A change that tells how far it is. One that is not final says sentences and leaves the project alone."""

        def handle(request: gr.Request, *values: Any) -> Iterator[list[Any]]:
            try:
                for step in change(request.session_hash, *values):
                    if not isinstance(step, list):
                        yield say(render_status(step[1], step[0]))
                    else:
                        yield show(request.session_hash, step) if is_final else say(render_status(" ".join(step)))
            except Exception as error:
                yield refuse(error)

        return handle

    def add_data(session_id: str | None, *values: Any) -> Iterator[Any]:
        *place, name, text, pair, label, metric, written = values
        threshold = float(written) if isinstance(written, int | float) else None  # empty, or not shown
        columns = read_columns(text, pair, label)
        return bringing.add_data(session_id, read_place(*place), name, columns, str(metric or ""), threshold)

    def rename(request: gr.Request, rows: list[list[str]]) -> list[Any]:
        try:
            updates = show(request.session_hash, bringing.rename_labels(request.session_hash, rows))
            if updates[shown.index(panel.labels)] == rows:  # another cell may be written in by now
                updates[shown.index(panel.labels)] = gr.skip()
            return updates
        except FusionError as error:  # the table goes back to what is so
            return [*show(request.session_hash, [])[:-1], render_status(str(error), is_error=True)]
        except Exception as error:
            raise as_message(error) from None

    def connect(event: Any, handle: Callable, inputs: list[Any], name: str) -> None:
        chain(event(handle, inputs, shown, show_progress="hidden", concurrency_limit=32, api_name=name))

    if bringing.workspace.settings.demo_only:  # what is not wired has no endpoint either
        return Display(panel, shown, show)
    given_model = [panel.model, panel.model_files, panel.model_name, panel.token, panel.is_base]
    given_data = [*place_controls(panel), panel.domain_name, *column_controls(panel), panel.metric, panel.threshold]
    connect(panel.project.input, choosing, [panel.project], "choose_project")
    connect(panel.open_preset.click, stepping(bringing.open_preset), [panel.project, panel.token], "open_preset")
    connect(panel.add_model.click, stepping(bringing.add_model), given_model, "add_model")
    panel.check_model.click(
        stepping(bringing.check_model, is_final=False), [panel.model, panel.token], shown, show_progress="hidden",
        concurrency_limit=32, api_name="check_model",
    )  # fmt: skip
    connect(panel.labels.input, rename, [panel.labels], "rename_labels")
    connect(panel.add_domain.click, stepping(add_data), given_data, "add_data")
    given_statistics = [panel.statistics, panel.statistics_of]
    connect(panel.add_statistics.click, stepping(bringing.add_statistics), given_statistics, "add_statistics")
    connect(panel.remove.click, changing(bringing.remove), [panel.removed], "remove")
    connect(panel.heads.input, changing(bringing.change_heads), [panel.heads], "change_heads")
    _wire_search(panel, bringing)
    wire_data_hints(panel, bringing)
    return Display(panel, shown, show)


def _wire_search(panel: ProjectPanel, bringing: Bringing) -> None:
    """Search the hub while a model's name is typed."""

    def search(text: str) -> dict[str, Any]:
        try:
            found = bringing.search(text)
        except FusionError:  # no hub here: an exact name or a folder still works, and says so if it does not
            found = ()
        labels = [f"{m.repository} · {m.downloads:,} downloads · {m.likes:,} likes" for m in found]
        choices = [(label, model.repository) for label, model in zip(labels, found, strict=True)]
        return gr.update(choices=choices, value=None, visible=bool(choices))

    panel.model.input(
        search, panel.model, panel.found, trigger_mode="always_last", show_progress="hidden", api_visibility="private"
    )
    panel.found.input(lambda name: name, panel.found, panel.model, api_visibility="private", show_progress="hidden")
