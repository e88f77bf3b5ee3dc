"""The local page of `predict.py serve=true`: takes a picture, answers with detections, keeps
nothing.

The page itself is in `serve_page.py`, the HTTP server with its limits in `page_server.py`. Nothing
that is sent is ever written to disk.
"""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from data_tools.core.errors import DataError, SettingError
from data_tools.images.decode import PictureError, picture_size
from training.inference.detector import Choice, Detector
from training.inference.image_source import read_image
from training.inference.page_server import PageServer, is_loopback
from training.inference.serve_page import local_page

MAX_PIXELS = 60_000_000
"""Pictures that decode to more are refused before they are decoded: a small file can hold a huge
one."""

_FLOOR = 0.02  # the page's slider goes down to this; below are only guesses


def serve(detector: Detector, choice: Choice, host: str, port: int, max_upload_mb: float) -> int:
    """Serve the page until Ctrl-C.

    Args:
        detector: What finds the objects.
        choice: Starting threshold, most detections, NMS overlap and classes.
        host: Address to bind.
        port: Port; 0 takes any free one.
        max_upload_mb: Largest picture taken.

    Returns:
        0.

    Raises:
        SettingError: If the address cannot be bound.
    """
    server = build_server(detector, choice, host, port, max_upload_mb)
    # Compiled calls put a handler of MindSpore's on SIGINT, which makes a SIGTERM of Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    where = f"http://{_in_url(host)}:{server.server_port}/"
    print(f"open {where} (Ctrl-C ends)", flush=True)
    if not is_loopback(host):
        print(f"host={host}: every machine that reaches this address can use the page", flush=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("\nended")
    return 0


def build_server(
    detector: Detector, choice: Choice, host: str, port: int, max_upload_mb: float
) -> PageServer:
    """Bind the page's server; `serve_forever` runs it. See `serve` for the arguments.

    Raises:
        SettingError: If the address cannot be bound.
    """
    limit = int(max_upload_mb * 1e6)
    one_at_a_time = threading.Lock()

    def answer(data: bytes) -> dict[str, Any]:
        with one_at_a_time:
            return detections(detector, choice, data)

    page = _page(detector, choice, limit).encode()
    try:
        return PageServer((host, port), page, answer, limit)
    except OSError as error:
        raise SettingError(
            f"host={host} port={port}: cannot be bound ({error.strerror or error}). Choose another "
            "port, or port=0 for any free one."
        ) from error


def detections(detector: Detector, choice: Choice, data: bytes) -> dict[str, Any]:
    """Return what the page shows for a picture: its size and its detections down to a low score.

    Raises:
        DataError: If the bytes are no picture, or it is too large.
    """
    try:
        height, width = picture_size(data)
    except PictureError as error:
        raise DataError(f"{error}.") from error
    if height * width > MAX_PIXELS:
        raise DataError(
            f"the picture has {height * width / 1e6:.0f} megapixels; at most {MAX_PIXELS / 1e6:.0f}"
        )
    image = read_image(data)
    begun = time.perf_counter()
    low = replace(choice, threshold=min(_FLOOR, choice.threshold), by_label=())
    detections = detector.predict_batch([image], low)[0]
    return {
        "height": detections.height,
        "width": detections.width,
        "seconds": round(time.perf_counter() - begun, 4),
        "detections": [
            {
                "name": detections.names[k],
                "label": int(detections.labels[k]),
                "category_id": detections.category_ids[k],
                "score": round(float(detections.scores[k]), 4),
                "box": [round(float(v), 2) for v in detections.boxes_yxyx_px[k]],
            }
            for k in range(len(detections))
        ],
    }


def _page(detector: Detector, choice: Choice, limit: int) -> str:
    height, width = detector.image_size
    network = f"{detector.network}, " if detector.network else ""
    return local_page(
        {
            "model": f"{network}{Path(detector.path).name}: {len(detector.classes)} classes; "
            f"looks at pictures at {height} x {width} pixels",
            "limits": f"JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF; up to {limit / 1e6:g} MB and "
            f"{MAX_PIXELS / 1e6:g} megapixels each. The server keeps none of them.",
            "threshold": choice.threshold,
            "floor": min(_FLOOR, choice.threshold),
            "limit": limit,
            "auto": list(choice.by_label),
        }
    )


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
