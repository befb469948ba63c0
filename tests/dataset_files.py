"""Files of data sets as the hub holds them."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

NAMES = ["negative", "positive"]
TEXTS = ("fine, really", "NA", "", 'a "quoted" word', "naïve ☕")
LABELS = (1, 0, 0, 1, 0)


def parquet(columns: Mapping[str, object], class_names: Mapping[str, list[str]] | None = None, **options) -> bytes:
    """A Parquet file, with the metadata that the library `datasets` writes for columns of classes."""
    table, buffer = pa.table(dict(columns)), io.BytesIO()
    if class_names:
        features = {name: {"names": names, "_type": "ClassLabel"} for name, names in class_names.items()}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def csv(separator: str = ",") -> bytes:
    return pd.DataFrame({"text": TEXTS, "label": LABELS}).to_csv(index=False, sep=separator).encode()


def json_rows() -> list[dict[str, object]]:
    return [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]


JSONL = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in json_rows()).encode()
EVERY_FORMAT = {
    "train.parquet": parquet({"text": TEXTS, "label": LABELS}),
    "train.csv": csv(),
    "train.tsv": csv("\t"),
    "train.jsonl": JSONL,
    "train.json": json.dumps(json_rows()).encode(),
    "lines/train.json": JSONL,
    "train.csv.gz": gzip.compress(csv()),
    "train.jsonl.gz": gzip.compress(JSONL),
}
CLASSES = """---
license: mit
dataset_info:
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': negative
          '1': positive
---
# A dataset
"""
