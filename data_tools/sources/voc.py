"""Pascal VOC layout: an XML file for each image, images in the same or another folder, lists of
names.

What one XML file says is read in `data_tools/sources/voc_xml.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_tools.core.archives import bytes_of, is_file, read_file
from data_tools.core.errors import DataError
from data_tools.core.files import IMAGE_SUFFIXES
from data_tools.sources.defects import DefectLog
from data_tools.sources.image_files import (
    LabelledFile,
    SourceSplit,
    corners_from,
    digest_of,
    is_text,
    numbers_for,
    read_text,
    require_file,
    require_folder,
    safe_name,
    table_of_files,
)
from data_tools.sources.listing import list_files, list_images
from data_tools.sources.picture_names import PictureNames
from data_tools.sources.safe_xml import LARGEST_BYTES
from data_tools.sources.settings import SplitSettings
from data_tools.sources.voc_xml import VocObject, declared_size, objects_of, parse_voc


@dataclass(frozen=True)
class _Parsed:
    """What one XML file says of its picture."""

    name: str
    file_name: str
    height: int
    width: int
    objects: list[VocObject]


def read_voc(
    root: Path,
    split: SplitSettings,
    origin: int,
    log: DefectLog,
    key: str = "dataset.splits",
    *,
    whole_folder: bool = False,
) -> SourceSplit:
    """Read one split in VOC layout.

    Category ids are only good within the split; `read_source` gives every name one of its own.

    Args:
        root: The data set's folder.
        split: Folder of the XML files, folder of the images, list of names or empty.
        origin: 1 if pixels count from 1 and the last one belongs to the box, 0 if edges count from
            0.
        log: Where defects go.
        key: Setting that named the files, for messages.
        whole_folder: All pictures of the folder belong to the split: one without XML is reported.

    Returns:
        The split, sorted by image id.

    Raises:
        DataError: If a file or folder is missing, or there is no XML file.
    """
    folder, images = root / split.annotations, root / split.images
    require_folder(folder, f"{key}.annotations={split.annotations}")
    require_folder(images, f"{key}.images={split.images}")
    # By name, because some tools write the suffix in capitals.
    xml_files = {name[:-4]: name for name in list_files(folder, (".xml",), log, split.annotations)}
    names, digests = _names(root, split, xml_files, key)
    if not names:
        raise DataError(
            f"{folder}: no XML file ({key}.annotations={split.annotations}). Check that setting "
            "and dataset.root."
        )
    listing = list_images(images, log, split.images, split.folders, report_hidden=images != folder)
    pictures = PictureNames(listing)
    parsed: list[_Parsed] = []
    contents: list[bytes] = []
    spoken_for: set[str] = set()
    for name in names:
        xml = xml_files.get(name, f"{name}.xml")
        xml_name = f"{split.annotations}/{xml}"
        spoken_for.update(pictures.with_stem(name))
        if not is_text(name):
            log.add("path_escape", split.annotations, f"file name {xml!r}")
            continue
        try:
            if bytes_of(folder / xml) > LARGEST_BYTES:
                raise ValueError(f"larger than {LARGEST_BYTES >> 20} MiB")
            data = read_file(folder / xml)
        except FileNotFoundError:
            if log.add("missing_annotation", xml_name, f"{name} is listed") == "keep":
                candidates = pictures.with_stem(name)
                parsed.append(
                    _Parsed(name, candidates[0] if candidates else f"{name}.jpg", 0, 0, [])
                )
            continue
        except (OSError, ValueError) as error:
            log.add("unreadable_annotation", xml_name, str(error))
            continue
        contents += [name.encode(), hashlib.sha256(data).digest()]
        tree = parse_voc(data, xml_name, log)
        if tree is None:
            continue
        file_name = _picture(tree, xml_name, name, pictures, images, log)
        if file_name is None:
            continue
        spoken_for.add(file_name)
        objects, lost = objects_of(tree, xml_name, log)
        if lost and not objects:
            detail = f"all {lost} boxes of {file_name} were left out"
            if log.add("lost_all_boxes", xml_name, detail) != "keep":
                continue
        parsed.append(_Parsed(name, file_name, *declared_size(tree), objects))
    parsed = _each_once(parsed, split, xml_files, log)
    if whole_folder and not split.list:
        for picture in listing:
            if picture not in spoken_for and is_text(picture):
                log.add(
                    "missing_annotation", f"{split.images}/{picture}", "the picture has no XML file"
                )
    digests[split.annotations] = digest_of(contents)
    categories: dict[str, int] = {}
    files = []
    for entry in parsed:
        ids = [categories.setdefault(o.name, len(categories) + 1) for o in entry.objects]
        corners = np.array([o.corners for o in entry.objects], np.float64).reshape(-1, 4)
        boxes, flags = corners_from(corners, "xyxy", origin), [o.difficult for o in entry.objects]
        files.append(LabelledFile(entry.file_name, boxes, ids, flags, entry.height, entry.width))
    table = table_of_files(images, files, numbers_for([entry.name for entry in parsed]))
    names_of = {number: name for name, number in categories.items()}
    return SourceSplit(table, names_of, log, digests)


def _names(
    root: Path, split: SplitSettings, xml_files: Mapping[str, str], key: str
) -> tuple[list[str], dict[str, str]]:
    """The names of the split's XML files without ending, sorted, and the digest of their list."""
    if not split.list:
        return sorted(xml_files), {}
    path = root / split.list
    require_file(path, f"{key}.list={split.list}")
    text = read_text(path)
    known = PictureNames(xml_files.values())
    names = set()
    for line in text.splitlines():
        name = line.strip()
        if not name:
            continue
        # The lists of one class have -1, 0 or 1 behind each name.
        parts = name.rsplit(None, 1)
        flagged = len(parts) == 2 and parts[1] in ("-1", "0", "1") and name not in xml_files
        name = parts[0] if flagged else name
        escapes = ".." in name.replace("\\", "/").split("/")
        name = _listed_name(name, xml_files, known, path, key)
        if escapes or safe_name(name) is None:
            raise DataError(
                f"{path}: the name {name!r} leaves the folder of the annotations. A list holds "
                "names without folder and ending, one a line."
            )
        names.add(name)
    return sorted(names), {split.list: hashlib.sha256(text.encode()).hexdigest()}


