"""A project and its settings as the end of a web address: compact JSON, base64url. Whoever opens it may be anybody."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from fusion_ui.errors import RecipeError
from fusion_ui.ui.request_json import Name, WrittenRequest, explain

MAX_LINK = 6_000
"""Characters. Longer ones do not survive every program that passes a link on."""


class Link(BaseModel):
    """What a link says."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = 1
    project: Name
    settings: WrittenRequest


def write_link(project: str, settings: dict[str, Any]) -> str:
    """The part of the address after ``#settings=``.

    Raises:
        RecipeError: the settings are too many for a link.
    """
    value = {"version": 1, "project": project, "settings": settings}
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    link = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    if len(link) > MAX_LINK:
        raise RecipeError("These settings are too many for a link. Take some pins away.")
    return link


def read_link(link: str) -> tuple[str, dict[str, Any]]:
    """The project and the settings of a link. Whether the project has such settings is not known yet.

    Raises:
        RecipeError: it is damaged, too long, or says what no link of this page says.
    """
    if len(link) > MAX_LINK:
        raise RecipeError(f"This link is longer than {MAX_LINK:,} characters. Nothing was changed.")
    try:
        text = base64.b64decode(link + "=" * (-len(link) % 4), altchars="-_", validate=True)
        found = Link.model_validate_json(text)
    except (binascii.Error, ValueError) as error:
        reason = f" ({explain(error)})" if isinstance(error, ValidationError) else ""
        raise RecipeError(
            f"This link is damaged or from another version{reason}. Nothing was changed; ask for the link again."
        ) from None
    return found.project, found.settings.model_dump()
