"""What a host of Ascend cards lacks, in words, each with the command that mends it.

What is there is read by `ascend_host.py`; `python -m training.report --ascend` prints the list, and
`runtime.py` stops at the first thing without which no step can run.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from training.process.ascend_host import (
    CANN_PACKAGES,
    CANN_VERSIONS,
    PIP_NAMES,
    RUNTIME_LIBRARY,
    VISIBLE_VARIABLE,
    AscendHost,
)


@dataclass(frozen=True)
class Check:
    """One thing that was looked for.

    Attributes:
        name: What it is.
        found: What was found, in words.
        fine: False if training cannot work so.
        remedy: The command or the step that mends it; empty where nothing is to be mended.
        needed: False for what is only advised.
    """

    name: str
    found: str
    fine: bool
    remedy: str = ""
    needed: bool = True


def check_host(host: AscendHost) -> list[Check]:
    """Look through what a host has, in the order in which things are installed."""
    cann = ".".join(host.cann.split(".")[:2])
    goes = " or ".join(CANN_VERSIONS)
    set_env = "source /usr/local/Ascend/ascend-toolkit/set_env.sh (or CANN's own set_env.sh)"
    ours = [name for name in host.missing_packages if name not in CANN_PACKAGES]
    theirs = [name for name in host.missing_packages if name in CANN_PACKAGES]
    pip = " ".join(PIP_NAMES.get(name, name) for name in ours)
    checks = [
        Check("driver", host.driver or "not found", bool(host.driver),
              "install the driver package of your card: ./Ascend-hdk-*-npu-driver_*.run --full"),
        Check("firmware", host.firmware or "not found", bool(host.firmware),
              "install the firmware package: ./Ascend-hdk-*-npu-firmware_*.run --full, then "
              "reboot"),
        Check("device files", ", ".join(f"/dev/davinci{k}" for k in host.devices) or "none",
              bool(host.devices),
              "without them no card is visible: check npu-smi info; in a container add "
              "--device /dev/davinci0 --device /dev/davinci_manager --device /dev/devmm_svm "
              "--device /dev/hisi_hdc"),
        Check("CANN", describe_cann(host), bool(host.cann_home) and host.cann_there,
              set_env),
        Check("CANN's version", host.cann or "unknown", cann in CANN_VERSIONS,
              f"MindSpore 2.10 goes with CANN {goes}: install one of them"),
        Check("operator kernels", ", ".join(host.kernels) or "none found", bool(host.kernels),
              "install CANN's kernels package of the same version and for your chip: "
              "./Ascend-cann-kernels-*.run --install"),
        Check("CANN's Python packages", f"missing: {', '.join(theirs)}" if theirs else "te, hccl",
              not theirs, f"{set_env}, or pip install "
              f"{host.cann_home or '$ASCEND_HOME_PATH'}/lib64/{{te,hccl}}-*.whl"),
        Check("packages of CANN's compiler", f"missing: {', '.join(ours)}" if ours else "all there",
              not ours, f"pip install {pip}"),
        Check("LD_LIBRARY_PATH",
              f"has {host.libraries}" if host.libraries else
              f"lacks CANN's lib64: no {RUNTIME_LIBRARY} in it", bool(host.libraries), set_env),
    ]  # fmt: skip
    if host.chosen is not None:
        checks.append(
            Check("visible cards",
                  f"{VISIBLE_VARIABLE}: {', '.join(map(str, host.chosen)) or 'none'}",
                  bool(host.chosen) and set(host.chosen) <= set(host.devices),
                  f"unset {VISIBLE_VARIABLE}, or list cards that are here: "
                  f"{', '.join(map(str, host.devices)) or 'none'}")
        )  # fmt: skip
    checks += card_checks(host)
    checks += [
        Check("core binding", "numactl found" if shutil.which("numactl") else "numactl not found",
              shutil.which("numactl") is not None,
              "apt-get install numactl, for run_distribute_train.sh ... --bind-numa", needed=False),
        Check("network between cards", ", ".join(host.addresses) or "no /etc/hccn.conf",
              bool(host.addresses),
              "for several servers give each card an address: hccn_tool -i 0 -ip -s "
              "address ADDRESS netmask MASK; check it with hccn_tool -i 0 -link -g", needed=False),
    ]  # fmt: skip
    return checks


def describe_cann(host: AscendHost) -> str:
    """Say where CANN is, or that it is not where ASCEND_HOME_PATH says."""
    if not host.cann_home:
        return "ASCEND_HOME_PATH is not set"
    if not host.cann_there:
        return f"ASCEND_HOME_PATH={host.cann_home}: no such folder"
    return f"{host.cann or 'version not found'} in {host.cann_home}"


def card_checks(host: AscendHost) -> list[Check]:
    """Look at each card: health, free memory, who uses it."""
    if not host.cards:
        return [Check("npu-smi", "not found, or it does not answer", False,
                      "export PATH=$PATH:/usr/local/sbin; if it hangs, the driver does",
                      needed=False)]  # fmt: skip
    checks = []
    for card in host.cards:
        users = ", ".join(f"{name} ({pid})" for pid, name in card.processes)
        text = f"{card.name}, {card.health}, {card.used_mb} of {card.total_mb} MB in use"
        remedy = "npu-smi info -t health -i N says more"
        if users:
            text, remedy = (
                f"{text} by {users}",
                "choose another card (DEVICE_ID=N) or end that process",
            )
        fine = card.health == "OK" and not users
        checks.append(Check(f"card {card.index}", text, fine, remedy, needed=False))
    return checks


def first_obstacle(host: AscendHost, index: int) -> str | None:
    """Return why no step can run on a card here, with what to do; None if nothing is in the way.

    Args:
        host: What this machine has.
        index: The card that is wanted, counted among the visible ones.
    """
    for check in check_host(host):
        # Where CANN comes as another package than its own, versions and kernels may lie elsewhere.
        unsure = check.name in (
            "driver",
            "firmware",
            "operator kernels",
            "packages of CANN's compiler",
        )
        if check.name == "CANN's version" and not host.cann:
            unsure = True
        if check.needed and not check.fine and not unsure:
            return f"{check.name}: {check.found}. {check.remedy[:1].upper()}{check.remedy[1:]}"
    if host.chosen is not None:
        if index >= len(host.chosen):
            return (
                f"card {index}: {VISIBLE_VARIABLE} lets this process see {len(host.chosen)} "
                "card(s), numbered from 0. Set it, or DEVICE_ID, to other cards"
            )
        index = host.chosen[index]
    if index not in host.devices:
        listed = ", ".join(str(k) for k in host.devices)
        return f"card {index}: not here; cards are {listed}. Set DEVICE_ID to one of them"
    for card in host.cards:
        if card.index == index and card.health not in ("OK", "Warning"):
            return f"card {index}: npu-smi says {card.health}. Choose another with DEVICE_ID=N"
        if card.index == index and card.processes:
            users = ", ".join(f"{name} ({pid})" for pid, name in card.processes)
            return (
                f"card {index}: in use by {users}, {card.total_mb - card.used_mb} MB are free. "
                "Choose another with DEVICE_ID=N, or end that process"
            )
    return None
