"""Accuracy of every method and reference row on the demo's report split, with 95 % Wilson intervals.

Alpha is the default, not tuned; the best alpha on *select* is printed with its own accuracy on *report*.
"""

from __future__ import annotations

from dataclasses import replace

from fusion_ui.methods import METHODS
from fusion_ui.settings import read_settings
from fusion_ui.ui.comparison import compare, project_evaluation
from fusion_ui.ui.handlers import CURVE_ALPHAS
from fusion_ui.ui.request import default_request
from fusion_ui.workspace import CandidateScores, Workspace


def row(scores: CandidateScores, title: str) -> str:
    cells = [f"{100 * s.value:.1f} [{100 * s.low:.1f}, {100 * s.high:.1f}]" for s in scores.scores]
    return f"| {title} | " + " | ".join(cells) + f" | **{100 * scores.mean:.1f}** |"


def main() -> None:
    workspace = Workspace(read_settings())
    project = workspace.prepare_demo()
    request = replace(default_request(project), methods=tuple(method.name for method in METHODS))
    report = project_evaluation(workspace, project, "report")
    comparison = compare(workspace, project, request, report)
    latest: dict[str, CandidateScores] = {}
    for scores in workspace.evaluate(comparison.candidates, report, comparison.in_domain):
        latest[scores.candidate.name] = scores
    print(f"\nAccuracy in percent on the report split, {len(report.domains[0])} sentences a domain")
    print(
        "| | " + " | ".join(d.title for d in project.domains) + " | mean |\n|---|" + "---|" * (len(project.domains) + 1)
    )
    for candidate in comparison.candidates:
        print(row(latest[candidate.name], candidate.title))
    plan, select = comparison.plans["regmean"], project_evaluation(workspace, project, "select")
    means = {
        alpha: scores.mean
        for alpha, scores in workspace.sweep(plan, "alpha", sorted(CURVE_ALPHAS), select, comparison.in_domain)
    }
    best = max(means, key=lambda alpha: means[alpha])
    *_, final = workspace.evaluate(
        [workspace.candidate(plan.with_parameters(alpha=best))], report, comparison.in_domain
    )
    print(row(final, f"RegMean at the best α on select ({best:g})"))
    print(
        "mean on select by alpha: " + ", ".join(f"{alpha:g}: {100 * mean:.1f}" for alpha, mean in sorted(means.items()))
    )


if __name__ == "__main__":
    main()
