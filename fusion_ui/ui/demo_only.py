"""A page for strangers that shows its built-in project alone: nothing is brought, fetched or pushed."""

from __future__ import annotations

from typing import Any, NoReturn

from fusion_ui.errors import SettingsError
from fusion_ui.projects.project import Project
from fusion_ui.ui.bringing import Bringing

REFUSAL = (
    "This page shows its built-in project alone, without uploads, the hub or folders. "
    "Run Fusion UI yourself to use your own models and data."
)


class DemoAlone(Bringing):
    """`Bringing` that refuses whatever would bring something, however it is asked."""

    def choose(self, session_id: str | None, name: str) -> Project:
        """Show the demo.

        Raises:
            SettingsError: another project is asked for.
        """
        self.check_place(name)
        return super().choose(session_id, name)

    def check_place(self, name: str) -> None:
        """Raise `SettingsError` unless `name` is that of the demo."""
        if name != self.demo.name:
            refuse()

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        refuse()

    search = check_model = add_model = weigh_preset = open_preset = _refuse
    rename_labels = change_heads = remove = _refuse
    look_at = preview = summarise = add_data = add_statistics = _refuse


def refuse() -> NoReturn:
    """Say that this page does not do that.

    Raises:
        SettingsError: always.
    """
    raise SettingsError(REFUSAL)
