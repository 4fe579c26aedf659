"""Networks for other runtimes: ONNX and StableHLO."""
