"""Reads `models/` and answers with digits."""

import os

__version__ = "0.1.0"

# ONNX Runtime reports to its makers, unless it is told otherwise before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
