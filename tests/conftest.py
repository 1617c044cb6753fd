"""Settings of every test: strict dtypes and ranks, no key used twice, a compile cache.

Programs are compiled without optimisation: nearly all the time of the suite is compiling.
"""

import os
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"

import jax
import pytest

# No tests: collecting it for doctests would leave a compiled file there that names the checkout.
collect_ignore = ["golden"]

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update(
    "jax_compilation_cache_dir", os.path.join(tempfile.gettempdir(), f"seqgan-test-{os.getuid()}")
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.fixture(autouse=True, scope="module")
def _programs_of_one_file():
    """Compiled programs go with the file that needed them: a worker would grow to gigabytes."""
    yield
    jax.clear_caches()
