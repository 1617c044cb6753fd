"""Is it real? Compare generated sequences with real ones: `analyze(real, generated) -> Report`.

Names are imported on first use, so that `import seqgan_jax.analysis` loads neither matplotlib nor
scipy.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqgan_jax.analysis.compare import analyze
    from seqgan_jax.analysis.report import Metric, Report

__all__ = ["Metric", "Report", "analyze"]


def __getattr__(name: str) -> Any:
    if name == "analyze":
        from seqgan_jax.analysis.compare import analyze

        return analyze
    if name in ("Metric", "Report"):
        from seqgan_jax.analysis import report

        return getattr(report, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
