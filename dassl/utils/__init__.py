"""Helpers, loaded on first use so that the registry and configuration stay usable without importing torch."""

from __future__ import annotations

from dassl.lazy import names_from

_SOURCES = {
    ".images": "read_image",
    ".layers": "init_network_weights",
    ".logger": "Logger setup_logger",
    ".meters": "AverageMeter MetricMeter",
    ".registry": "Registry",
    ".tools": "check_availability check_isfile collect_env_info download_url get_most_similar_str_to_a_from_b "
    "listdir_nohidden mkdir_if_missing read_json set_random_seed tolist_if_not write_json",
    ".torchtools": "count_num_param load_checkpoint load_pretrained_weights open_all_layers "
    "open_specified_layers resume_from_checkpoint save_checkpoint",
}
__getattr__ = names_from(__name__, _SOURCES)


def __dir__() -> list[str]:
    return sorted([*globals(), *" ".join(_SOURCES.values()).split()])
