"""Compare generated sequences with real ones; `python analyze.py --help`."""

import sys

from seqgan_jax.analysis.cli import main

if __name__ == "__main__":
    sys.exit(main())
