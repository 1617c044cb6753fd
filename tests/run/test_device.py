"""Which device, and what a repetition of a run may count on."""

import os

import jax
import pytest

from seqgan_jax.errors import DeviceError
from seqgan_jax.run import device


def test_a_cpu_promises_the_same_bits_with_and_without_the_flag(monkeypatch):
    jax.devices()  # after which the flags are read no more
    monkeypatch.setenv("XLA_FLAGS", "--a")
    for deterministic in (False, True):
        assert "same seed, same bits on this machine" in device.choose(False, deterministic)
    assert os.environ["XLA_FLAGS"] == "--a"


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_gpu_is_asked_for_fixed_sums_before_jax_looks_for_it(monkeypatch, deterministic):
    if jax.default_backend() != "cpu":
        pytest.skip("this machine has a GPU")
    jax.devices()  # after which the flags are read no more
    monkeypatch.setenv("XLA_FLAGS", "--a")
    with pytest.raises(DeviceError):
        device.choose(True, deterministic)
    wanted = "--a" + " --xla_gpu_deterministic_ops=true" * deterministic
    assert os.environ["XLA_FLAGS"] == wanted


@pytest.mark.gpu
@pytest.mark.parametrize("deterministic", [False, True])
def test_a_gpu_says_which_promise_holds(monkeypatch, deterministic):
    monkeypatch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
    words = "same bits on this GPU" if deterministic else "--deterministic gives the same bits"
    assert words in device.choose(True, deterministic)


@pytest.mark.parametrize(("asked", "least"), [(None, 0.0), ("2", 1.0)])
def test_small_programs_are_cached_in_a_folder_of_the_users_own_too(monkeypatch, asked, least):
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/nowhere")
    if asked:
        monkeypatch.setenv(name.upper(), asked)
    jax.config.update(name, 1.0)  # JAX's own: many small programs are compiled at each start
    try:
        assert device.use_cache() is None
        assert getattr(jax.config, name) == least
    finally:
        jax.config.update(name, before)
