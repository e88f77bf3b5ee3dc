"""What `predict.py` does: pictures or a video in; pictures with boxes, JSON and CSV out.

The page of `serve=true` is in `serve.py`; one image from Python is `detector.py`.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from data_tools.core.errors import DataError, SettingError
from data_tools.core.lock import alone_in
from data_tools.core.progress import Progress
from data_tools.core.where_to_look import where_to_look
from training.inference.detector import Choice, Detector, Prediction
from training.inference.image_source import (
    ImageList,
    find_images,
    open_video,
    read_image,
    video_frames,
)
from training.inference.predict_output import (
    PredictionFiles,
    other_pictures,
    picture_name,
    refuse_collisions,
    video_name,
    write_picture,
)
from training.inference.serve import serve
from training.inference.settings import PredictCommand
from training.inference.video_file import VideoFile

Image = npt.NDArray[np.uint8]

_READERS = 2
_WRITTEN_LATER = 2  # batches that may wait to be written; bounds memory


def run(command: PredictCommand) -> int:
    """Predict as the command says.

    Returns:
        0.

    Raises:
        SettingError: If a setting cannot work; nothing was written then.
        DataError: If there are no pictures, or none could be used; then no detections are left.
        CheckpointError: If the detector cannot be read.
    """
    if not command.serve:
        if not command.images:
            raise SettingError(
                "images: required: a picture, a folder, a pattern or a video. (Or serve=true.)"
            )
        images = find_images(command.images, command.recursive)
        out = Path(command.out)
        if command.pictures:
            refuse_collisions(images, out)
    detector = Detector.load(
        command.checkpoint,
        device=command.device,
        batch_size=command.batch_size,
        class_names=command.class_names,
        model=command.model,
        engine=command.engine,
    )
    one_name_iou = command.one_name_iou if command.one_name else None
    choice = detector.choice(
        command.threshold, command.top_k, command.nms_iou, command.classes, one_name_iou
    )
    if command.serve:
        return serve(detector, choice, command.host, command.port, command.max_upload_mb)
    if images.passed_over:
        print(f"{images.passed_over} files are neither pictures nor videos: passed over")
    with alone_in(out, "out", "prediction"), PredictionFiles(out) as files:
        predict_images(detector, choice, images, files, command.pictures)
        for video in images.videos:
            _predict_video(detector, choice, video, images.name(video), files, command)
    if not files.images:
        raise DataError(
            f"none of the {len(files.skipped)} files could be used, so no detections were written. "
            f"The reason for each is in {out / 'skipped.json'}."
        )
    print(
        f"{files.images} images, {files.detections} detections from {_in_words(choice)}, "
        f"{len(files.skipped)} not usable: {out}"
    )
    others = other_pictures(images, files, command.pictures)
    if others:
        print(others)
    more = "" if command.pictures else "pictures=true draws the boxes; "
    table = f"{more}every box is a line of {out / 'detections.csv'}"
    print(where_to_look(pictures=[out] if command.pictures else (), then=table))
    return 0


def _in_words(choice: Choice) -> str:
    if not choice.by_label:
        return f"{choice.threshold:g}"
    return f"{min(choice.by_label):.3f}..{max(choice.by_label):.3f} by class (threshold=auto)"


@dataclass(frozen=True)
class _Loaded:
    name: str
    image: Image
    prepared: Image


def image_ids(names: Sequence[str]) -> list[int]:
    """Return an id for each image: the number its name consists of, as in COCO, else 1, 2, ...

    Args:
        names: File names. The numbers are taken only if all names are numbers and no two are equal.

    >>> image_ids(["000000000139.jpg", "7.png"]), image_ids(["a.jpg", "7.png"])
    ([139, 7], [1, 2])
    """
    stems = [PurePosixPath(name).stem for name in names]
    if all(stem.isascii() and stem.isdigit() for stem in stems):
        numbers = [int(stem) for stem in stems]
        if len(set(numbers)) == len(numbers):
            return numbers
    return list(range(1, len(names) + 1))


def predict_images(
    detector: Detector, choice: Choice, images: ImageList, files: PredictionFiles, pictures: bool
) -> None:
    """Find objects on pictures and write what was found.

    Args:
        detector: What finds them.
        choice: Which detections are wanted.
        images: Where the pictures are.
        files: Where detections go.
        pictures: Write each picture with its boxes.
    """
    names = [images.name(path) for path in images.images]
    ids = dict(zip(names, image_ids(names), strict=True))
    progress = Progress("predicting", len(names), enabled=bool(names))
    batch: list[_Loaded] = []
    waiting: deque[Future[None]] = deque()

    def write(done: Sequence[_Loaded], boxes: Any, scores: Any) -> None:
        sizes = [loaded.image.shape[:2] for loaded in done]
        predictions = detector.detections(boxes, scores, sizes, choice)
        for loaded, prediction in zip(done, predictions, strict=True):
            files.add(ids[loaded.name], loaded.name, prediction)
            if pictures:
                drawn = prediction.draw(loaded.image)
                write_picture(files.folder / picture_name(loaded.name), drawn)
        progress.update(len(done))

    def skip(name: str, error: DataError) -> None:
        files.skip(name, str(error))
        progress.write(f"not usable: {error}")
        progress.update()

    def finish() -> None:
        prepared = np.stack([loaded.prepared for loaded in batch])
        waiting.append(pool.submit(write, tuple(batch), *detector.predict_fn(prepared)))
        batch.clear()

    # What was found is written by a thread of its own, in order, while the network goes on.
    with progress, ThreadPoolExecutor(1, thread_name_prefix="results") as pool:
        for name, loaded in zip(names, _load(detector, images.images, names), strict=True):
            if isinstance(loaded, DataError):
                waiting.append(pool.submit(skip, name, loaded))
                continue
            batch.append(loaded)
            if len(batch) == detector.batch_size:
                finish()
            while len(waiting) > _WRITTEN_LATER:
                waiting.popleft().result()
        if batch:
            finish()
        while waiting:
            waiting.popleft().result()


def _load(
    detector: Detector, paths: Sequence[Path], names: Sequence[str]
) -> Iterator[_Loaded | DataError]:
    """Read and resize pictures in threads, a few ahead, in order; a bad one comes as its error."""

    def load(path: Path, name: str) -> _Loaded | DataError:
        try:
            image = read_image(path)
        except DataError as error:
            return error
        return _Loaded(name, image, detector.prepare(image))

    ahead = _READERS + detector.batch_size
    pending: deque[Future[_Loaded | DataError]] = deque()
    with ThreadPoolExecutor(_READERS, thread_name_prefix="images") as pool:
        for path, name in zip(paths, names, strict=True):
            pending.append(pool.submit(load, path, name))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _run(detector: Detector, choice: Choice, batch: Sequence[_Loaded]) -> list[Prediction]:
    prepared = np.stack([loaded.prepared for loaded in batch])
    sizes = [(loaded.image.shape[0], loaded.image.shape[1]) for loaded in batch]
    return detector.predict_prepared(prepared, sizes, choice)


def _predict_video(
    detector: Detector,
    choice: Choice,
    path: Path,
    name: str,
    files: PredictionFiles,
    command: PredictCommand,
) -> None:
    try:
        capture, info = open_video(path)
    except DataError as error:
        files.skip(name, str(error))
        print(f"not usable: {error}", file=sys.stderr)
        return
    first_id = files.last_image_id + 1
    video = VideoFile(files.folder / video_name(name), info.rate / command.video_step)
    batch: list[_Loaded] = []
    numbers: list[int] = []
    total = -(-info.frames // command.video_step) or None

    def finish() -> None:
        predictions = _run(detector, choice, batch)
        for number, loaded, prediction in zip(numbers, batch, predictions, strict=True):
            files.add(first_id + number, f"{name}#frame={number}", prediction)
            if command.pictures:
                video.add(prediction.draw(loaded.image))
        progress.update(len(batch))
        batch.clear()
        numbers.clear()

    try:
        with video, Progress(f"predicting {name}", total, unit="frame") as progress:
            for number, frame in video_frames(capture, command.video_step):
                numbers.append(number)
                batch.append(_Loaded(name, frame, detector.prepare(frame)))
                if len(batch) == detector.batch_size:
                    finish()
            if batch:
                finish()
    finally:
        capture.release()
    if files.last_image_id < first_id:
        files.skip(name, f"{path}: no frame of it decodes.")
        print(f"not usable: {path}: no frame of it decodes.", file=sys.stderr)
