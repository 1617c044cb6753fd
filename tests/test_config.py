"""Settings: defaults that runs depend on, limits to the last value, kinds, presets."""

import dataclasses
import json
import math
import typing
from pathlib import Path

import pytest

from seqgan_jax import config
from seqgan_jax.config import Config
from seqgan_jax.errors import UsageError

GOLDEN = json.loads((Path(__file__).parent / "golden" / "format4" / "config.json").read_text())


def refusal(**values):
    with pytest.raises(UsageError) as caught:
        config.from_flat(values)
    return str(caught.value)


def test_a_run_of_an_earlier_version_has_the_same_settings_today():
    """Another default would turn its checkpoints into those of another run."""
    old = config.from_flat(GOLDEN["settings"])
    assert config.fixed(old) == {"hidden_dim": 2}
    default = config.flat(Config())
    for name in GOLDEN["settings"].keys() - {"hidden_dim", *config.CHANGEABLE}:
        assert config.flat(old)[name] in (default[name], config.FORMER.get(name)), name
    later = {"num_seeds": 1, "devices": 1, "memory": 2.0, "buffer": 65_536}
    later |= {"pre_epoch_num": 120, "dis_pre_refreshes": 30, "total_batch": 200, "patience": 10}
    later |= {"run_dir": "save", "generated_num": None, "checkpoint_every": 60.0, "keep": 3}
    later |= dict.fromkeys(("skip_gen_pretrain", "skip_dis_pretrain", "skip_adversarial"), False)
    assert {name: default[name] for name in later} == later


def test_the_reference_preset_is_the_pytorch_projects_schedule():
    reference, default = config.flat(config.PRESETS["reference"]), config.flat(Config())
    assert {name: v for name, v in reference.items() if v != default[name]} == {
        "preset": "reference",
        "look_first": False,
        "rollout_num": 16,
        "rollout_every": 1,
        "policy": "gaussian",
        "gen_dropout": 0.0,
        "gen_weight_decay": 0.0,
        "gen_keep": "likeliest",
        "reward": "probability",
        "gen_adv_lr": 1e-4,
        "average_rounds": 0.98,
        "adv_patience": 200,
        "anchor": 0.05,
        "gen_updates": 1,
        "dis_size": "reference",
        "dis_sees": "scaled",
        "dis_early_stopping": False,
        "dis_r1": 0.0,
        "num_negatives": 10_000,
        "dis_passes": 3,
        "dis_pre_refreshes": 50,
        "dis_refreshes": 5,
    }


def test_a_preset_is_where_the_other_settings_start():
    chosen = config.flat(config.from_flat({"preset": "reference", "dis_passes": 2}))
    assert chosen == config.flat(config.PRESETS["reference"]) | {"dis_passes": 2}
    assert config.from_flat({}) == Config()
    assert "--preset 'mine' is unknown. Choose default or reference." in refusal(preset="mine")


def test_settings_survive_json():
    first = config.from_flat({"columns": ["b", "a"], "seed": 7, "data": "x.csv", "data_seed": 3})
    text = json.dumps(config.flat(first))
    assert config.from_flat(json.loads(text)) == first
    assert first.data.columns == ("b", "a")
    assert list(config.flat(first)) == list(json.loads(text))


def test_what_a_state_depends_on_is_neither_default_nor_changeable():
    chosen = {"hidden_dim": 7, "total_batch": 3, "run_dir": "x", "seed": 88, "keep": 9, "anchor": 2}
    assert config.fixed(config.from_flat(chosen)) == {"hidden_dim": 7, "anchor": 2}
    assert set(config.flat(Config())) >= config.CHANGEABLE


