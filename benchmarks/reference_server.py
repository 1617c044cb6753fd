"""Runs in a child process of `versus_torch.py`: times the reference by its own functions.

    python benchmarks/reference_server.py CHECKOUT SETTINGS_JSON

Reads the name of a unit of work a line and answers its seconds a line; nothing of the checkout is
changed, its files go to a temporary folder. What its functions do not separate is said in `NOTES`.
"""

import json
import os
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

NOTES = {
    "g_step": "its pre_train_epoch over a file of the data, by step",
    "d_step": "its pretrain_discriminator with 3 passes minus with 1, by step: draws cancel",
    "rollouts": "its Rollout._rollout for every prefix, N times",
    "reward": "its Rollout.get_reward",
    "round": "its adversarial_training, one batch, with the schedule of the other columns",
}


def build(settings: dict[str, Any], folder: Path) -> dict[str, Callable[[], float]]:
    """Its models and one function a unit of work that returns seconds."""
    import numpy as np
    import torch
    from src.config import Config
    from src.data import DisDataLoader, GenDataLoader
    from src.models import Discriminator, Generator, Rollout
    from src.utils import training_utils as its

    torch.set_num_threads(settings["threads"])
    torch.manual_seed(0)
    batch, number = settings["batch"], settings["number"]

    class Ours(Config):
        """Its settings with our sizes and files in a temporary folder."""

        POSITIVE_FILE = str(folder / "real_data.txt")
        NEGATIVE_FILE = str(folder / "generator_sample.txt")
        BATCH_SIZE, GENERATED_NUM, TOTAL_BATCH = batch, settings["negatives"], 1
        DIS_PRE_EPOCHS = 1
        DIS_ADV_EPOCHS, DIS_ADV_UPDATE_STEPS = settings["refreshes"], settings["passes"]
        ROLLOUT_NUM = settings["rollouts"]

    rng = np.random.default_rng(0)

    def real(count: int) -> None:
        np.savetxt(Ours.POSITIVE_FILE, 3.0 + 0.5 * rng.normal(size=(count, 20)), fmt="%.2f")

    real(number)
    loader, dis_loader, device = GenDataLoader(batch), DisDataLoader(batch), torch.device("cpu")
    loader.create_batches(Ours.POSITIVE_FILE)
    real(settings["negatives"])  # its discriminator reads all of the file: as many as it draws
    generator = Generator(Ours.HIDDEN_DIM, 20, Ours.START_TOKEN)
    dis = Discriminator(20, 1, Ours.DIS_L2_REG_LAMBDA)
    adam = torch.optim.Adam(generator.parameters(), lr=1e-3)
    dis_adam = torch.optim.Adam(dis.parameters(), lr=1e-3, weight_decay=Ours.DIS_L2_REG_LAMBDA)
    rollout, loss = Rollout(generator, 0.8), torch.nn.CrossEntropyLoss()
    x_BTD = generator.generate(batch)

    def seconds(function: Callable[..., Any], *arguments: Any) -> float:
        started = time.perf_counter()
        function(*arguments)
        return time.perf_counter() - started

    def pretraining(passes: int) -> float:
        Ours.DIS_PRE_UPDATE_STEPS = passes
        return seconds(
            its.pretrain_discriminator, generator, dis, dis_loader, dis_adam, loss, Ours, device
        )

    def every_prefix() -> None:
        with torch.no_grad():
            for length in range(1, 20):
                for _ in range(Ours.ROLLOUT_NUM):
                    rollout._rollout(x_BTD, length)

    # What it draws is a whole number of batches; real ones are all of the file.
    drawn = settings["negatives"] // batch * batch
    dis_steps = (drawn + settings["negatives"]) // batch
    return {
        "g_step": lambda: (
            seconds(its.pre_train_epoch, generator, loader, adam, None, device) / len(loader)
        ),
        "d_step": lambda: (pretraining(3) - pretraining(1)) / (2 * dis_steps),
        "rollouts": lambda: seconds(every_prefix),
        "reward": lambda: seconds(rollout.get_reward, x_BTD, Ours.ROLLOUT_NUM, dis),
        "round": lambda: seconds(
            its.adversarial_training,
            *(generator, dis, rollout, loader, dis_loader, adam, dis_adam, loss, Ours, device),
        ),
    }


def main() -> int:
    """Serve until the input ends."""
    checkout, settings = Path(sys.argv[1]).resolve(), json.loads(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what it prints must not be read as an answer
    sys.path.insert(0, str(checkout))
    try:
        import tqdm  # noqa: F401
    except ImportError:  # a progress bar only
        plain = types.ModuleType("tqdm")
        plain.tqdm = lambda items, **_: items  # type: ignore[attr-defined]
        sys.modules["tqdm"] = plain
    with tempfile.TemporaryDirectory() as folder:
        works = build(settings, Path(folder))
        for line in sys.stdin:
            print(works[line.strip()](), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
