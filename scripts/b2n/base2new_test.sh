#!/usr/bin/env bash
# Base to new, second half: test the model that base2new_train.sh trained on the new classes.
#
#     bash scripts/b2n/base2new_test.sh DATASET SEED [TRAINER] [CFG] [-- KEY VALUE ...]
#
# The arguments are those of base2new_train.sh, which must have finished.
# The run lies in OUTPUT/base2new/test_new/DATASET/shots_16/TRAINER/CFG/seedN.
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
