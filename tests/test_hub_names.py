"""What is the name of a hub repository or of a revision, and what is refused before anything is asked."""

from __future__ import annotations

import pytest

from fusion_ui.errors import SourceError
from fusion_ui.sources.hub import describe_model, download_model, is_repository_id


@pytest.mark.parametrize(
    "text",
    (
        *("private", "text", "/etc", "/etc/passwd", "../x", "a/../b", "./a", "a/b/c", "", "a/", "/a", "a b/c", "a/b\n"),
        *("~/model", "C:\\x", "hf://a/b", "https://x.y/z", "a--b/c", "é/b", ".hidden/x", "a/b.", "a" * 97 + "/b"),
    ),
)
def test_what_is_not_owner_and_name_is_refused_before_anything_is_asked(hub, text):
    assert not is_repository_id(text)
    for use in (describe_model, lambda name: download_model(name, None)):
        with pytest.raises(SourceError, match=r"is not the name of a hub repository. Give it as owner/name"):
            use(text)
    assert hub.requests == []


@pytest.mark.parametrize("revision", ["../../x", "/etc/hostname", "a b", "", "-x"])
def test_a_revision_is_never_a_path(hub, revision):
    with pytest.raises(SourceError, match=r"is not a revision. Give a branch, tag or commit"):
        download_model("owner/model", revision)
    assert hub.requests == []


def test_names_of_real_repositories_are_accepted():
    for name in ("distilbert/distilbert-base-uncased", "a/b", "01-ai/Yi-1.5_x", "owner/v1.0", "x/_private"):
        assert is_repository_id(name), name
