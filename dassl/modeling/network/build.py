"""Networks by name, for trainers that need one beside their model."""

from __future__ import annotations

from typing import Any

from dassl.lazy import names_from
from dassl.utils.registry import Registry

__getattr__ = names_from(__name__, {"dassl.utils": "check_availability"})

NETWORK_REGISTRY = Registry("NETWORK")


def build_network(name: str, verbose: bool = True, **kwargs: Any) -> Any:
    """Build the network `name`; ValueError if there is none of that name."""
    return NETWORK_REGISTRY.build("Network", name, verbose, **kwargs)
