"""What a run will take, said after the first unit of each phase: by a clock that is not one."""

import dataclasses

import numpy as np
import pytest

from seqgan_jax import config
from seqgan_jax.run import estimate
from seqgan_jax.run.estimate import Estimate, Size, reckon, work

LEFT = {"gen_pretrain": 100, "dis_pretrain": 30, "adversarial": 200}
DONE = {"gen_pretrain": 1, "dis_pretrain": 0, "adversarial": 0}


def test_work_counts_every_prefix_as_a_plain_loop_does():
    """Of a round: rollouts of every second prefix of T = 7, each by its own steps."""
    settings = config.from_flat({"rollout_every": 2, "rollout_num": 3, "gen_updates": 2})
    length, dis = 7, settings.discriminator
    judged = estimate.JUDGED["small"]
    one = length * (estimate.DRAWN + 2 * estimate.LEARNED)  # samples, their loss, the real batch's
    for _ in range(0, length, 2):
        for _ in range(3):
            one += estimate.DRAWN * length / 2 + judged * length
    refresh = dis.num_negatives * length * (estimate.DRAWN + 2 * estimate.BACKWARD * judged)
    found = work(settings, Size(1000, 100, length))
    assert found["adversarial"] == pytest.approx(2 * 64 * one + refresh + 100 * length)
    assert found["dis_pretrain"] == pytest.approx(refresh)
    assert found["gen_pretrain"] == pytest.approx(length * (30 * 1000 + 100))


def test_what_is_measured_is_taken_and_the_rest_is_reckoned_by_its_work():
    settings, size = config.Config(), Size(1000, 100, 20)
    steps = work(settings, size)
    first = reckon(settings, size, 7.0, {"gen_pretrain": 2.0}, DONE, LEFT)
    pace = 2.0 / steps["gen_pretrain"]
    others = pace * (30 * steps["dis_pretrain"] + 200 * steps["adversarial"])
    assert first.seconds == pytest.approx(7.0 + 100 * 2.0 + others)
    assert "roughly" in str(first)
    assert "beside compiling what is not begun" in str(first)
    found = {"gen_pretrain": 2.0, "dis_pretrain": 1.0, "adversarial": 3.0}
    last = reckon(settings, size, 300.0, found, DONE, {"adversarial": 199})
    assert last.seconds == 300.0 + 199 * 3.0
    assert "roughly" not in str(last)


@pytest.mark.parametrize(
    ("each", "flag", "saved"),
    [
        # 10 + 200 x 10 s: 59 rounds are left of them in 600 s.
        ((0.0, 0.0, 10.0), "--total-batch 59", 1410),
        ((30.0, 0.0, 0.0), "--pre-epoch-num 20", 2430),
        # Ten minutes cannot be reached by one flag: a tenth of it is left.
        ((30.0, 0.0, 40.0), "--total-batch 20", 7200),
    ],
)
def test_a_long_run_is_told_the_flag_and_what_it_saves(each, flag, saved):
    by_phase = dict(zip(LEFT, each, strict=True))
    found = Estimate(10.0, DONE, LEFT, by_phase, frozenset(LEFT))
    assert found.shorter() == (flag, pytest.approx(saved))
    assert f"{flag}: {estimate.duration(saved)} less" in str(found)
    name, units = flag.split()
    phase = next(p for p, f in estimate.FLAGS.items() if f == name)
    left = dict(LEFT) | {phase: int(units) - DONE[phase]}
    assert found.seconds - dataclasses.replace(found, left=left).seconds == pytest.approx(saved)


def test_a_short_run_is_told_no_flag():
    found = Estimate(10.0, DONE, LEFT, dict.fromkeys(LEFT, 0.1), frozenset(LEFT))
    assert "--" not in str(found)
    assert str(found).startswith("all of training takes 43 s at most")


def test_the_memory_that_is_said_is_that_of_this_process():
    before = estimate.peak_memory()
    held = np.ones(40_000_000)  # 320 MB, written to
    after = estimate.peak_memory()
    assert held[-1] == 1
    assert 200e6 < before <= after < 200e9


def test_of_long_sequences_fewer_are_reckoned_as_fewer_are_drawn():
    """8 times as many steps in an eighth of the sequences: the discriminator's work is the same,
    and a round's grows by the rollouts' lengths and the validation part alone."""
    settings = config.Config()
    short, long = (work(settings, Size(40, 4, length)) for length in (256, 2048))
    assert long["dis_pretrain"] == short["dis_pretrain"]
    assert long["gen_pretrain"] == 8 * short["gen_pretrain"]
    assert short["adversarial"] < long["adversarial"] < 10 * short["adversarial"]
