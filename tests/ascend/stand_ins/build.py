"""Build stand-ins for CANN's libraries, so that MindSpore's own Ascend backend loads on a machine
without CANN.

    python tests/ascend/stand_ins/build.py OUT

OUT/cann/lib64 gets one library that defines every symbol which the wheel leaves open, and empty
ones of the other names that the plugin is linked against. Nothing is downloaded, nothing is
computed: kernels are not run in a dry run.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
CANN_VERSION = "8.5.0"
NAMES = [
    "libge_runner",
    "libgraph",
    "libmsprofiler",
    "libhccl",
    "libruntime",
    "libplatform",
    "libc_sec",
    "libnnopbase",
    "libascend_hal",
    "libopapi",
    "libmmpa",
    "libregister",
    "libprofapi",
    "libascendalog",
    "libacl_op_compiler",
    "libacl_tdt_channel",
    "libacl_tdt_queue",
]
NOT_LOADED = re.compile("gpu|op_kernels|cpu_kernels|dvpp")
# What these leave open belongs to other programs than CANN.
OF_OTHERS = ("libmpi_collective", "libavformat", "libavcodec")
SYSTEM = re.compile(r"lib(stdc\+\+|m|c|pthread|gomp|gcc_s|dl|rt|z|numa)\.so")
# Looked up by name while running (dlsym), so that no open symbol tells of them.
HANDLES = [
    *(f"aclCreate{what}" for what in
      ["Tensor", "Scalar", "IntArray", "BoolArray", "FloatArray", "TensorList", "ScalarList",
       "DataBuffer", "TensorDesc"]),
    "aclopCreateAttr",
]  # fmt: skip
BY_NAME = [
    "aclDestroyTensor",
    "aclDestroyScalar",
    "aclDestroyIntArray",
    "aclDestroyBoolArray",
    "aclDestroyFloatArray",
    "aclDestroyTensorList",
    "aclDestroyScalarList",
    "aclDestroyAclOpExecutor",
    "aclSetAclOpExecutorRepeatable",
    "aclSetDynamicTensorAddr",
    "aclSetTensorAddr",
    "aclSetInputTensorAddr",
    "aclSetOutputTensorAddr",
    "aclSetDynamicInputTensorAddr",
    "aclSetDynamicOutputTensorAddr",
    "aclGetViewShape",
    "aclGetViewStrides",
    "InitHugeMemThreadLocal",
    "UnInitHugeMemThreadLocal",
    "ReleaseHugeMem",
    "AddTensorAddrToCachedList",
    "InitPTACacheThreadLocal",
    "SetPTAHashKey",
    "CanUsePTACache",
    "PTAGetExecCache",
    "PTAFindExecCache",
    "SetPTACacheHashKey",
    "aclGetTensorListSize",
    "aclopDestroyAttr",
    "aclopSetAttrBool",
    "aclopSetAttrDataType",
    "aclopSetAttrFloat",
    "aclopSetAttrInt",
    "aclopSetAttrListBool",
    "aclopSetAttrListDataType",
    "aclopSetAttrListFloat",
    "aclopSetAttrListInt",
    "aclopSetAttrListListInt",
    "aclopSetAttrListString",
    "aclopSetAttrString",
    "aclopSetModelDir",
]
# Methods that return their own object, so that calls can be chained.
CHAINED = re.compile(
    r"^ge::(Operator::(SetAttr|SetInput|AddControlInput)|Graph::Set(Inputs|Outputs))\("
)


def mindspore_lib() -> Path:
    """The wheel's `lib` folder, without importing MindSpore."""
    spec = importlib.util.find_spec("mindspore")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("error: this Python has no mindspore: use the project's environment")
    return Path(next(iter(spec.submodule_search_locations))) / "lib"


def symbols(path: Path, flag: str) -> dict[str, str]:
    """Dynamic symbols of a library: name to the letter that nm gives it."""
    out = subprocess.run(["nm", "-D", flag, path], capture_output=True, text=True).stdout
    rows = (line.split() for line in out.splitlines() if line.strip())
    return {row[-1].split("@")[0]: row[-2] for row in rows}


def open_symbols(shipped: list[Path], pool: ThreadPoolExecutor) -> set[str]:
    """What the wheel's libraries want and neither they nor the system have."""
    folder = Path(f"/lib/{platform.machine()}-linux-gnu")
    folders = [folder, Path("/lib64"), Path("/usr/lib64"), Path("/lib")]
    system = [
        p
        for f in folders
        for p in f.glob("*.so*")
        if SYSTEM.search(p.name) or p.name.startswith("ld-linux")
    ]
    defined = set().union(*pool.map(lambda p: symbols(p, "--defined-only"), [*shipped, *system]))
    near = [p for p in shipped if not p.name.startswith(OF_OTHERS)]
    wanting = pool.map(lambda p: symbols(p, "--undefined-only"), near)
    return {
        name
        for wanted in wanting
        for name, kind in wanted.items()
        if kind == "U" and name not in defined and not re.match(r"_?Py|__tls", name)
    }


def operators_named(path: Path) -> set[str]:
    """Names of CANN's operators in a library: words that begin with aclnn and a capital."""
    content = path.read_bytes()
    # A look behind within the pattern would be tried at each of some hundred million bytes.
    inside = re.compile(rb"\w")
    return {
        m.group().decode()
        for m in re.finditer(rb"aclnn[A-Z]\w+", content)
        if not m.start() or not inside.match(content, m.start() - 1)
    }


