"""What a person sees of a hub data set before it is added."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from dataset_files import CLASSES, EVERY_FORMAT, NAMES, csv, parquet

from fusion_ui.domains.hub import load_hub_domain
from fusion_ui.domains.hub_preview import MAX_COLUMNS, preview_hub_domain
from fusion_ui.errors import DomainError, SourceUnavailableError

TOKEN = "hf_ofTheVisitor"


@pytest.mark.parametrize("path", EVERY_FORMAT)
def test_every_format_shows_rows_and_guessed_columns(hub, path):
    hub.add_dataset("owner/data", {path: EVERY_FORMAT[path], "README.md": CLASSES.encode()})
    seen = preview_hub_domain("owner/data")
    assert seen.columns == ("text", "label")
    assert seen.rows[0] == ("fine, really", "positive") and len(seen.rows) == 5, "classes go by their names"
    assert (seen.guess.text_columns, seen.guess.label_column) == (("text",), "label")
    assert seen.num_by_label == {}
    assert seen.num_rows == (5 if path.endswith("parquet") else None)


def test_the_preview_is_of_the_configuration_and_split_that_are_asked_for(hub):
    columns = {"premise": ["a"], "hypothesis": ["b"], "id": [7], "scores": [[1, 2]], "picture": [b"\xff"], "label": [1]}
    card = "---\ndataset_info:\n- config_name: nli\n  splits:\n  - {name: dev, num_examples: 1234}\nconfigs:\n"
    card += "- config_name: other\n  data_files: x.csv\n- config_name: nli\n  data_files:\n"
    card += "  - {split: dev, path: d-*.parquet}\n---\n"
    files = {f"d-{i}.parquet": parquet(columns, {"label": NAMES}) for i in range(2)}
    hub.add_dataset("owner/data", files | {"x.csv": csv(), "README.md": card.encode()})
    seen = preview_hub_domain("owner/data", "nli", "dev")
    assert seen.columns == ("premise", "hypothesis", "id", "scores", "label"), "bytes are neither text nor label"
    assert seen.rows == (("a", "b", "7", "1 2", "positive"),) and seen.num_rows == 1234
    assert (seen.guess.text_columns, seen.guess.label_column) == (("premise", "hypothesis"), "label")
    assert preview_hub_domain("owner/data", "nli").rows == seen.rows
    with pytest.raises(DomainError, match="has several configurations; choose one"):
        preview_hub_domain("owner/data")
    with pytest.raises(DomainError, match="has no split 'train'"):
        preview_hub_domain("owner/data", "nli", "train")
    hub.add_dataset("owner/empty", {"train.csv": b"text,label\n"})
    with pytest.raises(DomainError, match="has no rows in its split train"):
        preview_hub_domain("owner/empty")


def test_what_a_preview_guesses_can_be_loaded(hub):
    rows = [{"review": f"good {i}", "stars": i % 5, "more": {"a": 1}} for i in range(50)]
    hub.add_dataset("owner/data", {"train.jsonl": "\n".join(map(json.dumps, rows)).encode()})
    guess = preview_hub_domain("owner/data").guess
    domain = load_hub_domain(
        "owner/data", "d", text_column=guess.text_columns[0], label_column=guess.label_column, num_examples=10
    )
    assert len(domain.texts) == 10 and "more" not in preview_hub_domain("owner/data").columns


def test_a_preview_of_a_large_data_set_fetches_little(hub):
    texts = [f"{i} " * 300 for i in range(20_000)]
    columns = {f"column {i}": [f"{i}"] * 20_000 for i in range(40)} | {"text": texts, "label": [0, 1] * 10_000}
    content = parquet(columns, row_group_size=20_000, use_dictionary=False, compression="none")
    hub.add_dataset("owner/large", {"train.parquet": content})
    seen = preview_hub_domain("owner/large")
    assert len(seen.columns) == MAX_COLUMNS and seen.columns[-2:] == ("text", "label") and seen.num_rows == 20_000
    assert hub.num_bytes < 5_000_000 < len(content) / 4, hub.num_bytes
    assert len(hub.requests) < 40
    large = pd.DataFrame({"text": texts, "label": 1}).to_csv(index=False).encode()
    hub.add_dataset("owner/csv", {"train.csv": large})
    hub.requests.clear()
    assert len(preview_hub_domain("owner/csv").rows) == 5 and hub.num_bytes < 1_500_000 < len(large) / 4


def test_gated_data_sets_are_previewed_with_the_visitors_token_alone(hub):
    hub.add_dataset("owner/gated", {"train.csv": csv()}, gated_token=TOKEN)
    with pytest.raises(SourceUnavailableError, match=r"owner/gated is gated\. Accept its licence at .*, make a token"):
        preview_hub_domain("owner/gated")
    with pytest.raises(SourceUnavailableError, match="The given token has no access to it yet"):
        preview_hub_domain("owner/gated", token="hf_wrong")
    hub.requests.clear()
    assert preview_hub_domain("owner/gated", token=TOKEN).columns == ("text", "label")
    assert hub.tokens == {TOKEN}
