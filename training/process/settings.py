"""Settings of the process: device, precision, threads, limits of waiting.

What they do lives in `runtime.py`, and in the launcher that watches a job.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from data_tools.core.settings_fields import require, require_choice, require_positive, setting

DEVICES = ("CPU", "Ascend")
ENGINES = ("auto", "mindspore", "onnxruntime")
"""What can compute a trained network."""


@dataclass
class RuntimeSettings:
    """Device, numbers, communication and what to do when something goes wrong."""

    device: str = setting("CPU", "CPU or Ascend")
    precision: str = setting("fp32", "fp32, fp16 (dynamic loss scale) or bf16 (Ascend)")
    half_norms: bool = setting(
        False, "fp16: norms take and give half precision; their statistics stay float32"
    )
    loss_scale: float = setting(
        1024.0, "fp16: first scale of the loss, taken per 64 positives an image"
    )
    loss_scale_window: int = setting(1000, "fp16: steps without overflow before it doubles")
    threads: Optional[int] = setting(None, "MindSpore's compute threads; empty = its own choice")
    depthwise: str = setting(
        "numba", "depthwise convolutions of an fp32 step on CPU: numba (faster) or mindspore"
    )
    norms: str = setting(
        "auto",
        "batch norms of an fp32 step on CPU: mindspore, fused with their neighbours, or auto, "
        "fused where a depthwise convolution has norms on both sides (ssd300): there it pays",
    )
    deterministic: bool = setting(True, "ask the device for reproducible kernels")
    jit_level: str = setting(
        "O0", "how the step is compiled: O0, kernel by kernel, or O1, small kernels fused (Ascend)"
    )
    compile_cache: Optional[str] = setting(
        None, "folder of the graph cache; Ascend only (on CPU it gives wrong weights)"
    )
    sink_steps: int = setting(
        0, "data sinking: steps that run before their results are read; 0 = read after every step"
    )
    bucket_mb: float = setting(
        128.0, "all-reduce fusion: gradients travel in buckets of this size; 0 = one per tensor"
    )
    preflight: bool = setting(True, "before compiling, let all ranks compare notes")
    preflight_seconds: float = setting(50.0, "longest wait for all ranks in the preflight")
    hang_seconds: float = setting(
        45.0, "a rank so long behind the others, or stopped, ends the job"
    )
    nonfinite: str = setting("stop", "on a NaN or infinite loss or gradient: stop or skip")
    max_skips: int = setting(10, "skip: number of skipped steps in a row after which to give up")

    def __post_init__(self) -> None:
        require_choice("runtime.device", self.device, DEVICES)
        require_choice("runtime.precision", self.precision, ("fp32", "fp16", "bf16"))
        require(
            not (self.precision == "bf16" and self.device == "CPU"),
            "runtime.precision",
            self.precision,
            "fp32 or fp16 on CPU (its convolutions have no bf16)",
        )
        require_positive("runtime.loss_scale", self.loss_scale)
        require_positive("runtime.loss_scale_window", self.loss_scale_window)
        require_positive("runtime.threads", self.threads)
        require_choice("runtime.depthwise", self.depthwise, ("numba", "mindspore"))
        require_choice("runtime.norms", self.norms, ("auto", "fused", "mindspore"))
        require_choice("runtime.jit_level", self.jit_level, ("O0", "O1"))
        require(
            self.jit_level == "O0" or self.device == "Ascend",
            "runtime.jit_level",
            self.jit_level,
            "O0 on CPU: fusing kernels needs a card",
        )
        require(
            self.compile_cache is None or self.device == "Ascend",
            "runtime.compile_cache",
            self.compile_cache,
            "empty on CPU: a cached graph there trains with wrong weights",
        )
        require(
            self.sink_steps == 0 or self.sink_steps >= 2,
            "runtime.sink_steps",
            self.sink_steps,
            "0 (off) or a count >= 2",
        )
        require(
            self.sink_steps == 0 or self.nonfinite == "stop",
            "runtime.nonfinite",
            self.nonfinite,
            f"stop with runtime.sink_steps={self.sink_steps}: the batch of a skipped step is "
            "recorded with the weights of that moment, which a sunk step does not keep",
        )
        require(self.bucket_mb >= 0, "runtime.bucket_mb", self.bucket_mb, "megabytes >= 0")
        require_positive("runtime.preflight_seconds", self.preflight_seconds)
        require_positive("runtime.hang_seconds", self.hang_seconds)
        require_choice("runtime.nonfinite", self.nonfinite, ("stop", "skip"))
        require(self.max_skips >= 1, "runtime.max_skips", self.max_skips, "a count >= 1")
