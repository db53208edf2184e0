# What every script does: hand its path and its words to mmrl.py, which knows the protocols (runs/scripts.py).
#
# Environment: DATA (folder of all datasets, default data/), OUTPUT (folder of all runs, default output),
# PYTHON (interpreter, default python). No setting of a method stands in a script: those live in configs/.
exec "${PYTHON:-python}" "$(dirname "${BASH_SOURCE[0]}")/../mmrl.py" script "$0" "$@"
