"""A report as files in a folder: `report.html`, `report.md`, `tables/NAME.{md,csv,tex}`, `plots/NAME.{png,svg}`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from common.files import write_text
from reporting.page import page
from reporting.plots.style import save
from reporting.report import Report
from reporting.tables import formats

FORMATS = {"md": formats.markdown, "csv": formats.comma_separated, "tex": formats.latex}


def write(report: Report, folder: Path) -> list[Path]:
    """Write all files, each whole or not at all. Returns them; OSError names one that cannot be written."""
    for name in ("tables", "plots"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    texts = {folder / "report.html": page(report), folder / "report.md": markdown(report)}
    for table in report.tables:
        for kind, make in FORMATS.items():
            texts[folder / "tables" / f"{table.name}.{kind}"] = make(table)
    for path, text in texts.items():
        write_text(path, text)
    images = [path for plot in report.plots for path in save(plot, folder / "plots")]
    return [*texts, *images]


def markdown(report: Report) -> str:
    """Return the whole report; the table of runs is a file of its own."""
    parts = [f"# {report.title}", *report.about]
    if report.problems:
        parts.append("## Refused or damaged\n\n" + _items(report.problems))
    for section in report.sections:
        parts.append(f"## {section.heading}")
        if section.folded:
            parts += [f"[{table.title}](tables/{table.name}.md)" for table in section.tables]
            continue
        parts += [formats.markdown(table).strip() for table in section.tables]
        parts += [f"![{plot.title}](plots/{plot.name}.png)" for plot in section.plots if plot.on_page]
    parts += _missing(report)
    if report.notes:
        parts.append("## Notes\n\n" + _items(report.notes))
    return "\n\n".join(parts) + "\n"


def _missing(report: Report) -> Iterator[str]:
    if report.unfinished:
        yield "## Failed or unfinished runs\n\n" + _items(report.unfinished)
    if report.missing:
        yield "## Missing"
    for runs in report.missing:
        yield f"{runs.text()}\n\n    {runs.command()}"


def _items(lines: list[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
