"""`python -m vae_fast` is `vae-fast`."""

import sys

from vae_fast.cli import main

sys.exit(main())
