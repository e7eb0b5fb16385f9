"""The operators in plain PyTorch: ground truth, fallback, and the composite for functorch
transforms.

Same arguments, dtypes and results as the registered operators of `vae_fast.ops`, differentiable any
number of times by PyTorch's own autograd.
"""
