"""What an experiment comes to: text, tables and figures, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fusion_ui.plots.style import Figure
from fusion_ui.sources.files import replace_file

GRID = "#e5e7eb"


@dataclass(frozen=True)
class Section:
    """One experiment's part of the results.

    Attributes:
        note: what the tables show.
        tables: in Markdown.
        findings: sentences computed from the numbers.
        figures: name of the file -> figure.
    """

    title: str
    note: str
    tables: Sequence[str]
    findings: Sequence[str] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)

    def render(self) -> str:
        """In Markdown, under a heading of the third level."""
        findings = "\n".join(f"- {sentence}" for sentence in self.findings)
        return "\n\n".join(part for part in (f"### {self.title}", self.note, *self.tables, findings) if part) + "\n"


def markdown(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_section(section: Section, name: str, out: Path) -> None:
    """Write a section's text and its figures, each a page of HTML beside one copy of plotly."""
    import plotly.graph_objects as go
    import plotly.io as pio

    folder = out / "results"
    for title, figure in section.figures.items():
        shown = go.Figure(figure).update_layout(paper_bgcolor="white", plot_bgcolor="white")
        shown.update_xaxes(gridcolor=GRID).update_yaxes(gridcolor=GRID)
        for trace in shown.data:
            if trace.meta == "ink":
                trace.line.color = "#222222"
        folder.mkdir(parents=True, exist_ok=True)
        pio.write_html(shown, folder / f"{title}.html", include_plotlyjs="directory", config={"displayModeBar": False})
    with replace_file(folder / f"{name}.md") as temporary:
        temporary.write_text(section.render(), encoding="utf-8")
