"""What happens when two models are held against each other, and when one model's confusion is looked at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from fusion_ui.errors import RecipeError
from fusion_ui.evaluation.answers import collect_logits
from fusion_ui.evaluation.confusion import Confusion, count_confusion
from fusion_ui.evaluation.flips import FlipReport, filter_flips, find_flips
from fusion_ui.plots.confusion import confusion_figure
from fusion_ui.progress import Progress
from fusion_ui.ui.contestants import contestant_choices, find_contestants
from fusion_ui.ui.handlers import as_message
from fusion_ui.ui.long_work import LongWork, on_status_line
from fusion_ui.ui.panels.flips import KIND_CHOICES, FlipsPanel, any_of
from fusion_ui.ui.panels.methods import MethodsPanel
from fusion_ui.ui.render import render_status
from fusion_ui.ui.render_flips import render_confusion_sentence, render_counts, render_flips, render_flips_sentence
from fusion_ui.ui.request import parse_pins

SPLIT = "report"
PAGE = 50
"""Flips shown at first, and more with each press."""
MAX_SEARCH = 200
"""Characters that are searched for at most."""


@dataclass(frozen=True)
class Found:
    """What the filters look through: the flips of two models, under the names that the page gives them."""

    report: FlipReport
    model: str
    other: str

    def draw(self, num: int, text: str = "", domain: str = "", label: str = "", kind: str = "") -> list[Any]:
        """The sentence above the table, the table, the button for more, and how many are shown."""
        kept = filter_flips(self.report.flips, text, domain, label, kind)
        titles = {counted.domain: counted.title for counted in self.report.domains}
        num_shown = min(num, len(kept))
        sentence = render_status(f"{num_shown:,} of {len(kept):,} shown" if kept else "No sentence is so.")
        table = render_flips(kept[:num_shown], titles, self.model, self.other)
        return [sentence, table, gr.update(visible=num_shown < len(kept)), num]


class HoldingAgainst(LongWork):
    """Handlers of flips and of confusion."""

    def find(self, session_id: str | None, model: Any, other: Any, text: Any = "") -> Iterator[list[Any]]:
        """Status while both models answer; at the end the counts, the lists to filter by, the flips, what is shown.

        Args:
            text: what is searched for already.
        """
        session = self.find_session(session_id)
        evaluation = self.handlers.evaluation(session.project, SPLIT)
        first, second = find_contestants(self.workspace, session.project, session.request, evaluation, (model, other))

        def work(progress: Progress) -> FlipReport:
            logits = collect_logits(first.answering, evaluation, progress.part(0, 0.5))
            return find_flips(logits, collect_logits(second.answering, evaluation, progress.part(0.5, 1)), evaluation)

        with self.workspace.turns.urgent():
            for status, report in self.follow(session, work):
                if status:
                    yield [status, *[gr.skip()] * 9]
                    continue
                found = Found(report, first.title, second.title)
                domains = any_of([(counted.title, counted.domain) for counted in report.domains])
                named = {flip.label for flip in report.flips} if evaluation.task.has_label_answers else ()
                labels = any_of([(label, label) for label in sorted(named)])
                lists = (gr.update(**properties) for properties in (domains, labels, any_of(KIND_CHOICES)))
                sentence = render_flips_sentence(report, first.title, second.title)
                drawn = found.draw(PAGE, str(text or "")[:MAX_SEARCH])
                yield [sentence, render_counts(report), *lists, found, *drawn]

    def confuse(self, session_id: str | None, model: Any, domain: Any) -> Iterator[list[Any]]:
        """Status while a model answers one domain; at the end the heat map."""
        session = self.find_session(session_id)
        evaluation = self.handlers.evaluation(session.project, SPLIT)
        encoded = next((d for d in evaluation.domains if d.domain.name == domain), None)
        if encoded is None:
            raise RecipeError(f"There is no domain {str(domain)[:80]!r} in this project any more. Choose another.")
        if not encoded.task.has_label_answers:
            sentence = f"{encoded.domain.title}: an answer is more than a label, so none is taken for another."
            yield [render_status(sentence), {}]
            return
        (who,) = find_contestants(self.workspace, session.project, session.request, evaluation, (model,))
        if domain not in who.answering:
            raise RecipeError(f"{encoded.domain.title} has no expert of its own. Choose another model.")
        if not who.answering[domain].answers(encoded):
            raise RecipeError(f"{who.title} is of another task than {encoded.domain.title}. Choose another model.")

        def work(progress: Progress) -> Confusion:
            alone = replace(evaluation, domains=(encoded,))
            logits = collect_logits({domain: who.answering[domain]}, alone, progress)
            return count_confusion(logits[domain], encoded)

        with self.workspace.turns.urgent():
            for status, found in self.follow(session, work):
                done = (render_confusion_sentence(found, who.title), confusion_figure(found)) if found else ()
                yield [status, gr.skip()] if status else [*done]

    def follow_settings(self, session_id: str | None, methods: Any, pins: Any, *current: Any) -> list[Any]:
        """The lists of models and domains under the page's settings; a choice that still stands stays."""
        session, chosen = self.handlers.sessions.get(session_id), methods if isinstance(methods, list) else []
        request = replace(session.request, methods=tuple(chosen), pins=parse_pins(pins or ()))
        return [gr.update(**properties) for properties in contestant_choices(session.project, request, current)]


