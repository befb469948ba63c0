"""Finding models on the hub by a few words."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any

from fusion_ui.sources.hub_access import check_token, hub_endpoint, is_repository_id, make_api
from fusion_ui.sources.hub_errors import ask_hub

CLASSIFIERS = "text-classification"
MAX_RESULTS = 100
_FIELDS = ["downloads", "likes", "pipeline_tag", "gated"]


@dataclass(frozen=True)
class HubModel:
    """One line of a search.

    Attributes:
        repository: ``owner/name``.
        downloads: of the last 30 days.
        likes: of all time.
        task: what the hub says the model does, such as ``text-classification``; empty where it does not say.
        is_gated: its licence must be accepted on the hub before its files can be had.
    """

    repository: str
    downloads: int
    likes: int
    task: str
    is_gated: bool


def search_models(text: str, limit: int = 10, token: str | None = None) -> tuple[HubModel, ...]:
    """Models whose names hold `text`: text classifiers first, then the others, each by downloads.

    Args:
        limit: at most so many, at most 100.
        token: the visitor's own, which also shows their private models.

    Raises:
        SourceUnavailableError: the hub cannot be reached or does not accept the token.
    """
    from huggingface_hub.utils import get_session

    api, limit = make_api(token), min(max(limit, 1), MAX_RESULTS)
    search = text.strip()[:100] or None

    def probe() -> None:
        # The client asks for lists six times over 23 s before it gives up; a person who searches should know at once.
        get_session().head(f"{hub_endpoint()}/api/models", params={"limit": 1})

    def find(task: str | None) -> list[Any]:
        found = api.list_models(search=search, pipeline_tag=task, sort="downloads", limit=limit, expand=_FIELDS)
        return list(found)

    has_token = check_token(token) is not False
    ask_hub("list of models", has_token, probe)
    classifiers = ask_hub("list of models", has_token, lambda: find(CLASSIFIERS))
    others = []
    if len(classifiers) < limit:  # a second question only where the first left room
        others = ask_hub("list of models", has_token, lambda: find(None))
    # Models from the hub's first years have no owner; they cannot be told from a directory and are not offered.
    found = {info.id: info for info in chain(others, classifiers) if is_repository_id(info.id)}
    models = [
        HubModel(info.id, info.downloads or 0, info.likes or 0, info.pipeline_tag or "", bool(info.gated))
        for info in found.values()
    ]
    models.sort(key=lambda model: (model.task != CLASSIFIERS, -model.downloads, model.repository))
    return tuple(models[:limit])
