"""Pascal VOC layout: an XML file for each image, images in the same or another folder, lists of names.

XML comes from anywhere, so it is parsed with `defusedxml`: no entities, nothing from outside the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.core.errors import DataError
from data_tools.sources.defects import DefectLog
from data_tools.sources.image_files import (
    LabelledFile,
    SourceSplit,
    corners_from,
    digest_of,
    image_index,
    is_text,
    numbers_for,
    read_text,
    require_file,
    require_folder,
    safe_name,
    table_of_files,
)
from data_tools.sources.settings import SplitSettings

_LARGEST_XML = 64 << 20
_NO_SIDE = 1 << 31
"""No image has so many pixels on a side."""


def read_voc(
    root: Path, split: SplitSettings, origin: int, log: DefectLog, key: str = "dataset.splits"
) -> SourceSplit:
    """Read one split in VOC layout.

    Category ids are only good within the split; `read_source` gives every name one of its own.

    Args:
        root: The data set's folder.
        split: Folder of the XML files, folder of the images, list of names or empty.
        origin: 1 if pixels count from 1 and the last one belongs to the box, 0 if edges count from 0.
        log: Where defects go.
        key: Setting that named the files, for messages.

    Returns:
        The split, sorted by image id.

    Raises:
        DataError: If a file or folder is missing, or there is no XML file.
    """
    folder, images = root / split.annotations, root / split.images
    require_folder(folder, f"{key}.annotations={split.annotations}")
    require_folder(images, f"{key}.images={split.images}")
    # By name, because some tools write the suffix in capitals.
    xml_files = {p.name[:-4]: p.name for p in folder.iterdir() if p.name.lower().endswith(".xml")}
    names, digests = _names(root, split, folder, xml_files, key)
    if not names:
        raise DataError(
            f"{folder}: no XML file ({key}.annotations={split.annotations}). Check that setting and "
            "dataset.root."
        )
    index = image_index(images)
    categories: dict[str, int] = {}
    parsed: list[tuple[str, str, int, int, list[_Object]]] = []
    contents: list[bytes] = []
    for name in names:
        path = folder / xml_files.get(name, f"{name}.xml")
        xml_name = f"{split.annotations}/{path.relative_to(folder).as_posix()}"
        if not is_text(name):
            log.add("path_escape", split.annotations, f"file name {path.name!r}")
            continue
        try:
            if path.stat().st_size > _LARGEST_XML:
                raise ValueError("larger than 64 MiB")
            data = path.read_bytes()
        except FileNotFoundError:
            if log.add("missing_annotation", xml_name, f"{name} is listed") == "keep":
                parsed.append((name, index.get(name, f"{name}.jpg"), 0, 0, []))
            continue
        except (OSError, ValueError) as error:
            log.add("unreadable_annotation", xml_name, str(error))
            continue
        contents += [name.encode(), hashlib.sha256(data).digest()]
        tree = _parse(data, xml_name, log)
        if tree is None:
            continue
        file_name = index.get(name) or _named_in(tree, xml_name, name, images, log)
        if file_name is not None:
            height, width = _size(tree)
            found = (_object(element, xml_name, log) for element in tree.findall("object"))
            objects = [entry for entry in found if entry is not None]
            parsed.append((name, file_name, height, width, objects))
    digests[split.annotations] = digest_of(contents)
    files = []
    for _, file_name, height, width, objects in parsed:
        ids = [categories.setdefault(o[0], len(categories) + 1) for o in objects]
        corners = np.array([o[1] for o in objects], np.float64).reshape(-1, 4)
        boxes = corners_from(corners, "xyxy", origin)
        files.append(LabelledFile(file_name, boxes, ids, [o[2] for o in objects], height, width))
    table = table_of_files(images, files, numbers_for([name for name, *_ in parsed]))
    names_of = {number: name for name, number in categories.items()}
    return SourceSplit(table, names_of, log, digests)


_Object = tuple[str, list[float], bool]
"""Class name, `[xmin, ymin, xmax, ymax]` as written, difficult."""


def _names(
    root: Path, split: SplitSettings, folder: Path, xml_files: Mapping[str, str], key: str
) -> tuple[list[str], dict[str, str]]:
    """The names of the split's images without suffix, sorted, and the digest of their list."""
    if not split.list:
        return sorted(xml_files), {}
    path = root / split.list
    require_file(path, f"{key}.list={split.list}")
    text = read_text(path)
    names = set()
    for line in text.splitlines():
        name = line.strip()
        parts = name.rsplit(None, 1)
        # The lists of one class have -1, 0 or 1 behind each name.
        if len(parts) == 2 and parts[1] in ("-1", "0", "1") and name not in xml_files:
            name = parts[0]
        if name and safe_name(name) is None:
            raise DataError(
                f"{path}: the name {name!r} leaves the folder of the annotations. A list holds names without "
                "folder and ending, one a line."
            )
        if name:
            names.add(name)
    return sorted(names), {split.list: hashlib.sha256(text.encode()).hexdigest()}


def _parse(data: bytes, xml_name: str, log: DefectLog) -> Any:
    from xml.etree.ElementTree import ParseError

    from defusedxml.common import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        tree = fromstring(data)
    except DefusedXmlException as error:
        log.add("unreadable_annotation", xml_name, f"refused as unsafe: {type(error).__name__}")
    except (ParseError, LookupError, ValueError, RecursionError) as error:
        log.add("unreadable_annotation", xml_name, str(error) or type(error).__name__)
    else:
        if tree.tag == "annotation":
            return tree
        log.add("unreadable_annotation", xml_name, f"its root is <{tree.tag}>, not <annotation>")
    return None


def _named_in(tree: Any, xml_name: str, name: str, images: Path, log: DefectLog) -> str | None:
    """The image's file by the XML's own word, for images that are not named like their XML file."""
    written = (tree.findtext("filename") or "").strip()
    if not written:
        return f"{name}.jpg"
    safe = safe_name(written)
    if safe is None:
        log.add("path_escape", xml_name, f"file name {written!r}")
        return None
    if "." not in safe:
        safe += ".jpg"
    return safe if (images / safe).exists() else f"{name}.jpg"


def _size(tree: Any) -> tuple[int, int]:
    """Declared height and width; 0, 0 where there is no sensible one (some tools write zeros)."""
    try:
        height = int(float(tree.findtext("size/height") or 0))
        width = int(float(tree.findtext("size/width") or 0))
    except (ValueError, OverflowError):
        return 0, 0
    return (height, width) if 0 < height < _NO_SIDE and 0 < width < _NO_SIDE else (0, 0)


def _object(element: Any, xml_name: str, log: DefectLog) -> _Object | None:
    name = (element.findtext("name") or "").strip()
    if not name:
        log.add("malformed_entry", xml_name, "an object without a name")
        return None
    texts = [element.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    try:
        corners = [float(text or "") for text in texts]
    except ValueError:
        log.add("malformed_box", xml_name, f"{name}: xmin, ymin, xmax, ymax = {texts}")
        return None
    return name, corners, (element.findtext("difficult") or "0").strip() in ("1", "true", "True")
