"""Every answer of a model, or of several of which each answers some domains: what flips are counted on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fusion_ui.evaluation.candidates import Candidate, Evaluation
from fusion_ui.evaluation.stream import Logits
from fusion_ui.progress import Progress


def collect_logits(answering: Mapping[str, Candidate], evaluation: Evaluation, progress: Progress) -> Logits:
    """Logits of every example of the domains in `answering`. What is known is not computed again.

    Args:
        answering: domain name -> who answers it.
        progress: told how many sentences are done, out of all.

    Raises:
        StoppedError: `progress` was stopped; what was computed is kept.
    """
    found: Logits = {}
    total = sum(len(d) for d in evaluation.domains if d.domain.name in answering)
    for candidate in {id(candidate): candidate for candidate in answering.values()}.values():
        named = tuple(d for d in evaluation.domains if len(d) and answering.get(d.domain.name) is candidate)
        domains = candidate.answered(replace(evaluation, domains=named))
        if not domains:
            continue
        before = sum(map(len, found.values()))
        rest = progress.part(before / total, (before + sum(map(len, domains))) / total)
        for logits in candidate.stream(replace(evaluation, domains=domains), rest):
            found |= logits
            done = sum(map(len, found.values()))
            progress.report(done / total, f"{candidate.title}: {done:,} of {total:,} sentences")
    return found
