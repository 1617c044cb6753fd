"""Compare generated sequences with real ones; `python analyze.py --help`."""

import sys

from seqgan_jax.run.cli import analyze_main

if __name__ == "__main__":
    sys.exit(analyze_main())
