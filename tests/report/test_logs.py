"""Logs of other repositories, as CoOp, MaPLe and MMRL write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from reporting.cells import Cells
from reporting.load import logs
from reporting.load.gather import gather
from reporting.load.result import Row

# The beginning of such a log: arguments, then the configuration as yacs prints it, then what the machine is.
HEAD = """\
***************
** Arguments **
***************
backbone: 
config_file: configs/trainers/{method}/{cfg}.yaml
dataset_config_file: configs/datasets/{dataset}.yaml
eval_only: {eval_only}
head: 
load_epoch: {epoch}
model_dir: {model_dir}
no_train: False
opts: ['DATASET.NUM_SHOTS', '16', 'DATASET.SUBSAMPLE_CLASSES', '{part}']
output_dir: {output_dir}
resume: 
root: /path/to/datasets
seed: {seed}
source_domains: None
target_domains: None
trainer: {method}
transforms: None
************
** Config **
************
DATALOADER:
  K_TRANSFORMS: 1
  NUM_WORKERS: 8
  TEST:
    BATCH_SIZE: 100
    SAMPLER: SequentialSampler
  TRAIN_X:
    BATCH_SIZE: 4
    N_DOMAIN: 0
DATASET:
  ALL_AS_UNLABELED: False
  NAME: {registered}
  NUM_LABELED: -1
  NUM_SHOTS: {shots}
  ROOT: /path/to/datasets
  SOURCE_DOMAINS: ()
  SUBSAMPLE_CLASSES: {part}
INPUT:
  TRANSFORMS: ('random_resized_crop', 'random_flip', 'normalize')
MODEL:
  BACKBONE:
    NAME: ViT-B/16
    PRETRAINED: True
  HEAD:
    NAME: 
TRAINER:
  NAME: {method}
  {node}:
    PREC: fp16
