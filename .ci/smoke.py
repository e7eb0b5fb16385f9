"""The installed wheel works: compiled kernels, a training step, agreement with the reference."""

import torch

import vae_fast as vf
from vae_fast.info import lines

print("\n".join(lines()))
vf.set_backend("cpu")  # an error if the compiled kernels are not there

logits, mu, logvar = (torch.randn(64, n, requires_grad=True) for n in (784, 20, 20))
target = torch.randint(0, 256, (64, 784), dtype=torch.uint8)
results = []
for name in ("cpu", "reference"):
    with vf.backend(name):
        z, kl = vf.reparameterize_kl(mu, logvar, seed=1)
        out = vf.elbo_loss(logits, target, kl=kl)
        grads = torch.autograd.grad(out.loss + z.square().sum(), (logits, mu, logvar))
    results.append((z, *out, *grads))
for fused, plain in zip(*results, strict=True):
    torch.testing.assert_close(fused, plain)
compiled = torch.compile(lambda x, t, m, s: vf.vae_loss(x, t, m, s), fullgraph=True)
torch.testing.assert_close(
    compiled(logits, target, mu, logvar), vf.vae_loss(logits, target, mu, logvar)
)
print(f"smoke test passed beside torch {torch.__version__}")
