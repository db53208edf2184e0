"""The command as users type it, and the page in a browser."""

from __future__ import annotations

import base64
import csv
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from commands import report as entry
from runs import record
from tests.browser import Addresses, needs_chromium, probed
from tests.report.conftest import Runs

ROOT = Path(entry.__file__).parents[1]


@pytest.fixture
def report(capsys):
    """``report(*words)``: exit status, stdout and stderr of the command, in this process."""

    def run(*words: object) -> tuple[int, str, str]:
        return entry.main([*map(str, words)]), *capsys.readouterr()

    return run


def fill(runs: Runs) -> Runs:
    """Add runs of every protocol, some missing."""
    for method, less in (("MMRL", 0.0), ("CoOp", 5.0)):
        for seed in (1, 2):
            cost = {"learned_parameters": 1000 * (1 + int(less)), "test_images_per_second": 10.0 + less}
            runs.pair("dtd", 80.0 - less, 60.0 + seed - less, method=method, seed=seed, **cost)
            runs.add("fewshot", "dtd", "all", 50.0 - less, method=method, seed=seed, shots=1)
            runs.add("fewshot", "dtd", "all", 55.0 - less, method=method, seed=seed, shots=2)
        runs.add("xd", "imagenet", "all", 70.0 - less, method=method)
        runs.add("xd", "imagenet_r", "all", 75.0 - less, method=method, source="imagenet")
    runs.pair("dtd", 79.0, 61.0, changes={"TRAINER.MMRL.ALPHA": 0.5})
    return runs


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Runs:
    """Such runs, to be read only."""
    return fill(Runs(tmp_path_factory.mktemp("filled")))


@pytest.fixture(scope="module")
def reported(python, filled, tmp_path_factory) -> tuple[str, Path]:
    """What a report of them, as users call it, prints, and its folder."""
    out = tmp_path_factory.mktemp("reported") / "out"
    words = [python, str(ROOT / "mmrl.py"), "report", filled.output, "--out", out, "--paper", "--seeds", "1", "2"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout, out


def test_it_writes_every_file_says_what_is_missing_and_does_so_again(report, reported, filled, tmp_path):
    printed, out = reported
    assert "Read 22 records and 0 logs" in printed and str(out / "report.html") in printed
    commands = re.findall(r"^  (python mmrl.py grid .*)$", printed, re.MULTILINE)
    assert len(commands) == 2 and all(line in (out / "report.md").read_text() for line in commands)
    tables = sorted(path.stem for path in (out / "tables").glob("*.csv"))
    assert tables == [
        "ablation_mmrl_alpha_vit_b_16",
        "ablations_cost_vit_b_16",
        "base_to_new_vit_b_16",
        "cost_vit_b_16",
        "domain_generalisation_imagenet_vit_b_16",
        "domain_generalisation_imagenet_vit_b_16_difference",
        "few_shot_vit_b_16",
        "few_shot_vit_b_16_difference",
        "runs",
    ]
    for kind in ("md", "tex"):
        assert sorted(path.stem for path in (out / "tables").glob(f"*.{kind}")) == tables
    plots = sorted(path.name for path in (out / "plots").iterdir())
    assert plots == sorted(f"{name}.{kind}" for name in PLOTS for kind in ("png", "svg"))
    links = re.findall(r"\]\((.+?)\)", (out / "report.md").read_text())
    assert links and all((out / link).is_file() for link in links)
    with (out / "tables/runs.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 22
    assert report(filled.output, "--out", tmp_path / "again", "--paper", "--seeds", 1, 2)[0] == 0
    files = [path.relative_to(out) for path in out.rglob("*") if path.is_file()]
    assert len(files) > 20 and all(
        (out / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files
    )


PLOTS = (
    "few_shot_vit_b_16_dtd",
    "ablation_mmrl_alpha_vit_b_16_dtd",
    "cost_learned_values_vit_b_16_cpu",
    "cost_test_speed_vit_b_16_cpu",
)


def test_damaged_files_are_named_counted_and_skipped(report, runs, tmp_path):
    runs.pair("dtd", 80.0, 60.0)
    folder = runs.add("fewshot", "eurosat", "all", 50.0)
    (folder / record.RECORD).write_text("{ not JSON")
    (tmp_path / "output/elsewhere").mkdir()
    (tmp_path / "output/elsewhere/log.txt").write_text("nothing\n")
    status, said, err = report(runs.output, "--out", tmp_path / "out")
    assert status == 1 and "2 files damaged and skipped" in said
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert len(lines) == 2 and str(folder / record.RECORD) in lines[1] and "log.txt holds no result" in lines[0]
    assert str(folder) in (tmp_path / "out/report.md").read_text()


def test_runs_of_a_fit_are_left_to_its_page(report, runs, tmp_path):
    runs.pair("dtd", 80.0, 60.0)
    fold = runs.add("fewshot", "eurosat", "all", 50.0)
    (fold.parent / "plan.json").write_text("{}")
    _, said, err = report(runs.output, "--out", tmp_path / "out")
    assert "Read 2 records" in said and f"note: {fold.parent} was made by `fit`" in err


def test_mixed_settings_are_refused_with_the_difference_and_status_1(report, runs, tmp_path):
    runs.add("fewshot", "dtd", "all", 50.0, seed=1, shots=1)
    runs.add("fewshot", "dtd", "all", 50.0, seed=3, shots=1, hidden={"OPTIM.LR": 0.5})
    status, _, err = report(runs.output, "--out", tmp_path / "out")
    assert status == 1 and "OPTIM.LR: 0.001 -> 0.5" in err
    assert "(mixed settings!)" in (tmp_path / "out/tables/few_shot_vit_b_16.md").read_text()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--seeds", "1", "2", "1"], "error: --seeds: given twice: 1"),
        (["--methods", "MRML"], "error: unknown method MRML; did you mean MMRL or"),
        (["--methods", "MMRL", "MMRL"], "error: method MMRL is given twice"),
        (["--to", "CoOpp"], "error: unknown method CoOpp; did you mean CoOp or"),
        (["--datasets", "dtb"], "error: unknown dataset dtb; did you mean dtd?"),
        (["--protocols", "base2now"], "error: unknown protocol base2now; did you mean base2new?"),
        (
            ["--methods", "ZeroshotCLIP", "--datasets", "dtd"],
            "error: no run here is of the protocols, methods and data sets",
        ),
    ],
)
def test_a_wrong_name_is_one_line(report, filled, tmp_path, words, line):
    status, _, err = report(filled.output, "--out", tmp_path / "out", *words)
    assert status == 1 and err.startswith(line) and err.count("\n") == 1 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["empty", "gone"])
