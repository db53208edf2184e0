#!/usr/bin/env bash
# Base and new classes in one label space: test the model that base2new_train.sh trained on all classes at once.
#
#     bash scripts/b2n/joint_test.sh DATASET SEED [TRAINER] [CFG] [-- KEY VALUE ...]
#
# The arguments are those of base2new_train.sh, which must have finished.
# The run lies in OUTPUT/joint/test/DATASET/shots_16/TRAINER/CFG/seedN.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