LAST = [  # name, the last values that are allowed, the first that are not
    ("window", [2, 10**6], [1, 10**6 + 1]),
    ("limit", [1, 10**9], [0, 10**9 + 1]),
    ("stride", [1, 10**9], [0, 10**9 + 1]),
    ("features", [1, 10**4], [0, 10**4 + 1]),
    ("num_sequences", [30, 10**8], [29, 10**8 + 1]),
    ("memory", [0, 10**6], [-0.001, 10**6 + 1]),
    ("buffer", [256, 10**9], [255, 10**9 + 1]),
    ("held_out", [1e-9, 0.5], [0, 0.501]),
    ("validation", [1e-9, 0.5], [0, 0.501]),
    ("hidden_dim", [1, 8192], [0, 8193]),
    ("pre_epoch_num", [0, 10**9], [-1, 10**9 + 1]),
    ("gen_lr", [1e-9, 1], [0, 1.001]),
    ("patience", [1, 10**9], [0, 10**9 + 1]),
    ("average", [0, 0.9999], [-1e-9, 1]),
    ("gen_dropout", [0, 0.9999], [-1e-9, 1]),
    ("gen_weight_decay", [0, 1e300], [-1e-9, math.inf]),
    ("dis_dropout_keep_prob", [1e-9, 1], [0, 1.001]),
    ("dis_l2_reg_lambda", [0, 1e300], [-1e-9, math.inf]),
    ("dis_lr", [1e-9, 1], [0, 1.001]),
    ("dis_r1", [0, 1e300], [-1e-9, math.inf]),
    ("num_negatives", [1, 10**7], [0, 10**7 + 1]),
    ("dis_passes", [1, 10**6], [0, 10**6 + 1]),
    ("dis_pre_refreshes", [0, 10**9], [-1, 10**9 + 1]),
    ("dis_refreshes", [1, 10**6], [0, 10**6 + 1]),
    ("total_batch", [0, 10**9], [-1, 10**9 + 1]),
    ("gen_updates", [1, 10**6], [0, 10**6 + 1]),
    ("gen_adv_lr", [1e-9, 1], [0, 1.001]),
    ("rollout_num", [1, 10**4], [0, 10**4 + 1]),
    ("rollout_every", [0, 1, 10**6], [-1, 10**6 + 1]),
    ("rollout_update_rate", [0, 0.9999], [-1e-9, 1]),
    ("rollouts_at_once", [0, 10**9], [-1, 10**9 + 1]),
    ("anchor", [0, 1e300], [-1e-9, math.inf]),
    ("entropy_bonus", [0, 1e300], [-1e-9, math.inf]),
    ("average_rounds", [0, 0.9999], [-1e-9, 1]),
    ("tolerance", [0, 1e300], [-1e-9, math.inf]),
    ("batch_size", [2, 65536], [1, 65537]),
    ("seed", [0, 2**32 - 1], [-1, 2**32]),
    ("data_seed", [0, 2**32 - 1], [-1, 2**32]),
    ("num_seeds", [1, 10**4], [0, 10**4 + 1]),
    ("devices", [0, 10**6], [-1, 10**6 + 1]),
    ("generated_num", [1, 10**9], [0, 10**9 + 1]),
    ("checkpoint_every", [0, math.inf], [-1e-9]),
    ("keep", [1, 10**6], [0, 10**6 + 1]),
    ("layers", [1, 100], [0, 101]),
    ("components", [1, 1000], [0, 1001]),
    ("adv_patience", [1, 10**9], [0, 10**9 + 1]),
]


OPTIONAL = {"data_seed", "window", "limit", "generated_num"}  # numbers that are None by default


@pytest.mark.parametrize(("name", "allowed", "refused"), LAST, ids=[row[0] for row in LAST])
def test_the_last_values_that_a_number_may_have(name, allowed, refused):
    for value in allowed:
        given = {name: value} | ({"policy": "gaussian"} if name == "entropy_bonus" else {})
        assert config.flat(config.from_flat(given))[name] == value
    flag = "--" + name.replace("_", "-")
    for value in [*refused, math.nan]:
        whole = isinstance(config.flat(Config())[name], int) or name in OPTIONAL
        said = refusal(**{name: value})
        kind = "must be a whole number" if whole and isinstance(value, float) else "out of range"
        assert said.startswith(f"{flag} ")
        assert kind in said
        if kind == "out of range" and name != "checkpoint_every":
            assert "It must be at least " in said or "It must be above 0" in said
            assert (" and at most " in said or " and below " in said) == (allowed[1] < 1e300)


