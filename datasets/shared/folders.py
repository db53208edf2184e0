"""Folders as people have them: what systems leave behind in them, and how the parts of a split are called."""

from __future__ import annotations

SYSTEM_NAMES = frozenset(
    {
        # Windows
        *("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "$recycle.bin", "system volume information"),
        # macOS, beside hidden ones (.DS_Store, ._*): its archives' second half, a folder's icon
        *("__macosx", "icon\r"),
        # network storage, ext4
        *("@eadir", "#recycle", "@recycle", "lost+found"),
    }
)
"""Names, in lower case, of files and folders that nobody put there on purpose."""

_CALLED = {
    "train": ("train", "training", "trn", "tr"),
    "val": ("val", "valid", "validation", "dev", "development", "va"),
    "test": ("test", "testing", "tst", "te"),
}
_BEFORE, _AFTER = ("", "seg_"), ("", "set", "_set", "_images", "_image", "_imgs", "_data", "_split")
PARTS = {
    f"{before}{name}{after}": part
    for part, names in _CALLED.items()
    for name in names
    for before in _BEFORE
    for after in _AFTER
}
"""Part of a split by what folders and tables call it, in lower case with ``_`` between words."""


def is_system_name(name: str) -> bool:
    """Return whether a file or folder is hidden (``.DS_Store``, ``._photo.jpg``) or a system's."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def part_of(name: str) -> str | None:
    """Return the part of the split that a folder or a table's value stands for: train, val, test or None."""
    return PARTS.get(name.strip().lower().replace("-", "_").replace(" ", "_"))
