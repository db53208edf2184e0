#!/usr/bin/env bash
# Cross-dataset evaluation and domain generalisation, second half: test the model of xd_train.sh on another dataset.
#
#     bash scripts/xd/xd_test.sh DATASET SEED [TRAINER] [CFG] [-- KEY VALUE ...]
#
# DATASET: a file of configs/datasets (caltech101 ... ucf101, imagenetv2, imagenet_sketch, imagenet_a, imagenet_r).
# The rest is as for xd_train.sh, which must have finished.
# SOURCE (environment): the source dataset, default imagenet.
# The run lies in OUTPUT/xd/test/DATASET/shots_16/TRAINER/CFG/seedN.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
