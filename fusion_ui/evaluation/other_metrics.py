"""What a score alone does not say: the task's other metrics of the same answers, and how much of the text was read."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from fusion_ui.evaluation.candidates import Candidate, Evaluation
from fusion_ui.evaluation.scores import DomainScore
from fusion_ui.progress import Progress


def score_otherwise(
    candidate: Candidate, evaluation: Evaluation, in_domain: Collection[str]
) -> dict[str, tuple[DomainScore, ...]]:
    """Domain name -> scores of the candidate's answers by every metric of the domain's task but its own."""
    logits = candidate.answer(evaluation, max(map(len, evaluation.domains), default=0), Progress())
    found = {}
    for encoded in candidate.answered(evaluation):
        name, metrics = encoded.domain.name, encoded.task.find_metrics(encoded.label_names)
        others = [replace(encoded, metric=metric) for metric in metrics if metric.name != encoded.metric.name]
        found[name] = tuple(candidate.score(other, logits[name], name in in_domain) for other in others)
    return found


def count_cut(evaluation: Evaluation) -> dict[str, int]:
    """Domain name -> how many of its texts have more tokens than models read; domains without such texts left out."""
    found = {}
    for encoded in evaluation.domains:
        choices = encoded.texts[0].choices if encoded.texts else ()  # which need room behind every text
        room = evaluation.tokenizer.max_tokens - max(map(len, choices), default=0)
        lengths = evaluation.tokenizer.count_tokens(encoded.domain.texts, encoded.domain.pairs)
        found[encoded.domain.name] = sum(length > room for length in lengths)
    return {name: count for name, count in found.items() if count}


def describe_cuts(evaluation: Evaluation) -> list[str]:
    """A sentence on each domain of which not all was read."""
    sizes, most = {d.domain.name: len(d) for d in evaluation.domains}, evaluation.tokenizer.max_tokens
    return [
        f"{name}: {count:,} of {sizes[name]:,} texts are longer than the {most:,} tokens that are read of each, and "
        "were cut. FUSION_UI_MAX_TOKENS_PER_TEXT is the limit, as far as the model itself reads."
        for name, count in count_cut(evaluation).items()
    ]