Collecting env info ...
** System info **
PyTorch version: 1.8.1
Loading trainer: {method}
"""  # noqa: W291
TRAINING = """\
epoch [1/2] batch [5/10] time 0.412 (1.304) data 0.000 (0.512) loss 2.5566 (2.7013) lr 1.0000e-05 eta 0:00:12
epoch [1/2] batch [10/10] time 0.310 (0.802) data 0.000 (0.256) loss 1.2773 (1.9310) lr 2.0000e-03 eta 0:00:08
epoch [2/2] batch [5/10] time 0.309 (0.310) data 0.000 (0.001) loss 0.9575 (0.8812) lr 2.0000e-03 eta 0:00:01
epoch [2/2] batch [10/10] time 0.309 (0.310) data 0.000 (0.001) loss 0.7051 (0.8425) lr 4.8943e-05 eta 0:00:00
Checkpoint saved to output/prompt_learner/model.pth.tar-2
Finish training
Deploy the last-epoch model
"""
RESULT = """\
Evaluate on the *test* set
=> result
* total: {total:,}
* correct: {correct:,}
* accuracy: {percent:.1f}%
* error: {error:.1f}%
* macro_f1: 70.0%
Elapsed: 0:01:22
"""
MMRL = {"method": "MMRL", "node": "MMRL", "cfg": "vit_b16", "dataset": "dtd", "registered": "DescribableTextures"}
MAPLE = {**MMRL, "method": "MaPLe", "node": "MAPLE", "cfg": "vit_b16_c2_ep5_batch4_2ctx"}
COOP = {**MMRL, "method": "CoOp", "node": "COOP", "cfg": "vit_b16_ep50"}


def head(**facts: object) -> str:
    plain = {
        "eval_only": False,
        "epoch": None,
        "model_dir": "",
        "part": "all",
        "output_dir": "x",
        "seed": 1,
        "shots": 16,
    }
    return HEAD.format(**{**plain, **facts})


def result(correct: int, total: int) -> str:
    percent = 100 * correct / total
    return RESULT.format(correct=correct, total=total, percent=percent, error=100 - percent)


def write(folder: Path, text: str, name: str = "log.txt") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_mmrl_base_and_new(tmp_path):
    base = tmp_path / "base2new/train_base/dtd/shots_16/MMRL/vit_b16/seed1"
    write(base, head(**MMRL, part="base") + TRAINING + result(741, 864))
    new = tmp_path / "base2new/test_new/dtd/shots_16/MMRL/vit_b16/seed1"
    write(new, head(**MMRL, part="new", eval_only=True, model_dir=str(base), epoch=10) + result(540, 828))
    found = gather([tmp_path])
    assert [(r.key.part, r.seed, r.accuracy) for r in found.results] == [
        ("new", 1, 100 * 540 / 828),
        ("base", 1, 100 * 741 / 864),  # not 85.8, which the log says
    ]
    key = found.results[0].key
    assert (key.protocol, key.backbone, key.row, key.dataset, key.shots) == (
        "base2new",
        "ViT-B/16",
        Row("MMRL", "", foreign=True),
        "dtd",
        16,
    )
    assert key.row.label == "MMRL (log)"


def test_coop_few_shot_in_its_own_folders(tmp_path):
    path = tmp_path / "dtd/CoOp/vit_b16_ep50_4shots/nctx16_cscFalse_ctpend/seed3"
    log = write(path, head(**COOP, seed=3, shots=4) + TRAINING + result(1_000, 1_692))
    found = logs.read_result(log)
    assert (found.key.protocol, found.key.part, found.key.shots, found.seed) == ("fewshot", "all", 4, 3)
    assert found.key.row == Row("CoOp", "vit_b16_ep50", True)


def test_maple_cross_dataset_takes_shots_and_source_from_the_model(tmp_path):
    cfg = "vit_b16_c2_ep5_batch4_2ctx_cross_datasets"
    facts = {**MAPLE, "cfg": cfg, "eval_only": True, "shots": -1, "seed": 2}
    model = f"output/imagenet/MaPLe/{cfg}_16shots/seed2"
    path = tmp_path / f"evaluation/MaPLe/{cfg}_16shots/dtd/seed2"
    found = logs.read_result(write(path, head(**facts, model_dir=model) + result(800, 1_692)))
    assert (found.key.protocol, found.key.source, found.key.dataset) == ("xd", "imagenet", "dtd")
    assert (found.key.shots, found.seed) == (16, 2)
    facts = {**facts, "eval_only": False, "dataset": "imagenet", "registered": "ImageNet", "shots": 16}
    path = tmp_path / f"imagenet/MaPLe/{cfg}_16shots/seed2"
    found = logs.read_result(write(path, head(**facts) + TRAINING + result(35_000, 50_000)))
    assert (found.key.source, found.key.dataset, found.accuracy) == ("imagenet", "imagenet", 70.0)


def test_every_seed_of_logs_counts(tmp_path):
    """Logs have no ids of runs, by which a second test of a model is known."""
    for seed in (1, 2, 3):
        folder = tmp_path / f"few_shot/dtd/shots_2/MMRL/vit_b16_few_shot/seed{seed}"
        write(folder, TRAINING + result(seed, 10))
    cells = Cells(gather([tmp_path]).results, (1, 2, 3), {})
    (key,) = cells.keys()
    assert dict(cells.get(key).values) == {1: 10.0, 2: 20.0, 3: 30.0} and not cells.notes


def test_a_log_without_its_beginning_is_known_by_its_folder(tmp_path):
    log = write(tmp_path / "few_shot/dtd/shots_2/MMRL/vit_b16_few_shot/seed2", TRAINING + result(9, 10))
    found = logs.read_result(log)
    assert found.key[:1] + found.key[2:] == ("fewshot", Row("MMRL", "", True), "dtd", "dtd", "all", 2)
    assert (found.seed, found.accuracy) == (2, 90.0)


def test_the_latest_log_of_a_folder_counts(tmp_path):
    folder = tmp_path / "few_shot/dtd/shots_2/MMRL/vit_b16_few_shot/seed2"
    log = write(folder, TRAINING + result(1, 10))
    write(folder, TRAINING + result(2, 10), "log.txt-2024-05-01-10-00-00")
    write(folder, TRAINING + result(3, 10), "log.txt-2024-05-02-10-00-00")
    write(folder, "Loading trainer: MMRL\n", "log.txt-2024-05-03-10-00-00")
    assert logs.read_result(log).accuracy == 30.0


NAMELESS = head(**{**MMRL, "registered": ""}).replace("configs/datasets/dtd.yaml", "")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "holds no result"),
        (head(**MMRL), "holds no result"),
        (head(**MMRL) + result(9, 10), "training that did not end"),
        (head(**MMRL) + TRAINING + "=> result\n* total: 10\n", "holds no result"),
        (head(**MMRL, seed=-1) + TRAINING + result(9, 10), "names no seed"),
        (NAMELESS + TRAINING + result(9, 10), "names no dataset"),
        ("\x00\xff garbage", "holds no result"),
    ],
)
def test_a_damaged_log_is_named_and_says_why(tmp_path, text, why):
    log = write(tmp_path / "somewhere", text)
    found = gather([tmp_path])
    assert not found.results and len(found.damaged) == 1
    assert str(log) in found.damaged[0] and why in found.damaged[0]


def test_a_log_beside_a_record_is_the_records(runs):
    folder = runs.add("base2new", "dtd", "base", 80.0)
    write(folder, TRAINING + result(1, 10))
    write(folder / "stage1", TRAINING + result(1, 10))
    found = gather([runs.output])
    assert [r.accuracy for r in found.results] == [80.0] and not found.damaged


def test_a_cross_dataset_log_whose_model_is_of_unknown_data_is_not_taken_for_one_of_imagenet(tmp_path):
    facts = {**MAPLE, "cfg": "vit_b16_cross_datasets", "eval_only": True, "shots": 16}
    path = tmp_path / "evaluation/MaPLe/vit_b16_cross_datasets_16shots/dtd/seed1"
    log = write(path, head(**facts, model_dir="models/textile") + result(800, 1_692))
    with pytest.raises(logs.DamagedLog, match="models/textile names no known data set"):
        logs.read_result(log)
    model = "theirs/xd/train/textile/shots_16/MaPLe/vit_b16_cross_datasets/seed1"
    log = write(path, head(**facts, model_dir=model) + result(800, 1_692))
    assert logs.read_result(log).key.source == "textile"
