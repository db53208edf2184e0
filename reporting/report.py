"""A whole report: what was gathered, as sections of tables and plots, with what is wrong and what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import datasets
from reporting.ablations import ablations
from reporting.cells import Cells
from reporting.exploratory import exploratory
from reporting.likeness import cautions
from reporting.load.gather import Gathered
from reporting.load.result import Key, Result
from reporting.load.scores import Confidence, confidence_of
from reporting.missing import MissingRuns, missing
from reporting.names import in_order, method_order
from reporting.paper import has_published
from reporting.plots.cost import cost_plots
from reporting.plots.curves import ablation_plots, few_shot_plots
from reporting.plots.radar import radar_plots
from reporting.plots.reliability import reliability_plots
from reporting.plots.style import Plot
from reporting.plots.training import training_plots
from reporting.stats import DAGGER
from reporting.tables.base_to_new import base_to_new
from reporting.tables.confidence import confidence, note
from reporting.tables.costs import cost_tables, runs_table
from reporting.tables.joint import joint
from reporting.tables.table import Table, slug
from reporting.tables.wide import crossed, few_shot

EMBEDDED = "embedded"  # the backbone that comes with the project


@dataclass(frozen=True)
class Request:
    """What the command line asks for; empty lists ask for everything that there is."""

    to: str = "MMRL"
    paper: bool = False
    protocols: Sequence[str] = ()
    methods: Sequence[str] = ()
    datasets: Sequence[str] = ()
    seeds: Sequence[int] = ()
    title: str = "Report"
    order: Sequence[str] = ()


@dataclass
class Section:
    """Tables and plots under one heading; a folded one opens on demand."""

    heading: str
    tables: list[Table]
    plots: list[Plot] = field(default_factory=list)
    folded: bool = False


@dataclass
class Report:
    """Everything that a report has, before it is written.

    Attributes:
        about: lines on what was read.
        problems: refused cells and damaged files.
        unfinished: runs that have a record and no result: failed, stopped, or still running.
    """

    title: str
    about: list[str]
    sections: list[Section]
    problems: list[str]
    unfinished: list[str]
    missing: list[MissingRuns]
    notes: list[str]

    @property
    def tables(self) -> list[Table]:
        """All tables in their order."""
        return [table for section in self.sections for table in section.tables]

    @property
    def plots(self) -> list[Plot]:
        """All plots in their order."""
        return [plot for section in self.sections for plot in section.plots]


def build(found: Gathered, request: Request, defaults: Mapping[str, Any]) -> Report:
    """Make the report.

    Args:
        defaults: value of each setting where nothing sets it: older records lack settings that came later.

    Raises:
        ValueError: nothing of what is asked for is there.
    """
    results = [result for result in found.results if _is_asked(result.key, request)]
    trust = confidence_of(results)
    expected = [key for key in found.expected if _is_asked(key, request)]
    if not results and not expected:
        raise ValueError("no run here is of the protocols, methods and data sets that were asked for")
    seeds = tuple(request.seeds) or usual_seeds({result.seed for result in results})
    cells = Cells(results, seeds, defaults)
    keys = in_order(_with_asked(cells.keys(), request), request.order)
    other = exploratory(cells, keys)
    main = {key: key for key in keys if key not in other}
    sections = _sections(cells.under(main), list(main), request, trust)
    sections.append(
        _in_one("Exploratory", _sections(cells.under(other), in_order(other.values(), request.order), request, trust))
    )
    sections = [section for section in sections if section.tables or section.plots]
    counted = [result for key in cells.keys() for result in cells.results(key)]
    _give_files_of_their_own(sections)
    sections.append(Section("Runs", [runs_table(sorted(counted, key=lambda r: str(r.path)))], folded=True))
    return Report(
        request.title,
        [
            *_label(results),
            found.summary(len(cells.notes)) + ".",
            _legend(seeds, any(cautions(result.record) for result in counted)),
        ],
        sections,
        [*cells.refusals, *found.damaged, *trust.damaged],
        list(found.unfinished.values()),
        missing(cells, _with_asked([*cells.keys(), *expected], request)),
        [*_notes(keys, request, counted, bool(other)), *note(counted, trust), *cells.notes, *found.notes],
    )


def _sections(cells: Cells, keys: Sequence[Key], request: Request, trust: Confidence) -> list[Section]:
    to, paper = request.to, request.paper
    return [
        Section("Base to new", list(base_to_new(cells, keys, to, paper)), list(radar_plots(cells, keys))),
        Section("Base and new classes in one label space", list(joint(cells, keys, to))),
        Section("Cross-dataset and domain generalisation", list(crossed(cells, keys, to, paper))),
        Section("Few-shot", list(few_shot(cells, keys, to, paper)), list(few_shot_plots(cells, keys))),
        Section(
            "Calibration and rejection",
            list(confidence(cells, keys, trust)),
            list(reliability_plots(cells, keys, trust)),
        ),
        Section("Ablations", list(ablations(cells, keys, paper)), list(ablation_plots(cells, keys))),
        Section("Cost", list(cost_tables(cells, keys, paper)), list(cost_plots(cells, keys))),
        Section("Training", [], list(training_plots(cells, keys))),
    ]


def _in_one(heading: str, sections: Sequence[Section]) -> Section:
    """Return all tables and plots of sections as one, under names and titles that begin with its heading."""

    def named(thing: Table | Plot) -> dict[str, Any]:
        return {"name": slug(heading, thing.name), "title": f"{heading}: {thing.title}"}

    tables = [replace(table, **named(table)) for section in sections for table in section.tables]
    plots = [replace(plot, **named(plot)) for section in sections for plot in section.plots]
    return Section(heading, tables, plots)


def _give_files_of_their_own(sections: Sequence[Section]) -> None:
    """Number what would share a file's name with one before it, such as those of data sets `a-b` and `a_b`."""
    tables: Counter[str] = Counter()
    plots: Counter[str] = Counter()

    def own(seen: Counter[str], name: str) -> str:
        seen[name] += 1
        return name if seen[name] == 1 else own(seen, f"{name}_{seen[name]}")

    for section in sections:
        section.tables = [replace(table, name=own(tables, table.name)) for table in section.tables]
        section.plots = [replace(plot, name=own(plots, plot.name)) for plot in section.plots]


