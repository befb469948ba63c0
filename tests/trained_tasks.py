"""Two small experts a task, trained from one base within seconds on text with a known answer, and their text.

Each domain has words of its own, and what they mean is the same in both: how many of the second text's words are
"high" decides what is entailed (MNLI), whether two questions are one (QQP) and how similar two sentences are (STS-B);
a feeling is in a text if one of its words is. Of four feelings each expert knows three.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from glue_experts import Rows, encode, write_rows
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score
from tiny_models import tiny_bert, write_model
from torch.nn import functional

DOMAINS = ("books", "films")
WORDS = {"books": (range(0, 11), range(11, 22)), "films": (range(22, 33), range(33, 44))}
"""Domain -> its low words and its high ones."""
FEELINGS = {"anger": range(0, 10), "joy": range(10, 20), "fear": range(20, 30), "sadness": range(30, 40)}
FILLERS = range(40, 46)
NUM_REPORTED, NUM_STEPS = 80, 150


@dataclass(frozen=True)
class TrainedTask:
    """One shape of data.

    Attributes:
        labels: of each expert, in the order of its head.
        counts: how many of a second text's words may be high; none where there is no second text.
        metric: what the answers are scored by, as `fusion_ui` calls it.
    """

    name: str
    labels: tuple[tuple[str, ...], tuple[str, ...]]
    counts: tuple[int, ...]
    metric: str

    @property
    def is_number(self) -> bool:
        return self.metric == "pearson"

    @property
    def heads(self) -> str | None:
        return None if self.counts else "union"


NLI, ASKED = ("contradiction", "neutral", "entailment"), ("not_duplicate", "duplicate")
TRAINED = {
    task.name: task
    for task in (
        TrainedTask("mnli", (NLI, NLI[::-1]), (0, 2, 4), "accuracy"),  # not in one order: matched by name
        TrainedTask("qqp", (ASKED, ASKED), (0, 4), "macro_f1"),
        TrainedTask("stsb", (("similarity",), ("LABEL_0",)), (0, 1, 2, 3, 4), "pearson"),
        TrainedTask("feelings", (("anger", "joy", "fear"), ("joy", "sadness", "fear")), (), "macro_f1"),
    )
}


def make_task_rows(task: TrainedTask, domain: str, count: int, seed: int) -> Rows:
    """Examples, each once."""
    generator, rows = random.Random(f"{task.name} {domain} {seed}"), dict[tuple[str, str], str]()
    labels = task.labels[DOMAINS.index(domain)]
    while len(rows) < count:
        if not task.counts:
            felt = [label for label in sorted(labels) if generator.random() < 0.45]
            words = [generator.choice(FEELINGS[label]) for label in felt] + generator.choices(FILLERS, k=3)
            generator.shuffle(words)
            rows[" ".join(f"w{i}" for i in words), ""] = ", ".join(felt)
            continue
        low, high = WORDS[domain]
        num_high = generator.choice(task.counts)
        second = generator.choices(high, k=num_high) + generator.choices(low, k=4 - num_high)
        generator.shuffle(second)
        texts = (generator.choices([*low, *high], k=4), second)
        first, second = (" ".join(f"w{i}" for i in text) for text in texts)
        place = task.counts.index(num_high)
        # The first expert's order is the one in which the labels grow with the number of high words.
        rows[first, second] = f"{num_high + generator.random() / 10:.2f}" if task.is_number else task.labels[0][place]
    return [(first, second, label) for (first, second), label in rows.items()]


def _find_targets(task: TrainedTask, labels: tuple[str, ...], rows: Rows) -> torch.Tensor:
    if task.is_number:
        return torch.tensor([[float(row[2])] for row in rows])
    if task.counts:
        return torch.tensor([labels.index(row[2]) for row in rows])
    return torch.tensor([[float(label in row[2].split(", ")) for label in labels] for row in rows])


def train_expert(folder: Path, task: TrainedTask, expert: int, base: dict[str, torch.Tensor]) -> Path:
    labels = task.labels[expert]
    model: Any = tiny_bert(1, labels=labels, hidden_size=base["bert.pooler.dense.bias"].shape[0])
    model.load_state_dict({name: tensor for name, tensor in base.items() if "classifier" not in name}, strict=False)
    if not task.counts:
        model.config.problem_type = "multi_label_classification"
    write_model(folder, model)  # whose tokenizer is then read
    rows = make_task_rows(task, DOMAINS[expert], 200, seed=0)
    batch, targets = encode(folder, rows), _find_targets(task, labels, rows)
    lose: Any = functional.mse_loss if task.is_number else functional.cross_entropy
    if not task.counts:
        lose = functional.binary_cross_entropy_with_logits
    model.requires_grad_(True)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(NUM_STEPS):
        optimizer.zero_grad()
        lose(model(**batch).logits, targets).backward()
        optimizer.step()
    return write_model(folder, model.eval().requires_grad_(False))


def write_task(folder: Path, task: TrainedTask) -> Path:
    """The base, both experts under their domains' names, and their text for calibration and for the report."""
    base = tiny_bert(0)
    write_model(folder / "base", base)
    for i, domain in enumerate(DOMAINS):
        write_rows(folder / f"{domain}_calibrate.csv", make_task_rows(task, domain, 64, seed=1))
        write_rows(folder / f"{domain}_report.csv", make_task_rows(task, domain, NUM_REPORTED, seed=2))
        train_expert(folder / domain, task, i, base.state_dict())
    return folder


def score_by_script(task: TrainedTask, directory: Path, domain: str) -> float:
    """The metric of a model directory by transformers and scikit-learn or scipy alone, labels by their names."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(directory)
    rows = make_task_rows(task, domain, NUM_REPORTED, seed=2)
    with torch.inference_mode():
        logits = model(**encode(directory, rows)).logits
    names = [model.config.id2label[i] for i in range(logits.shape[1])]
    if task.is_number:
        return float(pearsonr(logits[:, 0].double(), [float(row[2]) for row in rows]).statistic)
    if not task.counts:
        truth = np.array([[name in row[2].split(", ") for name in names] for row in rows])
        # A label that no text has and none is given says nothing.
        return float(f1_score(truth, (logits.sigmoid() > 0.5).numpy(), average="macro", zero_division=np.nan))
    said, truth = [names[i] for i in logits.argmax(-1).tolist()], [row[2] for row in rows]
    return float(accuracy_score(truth, said) if task.metric == "accuracy" else f1_score(truth, said, average="macro"))
