"""README and the other documents cannot rot: what they tell a reader to type exists and runs.

The fast tests check every command, setting, file and link of every document; the slow one runs each
command of README.md, in its order, on drawn data.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from data_tools.core.errors import CheckpointError, SettingError
from data_tools.sources.shapes import CATEGORY_IDS, CLASS_NAMES, shape_samples
from tests.helpers.document_commands import (
    REPOSITORY,
    SHELL,
    Block,
    blocks,
    check_command,
    check_links,
    check_span,
    command_lines,
    commands,
    documents,
    links,
    spans,
)
from tests.helpers.hostile_exporters import EXPORTS, read_named
from tests.helpers.warm import run_warm

README = REPOSITORY / "README.md"
CHINESE = REPOSITORY / "README_CN.md"

PLACEHOLDERS = {
    "DIR": "coco",  # a raw data set in COCO's layout, drawn by `raw_coco`
    "DATA": "data",
    "RUN": "run",
    "EVAL": "eval",
    "OUT": "out",
    "PICTURES": "coco/val2017",
    "IMAGES": "coco/val2017",
    "FILE": "run/checkpoints/best.ckpt",
    "model.onnx": "model.onnx",
}
"""What stands in README.md for a path of the reader's -> the path in the test's folder."""

SMALLER = {
    "convert.py": ["check_out={root}/check"],
    "train.py": [
        "batch_size=2", "max_steps=2", "workers=1", "log.every_steps=1", "log.tensorboard=false",
        "model.image_size=[96,96]", "model.anchors.steps=[]",
    ],
    "eval.py": [],
    "predict.py": ["port=0"],
    "export.py": ["parity_images=2"],
    "run_distribute_train.sh": ["output={root}/eight", "--dry-run"],
}  # fmt: skip
"""What is added to a command so that it takes seconds: its meaning stays, its size shrinks."""

DOCUMENTS = documents()


def names(paths: list[Path]) -> list[str]:
    return [path.relative_to(REPOSITORY).as_posix() for path in paths]


@pytest.mark.parametrize("page", DOCUMENTS, ids=names(DOCUMENTS))
def test_every_command_of_the_documents_is_one(page: Path) -> None:
    for line in command_lines(page.read_text(encoding="utf-8")):
        try:
            check_command(line)
        except (SettingError, SystemExit) as error:
            raise AssertionError(f"{page.name}: {line}: {error}") from error


@pytest.mark.parametrize("page", DOCUMENTS, ids=names(DOCUMENTS))
def test_every_setting_file_and_link_of_the_documents_exists(page: Path) -> None:
    for span in spans(page.read_text(encoding="utf-8")):
        check_span(span)
    check_links(page)


def test_every_page_can_be_reached_from_the_readme() -> None:
    linked = {name.partition("#")[0] for name in links(README.read_text(encoding="utf-8"))}
    pages = {name for name in names(DOCUMENTS) if name.startswith("docs/")}
    assert pages <= linked, f"README.md does not link {sorted(pages - linked)}"


def too_long(text: str) -> list[str]:
    """Lines of Markdown that are too long: 120 characters, 160 in a row of a table.

    Free are blocks without a language, which show what a command prints, and a line that is one
    word (a link or an image).
    """
    wrong, language = [], None
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            language = None if language is not None else line.strip().strip("`")
            continue
        if language == "" or " " not in line.strip().lstrip("- "):
            continue
        if len(line) > (160 if line.startswith("|") else 120):
            wrong.append(line)
    return wrong


@pytest.mark.parametrize("page", DOCUMENTS, ids=names(DOCUMENTS))
def test_lines_of_the_documents_are_short(page: Path) -> None:
    assert not too_long(page.read_text(encoding="utf-8"))


OUTDATED = re.compile(r"\b(?:besides?|dearest|so many)\b", re.IGNORECASE)
"""Words with plainer ones: next to, versus, also; slowest; that number of."""


@pytest.mark.parametrize("page", DOCUMENTS, ids=names(DOCUMENTS))
def test_the_documents_are_in_plain_words(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    assert not [f"{k}: {line}" for k, line in enumerate(lines, 1) if OUTDATED.search(line)]


def test_what_is_too_long_is_found() -> None:
    code = f"```bash\npython {'x' * 120}\n```\n"
    printed = code.replace("bash", "")
    row, prose = f"| {'x ' * 70} |\n", f"{'x ' * 70}\n"
    assert [len(too_long(text)) for text in (code, printed, row, 2 * row, prose)] == [1, 0, 0, 0, 1]
    assert too_long(row.strip() + row) and not too_long(f"- [a]({'x' * 130})\n")


ROWS = {
    "coco2017": ["coco"], "roboflow": ["roboflow_coco", "roboflow_yolo"], "yolo": ["yolo"],
    "darknet": ["darknet"], "voc": ["voc"], "labelme": ["labelme"], "cvat": ["cvat", "cvat_video"],
    "open_images": ["open_images"], "csv": ["csv_named", "csv_bare"],
    "auto": ["voc_from_0", "label_studio", "kitti", "txt"],
}  # fmt: skip
"""`dataset=` of a row of "your labels come from" -> exports that its command must read."""


def label_rows(path: Path) -> list[str]:
    return re.findall(
        r"^\|.*\| `(python convert.py dataset=.*)` \|$", path.read_text(encoding="utf-8"), re.M
    )


def test_the_command_for_each_tools_labels_reads_them(tmp_path: Path) -> None:
    rows = {line.split()[2].partition("=")[2]: line for line in label_rows(README)}
    assert label_rows(CHINESE) == list(rows.values()) and rows.keys() == ROWS.keys()
    for kind, line in rows.items():
        for name in ROWS[kind]:
            EXPORTS[name].write(tmp_path / name)
            raw = read_named(line.split()[2:3], tmp_path / name)
            images = sum(len(split.table) for split in raw.splits)
            assert images == len(EXPORTS[name].renamed) - EXPORTS[name].silent, name


def test_what_is_wrong_is_found() -> None:
    """The checks above would be worthless if they passed everything."""
    for line in ("python train.py optim.learning_rate=0.1", "python train.py model=ssd301",
                 "python benchmark.py", "python -m benchmarks.step --fast", "make demos",
                 "bash run_distribute_train.sh 8 dta=DIR", "python eval.py data=DIR"):  # fmt: skip
        with pytest.raises((AssertionError, SettingError)):
            check_command(line)
    for span in ("optim.learning_rate", "policy.bad_box=error", "runtime=gpu", "docs/nothing.md"):
        with pytest.raises(AssertionError):
            check_span(span)


def plain_blocks(path: Path) -> list[Block | list[str]]:
    """The blocks of a document; of shell blocks the commands, since comments are translated."""
    found = blocks(path.read_text(encoding="utf-8"))
    return [commands(block) if block.language in SHELL else block for block in found]


def test_the_chinese_readme_says_the_same() -> None:
    """The same commands, links and pictures, as many headings, and the same figures in the
    tables.
    """
    # (Where Chinese pages are named does not matter, and figures are written alike in both.)
    assert plain_blocks(CHINESE) == plain_blocks(README)
    english, chinese = (path.read_text(encoding="utf-8") for path in (README, CHINESE))
    swapped = {"README.md": "README_CN.md", "README_CN.md": "README.md"}
    assert sorted(swapped.get(link, link) for link in links(chinese)) == sorted(links(english))
    for pattern in (r"^(#+) ", r"^\|.*$"):
        assert len(re.findall(pattern, chinese, re.M)) == len(re.findall(pattern, english, re.M))
    for ours, theirs in zip(*(re.findall(r"^\|.*$", text, re.M) for text in (english, chinese))):
        figures = [sorted(re.findall(r"\d[\d.,]*\d|\d", row)) for row in (ours, theirs)]
        assert figures[0] == figures[1], f"{ours}\n{theirs}"


def raw_coco(root: Path, train: int = 12, val: int = 4) -> None:
    """Draw a data set in the layout of COCO 2017 as it is downloaded."""
    categories = [
        {"id": k, "name": name} for k, name in zip(CATEGORY_IDS, CLASS_NAMES, strict=True)
    ]
    for split, count in (("train2017", train), ("val2017", val)):
        (root / split).mkdir(parents=True)
        truth: dict[str, list[object]] = {"images": [], "annotations": [], "categories": categories}  # type: ignore[dict-item]
        for sample in shape_samples(1, split, count, min_side=96, max_side=120):
            name = f"{sample.image_id:012d}.jpg"
            (root / split / name).write_bytes(sample.read_bytes())
            size = {"height": sample.height, "width": sample.width}
            truth["images"].append({"id": sample.image_id, "file_name": name, **size})
            for (y1, x1, y2, x2), kind in zip(sample.boxes_yxyx_px.tolist(), sample.category_ids):
                box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (y2 - y1) * (x2 - x1)}
                ids = {"id": len(truth["annotations"]) + 1, "image_id": sample.image_id}
                truth["annotations"].append({**ids, **box, "category_id": int(kind), "iscrowd": 0})
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(truth))


def to_run(line: str, root: Path) -> list[str]:
    """Return a command of README.md with its placeholders filled in, and made small."""
    for name, path in PLACEHOLDERS.items():
        line = re.sub(rf"(?<![\w/]){re.escape(name)}(?![\w.])", f"{root}/{path}", line)
    words = shlex.split(line)
    left = [word for word in words[1:] if re.search(r"\b[A-Z]{2,}\b", word.replace(str(root), ""))]
    assert not left, f"{line}: add what {left} stands for to PLACEHOLDERS"
    if words[0] == "make":  # it would install and train for minutes; what it would run is printed
        return ["make", "-n", *words[1:]]
    script = words[1]
    assert script in SMALLER, f"{line}: say in SMALLER how to run it on small data"
    words += [word.format(root=root) for word in SMALLER[script]]
    return [sys.executable if words[0] == "python" else words[0], *words[1:]]


def run(words: list[str]) -> None:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHON": sys.executable}
    if "serve=true" in words:
        look_at_page(words, environment)
        return
    if words[0] == sys.executable:
        done = run_warm(*words[1:], cwd=REPOSITORY)
    else:
        done = subprocess.run(
            words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=600
        )
    said = f"{shlex.join(words)}\n{done.stdout[-2000:]}{done.stderr[-3000:]}"
    if any("=hub:" in word for word in words):
        # Tests fetch nothing from elsewhere: tests/training/weights run these against a server of
        # their own.
        assert done.returncode == 1 and NOT_FETCHED in done.stderr, said
        return
    assert done.returncode == 0, said


def look_at_page(words: list[str], environment: dict[str, str]) -> None:
    """Start the local page, let it look at a picture, end it with Ctrl-C."""
    process = subprocess.Popen(
        words, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        address = next(
            found.group() for text in process.stdout if (found := re.search(r"http://\S+", text))
        )
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert answer.status == 200 and b"<html" in answer.read().lower()
        picture = next(shape_samples(1, "page", 1, min_side=96, max_side=120)).read_bytes()
        with urllib.request.urlopen(f"{address}detect", data=picture, timeout=60) as answer:
            assert "detections" in json.load(answer)
        process.send_signal(signal.SIGINT)  # MindSpore has its own way with it once it has computed
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_every_command_of_the_readme_runs(tmp_path: Path) -> None:
    raw_coco(tmp_path / "coco")
    ran = 0
    for block in blocks(README.read_text(encoding="utf-8")):
        for line in commands(block) if block.language in SHELL else []:
            run(to_run(line, tmp_path))
            ran += 1
    assert ran >= 10
    metrics = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert metrics["coco"]["num_images"] == 4
    assert json.loads((tmp_path / "model.onnx.parity.json").read_text())["passed"]


NOT_FETCHED = "is not in the cache and could not be fetched"


@pytest.mark.slow
def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published checkpoint that it names is drawn by lot here."""
    from mindspore_hub_conf import create_network
    from training.checkpoints.weight_files import save_weights

    monkeypatch.chdir(tmp_path)
    save_weights(create_network("ssd300", num_classes=81), "ssd300_published.ckpt")
    code = [b.text for b in blocks(README.read_text(encoding="utf-8")) if b.language == "python"]
    assert code
    for text in code:
        program = compile(text, "README.md", "exec")
        if "load(model)" in text:  # run against a server of their own in tests/training/weights
            with pytest.raises(CheckpointError, match=NOT_FETCHED):
                exec(program, {})
        else:
            exec(program, {})
