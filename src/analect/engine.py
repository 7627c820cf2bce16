"""OpenVINO, which runs the local model and the scans of large indexes: imported on first use, without telemetry."""

from __future__ import annotations

import sys
from typing import Any


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
