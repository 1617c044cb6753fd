"""What learning around missing values costs: a VAR(1) with more and more of its values missing.

    python benchmarks/gaps.py [--quick]

Of each share and pattern: nats a step by which the exact law is likelier than the model trained
with gaps, on complete test sequences (beside the model that was trained on complete data) and on
test sequences with gaps, where the exact law's likelihood of what is there is a Kalman filter's.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "core"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from test_gaps import A, Q, holes, kalman, var1

from seqgan_jax import SeqGAN

SETTINGS = {"hidden_dim": 16, "total_batch": 0, "dis_pre_refreshes": 0, "seed": 1}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few sequences and epochs")
    quick = parser.parse_args().quick
    number, epochs = (1500, 3) if quick else (6000, 30)
    x, covariance = var1(number, 16, A, Q, 0)
    test, _ = var1(1000, 16, A, Q, 7)

    def gap(model: SeqGAN, data: np.ndarray) -> float:
        exact, _ = kalman(data, A, Q, covariance)
        return float((exact - model.log_prob(data)).mean() / data.shape[1])

    whole = SeqGAN(pre_epoch_num=epochs, **SETTINGS).fit(x)
    print(f"trained on complete data: {gap(whole, test):.4f} nats a step", flush=True)
    print("missing  pattern  complete sequences  what is there", flush=True)
    shares = (0.2,) if quick else (0.05, 0.2, 0.5)
    for share in shares:
        for blocks in (False, True):
            model = SeqGAN(pre_epoch_num=epochs, **SETTINGS).fit(holes(x, share, blocks, 1))
            found = gap(model, test), gap(model, holes(test, share, blocks, 2))
            pattern = "blocks" if blocks else "random"
            print(f"{share:7.0%}  {pattern}  {found[0]:18.4f}  {found[1]:13.4f}", flush=True)


if __name__ == "__main__":
    main()
