"""The stamp of a number: the machine and the software it was computed with."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from nasutils import paths


def stamp(device: str = "cpu") -> dict[str, Any]:
    """The machine and the software a number was computed with; device: cpu, cuda, cuda:1.

    processor: vendor, family, model and stepping of the CPU, whose name may tell less.
    instructions: of the CPU, as PyTorch uses them; between AVX2 and AVX512 sums differ in their
    last bits. tf32: whether the convolutions of float32 run on a GPU's tensor cores, whose factors
    have 10 bits after the point: PyTorch's default, which the environment variable
    NVIDIA_TF32_OVERRIDE=0 turns off.
    """
    on_gpu = torch.device(device).type == "cuda"
    turned_off = os.environ.get("NVIDIA_TF32_OVERRIDE") == "0"
    return {
        "device": _processor() if device == "cpu" else torch.cuda.get_device_name(device),
        "type": torch.device(device).type,
        "processor": _processor_model(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "tf32": on_gpu and torch.backends.cudnn.allow_tf32 and not turned_off,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def _processor() -> str:
    models = _cpuinfo("model name")
    if models:
        return f"{models[0]}, {len(models)} cores"
    return platform.processor() or platform.machine()


def _processor_model() -> str:
    found = {name: _cpuinfo(name) for name in ("vendor_id", "cpu family", "model", "stepping")}
    told = [f"{name} {values[0]}" for name, values in found.items() if values]
    return ", ".join(told) or platform.machine()


def _cpuinfo(field: str) -> list[str]:
    """What Linux says of every core; nothing elsewhere."""
    file = Path("/proc/cpuinfo")
    if not file.exists():
        return []
    values = []
    for line in file.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == field:
            values.append(value.strip())
    return values


@cache
def _commit() -> str | None:
    """Commit of the checkout, with `-dirty` if its code differs from it (figures may: they are
    being drawn); None where there is no checkout. git is asked once a process.
    """
    if not (paths.ROOT / ".git").exists():  # installed: a repository around it is another one
        return None
    git = ["git", "--no-optional-locks", "-C", str(paths.ROOT)]
    status = ["status", "--porcelain=v2", "--branch", "--untracked-files=no", "--"]
    code = ["nasutils", "notebooks", "params"]
    try:
        done = subprocess.run([*git, *status, *code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    lines = done.stdout.splitlines()
    head = next(line for line in lines if line.startswith("# branch.oid ")).split()[-1]
    if head == "(initial)":  # nothing is committed
        return None
    changed = any(not line.startswith("#") for line in lines)
    return f"{head[:12]}-dirty" if changed else head[:12]
