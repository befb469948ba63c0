"""What happens when a person asks how RegMean works: two weights of the project's own models are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import gradio as gr

from fusion_ui.merging.plan import MergePlan
from fusion_ui.merging.two_features import NUM_CANDIDATES, TwoFeatures, choose_layer, find_two_features, list_layers
from fusion_ui.plots.two_features import two_features_figure
from fusion_ui.progress import Progress
from fusion_ui.results.two_features import two_features_table
from fusion_ui.ui.curve_choice import MAIN
from fusion_ui.ui.long_work import LongWork, on_status_line
from fusion_ui.ui.panels.how import HowPanel
from fusion_ui.ui.render import render_status
from fusion_ui.ui.session import Session

HEADERS = ("", "first weight", "second weight", "error on {}", "error on {}", "both, weighted")


class Picturing(LongWork):
    """Handlers of the picture."""

    is_quick: ClassVar[bool] = True

    def draw(self, session_id: str | None, layer: str | None, first: str | None, second: str | None) -> Iterator[list]:
        """Status while a layer is read; at the end the lists, the figure, its numbers and what they are of."""
        session = self.find_session(session_id)
        plan = self.plan_of(session, MAIN[0])
        layers, names = list_layers(plan), [expert.name for expert in plan.experts]
        chosen = layer if layer in layers else choose_layer(plan)  # as after a change of project
        pair = _choose_two(first, second, names)

        def work(progress: Progress) -> TwoFeatures:
            return find_two_features(plan, self.workspace.settings, chosen, pair, progress)

        for status, picture in self.follow(session, self.rehearsed(session, MAIN[0], work)):
            if status:
                yield [status, *[gr.skip()] * 6]
                continue
            lists = [gr.update(choices=layers, value=chosen), *(gr.update(choices=names, value=name) for name in pair)]
            yield [_caption(picture, plan), *lists, *show(picture, _alpha(session)), picture]


def show(picture: TwoFeatures | None, alpha: Any) -> list[Any]:
    """Figure and numbers at a value of the slider; nothing before there is a picture, or for what is no such value."""
    if picture is None or not isinstance(alpha, int | float) or not 0 <= alpha <= 1:
        return [gr.skip(), gr.skip()]
    frame = two_features_table(picture, alpha)
    names = iter(picture.experts)
    headers = [header.format(next(names)) if "{}" in header else header for header in HEADERS]
    rows = [[what, *(f"{value:.4g}" for value in values)] for what, *values in frame.itertuples(index=False, name=None)]
    return [two_features_figure(picture, alpha), {"headers": headers, "rows": rows}]


def _alpha(session: Session) -> float:
    return dict(dict(session.request.parameters)[MAIN[0]])[MAIN[1]]


def _choose_two(first: str | None, second: str | None, known: list[str]) -> tuple[str, str]:
    one = first if first in known else next(iter(known), "")
    others = [name for name in known if name != one]
    return one, second if second in others else next(iter(others), "")


def _caption(picture: TwoFeatures, plan: MergePlan) -> dict[str, Any]:
    """Precisely what is drawn, and what is held fixed."""
    a, b = picture.features
    others = [expert.name for expert in plan.experts if expert.name not in picture.experts]
    return render_status(
        f"Output {picture.unit} of {picture.name}, and its weights of inputs {a} and {b} of {picture.width}: where "
        f"RegMean gains most on the mean, among the {NUM_CANDIDATES} inputs in which the two experts differ most.",
        None,
        f"All other weights stay at each expert's own values, so only these two cause error. For them the solution is "
        f"exact; the merge solves for all {picture.width} at once and may put these two elsewhere."
        + (f" Without {', '.join(others)}." if others else ""),
    )


def wire_how(panel: HowPanel, picturing: Picturing, slider: gr.Slider) -> None:
    """Connect the panel's events."""
    shown = [panel.status, panel.layer, panel.first, panel.second, panel.figure, panel.numbers, panel.picture]

    def draw(request: gr.Request, layer: str | None, first: str | None, second: str | None) -> Iterator[list[Any]]:
        yield from on_status_line(picturing.draw(request.session_hash, layer, first, second), len(shown))

    asked = [panel.draw.click, *(control.input for control in (panel.layer, panel.first, panel.second))]
    gr.on(
        asked, draw, [panel.layer, panel.first, panel.second], shown, show_progress="hidden", concurrency_limit=32,
        api_name="how_it_works",
    )  # fmt: skip
    slider.change(
        show, [panel.picture, slider], [panel.figure, panel.numbers], queue=False, show_progress="hidden",
        trigger_mode="always_last", api_visibility="private",
    )  # fmt: skip
