"""Tables from hand-made records, as exact strings."""

from __future__ import annotations

import pytest

from reporting.command import defaults
from reporting.load.gather import gather
from reporting.page import _rows, page
from reporting.report import Request, build
from reporting.stats import Cell, average, harmonic
from reporting.tables import formats
from reporting.tables.base_to_new import base_to_new
from reporting.tables.table import Table
from reporting.tables.wide import crossed, few_shot

MARKDOWN = """\
**Base to new, 16 shots, ViT-B/16: accuracy in percent (± standard deviation over seeds; differences ± 95 % confidence interval)**

| Data set     | Method   |   n |                          Base |                           New |                            HM |             HM - MMRL |
|:-------------|:---------|----:|------------------------------:|------------------------------:|------------------------------:|----------------------:|
| average of 2 | CoOp     |   2 | 82.25 ± 0.35 (seeds missing!) | 57.00 ± 0.00 (seeds missing!) | 67.34 ± 0.12 (seeds missing!) | -7.35 ± 5.40 (n = 2!) |
| average of 2 | MMRL     |   3 |                  86.00 ± 0.50 |                  66.00 ± 0.50 |                  74.68 ± 0.51 |                       |
| dtd          | CoOp     |   2 |        79.50 ± 0.71 (2 of 3!) |        51.00 ± 1.41 (2 of 3!) |        62.14 ± 1.27 (2 of 3!) | -8.48 ± 1.58 (n = 2!) |
| dtd          | MMRL     |   3 |                  82.00 ± 1.00 |                  62.00 ± 1.00 |                  70.61 ± 1.02 |                       |
| eurosat      | CoOp     |   3 |                  85.00 ± 0.00 |                  63.00 ± 1.00 |                  72.36 ± 0.66 |          -6.39 ± 1.64 |
| eurosat      | MMRL     |   3 |                  90.00 ± 0.00 |                  70.00 ± 0.00 |                  78.75 ± 0.00 |                       |
"""  # noqa: E501

CSV = """\
Data set,Method,n,Base,Base sd,Base n,Base seeds,Base mark,New,New sd,New n,New seeds,New mark,HM,HM sd,HM n,HM seeds,HM mark,HM - MMRL,Published base,Published new,Published HM,Gap base,Gap new,Gap HM,Re-runs base,Re-runs new,Re-runs HM
average of 2,CoOp,2,82.25,0.3535533906,2,3,seeds missing!,57,0,2,3,seeds missing!,67.33572711,0.1184801801,2,3,seeds missing!,-7.35 ± 5.40 (n = 2!),,,,,,,,,
average of 2,MMRL,3,86,0.5,3,3,,66,0.5,3,3,,74.68421053,0.5086568855,3,3,,,,,,,,,,,
dtd,CoOp,2,79.5,0.7071067812,2,3,2 of 3!,51,1.414213562,2,3,2 of 3!,62.13793103,1.265716155,2,3,2 of 3!,-8.48 ± 1.58 (n = 2!),79.44,41.18,54.24,+0.06 !,+9.82 !,+7.90 !,,,
dtd,MMRL,3,82,1,3,3,,62,1,3,3,,70.61111111,1.019293857,3,3,,,85.67,65,73.82,-3.67,-3.00,-3.21,84.47 to 85.87 (4),63.57 to 64.53 (4) ‡,72.54 to 73.66 (4) ‡
eurosat,CoOp,3,85,0,3,3,,63,1,3,3,,72.36486486,0.6597319979,3,3,,-6.39 ± 1.64,92.19,54.74,68.69,-7.19,+8.26,+3.67,,,
eurosat,MMRL,3,90,0,3,3,,70,0,3,3,,78.75,0,3,3,,,95.6,80.17,87.21,-5.60,-10.17,-8.46,96.10 to 96.80 (5) ‡,71.27 to 74.53 (5) ‡,82.10 to 84.09 (5) ‡
"""  # noqa: E501

