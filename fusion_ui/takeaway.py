"""A merge to take away: exported, scored as it was saved, its card saying so; packed as one zip, or put on the hub."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from fusion_ui.checkpoints.checkpoint import Checkpoint
from fusion_ui.domains.domain import Domain
from fusion_ui.errors import MergeError
from fusion_ui.evaluation.candidates import Candidate, Evaluation, SingleModel, checkpoint_candidate
from fusion_ui.evaluation.combined import OwnHeads
from fusion_ui.evaluation.scores import DomainScore
from fusion_ui.merging.export import own_directories
from fusion_ui.merging.merge import MergedModel
from fusion_ui.merging.pinning import portable_recipe
from fusion_ui.merging.plan import MergePlan
from fusion_ui.merging.preflight import format_bytes
from fusion_ui.merging.recipe import parse_recipe
from fusion_ui.progress import Progress
from fusion_ui.results.card import model_card
from fusion_ui.results.numbers import DomainNumbers
from fusion_ui.sources.archive import free_bytes, zip_directory
from fusion_ui.sources.files import replace_file
from fusion_ui.sources.hub_publish import publish
from fusion_ui.workspace import Workspace

SPARE_BYTES = 64 << 20
"""Left free on the disk."""


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
    evaluation = workspace.evaluation_of(scoring.domains, plan)
    experts = {expert.name: number for number, expert in enumerate(plan.experts)}
    whole, numbers = progress.part(0, 0.6), list[DomainNumbers]()
    scores = _score(workspace, exported_candidate(plan, out, scoring.owners), evaluation, scoring.owners, whole)
    for done, (encoded, score) in enumerate(zip(evaluation.domains, scores, strict=True)):
        owner, own = scoring.owners.get(encoded.domain.name, ""), None
        if owner in experts:
            part = replace(evaluation, domains=(encoded,))
            share = progress.part(0.6 + 0.4 * done / len(scores), 0.6 + 0.4 * (done + 1) / len(scores))
            (own,) = _score(workspace, expert_candidate(plan, experts[owner]), part, scoring.owners, share)
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


def expert_candidate(plan: MergePlan, number: int) -> Candidate:
    """One of the experts, its labels under the names that the recipe gives them."""
    expert, labels = plan.experts[number], plan.recipe.experts[number].labels
    name = expert.name
    return checkpoint_candidate(f"expert {name}", f"Expert {name}", expert, skeleton=plan.experts[0], labels=labels)


def pack(
    workspace: Workspace, plan: MergePlan, out: Path, scoring: Scoring, folder: Path, progress: Progress | None = None
) -> None:
    """Write the exported merge as the zip `out`, whole or not at all.

    Args:
        folder: where there is room to export it first.

    Raises:
        MergeError: it is larger than the limit, or the disk has no room for it.
    """
    progress = progress or Progress()
    with _exported(workspace, plan, scoring, folder, progress.part(0, 0.9), copies=2) as exported:
        zip_directory(exported, out, progress.part(0.9, 1))


def push(
    workspace: Workspace,
    plan: MergePlan,
    repository: str,
    token: str,
    *,
    is_private: bool,
    scoring: Scoring,
    folder: Path,
    progress: Progress | None = None,
) -> str:
    """Export a merge and put it on the hub; the address of its page.

    Args:
        folder: where there is room to export it first.
    """
    progress = progress or Progress()
    with _exported(workspace, plan, scoring, folder, progress.part(0, 0.6), copies=1) as exported:
        return push_folder(exported, repository, token, is_private=is_private, progress=progress.part(0.6, 1))


def push_folder(
    folder: Path, repository: str, token: str, *, is_private: bool, progress: Progress | None = None
) -> str:
    """Put an exported merge on the hub under the account that `token` belongs to; the address of its page.

    Its recipe is pushed without any path of this machine.

    Raises:
        MergeError: the folder is no exported merge.
        SourceError, SourceUnavailableError: the hub refuses, or cannot be reached.
    """
    if not (folder / "recipe.json").is_file() or not (folder / "README.md").is_file():
        raise MergeError(
            f"{folder} is no merge: it has no recipe.json or no README.md. Name a folder that merge wrote."
        )
    recipe = portable_recipe(parse_recipe(json.loads((folder / "recipe.json").read_text(encoding="utf-8"))))
    text = json.dumps(recipe.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    replaced = {"recipe.json": text.encode()}
    return publish(folder, repository, token, is_private=is_private, replaced=replaced, progress=progress or Progress())


@contextmanager
def _exported(
    workspace: Workspace, plan: MergePlan, scoring: Scoring, folder: Path, progress: Progress, copies: int
) -> Iterator[Path]:
    """The exported merge in `folder`, for as long as the block lasts; `copies` of it must find room."""
    _check_room(workspace, plan, folder, copies)
    folder.mkdir(parents=True, exist_ok=True)
    target = Path(tempfile.mkdtemp(dir=folder, prefix=".export."))
    try:
        take_away(workspace, plan, target / "merge", scoring, progress)
        yield target / "merge"
    except OSError as error:  # most of all a disk that filled up meanwhile
        reason = error.strerror or type(error).__name__
        raise MergeError(f"The merge could not be written here ({reason}). Free some disk, or try again.") from None
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _check_room(workspace: Workspace, plan: MergePlan, folder: Path, copies: int) -> None:
    size = sum(file.stat().st_size for file in plan.experts[0].tensors.files) * max(1, len(own_directories(plan)))
    most, free = workspace.settings.max_export_bytes, free_bytes(folder) - SPARE_BYTES
    if size > most:
        raise MergeError(
            f"The merged model takes {format_bytes(size)}, and {format_bytes(most)} is the most that is handed out "
            "here. Take its recipe, and merge with the command line: fusion-ui merge recipe.json --out DIR."
        )
    if copies * size > free:
        raise MergeError(
            f"The merged model needs {format_bytes(copies * size)} of disk, and {format_bytes(max(0, free))} are free. "
            "Free some, or take its recipe and merge elsewhere."
        )


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
