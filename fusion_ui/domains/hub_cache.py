"""Sentences of hub data sets kept on disk, so that what was read once is there without a network."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from fusion_ui.domains.domain import Domain
from fusion_ui.domains.hub import load_hub_domain
from fusion_ui.sources.files import mark_used, replace_file, trim_directory
from fusion_ui.sources.hub_errors import HubUnreachableError

PARTS = ("texts", "labels", "pairs", "notes")
MAX_BYTES = 512 << 20
"""Of all kept sentences together; those not used for longest go first."""


def read_hub_domain(cache: Path, repository: str, name: str, **options: Any) -> Domain:
    """`load_hub_domain`, and what it gave the last time where the hub cannot be reached.

    What was read with a token is found again with the same token alone.

    Args:
        cache: the directory of the kept sentences.
        options: as of `load_hub_domain`.

    Raises:
        DomainError, SourceError: as `load_hub_domain`.
    """
    key = json.dumps([repository, sorted((key, value) for key, value in options.items())], default=str)
    path = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    try:
        domain = load_hub_domain(repository, name, **options)
    except HubUnreachableError:
        if not path.is_file():
            raise
        kept = json.loads(path.read_text(encoding="ascii"))
        mark_used(path)
        texts, labels, pairs, notes = (tuple(kept[part]) for part in PARTS)
        return Domain(name, options.get("title") or name, kept["split"], texts, labels, pairs, notes)
    cache.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as temporary:  # in ASCII: text of the hub may hold what no encoding takes
        temporary.write_text(json.dumps({part: getattr(domain, part) for part in ("split", *PARTS)}), encoding="ascii")
    trim_directory(cache, MAX_BYTES, "*.json")
    return domain
