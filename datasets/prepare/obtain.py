"""Getting a dataset: what is missing is fetched, unpacked beside the data and moved into its place.

Downloads and what is being unpacked lie in ``ROOT/.downloads/NAME``, on the disk of the data, so that things appear
in the dataset's folder by renaming: whole or not at all. What is there already is never changed.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from .. import WRITTEN, load
from . import checks, fetch, layout
from .sources import Entry, Part, Source, Table
from .unpack import unpack
from .verify import NAMES_FILE, verify

STORE = ".downloads"
WNID_SETS = ("ImageNet", "ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR")


def prepare(entry: Entry, root: Path, table: Table, archives: list[Path]) -> list[str]:
    """Fetch what ``verify`` misses.

    Args:
        entry: the dataset.
        root: folder of all datasets, made if need be.
        table: all sources.
        archives: files the user fetched. Those named as in the table are checked against it and used in place of a
            download; any other is taken to be a copy of the dataset. They stay where they are.

    Returns:
        one line for everything that could not be had.

    Raises:
        ValueError: an archive of the user is damaged, refused, or not of this dataset.
        OSError: writing failed.
    """
    store = root / STORE / entry.name
    store.mkdir(parents=True, exist_ok=True)
    with lock(store / ".lock", entry.name):
        return _Job(entry, root, table, store).run(archives)


def prepare_weights(source: Source, folder: Path) -> Path:
    """Fetch CLIP's weights into the folder where ``clip.load`` looks for them; raises as ``fetch.fetch`` does."""
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder / f".{source.file}.lock", source.file):
        return fetch.fetch(source, folder)


@contextmanager
def lock(path: Path, name: str) -> Iterator[None]:
    """Keep other processes out; the system frees the lock of a process that dies."""
    waiting = FileLock(path)
    try:
        held = waiting.acquire(timeout=0)
    except Timeout:
        print(f"{name}: another process is at it, waiting ({path})", flush=True)
        held = waiting.acquire()
    with held:
        yield