LATEX = r"""% \usepackage{booktabs}
\begin{table}
\centering
\caption{Base to new, 16 shots, ViT-B/16: accuracy in percent ($\pm$ standard deviation over seeds; differences $\pm$ 95 \% confidence interval)}
\label{tab:base_to_new_vit_b_16}
\begin{tabular}{llrrrrr}
\toprule
Data set & Method & n & Base & New & HM & HM - MMRL \\
\midrule
average of 2 & CoOp & 2 & 82.25 $\pm$ 0.35 (seeds missing!) & 57.00 $\pm$ 0.00 (seeds missing!) & 67.34 $\pm$ 0.12 (seeds missing!) & $-$7.35 $\pm$ 5.40 (n = 2!) \\
average of 2 & MMRL & 3 & \textbf{86.00} $\pm$ 0.50 & \textbf{66.00} $\pm$ 0.50 & \textbf{74.68} $\pm$ 0.51 &  \\
\midrule
dtd & CoOp & 2 & 79.50 $\pm$ 0.71 (2 of 3!) & 51.00 $\pm$ 1.41 (2 of 3!) & 62.14 $\pm$ 1.27 (2 of 3!) & $-$8.48 $\pm$ 1.58 (n = 2!) \\
dtd & MMRL & 3 & \textbf{82.00} $\pm$ 1.00 & \textbf{62.00} $\pm$ 1.00 & \textbf{70.61} $\pm$ 1.02 &  \\
\midrule
eurosat & CoOp & 3 & \underline{85.00} $\pm$ 0.00 & \underline{63.00} $\pm$ 1.00 & \underline{72.36} $\pm$ 0.66 & $-$6.39 $\pm$ 1.64 \\
eurosat & MMRL & 3 & \textbf{90.00} $\pm$ 0.00 & \textbf{70.00} $\pm$ 0.00 & \textbf{78.75} $\pm$ 0.00 &  \\
\bottomrule
\end{tabular}
\end{table}
"""  # noqa: E501

FEW_SHOT = """\
| Data set   | Method          |       1 shot |      2 shots |
|:-----------|:----------------|-------------:|-------------:|
| dtd        | CoOp            | 44.00 ± 2.00 | 44.00 ± 2.00 |
| dtd        | CoOp, published |        50.23 |        53.60 |
| dtd        | CoOp, gap       |        -6.23 |        -9.60 |
| dtd        | MMRL            | 53.00 ± 1.00 | 54.00 ± 1.00 |
| dtd        | MMRL, published |        56.37 |        61.37 |
| dtd        | MMRL, gap       |        -3.37 |        -7.37 |

- n = 3 seeds in every row.
"""
FEW_SHOT_DIFFERENCE = """\
| Data set   | Method   |       1 shot |       2 shots |
|:-----------|:---------|-------------:|--------------:|
| dtd        | CoOp     | -9.00 ± 2.48 | -10.00 ± 2.48 |
"""
CROSS_DATASET = """\
| Method   |   imagenet (source) |          dtd |      eurosat |   average of 2 |
|:---------|--------------------:|-------------:|-------------:|---------------:|
| CoOp     |        69.50 ± 0.71 | 44.50 ± 0.71 | 49.50 ± 0.71 |   47.00 ± 0.71 |
| MMRL     |        71.50 ± 0.71 | 46.50 ± 0.71 | 51.50 ± 0.71 |   49.00 ± 0.71 |

- n = 2 seeds in every row.
"""
DOMAINS = """\
| Method   |   imagenet (source) |   imagenet_r |
|:---------|--------------------:|-------------:|
| CoOp     |        69.50 ± 0.71 | 76.50 ± 0.71 |
| MMRL     |        71.50 ± 0.71 | 78.50 ± 0.71 |

- n = 2 seeds in every row.
"""


