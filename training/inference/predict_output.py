"""The files that prediction leaves: detections as COCO JSON and CSV, the list of images, pictures.

They appear under their names when everything is done; until then the JSON and CSV end in `.tmp`.
"""

from __future__ import annotations

import contextlib
import csv
import json
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import cv2
import numpy as np
import numpy.typing as npt

from data_tools.core.boxes import xywh_from_yxyx
from data_tools.core.errors import DataError, SettingError
from data_tools.core.files import make_folder, naming, publish, replacing, write_atomic
from data_tools.core.words import csv_cell, name_as_text, printable
from training.inference.detector import Prediction
from training.inference.image_source import ImageList

CSV_COLUMNS = ("file", "image_id", "class", "category_id", "score", "x", "y", "width", "height")
_KEPT_ENDINGS = frozenset((".jpg", ".jpeg", ".png"))
_DRAWN = _KEPT_ENDINGS | {".mp4"}


class PredictionFiles:
    """Writes detections as they come; memory does not grow with the number of images.

    Use as a context manager: left without an error, the files get their names.

    Args:
        folder: Where they go; made.

    Attributes:
        follows: Whether an earlier run has written there.

    Raises:
        SettingError: If it cannot be made or written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.follows = (folder / "images.json").exists()
        make_folder(folder, "out")
        self._streams: dict[str, TextIO] = {}
        self.images = self.detections = self.last_image_id = 0
        self.skipped: list[dict[str, str]] = []

    def __enter__(self) -> PredictionFiles:
        for name in ("detections.json", "images.json", "detections.csv"):
            self._streams[name] = open(
                self.folder / f"{name}.tmp", "w", encoding="utf-8", newline=""
            )
        self._csv = csv.writer(self._streams["detections.csv"])
        self._csv.writerow(CSV_COLUMNS)
        return self

    def add(self, image_id: int, file_name: str, prediction: Prediction) -> None:
        """Write one image's detections.

        Args:
            image_id: Its id in the files.
            file_name: Its name, as the user knows it.
            prediction: What was found.
        """
        file_name = name_as_text(file_name)
        size = {"height": prediction.height, "width": prediction.width}
        self._append("images.json", {"id": image_id, "file_name": file_name, **size})
        boxes = xywh_from_yxyx(prediction.boxes_yxyx_px).tolist()
        for k, box in enumerate(boxes):
            score, category = float(prediction.scores[k]), prediction.category_ids[k]
            self._append(
                "detections.json",
                {
                    "image_id": image_id,
                    "category_id": category,
                    "bbox": box,
                    "score": score,
                    "category": prediction.names[k],
                    "file_name": file_name,
                },
            )
            numbers = [f"{value:.2f}" for value in box]
            name = csv_cell(prediction.names[k])
            row = [csv_cell(file_name), image_id, name, category, f"{score:.4f}", *numbers]
            with naming(self.folder / "detections.csv"):
                self._csv.writerow(row)
        self.images += 1
        self.last_image_id = max(self.last_image_id, image_id)
        self.detections += len(boxes)

    def skip(self, file_name: str, reason: str) -> None:
        """Note an image that could not be used."""
        self.skipped.append({"file_name": name_as_text(file_name), "reason": name_as_text(reason)})

    def _append(self, name: str, entry: dict[str, Any]) -> None:
        stream = self._streams[name]
        with naming(self.folder / name):
            stream.write(("[\n" if stream.tell() == 0 else ",\n") + json.dumps(entry))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        whole = kind is None and self.images > 0
        try:
            for name, stream in self._streams.items():
                with naming(self.folder / name):
                    if whole and name.endswith(".json"):
                        stream.write("[]\n" if stream.tell() == 0 else "\n]\n")
                    if whole:
                        stream.close()
            for name in self._streams if whole else ():
                publish(self.folder / f"{name}.tmp", self.folder / name)
        finally:
            for name, stream in self._streams.items():
                with contextlib.suppress(
                    OSError
                ):  # what a full disk does not take of a file that goes
                    stream.close()
                (self.folder / f"{name}.tmp").unlink(missing_ok=True)
        report = self.folder / "skipped.json"
        report.unlink(missing_ok=True)
        if kind is None and self.skipped:
            write_atomic(report, json.dumps(self.skipped, indent=1) + "\n")


def picture_name(name: str) -> str:
    """Return what the picture of an image is called; formats that not every viewer opens become
    PNG.

    >>> picture_name("a/b.jpg"), picture_name("c.gif")
    ('a/b.jpg', 'c.gif.png')
    """
    return name if Path(name).suffix.lower() in _KEPT_ENDINGS else f"{name}.png"


def video_name(name: str) -> str:
    """Return what the annotated copy of a video is called; always MP4.

    >>> video_name("a/b.mp4"), video_name("c.avi")
    ('a/b.mp4', 'c.avi.mp4')
    """
    return name if Path(name).suffix.lower() == ".mp4" else f"{name}.mp4"


def refuse_collisions(images: ImageList, out: Path) -> None:
    """Refuse pictures and videos that would replace what they are made from, or one another.

    Args:
        images: What is looked at.
        out: Where its pictures go.

    Raises:
        SettingError: If one would, or if one would lie outside of `out`.
    """
    for path in (*images.images, *images.videos):
        if ".." in Path(images.name(path)).parts:
            raise SettingError(
                f"images: the picture of {path} would lie outside of out={out}. Name the folder "
                "without `..` behind a wildcard."
            )
    sources = {path.resolve() for path in (*images.images, *images.videos)}
    targets = [(path, out / picture_name(images.name(path))) for path in images.images]
    targets += [(path, out / video_name(images.name(path))) for path in images.videos]
    owners: dict[Path, Path] = {}
    for path, target in targets:
        if target.resolve() in sources:
            raise SettingError(
                f"out={out}: the picture of {path} would replace one of the images. Choose another "
                "folder, or pictures=false."
            )
        other = owners.setdefault(target, path)
        if other != path:
            raise SettingError(
                f"images: the pictures of {other} and {path} would both be called {target}. Rename "
                "one, or set pictures=false."
            )


def other_pictures(images: ImageList, files: PredictionFiles, pictures: bool) -> str:
    """Say which pictures in the folder are not of this run, where an earlier one wrote there.

    Args:
        images: What was looked at.
        files: What was written; closed.
        pictures: Whether this run wrote pictures.

    Returns:
        A line, empty if there are none.
    """
    if not files.follows:
        return ""
    out, unused = files.folder, {entry["file_name"] for entry in files.skipped}
    names = [picture_name(name) for name in map(images.name, images.images)
             if name_as_text(name) not in unused]  # fmt: skip
    names += [video_name(images.name(path)) for path in images.videos]
    ours = {out / name for name in names} if pictures else set()
    others = [p for p in out.rglob("*") if p.suffix.lower() in _DRAWN and p not in ours]
    if not others:
        return ""
    return (
        f"note: {out} holds pictures that are not of this run but of an earlier one: "
        f"{len(others)}, such as {printable(name_as_text(str(min(others).relative_to(out))))}"
    )


def write_picture(path: Path, image_bgr: npt.NDArray[np.uint8]) -> None:
    """Write a drawn picture in the format of its ending.

    Args:
        path: The file.
        image_bgr: (H, W, 3) uint8.

    Raises:
        DataError: If it cannot be written.
    """
    ok, encoded = cv2.imencode(path.suffix, image_bgr, [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not ok:
        raise DataError(f"{path}: OpenCV cannot write {path.suffix} pictures. Set pictures=false.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, flush=False) as temporary:
            temporary.write_bytes(encoded.tobytes())
    except OSError as error:
        raise DataError(
            f"{path}: not written ({error.strerror or error}). Free some space, or choose another "
            "`out`."
        ) from error
