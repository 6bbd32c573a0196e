"""Serves the models in `models/`: pictures in, digits out."""

import os

__version__ = "0.1.0"

# ONNX Runtime sends telemetry unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
