"""Configurations that build on others (`_BASE_`)."""

from __future__ import annotations

import pytest
from yacs.config import CfgNode

import trainers
from runs import config
from tests.runs.resolved import method_files
from tests.runs.test_config import CONFIGS, EUROSAT, build
from trainers.shared.config_files import with_bases
from trainers.shared.images import images_of, same

B16 = CONFIGS / "trainers/_base/vit_b16.yaml"


@pytest.fixture
def write(tmp_path):
    """A function that writes a file and returns its path."""

    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def run(path: str, *words: str):
    return build(*EUROSAT, "--trainer", "MMRL", "--config-file", path, *words)


def test_a_file_counts_over_its_bases_and_a_later_base_over_those_before(write):
    write("a.yaml", "OPTIM: {LR: 0.1, GAMMA: 0.2, MOMENTUM: 0.3, MAX_EPOCH: 4}\nDATASET: {NUM_SHOTS: 4}\n")
    write("b.yaml", "OPTIM: {LR: 0.2, GAMMA: 0.3}\n")
    write("x/c.yaml", "_BASE_: [../a.yaml, ../b.yaml]\nOPTIM: {LR: 0.3}\n")
    path = write("y/d.yaml", "_BASE_: ../x/c.yaml\nOPTIM: {MOMENTUM: 0.5}\n")
    assert [source.rpartition("/")[2] for source, _ in with_bases(path)] == ["a.yaml", "b.yaml", "c.yaml", "d.yaml"]
    cfg = run(path, "OPTIM.MAX_EPOCH", "7")
    assert (cfg.OPTIM.LR, cfg.OPTIM.GAMMA, cfg.OPTIM.MOMENTUM, cfg.OPTIM.MAX_EPOCH) == (0.3, 0.3, 0.5, 7)
    assert cfg.DATASET.NUM_SHOTS == 4 and "_BASE_" not in cfg


def test_a_data_set_and_what_a_method_sets_for_one_may_build_on_others_too(write):
    write("own.yaml", "DATASET: {NAME: EuroSAT}\nINPUT: {READ: stored}\n")
    data = write("more.yaml", "_BASE_: own.yaml\nDATASET: {NUM_SHOTS: 8}\n")
    write("all/datasets.yaml", "EuroSAT: {OPTIM: {LR: 0.5, GAMMA: 0.5}}\nDigits: {OPTIM: {LR: 0.7}}\n")
    write("mine/datasets.yaml", "_BASE_: ../all/datasets.yaml\nEuroSAT: {OPTIM: {LR: 0.25}}\n")
    words = ["--dataset-config-file", data, "--trainer", "MMRL", "--config-file", write("mine/m.yaml", "SEED: 3\n")]
    cfg = build(*words)
    assert (cfg.DATASET.NAME, cfg.DATASET.NUM_SHOTS, cfg.OPTIM.LR, cfg.OPTIM.GAMMA) == ("EuroSAT", 8, 0.25, 0.5)
    assert build(*words, "DATASET.NAME", "Digits").OPTIM.LR == 0.7
    write("all/datasets.yaml", "EuroSad: {SEED: 1}\n")
    with pytest.raises(ValueError, match=r"all/datasets.yaml: unknown dataset EuroSad; did you mean EuroSAT"):
        build(*words)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("_BASE_: none.yaml", r"/m.yaml: _BASE_: no configuration file \S+/none.yaml; did you mean "),
        ("_BASE_: none/one.yaml", r"/m.yaml: _BASE_: no configuration file \S+/none/one.yaml: there is no folder \S+$"),
        ("_BASE_: [two.yaml, none.yaml]", r"/m.yaml: _BASE_: no configuration file \S+/none.yaml; "),
        ("_BASE_: m.yaml", r"^\S+/m.yaml builds on itself: \S+/m.yaml -> _BASE_ \S+/m.yaml; take one _BASE_ out$"),
        ("_BASE_: back.yaml", r"^\S+/m.yaml builds on itself: \S+ -> _BASE_ \S+/back.yaml -> _BASE_ \S+/m.yaml; "),
        ("_BASE_: 3", r"/m.yaml: _BASE_ must be the path of a file, or a list of paths, not 3$"),
        ("_BASE_:", r"/m.yaml: _BASE_ must be the path of a file, or a list of paths, not None$"),
        ("_BASE_: [one.yaml, {a: b}]", r"/m.yaml: _BASE_ must be the path of a file, or a list of paths, not \["),
        ("_BASE_: one.yaml", r"^\S+/one.yaml: unknown key OPTIM.LRR; did you mean OPTIM.LR"),
        ("_BASE_: two.yaml\nOPTIM: {LRR: 1}", r"^\S+/m.yaml: unknown key OPTIM.LRR; did you mean OPTIM.LR"),
        ("_BASE_: broken.yaml", r"^\S+/broken.yaml is not valid YAML: "),
        ("OPTIM: {_BASE_: two.yaml}", r"^\S+/m.yaml: unknown key OPTIM._BASE_; "),
        ("_BASE: two.yaml", r"^\S+/m.yaml: unknown key _BASE; "),
    ],
)
def test_what_is_wrong_with_a_base_is_said_in_one_line(text, line, write):
    write("one.yaml", "OPTIM: {LRR: 1}\n")
    write("two.yaml", "SEED: 3\n")
    write("back.yaml", "_BASE_: m.yaml\n")
    write("broken.yaml", "a: [")
    with pytest.raises((ValueError, FileNotFoundError), match=line) as caught:
        run(write("m.yaml", f"{text}\n"))
    assert "\n" not in str(caught.value)


