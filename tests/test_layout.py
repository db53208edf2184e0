"""The house: floors, configurations, scripts, and habits that a reader relies on."""

from __future__ import annotations

import ast
import csv
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

import datasets
import mmrl
import reference
import train
import trainers
from commands import script
from runs import config
from tests.runs.resolved import BASES, method_files
from tests.standin.surface import importable
from trainers.plugins import title

ROOT = Path(train.__file__).parent
CONFIGS = ROOT / "configs"
FLOORS = "common dassl clip datasets trainers reference runs reporting classify commands".split()  # lowest first
# What each floor may import of the project: those below it, as far as they are its business.
MAY_IMPORT = {
    "common": {"common"},
    "dassl": {"dassl", "common"},
    "clip": {"clip", "common"},
    "datasets": {"datasets", "dassl", "common"},
    "trainers": {"trainers", "datasets", "clip", "dassl", "common"},
    "reference": {"reference", "trainers", "datasets", "clip", "dassl", "common"},
    "runs": {"runs", "trainers", "datasets", "clip", "dassl", "common"},
    "reporting": {"reporting", "runs", "trainers", "datasets", "clip", "dassl", "common"},
    "classify": {"classify", "reporting", "runs", "trainers", "datasets", "clip", "dassl", "common"},
    "commands": {*FLOORS} - {"reference"},
}
BACKBONES = ("ViT-B/16", "ViT-B/32", "RN50", "RN101", "embedded")  # that a configuration may name
WITH_PLUGINS = sorted({path.parent.name for path in method_files() if "+" in path.parent.name})
METHOD_NAMES = {name for method in trainers.METHODS for name in (method, reference.module_of(method))}
# What a run takes of ours beside the public Dassl's names, all in one place that says what else stands for it.
ENGINE = "runs/engine.py"


def sources(*folders: str) -> list[Path]:
    """Python files of the given folders, or of the whole project without its tests."""
    if not folders:
        return [*ROOT.glob("*.py"), *sources(*FLOORS, "tools", "benchmarks")]
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    """All nodes of a source's syntax tree, read once for all tests."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def trees(*folders: str) -> Iterator[tuple[Path, list[ast.AST]]]:
    for path in sources(*folders):
        yield path.relative_to(ROOT), nodes_of(path)


def calls_of(nodes: list[ast.AST], *names: str) -> Iterator[tuple[ast.Call, str]]:
    """Calls of attributes of these names, with what is called in full."""
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names:
            yield node, ast.unparse(node.func)


def imports(nodes) -> Iterator[tuple[str, list[str]]]:
    """Absolute imports as (module, names); relative ones stay within their package and do not count."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module, [alias.name for alias in node.names]


def test_the_root_has_three_programs():
    assert {path.name for path in ROOT.glob("*.py")} == {"train.py", "parse_test_res.py", "mmrl.py"}


def test_every_floor_has_sources():
    assert all(sources(floor) for floor in FLOORS) and len(sources()) > 40


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_go_down_only(floor):
    upward = [
        f"{path} imports {module}"
        for path, nodes in trees(floor)
        for module, _ in imports(nodes)
        if module.split(".")[0] in {*FLOORS, "tools", "train", "parse_test_res", "mmrl"} - MAY_IMPORT[floor]
    ]
    assert not upward


def test_relative_imports_stay_in_their_package():
    climbing = [
        str(path)
        for path, nodes in trees(*FLOORS)
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.level >= len(path.parts)
    ]
    assert not climbing


def test_what_is_above_the_methods_knows_none():
    """It asks a trainer or its ``Method``, and nothing that is private to them; ``_models`` is Dassl's."""
    modules = {entry.module for entry in trainers.METHODS.values()}
    above = [floor for floor in FLOORS if "trainers" in MAY_IMPORT[floor] and floor not in ("trainers", "reference")]
    paths = [*ROOT.glob("*.py"), *sources(*above)]
    known = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in paths
        for module, names in imports(nodes_of(path))
        for name in (module, *(f"{module}.{name}" for name in names))
        if any(f"{name}.".startswith(f"{one}.") for one in modules)
    ]
    private = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in paths
        for match in re.finditer(r"\b(trainer|method|model)\._(?!models\b)\w+", path.read_text(encoding="utf-8"))
    ]
    assert len(paths) > 40 and not known + private


