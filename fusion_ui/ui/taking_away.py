"""What happens when a person takes something along: a zip, a push, a recipe, a report."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from fusion_ui.errors import RecipeError
from fusion_ui.merging.mergekit import mergekit_yaml
from fusion_ui.merging.pinning import pinned_recipe, portable_recipe, slugify
from fusion_ui.merging.plan import MergePlan
from fusion_ui.merging.preflight import format_bytes
from fusion_ui.merging.recipe import MergeRecipe
from fusion_ui.progress import Progress
from fusion_ui.projects.measures import measure_by
from fusion_ui.projects.origins import name_origins
from fusion_ui.projects.project import read_split
from fusion_ui.takeaway.exporting import Scoring
from fusion_ui.takeaway.packing import pack, push
from fusion_ui.ui.demo_only import refuse
from fusion_ui.ui.handing_out import handing_out
from fusion_ui.ui.long_work import LongWork
from fusion_ui.ui.recipes import apply_recipe, read_uploaded
from fusion_ui.ui.render import render_status
from fusion_ui.ui.reporting import SPLIT, report_page
from fusion_ui.ui.session import Session


class TakingAway(LongWork):
    """Handlers of the panel. Texts become files in the browser; only the model is a file here."""

    def plan_of_setting(self, session: Session, name: str) -> MergePlan:
        """The merge called `name` among the methods and pinned settings, its models named by where they came from.

        Raises:
            RecipeError: there is none of that name now.
        """
        setting = next((s for s in session.request.settings if s.name == name), None)
        if setting is None:
            raise RecipeError("This merge is not compared any more. Choose one of the list.")
        recipe = session.request.recipe(session.project, setting.method, setting.parameters)
        return name_origins(self.workspace.plan(recipe), session.project)

    def scoring_of(self, session: Session) -> Scoring:
        """The project's report split, and whose own each domain is."""
        measured = measure_by(session.project, session.request.metric)
        domains = tuple(read_split(domain, SPLIT) for domain in measured.domains)
        return Scoring(domains, {e.domain: e.name for e in session.project.experts if e.domain})

    def stop(self, session_id: str | None) -> None:
        """Stop the export or push, and nothing else that runs for the visitor."""
        self.handlers.sessions.get(session_id).stop_fetches(self.label)

    def make_zip(self, session_id: str | None, name: str) -> Iterator[list[Any]]:
        """Status while the model is exported, scored and packed; at the end the button that downloads it."""
        session = self.find_session(session_id)
        now, folder = session.snapshot(), self.handlers.sessions.folder_of(session)
        plan = self.plan_of_setting(now, name)

        def work(progress: Progress) -> Path:
            with handing_out(session) as place:
                out = place / f"{slugify(plan.method.name)}-merge.zip"
                pack(self.workspace, plan, out, self.scoring_of(now), folder, progress)
                progress.check()  # the visitor may have left
                return out

        yield [render_status("Exporting", 0.0), gr.skip()]
        for status, out in self.follow(session, work):
            if status:
                yield [status, gr.skip()]
                continue
            size = format_bytes(out.stat().st_size)
            said = f"{plan.title}: {size}, ready to download for two hours, or until you leave or make another."
            yield [render_status(said), gr.update(value=str(out), visible=True, label=f"Download, {size}")]

    def push(
        self, session_id: str | None, name: str, repository: str, is_private: bool, token: str
    ) -> Iterator[list[Any]]:
        """Status while the model is exported, scored and pushed; the token's box is emptied at once."""
        if self.workspace.settings.demo_only:
            refuse()
        session = self.find_session(session_id)
        now, folder = session.snapshot(), self.handlers.sessions.folder_of(session)
        plan = self.plan_of_setting(now, name)
        given = str(token or "")

        def work(progress: Progress) -> str:
            return push(
                self.workspace, plan, str(repository or "").strip(), given, is_private=is_private is not False,
                scoring=self.scoring_of(now), folder=folder, progress=progress,
            )  # fmt: skip

        yield [render_status("Exporting", 0.0), ""]
        for status, address in self.follow(session, work):
            yield [status or render_status(f"{plan.title} is at {address}."), gr.skip()]

    def save_recipe(self, session_id: str | None, name: str) -> list[Any]:
        """recipe.json, on a public page without its machine's paths."""
        recipe = self._recipe(session_id, name)
        text = json.dumps(recipe.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
        return _save("recipe.json", "application/json", text)

    def save_mergekit(self, session_id: str | None, name: str) -> list[Any]:
        """The recipe for mergekit."""
        return _save("mergekit.yml", "application/yaml", mergekit_yaml(self._recipe(session_id, name)))

    def save_report(self, session_id: str | None, name: str) -> list[Any]:
        """The report of what is on the page now."""
        now = self.find_session(session_id).snapshot()
        text = report_page(self.handlers, now, self.plan_of_setting(now, name), name)
        return _save("fusion-ui-report.html", "text/html", text)

    def open_recipe(self, session_id: str | None, path: str | None) -> None:
        """Put what a recipe asks into the visitor's mailbox."""
        if self.workspace.settings.demo_only:
            refuse()
        session = self.find_session(session_id)
        if not path:
            raise RecipeError("Choose a recipe.json first.")
        request = apply_recipe(read_uploaded(Path(path)), session.project, session.request)
        request.check(session.project)
        session.post(request)

    def _recipe(self, session_id: str | None, name: str) -> MergeRecipe:
        recipe = pinned_recipe(self.plan_of_setting(self.find_session(session_id), name))
        return recipe if self.workspace.settings.allows_folders else portable_recipe(recipe)


def _save(name: str, kind: str, text: str) -> list[Any]:
    """The status line, and a text that the browser saves; the stamp makes the same file again a change."""
    return [render_status(f"Saved {name}."), {"name": name, "type": kind, "text": text, "stamp": time.time_ns()}]
