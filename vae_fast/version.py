"""The version, read by the build and by `vae-fast info`."""

__version__ = "0.1.0"
