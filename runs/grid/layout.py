"""The names of `runs.protocols`, for modules that still take them from here."""

from runs.protocols import (  # noqa: F401
    CONFIGS,
    PROTOCOLS,
    STEPS,
    Run,
    check_name,
    choose_config,
    dataset_file,
    dataset_in_path,
    dataset_names,
    method_file,
    method_names,
    tag,
)
