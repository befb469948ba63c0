"""Layout and wiring of the page."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from fusion_ui.methods import METHODS, find_method
from fusion_ui.parameters import default_values
from fusion_ui.projects.building import MAX_EXPERTS
from fusion_ui.projects.project import Project
from fusion_ui.ui.bringing import Bringing
from fusion_ui.ui.controls import DOWNLOAD_CSV
from fusion_ui.ui.handlers import Handlers, as_message
from fusion_ui.ui.layers import Examining, wire_layers
from fusion_ui.ui.own_project import Chain, wire_project
from fusion_ui.ui.panels.fuse import MAIN, FusePanel, build_fuse_panel
from fusion_ui.ui.panels.layers import LayersPanel, build_layers_panel
from fusion_ui.ui.panels.methods import MethodsPanel, add_pin, build_methods_panel, follow_methods
from fusion_ui.ui.panels.models import ModelsPanel, build_models_panel
from fusion_ui.ui.panels.project import build_project_panel
from fusion_ui.ui.panels.takeaway import build_takeaway_panel
from fusion_ui.ui.request import FuseRequest, default_request, parse_pins
from fusion_ui.ui.takeaway import wire_takeaway
from fusion_ui.ui.taking_away import TakingAway
from fusion_ui.workspace import Workspace

HEADER = """<header><span class="logo">◈</span><h1>Fusion UI</h1><span class="project">{title}</span>
<span class="facts">{count} experts · one base · no training data needed</span></header>"""


# Requests travel side by side and may arrive in another order than they were sent: the last input says when it was.
STAMP = "(...values) => [...values.slice(0, -1), performance.timeOrigin + performance.now()]"


def describe_project(project: Project) -> str:
    """The header of the page."""
    return HEADER.format(title=html.escape(project.title), count=len(project.experts))


def build_app(workspace: Workspace, project: Project) -> gr.Blocks:
    """The page over a prepared project."""
    handlers, start = Handlers(workspace, project), default_request(project)
    # What is added to a project is copied to its visitor's folder, so what gradio received can go soon.
    with gr.Blocks(title="Fusion UI", analytics_enabled=False, fill_width=True, delete_cache=(600, 7200)) as app:
        header = gr.HTML(describe_project(project))
        with gr.Row():
            with gr.Column(scale=1, min_width=330, elem_id="controls"):
                own = build_project_panel(project, workspace.settings.allows_folders)
                models = build_models_panel(project, start)
                methods = build_methods_panel(project, start, MAIN)
            with gr.Column(scale=4, min_width=320):
                fuse = build_fuse_panel(project, start)
                with gr.Accordion("Look closer", open=False, elem_id="closer", elem_classes="card"), gr.Tabs():
                    layers = build_layers_panel(start)
                away = build_takeaway_panel(start)
        chain = _wire(app, handlers, models, methods, fuse, layers)
        bringing = Bringing(workspace, handlers.sessions, project)
        wire_takeaway(away, TakingAway(handlers), models, methods, fuse, chain)
        wire_project(own, models, methods, bringing, header, describe_project, chain)
    app.queue(max_size=64, default_concurrency_limit=4)
    return app


def _wire(
    app: gr.Blocks,
    handlers: Handlers,
    models: ModelsPanel,
    methods: MethodsPanel,
    fuse: FusePanel,
    layers: LayersPanel,
) -> Chain:
    """Every control writes the mailbox at once; then the job that reads it starts, the newest state last.

    Returns:
        A function that lets the evaluation follow a change of project.
    """
    parameters = {MAIN: fuse.slider, **methods.parameters}
    controls = [*models.included, *models.calibration, *models.weights, models.num_examples]
    controls += [methods.methods, methods.pins, methods.references, fuse.is_from_zero, *parameters.values()]
    stamp = gr.Number(visible=False)
    read = _reader(list(parameters))

    async def post(request: gr.Request, *values: Any) -> Any:
        *shown, sent = values
        try:
            state = read(tuple(shown), handlers.sessions.get(request.session_hash).project)
            handlers.post(state, request.session_hash, sent if isinstance(sent, int | float) else None)
            return await asyncio.to_thread(handlers.draw_known, request.session_hash)
        except Exception as error:
            raise as_message(error) from None

    def run(request: gr.Request) -> Iterator[Any]:
        yield from _guarded(handlers.run(request.session_hash))

    def fill_curve(request: gr.Request) -> Iterator[Any]:
        yield from _guarded(handlers.fill_curve(request.session_hash))

    def stop(request: gr.Request) -> Any:
        return handlers.stop(request.session_hash)

    def forget(request: gr.Request) -> None:
        handlers.sessions.forget(request.session_hash)

    drawing = [fuse.figure, fuse.curve, fuse.best, fuse.numbers, fuse.status]
    sliders = [
        fuse.slider,
        models.num_examples,
        *models.weights,
        *(c for c in parameters.values() if isinstance(c, gr.Slider)),
    ]
    triggers = [event for slider in dict.fromkeys(sliders) for event in (slider.input, slider.release)]
    triggers += [control.input for control in controls if not isinstance(control, gr.Slider)]
    controls = [*controls, stamp]
    at_once: dict[str, Any] = {"queue": False, "trigger_mode": "multiple", "show_progress": "hidden", "js": STAMP}
    in_turn: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden", "concurrency_id": "fuse"}
    idle = in_turn | {"concurrency_id": "idle", "concurrency_limit": 16, "api_visibility": "private"}

    def evaluate_after(posted: Any, **options: Any) -> None:
        ran = posted.success(run, None, drawing, **in_turn, concurrency_limit=4, **options)
        ran.success(fill_curve, None, [fuse.curve, fuse.best], **idle)

    evaluate_after(
        gr.on([app.load, *triggers], post, controls, fuse.figure, **at_once, api_name="post"), api_name="run"
    )
    fuse.stop.click(stop, None, fuse.status, queue=False, show_progress="hidden", api_visibility="private")
    fuse.download.click(None, fuse.numbers, None, js=DOWNLOAD_CSV)
    app.unload(forget)

    def post_after(event: Any) -> None:
        posted = event.success(post, controls, fuse.figure, **at_once, api_visibility="private")
        evaluate_after(posted, api_visibility="private")

    _wire_pins(methods, parameters, post_after)
    wire_layers(layers, Examining(handlers), fuse.slider, methods.methods, post_after)
    # A changed project has its settings in the session; what the browser shows then may still be the old one.
    return lambda event: evaluate_after(event, api_visibility="private")


def _reader(parameters: list[tuple[str, str]]) -> Callable[[tuple[Any, ...], Project], FuseRequest]:
    """A function from the controls' values, in the order of `_wire`, and the project they are about, to a request."""

    def read(values: tuple[Any, ...], project: Project) -> FuseRequest:
        names = [expert.name for expert in project.experts]
        included, calibration, weights = (values[i * MAX_EXPERTS : i * MAX_EXPERTS + len(names)] for i in range(3))
        num_examples, methods, pins, references, is_from_zero, *chosen = values[3 * MAX_EXPERTS :]
        by_method = read_parameters(parameters, chosen)
        return FuseRequest(
            experts=tuple(name for name, is_included in zip(names, included, strict=True) if is_included),
            calibration=tuple(zip(names, calibration, strict=True)),
            num_examples=num_examples,
            methods=tuple(methods or ()),
            references=tuple(references or ()),
            parameters=tuple((method, tuple(values.items())) for method, values in by_method.items()),
            is_from_zero=bool(is_from_zero),
            pins=parse_pins(pins or ()),
            # A control that was never shown holds nothing.
            weights=tuple((n, w) for n, w in zip(names, weights, strict=True) if w is not None and w != 1),
        )

    return read


def read_parameters(parameters: list[tuple[str, str]], values: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """Method -> its parameters, from the controls' values; a control that was never shown stands for its default."""
    by_method = {method.name: dict(default_values(method)) for method in METHODS}
    for (method, name), value in zip(parameters, values, strict=True):
        if value is not None:
            by_method[method][name] = value
    return by_method


def _wire_pins(methods: MethodsPanel, parameters: dict[tuple[str, str], Any], chain: Chain) -> None:
    """The options follow the methods that are compared; a pin keeps what the controls say now."""

    def pin(pins: list[str], method: str, *values: Any) -> Any:
        try:
            return add_pin(pins, method, read_parameters(list(parameters), values)[find_method(method).name])
        except Exception as error:
            raise as_message(error) from None

    at_once: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    shown = [*methods.options.values(), methods.pinned]
    gr.on([methods.methods.change], follow_methods, [methods.methods, methods.pinned], shown, **at_once)
    inputs = [methods.pins, methods.pinned, *parameters.values()]
    chain(methods.pin.click(pin, inputs, methods.pins, **at_once))


def _guarded(steps: Iterator[Any]) -> Iterator[Any]:
    try:
        yield from steps
    except Exception as error:
        raise as_message(error) from None
