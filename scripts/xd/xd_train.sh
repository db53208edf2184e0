#!/usr/bin/env bash
# Cross-dataset evaluation and domain generalisation, first half: train on 16 shots of all classes of the source dataset.
#
#     bash scripts/xd/xd_train.sh SEED [TRAINER] [CFG] [-- KEY VALUE ...]
#
# TRAINER: a folder of configs/trainers (default MMRL). CFG: a file in it
# (default: what its file protocols says).
# SOURCE (environment): the source dataset, default imagenet.
# The run lies in OUTPUT/xd/train/SOURCE/shots_16/TRAINER/CFG/seedN.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
