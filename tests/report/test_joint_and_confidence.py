"""The tables of one label space, and of the scores that runs saved."""

from __future__ import annotations

import numpy as np
import pytest

from reporting import calibration
from reporting.command import defaults
from reporting.load.gather import gather
from reporting.report import Request, build
from reporting.stats import harmonic_mean
from runs.joint import measures


def report_of(runs, **asked):
    return build(gather([runs.output]), Request(seeds=(1, 2), **asked), defaults())


def section(report, heading):
    found = [one for one in report.sections if one.heading == heading]
    return found[0] if found else None


def values(openworld_auc: float, base: float = 60.0) -> dict[str, float]:
    """Measures of a run, by the names that runs give them."""
    names = measures(np.eye(2), np.array([0, 1]), np.array([True, False]), np.ones(2))
    return {**dict.fromkeys(names, 50.0), "com_base": base, "com_new": 40.0, "openworld_auc": openworld_auc}


def test_one_label_space_has_a_line_for_each_rule_beside_the_known_sides(runs):
    for name in ("dtd", "eurosat"):
        for seed in (1, 2):
            for method in ("CoOp", "MMRL"):
                runs.pair(name, 80.0, 60.0, method=method, seed=seed)
            own = {"own scores": values(30.0 + seed)}
            both = {"class feature": values(40.0, 60.0 + seed), "both features": values(45.0)}
            runs.add("joint", name, "all", 50.0, method="CoOp", seed=seed, joint=own)
            runs.add("joint", name, "all", 50.0, seed=seed, joint=both)
    report = report_of(runs)
    (table,) = section(report, "Base and new classes in one label space").tables
    assert not report.missing and not report.problems
    rows = [dict(zip(table.headers, row, strict=True)) for row in table.rows]
    labels = [row["Method"] for row in rows]
    assert labels == 3 * ["CoOp", "MMRL, class feature", "MMRL, both features"]
    for row in rows:
        assert row["Known sides"].text() == "68.57 ± 0.00"
        assert row["HM"].center == pytest.approx(harmonic_mean(row["ComBase"].center, 40.0))
    assert rows[4]["ComBase"].values == {1: 61.0, 2: 62.0} and rows[1]["ComBase"].center == 61.5
    assert [row["OpenworldAUC - MMRL"] for row in rows[3:6]] == ["-8.50 ± 6.35", None, "+5.00 ± 0.00"]
    assert {"base→new", "new→base"} == set(table.lower)


def test_a_joint_test_of_another_model_than_the_base_half_has_now_is_left_out(runs):
    runs.add("base2new", "dtd", "base", 80.0)
    runs.add("joint", "dtd", "all", 50.0)
    other = runs.add("joint", "dtd", "all", 50.0, seed=2)  # before there is a base half, so of none that is here
    runs.add("base2new", "dtd", "base", 80.0, seed=2)
    assert runs.cells(1, 2).notes == [f"{other} tested another model than the base half has now: test it again"]


def save_scores(folder, seed, classes=5, images=60):
    generator = np.random.default_rng(seed)
    scores, true = generator.normal(size=(images, classes)) * 3, generator.integers(0, classes, images)
    np.savez(folder / "predictions.npz", true=true, predicted=scores.argmax(axis=1), scores=scores)
    return calibration.summary(scores, true)


def test_saved_scores_are_shown_base_and_new_apart(runs):
    found = {}
    for seed in (1, 2):
        for part in ("base", "new"):
            folder = runs.add("base2new", "dtd", part, 70.0, seed=seed, predictions="predictions.npz")
            found[part, seed] = save_scores(folder, len(found))
    runs.pair("dtd", 60.0, 50.0, method="CoOp")  # without scores
    report = report_of(runs)
    shown = section(report, "Calibration and rejection")
    (table,), (plot,) = shown.tables, shown.plots
    assert [row[:3] for row in table.rows] == [["dtd", part, "MMRL"] for part in ("base", "new")]
    for row in table.rows:
        cells = dict(zip(table.headers[3:], row[3:], strict=True))
        for header, name in {"ECE": "ece", "AURC": "aurc", "Acc at 80 %": "accuracy_at_80", "NLL": "nll"}.items():
            assert cells[header].values == {seed: found[row[1], seed][name] for seed in (1, 2)}
    assert (plot.name, len(plot.figure.axes)) == ("reliability_base2new_vit_b_16_dtd", 2)
    assert any("2 of 6 runs have not saved scores. TEST.SAVE_SCORES True" in note for note in report.notes)

    (runs.output / "base2new/test_new/dtd/shots_16/MMRL/vit_b16/seed1/predictions.npz").write_bytes(b"PK\x03\x04 no")
    report = report_of(runs)
    assert "seed1/predictions.npz cannot be read" in report.problems[0]
    assert section(report, "Calibration and rejection").tables[0].rows[1][4].text().endswith("(1 of 2!)")


def test_without_saved_scores_there_is_a_note_and_no_table(runs):
    runs.pair("dtd", 60.0, 50.0)
    report = report_of(runs)
    assert section(report, "Calibration and rejection") is None
    assert any("No run here has saved scores. TEST.SAVE_SCORES True" in note for note in report.notes)


def test_summary_is_made_of_the_checked_measures():
    scores, true = np.log([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]]), np.array([0, 1, 0, 1])
    found = calibration.summary(scores, true)
    assert (found["accuracy_at_95"], found["accuracy_at_80"]) == (75.0, 75.0)
    assert (found["aurc"], found["nll"]) == (pytest.approx(0.0625), calibration.nll(scores, true))
