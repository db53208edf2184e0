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

METHODS="MMRL ZeroshotCLIP" SEEDS="1 2 3" SEED=0
read_args "DATASET [METHODS] [SEEDS]" "$@"
check_dataset "$DATASET"
if [[ $METHODS == all ]]; then
    METHODS=""
    for folder in "$HERE"/configs/trainers/[!_]*; do
        [[ -L $folder ]] || METHODS+=" ${folder##*/}"  # a link is another name of a method
    done
fi
for TRAINER in $METHODS; do
    choose_config base2new "$DATASET"  # a wrong name is said before anything runs
    CFG=""
done

failed=()
for TRAINER in $METHODS; do
    for seed in $SEEDS; do
        for half in train test; do
            echo "== $TRAINER, seed $seed: base2new_$half"
            if ! DATA=$([[ $DATA_IS_DEFAULT == yes ]] || echo "$DATA") OUTPUT=$OUTPUT PYTHON=$PYTHON \
                bash "$HERE/scripts/b2n/base2new_$half.sh" "$DATASET" "$seed" "$TRAINER" \
                ${EXTRA[@]+-- "${EXTRA[@]}"}; then
                failed+=("$TRAINER seed $seed (base2new_$half)")
                break
            fi
        done
    done
done

echo
status=0
# Lists of words, so unquoted.
PYTHONPATH=$HERE "$PYTHON" -m runs.compare "$DATASET" $METHODS --seeds $SEEDS --to "${TO:-MMRL}" --output "$OUTPUT" || status=$?
for run in ${failed[@]+"${failed[@]}"}; do
    echo "error: failed: $run" >&2
    status=1
done
exit $status
