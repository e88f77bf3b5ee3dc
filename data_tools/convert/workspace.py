"""Where a set grows before anyone can see it: a folder next to `out`, locked, kept after a kill,
then renamed.

    out.partial/lock       held by the converter at work
    out.partial/plan.json  what is being made
    out.partial/state/     result of each finished shard
    out.partial/scratch/   shards being written; worthless after a kill
    out.partial/set/       the set; becomes `out` by one rename
    out.partial/old/       the set that was there before, until the new one is in its place

What the files hold is the business of `shard_task.py` and `finish_split.py`.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from data_tools.convert.plan import Plan, differences
from data_tools.convert.shard_result import read_result
from data_tools.core.errors import DataError
from data_tools.core.files import sha256_of_file, sync_path, write_atomic
from data_tools.core.lock import locked
from data_tools.shards.manifest import MANIFEST
from data_tools.sources.defects import PolicyError

PART_PREFIX = "part-"
_REFUSED = "refused"


@dataclass(frozen=True)
class Workspace:
    """The folder next to `out`, locked by this process.

    Args:
        out: Where the set will be.
        folder: The working folder.
    """

    out: Path
    folder: Path

    @property
    def set_folder(self) -> Path:
        """The set in the making."""
        return self.folder / "set"

    @property
    def scratch(self) -> Path:
        """Shards that are being written."""
        return self.folder / "scratch"

    def split_folder(self, split: str) -> Path:
        """Folder of a split in the making."""
        return self.set_folder / split

    def state_file(self, split: str, index: int) -> Path:
        """Result file of a shard."""
        return self.folder / "state" / split / f"{index:05d}.json"

    def _adopt(self, plan: Plan, overwrite: bool) -> None:
        path = self.folder / "plan.json"
        old: Plan | None = None
        if path.is_file():
            try:
                old = Plan.from_json(path.read_text(encoding="utf-8"))
            except ValueError:
                old = None
        # After a policy's error the user changes the policy or the files: that is no mistake.
        refused = (self.folder / _REFUSED).exists()
        if old is not None and old.digest != plan.digest and not (overwrite or refused):
            lines = "\n".join(f"  {line}" for line in plan_differences(old, plan))
            raise DataError(
                f"{self.folder}: an unfinished conversion with other settings or another "
                f"source:\n{lines}\nFinish it with those, or start anew with overwrite=true."
            )
        if old is None or old.digest != plan.digest:
            for name in ("set", "state"):
                shutil.rmtree(self.folder / name, ignore_errors=True)
            write_atomic(path, plan.as_json())
        (self.folder / _REFUSED).unlink(missing_ok=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
        for split in plan.splits:
            self.split_folder(split.name).mkdir(parents=True, exist_ok=True)
            self.state_file(split.name, 0).parent.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def adopted(self, plan: Plan, overwrite: bool) -> Iterator[None]:
        """Hold the folder ready for a plan while it is filled; what the same plan left is kept.

        A policy that stops the work is noted, so that other settings may start anew.

        Raises:
            DataError: If the work left behind belongs to another plan; the message names the
                difference.
        """
        self._adopt(plan, overwrite)
        try:
            yield
        except PolicyError:
            (self.folder / _REFUSED).touch()
            raise

    def publish(self, overwrite: bool) -> None:
        """Rename the finished set to `out`: the one step that makes it visible.

        Args:
            overwrite: Move a set that is at `out` aside first. It stays in the working folder until
                the new one is in its place, so that at no moment both are gone or either is half
                there.

        Raises:
            DataError: If `out` has appeared meanwhile.
        """
        try:
            sync_all(self.set_folder)
            if _inside(self.folder, self.out):
                # `out` is a mount point and cannot be renamed over: its splits appear one by one.
                if overwrite:
                    for folder in sorted(self.out.iterdir()):
                        if is_set_child(folder):
                            self._move_aside(folder)
                for folder in sorted(self.set_folder.iterdir()):
                    folder.rename(self.out / folder.name)
                sync_path(self.out)
            else:
                if overwrite and self.out.exists():
                    self._move_aside(self.out)
                self.set_folder.rename(self.out)
                sync_path(self.out.parent)
        except OSError as error:
            raise DataError(
                f"{self.out}: the finished set in {self.set_folder} cannot be moved there "
                f"({error.strerror or error}). Make way and run the same command again."
            ) from error

    def _move_aside(self, folder: Path) -> None:
        aside = self.folder / "old" / folder.name
        shutil.rmtree(aside, ignore_errors=True)
        aside.parent.mkdir(exist_ok=True)
        folder.rename(aside)

    def discard(self) -> None:
        """Remove the working folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def is_finished(self, split: str, index: int) -> bool:
        """Whether a shard was finished by an earlier run and is still what it was.

        Its result is written last, but only the finished set is flushed to the disk: after a power
        cut a result may be there and its shard not, so the shard is hashed.
        """
        try:
            shard = read_result(self.state_file(split, index)).shard
            folder = self.split_folder(split)
            return shard is None or all(
                sha256_of_file(folder / name) == sha256 for name, sha256 in shard.digests.items()
            )
        except (OSError, DataError):
            return False


def sync_all(folder: Path) -> None:
    """Flush every file and folder below `folder` to the disk, several at a time."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(sync_path, paths))
    for path in sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True):
        sync_path(path)
    sync_path(folder)


def plan_differences(old: Plan, new: Plan) -> list[str]:
    """Name what differs between two plans, one line a key."""

    def tree(plan: Plan) -> dict[str, object]:
        return {
            **plan.settings,
            "source": {split.name: split.source for split in plan.splits},
        }

    return differences(tree(old), tree(new)) or ["the class list or the defects of the source"]


def out_folder(text: str) -> Path:
    """Return the folder that `out` means: behind a link, which no rename can replace, and with a
    name.

    Raises:
        DataError: If it is a link that leads in a circle.
    """
    out = Path(text).expanduser()
    try:
        return out.resolve() if out.is_symlink() or out.name in ("", "..") else out
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"out={text}: a link that leads to no folder ({error}). Choose another `out`."
        ) from error


def working_folder(out: Path) -> Path:
    """Return the folder in which the set for `out` grows: next to it, or inside it if it is a mount
    point.
    """
    return out / ".partial" if out.is_mount() else out.with_name(out.name + ".partial")


def _inside(folder: Path, out: Path) -> bool:
    return folder.parent == out


@contextlib.contextmanager
def locked_workspace(out: Path) -> Iterator[Workspace]:
    """Create and lock the working folder of `out`; the lock dies with the process.

    Raises:
        DataError: If another converter holds the lock, or the folder cannot be written.
    """
    folder = working_folder(out)
    try:
        with locked(folder, out):
            yield Workspace(out, folder)
    except PermissionError as error:
        raise DataError(
            f"{error.filename or folder}: not writable ({error.strerror}). Choose another `out`."
        ) from error
    except OSError as error:
        raise DataError(
            f"{error.filename or folder}: {error.strerror or error}. Nothing was published; "
            "finished shards are kept: mend that or free some space, then run the same command "
            "again."
        ) from error


def is_set(folder: Path) -> bool:
    """Whether a folder holds nothing but a converted set or parts of one (and may be replaced)."""
    try:
        children = [child for child in folder.iterdir() if child.name != ".partial"]
    except OSError:
        return False
    return bool(children) and all(map(is_set_child, children))


def is_set_child(folder: Path) -> bool:
    """Whether this is a split of a converted set, a part of one, or what an unfinished merge
    left.
    """
    return (folder / MANIFEST).is_file() or (
        folder.is_dir() and folder.name.startswith((PART_PREFIX, ".merge"))
    )
