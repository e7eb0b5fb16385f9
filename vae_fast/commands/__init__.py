"""The commands of `vae-fast`, one a module: its options, and what it does with them."""
