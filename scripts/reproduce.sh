#!/usr/bin/env bash
# A table or figure of the paper: all its runs, or those that are still missing.
#
#     bash scripts/reproduce.sh NAME [--datasets D ...] [--methods M ...] [--seeds N ...] [any option of grid]
#
# NAME: table1 (base to new), table2_3 (cross-dataset, domain generalisation), table10_11 (few-shot, and Figure 4),
# table4 (variants, d_r), table5 (alpha, lambda on ImageNet), table6 (cost), table8 (lambda), table9 (regularisation),
# figure5 (layers, K). Its grids are in scripts/reproduce/NAME.yaml.
# --datasets, --methods and --seeds replace those of the table. Start with --list: a whole table is many runs.
# Options: --list, --missing, --dry-run, --jobs N, --launcher slurm, ...: docs/grid.md and python mmrl.py grid -h.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
