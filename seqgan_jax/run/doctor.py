"""`seqgan doctor`: what is installed, what computes, where compiled programs are kept."""

import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from seqgan_jax import __version__
from seqgan_jax.errors import DeviceError
from seqgan_jax.run import device

EXTRAS = {"tables": ("pyarrow", "openpyxl")}
WRONG = ("missing", "too old")  # how a line of a package begins that will not do


def report() -> tuple[list[str], int]:
    """Lines, and the exit code: 4 where nothing computes, a package is missing or too old, or a
    GPU is here that JAX cannot use."""
    rows = [
        ("seqgan", f"{__version__}, {Path(__file__).parent.parent}"),
        ("python", f"{platform.python_version()}, {sys.executable}"),
        ("system", f"{platform.platform()}, {os.cpu_count()} cores"),
        *_packages(),
    ]
    problems = [f"{name} is {said}" for name, said in rows if said.startswith(WRONG)]
    if problems:
        problems.append(f"{sys.executable} -m pip install --upgrade seqgan-jax")
    try:
        import jax

        jax.numpy.zeros(1).block_until_ready()
    except Exception as error:  # whatever a broken installation raises
        problems.append(f"JAX cannot compute: {error}")
    else:
        seen = (f"{each.platform} ({each.device_kind})" for each in jax.devices())
        rows.append(("jax sees", ", ".join(seen)))
        says, is_idle = _gpu()
        rows += [("--gpu", says), *_cache()]
        if is_idle:
            problems.append("a GPU is here that JAX cannot use; seqgan train --gpu says what to do")
    rows.append(("verdict", "; ".join(problems) or "all is well"))
    lines = [f"{name:<17} {said}" for name, said in rows]
    return lines, DeviceError.exit_code if problems else 0


def _packages() -> Iterator[tuple[str, str]]:
    """Each package that is needed: its version, and the oldest that is known to work."""
    try:
        needed = importlib.metadata.requires("seqgan-jax") or []
    except importlib.metadata.PackageNotFoundError:
        yield "packages", "not installed as a package: what it needs is not known"
        return
    for text in needed:
        if found := re.fullmatch(r"([\w.-]+)>=([\w.]+)", text.replace(" ", "")):  # of no extra
            yield found[1], _version(found[1], found[2])
    for extra, names in EXTRAS.items():
        lacking = [name for name in names if importlib.util.find_spec(name) is None]
        how = f"no {', '.join(lacking)}: pip install 'seqgan-jax[{extra}]'"
        yield f"extra {extra}", how if lacking else f"{', '.join(names)} installed"


def _version(name: str, oldest: str) -> str:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f"missing (at least {oldest})"
    if _numbers(version) < _numbers(oldest):
        return f"too old: {version} (at least {oldest})"
    return f"{version} (at least {oldest})"


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, without zeros at the end.

    >>> _numbers("2.10.0rc1") > _numbers("2.9"), _numbers("2.0") == _numbers("2")
    (True, True)
    """
    words = re.match(r"[0-9.]*", version)
    numbers = [int(word) for word in (words[0] if words else "").split(".") if word]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _gpu() -> tuple[str, bool]:
    """What --gpu would do, and whether a GPU is here that it cannot use."""
    import jax

    try:
        devices = jax.devices("gpu")
    except RuntimeError:
        here = device.has_nvidia_driver()
        driver = "an NVIDIA driver is here" if here else "no NVIDIA driver is here"
        return f"would stop: plugin {', '.join(device.plugins()) or 'none'}, {driver}", here
    return f"would use {devices[0].device_kind} ({len(devices)} visible)", False


def _cache() -> Iterator[tuple[str, str]]:
    """The folder of compiled programs and how much is in it."""
    own = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = Path(own) if own else device.cache_folder()
    sizes = [each.stat().st_size for each in folder.rglob("*") if each.is_file()]
    held = f"{len(sizes):,} files, {sum(sizes) / 1e6:.0f} MB" if sizes else "empty"
    yield "cache", f"{folder}: {held}; compiled programs, safe to delete"
    if note := device.use_cache():
        yield "note", note