def generated(wanted: set[str], operators: set[str], ours: set[str]) -> str:
    """C source of every symbol that has no body of its own."""
    plain = sorted((set(BY_NAME) | operators | wanted) - set(HANDLES) - ours)
    shown = subprocess.run(
        ["c++filt"], input="\n".join(plain), capture_output=True, text=True, check=True
    )
    lines = ["#include <stdlib.h>"]
    lines += [f"void *{name}(void) {{ return calloc(1, 256); }}" for name in HANDLES]
    for name, text in zip(plain, shown.stdout.splitlines()):
        chained = CHAINED.match(text)
        lines.append(
            f"void *{name}(void *self) {{ return self; }}"
            if chained
            else f"long {name}(void) {{ return 0; }}"
        )
    return "\n".join(lines) + "\n"


def build(out: Path) -> str:
    """Build everything below `out`, one process at a time; return a line that says what was
    built.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.with_name(f"{out.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return build_alone(out)


def build_alone(out: Path) -> str:
    """Build everything below `out`, if what is there is not of today."""
    missing = [tool for tool in ("gcc", "g++", "nm", "c++filt") if shutil.which(tool) is None]
    if missing:
        raise SystemExit(
            f"error: {', '.join(missing)} not found. On Debian or Ubuntu: apt-get install "
            "build-essential"
        )
    home = mindspore_lib()
    if not (home / "plugin/ascend").is_dir():
        raise SystemExit(
            f"error: {home} holds no Ascend plugin: the mindspore wheel for Linux has it"
        )
    stamp = out / "stamp"
    mark = fingerprint(home)
    if stamp.is_file() and stamp.read_text() == mark:
        return f"stand-ins in {out} are up to date"
    shutil.rmtree(out, ignore_errors=True)
    lib, work = out / "cann" / "lib64", out / "build"  # the plugin looks for a folder named lib64
    for folder in (lib, work, out / "cann" / "opp", out / "python" / "hccl"):
        folder.mkdir(parents=True)
    shipped = [*home.glob("*.so*"), *home.glob("plugin/*.so*"), *home.glob("plugin/ascend/*.so"),
               *home.glob("plugin/ascend/ms_kernels_*/**/*.so*")]  # fmt: skip
    shipped = [p for p in shipped if not NOT_LOADED.search(p.name)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        wanted = open_symbols(shipped, pool)
        near = [p for p in shipped if "ascend" in str(p.relative_to(home))]
        operators = set().union(*pool.map(operators_named, near))
    operators |= {f"{name}GetWorkspaceSize" for name in operators}
    # The wheel's libraries are of the old C++ ABI.
    run("g++", "-std=c++17", "-O1", "-fPIC", "-D_GLIBCXX_USE_CXX11_ABI=0", "-c", HERE / "cann.cpp",
        "-o", work / "cann.o")  # fmt: skip
    listed = subprocess.check_output(["nm", "--defined-only", work / "cann.o"], text=True)
    ours = {line.split()[-1] for line in listed.splitlines()}
    (work / "names.c").write_text(generated(wanted, operators, ours))
    run("gcc", "-w", "-O1", "-fPIC", "-c", work / "names.c", "-o", work / "names.o")
    run(
        "g++",
        "-shared",
        work / "cann.o",
        work / "names.o",
        "-Wl,-soname,libascendcl.so",
        "-o",
        lib / "libascendcl.so",
    )
    (work / "empty.c").write_text("")
    for name in NAMES:
        run("gcc", "-shared", "-fPIC", work / "empty.c", f"-L{lib}", "-Wl,--no-as-needed",
            "-lascendcl",
            f"-Wl,-soname,{name}.so", "-o", lib / f"{name}.so")  # fmt: skip
    run("gcc", "-shared", "-fPIC", HERE / "preloaded.c", "-o", out / "preloaded.so")
    (out / "python/hccl/__init__.py").write_text("")
    (out / "python/hccl/sys_version.py").write_text(f'__sys_version__ = "{CANN_VERSION}"\n')
    stamp.write_text(mark)
    bodies = len(ours & wanted)
    return f"{len(wanted)} open symbols, {bodies} with a body, {len(operators)} operators by name"


def fingerprint(home: Path) -> str:
    """What the stand-ins are made from, in a few words: sources, and the wheel's version and
    place.
    """
    names = ("build.py", "cann.cpp", "preloaded.c")
    sources = b"".join((HERE / name).read_bytes() for name in names)
    version = (home.parent / "version.py").read_bytes()
    return hashlib.sha256(sources + version + str(home).encode() + sys.version.encode()).hexdigest()


def environment(out: Path, cores: int = 24) -> dict[str, str]:
    """Variables with which a command runs in MindSpore's dry run of Ascend."""
    out = out.resolve()
    python = os.environ.get("PYTHONPATH")
    return {
        "LD_LIBRARY_PATH": str(out / "cann/lib64"),
        "ASCEND_HOME_PATH": str(out / "cann"),
        "ASCEND_OPP_PATH": str(out / "cann/opp"),
        "PYTHONPATH": os.pathsep.join([str(out / "python"), *([python] if python else [])]),
        "LD_PRELOAD": str(out / "preloaded.so"),
        "SSD_STAND_IN_CORES": str(cores),
        # Level 0 stops before the backend; 1 selects kernels, plans memory and schedules; 2 and 3
        # need more of CANN.
        "MS_SIMULATION_LEVEL": "1",
    }


def run(*words: object) -> None:
    """Run a compiler; its complaints are the message."""
    subprocess.run([str(word) for word in words], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    print(build(parser.parse_args().out))
