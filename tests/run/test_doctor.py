"""`seqgan doctor` on machines that are well, and on some that are not."""

import importlib.metadata

import jax
import pytest

from seqgan_jax import __version__
from seqgan_jax.run import cli, device, doctor


def said(name, lines):
    return next(line[18:] for line in lines if line.startswith(f"{name} "))


def test_a_machine_that_is_well(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(device, "has_nvidia_driver", lambda: False)
    folder = tmp_path / "cache"
    folder.mkdir()
    (folder / "program").write_bytes(b"x" * 3_000_000)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder))
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert said("seqgan", lines).startswith(__version__)
    assert said("jax", lines).startswith(jax.__version__)
    assert "cpu" in said("jax sees", lines)
    assert said("cache", lines).startswith(f"{folder}: 1 files, 3 MB")
    assert said("verdict", lines) == "all is well"


@pytest.mark.parametrize(("version", "words"), [("0.9.9", "too old: 0.9.9"), (None, "missing")])
def test_a_package_that_will_not_do(monkeypatch, version, words):
    real = importlib.metadata.version

    def other(name):
        if name != "jax":
            return real(name)
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", other)
    lines, code = doctor.report()
    assert code == 4
    assert said("jax", lines).startswith(words)
    assert f"jax is {words}" in said("verdict", lines)
    assert "pip install --upgrade" in said("verdict", lines)


def test_a_gpu_that_lies_idle(monkeypatch):
    every = jax.devices

    def none(backend=None):
        if backend == "gpu":
            raise RuntimeError("no gpu")
        return every(backend)

    monkeypatch.setattr(jax, "devices", none)
    monkeypatch.setattr(device, "has_nvidia_driver", lambda: True)
    lines, code = doctor.report()
    assert code == 4
    assert said("--gpu", lines) == "would stop: plugin none, an NVIDIA driver is here"
    assert "a GPU is here" in said("verdict", lines)
    monkeypatch.setattr(device, "has_nvidia_driver", lambda: False)
    assert doctor.report()[1] == 0


def test_jax_that_cannot_compute(monkeypatch):
    def broken(_):
        raise RuntimeError("no backend")

    monkeypatch.setattr(jax.numpy, "zeros", broken)
    lines, code = doctor.report()
    assert code == 4
    assert "JAX cannot compute: no backend" in said("verdict", lines)
