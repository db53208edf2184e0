"""The generated tables of methods: up to date, and able to notice what is not."""

from __future__ import annotations

import json

import pytest

import trainers
from tools import probing, support


@pytest.fixture
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_pages_are_up_to_date(one_thread, capsys):
    """All that can be found by trying, on the CPU; times are those of the committed file."""
    assert support.main(["--check"]) == 0, capsys.readouterr().out
    text = (support.ROOT / "docs/methods.md").read_text()
    prose = text.partition(support.END)[2]
    assert all(f"\n| {method} |" in prose for method in trainers.METHODS)


def found(**changes):
    usual = {"new_classes": "", "precisions": ("fp32",), "learned": 2048, "fitted": 0}
    return probing.Found(**{**usual, "towers": {"ResNet": "", "deeper image tower": ""}, **changes})


def test_what_a_method_cannot_do_is_said():
    refusing = found(
        new_classes="X cannot score new classes: no", towers={"ResNet": "X needs a ViT", "deeper image tower": "X"}
    )
    table = support.full_table({"CoOp": found(), "PLOT": refusing}, {})
    first, second = (line for line in table.splitlines() if line.startswith("| `"))
    assert "ViT, ResNet" in first and "base to new, cross-dataset, few-shot" in first and "| yes " in first
    assert "ViT only" in second and "| few-shot " in second and "| no " in second
    assert '- PLOT: "... cannot score new classes: no"' in table and '- PLOT: "... needs a ViT"' in table
    short = support.short_table({"PLOT": refusing}, {})
    assert short.splitlines()[-1].count("| no ") == 2


def test_times_are_those_of_the_file(tmp_path):
    row = {"method": "CoOp", "ms_per_image": 12.34, "plain_ms": 400.0, "batch": 4, "faster": 8.1}
    (tmp_path / "methods.json").write_text(json.dumps({"rows": [row, {**row, "method": "MMRL", "plain_ms": None}]}))
    measured = support.times(tmp_path / "methods.json")
    rows = [line for line in support.full_table({m: found() for m in ("CoOp", "MMRL", "PLOT")}, measured).splitlines()]
    cells = [[cell.strip() for cell in line.split("|")][-4:-1] for line in rows if line.startswith("| `")]
    assert cells == [["12.3", "100", "8.1"], ["12.3", "-", "-"], ["-", "-", "-"]]
    assert support.times(tmp_path / "none.json") == {}


def test_a_page_keeps_what_is_around_its_table():
    page = f"before\n{support.BEGIN}\nold\n{support.END}\nafter\n"
    assert support.put(page, "new", "a.md") == page.replace("old", "new")
    for broken in ("nothing", f"{support.END}{support.BEGIN}", page + page):
        with pytest.raises(ValueError, match="^a.md must hold <!-- methods:begin --> and <!-- methods:end --> once"):
            support.put(broken, "new", "a.md")


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
        ("CoOp", "plain_coop", ("coop.json",)),
        ("TipAdapterF", "plain_adapters", ("tip_adapter_f.json",)),
        ("MultiModalAdapter", "plain_mma", ("multimodaladapter.json",)),
        ("ZeroshotCLIP", "", ()),
    ],
)
def test_what_holds_the_numbers_is_found_in_the_tests(method, reference, golden):
    assert support.proofs()[method] == support.Proof(reference, golden)
