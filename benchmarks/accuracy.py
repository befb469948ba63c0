"""Accuracy of every method and reference row on the demo's report split, with 95 % Wilson intervals and seconds.

Parameters are the defaults, not tuned; the best alpha on *select* is printed with its own accuracy on *report*. The
second table leaves the last expert out, so that its domain is out-of-domain. Seconds are those of the merge, its
statistics measured before; where a method reads text while it merges, that is in them.
"""

from __future__ import annotations

import time
from dataclasses import replace

from fusion_ui.evaluation.candidates import Candidate, Evaluation
from fusion_ui.methods import METHODS
from fusion_ui.projects.project import Project
from fusion_ui.settings import read_settings
from fusion_ui.ui.comparison import compare, project_evaluation
from fusion_ui.ui.request import FuseRequest, default_request
from fusion_ui.workspace import CandidateScores, Workspace

ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)


def row(scores: CandidateScores, title: str, seconds: float | None = None) -> str:
    cells = [f"{100 * s.value:.1f} [{100 * s.low:.1f}, {100 * s.high:.1f}]" for s in scores.scores]
    took = "" if seconds is None else f"{seconds:.1f}"
    return f"| {title} | " + " | ".join(cells) + f" | **{100 * scores.mean:.1f}** | {took} |"


def score(
    workspace: Workspace, candidate: Candidate, report: Evaluation, in_domain: tuple[str, ...]
) -> CandidateScores:
    *_, last = workspace.evaluate([candidate], report, in_domain)
    return last


def print_table(workspace: Workspace, project: Project, request: FuseRequest, report: Evaluation) -> None:
    """A row for each method that can merge these experts, then the references."""
    titles = [domain.title for domain in project.domains]
    print("| | " + " | ".join(titles) + " | mean | seconds |\n|---|" + "---|" * (len(titles) + 2))
    for method in METHODS:
        if obstacle := method.find_obstacle(len(request.experts), project.base is not None):
            print(f"<!-- {obstacle} -->")
            continue
        comparison = compare(workspace, project, replace(request, methods=(method.name,), references=()), report)
        (plan,), (candidate,) = comparison.plans.values(), comparison.candidates
        if not method.needs_text:
            workspace.measure(plan)
        started = time.perf_counter()
        workspace.merge(plan)
        seconds = time.perf_counter() - started
        print(row(score(workspace, candidate, report, comparison.in_domain), candidate.title, seconds), flush=True)
    comparison = compare(workspace, project, replace(request, methods=()), report)
    for candidate in comparison.candidates:
        print(row(score(workspace, candidate, report, comparison.in_domain), candidate.title), flush=True)


def main() -> None:
    workspace = Workspace(read_settings())
    project = workspace.prepare_demo()
    request = default_request(project)
    report = project_evaluation(workspace, project, "report")
    print(f"\nAccuracy in percent on the report split, {len(report.domains[0])} sentences a domain, four experts")
    print_table(workspace, project, request, report)
    left_out = project.experts[-1]
    print(f"\nThe same without the expert of {left_out.title}, whose domain is then out-of-domain")
    print_table(workspace, project, replace(request, experts=request.experts[:-1]), report)
    comparison = compare(workspace, project, replace(request, methods=("regmean",), references=()), report)
    plan, select = comparison.plans["regmean"], project_evaluation(workspace, project, "select")
    means = {
        alpha: scores.mean for alpha, scores in workspace.sweep(plan, "alpha", ALPHAS, select, comparison.in_domain)
    }
    best = max(means, key=lambda alpha: means[alpha])
    final = score(workspace, workspace.candidate(plan.with_parameters(alpha=best)), report, comparison.in_domain)
    print()
    print(row(final, f"RegMean at the best α on select ({best:g})"))
    print(
        "mean on select by alpha: " + ", ".join(f"{alpha:g}: {100 * mean:.1f}" for alpha, mean in sorted(means.items()))
    )


if __name__ == "__main__":
    main()
