"""The operators as Triton kernels: for GPUs without the CUDA extension, and as its readable twin.

Nothing here imports Triton until an operator runs. `math`, `normal`, `gumbel` and `tiles` hold
device functions, `likelihood_kernel`, `latent_kernel` and `categorical_kernel` the kernels, the
files of these names without `_kernel` the operators around them: `layout` and `tune` say how,
`plan` keeps that for the next call, `launch` runs a kernel, `registration` makes PyTorch call the
operators.
"""
