"""Wiring of the tabs "Pairs" and "Growth"."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from fusion_ui.ui.experiments import Experimenting
from fusion_ui.ui.handlers import as_message
from fusion_ui.ui.long_work import on_status_line
from fusion_ui.ui.panels.experiments import GrowthPanel, PairsPanel


def wire_experiments(
    pairs: PairsPanel,
    growth: GrowthPanel,
    experimenting: Experimenting,
    included: Sequence[gr.Checkbox],
    chain: Callable[[Any], None],
) -> Callable[[Any], None]:
    """Connect the panels' events.

    Args:
        included: which experts take part, which the list of the order follows.
        chain: what follows a change of project elsewhere on the page.

    Returns:
        The same, and that these tabs follow too.
    """
    quiet: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": 32}
    at_once: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
    shown = [[panel.status, panel.figure, panel.table] for panel in (pairs, growth)]

    def run_pairs(request: gr.Request, method: str, quantity: str, place: str) -> Iterator[list[Any]]:
        yield from on_status_line(experimenting.run_pairs(request.session_hash, method, quantity, place), 3)

    def run_growth(request: gr.Request, method: str, order: Any, has_ensemble: bool) -> Iterator[list[Any]]:
        yield from on_status_line(experimenting.run_growth(request.session_hash, method, order, has_ensemble), 3)

    def show(request: gr.Request, quantity: str, place: str) -> list[Any]:
        try:
            return experimenting.show_pairs(request.session_hash, quantity, place)
        except Exception as error:
            raise as_message(error) from None

    def follow(request: gr.Request, *values: Any) -> dict[str, Any]:
        *boxes, order = values
        return experimenting.order_of(request.session_hash, boxes, order)

    def stop_pairs(request: gr.Request) -> None:
        experimenting.stop(request.session_hash, "pairs")

    def stop_growth(request: gr.Request) -> None:
        experimenting.stop(request.session_hash, "growth")

    def follow_project(request: gr.Request, order: Any) -> list[Any]:
        return experimenting.follow_project(request.session_hash, order)

    view = [pairs.quantity, pairs.place]
    pairs.run.click(run_pairs, [pairs.method, *view], shown[0], **quiet, api_name="pairs")
    gr.on([pairs.quantity.input, pairs.place.input], show, view, [pairs.figure, pairs.table], **at_once)
    growth_inputs = [growth.method, growth.order, growth.has_ensemble]
    growth.run.click(run_growth, growth_inputs, shown[1], **quiet, api_name="growth")
    pairs.stop.click(stop_pairs, None, None, **at_once)
    growth.stop.click(stop_growth, None, None, **at_once)
    gr.on([box.change for box in included], follow, [*included, growth.order], growth.order, **at_once)

    def chain_both(event: Any) -> None:
        chain(event)
        event.success(follow_project, growth.order, [growth.order, *shown[0], *shown[1]], **at_once)

    return chain_both
