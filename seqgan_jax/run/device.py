"""Which device computes, and where compiled programs are cached."""

import os
import shutil
import stat
import sys
from pathlib import Path

from seqgan_jax.errors import DeviceError

PROMISES = {
    "cpu": "same seed, same bits on this machine, also after --resume",
    "gpu": "same seed, nearly the same numbers; --deterministic gives the same bits",
    "gpu deterministic": "same seed, same bits on this GPU, also after --resume",
}


def choose(gpu: bool, deterministic: bool = False) -> str:
    """Make JAX use a GPU (`gpu`) or the CPU, and describe the device. Never falls back.

    `deterministic` makes a GPU sum in a fixed order, by XLA_FLAGS; a CPU does so anyway. The
    description ends with what a repetition of the run may count on.
    Call before anything is computed. Raises DeviceError where a GPU is wanted and not usable.
    """
    import jax

    if not gpu:
        jax.config.update("jax_platforms", "cpu")
        device = jax.devices()[0]
        return f"CPU, {os.cpu_count()} cores; {PROMISES['cpu']}"
    if deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    # 'cuda,cpu' would fall back in silence, so the backend is asked for by name and looked at.
    try:
        devices = jax.devices("gpu")
    except RuntimeError as error:
        raise DeviceError(no_gpu(str(error))) from error
    device = devices[0]
    if device.platform == "cpu":
        raise DeviceError(no_gpu("JAX offered a CPU instead"))
    jax.config.update("jax_default_device", device)
    promise = PROMISES["gpu deterministic" if deterministic else "gpu"]
    return f"GPU, {device.device_kind} ({len(devices)} visible); {promise}"


def no_gpu(reason: str) -> str:
    """Why there is no GPU for JAX, and what to do."""
    import jax

    driver = "an NVIDIA driver is" if has_nvidia_driver() else "no NVIDIA driver is"
    seen = ", ".join(sorted({d.platform for d in jax.devices("cpu")}))
    return (
        f"--gpu: no usable GPU ({reason.splitlines()[0] if reason else 'unknown reason'}).\n"
        f"  JAX {jax.__version__} sees: {seen}; "
        f"GPU plugin installed: {', '.join(plugins()) or 'none'}; {driver} on this machine.\n"
        f"  Install the plugin: {sys.executable} -m pip install 'jax[cuda13]' "
        "(or 'jax[cuda12]' for older drivers), or leave out --gpu to run on the CPU."
    )


def plugins() -> list[str]:
    """JAX's plugins for GPUs that are installed."""
    import importlib.util

    names = ("jax_cuda12_plugin", "jax_cuda13_plugin", "jax_rocm7_plugin")
    return [name for name in names if importlib.util.find_spec(name) is not None]


def has_nvidia_driver() -> bool:
    """Whether this machine shows an NVIDIA GPU, whatever JAX can use."""
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


def cache_folder() -> Path:
    """Where compiled programs are kept, unless JAX_COMPILATION_CACHE_DIR says otherwise."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "seqgan_jax" / "xla"


def use_cache() -> str | None:
    """Keep compiled programs in a folder that only this user can write; a note where impossible.

    A cache entry is code that will run, so a folder of another owner or mode is not used.
    """
    import jax

    # Small programs too: there are a hundred, and each takes longer to compile than to read.
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:  # the user's own choice
        return None
    folder = cache_folder()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        foreign = hasattr(os, "getuid") and found.st_uid != os.getuid()
        if foreign or not stat.S_ISDIR(found.st_mode):
            return f"compilation cache off: {folder} is not a folder of this user"
        folder.chmod(0o700)
    except OSError as error:
        return f"compilation cache off: {folder} ({error.strerror})"
    jax.config.update("jax_compilation_cache_dir", str(folder))
    return None
