"""The generated table of methods: up to date, and able to notice what is not."""

from __future__ import annotations

import functools
import json

import pytest

import trainers
from tests.often import some_often
from tools import probing, support


@pytest.fixture
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def shown():
    """The page that shows the table."""
    return (support.ROOT / support.PAGE).read_text(encoding="utf-8")


def rows_of(table):
    """Cells of each method's row, by method."""
    rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| `"))
    return {row[0].split("`")[1]: row for row in rows}


OFTEN = {"MMRL", "CoOp", "MaPLe", "TipAdapter", "LinearProbe", "ZeroshotCLIP"}  # one of each kind


@pytest.mark.parametrize("method", some_often(trainers.METHODS, OFTEN))
def test_a_methods_rows_are_what_is_found(method, one_thread):
    """All that can be found by trying, on the CPU; times are those of the committed file."""
    one = {method: probing.probe(method, probing.torch.device("cpu"))}
    measured, text = support.Times.read(support.TIMES), shown()
    table = support.full_table(one, measured)
    assert rows_of(text)[method] == rows_of(table)[method], "run python tools/support.py"
    assert measured.said() in text
    for line in table.partition("What a refusal says:")[2].splitlines():
        said = line.partition('"')[2]
        assert not said or any(said in own and method in own for own in text.splitlines()), said


def test_the_page_has_every_method():
    assert list(rows_of(shown())) == list(trainers.METHODS)
    prose = shown().partition(support.END)[2]
    assert all(f"\n| {method} |" in prose for method in trainers.METHODS)


@pytest.mark.slow
def test_the_page_is_up_to_date(one_thread, capsys):
    """To the letter."""
    assert support.main(["--check"]) == 0, capsys.readouterr().out


def found(**changes):
    usual = {"new_classes": "", "precisions": ("fp32",), "learned": 2048, "fitted": 0}
    return probing.Found(**{**usual, "towers": {"ResNet": "", "deeper image tower": ""}, **changes})


def test_what_a_method_cannot_do_is_said():
    refusing = found(
        new_classes="X cannot score new classes: no", towers={"ResNet": "X needs a ViT", "deeper image tower": "X"}
    )
    table = support.full_table({"CoOp": found(), "PLOT": refusing}, support.Times())
    first, second = (line for line in table.splitlines() if line.startswith("| `"))
    assert "ViT, ResNet" in first and "base to new, cross-dataset, few-shot" in first and "| yes " in first
    assert "ViT only" in second and "| few-shot " in second and "| no " in second
    assert '- PLOT: "... cannot score new classes: no"' in table and '- PLOT: "... needs a ViT"' in table


ABOUT = {
    "command": ["benchmarks/methods.py", "--repeats", "2"],
    "machine": {"processor": "A processor", "threads": 2, "torch": "2.15.0", "accelerator": None},
}


def cells_of(table, last):
    """The last cells of each method's row."""
    return [[cell.strip() for cell in line.split("|")][-1 - last : -1] for line in table.splitlines() if "| `" in line]


def test_times_are_those_of_the_file(tmp_path):
    row = {"method": "CoOp", "classes": 50, "batch": 4, "precision": "fp32"}
    row |= {"ms_per_image": 12.34, "plain_ms": 400.0, "faster": 8.1}
    path = tmp_path / "methods.json"
    path.write_text(json.dumps({**ABOUT, "rows": [row, {**row, "method": "MMRL", "plain_ms": None}]}))
    measured = support.Times.read(path)
    of = {method: found() for method in ("CoOp", "MMRL", "PLOT")}
    table = support.full_table(of, measured)
    assert cells_of(table, 3) == [["12.3", "100", "8.1"], ["12.3", "-", "-"], ["-", "-", "-"]]
    assert "50 classes, batch 4, fp32, on A processor, 2 threads; torch 2.15.0" in table
    assert "(`python benchmarks/methods.py --repeats 2`)" in table
    assert "A dash: not measured." in table and "not measured yet" not in table


def test_without_the_file_dashes_say_that_nothing_was_measured(tmp_path):
    measured = support.Times.read(tmp_path / "none.json")
    text = support.full_table({"CoOp": found()}, measured)
    assert cells_of(text, 1) == [["-"]]
    assert "not measured yet; `python benchmarks/methods.py --json benchmarks/results/methods.json`" in text


def test_the_file_is_what_the_benchmark_writes(tmp_path, monkeypatch):
    """Its keys, from a real run of the smallest kind."""
    from benchmarks import cases, measure, methods

    monkeypatch.setattr(measure, "MatrixProducts", functools.partial(measure.MatrixProducts, rows=2))
    words = ["--methods", "CLIPAdapter", "--classes", "5", "--repeats", "1", "--no-memory", "--no-evaluation"]
    path = tmp_path / "results" / "methods.json"  # a folder that is not there yet
    args = methods.options().parse_args([*words, "--json", str(path)])
    methods.run(args, cases.Size(embed=64, res=32, patch=16, vision=(128, 2), text=(64, 2)))
    measured = support.Times.read(path)
    ((ours, plain, faster),) = cells_of(support.full_table({"CLIPAdapter": found()}, measured), 3)
    assert float(ours.replace(",", "")) > 0 and float(faster) > 0 and plain != "-"
    assert "5 classes, batch 4, fp32, on " in measured.said()


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"rows": [1], "machine": {}}', '{"rows": [{"method": "CoOp"}], "machine": {}}']
)
def test_another_file_is_named(tmp_path, text):
    path = tmp_path / "methods.json"
    path.write_text(text)
    with pytest.raises(SystemExit, match=f"^error: {path} is not what `python benchmarks/methods.py"):
        support.main(["--times", str(path)])


def test_a_page_keeps_what_is_around_its_table():
    page = f"before\n{support.BEGIN}\nold\n{support.END}\nafter\n"
    assert support.put(page, "new") == page.replace("old", "new")
    for broken in ("nothing", f"{support.END}{support.BEGIN}", page + page):
        with pytest.raises(ValueError, match=f"^{support.PAGE} must hold {support.BEGIN} and {support.END} once"):
            support.put(broken, "new")


def test_a_method_that_breaks_is_no_answer(monkeypatch):
    """Only ValueError is taken as a refusal."""
    from trainers.coop import CoOpModel

    def broken(self, images, labels):
        raise RuntimeError("broken")

    monkeypatch.setattr(CoOpModel, "loss", broken)
    with pytest.raises(RuntimeError, match="^broken$"):
        probing.probe("CoOp", probing.torch.device("cpu"))


@pytest.mark.parametrize(
    ("method", "reference", "golden"),
    [
        ("CoOp", "coop", ("coop.json",)),
        ("TipAdapterF", "tipadapter", ("tip_adapter_f.json",)),
        ("MultiModalAdapter", "mma", ("multimodaladapter.json",)),
        ("ZeroshotCLIP2", "zsclip", ()),
    ],
)
def test_what_holds_the_numbers_is_found(method, reference, golden):
    assert support.proofs()[method] == support.Proof(reference, golden)