class _Job:
    def __init__(self, entry: Entry, root: Path, table: Table, store: Path) -> None:
        self.entry, self.root, self.table, self.store = entry, root, table, store
        self.folder = root / entry.folder
        self.own: dict[str, Path] = {}
        self.failed: dict[str, str] = {}
        self.errors: list[str] = []
        self.places: set[str | None] | None = None

    def run(self, archives: list[Path]) -> list[str]:
        for path in archives:
            known = self.entry.archives.get(path.name)
            if known:
                checks.require(path, known)
                self.own[path.name] = path
            elif not self.unpack_whole(path):
                parts = ", ".join(give for part in self.entry.parts for give in part.gives)
                raise ValueError(f"{path} holds nothing that {self.entry.name} needs: its parts are {parts}")
        if self.entry.name in WRITTEN and not self.folder.exists():
            load(self.entry.name).write_once(str(self.folder))
        for part in self.entry.parts:
            if not part.spare and self.needs(part):
                self.obtain(part)
        if self.entry.split and not (self.folder / self.entry.split.file).exists():
            for part in self.entry.parts:
                if part.spare and self.needs(part):
                    self.obtain(part)
        if self.entry.name in WNID_SETS:
            self.classnames()
        return self.errors

    def needs(self, part: Part) -> bool:
        if any(not (self.folder / give).exists() for give in part.gives):
            return True
        if self.places is None:
            self.places = {problem.place for problem in verify(self.entry, self.root, self.table)}
        return not self.places.isdisjoint(part.gives)

    def place(self, here: Path, name: str) -> None:
        """Move something into the dataset's folder; what was known of the folder no longer holds."""
        layout.place(here, self.folder / name)
        self.places = None

    def obtain(self, part: Part) -> None:
        """Try all sources of a part; what failed becomes an error line."""
        reasons = []
        for source in sorted(part.sources, key=lambda source: source.file not in self.own):
            reason = self.attempt(source, part)
            if reason is None:
                return
            reasons.append(reason)
        for source in self.entry.whole:
            # Gigabytes are not fetched for the sake of a list.
            if (part.spare or part.is_file) and not (self.store / source.file).is_file():
                continue
            reason = self.attempt(source, None)
            if reason is None and all((self.folder / give).exists() for give in part.gives):
                return
            reasons.append(reason or f"{source.urls[0]}: it holds no {part.gives[0]}")
        wanted = [source for source in (*part.sources[:1], part.devkit) if source]
        elsewhere = f" (copies: {', '.join(self.entry.elsewhere)})" if self.entry.elsewhere else ""
        archive = " ".join(f"PATH/{source.file}" for source in wanted)
        self.errors.append(
            f"{self.entry.name}: {part.gives[0]} cannot be had: {'; '.join(reasons)}; fetch "
            f"{' and '.join(map(str, wanted))} yourself{elsewhere} and run "
            f"python mmrl.py prepare {self.entry.name} --root {self.root} --archive {archive}"
        )

    def attempt(self, source: Source, part: Part | None) -> str | None:
        """Use one source for a part, or for all that is missing. Returns the reason if it fails."""
        if source.file in self.failed:
            return self.failed[source.file]
        try:
            path = self.get(source)
            if part is None:
                self.unpack_whole(path)
            elif part.is_file:
                own = source.file in self.own
                self.place(Path(shutil.copyfile(path, self.store / source.file)) if own else path, source.file)
            else:
                self.unpack_part(path, source, part)
        except (ConnectionError, ValueError) as error:
            if source.digest is None and source.file not in self.own:
                # It was never known to be right: the next try fetches it anew.
                (self.store / source.file).unlink(missing_ok=True)
            self.failed[source.file] = str(error)
            print(f"{self.entry.name}: {error}", flush=True)
            return str(error)
        return None

    def get(self, source: Source) -> Path:
        """Return the user's copy, or a download."""
        if source.file in self.own:
            return self.own[source.file]
        if not source.urls and not (self.store / source.file).is_file():
            raise ConnectionError(f"{source.file} is not free to download")
        return fetch.fetch(source, self.store)

    def unpack_part(self, path: Path, source: Source, part: Part) -> None:
        devkit = self.get(part.devkit) if part.devkit else None
        with self.staging() as staging:
            unpack(path, staging / source.into, source.inner)
            if devkit:
                unpack(devkit, staging)
                layout.sort_validation(staging)
            found = {give: layout.find(staging, [Path(give).name, *part.aliases]) for give in part.gives}
            for give, here in found.items():
                if here is None:
                    raise ValueError(f"{path} holds no {Path(give).name}: it is another archive than expected")
                self.place(here, give)

    def unpack_whole(self, path: Path) -> bool:
        """Place all that an archive of unknown layout holds of what is needed; False if that is nothing."""
        checked = {source.file: source for part in self.entry.parts for source in part.sources}
        with self.staging() as staging:
            unpack(path, staging)
            placed = False
            for part in self.entry.parts:
                for give in part.gives if self.needs(part) else ():
                    here = layout.find(staging, [Path(give).name, *part.aliases])
                    if here and not (give in checked and checks.mismatch(here, checked[give])):
                        self.place(here, give)
                        placed = True
        return placed

    @contextmanager
    def staging(self) -> Iterator[Path]:
        folder = self.store / "unpacking"
        if folder.exists():  # of a run that was killed
            shutil.rmtree(folder)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)

    def classnames(self) -> None:
        """Write the published class names: ImageNet's sorted WordNet ids beside open_clip's names of the classes."""
        from open_clip import IMAGENET_CLASSNAMES

        target = self.folder / NAMES_FILE
        if target.exists():
            return
        pairs = zip(self.table.marked(), IMAGENET_CLASSNAMES, strict=False)
        content = "".join(f"{wnid} {name}\n" for wnid, name in pairs).encode()
        if hashlib.sha256(content).hexdigest() == self.table.classnames.sha256:
            own = self.store / NAMES_FILE
            own.write_bytes(content)
        else:  # the installed open_clip calls them otherwise
            try:
                own = fetch.fetch(self.table.classnames, self.store)
            except ConnectionError as error:
                self.errors.append(f"{self.entry.name}: {NAMES_FILE} cannot be had: {error}; put CoOp's to {target}")
                return
        self.place(own, NAMES_FILE)
