"""Every setting, its default, its unit and its limits: frozen dataclasses, no array code.

The flags of the command line are made from these classes: a field `hidden_dim` is `--hidden-dim`,
its type says which values are possible, and the text under it is its help.
"""

import dataclasses
import difflib
import math
import numbers
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, get_args, get_origin

from seqgan_jax.data import bounds
from seqgan_jax.errors import UsageError


@dataclass(frozen=True)
class Range:
    """Where a number may lie: `low` to `high`, both possible unless `above` or `below` says not.

    >>> 0 in Range(0, 1, above=True), str(Range(0, 1, above=True))
    (False, 'above 0 and at most 1')
    """

    low: float
    high: float
    above: bool = False
    below: bool = False

    def __contains__(self, value: float) -> bool:
        if isinstance(value, int) and abs(value) >= 10**300:  # no float can hold it
            return False
        enough = value > self.low if self.above else value >= self.low
        return enough and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        words = f"{'above' if self.above else 'at least'} {self.low:.12g}"
        if math.isfinite(self.high):
            words += f" and {'below' if self.below else 'at most'} {self.high:.12g}"
        return words


Rate = Annotated[float, Range(0, 1, above=True)]
Share = Annotated[float, Range(0, 0.5, above=True)]
Decay = Annotated[float, Range(0, 1, below=True)]
Weight = Annotated[float, Range(0, math.inf, below=True)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
Missing = Literal["model", "error", "drop", "interpolate"]


@dataclass(frozen=True)
class DataConfig:
    """Where the sequences come from."""

    data: str | None = None
    """File (text, .csv, .parquet, .xlsx, .npy, .npz; text also as .gz), bundled set (weather) or
    simulator (ar1, var1, seasonal, regime, lstm, rain, markov, counts, held, prices). Default:
    save/real_data.txt if it is there, else the bundled set."""
    layout: Literal["auto", "series", "rows", "long"] = "auto"
    """What a line is: series, a step; rows, a sequence; long, a step of one of several sequences
    (--id, --time). auto sees it, or asks."""
    id: tuple[str, ...] = ()
    """Columns that name the sequence a line belongs to (numbers or words). Columns without names
    are counted from 1."""
    time: tuple[str, ...] = ()
    """Columns of the time index: dates, a date and its hours, epochs, whole numbers, or year month
    day. Lines are put in its order, and no sequence crosses a gap."""
    duplicates: Literal["error", "first", "last", "mean"] = "error"
    """Lines with the same time: error refuses them, first or last keeps one, mean averages."""
    label: str = ""
    """A column of class labels, one a sequence: drawn first, and all else given it. Where a line is
    a sequence, it is left out."""
    window: Annotated[int, Range(2, 1e6)] | None = None
    """Steps in a sequence. Default: 20 of one long series or a simulator; else whole sequences."""
    stride: Annotated[int, Range(1, 1e9)] = 1
    """Steps from one window to the next."""
    calendar: Literal["auto", "none"] = "auto"
    """auto: hour of day, day of week and day of year, as step and span allow, are known in advance
    of each step where windows are cut from series with regular dates, if the validation part is
    likelier by it; none: they are not."""
    known: tuple[str, ...] = ()
    """Columns that are known in advance of each step (price, holiday, a forecast): they are read
    and never generated. Numbers, yes and no, or words."""
    columns: tuple[str, ...] = ()
    """Columns of a table to learn, in this order. Default: all that are numbers."""
    log: tuple[str, ...] = ()
    """Columns (names, or all) that are learned as logarithms: every value must be above 0."""
    bounds: tuple[str, ...] = ()
    """COLUMN:LOW:HIGH (or all:LOW:HIGH): samples never leave LOW to HIGH. One may be empty."""
    kind: tuple[str, ...] = ()
    """COLUMN:KIND (or all:KIND), continuous, grid, categorical or static. Default: what the
    training part shows."""
    static: tuple[str, ...] = ()
    """Columns (names, or all) that are constant in each sequence: drawn first, and all else given
    them. What is constant in the training part is found without it; this refuses what is not."""
    rule: tuple[str, ...] = ()
    """What every sample must keep, each in quotes: "Low <= Open <= High", "meter increases",
    "total = a + b", "share = 100 * a / total"."""
    rules: Literal["auto", "none"] = "auto"
    """auto: also keep the rules of these kinds that the training part never breaks where chance
    would have; none: only those of --rule."""
    features: Annotated[int, Range(1, 1e4)] = 1
    """Numbers a step, where a text file holds several: T x D numbers a line, step after step."""
    num_sequences: Annotated[int, Range(30, 1e8)] = 10_000
    """Sequences to draw, where the source is a simulator."""
    missing: Missing = "model"
    """Missing values (nan, NA, N/A, null, none, -, an empty .csv cell): model learns around them,
    error refuses them, drop leaves out the sequences or windows that they are in, interpolate fills
    them in along time."""
    missing_values: tuple[str, ...] = ()
    """Further words or numbers that mean a missing value, such as '?' or -200."""
    limit: Annotated[int, Range(1, 1e9)] | None = None
    """Longest gap, in steps, that --missing interpolate fills in. Default: 5."""
    memory: Annotated[float, Range(0, 1e6)] = 2.0
    """GB of numbers that are read at once. A larger .npy, or folder of .npy or .parquet
    files, is streamed."""
    buffer: Annotated[int, Range(256, 1e9)] = 65_536
    """Sequences on the device at a time where data are streamed; an epoch is a pass over one such
    buffer."""
    held_out: Share = 0.1
    """Fraction never trained on and only reported on: the end of a long series, else at random."""
    data_seed: Seed | None = None
    """Seed of the split, and of a simulator's sequences. Default: --seed."""
    validation: Share = 0.1
    """Fraction never trained on that decides when to stop."""


@dataclass(frozen=True)
class GeneratorConfig:
    """The LSTM policy and its pretraining by maximum likelihood."""

    hidden_dim: Annotated[int, Range(1, 8192)] = 32
    """LSTM units."""
    layers: Annotated[int, Range(1, 100)] = 1
    """LSTM layers."""
    policy: Literal["mixture", "gaussian", "student", "auto"] = "mixture"
    """Distribution of a step: mixture of Gaussians, each column given the earlier ones; gaussian;
    student, with heavier tails; auto tries each for ten epochs and takes the likeliest on the
    validation part."""
    components: Annotated[int, Range(1, 1000)] = 5
    """Gaussians of a mixture."""
    covariance: Literal["auto", "full", "factors", "diagonal"] = "auto"
    """Covariance of one step's features, of --policy gaussian: full by a Cholesky factor; four
    common factors and a variance of each; or diagonal. auto: factors of more than 16."""
    drift: bool = True
    """Where some column is no plain density, each sees how far it is from its own moving means."""
    frame: Literal["var", "increments", "levels"] = "var"
    """The linear baseline, from which the policy predicts the distance: a VAR(1) fitted by ridge
    regression, the value before, or the mean."""
    pre_epoch_num: Annotated[int, Range(0, 1e9)] = 120
    """Most passes over the training part in pretraining."""
    gen_lr: Rate = 1e-3
    """Adam learning rate in pretraining."""
    patience: Annotated[int, Range(1, 1e9)] = 10
    """Pretraining stops after this many epochs without a better validation likelihood."""
    average: Decay = 0.998
    """Decay, a step, of the exponential moving average of the weights, validated and kept."""
    gen_dropout: Annotated[float, Range(0, 1, below=True)] = 0.5
    """Share of the units before the head that pretraining drops, drawn for each sequence, against
    learning few data by heart: of a training part of 3,000 steps at most, of a longer one in
    proportion less."""
    gen_weight_decay: Weight = 1.0
    """Weight decay of pretraining (AdamW's): matrices shrink by gen_lr times this an update; of
    more than 3,000 steps in proportion less."""
    gen_keep: Literal["last", "likeliest"] = "last"
    """Which epoch of pretraining is kept: the last one that is less likely than the best by no more
    than a standard error, on the validation part; or the likeliest."""


@dataclass(frozen=True)
class DiscriminatorConfig:
    """The CNN-highway discriminator and its training."""

    dis_size: Literal["small", "reference"] = "small"
    """small: 14 thousand weights at D = 1; reference: the PyTorch project's own, 3.0 million."""
    dis_sees: Literal["data", "scaled"] = "data"
    """How the small discriminator sees columns with bounds or rules: as the data have them (High),
    or as they are scaled and learned (how far it is above Low)."""
    dis_dropout_keep_prob: Rate = 0.75
    """Probability of keeping a unit in training (never dropped when rewarding)."""
    dis_l2_reg_lambda: Weight = 0.2
    """Weight of 1/2 ||W||^2 of the output layer."""
    dis_lr: Rate = 1e-3
    """Adam learning rate."""
    dis_r1: Weight = 1.0
    """Weight of 1/2 ||d logit / d x||^2 at real sequences (R1): against memorising them."""
    num_negatives: Annotated[int, Range(1, 1e7)] = 1024
    """Generated sequences drawn afresh, and real ones beside them, each time it is trained; of
    more than 256 steps as many as have that many steps together."""
    dis_passes: Annotated[int, Range(1, 1e6)] = 1
    """Passes over those sequences."""
    dis_pre_refreshes: Annotated[int, Range(0, 1e9)] = 30
    """Epochs of pretraining: in each, sequences are drawn afresh and passed over."""
    dis_refreshes: Annotated[int, Range(1, 1e6)] = 1
    """Epochs in each round of adversarial training."""
    dis_early_stopping: bool = True
    """What the discriminator has learned of its training sequences alone is forgotten: where it is
    no better on validation and fresh generated ones, and worse on real ones than on training ones
    beyond noise."""


@dataclass(frozen=True)
class AdversarialConfig:
    """Adversarial training of the policy."""

    look_first: bool = True
    """Before adversarial training, look how much there is to win; where discriminators find next
    to nothing, leave it out."""
    refine_first: bool = False
    """Before adversarial training, train the policy by the likelihood of those of its own samples
    that discriminators choose, as `seqgan sample --refine` does, and of data. What comes of it is
    kept by the same rule as a round."""
    total_batch: Annotated[int, Range(0, 1e9)] = 200
    """Rounds, each of gen_updates policy updates and dis_refreshes discriminator trainings."""
    gradient: Literal["reinforce", "pathwise", "mixed"] = "reinforce"
    """Policy gradient: REINFORCE with Monte Carlo rollouts, for columns of every kind; pathwise,
    through the samples, where all columns are continuous; mixed, where some are: through what is
    continuous, and REINFORCE of the rest."""
    gen_updates: Annotated[int, Range(1, 1e6)] = 5
    """Policy updates a round."""
    gen_adv_lr: Rate = 1e-3
    """Adam learning rate of the policy."""
    rollout_num: Annotated[int, Range(1, 1e4)] = 4
    """Monte Carlo continuations of every prefix."""
    rollout_every: Annotated[int, Range(0, 1e6)] = 0
    """Continue every K-th prefix only (LeakGAN): the steps between share a reward. 0: every second
    one, of more than 48 steps T fewer, 24 prefixes at most, since rollouts cost T^2 / K."""
    rollout_update_rate: Decay = 0.8
    """Decay, a round, of the rollout policy: a moving average of the policy's weights."""
    reward: Literal["probability", "logit"] = "logit"
    """What a sequence earns: the discriminator's logit, or its probability of 'real'."""
    rollouts_at_once: Annotated[int, Range(0, 1e9)] = 0
    """Rollouts made in one go at most: bounds memory, changes no result. 0: some on a CPU, by their
    size, all on a GPU."""
    anchor: Weight = 1.0
    """Weight of the likelihood of real sequences (nats a step) against the reward a step in the
    policy's loss; means the same with both gradients."""
    entropy_bonus: Weight = 0.0
    """Weight of the policy's entropy (nats a step) in the policy's loss."""
    average_rounds: Decay = 0.95
    """Decay, a round, of the exponential moving average of the policy, compared and kept."""
    adv_patience: Annotated[int, Range(1, 1e9)] = 60
    """Adversarial training stops after this many rounds without a better policy (looked for every
    20 rounds)."""
    tolerance: Weight = 0.05
    """Nats a step by which the validation part may be less likely under that average than before
    adversarial training. It is kept where it is within that, new discriminators separate its
    samples less well from unseen sequences, beyond doubt, and they stay near the data's range."""


@dataclass(frozen=True)
class RunConfig:
    """The run: where it writes, on what, how much."""

    preset: Literal["default", "reference"] = "default"
    """reference: the PyTorch project's discriminator and schedule (hours on a CPU)."""
    run_dir: str = "save"
    """Folder for samples, metrics and checkpoints; made if missing."""
    batch_size: Annotated[int, Range(2, 65536)] = 64
    """Sequences in a batch, in all phases. Pretraining on sequences of unequal length takes an
    eighth of them at most, since lives are few and long; after it of more than 256 steps as many
    as have that many steps together, 8 at least."""
    seed: Seed = 88
    """Seed of all random numbers: same seed, same bits on a CPU."""
    num_seeds: Annotated[int, Range(1, 10_000)] = 1
    """Independent runs in one program, with the seeds seed, seed + 1, ...; the best one's policy
    samples: the likeliest, unless another is beyond doubt harder to tell from unseen data."""
    devices: Annotated[int, Range(0, 1e6)] = 1
    """Devices that share the seeds, or with one seed the batch; 0 for all there are."""
    skip_gen_pretrain: bool = False
    """Skip pretraining of the generator."""
    skip_dis_pretrain: bool = False
    """Skip pretraining of the discriminator."""
    skip_adversarial: bool = False
    """Skip adversarial training."""
    generated_num: Annotated[int, Range(1, 1e9)] | None = None
    """Sequences in final_samples.txt. Default: 10,000; of large ones as many as hold 10 million
    numbers, 1,000 at least."""
    checkpoint_every: Annotated[float, Range(0, math.inf)] = 60.0
    """Seconds between checkpoints; one is always written at the end of a phase."""
    keep: Annotated[int, Range(1, 1e6)] = 3
    """Checkpoints kept."""


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    run: RunConfig = field(default_factory=RunConfig)
    data: DataConfig = field(default_factory=DataConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)


# Maximum likelihood as it was: no dropout, no decay, the likeliest epoch.
PLAIN: Mapping[str, Any] = {
    "gen_dropout": 0.0,
    "gen_weight_decay": 0.0,
    "gen_keep": "likeliest",
}

PRESETS: Mapping[str, Config] = {
    "default": Config(),
    # 50 x 3 and 200 x 5 x 3 passes over 10,000 real and 10,000 fresh generated sequences.
    "reference": Config(
        run=RunConfig(preset="reference"),
        generator=GeneratorConfig(policy="gaussian", **PLAIN),
        discriminator=DiscriminatorConfig(
            dis_size="reference",
            dis_sees="scaled",
            dis_early_stopping=False,
            dis_r1=0.0,
            num_negatives=10_000,
            dis_passes=3,
            dis_pre_refreshes=50,
            dis_refreshes=5,
        ),
        adversarial=AdversarialConfig(
            look_first=False,
            rollout_num=16,
            rollout_every=1,
            reward="probability",
            gen_adv_lr=1e-4,
            gen_updates=1,
            anchor=0.05,  # rewards of probabilities differ by some hundredths
            average_rounds=0.98,
            adv_patience=200,
        ),
    ),
}


def flat(config: Config) -> dict[str, Any]:
    """Every setting by its flat name, in order."""
    parts = (getattr(config, part.name) for part in fields(config))
    return {item.name: getattr(part, item.name) for part in parts for item in fields(part)}


# What other projects call it.
ELSEWHERE: Mapping[str, list[str]] = {
    "epochs": ["pre_epoch_num", "total_batch"],
    "learning_rate": ["gen_lr", "dis_lr"],
    "lr": ["gen_lr", "dis_lr"],
    "context_columns": ["static"],
    "attribute_columns": ["static"],
    "sequence_key": ["id"],
    "example_id_column": ["id"],
    "item_id": ["id"],
    "sequence_index": ["time"],
    "time_column": ["time"],
    "timestamp": ["time"],
    "sequence_length": ["window"],
    "seq_len": ["window"],
    "max_sequence_len": ["window"],
    "discrete_columns": ["kind"],
    "cuda": ["the command line's --gpu"],
}


def from_flat(values: Mapping[str, Any]) -> Config:
    """The config with these settings; raises UsageError on a name that does not exist."""
    parts = {item.name: type(getattr(Config(), item.name)) for item in fields(Config)}
    known = {item.name: part for part, cls in parts.items() for item in fields(cls)}
    unknown = sorted(set(values) - set(known), key=str)
    if unknown:
        ours = ELSEWHERE.get(unknown[0]) or difflib.get_close_matches(str(unknown[0]), known, 1)
        meant = f" Here it is {' or '.join(ours)}." if ours else ""
        raise UsageError(
            f"unknown setting {reprlib.repr(unknown[0])}.{meant} Settings are: "
            f"{', '.join(sorted(known))}."
        )
    preset = values.get("preset", "default")
    start = PRESETS.get(preset, Config()) if isinstance(preset, str) else Config()
    changes: dict[str, dict[str, Any]] = {part: {} for part in parts}
    for name, value in values.items():
        changes[known[name]][name] = _plain(value)
    config = Config(
        **{part: dataclasses.replace(getattr(start, part), **changes[part]) for part in parts}
    )
    validate(config)
    return config


def _plain(value: Any) -> Any:
    """A list as a tuple, a whole number of numpy as Python's."""
    if isinstance(value, numbers.Integral) and not isinstance(value, int):
        return int(value)
    return tuple(value) if isinstance(value, list) else value


# Settings that a resumed run may change: none of them changes what was computed so far.
CHANGEABLE = {
    *("run_dir", "generated_num", "checkpoint_every", "keep", "rollouts_at_once", "devices"),
    *("pre_epoch_num", "patience", "dis_pre_refreshes", "total_batch", "adv_patience"),
    *("skip_gen_pretrain", "skip_dis_pretrain", "skip_adversarial"),
}


# What stored settings are where they do not say so.
BEFORE = {"dis_sees": "scaled", "dis_early_stopping": False, "drift": False, **PLAIN}

FORMER = {
    "window": 20,
    "missing": "error",
    "look_first": False,
    "rollout_every": 2,
    "covariance": "full",
    **BEFORE,
}  # defaults of earlier versions, whose runs must stay what they are


def fixed(config: Config) -> dict[str, Any]:
    """What a training state depends on: settings that are neither at their default nor changeable.

    Defaults are left out so that a setting that is new in a later version changes nothing.
    """
    default = flat(Config())
    return {
        name: value
        for name, value in flat(config).items()
        if name not in CHANGEABLE and value not in (default[name], FORMER.get(name, default[name]))
    }


def validate(config: Config) -> None:
    """Raise UsageError where a value is of the wrong kind, impossible, or contradicts another."""
    for part in fields(Config):
        for item in fields(getattr(config, part.name)):
            _check(item.name, item.type, getattr(getattr(config, part.name), item.name))
    data = config.data
    if data.held_out + data.validation > 0.8:
        raise UsageError(
            f"--held-out {data.held_out:g} and --validation {data.validation:g} leave less than a "
            "fifth of the data to train on. Make one smaller."
        )
    if config.generator.covariance == "factors" and config.generator.policy != "gaussian":
        raise UsageError(
            f"--covariance factors is not possible with --policy {config.generator.policy}: only "
            "Gaussians add up. Leave it out, or use --policy gaussian."
        )
    if config.adversarial.entropy_bonus and config.generator.policy != "gaussian":
        raise UsageError(
            f"--entropy-bonus is not possible with --policy {config.generator.policy}: its entropy "
            "has no closed form. Leave it out, or use --policy gaussian."
        )


def _check(name: str, kind: Any, value: Any) -> None:
    """Raise UsageError where a value is not of the kind and within the limits of its setting."""
    flag, shown = "--" + name.replace("_", "-"), reprlib.repr(value)
    if type(None) in get_args(kind):  # Seed | None
        if value is None:
            return
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise UsageError(f"{flag} {shown} is unknown. Choose {' or '.join(get_args(kind))}.")
    elif get_origin(kind) is Annotated:
        number, limits = get_args(kind)
        if not isinstance(value, int if number is int else int | float) or isinstance(value, bool):
            raise UsageError(f"{flag} must be a {'whole ' * (number is int)}number, not {shown}.")
        if value not in limits:
            raise UsageError(f"{flag} {shown} is out of range. It must be {limits}.")
    elif kind is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{flag} must be true or false, not {shown}.")
    elif get_origin(kind) is tuple:
        if not isinstance(value, tuple) or not all(isinstance(column, str) for column in value):
            raise UsageError(f"{flag} must be a list of names, not {shown}.")
        for text in value if name == "bounds" else ():
            bounds.parse(text)
    elif not isinstance(value, str):
        raise UsageError(f"{flag} must be text, not {shown}.")
    elif name == "run_dir" and not value:
        raise UsageError(f"{flag} is empty. Name a folder.")