def test_no_number_is_without_limits():
    names = {name for name, v in config.flat(Config()).items() if type(v) in (int, float)}
    assert names == {row[0] for row in LAST} - OPTIONAL


def test_limits_are_in_words():
    assert refusal(hidden_dim=0).endswith(
        "is out of range. It must be at least 1 and at most 8192."
    )
    assert refusal(average=1.0).endswith("It must be at least 0 and below 1.")
    assert refusal(gen_lr=0.0).endswith("It must be above 0 and at most 1.")
    assert refusal(anchor=-1.0).endswith("It must be at least 0.")
    assert refusal(seed=-1).endswith("and at most 4294967295.")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"keep": True}, "--keep must be a whole number, not True."),
        ({"keep": 2.0}, "--keep must be a whole number, not 2.0."),
        ({"gen_lr": "1"}, "--gen-lr must be a number, not '1'."),
        ({"gen_lr": True}, "--gen-lr must be a number, not True."),
        ({"anchor": 10**400}, "is out of range"),
        ({"data_seed": "7"}, "--data-seed must be a whole number, not '7'."),
        ({"skip_adversarial": 1}, "--skip-adversarial must be true or false, not 1."),
        ({"columns": "abc"}, "--columns must be a list of names, not 'abc'."),
        ({"columns": [1]}, "--columns must be a list of names, not (1,)."),
        ({"bounds": ["x"]}, "--bounds 'x' is not COLUMN:LOW:HIGH."),
        ({"data": 7}, "--data must be text, not 7."),
        ({"run_dir": ""}, "--run-dir is empty. Name a folder."),
        ({"reward": "money"}, "--reward 'money' is unknown. Choose probability or logit."),
        (
            {"hiden_dim": 3},
            "unknown setting 'hiden_dim'. Here it is hidden_dim. Settings are: ",
        ),
        ({"held_out": 0.5, "validation": 0.31}, "--held-out 0.5 and --validation 0.31 leave less"),
    ],
)
def test_values_of_the_wrong_kind_are_refused_in_words(values, said):
    assert said in refusal(**values)


def test_what_is_just_right():
    assert config.from_flat({"held_out": 0.5, "validation": 0.3}).data.held_out == 0.5
    assert config.from_flat({"data": None, "data_seed": None}) == Config()
    assert config.from_flat({"gen_lr": 1}).generator.gen_lr == 1
    assert config.from_flat({"skip_adversarial": True}).run.skip_adversarial is True


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("missing", ["model", "error", "drop", "interpolate"]),
        ("covariance", ["auto", "full", "factors", "diagonal"]),
        ("dis_size", ["small", "reference"]),
        ("gradient", ["reinforce", "pathwise", "mixed"]),
        ("reward", ["probability", "logit"]),
        ("preset", ["default", "reference"]),
    ],
)
def test_every_choice_can_be_made(name, choices):
    for choice in choices:
        given = {name: choice} | ({"policy": "gaussian"} if choice == "factors" else {})
        assert config.flat(config.from_flat(given))[name] == choice
    assert refusal(**{name: "other"}).endswith(f"Choose {' or '.join(choices)}.")


def test_factors_are_of_gaussians():
    said = refusal(covariance="factors")
    assert said.startswith("--covariance factors is not possible with --policy mixture")


def test_each_setting_has_its_default_limits_and_choices_in_one_place():
    """The type of a field says all that `validate` and `--help` need: no table beside it."""
    for part in dataclasses.fields(Config):
        for item in dataclasses.fields(part.default_factory):
            if type(getattr(part.default_factory(), item.name)) in (int, float):
                number, limits = typing.get_args(item.type)
                assert number in (int, float)
                assert isinstance(limits, config.Range), item.name