def _listed_name(
    name: str, xml_files: Mapping[str, str], known: PictureNames, path: Path, key: str
) -> str:
    """The XML file, without ending, of a line: `a`, `a.jpg`, `a.xml`, `JPEGImages/a.jpg`."""
    if name in xml_files:
        return name
    bare = name
    for suffix in (*IMAGE_SUFFIXES, ".xml"):
        if name.lower().endswith(suffix):
            bare = name[: -len(suffix)]
    for form in dict.fromkeys((bare, bare.replace("\\", "/").rsplit("/", 1)[-1])):
        matches = known.find(form)
        if len(matches) > 1:
            raise DataError(
                f"{path} ({key}.list): the name {name!r} fits {' and '.join(matches[:3])}. Write "
                "the folder before the name."
            )
        if matches:
            return matches[0][:-4]
    return bare


def _picture(
    tree: Any, xml_name: str, name: str, pictures: PictureNames, images: Path, log: DefectLog
) -> str | None:
    """The picture that an XML file means: the one named like it, or else the one that it names."""
    written = (tree.findtext("filename") or "").strip()
    matches = pictures.with_stem(name)
    if len(matches) == 1:
        return matches[0]
    safe = safe_name(written)
    if safe is not None:
        inner = safe_name((tree.findtext("folder") or "").strip() + "/" + safe) or safe
        for form in (inner, safe):
            named = pictures.find(form)
            if len(named) == 1 and (not matches or named[0] in matches):
                return named[0]
    if matches:
        files = ", ".join(matches[:3])
        detail = f"it fits {files}, and its <filename> {written!r} names none of them alone"
        log.add("ambiguous_image", xml_name, detail)
        return None
    if not written:
        return f"{name}.jpg"
    if safe is None:
        log.add("path_escape", xml_name, f"file name {written!r}")
        return None
    if "." not in safe:
        safe += ".jpg"
    return safe if is_file(images / safe) else f"{name}.jpg"


def _each_once(
    parsed: list[_Parsed], split: SplitSettings, xml_files: Mapping[str, str], log: DefectLog
) -> list[_Parsed]:
    """Leave out XML files that claim the same picture: whose boxes are right is unknown."""
    claims: dict[str, list[_Parsed]] = {}
    for entry in parsed:
        claims.setdefault(entry.file_name, []).append(entry)
    kept = []
    for entry in parsed:
        others = claims[entry.file_name]
        if len(others) > 1:
            rivals = " and ".join(xml_files.get(o.name, o.name) for o in others[:3])
            xml_name = f"{split.annotations}/{xml_files.get(entry.name, entry.name)}"
            log.add("ambiguous_image", xml_name, f"{rivals} all claim {entry.file_name}")
            continue
        kept.append(entry)
    return kept
