# What all scripts share. Source it, then call read_args, run_folder and train.
#
# Environment: DATA (folder of all datasets, default data/), OUTPUT (folder of all runs, default output),
# PYTHON (interpreter, default python). No setting of a method stands in a script: those live in configs/.

set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
DATA_IS_DEFAULT=${DATA:-yes}
DATA=${DATA:-data/}
OUTPUT=${OUTPUT:-output}
PYTHON=${PYTHON:-python}
TRAINER=MMRL
CFG=""
SHOTS=16
EXTRA=()

die() {
    echo "error: $*" >&2
    exit 1
}

# The comment at the top of the calling script, as its help.
print_help() {
    awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
    cat <<EOT

Environment: DATA (datasets, now $DATA), OUTPUT (runs, now $OUTPUT), PYTHON (interpreter, now $PYTHON).
After --, KEY VALUE options go to train.py as they are, such as: -- OPTIM.LR 0.002 OPTIM.MAX_EPOCH 20
EOT
}

# read_args SPEC ARGUMENTS: with SPEC "DATASET SEED [TRAINER] [CFG]" it sets those variables, and EXTRA to what follows --.
read_args() {
    local spec=$1 word name
    shift
    for word in "$@"; do
        [[ $word == -- ]] && break
        [[ $word == -h || $word == --help ]] && { print_help; exit 0; }
    done
    for word in $spec; do
        name=${word//[\[\]]/}
        if (($#)) && [[ $1 != -- ]]; then
            printf -v "$name" %s "$1"
            shift
        elif [[ $word != \[* ]]; then
            die "$name is missing; usage: $0 $spec [-- KEY VALUE ...] (-h explains)"
        fi
    done
    if (($#)); then
        [[ $1 == -- ]] || die "unexpected argument $1; usage: $0 $spec [-- KEY VALUE ...]"
        shift
        EXTRA=("$@")
        for word in "$@"; do  # train.py itself refuses what contradicts the script's other arguments
            [[ $word == DATASET.NAME?(=*) ]] && die "DATASET.NAME cannot be given after --: DATASET says which data set"
        done
    fi
    [[ $SEED =~ ^[0-9]+$ ]] || die "SEED must be a whole number, not $SEED"
    [[ $SHOTS =~ ^[1-9][0-9]*$ ]] || die "SHOTS must be a positive number, not $SHOTS"
}

# The names of the entries of a folder of configs/, without .yaml.
names_in() {
    local path
    for path in "$1"/[!_]*; do
        path=${path##*/}
        [[ $path == datasets.yaml || $path == protocols ]] || printf ' %s' "${path%.yaml}"
    done
}

# choose_config PROTOCOL DATASET: check the names, and where no CFG was given take it from the method's table
# configs/trainers/TRAINER/protocols: lines "protocol dataset shots config", * for any, the first that fits.
choose_config() {
    local folder=$HERE/configs/trainers/$TRAINER protocol dataset shots config
    check_dataset "$2"
    [[ -d $folder ]] || die "unknown trainer $TRAINER; known:$(names_in "$HERE/configs/trainers")"
    if [[ -z $CFG ]]; then
        while read -r protocol dataset shots config; do
            [[ $protocol == "#"* || -z $protocol ]] && continue
            # Unquoted on the right: * fits any.
            if [[ $1 == $protocol && $2 == $dataset && $SHOTS == $shots ]]; then
                CFG=$config
                break
            fi
        done <"$folder/protocols"
        [[ -n $CFG ]] || die "$TRAINER has no default for $1 on $2 with $SHOTS shots: give one of$(names_in "$folder")"
    fi
    [[ -f $folder/$CFG.yaml ]] || die "$TRAINER has no configuration $CFG; known:$(names_in "$folder")"
}

check_dataset() {
    [[ -f $HERE/configs/datasets/$1.yaml ]] || die "unknown dataset $1; known:$(names_in "$HERE/configs/datasets")"
}

# run_folder PROTOCOL DATASET: where a run lies, such as base2new/train_base and digits.
run_folder() {
    echo "$OUTPUT/$1/$2/shots_$SHOTS/$TRAINER/$CFG/seed$SEED"
}

# train DATASET FOLDER TASK SUBSAMPLE [ARGUMENTS OF train.py]
train() {
    local dataset=$1 folder=$2 task=$3 subsample=$4
    shift 4
    check_dataset "$dataset"
    # These write themselves; a root that the user names must exist, so that a slip of the pen makes no folders.
    [[ $dataset == @(digits|drawn_*) && $DATA_IS_DEFAULT == yes ]] && mkdir -p "$DATA"
    exec "$PYTHON" "$HERE/train.py" \
        --root "$DATA" \
        --seed "$SEED" \
        --trainer "$TRAINER" \
        --dataset-config-file "$HERE/configs/datasets/$dataset.yaml" \
        --config-file "$HERE/configs/trainers/$TRAINER/$CFG.yaml" \
        --output-dir "$folder" \
        "$@" \
        TASK "$task" \
        DATASET.NUM_SHOTS "$SHOTS" \
        DATASET.SUBSAMPLE_CLASSES "$subsample" \
        ${EXTRA[@]+"${EXTRA[@]}"}
}
