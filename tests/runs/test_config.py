"""The configuration: the order of its sources, and what happens to names and types that do not fit."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import train
from common.names import suggest
from runs import config, record

CONFIGS = Path(train.__file__).parent / "configs"
EUROSAT = ["--dataset-config-file", str(CONFIGS / "datasets/eurosat.yaml")]
DIGITS = ["--dataset-config-file", str(CONFIGS / "datasets/digits.yaml")]
B16 = ["--trainer", "MMRL", "--config-file", str(CONFIGS / "trainers/MMRL/vit_b16.yaml")]


def build(*words: str):
    return config.build_cfg(train.parse_args(list(words)))


def test_every_source_overrides_the_one_before(tmp_path):
    """default < dataset YAML < method YAML < per-dataset override < named argument or KEY VALUE."""
    (tmp_path / "data.yaml").write_text("DATASET: {NAME: Digits}\nOPTIM: {LR: 0.5, GAMMA: 0.5}\nSEED: 7\n")
    (tmp_path / "method.yaml").write_text("OPTIM: {LR: 0.25, STEPSIZE: [3]}\nTRAINER: {MMRL: {ALPHA: 0.1}}\n")
    (tmp_path / "datasets.yaml").write_text(
        "Digits: {FS: {TRAINER: {MMRL: {ALPHA: 0.4}}}, TRAINER: {MMRL: {ALPHA: 0.2, REG_WEIGHT: 9}}}\n"
    )
    words = ["--trainer", "MMRL", "--dataset-config-file", f"{tmp_path}/data.yaml"]
    words += ["--config-file", f"{tmp_path}/method.yaml"]

    cfg = build(*words)
    assert (cfg.OPTIM.MOMENTUM, cfg.OPTIM.GAMMA, cfg.OPTIM.LR, cfg.OPTIM.STEPSIZE) == (0.9, 0.5, 0.25, (3,))
    assert (cfg.TRAINER.MMRL.ALPHA, cfg.TRAINER.MMRL.REG_WEIGHT, cfg.SEED) == (0.2, 9.0, 7)

    cfg = build(*words, "--seed", "0", "TRAINER.MMRL.ALPHA", "0.3", "OPTIM.LR", "1e-3")
    assert (cfg.TRAINER.MMRL.ALPHA, cfg.OPTIM.LR, cfg.SEED) == (0.3, 0.001, 0)

    few_shot = build(*words, "TASK", "FS").TRAINER.MMRL  # what stands under a task is that task's alone
    assert (few_shot.ALPHA, few_shot.REG_WEIGHT) == (0.4, 9.0)
    assert build(*words, "TASK", "CD").TRAINER.MMRL.ALPHA == 0.1  # one setting for every cross-dataset target


def test_the_datasets_own_settings_apply_to_that_dataset_only():
    assert build(*EUROSAT, *B16).TRAINER.MMRL.REP_DIM == 2048
    assert build(*EUROSAT, *B16).TRAINER.MMRL.REG_WEIGHT == 0.01
    assert build(*DIGITS, *B16).TRAINER.MMRL.REP_DIM == 512
    # The command line also decides which dataset it is.
    assert build(*DIGITS, *B16, "DATASET.NAME", "EuroSAT").TRAINER.MMRL.REP_DIM == 2048


def test_evaluation_takes_the_methods_settings_from_the_trained_run(tmp_path):
    trained = build(*EUROSAT, *B16, "TRAINER.MMRL.REP_DIM", "96", "OPTIM.LR", "0.7")
    (tmp_path / config.RESOLVED).write_text(trained.dump())
    evaluate = ["--eval-only", "--model-dir", str(tmp_path)]

    cfg = build(*EUROSAT, *B16, *evaluate)
    assert cfg.TRAINER.MMRL.REP_DIM == 96
    assert cfg.OPTIM.LR == 0.001  # only the method's node is taken
    assert build(*EUROSAT, *B16, *evaluate, "TRAINER.MMRL.REP_DIM", "48").TRAINER.MMRL.REP_DIM == 48
    with pytest.raises(ValueError, match="holds a MMRL model, not one of ZeroshotCLIP"):
        build(*EUROSAT, "--trainer", "ZeroshotCLIP", *evaluate)


def test_a_joint_test_has_the_settings_of_the_run_whose_model_it_tests():
    cars = ["--dataset-config-file", str(CONFIGS / "datasets/stanford_cars.yaml")]
    words = [*cars, "--config-file", str(CONFIGS / "trainers/ALIGNEDNORM/vit_b16.yaml"), "--trainer", "ALIGNEDNORM"]
    assert build(*words, "--eval-only", "TASK", "JOINT").OPTIM.MAX_EPOCH == 13 == build(*words).OPTIM.MAX_EPOCH


def test_every_named_argument_reaches_its_key():
    words = "--root R --output-dir O --resume P --seed 3 --backbone B --head H --transforms normalize random_flip"
    cfg = build(*EUROSAT, *B16, *words.split(), "--source-domains", "a", "b", "--target-domains", "c")
    assert (cfg.DATASET.ROOT, cfg.OUTPUT_DIR, cfg.RESUME, cfg.SEED) == ("R", "O", "P", 3)
    assert (cfg.MODEL.BACKBONE.NAME, cfg.MODEL.HEAD.NAME) == ("B", "H")
    assert tuple(cfg.INPUT.TRANSFORMS) == ("normalize", "random_flip")
    assert (tuple(cfg.DATASET.SOURCE_DOMAINS), tuple(cfg.DATASET.TARGET_DOMAINS)) == (("a", "b"), ("c",))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["OPTIM.LRR", "1"], "command line: unknown key OPTIM.LRR; did you mean OPTIM.LR"),
        (["OPTIMM.LR", "1"], "command line: unknown key OPTIMM.LR; did you mean OPTIM.LR"),
        (["REG_WEIGHT", "1"], "did you mean TRAINER.MMRL.REG_WEIGHT"),
        (["OPTIM", "1"], "command line: OPTIM is a group of keys"),
        (["OPTIM.LR.X", "1"], "unknown key OPTIM.LR.X"),
        (["OPTIM.LR", "1e999"], "command line: OPTIM.LR must be a finite number, not '1e999'"),
        (["OPTIM.STEPSIZE", "[1, -1e999]"], "command line: OPTIM.STEPSIZE must be "),
        (["OPTIM.LR", "fast"], "command line: OPTIM.LR must be float, such as 0.001, not 'fast'"),
        (["OPTIM.MAX_EPOCH", "2.5"], "OPTIM.MAX_EPOCH must be int"),
        (["OPTIM.MAX_EPOCH", "True"], "OPTIM.MAX_EPOCH must be int"),
        (["TEST.NO_TEST", "1"], "TEST.NO_TEST must be True or False"),
        (["INPUT.SIZE", "32"], "INPUT.SIZE must be tuple"),
        (["INPUT.SIZE", "(32, 'x')"], "INPUT.SIZE must be int"),
        (["OPTIM.LR"], "OPTIM.LR has no value"),
        (["OPTIM.LR", "1", "--seed", "1"], "--seed stands after KEY VALUE options"),
        (["TASK", "XD"], "TASK must be one of B2N, CD, FS, JOINT, not 'XD'"),
        (
            ["TASK", "JOINT"],
            "TASK JOINT tests a model of base classes on all of them: give --eval-only --model-dir DIR",
        ),
        (["DATASET.SUBSAMPLE_CLASSES", "old"], "DATASET.SUBSAMPLE_CLASSES must be one of all, base, new"),
        (["DATASET.NAME", "Eurosat"], "unknown dataset Eurosat; did you mean EuroSAT"),
        (["TRAINER.NAME", "mmrll"], "TRAINER.NAME is given twice, by --trainer MMRL and by TRAINER.NAME mmrll"),
        (["OPTIM.LRR=1"], "command line: unknown key OPTIM.LRR; did you mean OPTIM.LR"),
        (["OPTIM.LR=fast"], "command line: OPTIM.LR must be float, such as 0.001, not 'fast'"),
        (["OPTIM.LR", "=", "1"], "OPTIM.LR = has spaces around its sign: write OPTIM.LR=VALUE or OPTIM.LR VALUE"),
        (["OPTIM.LR", "--", "1", "SEED"], "options come as KEY VALUE pairs, and SEED has no value"),
    ],
)
def test_an_option_that_does_not_fit_is_named(words, line):
    with pytest.raises(ValueError) as caught:
        build(*EUROSAT, *B16, *words)
    assert line in str(caught.value)


def test_files_that_do_not_fit_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"datasets/eurosatt.yaml; did you mean eurosat.yaml"):
        build("--dataset-config-file", str(CONFIGS / "datasets/eurosatt.yaml"))
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        build("--dataset-config-file", str(tmp_path / "no/such.yaml"))
    for text, line in [("OPTIM: {LRATE: 1}", "bad.yaml: unknown key OPTIM.LRATE"), ("a: [", "bad.yaml is not valid")]:
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(ValueError, match=line):
            build(*EUROSAT, "--trainer", "MMRL", "--config-file", str(tmp_path / "bad.yaml"))
    (tmp_path / "datasets.yaml").write_text("EuroSad: {SEED: 1}")
    (tmp_path / "good.yaml").write_text("")
    with pytest.raises(ValueError, match="datasets.yaml: unknown dataset EuroSad; did you mean EuroSAT"):
        build(*EUROSAT, "--trainer", "MMRL", "--config-file", str(tmp_path / "good.yaml"))
    with pytest.raises(ValueError, match="no dataset given: use --dataset-config-file"):
        build(*B16)
    with pytest.raises(ValueError, match="no trainer given: use --trainer"):
        build(*EUROSAT)


LEAVES = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.integers()),
    st.lists(st.floats(allow_nan=False, allow_infinity=False)).map(tuple),
)


@given(LEAVES)
def test_a_value_written_on_the_command_line_comes_back(value):
    """Whatever the type of a key, its value as Python prints it is read back equal and with the key's type."""
    read = config.coerce(str(value), type(value)(), "KEY")
    assert read == value and type(read) is type(value)


