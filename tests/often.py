"""Parameters of which the default suite takes some, and the slow tests the rest."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pytest


def some_often(names: Iterable[str], often: Collection[str]) -> list:
    """Parameters for ``names``: slow, but for those in ``often``, each of which must be one of them."""
    names = list(names)
    assert set(often) <= set(names), set(often) - set(names)
    return [name if name in often else pytest.param(name, marks=pytest.mark.slow) for name in names]
