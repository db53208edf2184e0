#!/usr/bin/env bash
# Side by side: base to new for several methods on the same splits, and one table with spread and paired differences.
#
#     bash scripts/compare.sh DATASET [METHODS] [SEEDS] [-- KEY VALUE ...]
#
# DATASET: a file of configs/datasets. METHODS: folders of configs/trainers in quotes, default "MMRL ZeroshotCLIP", or all.
# SEEDS: in quotes, default "1 2 3". Each method runs with its default configuration; runs that are done are not repeated.
# A run that fails stops nothing: it is named, and marked in the table. The differences are to MMRL, or to the method
# that the environment names in TO.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
