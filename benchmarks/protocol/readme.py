"""The README's part of the protocol: main tables, where RegMean wins and where not, and what differs from the paper.

It stands between two markers and is written by a run of the whole protocol on the demo, so nothing is copied by hand.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.protocol import all_experts, multitask
from benchmarks.protocol.settings import ProtocolSettings
from benchmarks.protocol.study import Study
from fusion_ui.errors import FusionError
from fusion_ui.sources.files import replace_file

START, END = "<!-- python -m benchmarks.protocol writes from here -->", "<!-- to here -->"


def render_part(study: Study) -> str:
    """Both main tables and the seconds of either, from rows that are kept."""
    main, seconds = all_experts.run(study), multitask.run(study)
    rivals = all_experts.name_rivals()
    findings = [f for f in main.findings if " against " not in f or any(f" against {name}," in f for name in rivals)]
    said = "\n".join(f"- {sentence}" for sentence in [*findings, *seconds.findings])
    return "\n\n".join([main.note, *main.tables, *seconds.tables, said, describe_differences(study.settings)])


def describe_differences(how: ProtocolSettings) -> str:
    """What differs from the paper: model, data, size."""
    return (
        "What differs from the paper: the model (six narrow layers of all-MiniLM-L6-v2, not BERT, RoBERTa, T5 or "
        "DeBERTa of base size and larger), the data (four domains of sentiment with two labels, not emotion, GLUE and "
        f"NER), and the size (experts of the {how.num_seeds} seeds are fine-tuned on {how.num_train} sentences each, "
        f"{how.training.num_epochs} times over, word embeddings kept; statistics are measured on "
        f"{how.num_calibration} sentences, models scored on {how.num_report} a domain). Out-of-domain means merging "
        f"all but a domain's own expert, since the demo has no further domains. With {how.num_seeds} seeds, heads are "
        f"compared over {how.num_seeds} experts. `pairwise`, `growth` and `calibration` merge the experts as shipped, "
        "one seed."
    )


def check_markers(readme: Path) -> str:
    """The text of `readme`.

    Raises:
        FusionError: it does not have each marker once, the start before the end.
    """
    text = readme.read_text(encoding="utf-8")
    if text.count(START) != 1 or text.count(END) != 1 or text.index(START) > text.index(END):
        raise FusionError(f"{readme} has no place for the protocol's tables. Put a line {START} and below it {END}.")
    return text


def write_part(readme: Path, part: str) -> None:
    """Put `part` between the markers of `readme`, in place of what stands there."""
    text = check_markers(readme)
    before, after = text[: text.index(START)], text[text.index(END) :]
    with replace_file(readme) as temporary:
        temporary.write_text(f"{before}{START}\n\n{part}\n\n{after}", encoding="utf-8")
