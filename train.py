"""Train a SeqGAN on real sequences: `python train.py --help`."""

import sys

from seqgan_jax.run.cli import train_main

if __name__ == "__main__":
    sys.exit(train_main())