@pytest.fixture
def two_methods(runs):
    """MMRL with three seeds on two data sets, CoOp with a seed missing on one of them."""
    for seed in (1, 2, 3):
        runs.pair("dtd", 80.0 + seed, 60.0 + seed, seed=seed)
        runs.pair("eurosat", 90.0, 70.0, seed=seed)
        runs.pair("eurosat", 85.0, 65.0 - seed, seed=seed, method="CoOp")
    runs.pair("dtd", 79.0, 50.0, seed=1, method="CoOp")
    runs.pair("dtd", 80.0, 52.0, seed=3, method="CoOp")
    return runs.cells()


def body(table: Table) -> str:
    """A table in Markdown without its title."""
    return formats.markdown(table).split("\n\n", 1)[1]


@pytest.mark.parametrize(
    ("make", "paper", "expected"),
    [(formats.markdown, False, MARKDOWN), (formats.comma_separated, True, CSV), (formats.latex, False, LATEX)],
)
def test_base_to_new_in_every_format(two_methods, make, paper, expected):
    (table,) = base_to_new(two_methods, two_methods.keys(), "MMRL", paper)
    assert make(table) == expected


@pytest.mark.parametrize(
    ("values", "ranks"),
    [
        ([90.0, 80.0, 70.0], [1, 2, 0]),
        ([80.004, 70.0, 79.996], [1, 2, 1]),  # 80.00 twice
        ([70.0, 70.0, 80.0, 60.0], [2, 2, 1, 0]),
        ([90.0, None, 80.0], [2, 0, 0]),
        ([90.0], [0]),
    ],
)
def test_the_best_is_bold_the_second_underlined_and_ties_share(values, ranks):
    lacking = Cell({1: 99.0}, (1, 2), 99.0)  # the best, but one of two seeds is missing: not marked
    cells = [Cell.over_seeds({1: v}, (1,)) if v else lacking for v in values]
    table = Table("t", "title", ["Data set", "Method", "HM"], [["a", f"m{i}", cell] for i, cell in enumerate(cells)], 2)
    table.rows.append(["b", "m0", Cell.over_seeds({1: 100.0}, (1,))])  # another data set
    assert [table.ranks().get((place, 2), 0) for place in range(len(table.rows))] == [*ranks, 0]
    text, html = formats.latex(table), "".join(_rows(table))
    assert text.count(r"\textbf{") == html.count("<strong>") == ranks.count(1)
    assert text.count(r"\underline{") == html.count("<u>") == ranks.count(2)
    assert "±" not in table.caption


def test_few_shot_with_published_numbers_and_differences(runs):
    for seed in (1, 2, 3):
        for shots in (1, 2):
            runs.add("fewshot", "dtd", "all", 50.0 + seed + shots, seed=seed, shots=shots)
            runs.add("fewshot", "dtd", "all", 40.0 + 2 * seed, seed=seed, shots=shots, method="CoOp")
    cells = runs.cells()
    tables = list(few_shot(cells, cells.keys(), "MMRL", paper=True))
    assert [body(table) for table in tables] == [FEW_SHOT, FEW_SHOT_DIFFERENCE]


def test_cross_dataset_and_domain_generalisation_are_apart(runs):
    for method in ("MMRL", "CoOp"):
        for name, value in {"imagenet": 70.0, "dtd": 45.0, "eurosat": 50.0, "imagenet_r": 77.0}.items():
            for seed in (1, 2):
                accuracy = value + seed - 2 * (method == "CoOp")
                runs.add("xd", name, "all", accuracy, seed=seed, source="imagenet", method=method)
    cells = runs.cells(1, 2)
    tables = {table.name: body(table) for table in crossed(cells, cells.keys(), "MMRL", paper=False)}
    assert tables["cross_dataset_imagenet_vit_b_16"] == CROSS_DATASET
    assert tables["domain_generalisation_imagenet_vit_b_16"] == DOMAINS
    assert len(tables) == 4 and all("-2.00 ± 0.00" in tables[name] for name in tables if "difference" in name)


