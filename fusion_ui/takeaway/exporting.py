"""A merge exported, scored as it was saved, and its card saying so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.domain import Domain
from fusion_ui.evaluation.candidates import Candidate, Evaluation, SingleModel, checkpoint_candidate
from fusion_ui.evaluation.combined import OwnHeads
from fusion_ui.evaluation.references import expert_candidates
from fusion_ui.evaluation.scores import DomainScore
from fusion_ui.merging.export import own_directories
from fusion_ui.merging.merge import MergedModel
from fusion_ui.merging.plan import MergePlan
from fusion_ui.progress import Progress
from fusion_ui.results.card import model_card
from fusion_ui.results.numbers import DomainNumbers
from fusion_ui.sources.files import replace_file
from fusion_ui.workspace import Workspace


@dataclass(frozen=True)
class Scoring:
    """What a merge that is taken away is scored on.

    Attributes:
        domains: of one split; without any, the card says that nothing was evaluated.
        owners: domain name -> name of the expert in the merge whose own it is.
    """

    domains: tuple[Domain, ...] = ()
    owners: Mapping[str, str] = field(default_factory=dict)


def take_away(
    workspace: Workspace, plan: MergePlan, out: Path, scoring: Scoring, progress: Progress | None = None
) -> MergedModel:
    """Export a merge to the new directory `out`, score it as it lies there, and write its numbers into its card.

    Stopped while it is scored, it is a whole merge whose card has no numbers.

    Raises:
        MergeError: `out` holds something already.
        DomainError: a domain has a label that no expert knows.
    """
    progress = progress or Progress()
    merged = workspace.export(plan, out, progress.part(0, 0.5 if scoring.domains else 1))
    if scoring.domains:
        numbers = score_export(workspace, plan, out, scoring, progress.part(0.5, 1))
        with replace_file(out / "README.md") as temporary:
            temporary.write_text(model_card(plan, numbers), encoding="utf-8")
    return merged


def score_export(
    workspace: Workspace, plan: MergePlan, out: Path, scoring: Scoring, progress: Progress
) -> list[DomainNumbers]:
    """Score an exported merge, from its files, and each domain's own expert: the numbers of ``fusion-ui evaluate``."""
    evaluation = workspace.evaluation_of(scoring.domains, plan, scoring.owners)
    experts, whole, numbers = expert_candidates(plan), progress.part(0, 0.6), list[DomainNumbers]()
    scores = _score(workspace, exported_candidate(plan, out, scoring.owners), evaluation, scoring.owners, whole)
    for done, (encoded, score) in enumerate(zip(evaluation.domains, scores, strict=True)):
        owner, own = scoring.owners.get(encoded.domain.name, ""), None
        if owner in experts:
            part = replace(evaluation, domains=(encoded,))
            share = progress.part(0.6 + 0.4 * done / len(scores), 0.6 + 0.4 * (done + 1) / len(scores))
            (own,) = _score(workspace, experts[owner], part, scoring.owners, share)
        numbers.append(DomainNumbers(encoded.domain.title or score.domain, score, owner if own else "", own))
    return numbers


def exported_candidate(plan: MergePlan, out: Path, owners: Mapping[str, str]) -> Candidate:
    """A merge as it lies in the directory `out`, to be evaluated."""
    method, title, first = plan.method, plan.title, plan.experts[0]

    def saved(name: str, folder: Path) -> SingleModel:
        return checkpoint_candidate(name, title, Checkpoint(name, folder, str(folder)), method.color, first)

    own = own_directories(plan)
    if not own:
        return saved("merge", out)
    members = tuple(saved(e.name, out / name) for e, name in zip(plan.experts, own, strict=True))
    return OwnHeads("merge", title, " ".join(m.key for m in members), method.color, False, members, owners)


def _score(
    workspace: Workspace,
    candidate: Candidate,
    evaluation: Evaluation,
    in_domain: Mapping[str, str],
    progress: Progress,
) -> tuple[DomainScore, ...]:
    """Complete scores of one candidate."""
    total, scores = sum(map(len, evaluation.domains)), ()
    for row in workspace.evaluate([candidate], evaluation, [*in_domain], progress):
        done, scores = sum(score.num_examples for score in row.scores), row.scores
        progress.report(done / total, f"Scoring {candidate.title}, {done} of {total} sentences")
    return scores