def test_only_public_names_of_dassl_are_used_in_a_run():
    """Attributes, arguments and keys are proved by `tests/standin`."""
    run = [path for path in sources("trainers", "datasets", "runs") if "grid" not in path.parts]
    private = [
        f"{path.relative_to(ROOT)}: from {module} import {name}"
        for path in [*run, ROOT / "train.py"]
        if path != ROOT / ENGINE
        for module, names in imports(nodes_of(path))
        if module.split(".")[0] == "dassl"
        for name in names or ["(the whole module)"]
        if name not in importable(module)
    ]
    assert len(run) > 80 and not private


def test_clip_names_no_method():
    word = re.compile(rf"\b({'|'.join(METHOD_NAMES)})\b", re.IGNORECASE)
    named = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in sources("clip")
        for match in word.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not named


def test_nothing_is_unpickled_and_no_error_is_hidden():
    found = []
    for path, nodes in trees():
        for call, name in calls_of(nodes, "load", "loads", "Unpickler"):
            safe = any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in call.keywords)
            if re.match(r"(pickle|joblib|dill)\.", name) or name == "torch.load" and not safe:
                found.append(f"{path}:{call.lineno}: {name}, without weights_only=True")
        for node in nodes:
            if isinstance(node, ast.ExceptHandler):
                broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
                hides = broad and not any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
                found += [f"{path}:{node.lineno}: a broad except that does not raise"] if hides else []
    assert not found


def test_json_that_is_written_is_json():
    """Python writes NaN and infinity unless it is told not to."""
    found = [
        f"{path}:{call.lineno}"
        for path, nodes in trees()
        for call, name in calls_of(nodes, "dump", "dumps")
        if name in ("json.dump", "json.dumps")
        if not any(word.arg == "allow_nan" and ast.unparse(word.value) == "False" for word in call.keywords)
    ]
    assert not found


def dataset_configs() -> list[Path]:
    """All but a user's copies of the two for own data."""
    originals = {"ImageFolder": "imagefolder", "Table": "table"}
    paths = sorted((CONFIGS / "datasets").rglob("*.yaml"))
    names = [yaml.safe_load(path.read_text())["DATASET"]["NAME"] for path in paths]
    return [path for path, name in zip(paths, names, strict=True) if path.stem == originals.get(name, path.stem)]


def build(dataset: Path, method: Path, *options: str):
    words = ["--dataset-config-file", str(dataset), "--config-file", str(method), "--trainer", method.parent.name]
    return config.build_cfg(train.parse_args([*words, *options]))


def test_every_method_has_its_files():
    """One in trainers/, one in reference/, both under the same name, and a row in docs/methods.md; no others."""
    names = {reference.module_of(method) for method in trainers.METHODS}
    for folder in ("trainers", "reference"):
        found = {path.stem for path in sources(folder) if path.parent.name == folder}
        found |= {path.parent.name for path in (ROOT / folder).glob("*/__init__.py")}
        assert found - {"__init__", "shared", "plugins", "settings"} == names
    rows = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    assert all(reference.of(method) and f"\n| {method} |" in rows for method in trainers.METHODS)


def test_all_configurations_are_seen():
    overrides = {path for path in CONFIGS.rglob("trainers/*/datasets.yaml") if not path.parent.is_symlink()}
    copies = set((CONFIGS / "datasets").rglob("*.yaml")) - set(dataset_configs())
    bases = set(BASES.glob("*.yaml"))
    assert set(CONFIGS.rglob("*.y*ml")) == {*dataset_configs(), *method_files(), *overrides, *copies, *bases}
    assert len(bases) == 3 and all(path.read_text().startswith("# ") for path in bases)
    assert {path.parent.name for path in method_files()} == {*trainers.METHODS, *WITH_PLUGINS}
    assert len(dataset_configs()) == len(datasets.NAMES)