def test_a_folder_without_runs_is_one_line(report, tmp_path, name):
    (tmp_path / "empty").mkdir()
    status, _, err = report(tmp_path / name)
    why = {"empty": f"there is no run in {tmp_path / name}", "gone": f"there is no folder {tmp_path / name}"}[name]
    assert status == 1 and err.startswith(f"error: {why}") and err.count("\n") == 1


def test_a_report_onto_a_file_is_one_line(report, filled, tmp_path):
    (tmp_path / "out").write_text("mine")
    status, _, err = report(filled.output, "--out", tmp_path / "out")
    assert status == 1 and err == f"error: cannot write into {tmp_path / 'out'}: it is a file\n"
    assert (tmp_path / "out").read_text() == "mine"


def test_other_names_of_methods_are_taken(report, runs, tmp_path):
    runs.pair("dtd", 79.0, 61.0)
    runs.pair("dtd", 70.0, 70.0, method="MultiModalAdapter")
    assert report(runs.output, "--out", tmp_path / "out", "--methods", "MMA", "MMRL", "--to", "MMA")[0] == 0
    assert "HM - MultiModalAdapter" in (tmp_path / "out/tables/base_to_new_vit_b_16.md").read_text()


@pytest.fixture(scope="module")
def page(reported, tmp_path_factory) -> Path:
    return Path(shutil.copy(reported[1] / "report.html", tmp_path_factory.mktemp("page")))


def test_the_page_loads_nothing_but_itself(page):
    parser = Addresses()
    text = page.read_text(encoding="utf-8")
    parser.feed(text)
    images = [address for address in parser.found if not address.startswith("#")]
    assert len(images) == len(PLOTS)
    for address in images:
        kind, data = address.split(",", 1)
        assert kind == "data:image/svg+xml;base64" and b"</svg>" in base64.b64decode(data)
    anchors = {address[1:] for address in parser.found if address.startswith("#")}
    assert anchors <= set(re.findall(r'id="([^"]+)"', text)) and "missing" in anchors
    assert not re.search(r"url\(|@import|fetch\(", text)


PROBE = """<script>
window.addEventListener("load", () => {
  const table = document.querySelector("table.sortable");
  const names = () => [...table.tBodies[0].rows].map((row) => row.cells[1].textContent).join(",");
  const header = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent === "HM");
  const button = table.tHead.rows[0].cells[header].querySelector("[role=button]");
  const orders = [names()];
  for (let i = 0; i < 3; i += 1) { button.click(); orders.push(names()); }
  const images = [...document.images].filter((image) => image.complete && image.naturalWidth > 100).length;
  if (PHONE) document.body.style.width = "390px";
  const wide = document.body.scrollWidth - document.body.clientWidth;
  const result = document.createElement("p");
  result.id = "probe";
  result.textContent = `body=${document.body.offsetWidth} orders=${orders.join("|")} images=${images} wide=${wide}`;
  document.body.append(result);
});
</script>"""


@needs_chromium
@pytest.mark.parametrize(("window", "phone", "body"), [(1300, "false", 1280), (500, "true", 390)])
def test_the_page_sorts_shows_its_plots_and_fits_in_a_browser(page, window, phone, body):
    """Headless Chromium makes no window narrower than 500 pixels: a phone's width is the body's."""
    with_probe = page.with_name(f"probed_{window}.html")
    probe = PROBE.replace("PHONE", phone)
    with_probe.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{probe}</body>"), encoding="utf-8")
    found = probed(with_probe, window)
    orders = "CoOp,MMRL|CoOp,MMRL|MMRL,CoOp|CoOp,MMRL"  # as it was, upwards, downwards, as it was
    assert found == f"body={body} orders={orders} images={len(PLOTS)} wide=0"
