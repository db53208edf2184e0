"""Which runs are exploratory: they have settings given by hand, or another configuration than the protocol's."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from reporting.cells import Cells
from reporting.changes import hidden, plain, short_name
from reporting.likeness import PLACE
from reporting.load.result import Key, Row
from reporting.sweeps import COST_ONLY, is_ablation
from runs.protocols import default_config, parts_of

# Settings that a run may be given without being exploratory: where its data are, how fast it is, which random stream
# it draws. A backbone has tables of its own, and its INPUT comes with it.
NEUTRAL = {*PLACE, *COST_ONLY, "DATALOADER.NUM_WORKERS", "OFFICIAL_STREAM", "USE_CUDA", "MODEL.BACKBONE.NAME"}


def exploratory(cells: Cells, keys: Sequence[Key]) -> dict[Key, Key]:
    """Return the keys of exploratory runs, each with the key that it has in their tables: its row shows what is other.

    A model's tests go with its training.
    """
    models: dict[Key, list[Key]] = defaultdict(list)
    for key in keys:
        models[key._replace(dataset=key.source, part=parts_of(key.protocol)[0])].append(key)
    found: dict[Key, Key] = {}
    for model, some in models.items():
        if other := _what_is_other(cells, model, some):
            row = Row(model.row.method, other)
            found |= {key: key._replace(row=row) for key in some}
    return found


def _what_is_other(cells: Cells, model: Key, some: Sequence[Key]) -> str:
    """Return what a model's settings have beyond its protocol's configuration, as a row shows it; "" for nothing."""
    row = model.row
    default = default_config(model.protocol, model.source, row.method, model.shots)
    if row.foreign:
        return ""
    # Empty for a method that has no default, such as the reader's own: then no configuration is another.
    usual = plain(row.method, model.source, default, model.protocol) or {}
    own_backbone = model.backbone == usual.get("MODEL.BACKBONE.NAME")
    trained = cells.results(model) or [result for key in some for result in cells.results(key)]
    changes = [_by_hand(result.key, result.config, own_backbone) for result in trained]
    by_hand = changes[0] if changes and all(changes) else {}  # a cell of which only some are so is refused, and shown
    if not by_hand and (not row.variant or is_ablation(model) or not own_backbone):
        return ""
    named = row.variant.removeprefix("+").split("+") if row.variant else []
    return ", ".join([*named, *(f"{short_name(name)}={value}" for name, value in sorted(by_hand.items()))])


def _by_hand(key: Key, settings: Any, own_backbone: bool) -> dict[str, Any]:
    return {
        name: value
        for name, value in hidden(key, settings).items()
        if name not in NEUTRAL and (own_backbone or not name.startswith("INPUT."))
    }