@pytest.mark.parametrize("method", [*trainers.METHODS, *WITH_PLUGINS])
def test_every_method_says_which_configuration_a_script_takes(method):
    folder = CONFIGS / "trainers" / method
    rows = [line.split() for line in (folder / "protocols").read_text().splitlines() if line and line[0] != "#"]
    assert all(len(row) == 4 and (folder / f"{row[3]}.yaml").is_file() for row in rows)
    assert rows[:2] == [["*", data, "*", "embedded"] for data in ("digits", "drawn_*")]
    for protocol in ("base2new", "xd", "fewshot"):
        for dataset in ("imagenet", "caltech101"):
            for shots in ("1", "2", "4", "8", "16", "3"):
                asked = (protocol, dataset, shots)
                assert any(all(a in (b, "*") for a, b in zip(row, asked, strict=False)) for row in rows), asked


@pytest.mark.parametrize("path", dataset_configs(), ids=lambda path: path.stem)
def test_every_dataset_configuration_builds_and_names_a_dataset(path):
    own = {"imagefolder": ["FOLDER", "TEMPLATE"], "table": ["FOLDER", "TABLE", "TEMPLATE"]}
    assert list(yaml.safe_load(path.read_text())["DATASET"]) == ["NAME", *own.get(path.stem, [])]
    cfg = build(path, CONFIGS / "trainers/MMRL/vit_b16.yaml")
    assert cfg.DATASET.NAME in datasets.NAMES


def test_every_dataset_has_one_configuration():
    named = [yaml.safe_load(path.read_text())["DATASET"]["NAME"] for path in dataset_configs()]
    assert sorted(named) == sorted(datasets.NAMES)