def usual_seeds(found: set[int]) -> tuple[int, ...]:
    """Return the seeds that should be there: 1, 2, 3 as in the papers, or all that were found if there are others."""
    return tuple(sorted(found)) if found - {1, 2, 3} else (1, 2, 3)


def _is_asked(key: Key, request: Request) -> bool:
    is_source = key.protocol == "xd" and key.dataset == key.source  # stands beside every target
    return (
        (not request.protocols or key.protocol in request.protocols)
        and (not request.methods or key.row.method in request.methods)
        and (not request.datasets or key.dataset in request.datasets or is_source)
    )


def _with_asked(keys: Sequence[Key], request: Request) -> list[Key]:
    """Return the keys, and those of methods and data sets that were asked for by name and have not run."""
    more = []
    for key in [key for key in keys if not key.row.variant and not key.row.foreign]:
        for method in request.methods:
            more.append(key._replace(row=key.row._replace(method=method)))
        for name in request.datasets:
            more.append(key._replace(dataset=name, source=key.source if key.protocol == "xd" else name))
    return list(dict.fromkeys([*keys, *more]))


def _label(results: Sequence[Result]) -> list[str]:
    """Return the line that keeps a reader from taking a demonstration for the paper's experiments."""
    small = [result for result in results if result.key.backbone == EMBEDDED]
    if not small:
        return []
    which = "All runs here" if len(small) == len(results) else f"{len(small)} of the runs here (backbone: {EMBEDDED})"
    if all(result.record.get("dataset") in datasets.WRITTEN for result in small):
        return [f"{which} are of the embedded suite: a small CLIP on small images, not the paper's CLIP or data."]
    return [
        f"{which} use the embedded CLIP, a small one that has seen small images of few kinds: not the paper's CLIP."
    ]


def _legend(seeds: tuple[int, ...], has_cautions: bool) -> str:
    dagger = f" {DAGGER} marks one of few images or classes: the line below its table says which." * has_cautions
    return (
        f"Mean ± standard deviation (n - 1) over seeds {', '.join(map(str, seeds))}; n is how many there are. HM is "
        "that of the two means, and an average's HM that of the averages. Differences are paired by seed, with a 95 % "
        "confidence interval (Student's t). ! marks a number that lacks seeds or data sets." + dagger
    )


def _notes(keys: Sequence[Key], request: Request, counted: Sequence[Result], other: bool) -> list[str]:
    notes = []
    if other:
        notes.append(
            "Runs with settings given by hand, or with another configuration than their protocol's, are in no main "
            "table, but in the section Exploratory."
        )
    methods = sorted({key.row.method for key in keys}, key=method_order)
    if request.to not in methods and len(methods) > 1:
        notes.append(f"No run of {request.to} is here, so nothing is compared to it: --to takes {', '.join(methods)}.")
    if request.paper and not has_published(keys):
        notes.append("The paper has no number for any of these cells: it has other data sets, backbones or settings.")
    commits = {(result.record.get("commit") or {}).get("id", "none") for result in counted if result.record}
    if len(commits) > 1:
        notes.append(f"The runs were made by {len(commits)} commits of this project; the table of runs says which.")
    dirty = sum(bool((result.record.get("commit") or {}).get("dirty")) for result in counted)
    if dirty:
        notes.append(f"{dirty} of {len(counted)} runs were made by code with changes that are in no commit.")
    return notes
