"""Layout and wiring of the page."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Iterator
from typing import Any

import gradio as gr

from fusion_ui.methods import find_method
from fusion_ui.projects.project import Project
from fusion_ui.ui.bringing import Bringing
from fusion_ui.ui.controls import DOWNLOAD_CSV
from fusion_ui.ui.demo_only import DemoAlone
from fusion_ui.ui.experiment_events import wire_experiments
from fusion_ui.ui.experiments import Experimenting
from fusion_ui.ui.explaining import wire_explanations
from fusion_ui.ui.flips import HoldingAgainst, wire_flips
from fusion_ui.ui.guarding import receive_uploads
from fusion_ui.ui.handlers import Handlers, as_message
from fusion_ui.ui.history import Returning
from fusion_ui.ui.history_events import wire_history, wire_leaving, wire_settling
from fusion_ui.ui.how import Picturing, wire_how
from fusion_ui.ui.layers import Examining, wire_layers
from fusion_ui.ui.obstacles import wire_obstacles
from fusion_ui.ui.own_project import Chain, wire_project
from fusion_ui.ui.panels.exceptions import ExceptionsPanel, build_exceptions_panel
from fusion_ui.ui.panels.experiments import build_growth_panel, build_pairs_panel
from fusion_ui.ui.panels.flips import build_flips_panel
from fusion_ui.ui.panels.fuse import MAIN, FusePanel, build_fuse_panel
from fusion_ui.ui.panels.history import HistoryPanel, build_history_panel
from fusion_ui.ui.panels.how import HowPanel, build_how_panel
from fusion_ui.ui.panels.layers import LayersPanel, build_layers_panel
from fusion_ui.ui.panels.methods import MethodsPanel, add_pin, build_methods_panel, follow_methods
from fusion_ui.ui.panels.models import ModelsPanel, build_models_panel
from fusion_ui.ui.panels.project import build_project_panel
from fusion_ui.ui.panels.takeaway import build_takeaway_panel
from fusion_ui.ui.panels.toolbar import build_toolbar
from fusion_ui.ui.panels.try_it import build_try_it_panel
from fusion_ui.ui.placing import SettingControls
from fusion_ui.ui.reading import make_reader, read_parameters
from fusion_ui.ui.remembering import Remembering
from fusion_ui.ui.request import default_request
from fusion_ui.ui.resuming import wire_resuming
from fusion_ui.ui.searching import Searching, wire_curve
from fusion_ui.ui.takeaway import wire_takeaway
from fusion_ui.ui.taking_away import TakingAway
from fusion_ui.ui.try_it import Trying, wire_try_it
from fusion_ui.ui.waking import wire_waking
from fusion_ui.workspace import Workspace

HEADER = """<header><span class="logo">◈</span><h1>Fusion UI</h1><span class="project">{title}</span>
<span class="facts">{count} experts · one base · no training data needed</span></header>"""


# Requests travel side by side and may arrive in another order than they were sent: the last input says when it was.
STAMP = "(...values) => [...values.slice(0, -1), performance.timeOrigin + performance.now()]"


def describe_project(project: Project) -> str:
    """The header of the page."""
    return HEADER.format(title=html.escape(project.title), count=len(project.experts))


def build_app(workspace: Workspace, project: Project, handlers: Handlers | None = None) -> gr.Blocks:
    """The page over a prepared project."""
    handlers, start = handlers or Handlers(workspace, project), default_request(project)
    receive_uploads(handlers.sessions)
    is_demo_only = workspace.settings.demo_only
    # What is added to a project is copied to its visitor's folder, so what gradio received can go soon.
    with gr.Blocks(title="Fusion UI", analytics_enabled=False, fill_width=True, delete_cache=(600, 7200)) as app:
        toolbar = build_toolbar(describe_project(project))
        with gr.Row():
            with gr.Column(scale=1, min_width=330, elem_id="controls"):
                with gr.Column(visible=not is_demo_only):
                    own = build_project_panel(project, workspace.settings.allows_folders)
                models = build_models_panel(project, start)
                methods = build_methods_panel(project, start, MAIN)
                exceptions = build_exceptions_panel(project)
            with gr.Column(scale=4, min_width=320):
                fuse = build_fuse_panel(project, start)
                with gr.Accordion("Look closer", open=False, elem_id="closer", elem_classes="card"), gr.Tabs():
                    layers = build_layers_panel(start)
                    pairs, growth = build_pairs_panel(project), build_growth_panel(project, start)
                    flips = build_flips_panel(project, start)
                    try_it = build_try_it_panel()
                    how = build_how_panel()
                history = build_history_panel()
                away = build_takeaway_panel(project, start, workspace.settings)
        remembering = Remembering(handlers)
        chain = _wire(app, handlers, models, methods, exceptions, fuse, layers, how, remembering, history)
        wire_flips(flips, HoldingAgainst(handlers), methods, toolbar.facts)
        wire_try_it(try_it, Trying(handlers))
        chain = wire_experiments(pairs, growth, Experimenting(handlers), models.included, chain)
        bringing = (DemoAlone if is_demo_only else Bringing)(workspace, handlers.sessions, project)
        parameters = {MAIN: fuse.slider, **methods.parameters}
        others = SettingControls(
            models.num_examples,
            methods.references,
            methods.pins,
            fuse.is_from_zero,
            fuse.metric,
            exceptions,
            parameters,
        )
        display = wire_project(own, models, methods, others, bringing, toolbar.facts, describe_project, chain)
        wire_takeaway(away, TakingAway(handlers), methods, toolbar.facts, display, fuse.curve.parameter, chain)
        arrived = wire_history(app, toolbar, history, Returning(remembering, bringing, display), chain)
        wire_resuming(app, arrived, handlers.sessions, toolbar.said)
        wire_waking()
    app.queue(max_size=256, default_concurrency_limit=4)  # people wait in `ui.line`, where they see it
    return app


def _wire(
    app: gr.Blocks,
    handlers: Handlers,
    models: ModelsPanel,
    methods: MethodsPanel,
    exceptions: ExceptionsPanel,
    fuse: FusePanel,
    layers: LayersPanel,
    how: HowPanel,
    remembering: Remembering,
    history: HistoryPanel,
) -> Chain:
    """Every control writes the mailbox at once; then the job that reads it starts, the newest state last.

    Returns:
        A function that lets the evaluation follow a change of project.
    """
    parameters = {MAIN: fuse.slider, **methods.parameters}
    controls = [*models.included, *models.calibration, *models.weights, models.num_examples]
    controls += [
        methods.methods,
        methods.pins,
        methods.references,
        fuse.is_from_zero,
        fuse.metric,
        *exceptions.controls,
        *parameters.values(),
    ]
    stamp = gr.Number(visible=False)
    read = make_reader(list(parameters), len(exceptions.controls))

    async def post(request: gr.Request, *values: Any) -> Any:
        *shown, sent = values
        try:
            state = read(tuple(shown), handlers.sessions.get(request.session_hash).project)
            handlers.post(state, request.session_hash, sent if isinstance(sent, int | float) else None)
            return await asyncio.to_thread(handlers.draw_known, request.session_hash)
        except Exception as error:
            raise as_message(error) from None

    def run(request: gr.Request) -> Iterator[Any]:
        yield from _guarded(remembering.run(request.session_hash))

    def fill_curve(request: gr.Request) -> Iterator[Any]:
        yield from _guarded(handlers.fill_curve(request.session_hash))

    def stop(request: gr.Request) -> Any:
        return handlers.stop(request.session_hash)

    drawing = [fuse.figure, fuse.curve.figure, fuse.curve.best, fuse.numbers, fuse.status]
    sliders = [
        fuse.slider,
        models.num_examples,
        *models.weights,
        *exceptions.scaling.values(),
        *(c for c in parameters.values() if isinstance(c, gr.Slider)),
    ]
    triggers = [event for slider in dict.fromkeys(sliders) for event in (slider.input, slider.release)]
    triggers += [control.input for control in controls if not isinstance(control, gr.Slider)]
    controls = [*controls, stamp]
    at_once: dict[str, Any] = {"queue": False, "trigger_mode": "multiple", "show_progress": "hidden", "js": STAMP}
    in_turn: dict[str, Any] = {"trigger_mode": "always_last", "show_progress": "hidden", "concurrency_id": "fuse"}
    idle = in_turn | {"concurrency_id": "idle", "concurrency_limit": 16, "api_visibility": "private"}

    def evaluate_after(posted: Any, **options: Any) -> None:
        ran = posted.success(run, None, drawing, **in_turn, concurrency_limit=64, **options)
        fill_after(ran)
        wire_settling(ran, remembering, history)

    def fill_after(event: Any) -> None:
        event.success(fill_curve, None, [fuse.curve.figure, fuse.curve.best], **idle)

    evaluate_after(gr.on(triggers, post, controls, fuse.figure, **at_once, api_name="post"), api_name="run")
    fuse.stop.click(stop, None, fuse.status, queue=False, show_progress="hidden", api_visibility="private")
    fuse.download.click(None, fuse.numbers, None, js=DOWNLOAD_CSV)
    wire_leaving(app, remembering)

    def post_after(event: Any) -> None:
        posted = event.success(post, controls, fuse.figure, **at_once, api_visibility="private")
        evaluate_after(posted, api_visibility="private")

    _wire_pins(methods, parameters, post_after)
    wire_explanations(methods.methods, methods.about)
    wire_obstacles(handlers, models, methods)
    wire_how(how, Picturing(handlers), fuse.slider)
    wire_layers(layers, Examining(handlers), methods.methods)

    # A changed project has its settings in the session; what the browser shows then may still be the old one.
    def chain(event: Any) -> None:
        evaluate_after(event, api_visibility="private")

    wire_curve(fuse.curve, Searching(handlers), parameters, methods.methods, chain, fill_after)
    return chain


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