@pytest.mark.parametrize("path", method_files(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_method_configuration_builds_and_names_a_trainer(path):
    cfg = build(CONFIGS / "datasets/digits.yaml", path)
    assert title(cfg) == path.parent.name and cfg.TRAINER.NAME in trainers.METHODS
    assert path.read_text().startswith("# ") and cfg.MODEL.BACKBONE.NAME in BACKBONES
    assert cfg.INPUT.INTERPOLATION == "bicubic" and cfg.INPUT.PIXEL_MEAN[0] == 0.48145466


@pytest.mark.parametrize(
    ("stem", "task", "epochs", "batch", "warmup"),
    [
        ("vit_b16", "B2N", 10, 4, 1),
        ("vit_b16_imagenet", "B2N", 5, 32, 1),
        ("vit_b16_few_shot", "FS", 50, 4, 1),
        ("vit_b16_few_shot_imagenet", "FS", 5, 32, 1),
        ("vit_b16_cross_datasets", "CD", 1, 32, 0),
    ],
)
def test_mmrls_settings_are_the_papers(stem, task, epochs, batch, warmup):
    cfg = build(CONFIGS / "datasets/imagenet.yaml", CONFIGS / f"trainers/MMRL/{stem}.yaml")
    assert (cfg.TASK, cfg.OPTIM.MAX_EPOCH, cfg.DATALOADER.TRAIN_X.BATCH_SIZE) == (task, epochs, batch)
    assert (cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.LR_SCHEDULER) == ("adamw", 0.001, "cosine")
    assert (cfg.OPTIM.WARMUP_EPOCH, cfg.OPTIM.WARMUP_TYPE if warmup else "constant") == (warmup, "constant")
    assert (cfg.INPUT.RRCROP_SCALE, cfg.OPTIM.WEIGHT_DECAY) == ((0.5, 1.0), 0.0005)
    node = cfg.TRAINER.MMRL
    assert (node.ALPHA, node.REP_LAYERS, node.REP_DIM, node.N_REP_TOKENS) == (0.7, [6, 7, 8, 9, 10, 11, 12], 512, 5)
    assert (node.PREC, node.FUSION, node.REG_WEIGHT) == ("amp", "probs", 0.5)


def test_lambda_per_dataset_is_the_best_of_table_8():
    best: dict[str, tuple[float, float]] = {}
    with open(Path(__file__).parent / "data/runs/table8_lambda.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            best[row["dataset"]] = max(best.get(row["dataset"], (0.0, 0.0)), (float(row["hm"]), float(row["lambda"])))
    assert len(best) == 11
    for name, (_, weight) in best.items():
        cfg = build(CONFIGS / f"datasets/{name}.yaml", CONFIGS / "trainers/MMRL/vit_b16.yaml")
        assert cfg.TRAINER.MMRL.REG_WEIGHT == weight, name
        assert cfg.TRAINER.MMRL.REP_DIM == (2048 if name == "eurosat" else 512)


SCRIPTS = sorted(path for path in (ROOT / "scripts").rglob("*.sh") if path.name != "common.sh")


def test_all_scripts_are_seen():
    names = "base2new_test base2new_train compare fewshot joint_test reproduce xd_test xd_train"
    assert [path.stem for path in sorted(SCRIPTS, key=lambda path: path.name)] == names.split()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_script_explains_itself(path, capsys):
    """That a script hands its words over as they are is shown in tests/grid."""
    for flag in ("-h", "--help"):
        assert script.main([str(path), flag]) == 0
        out, err = capsys.readouterr()
        assert f"bash {path.relative_to(ROOT)}" in out and "OUTPUT" in out and not err
        assert not re.search(r"^#|^source |read_args", out, re.MULTILINE)


def test_no_script_holds_a_hyper_parameter():
    keys = [
        key
        for path in (ROOT / "scripts").rglob("*.sh")
        for line in path.read_text().splitlines()
        if not line.lstrip().startswith("#")
        for key in re.findall(r"\b(?:[A-Z_0-9]+\.)+[A-Z_0-9]+\b", line)
    ]
    assert not keys


def test_commands_are_the_modules_of_commands():
    modules = {path.stem for path in (ROOT / "commands").glob("*.py")} - {"__init__"}
    assert modules == {mmrl.module_of(name) for name in (*mmrl.COMMANDS, mmrl.SCRIPT)}


def test_every_command_is_listed_with_a_line(capsys):
    assert mmrl.main([]) == 2 and mmrl.main(["-h"]) == mmrl.main(["--help"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and printed.out == 3 * f"{mmrl.listing()}\n"
    lines = [re.fullmatch(r"  ([a-z-]+) +([A-Z].+\.)", line) for line in mmrl.listing().splitlines()]
    assert [line[1] for line in lines if line] == [*mmrl.COMMANDS]
    assert all(len(line) <= 120 for line in mmrl.listing().splitlines())


@pytest.mark.parametrize(("name", "hint"), [("predct", "did you mean predict or inspect?"), ("x", "known: compare, ")])
def test_an_unknown_command_is_one_line_with_the_nearest(name, hint, capsys):
    assert mmrl.main([name, "RUN"]) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert printed.err.startswith(f"error: there is no command {name}; {hint}")


@pytest.mark.parametrize("name", mmrl.COMMANDS)
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as end:
        mmrl.main([name, "-h"])
    printed = capsys.readouterr()
    assert (end.value.code, printed.err) == (0, "") and printed.out.startswith(f"usage: python mmrl.py {name} ")
    assert mmrl.summary(name) in printed.out and f"    python mmrl.py {name} " in printed.out


QUICK = """
import sys, mmrl, train

def ended(main, words):
    try:
        return main(words)
    except SystemExit as end:
        return end.code

def train_on(words):
    return train.main(words)

statuses = [mmrl.main([])] + [ended(mmrl.main, [name, flag]) for name in mmrl.COMMANDS for flag in ("-h", "--wrong")]
wrong = ["prepare Nope", "grid xd --datasets nope", "predict nope --backbone b --classes a", "report nowhere"]
wrong += ["inspect nowhere", "export --model-dir nowhere --out x", "predict README.md --model-dir nowhere"]
wrong += ["fit nowhere"]
statuses += [ended(mmrl.main, line.split()) for line in wrong]
digits = ["--dataset-config-file", "configs/datasets/digits.yaml"]
trained = [["-h"], ["--seed", "one"], ["--trainer", "MMLR", *digits], ["--trainer", "MMRL"]]
statuses += [ended(train_on, words) for words in trained]
sys.exit(f"{'torch' in sys.modules} {statuses}")
"""


def test_help_and_wrong_words_do_not_wait_for_torch():
    done = subprocess.run([sys.executable, "-c", QUICK], cwd=ROOT, capture_output=True, text=True)
    statuses = [2, *([0, 2] * len(mmrl.COMMANDS)), *(8 * [1]), 0, 2, 1, 1]
    assert done.stderr.splitlines()[-1] == f"False {statuses}", done.stderr
    assert "--load-epoch" in done.stdout and "--classes-file" in done.stdout
