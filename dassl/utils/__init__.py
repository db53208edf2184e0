"""Helpers, loaded on first use so that the registry and configuration stay usable without importing torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dassl.lazy import names_from

if TYPE_CHECKING:
    from .images import read_image as read_image
    from .layers import init_network_weights as init_network_weights
    from .logger import Logger as Logger
    from .logger import setup_logger as setup_logger
    from .meters import AverageMeter as AverageMeter
    from .meters import MetricMeter as MetricMeter
    from .registry import Registry as Registry
    from .tools import check_availability as check_availability
    from .tools import check_isfile as check_isfile
    from .tools import collect_env_info as collect_env_info
    from .tools import download_url as download_url
    from .tools import get_most_similar_str_to_a_from_b as get_most_similar_str_to_a_from_b
    from .tools import listdir_nohidden as listdir_nohidden
    from .tools import mkdir_if_missing as mkdir_if_missing
    from .tools import read_json as read_json
    from .tools import set_random_seed as set_random_seed
    from .tools import tolist_if_not as tolist_if_not
    from .tools import write_json as write_json
    from .torchtools import count_num_param as count_num_param
    from .torchtools import load_checkpoint as load_checkpoint
    from .torchtools import load_pretrained_weights as load_pretrained_weights
    from .torchtools import open_all_layers as open_all_layers
    from .torchtools import open_specified_layers as open_specified_layers
    from .torchtools import resume_from_checkpoint as resume_from_checkpoint
    from .torchtools import save_checkpoint as save_checkpoint

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
