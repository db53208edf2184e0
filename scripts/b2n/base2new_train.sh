#!/usr/bin/env bash
# Base to new, first half: train on 16 shots of each base class, test on the base classes.
#
#     bash scripts/b2n/base2new_train.sh DATASET SEED [TRAINER] [CFG] [-- KEY VALUE ...]
#
# DATASET: a file of configs/datasets. TRAINER: a folder of configs/trainers (default MMRL). CFG: a file in it (default:
# what its file protocols says).
# The run lies in OUTPUT/base2new/train_base/DATASET/shots_16/TRAINER/CFG/seedN.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
