"""What the trainer is made of: data, batches, settings, measurements, checkpoints and pictures.

The loop is `vae_fast.train`, the command line `vae_fast.cli`.
"""