def test_an_average_has_no_number_while_a_data_set_has_none(runs):
    runs.pair("dtd", 80.0, 60.0)
    runs.pair("eurosat", 90.0, 70.0)
    runs.pair("dtd", 80.0, 60.0, method="CoOp")
    cells = runs.cells(1)
    (table,) = base_to_new(cells, cells.keys(), "MMRL", paper=False)
    assert table.texts()[0][:6] == ["average of 2", "CoOp", "0", *["(1 of 2 data sets!)"] * 3]
    assert table.texts()[4][:6] == ["eurosat", "CoOp", "0", "-", "-", "-"]


def test_the_hm_of_an_average_is_that_of_the_averages():
    base, new = (
        average([Cell.over_seeds({1: 90.0}, (1,)), Cell.over_seeds({1: 50.0}, (1,))]),
        Cell({1: 30.0}, (1,), 30.0),
    )
    assert harmonic(base, new).center == pytest.approx(2 * 70 * 30 / 100)


def test_a_half_counts_with_the_seeds_that_both_have(runs):
    runs.pair("dtd", 80.0, 60.0, seed=1)
    runs.add("base2new", "dtd", "base", 10.0, seed=2)
    cells = runs.cells(1, 2)
    (table,) = base_to_new(cells, cells.keys(), "MMRL", paper=False)
    assert table.texts() == [["dtd", "MMRL", "80.00 (1 of 2!)", "60.00 (1 of 2!)", "68.57 (1 of 2!)"]]


def test_letters_that_mean_something_to_latex_are_escaped():
    assert formats.escape(r"a_b & 5 % ± {x} ~^\#$") == (
        r"a\_b \& 5 \% $\pm$ \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{}\#\$"
    )
    table = Table("t", "title", ["a|b", "c"], [["x|y", 1.0]], 1, ["note"])
    assert r"x\|y" in formats.markdown(table) and formats.markdown(table).endswith("\n- note\n")


def test_numbers_that_mean_little_are_marked_in_every_format(runs):
    for method, value in {"MMRL": 100.0, "CoOp": 90.0}.items():
        runs.pair("dtd", 80.0, 70.0, method=method)
        runs.add("base2new", "eurosat", "base", value, method=method)
        runs.add("base2new", "eurosat", "new", 50.0, method=method, notes={"small_test": "12 images are tested"})
    cells = runs.cells(1)
    (table,) = base_to_new(cells, cells.keys(), "MMRL", paper=False)
    assert table.texts()[4][:5] == ["eurosat", "CoOp", "90.00", "50.00 †", "64.29 †"]
    assert table.texts()[4][5] == "-2.38 †" and table.texts()[0][3:5] == ["60.00 †", "70.34 †"]  # the average too
    assert formats.markdown(table).endswith(".\n- † eurosat, new: 12 images are tested\n")
    assert ",50,,1,1,† eurosat\\, new: 12 images are tested,".replace("\\", "") in (
        formats.comma_separated(table).replace('"', "")
    )
    text = formats.latex(table)
    assert r"\textbf{50.00} $\dagger$" in text and r"\par\footnotesize $\dagger$ eurosat, new: 12 images" in text
    report = build(gather([runs.output]), Request(seeds=(1,)), defaults())
    html = page(report)
    assert '<td class="mark" data-v="50" title="seed 1: 50.00"><strong>50.00</strong> †</td>' in html
    assert "<li>† eurosat, new: 12 images are tested</li>" in html and "† marks one" in report.about[-1]


def test_a_table_of_differences_has_the_marks_too(runs):
    for method, value in {"MMRL": 60.0, "CoOp": 50.0}.items():
        runs.add("fewshot", "dtd", "all", value, method=method, notes={"small_test": "12 images are tested"})
    cells = runs.cells(1)
    _, difference = few_shot(cells, cells.keys(), "MMRL", paper=False)
    assert difference.texts() == [["dtd", "CoOp", "-10.00 †"]]
    assert difference.footnotes() == ["† dtd: 12 images are tested"]
