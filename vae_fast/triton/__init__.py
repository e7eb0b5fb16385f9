"""The operators as Triton kernels: for GPUs without the CUDA extension, and as its readable twin.

Nothing here imports Triton until an operator runs. `math`, `normal` and `tiles` hold device
functions, `likelihood_kernel` and `latent_kernel` the kernels, `likelihood` and `latent` the
operators around them: `layout` and `tune` say how, `plan` keeps that for the next call, `launch`
runs a kernel, `registration` makes PyTorch call the operators.
"""