@given(st.text())
def test_text_stays_text(text):
    assert config.coerce(text, "", "KEY") == text


def test_identity_ignores_where_a_run_lies_and_other_methods():
    one = config.identity(build(*EUROSAT, *B16, "--root", "a", "--output-dir", "b", "DATALOADER.CACHE_GB", "0.5"))
    more = ["VERBOSE", "False", "TRAINER.MCD.N_STEP_F", "9", "TRAIN.RESUME_FREQ", "7"]
    two = config.identity(build(*EUROSAT, *B16, "--root", "c", *more))
    assert one == two
    assert one != config.identity(build(*EUROSAT, *B16, "TRAINER.MMRL.ALPHA", "0.71"))
    assert one["TRAINER.MMRL.REP_DIM"] == 2048 and not any(key.startswith("TRAINER.MCD") for key in one)


def test_defaults_of_an_identity_are_those_of_its_keys():
    cfg = build(*EUROSAT, *B16, "--seed", "5")
    defaults = config.identity_defaults(cfg)
    assert defaults.keys() == config.identity(cfg).keys()
    assert (defaults["SEED"], defaults["TRAINER.MMRL.REP_DIM"], defaults["TRAINER.NAME"]) == (-1, 512, "MMRL")


def test_the_written_configuration_builds_the_same_one_again(tmp_path):
    cfg = build(*EUROSAT, *B16, "--seed", "5")
    (tmp_path / "again.yaml").write_text(cfg.dump())
    again = build("--dataset-config-file", str(tmp_path / "again.yaml"))
    assert dict(config.flatten(again)) == dict(config.flatten(cfg))
    assert yaml.safe_load(cfg.dump())["SEED"] == 5


