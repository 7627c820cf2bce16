"""OpenVINO, which runs the local model and the scans of large indexes: imported on first use, without telemetry."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry, which would otherwise write a client id and send an event at import.

    With `openvino_telemetry` out of reach OpenVINO takes its own silent stub.
    """
    absent = object()
    before = sys.modules.get("openvino_telemetry", absent)
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # None makes an import of it fail
    try:
        import openvino  # noqa: PLC0415  # an import of half a second, only where a model is run
        import openvino.opset13  # noqa: PLC0415
    finally:
        if before is absent:
            sys.modules.pop("openvino_telemetry", None)
    return openvino


def codes_fastest() -> bool:
    """Tell whether int8 is the fastest arithmetic of this CPU: it has VNNI, and does not compute bf16.

    As Linux lists the CPU's flags: elsewhere nothing is known without a library, and the answer is no.
    """
    try:
        with _CPUINFO.open(encoding="utf-8", errors="replace") as lines:
            flags = set(next((line for line in lines if line.startswith("flags")), "").split())
    except OSError:
        return False
    return bool(flags & {"avx512_vnni", "avx_vnni"}) and not flags & {"avx512_bf16", "amx_bf16"}
