"""A scaled-down GLUE: three experts of different tasks trained from one tiny base within seconds, and their text.

The text is generated and its answer is known: which kind of words a text holds (single label), which kind most of the
second text's words are (pairs), how many of its words are of a kind (regression).
"""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tiny_models import NUM_WORDS, tiny_bert, write_model
from torch.nn import functional

Rows = list[tuple[str, str, str]]
"""Text, second text or nothing, label."""
LABELS = {"sst": ("low", "high"), "rte": ("entailment", "not_entailment"), "stsb": ("similarity",)}


def _words(generator: random.Random, count: int, words: Sequence[int] = range(NUM_WORDS)) -> list[str]:
    return [f"w{i}" for i in generator.choices(words, k=count)]


def make_rows(task: str, count: int, seed: int) -> Rows:
    """Examples of a task."""
    generator, rows = random.Random(f"{task} {seed}"), dict[tuple[str, str], str]()
    while len(rows) < count:
        first = _words(generator, 4)
        if task == "sst":
            label = generator.randrange(2)
            half = range(NUM_WORDS // 2 * label, NUM_WORDS // 2 * (label + 1))
            rows[" ".join(_words(generator, 3, half) + first[:2]), ""] = LABELS[task][label]
            continue
        count_high = generator.choice((0, 4) if task == "rte" else range(5))
        high, low = range(NUM_WORDS // 2, NUM_WORDS), range(NUM_WORDS // 2)
        second = _words(generator, count_high, high) + _words(generator, 4 - count_high, low)
        generator.shuffle(second)
        label = f"{count_high + generator.random() / 10:.2f}" if task == "stsb" else LABELS["rte"][int(count_high < 2)]
        rows[" ".join(first), " ".join(second)] = label
    return [(first, second, label) for (first, second), label in rows.items()]


def write_rows(path: Path, rows: Rows) -> Path:
    """A CSV file with the columns text, label and, where there are pairs, pair."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        has_pairs = any(second for _, second, _ in rows)
        writer.writerow(["text", "label", *["pair"] * has_pairs])
        writer.writerows((first, label, *[second] * has_pairs) for first, second, label in rows)
    return path


def encode(folder: Path, rows: Rows) -> Any:
    """The examples as transformers' own tokenizer gives them."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    firsts, seconds = [row[0] for row in rows], [row[1] for row in rows]
    return tokenizer(firsts, seconds if any(seconds) else None, padding=True, return_tensors="pt")


def train_expert(folder: Path, task: str, base: dict[str, torch.Tensor], num_steps: int = 80) -> Path:
    """An expert of a task, from the base's encoder."""
    model: Any = tiny_bert(1, labels=LABELS[task])
    model.load_state_dict({name: tensor for name, tensor in base.items() if "classifier" not in name}, strict=False)
    write_model(folder, model)  # whose tokenizer is then read
    rows = make_rows(task, 160, seed=0)
    batch = encode(folder, rows)
    labels = [row[2] for row in rows]
    is_number = task == "stsb"
    targets = torch.tensor([float(label) if is_number else LABELS[task].index(label) for label in labels])
    torch.manual_seed(0)
    model.requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(num_steps):
        logits = model(**batch).logits
        loss = (
            functional.mse_loss(logits[:, 0], targets)
            if is_number
            else functional.cross_entropy(logits, targets.long())
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return write_model(folder, model.eval().requires_grad_(False))


def write_glue(folder: Path) -> dict[str, Path]:
    """Task -> its expert's directory; beside each ``NAME_calibrate.csv`` and ``NAME_report.csv``, and the base."""
    base = tiny_bert(0)
    write_model(folder / "base", base)
    for task in LABELS:
        write_rows(folder / f"{task}_calibrate.csv", make_rows(task, 64, seed=1))
        write_rows(folder / f"{task}_report.csv", make_rows(task, 60, seed=2))
    return {task: train_expert(folder / task, task, base.state_dict()) for task in LABELS}
