"""The command that shows which sentences flip between a merge and another model, and what the merge confuses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from fusion_ui.cli.application import app
from fusion_ui.cli.arguments import (
    AsJson,
    Data,
    LabelColumn,
    PairColumn,
    Set,
    TextColumn,
    Threshold,
    domains_from,
    open_workspace,
    recipe_from,
)
from fusion_ui.cli.evaluating import warn_of_overlap
from fusion_ui.cli.terminal import clear_line, one_line, print_notes, terminal_progress
from fusion_ui.errors import DomainError, RecipeError

WIDTH = 110


@app.command()
def flips(
    recipe: Path,
    data: Data,
    against: Annotated[
        str | None,
        typer.Option(help="An expert, 'ensemble', another recipe, or a model's directory; else each domain's expert."),
    ] = None,
    search: Annotated[str, typer.Option(help="Only sentences with this text in them.")] = "",
    domain: Annotated[str, typer.Option(help="Only of this domain.")] = "",
    label: Annotated[str, typer.Option(help="Only of this true label.")] = "",
    kind: Annotated[str, typer.Option(help="Only 'fixed', 'broken' or 'both wrong'.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Sentences printed at most; --json prints all.")] = 20,
    as_json: AsJson = False,
    parameters: Set = None,
    text_column: TextColumn = "text",
    label_column: LabelColumn = "label",
    pair_column: PairColumn = None,
    threshold: Threshold = None,
) -> None:
    """Sentences that a merge answers differently than another model, those of which both are surest first.

    fixed: the merge is right and the other is wrong; broken: the other way round. Below, the merge's confusion.
    """
    from fusion_ui.evaluation.answers import collect_logits
    from fusion_ui.evaluation.confusion import count_confusion
    from fusion_ui.evaluation.flips import FlipKind, filter_flips, find_flips

    if kind not in ("", *FlipKind):
        raise DomainError(f"The kind of a flip must be one of {', '.join(FlipKind)}. Got {kind!r} instead.")
    workspace = open_workspace()
    plan = workspace.plan(recipe_from(recipe, parameters))
    domains = domains_from(data, text_column, label_column, pair_column, None, plan.experts, threshold)
    warn_of_overlap(plan, domains)
    evaluation, progress = workspace.evaluation_of(domains, plan), terminal_progress()
    title, answering = _find_other(against, workspace, plan, [d.name for d in domains])
    merging: dict[str, Any] = dict.fromkeys(answering, workspace.candidate(plan))
    merge = collect_logits(merging, evaluation, progress.part(0, 0.5))
    report = find_flips(merge, collect_logits(answering, evaluation, progress.part(0.5, 1)), evaluation)
    compared = [d for d in evaluation.domains if d.domain.name in merge and d.task.has_label_answers]
    confusions = [count_confusion(merge[d.domain.name], d) for d in compared]
    found = filter_flips(report.flips, search, domain, label, kind)
    clear_line()
    if as_json:
        about = {"model": plan.title, "against": title, **report.describe()}
        about |= {"confusion": [confusion.describe() for confusion in confusions]}
        print(json.dumps(about | {"flips": [flip.describe() for flip in found]}, indent=2, ensure_ascii=False))
        return
    print(f"{plan.title} against {title}: share of right answers {_points(report.difference)}")
    for d in report.domains:
        kinds = f"{d.num_fixed} fixed, {d.num_broken} broken, {d.num_both_wrong} both wrong"
        print(f"  {d.domain:<12} {d.num_examples} of {d.split}: {kinds}; right answers {_points(d.difference)}")
    _print_confusions(confusions)
    _print_flips(found, limit)


def _find_other(
    against: str | None, workspace: Any, plan: Any, domains: Sequence[str]
) -> tuple[str, Mapping[str, Any]]:
    """What the merge is held against: its title, and who answers each domain."""
    from fusion_ui.checkpoints.finding import find_checkpoint
    from fusion_ui.evaluation.candidates import checkpoint_candidate
    from fusion_ui.evaluation.combined import ensemble_of
    from fusion_ui.evaluation.references import expert_candidates
    from fusion_ui.sources.local import is_directory

    experts = expert_candidates(plan)
    known = ", ".join(experts)
    if against is None:
        own = {name: experts[name] for name in domains if name in experts}
        if not own:
            raise RecipeError(f"None of the data is called as an expert ({known}). Call it so, or say --against.")
        left_out = [name for name in domains if name not in own]
        print_notes(
            f"No expert is called {name}: it is left out. Say --against to compare it too." for name in left_out
        )
        return "own expert", own
    if against in experts:
        other: Any = experts[against]
    elif against == "ensemble":
        other = ensemble_of([*experts.values()])
    elif is_directory(against):
        model = find_checkpoint(Path(against).name, against, workspace.settings)
        other = checkpoint_candidate("other", model.name, model, skeleton=plan.experts[0])
    elif Path(against).is_file():
        other = workspace.candidate(workspace.plan(recipe_from(Path(against), None)))
    else:
        raise RecipeError(
            f"There is no model {against!r} to compare with. Say --against with an expert ({known}), 'ensemble', the "
            "file of another recipe, or a model's directory."
        )
    return other.title, dict.fromkeys(domains, other)


def _print_confusions(confusions: Sequence[Any]) -> None:
    if confusions:
        print("what the merge answers, by true label")
    for confusion in confusions:
        for i, name in enumerate(confusion.label_names):
            row = zip(confusion.label_names, confusion.counts[i].tolist(), strict=True)
            cells = ", ".join(f"{one_line(answer)} {count}" for answer, count in row)
            recall = confusion.recall(i)
            said = f"recall {recall[0]:.1%} [{recall[1]:.1%}, {recall[2]:.1%}]" if recall else "no example"
            print(f"  {confusion.domain:<12} {one_line(name)}: {cells}; {said}")


def _print_flips(found: Sequence[Any], limit: int) -> None:
    print(f"{min(limit, len(found))} of {len(found)} flips shown")
    for flip in found[:limit]:
        merge, other = (
            one_line(a.label) if a.sureness is None else f"{one_line(a.label)} {a.sureness:.0%}"
            for a in (flip.answer, flip.other)
        )
        print(f"  {flip.kind:<10} {flip.domain}, {one_line(flip.label)}: {merge}, the other {other}")
        for sentence in (flip.text, flip.pair):
            if sentence is not None:
                print(f"      {one_line(sentence, WIDTH)}")


def _points(difference: Any) -> str:
    value, low, high = (100 * part for part in (difference.value, difference.low, difference.high))
    return f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]"
