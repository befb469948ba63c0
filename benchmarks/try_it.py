"""A sentence typed on the page, answered by every model of the demo side by side, once the merges are in memory.

Each of 20 sentences is a question of its own; the last row asks all 20 at once.
"""

from __future__ import annotations

import time

from benchmarks.timing import report, time_runs
from fusion_ui.evaluation.typed_text import Example, answer_examples
from fusion_ui.settings import read_settings
from fusion_ui.ui.comparison import compare, project_evaluation
from fusion_ui.ui.request import default_request
from fusion_ui.workspace import Workspace

NUM_SENTENCES, LIMIT = 20, 0.5


def main() -> None:
    workspace = Workspace(read_settings())
    project = workspace.prepare_demo()
    evaluation = project_evaluation(workspace, project, "select")
    comparison = compare(workspace, project, default_request(project), evaluation)
    for plan in comparison.plans.values():
        workspace.merge(plan)
    texts = [text for encoded in evaluation.domains for text in encoded.domain.texts[: NUM_SENTENCES // 4]]
    examples = [Example(text) for text in texts]
    words = sorted(len(text.split()) for text in texts)
    print(
        f"\nSentences of {words[0]} to {words[-1]} words, answered by {len(comparison.candidates)} models of the demo"
    )

    def ask(*asked: Example) -> None:
        answer_examples(asked, comparison.candidates, evaluation, workspace.turns.urgent_progress())

    ask(examples[0])  # the architecture is loaded once
    seconds = []
    for example in examples:
        started = time.perf_counter()
        ask(example)
        seconds.append(time.perf_counter() - started)
    report("one sentence", seconds, LIMIT)
    report(f"{NUM_SENTENCES} sentences at once", time_runs(lambda: ask(*examples), 5))


if __name__ == "__main__":
    main()