def wire_flips(panel: FlipsPanel, holding: HoldingAgainst, methods: MethodsPanel, header: gr.HTML) -> None:
    """Connect the panel's events. `header` changes with the project."""
    filters = [panel.text, panel.domain, panel.label, panel.kind]
    table = [panel.shown, panel.flips, panel.more, panel.num_shown]
    outputs = [panel.status, panel.counts, *filters[1:], panel.found, *table]
    confusing, lists = [panel.confused, panel.confused_on], panel.lists

    def find(request: gr.Request, *values: Any) -> Iterator[list[Any]]:
        yield from on_status_line(holding.find(request.session_hash, *values), len(outputs))

    def confuse(request: gr.Request, model: Any, domain: Any) -> Iterator[list[Any]]:
        yield from on_status_line(holding.confuse(request.session_hash, model, domain), 2)

    def follow(request: gr.Request, *values: Any) -> list[Any]:
        try:
            return holding.follow_settings(request.session_hash, *values)
        except Exception as error:
            raise as_message(error) from None

    def widen(found: Found | None, num_shown: int, *chosen: Any) -> list[Any]:
        wanted = (str(value or "")[:MAX_SEARCH] for value in chosen)
        return found.draw(num_shown + PAGE, *wanted) if found else [gr.skip()] * len(table)

    def narrow(found: Found | None, *chosen: Any) -> list[Any]:
        return widen(found, 0, *chosen)

    def clear() -> list[Any]:
        empty = render_status("")
        return [render_status("The project has changed."), {}, None, empty, {}, gr.update(visible=False), 0, empty, {}]

    quiet: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": 32}
    inside: dict[str, Any] = quiet | {"api_visibility": "private", "trigger_mode": "always_last"}
    asked = [panel.model, panel.other, panel.text]
    found = panel.find.click(find, asked, outputs, **quiet, api_name="find_flips")
    drawn = [panel.confusion_status, panel.confusion]
    found.success(confuse, confusing, drawn, **quiet, api_visibility="private")
    gr.on(
        [c.input for c in confusing], confuse, confusing, drawn, **quiet, trigger_mode="always_last", api_name="confuse"
    )
    # Nothing but a person changes the text, whose `input` says nothing of one that is pasted whole.
    narrowing = [panel.text.change, *(control.input for control in filters[1:])]
    gr.on(narrowing, narrow, [panel.found, *filters], table, **inside)
    panel.more.click(widen, [panel.found, panel.num_shown, *filters], table, **inside)
    settings = [methods.methods.change, methods.pins.change, panel.tab.select, header.change]
    gr.on(settings, follow, [methods.methods, methods.pins, *lists], lists, **inside)
    header.change(clear, None, [panel.status, panel.counts, panel.found, *table, *drawn], **inside)
