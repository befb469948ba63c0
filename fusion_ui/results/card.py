"""The model card of a merge: what it is made of, how, how well it did, and what it cannot promise."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fusion_ui.evaluation.scores import describe_unit, intervals_of, metric_of
from fusion_ui.merging.labels import Heads
from fusion_ui.merging.pinning import slugify
from fusion_ui.merging.plan import MergePlan
from fusion_ui.results.licences import Terms, describe_terms, read_terms, shared_licence
from fusion_ui.results.numbers import DomainNumbers, format_score
from fusion_ui.tasks import find_task, metric_title

BODY = """# {title} of {names}

One model for {kind}, merged from {count} models fine-tuned from one base, {data}, by Fusion UI. {answers}

## Method

{method}. {summary} [{paper}]({paper})

- Formula: `{formula}`
- Parameters: {parameters}{rules}

`recipe.json` repeats the merge: `fusion-ui merge recipe.json --out DIR`, to the same bits with the same versions and
number of threads. `merge_report.json` says for every parameter what was done to it.

## Experts

{experts}

Base model: {base}. {licences}

## Numbers

{numbers}

## Use

```python
{usage}
```
{heads}
## What this merge cannot promise

- It was made by arithmetic on weights and not trained: nothing was checked beyond the numbers above, if there are any.
- On text unlike the domains above it may do worse than any of its experts, also without looking unsure.
- What its experts learned wrongly, or unfairly, it may have kept; their cards and licences apply to it.
- Parameters chosen on the sentences that a number is from make that number too good.
"""

USAGE = """from transformers import pipeline

answer = pipeline("{pipeline}", model="{place}")
answer("Something to read.")"""
WRITING = """from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

model, tokenizer = (kind.from_pretrained("{place}") for kind in (AutoModelForSeq2SeqLM, AutoTokenizer))
written = model.generate(**tokenizer("Something to read.", return_tensors="pt"), do_sample=False, num_beams=1)
tokenizer.decode(written[0], skip_special_tokens=True)"""
"""No pipeline of transformers 5 serves a model that writes text from text."""


def model_card(plan: MergePlan, numbers: Sequence[DomainNumbers] = ()) -> str:
    """A merge's README.md with its metadata.

    No path of this machine stands in it, and texts from people are text in it, never markup.

    Args:
        numbers: what was scored, of the merge as it is saved; empty if nothing was.
    """
    from huggingface_hub import ModelCard

    terms = [read_terms(expert) for expert in plan.experts]
    data = _metadata(plan, numbers, shared_licence(terms))
    # Parsed again, so that what cannot be read by others is not written.
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{_body(plan, numbers, terms)}"))


def plain(text: str) -> str:
    """Text from a person as Markdown that shows it: one line, cut, no markup."""
    escaped = html.escape(" ".join(text.split())[:80], quote=False)
    return re.sub(r"([\\`*_{}\[\]#|~$!])", r"\\\1", escaped)


def _metadata(plan: MergePlan, numbers: Sequence[DomainNumbers], licence: str | None) -> Any:
    from huggingface_hub import EvalResult, ModelCardData

    pipeline = find_task(plan.experts[0].config).pipeline
    results = [
        EvalResult(
            task_type=pipeline,
            dataset_type=slugify(row.merge.domain),
            dataset_name=row.title,
            dataset_split=row.merge.split,
            metric_type=row.merge.metric,
            metric_value=row.merge.value,
        )
        for row in numbers
    ]
    on_hub = list(dict.fromkeys(expert.source for expert in plan.experts if expert.revision))
    related = {"base_model": on_hub, "base_model_relation": "merge"} if on_hub else {}
    scored: dict[str, Any] = {"model_name": plan.title, "eval_results": results} if results else {}
    return ModelCardData(
        library_name="transformers",
        pipeline_tag=pipeline,
        tags=["merge", "fusion-ui", plan.method.name.replace("_", "-")],
        license=licence,
        **related,
        **scored,
    )


def _body(plan: MergePlan, numbers: Sequence[DomainNumbers], terms: Sequence[Terms]) -> str:
    method, names = type(plan.method), [plain(expert.name) for expert in plan.experts]
    settings = ", ".join(f"{name} = {value}" for name, value in vars(plan.method).items()) or "none"
    if plan.layer_scaling:
        settings += f"; then {plan.layer_scaling.describe()} by depth ([paper](https://arxiv.org/abs/2410.17146))"
    own = plan.labels.heads is Heads.OWN
    task, place = find_task(plan.experts[0].config), "DIR/EXPERT" if own else "DIR or owner/name"
    usage = WRITING if task.auto_class == "AutoModelForSeq2SeqLM" else USAGE
    labels = ", ".join(map(plain, plan.all_labels))
    return BODY.format(
        kind=task.title,
        answers=f"It answers with the\nlabels {labels}." if labels else "It writes text.",
        usage=usage.format(pipeline=task.pipeline, place=place),
        title=method.title,
        names=", ".join(names),
        count=len(names),
        data="with text of every model's own domain" if method.needs_text else "without their training data",
        method=method.title,
        summary=method.summary(),
        paper=method.paper,
        formula=method.formula,
        parameters=settings,
        rules="".join(f"\n- Rule for {plain(rule.parameters)}: {plain(rule.effect)}" for rule in plan.recipe.rules),
        experts=_experts(plan, names, terms),
        base=_base(plan),
        licences=describe_terms(names, [_as_text(term) for term in terms]),
        numbers=_numbers(numbers),
        heads="\nEvery expert kept its own head, in a directory of its name.\n" if own else "",
    )


def _experts(plan: MergePlan, names: Sequence[str], terms: Sequence[Terms]) -> str:
    rows = [
        [name, _where(expert), f"{weight:.3g}", plain(term.licence)]
        for name, expert, weight, term in zip(names, plan.experts, plan.recipe.weights, terms, strict=True)
    ]
    return _table(["expert", "model and revision", "weight", "licence"], rows)


def _as_text(terms: Terms) -> Terms:
    return replace(terms, licence=plain(terms.licence), base_licence=terms.base_licence and plain(terms.base_licence))


def _where(model: Any) -> str:
    """A hub model with the commit; of any other only that it is none."""
    if not model.revision:
        return "not from a hub"
    return _link(model.source, model.revision)


def _link(source: str, revision: str) -> str:
    return f"[{source}](https://huggingface.co/{source}/tree/{revision}) at `{revision}`"


def _base(plan: MergePlan) -> str:
    """The recipe's base, or the one into which every expert's adapter was folded."""
    if plan.base is not None:
        return _where(plan.base)
    folded = {expert.base for expert in plan.experts}
    named = folded.pop() if len(folded) == 1 else None
    if not named:
        return "not named; the method works without it"
    source, _, revision = named.partition("@")
    return f"{_link(source, revision)}, into which the experts' adapters were folded"


def _numbers(numbers: Sequence[DomainNumbers]) -> str:
    if not numbers:
        return "Not evaluated."
    metric = metric_of(row.merge for row in numbers)
    rows = [
        [
            *(
                plain(row.title) + (f", {metric_title(row.merge.metric)}" if metric == "Score" else ""),
                format_score(row.merge),
                format_score(row.own),
                plain(row.merge.split),
            ),
            *(str(row.merge.num_examples), "yes" if row.expert else "no"),
        ]
        for row in numbers
    ]
    header = ["domain", "this merge", "its own expert", "split", "sentences", "expert in the merge"]
    intervals = intervals_of(row.merge for row in numbers)
    return f"{describe_unit(row.merge for row in numbers)}, with {intervals}.\n\n" + _table(header, rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
