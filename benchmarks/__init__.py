"""The fused losses against eager PyTorch and `torch.compile`: `python -m benchmarks`."""