def test_suggest_names_what_is_near_and_else_everything():
    assert suggest("digit", ["digits", "eurosat"]) == "did you mean digits?"
    assert suggest("zzz", ["digits", "eurosat"]) == "known: digits, eurosat"
    assert suggest("zzz", []) == "known: none"


def test_arguments_that_need_another_are_refused(capsys):
    for words, line in [
        (["--model-dir", "x"], "--model-dir needs --eval-only"),
        (["--load-epoch", "1"], "--load-epoch needs --model-dir"),
        (["--official-stream", "--eval-only"], "--official-stream is of training: leave it out with --eval-only"),
        (["--deterministic"], "--deterministic needs --seed"),
        (["--deterministic", "--seed", "-1"], "--deterministic needs --seed"),
    ]:
        with pytest.raises(SystemExit):
            train.parse_args(words)
        assert line in capsys.readouterr().err
    assert isinstance(train.parse_args([]), argparse.Namespace)


OWN = ["--dataset-config-file", str(CONFIGS / "datasets/imagefolder.yaml")]


def test_own_data_are_read_upright_unless_something_says_otherwise(tmp_path):
    assert build(*EUROSAT, *B16).INPUT.READ == "stored" and build(*OWN, *B16).INPUT.READ == "upright"
    assert build(*EUROSAT, *B16, "DATASET.NAME", "Table").INPUT.READ == "upright"
    assert build(*OWN, *B16, "INPUT.READ", "stored").INPUT.READ == "stored"
    (tmp_path / "own.yaml").write_text("DATASET: {NAME: ImageFolder}\nINPUT: {READ: stored}\n")
    assert build("--dataset-config-file", str(tmp_path / "own.yaml"), *B16).INPUT.READ == "stored"


