"""SeqGAN for continuous sequences, in JAX and Flax.

Names are loaded when they are first used, so that `--help` does not wait for JAX.
"""

from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from seqgan_jax.analysis import analyze
    from seqgan_jax.config import Config
    from seqgan_jax.data.inspection import inspect
    from seqgan_jax.model import SeqGAN

__all__ = ["Config", "SeqGAN", "__version__", "analyze", "inspect"]

_WHERE = {
    "Config": "seqgan_jax.config",
    "SeqGAN": "seqgan_jax.model",
    "analyze": "seqgan_jax.analysis",
    "inspect": "seqgan_jax.data.inspection",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WHERE[name]), name)
