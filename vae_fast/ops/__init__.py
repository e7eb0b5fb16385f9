"""The operators: schemas, shape (fake) kernels, autograd, and the choice of a route per call.

`latent`, `likelihood` and `categorical` hold one operator family each; `extension` loads the
compiled kernels, `backend` chooses between them and the reference, `routing` between the ways into
autograd.
"""