def test_a_file_may_come_twice_without_a_circle(write):
    write("a.yaml", "OPTIM: {LR: 0.1}\n")
    write("b.yaml", "_BASE_: a.yaml\nOPTIM: {LR: 0.2}\n")
    assert run(write("m.yaml", "_BASE_: [b.yaml, a.yaml]\n")).OPTIM.LR == 0.1


@pytest.mark.parametrize("backbone", ["RN50x4", "ViT-L/14@336px", "embedded"])
def test_another_backbone_on_our_base_brings_its_images(backbone, write):
    mine = f"_BASE_: {B16}\nMODEL: {{BACKBONE: {{NAME: '{backbone}'}}}}\n"
    cfg = run(write("m.yaml", mine))
    assert all(same(cfg.INPUT[key], value) for key, value in images_of(backbone).items())
    with pytest.raises(ValueError, match=r"/m.yaml: INPUT.SIZE is \(48, 48\), but .* take it out of the file"):
        run(write("m.yaml", f"{mine}INPUT: {{SIZE: [48, 48]}}\n"))


def test_a_base_against_the_checkpoints_images_is_refused(write):
    base = write("base.yaml", "INPUT: {SIZE: [336, 336]}\nMODEL: {BACKBONE: {NAME: ViT-B/16}}\n")
    with pytest.raises(ValueError) as caught:
        run(write("m.yaml", "_BASE_: base.yaml\nOPTIM: {LR: 0.1}\n"))
    assert str(caught.value).startswith(f"{base}: INPUT.SIZE is (336, 336), but ViT-B/16 was trained with (224, 224)")


def test_a_train_script_of_the_family_reads_our_files_as_we_do():
    """By yacs's own merge, one file after the other."""
    for path in method_files():
        theirs, ours = config.default_cfg(), config.default_cfg()
        trainers.merge_from_file(theirs, str(path))
        for source, tree in with_bases(path):
            config.merge(ours, tree, source)
        assert theirs == ours, path


def test_yacs_alone_reads_official_files_and_refuses_ours(write):
    plain = write("official.yaml", "OPTIM: {LR: 0.5}\nINPUT: {SIZE: [32, 32]}\n")
    theirs, ours = config.default_cfg(), config.default_cfg()
    theirs.merge_from_file(plain)
    trainers.merge_from_file(ours, plain)
    assert ours == theirs and isinstance(ours, CfgNode)
    with pytest.raises(KeyError, match="Non-existent config key: OPTIM.LRR"):
        trainers.merge_from_file(ours, write("bad.yaml", "OPTIM: {LRR: 1}\n"))
    with pytest.raises(KeyError, match="Non-existent config key: _BASE_"):
        theirs.merge_from_file(str(CONFIGS / "trainers/MMRL/vit_b16_imagenet.yaml"))
