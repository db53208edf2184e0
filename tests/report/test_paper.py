"""The published numbers: every HM and average is recomputed, and what differs is what `paper/README.md` lists."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Iterator

import pytest

from reporting import paper
from reporting.load.result import Key, Row
from reporting.names import PAPER_DATASETS
from reporting.stats import OUTSIDE, harmonic_mean
from trainers import METHODS

Deviation = tuple[str, str, float, float]  # table, row, printed, computed


def differs(computed: float, printed: float) -> bool:
    """By more than one in the last digit, which rounding of what it is computed from explains."""
    return abs(round(computed, 2) - printed) > 0.011


def listed() -> list[Deviation]:
    """The table of misprints in `paper/README.md`."""
    text = (paper.FOLDER / "README.md").read_text(encoding="utf-8").split("## Misprints")[1]
    rows = re.findall(r"^\| (\d+) \| (.+?) \| ([\d.]+) \| ([\d.]+)", text, re.MULTILINE)
    return sorted((table, row, float(printed), float(computed)) for table, row, printed, computed in rows)


def triples(name: str, keys: list[str]) -> dict[tuple[str, ...], dict[str, float]]:
    found: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for row in paper.read(name):
        found[tuple(row[key] for key in keys)][row["metric"]] = float(row["value"])
    return found


def wrong_hms() -> Iterator[Deviation]:
    sources = [
        ("1", "table1_base_to_novel", ["method", "dataset"], "{}, {}, HM"),
        ("4", "table4_variants", ["variant"], "{}, HM"),
        ("4", "table4_rep_dim", ["rep_dim"], "d_r {}, HM"),
        ("5", "table5_alpha", ["alpha"], "alpha {}, HM"),
        ("5", "table5_lambda_imagenet", ["lambda"], "lambda {}, HM"),
        ("9", "table9_regularization", ["regularization"], "{}, HM"),
    ]
    for table, name, keys, words in sources:
        found = triples(name, keys)
        assert found and all(set(parts) == {"base", "novel", "hm"} for parts in found.values()), name
        for key, parts in found.items():
            computed = harmonic_mean(parts["base"], parts["novel"])
            if differs(computed, parts["hm"]):
                yield table, words.format(*key), parts["hm"], computed


def wrong_averages() -> Iterator[Deviation]:
    first = triples("table1_base_to_novel", ["method", "dataset"])
    for method in dict.fromkeys(method for method, _ in first):
        for part in ("base", "novel"):
            computed = statistics.mean(first[method, name][part] for name in PAPER_DATASETS)
            printed = first[method, "average"][part]
            if differs(computed, printed):
                yield "1", f"{method}, average, {part}", printed, computed
    second = {(row["method"], row["dataset"]): float(row["value"]) for row in paper.read("table2_cross_dataset")}
    for method in dict.fromkeys(method for method, _ in second):
        computed = statistics.mean(second[method, name] for name in PAPER_DATASETS[1:])
        if differs(computed, second[method, "average"]):
            yield "2", f"{method}, average", second[method, "average"], computed
    shots = {(r["method"], r["dataset"], r["shots"]): float(r["accuracy"]) for r in paper.read("table10_11_few_shot")}
    for method, count in dict.fromkeys((method, count) for method, _, count in shots):
        computed = statistics.mean(shots[method, name, count] for name in PAPER_DATASETS)
        if differs(computed, shots[method, "average", count]):
            yield "10", f"{method}, {count} shots, average", shots[method, "average", count], computed


def test_the_misprints_are_exactly_those_that_are_listed():
    found = sorted([*wrong_hms(), *wrong_averages()])
    assert [(table, row, printed) for table, row, printed, _ in found] == [line[:3] for line in listed()]
    for (*_, ours), (*_, theirs) in zip(found, listed(), strict=True):
        assert f"{ours:.2f}" == f"{theirs:.2f}"
    assert len(found) == 8


def test_table_6_has_the_hms_of_tables_1_and_4():
    found = {row["method"]: float(row["hm"]) for row in paper.read("table6_cost")}
    first = triples("table1_base_to_novel", ["method", "dataset"])
    assert found.pop("MMRL*") == triples("table4_rep_dim", ["rep_dim"])[("32",)]["hm"]
    assert found == {method: first[method, "average"]["hm"] for method in found} and len(found) == 7


def test_table_8_has_every_data_set_and_agrees_with_table_5_on_imagenet():
    found = {(row["lambda"], row["dataset"]): float(row["hm"]) for row in paper.read("table8_lambda")}
    assert {name for _, name in found} == set(PAPER_DATASETS) and len(found) == 11 * 11
    fifth = {key[0]: parts["hm"] for key, parts in triples("table5_lambda_imagenet", ["lambda"]).items()}
    common = {value: hm for value, hm in fifth.items() if (value, "imagenet") in found}
    differing = [value for value, hm in common.items() if found[value, "imagenet"] != hm]
    assert list(common) == ["0.0", "0.2", "0.5", "4.0"]
    assert differing == ["0.0"] and found["0.0", "imagenet"] == 74.01


@pytest.mark.parametrize(
    ("key", "part", "expected"),
    [
        (Key("base2new", "ViT-B/16", Row("MMRL"), "dtd", "dtd", "base", 16), "hm", 73.82),
        (Key("base2new", "ViT-B/16", Row("ZeroshotCLIP"), "dtd", "average", "new", 16), "", 74.22),
        (Key("base2new", "ViT-B/16", Row("MultiModalAdapter"), "ucf101", "ucf101", "base", 16), "hm", 82.20),
        (Key("xd", "ViT-B/16", Row("MMRL"), "imagenet", "imagenet_r", "all", 16), "", 77.53),
        (Key("fewshot", "ViT-B/16", Row("MaPLe"), "dtd", "average", "all", 4), "", 75.37),
        (Key("fewshot", "ViT-B/16", Row("MMRL", "any_name", True), "dtd", "dtd", "all", 1), "", 56.37),
        (Key("fewshot", "embedded", Row("MMRL"), "dtd", "dtd", "all", 1), "", None),
        (Key("fewshot", "ViT-B/16", Row("MMRL", "+ALPHA=0.5"), "dtd", "dtd", "all", 1), "", None),
        (Key("xd", "ViT-B/16", Row("MMRL"), "dtd", "imagenet_r", "all", 16), "", None),
    ],
)
def test_a_published_number_stands_beside_what_it_is_comparable_with(key, part, expected):
    assert paper.published(key, part) == expected


EUROSAT = Key("base2new", "ViT-B/16", Row("MMRL"), "eurosat", "eurosat", "new", 16)


@pytest.mark.parametrize(
    ("key", "part", "expected"),
    [
        (EUROSAT, "", "71.27 to 74.53 (5) ‡"),  # published: 80.17
        (EUROSAT._replace(dataset="oxford_pets"), "base", "95.63 to 95.97 (4)"),  # published: 95.90
        (EUROSAT._replace(row=Row("MMRLpp")), "", "85.13 to 85.40 (3) ‡"),  # published: 84.17
        (EUROSAT._replace(row=Row("ALIGNEDNORM")), "", "80.90 to 86.50 (3) ‡"),  # published: 86.63
        (EUROSAT._replace(row=Row("MaPLe")), "base", "90.03 (1)"),  # one run is no range to be outside of
        (EUROSAT._replace(row=Row("MMRL", "+ALPHA=0.5")), "", None),
        (EUROSAT._replace(backbone="embedded"), "", None),
    ],
)
def test_re_runs_stand_beside_what_they_repeat(key, part, expected):
    assert paper.rerun_range(key, part) == expected


def test_every_re_run_has_a_source_and_every_reason_a_marked_number():
    text = (paper.FOLDER / "README.md").read_text(encoding="utf-8")
    assert all(f"`{row['source']}`" in text for row in paper.read("reruns"))
    assert {method for _, method, *_ in paper.reruns()} <= set(METHODS)
    for row in paper.read("reasons"):
        key = EUROSAT._replace(row=Row(row["method"]), dataset=row["dataset"])
        assert paper.rerun_range(key, row["part"]).endswith(OUTSIDE)
        assert any(row["reason"] in line for line in paper.remarks([key]))
    assert paper.remarks([EUROSAT._replace(row=Row("CoOp"))]) == []


def test_alignednorms_table_is_consistent():
    for key, parts in triples("alignednorm_base_to_new", ["method", "dataset"]).items():
        assert abs(harmonic_mean(parts["base"], parts["novel"]) - parts["hm"]) < 0.021, key
