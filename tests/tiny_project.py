"""A project of tiny models and texts of words, which the page's handlers go through in seconds."""

from __future__ import annotations

from pathlib import Path

from tiny_models import tiny_bert, write_data, write_experts, write_model

from fusion_ui.projects.project import Project, ProjectDomain, ProjectExpert

SIZES = {"train": 4, "calibrate": 40, "select": 70, "report": 30}


def write_project(folder: Path, num_experts: int = 3) -> Project:
    """Experts d0, d1 and so on of one base, each with a domain of its name."""
    models = write_experts(folder, num_experts)
    base = write_model(folder / "base", tiny_bert(99))
    experts = [ProjectExpert(f"d{i}", f"Domain {i}", model, f"d{i}") for i, model in enumerate(models)]
    domains = []
    for i in range(num_experts):
        (folder / f"d{i}").mkdir()
        seeds = enumerate(SIZES.items())
        files = {s: write_data(folder / f"d{i}" / f"{s}.csv", n, seed=10 * i + k) for k, (s, n) in seeds}
        domains.append(ProjectDomain(f"d{i}", f"Domain {i}", **files))
    return Project("tiny", "Tiny", base, None, tuple(experts), tuple(domains))
