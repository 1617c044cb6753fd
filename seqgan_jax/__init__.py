"""SeqGAN for continuous sequences, in JAX and Flax."""

from seqgan_jax.version import __version__

__all__ = ["__version__"]
