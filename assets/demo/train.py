"""Train the demo's experts: one adapter a domain and one on all four, from the same base and the same head.

    python assets/demo/train.py                       adapters as shipped, written beside this file
    python assets/demo/train.py --full --out DIR      full fine-tuning (embeddings frozen), for comparison
    python assets/demo/train.py --search              the recipes tried, judged on *select*

Nothing here reads the report split before training has ended: recipes are compared on *select*, and the report
accuracy is measured once for the model card.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import pandas as pd
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

from fusion_ui.progress import Progress
from fusion_ui.projects.corpus import read_rated_sentences, split_sentences
from fusion_ui.projects.demo import fetch_base, fetch_text, read_manifest, write_base
from fusion_ui.settings import read_settings

HERE = Path(__file__).resolve().parent
LINEARS = ["query", "key", "value", "dense"]
ADAPTER = {"learning_rate": 1e-3, "num_epochs": 3, "rank": 16}
FULL = {"learning_rate": 1e-4, "num_epochs": 2}
BATCH_SIZE = 32


def train(model, tokenizer, frame, labels, learning_rate, num_epochs, seed):
    """Fine-tune in place with AdamW, linear decay and batches of similar length; return the seconds it took."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.01)
    num_batches = -(-len(frame) // BATCH_SIZE)
    schedule = get_linear_schedule_with_warmup(optimizer, num_batches * num_epochs // 10, num_batches * num_epochs)
    texts, targets = frame["text"].tolist(), [labels.index(label) for label in frame["label"]]
    lengths = [len(text) for text in texts]
    model.train()
    started = time.perf_counter()
    for _ in range(num_epochs):
        noise = torch.rand(len(texts), generator=generator) * 20
        order = sorted(range(len(texts)), key=lambda i: lengths[i] + noise[i].item())
        batches = [order[i : i + BATCH_SIZE] for i in range(0, len(order), BATCH_SIZE)]
        for b in torch.randperm(len(batches), generator=generator).tolist():
            inputs = tokenizer(
                [texts[i] for i in batches[b]], truncation=True, max_length=128, padding=True, return_tensors="pt"
            )
            loss = model(**inputs, labels=torch.tensor([targets[i] for i in batches[b]])).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    return time.perf_counter() - started


@torch.inference_mode()
def accuracy(model, tokenizer, frame, labels):
    """Share of sentences whose most probable label is the human one."""
    model.eval()
    frame = frame.assign(length=frame["text"].str.len()).sort_values("length")
    num_correct = 0
    for start in range(0, len(frame), 64):
        part = frame.iloc[start : start + 64]
        inputs = tokenizer(part["text"].tolist(), truncation=True, max_length=128, padding=True, return_tensors="pt")
        predicted = model(**inputs).logits.argmax(-1).tolist()
        num_correct += sum(labels[p] == y for p, y in zip(predicted, part["label"], strict=True))
    return num_correct / len(frame)


def start_model(base, full, rank=16):
    """The base with the shared head: everything but the embeddings trainable, or adapters on every linear layer."""
    model = AutoModelForSequenceClassification.from_pretrained(base, use_safetensors=True, trust_remote_code=False)
    if full:
        for parameter in model.bert.embeddings.parameters():
            parameter.requires_grad_(False)
        return model
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        lora_dropout=0.0,
        target_modules=LINEARS,
        modules_to_save=["classifier"],
        task_type="SEQ_CLS",
    )
    return get_peft_model(model, config)


CARD = """---
library_name: peft
base_model: {base}
license: apache-2.0
---
# {title}

{kind} of `{base}` for sentiment (negative / positive), one part of the demo project "{project}".

- Data: {data}. {num_train} training sentences, label = sign of the mean human rating, |rating| >= {minimum}.
- Recipe, chosen on the *select* split: {recipe}, batch size {batch}, AdamW, linear decay, embeddings frozen.
- Seed {seed}; the head starts from the same values in every expert. Training took {seconds:.0f} s on two shared cores.

| domain | select accuracy ({num_select}) | report accuracy ({num_report}) |
|---|---|---|
{rows}

Reproduce: `python assets/demo/train.py`.
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--search", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    manifest, settings = read_manifest(HERE), read_settings()
    labels, seed = manifest["label_names"], manifest["seed"]
    text = fetch_text(manifest, settings, Progress())
    data = {}
    for entry in manifest["domains"]:
        frame = read_rated_sentences(text / entry["file"], labels, manifest["minimum_rating"])
        data[entry["name"]] = split_sentences(frame, manifest["splits"], seed)
    jobs = {name: splits["train"] for name, splits in data.items()}
    jobs["multitask"] = pd.concat(jobs.values(), ignore_index=True)
    with tempfile.TemporaryDirectory() as base:
        write_base(manifest, fetch_base(manifest, settings, Progress()), Path(base))
        tokenizer = AutoTokenizer.from_pretrained(base)
        if options.search:
            for name in options.only or ["products", "news"]:
                for recipe in [(5e-4, 3), (1e-3, 2), (1e-3, 3), (2e-3, 3)]:
                    model = start_model(base, full=False)
                    seconds = train(model, tokenizer, jobs[name], labels, *recipe, seed)
                    score = accuracy(model, tokenizer, data[name]["select"], labels)
                    print(json.dumps({"name": name, "recipe": recipe, "select": score, "seconds": seconds}), flush=True)
            return
        recipe = FULL if options.full else ADAPTER
        for name, frame in jobs.items():
            if options.only and name not in options.only:
                continue
            model = start_model(base, options.full)
            seconds = train(model, tokenizer, frame, labels, recipe["learning_rate"], recipe["num_epochs"], seed)
            scores = {
                d: [accuracy(model, tokenizer, s[k], labels) for k in ("select", "report")] for d, s in data.items()
            }
            print(json.dumps({"name": name, "seconds": seconds, "scores": scores}), flush=True)
            write_model(model, name, options, manifest, recipe, seconds, scores, len(frame))


def write_model(model, name, options, manifest, recipe, seconds, scores, num_train):
    """Write adapter or model with its card into a fresh directory that replaces the old one."""
    out = options.out / name
    shutil.rmtree(out, ignore_errors=True)
    if not options.full:
        model.peft_config["default"].base_model_name_or_path = manifest["base"]["hub"]["repository"]
    model.save_pretrained(out)
    titles = {d["name"]: d["title"] for d in manifest["domains"]}
    data = titles.get(name, "all four domains")
    card = CARD.format(
        base=manifest["base"]["hub"]["repository"],
        title=titles.get(name, "Multi-task model"),
        kind="Full fine-tune" if options.full else f"Rank-{recipe['rank']} adapter",
        project=manifest["title"],
        data=f"{data} of {manifest['text']['title']}",
        num_train=num_train,
        minimum=manifest["minimum_rating"],
        recipe=f"learning rate {recipe['learning_rate']:g}, {recipe['num_epochs']} epochs",
        batch=BATCH_SIZE,
        seed=manifest["seed"],
        seconds=seconds,
        num_select=manifest["splits"]["select"],
        num_report=manifest["splits"]["report"],
        rows="\n".join(f"| {titles[d]} | {s:.1%} | {r:.1%} |" for d, (s, r) in scores.items()),
    )
    (out / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