def test_how_images_are_read_is_part_of_what_a_run_is_and_older_ones_read_them_as_stored():
    upright, stored = build(*OWN, *B16), build(*OWN, *B16, "INPUT.READ", "stored")
    old = {key: value for key, value in config.identity(stored).items() if key != "INPUT.READ"}
    defaults = config.identity_defaults(upright)
    assert record.differences(old, config.identity(upright), defaults) == ["INPUT.READ: stored -> upright"]
    assert record.differences(old, config.identity(stored), defaults) == []
    other = build(*OWN, *B16, "INPUT.MAX_MEGAPIXELS", "300", "DATALOADER.CHECK_IMAGES", "False")
    assert config.identity(other) == config.identity(upright)


@pytest.mark.parametrize(
    ("trained_on", "said", "own", "published"),
    [
        (EUROSAT, ["INPUT.READ", "stored"], "upright", "stored"),  # as its kind is: so is each target
        (OWN, ["INPUT.READ", "upright"], "upright", "stored"),
        (EUROSAT, ["INPUT.READ", "upright"], "upright", "upright"),  # by choice: so are all targets
        (OWN, [], "stored", "stored"),  # a run that is older than the key
    ],
)
def test_evaluation_reads_images_as_the_model_was_trained(tmp_path, trained_on, said, own, published):
    tree = yaml.safe_load(build(*trained_on, *B16, *said).dump())
    if not said:
        del tree["INPUT"]["READ"]
    (tmp_path / config.RESOLVED).write_text(yaml.safe_dump(tree))
    evaluate = ["--eval-only", "--model-dir", str(tmp_path)]
    assert build(*OWN, *B16, *evaluate).INPUT.READ == own
    assert build(*EUROSAT, *B16, *evaluate).INPUT.READ == published
    for choice in ("stored", "upright"):
        assert build(*OWN, *B16, *evaluate, "INPUT.READ", choice).INPUT.READ == choice


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_yaml_file_with_a_byte_order_mark(encoding, tmp_path):
    (tmp_path / "data.yaml").write_text("DATASET: {TEMPLATE: 'é {}'}\n", encoding=encoding)
    assert config.read_yaml(tmp_path / "data.yaml") == {"DATASET": {"TEMPLATE": "é {}"}}
