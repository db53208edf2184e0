#!/usr/bin/env bash
# Few-shot learning: train on SHOTS images of each class, test on all classes.
#
#     bash scripts/fewshot/fewshot.sh DATASET SEED [SHOTS] [TRAINER] [CFG] [-- KEY VALUE ...]
#
# DATASET: a file of configs/datasets. SHOTS: default 16; the paper has 1, 2, 4, 8 and 16. TRAINER: a folder of
# configs/trainers (default MMRL). CFG: a file in it (default: what its file protocols says).
# The run lies in OUTPUT/few_shot/DATASET/shots_SHOTS/TRAINER/CFG/seedN.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
