"""Whether all of a JPEG's coded data decodes, without making its pixels: half the work of decoding
it.

What can go wrong in a JPEG goes wrong while its bits are read; what follows is arithmetic. So the
decoder is asked for an eighth of the brightness only: it reads every bit of every component as it
always does, and leaves out most of the arithmetic. Pixels are `decode.py`'s matter.
"""

from __future__ import annotations

import simplejpeg


def decodes_cleanly(data: bytes) -> tuple[int, int] | None:
    """Read all coded data of a JPEG.

    Args:
        data: The file's bytes.

    Returns:
        Its height and width in pixels if the decoder has not a single warning, and then
        `decode.decode_file` has none either; None if it has one, or refuses the file, which may
        still decode.
    """
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1)
    except ValueError:
        return None
    return int(height), int(width)
