"""Models from the hub: searched, described from their headers, and downloaded; with the visitor's token or none."""

from __future__ import annotations

from fusion_ui.sources.hub_access import check_repository_id, hub_endpoint, is_repository_id
from fusion_ui.sources.hub_describe import RemoteModel, describe_model
from fusion_ui.sources.hub_download import download_model, find_cached_model
from fusion_ui.sources.hub_search import HubModel, search_models

__all__ = [
    "HubModel",
    "RemoteModel",
    "check_repository_id",
    "describe_model",
    "download_model",
    "find_cached_model",
    "hub_endpoint",
    "is_repository_id",
    "search_models",
]
