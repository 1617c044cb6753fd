"""Static columns and labels: read, learned first, and given to samples."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from seqgan_jax import SeqGAN, inspect
from seqgan_jax.config import DataConfig
from seqgan_jax.data import encoding, statics
from seqgan_jax.data.layout import as_sequences, load
from seqgan_jax.data.statics import Condition, Statics
from seqgan_jax.errors import CheckpointError, DataError, UsageError
from seqgan_jax.run import cli, conditions

UNTRAINED = {"skip_gen_pretrain": True, "skip_dis_pretrain": True, "skip_adversarial": True}
PEOPLE, STEPS = 120, 6


def patients(seed=0):
    """Long table: sex, age and ward are constant in each sequence; height is a static density."""
    rng = np.random.default_rng(seed)
    sex, ward = rng.choice(["f", "m"], PEOPLE), rng.choice(["a", "b", "c"], PEOPLE)
    ward[sex == "m"] = np.where(ward[sex == "m"] == "c", "a", ward[sex == "m"])
    one = pd.DataFrame({"age": rng.integers(20, 60, PEOPLE), "sex": sex, "ward": ward})
    one["height"] = rng.normal(170, 8, PEOPLE)
    frame = one.loc[np.repeat(np.arange(PEOPLE), STEPS)].reset_index(drop=True)
    frame.insert(0, "patient", np.repeat(np.arange(PEOPLE), STEPS))
    frame.insert(1, "hour", np.tile(np.arange(STEPS), PEOPLE))
    frame.insert(2, "pulse", rng.normal(70, 9, len(frame)) + 6 * (frame["sex"] == "f"))
    frame["site"] = 7
    return frame


@pytest.fixture(scope="module")
def model():
    return SeqGAN(label="sex", static=["age"], hidden_dim=4, **UNTRAINED).fit(
        patients(), id="patient", time="hour"
    )


def firsts(frame):
    return frame.groupby("patient").first()


def test_static_columns_are_first_and_the_user_does_not_see_it(model):
    scaler, names = model.description.scaler, model.description.names
    assert names == ("pulse", "age", "sex", "ward", "height", "site")
    assert [names[d] for d in scaler.kept_K] == ["age", "sex", "ward", "height", "pulse"]
    assert scaler.num_static == 4
    assert list(model.sample(1).columns) == list(patients().columns)
    x = model.sample(5)
    assert np.isfinite(model.log_prob(x)).all()


def test_all_that_is_given_is_met(model):
    given = {"sex": "f", "ward": ["a", "b"], "age": (30, 40), "height": (165, None)}
    drawn = model.sample(40, given=given)
    one = firsts(drawn)
    assert set(one["sex"]) == {"f"}
    assert set(one["ward"]) <= {"a", "b"}
    assert one["age"].between(30, 40).all()
    assert (one["height"] >= 165).all()
    assert (drawn.groupby("patient")[["sex", "age", "ward", "height"]].nunique() == 1).all().all()
    texts = ["sex=f", "ward=a,b", "age=30:40", "height=165:"]
    pd.testing.assert_frame_equal(model.sample(40, given=texts), drawn)
    pd.testing.assert_frame_equal(model.sample(7, given=texts), drawn[drawn["patient"] < 7])


def test_what_is_not_first_is_given_as_in_draws_without(model):
    """p(age | sex = f) by rejection with weights, against samples that happen to have it."""
    plain = firsts(model.sample(4000))
    expected = plain[plain["sex"] == "f"]["age"]
    given = firsts(model.sample(2000, seed=1, given={"sex": "f"}))["age"]
    edges = np.quantile(plain["age"], [0.2, 0.4, 0.6, 0.8])
    counts = [np.bincount(np.searchsorted(edges, x), minlength=5) for x in (expected, given)]
    from scipy.stats import chi2_contingency

    assert chi2_contingency(np.array(counts)).pvalue > 1e-3


def test_a_frame_of_conditions_has_a_row_for_each_sequence(model):
    rows = pd.DataFrame({"sex": list("fmmf"), "age": [30, 41, 30, 22]})
    drawn = model.sample(given=rows)
    assert firsts(drawn)[["sex", "age"]].to_numpy().tolist() == rows.to_numpy().tolist()
    fewer = model.sample(given=rows[:2])
    pd.testing.assert_frame_equal(fewer, drawn[drawn["patient"] < 2])
    with pytest.raises(UsageError, match="n is 3, and given has 4 rows"):
        model.sample(3, given=rows)
    rows.loc[2, "age"] = np.nan
    with pytest.raises(UsageError, match="row 3 has no age"):
        model.sample(given=rows)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"pulse": 70}, r"pulse: it is not constant in each sequence.*there are age, sex"),
        ({"puls": 70}, "there is no column 'puls'"),
        ({"sex": "x"}, "no such word, there are f, m"),
        ({"sex": (0, 1)}, "sex holds words, which have no order"),
        ({"age": 30.5}, "no sample can have it.*nearest value is 3"),
        ({"age": (40, 30)}, "age=40:30 is no range"),
        ({"age": "old"}, "'old' is no number"),
        ({"age": (1, 2, 3)}, r"is no pair \(low, high\)"),
        ({"ward": []}, "no value"),
        ({"site": 8}, "site is 7 in every training sequence"),
        (["age"], "'age' is not COLUMN=VALUE"),
        (["age=30", "age=31"], "'age' is there twice"),
    ],
)
def test_what_cannot_be_given_is_refused(model, given, said):
    with pytest.raises(UsageError, match=said):
        model.sample(3, given=given)


def test_what_training_never_had_is_said(model):
    one = firsts(patients())
    assert len(one[(one["sex"] == "m") & (one["ward"] == "c")]) == 0
    with pytest.warns(UserWarning, match="no sequence of the training part has sex=m and ward=c"):
        drawn = model.sample(5, given={"sex": "m", "ward": "c"})
    assert set(firsts(drawn)["ward"]) == {"c"}
    with pytest.warns(UserWarning, match=r"has height=300: they have 1\d\d"):
        model.sample(2, given={"height": 300})
    model.sample(2, given={"site": 7})


def test_another_length_of_what_is_given(model):
    drawn = model.sample(300, given={"sex": "f", "age": (30, 40)}, length=3, seed=2)
    assert (drawn.groupby("patient").size() == 3).all()
    assert set(drawn["sex"]) == {"f"}
    assert drawn["age"].between(30, 40).all()
    both = pd.DataFrame({"sex": ["m", "f"] * 500})
    apart = []
    for length, seed in ((3, 3), (6, 4)):
        x = model.sample(given=both, length=length, seed=seed)
        pulse = x[x["hour"] < 3].groupby("sex")["pulse"].mean()
        apart.append(pulse["f"] - pulse["m"])
    assert min(apart) > 2
    assert apart[0] == pytest.approx(apart[1], abs=1.5)  # 3 standard errors
    pd.testing.assert_frame_equal(
        model.sample(5, given={"sex": "f", "age": (30, 40)}, length=3, seed=2),
        drawn[drawn["patient"] < 5],
        rtol=1e-4,
    )


def test_what_is_too_rare_is_given_up_with_the_share(model, monkeypatch):
    monkeypatch.setattr(conditions, "MOST", (1 << 14, 64))
    rare = pytest.raises(DataError, match=r"height=900:901: 0 of 17,408 draws meet it")
    with pytest.warns(UserWarning, match="they have"), rare:
        model.sample(2, given={"height": (900, 901)})


def test_a_run_keeps_it(model, tmp_path, capsys):
    model.save(tmp_path / "run")
    again = SeqGAN.load(tmp_path / "run")
    assert again.description.statics == model.description.statics
    out = tmp_path / "out.csv"
    words = ["sample", str(tmp_path / "run"), "-n", "9", "--given", "sex=m", "--given", "ward=c"]
    assert cli.main([*words, "-o", str(out)]) == 0
    assert "no sequence of the training part has sex=m and ward=c" in capsys.readouterr().err
    assert set(pd.read_csv(out)["ward"]) == {"c"}
    assert cli.main([*words[:4], "--given", "pulse=3", "-o", str(tmp_path / "b.csv")]) == 2
    assert "error: --given pulse: it is not constant" in capsys.readouterr().err
    path = tmp_path / "run" / "config.json"
    content = json.loads(path.read_text())
    for damage in ({}, {**content["statics"], "counts": [1]}, {**content["statics"], "low": []}):
        path.write_text(json.dumps(content | {"statics": damage}))
        with pytest.raises(CheckpointError, match="static columns is damaged"):
            SeqGAN.load(tmp_path / "run")


def test_columns_that_change_are_refused_with_the_place(tmp_path):
    frame = patients()
    frame.loc[STEPS * 4 + 2, "sex"] = "f" if frame["sex"][STEPS * 4] == "m" else "m"
    path = tmp_path / "p.csv"
    frame.to_csv(path, index=False)
    for more in ({"label": "sex"}, {"static": ("age", "sex")}):
        model = SeqGAN(**more, **UNTRAINED)
        with pytest.raises(DataError, match=r"sequence 5, step 3: sex is [fm], and [fm] at the"):
            model.fit(frame, id="patient", time="hour")
    found = inspect(path, id=["patient"], time=["hour"], static=["sex"])
    assert "sequence 5, step 3: sex is" in found.questions[0]


def test_a_label_before_a_row_is_left_out_and_one_of_a_table_is_learned(tmp_path):
    rng = np.random.default_rng(0)
    wide = pd.DataFrame(rng.normal(size=(40, 6)).cumsum(axis=1), columns=list(map(str, range(6))))
    wide.insert(0, "class", rng.integers(0, 2, 40))
    wide.to_csv(tmp_path / "wide.csv", index=False)
    assert load(str(tmp_path / "wide.csv"), label="class").x_NTD.shape == (40, 6, 1)
    frame = patients()
    frame["rare"] = np.array([f"w{n // 3}" for n in range(PEOPLE)])[frame["patient"]]
    frame.to_csv(tmp_path / "long.csv", index=False)
    plain = load(str(tmp_path / "long.csv"), id=["patient"], time=["hour"])
    assert "sex" in load(str(tmp_path / "long.csv"), label="sex").names
    assert plain.names[-1] == "rare"
    few = frame[frame["patient"] < 60]
    few = few.assign(rare=np.array([f"w{n}" for n in range(30)] * 2)[few["patient"]])
    few.to_csv(tmp_path / "few.csv", index=False)
    found = load(str(tmp_path / "few.csv"), id=["patient"], time=["hour"], label="rare")
    assert len(found.form.columns[found.names.index("rare")].categories) == 30
    with pytest.raises(DataError, match=r"there is no column .nope.*Correct --label"):
        SeqGAN(label="nope", **UNTRAINED).fit(frame, id="patient", time="hour")


def test_a_label_of_numbers_is_a_category():
    frame = patients()
    frame["kind"] = np.repeat(np.random.default_rng(1).integers(0, 30, PEOPLE), STEPS)
    plain = inspect(frame, id="patient", time="hour")
    asked = inspect(frame, id="patient", time="hour", label="kind", static=["age"])
    learned = [
        dict(zip([c.name for c in f.columns], f.learned, strict=True)) for f in (plain, asked)
    ]
    assert "grid" in learned[0]["kind"]
    assert learned[1]["kind"].endswith("categories, constant in each sequence")
    assert "label='kind'" in asked.command
    assert "static=('age',)" in asked.command


def test_static_columns_are_never_made_from_what_changes():
    """load <= capacity is true, and capacity must stay in each sequence."""
    rng = np.random.default_rng(0)
    capacity = np.repeat(rng.integers(5, 9, (200, 1)), 8, 1)
    load = np.minimum(rng.poisson(4, (200, 8)), capacity)
    x = np.stack([load, capacity], axis=-1).astype(float)
    scaler = encoding.fit(x, ["load", "capacity"], DataConfig())
    assert scaler.num_static == 1
    assert statics.is_static(scaler, 1)
    drawn = scaler.inverse(rng.normal(size=(50, 8, 2)))
    assert (drawn[:, :1, 1] == drawn[..., 1]).all()
    # Where both are static, the rule stays, and the higher one is given by rejection.
    pair = np.stack([load[:, :1] + 0 * load, capacity], axis=-1).astype(float)
    ruled = encoding.fit(pair, ["load", "capacity"], DataConfig(rule=("load <= capacity",)))
    assert statics.is_static(ruled, 1)
    assert statics.place_of(ruled, 1) is None


def test_a_column_made_by_rules_is_given_too():
    rng = np.random.default_rng(0)
    low = rng.integers(0, 5, 150)
    frame = pd.DataFrame({"low": low, "high": low + rng.integers(0, 4, 150)})
    frame = frame.loc[np.repeat(np.arange(150), 5)].reset_index(drop=True)
    frame.insert(0, "who", np.repeat(np.arange(150), 5))
    frame["x"] = rng.normal(size=len(frame))
    model = SeqGAN(rule=["low <= high"], rules="none", hidden_dim=4, layout="long", **UNTRAINED)
    drawn = model.fit(frame, id="who").sample(20, given={"high": 4}).groupby("who").first()
    assert set(drawn["high"]) == {4}
    assert drawn["low"].nunique() > 1
    with pytest.raises(UsageError, match="x: it is not constant"):
        model.sample(1, given={"x": 0})


def test_conditions_of_arrays():
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, (80, 1, 1)) + np.zeros((80, 5, 1))
    x = np.concatenate([rng.normal(size=(80, 5, 1)) + group, group], axis=-1)
    model = SeqGAN(static=["x2"], hidden_dim=4, **UNTRAINED).fit(x)
    assert (model.sample(30, given={"x2": 2})[..., 1] == 2).all()
    with pytest.raises(DataError, match="sequence 1, step 2: x1 is"):
        SeqGAN(static=["x1"], **UNTRAINED).prepare(as_sequences(x))
    plain = SeqGAN(hidden_dim=4, **UNTRAINED).fit(x[..., :1])
    assert plain.description.statics is None
    assert "statics" not in plain.description.to_json()
    with pytest.raises(UsageError, match=r"only columns that are can be given \(there are none\)"):
        plain.sample(3, given={"x": 1})


def test_the_table_of_combinations_by_a_loop():
    rng = np.random.default_rng(0)
    values = rng.integers(0, 40, (4000, 1, 2)).astype(float)
    x = np.concatenate([values + np.zeros((4000, 4, 2)), rng.normal(size=(4000, 4, 1))], axis=-1)
    found = statics.of(x, encoding.fit(x, ["a", "b", "c"], DataConfig()))
    assert len(found.values) == statics.MOST_ROWS
    assert not found.complete
    count = {}
    for row in values[:, 0].tolist():
        count[tuple(row)] = count.get(tuple(row), 0) + 1
    assert all(count[row] == n for row, n in zip(found.values, found.counts, strict=True))
    assert found.counts[-1] >= max(n for row, n in count.items() if row not in set(found.values))
    gone = next(p for p in itertools.product(range(40), repeat=2) if p not in count)
    asked = [tuple(Condition(d, f"{d}", (float(v),)) for d, v in enumerate(gone))]
    assert found.unseen(asked)[0].startswith("none of the 1,000 commonest combinations")
    many = [(Condition(0, f"a={v}", (float(v),)),) for v in range(100, 120)]
    assert found.unseen(many)[-1] == "and 15 more conditions like these"
    assert Statics.from_json(json.loads(json.dumps(found.to_json()))) == found
