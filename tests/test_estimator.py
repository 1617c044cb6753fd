"""The face of the model: report, history, pictures, summary, names of others, clones."""

import copy
import functools
import io
import itertools
import re

import helpers
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import seqgan_jax.model
from seqgan_jax import SeqGAN, analyze
from seqgan_jax.analysis import command
from seqgan_jax.errors import DataError, NotFittedError, UsageError
from seqgan_jax.run import cli, directory, loop, showing, terminal

FEW = {"hidden_dim": 4, "pre_epoch_num": 2, "dis_pre_refreshes": 1, "total_batch": 1}
FEW |= {"num_negatives": 32, "batch_size": 32, "look_first": False, "gradient": "pathwise"}
FEW |= {"dis_r1": 0.0}
X = 5.0 + 2.0 * helpers.series(150, 5, 2)


@pytest.fixture(scope="module")
def model():
    return SeqGAN(**FEW).fit(X)


def test_evaluate_is_the_analysis_of_the_held_out_part(model):
    """By hand: the parts are cut again, samples drawn, and both given to `analyze`."""
    from seqgan_jax.data.layout import as_sequences, split

    parts = split(as_sequences(X), seed=88)
    by_hand = analyze(
        parts.held_out_NTD,
        model.description.as_written(model.sample(1000, seed=3)),
        train=parts.train_NTD,
        seed=3,
        judge="never",
    )
    report = model.evaluate(seed=3, judge="never")
    assert report.counts == (15, 1000)
    assert "memorisation" in report.metrics
    assert {n: m.value for n, m in report.metrics.items()} == {
        n: m.value for n, m in by_hand.metrics.items()
    }


def test_a_loaded_model_asks_for_real_sequences(model, tmp_path):
    model.save(tmp_path / "m")
    again = SeqGAN.load(tmp_path / "m")
    with pytest.raises(UsageError, match=r"keeps no data.*evaluate\(real\)"):
        again.evaluate()
    given = again.evaluate(X[:60], judge="never", n=500)
    assert given.counts == (60, 500)
    with pytest.raises(DataError, match=r"\[N, 5, 2\]"):
        again.evaluate(X[:60, :4])
    pd.testing.assert_frame_equal(again.history_, model.history_)


def test_the_model_of_a_run_is_evaluated_as_analyze_does(tmp_path):
    """Its held-out part and its training part, read again; the samples are those of the file."""
    np.save(tmp_path / "x.npy", X)
    flags = "--hidden-dim 4 --pre-epoch-num 2 --skip-dis-pretrain --skip-adversarial --quiet"
    files = f"--data {tmp_path / 'x.npy'} --run-dir {tmp_path / 'run'} --generated-num 300"
    assert cli.main(f"train {files} {flags}".split()) == 0
    model = SeqGAN.load(tmp_path / "run")
    report = model.evaluate(n=300, seed=88, judge="never")
    reading = dict.fromkeys(command.READING) | {"stride": 1, "layout": "auto"}
    reading |= {"duplicates": "error", "missing": "model", "missing_values": (), "columns": []}
    reading |= {"id": (), "time": ()}
    how = {"seed": 88, "judge": "never"}
    of_files = command.compare(None, None, None, tmp_path / "run", reading, **how)
    assert report.counts == of_files.counts == (15, 300)
    assert report.metrics.keys() == of_files.metrics.keys()
    assert "memorisation" in report.metrics
    for name, metric in of_files.metrics.items():
        assert report.metrics[name].value == pytest.approx(metric.value, rel=1e-3, abs=1e-6)
    assert len(model.history_) == 2


def test_too_few_held_out_sequences_are_refused_in_words():
    few = FEW | {"total_batch": 0, "dis_pre_refreshes": 0, "pre_epoch_num": 1}
    with pytest.raises(DataError, match=r"array: 6 sequences were held out.*evaluate\(x\); or tr"):
        SeqGAN(**few).fit(X[:60]).evaluate()


def test_history_has_the_rows_of_the_file(model, tmp_path):
    found = model.history_
    assert found.groupby("phase", sort=False)["step"].max().to_dict() == {
        "gen_pretrain": 2,
        "dis_pretrain": 1,
        "adversarial": 1,
    }
    model.save(tmp_path / "m")
    rows = directory.read_metrics(tmp_path / "m")
    assert len(rows) == len(found) == 4
    for row, (_, ours) in zip(rows, found.iterrows(), strict=True):
        assert all(ours[name] == value for name, value in row.items())
        assert ours.drop(list(row)).isna().all()


def test_the_picture_shows_every_column(model):
    figure = model.plot(n=50)
    assert isinstance(figure, Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")  # what a notebook asks for
    assert {"x1", "x2"} <= {ax.get_title(loc="left") for ax in figure.axes}


def test_the_summary_says_what_is_there(model):
    said = model.summary()
    assert "150 sequences of 5 steps, 2 columns (120 to train, 15 to validate, 15 held out)" in said
    assert "2 epochs of generator pretraining, 1 epoch of discriminator" in said
    count = sum(int(np.size(leaf)) for leaf in _leaves(model.state.policy))
    assert f"generator {count:,} parameters" in said
    assert re.search(r"^time    .* to fit$", said, re.M)


def _leaves(tree):
    import jax

    return jax.tree.leaves(tree)


@pytest.mark.parametrize("name", ["evaluate", "plot", "summary", "history_"])
def test_before_fit_all_of_it_says_so(name):
    def ask():
        found = getattr(SeqGAN(), name)
        return found()

    with pytest.raises(NotFittedError, match="fit"):
        ask()


# ---------------------------------------------------------------------- as scikit-learn has it


def cloned(estimator):
    """What `sklearn.base.clone` does, line by line."""
    params = estimator.get_params(deep=False)
    params = {name: copy.deepcopy(value) for name, value in params.items()}
    made = type(estimator)(**params)
    found = made.get_params(deep=False)
    for name, value in params.items():
        assert found[name] is value, name
    return made


def test_a_clone_has_the_settings_and_nothing_that_was_learned(model):
    made = cloned(model)
    assert made.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        made.sample(1)
    assert not made.__sklearn_is_fitted__()
    assert model.__sklearn_is_fitted__()


def test_a_clone_fits_to_the_same_model(model):
    """Settings at their default were not given: a clone of a model for arrays is fitted on one."""
    assert np.array_equal(cloned(model).fit(X).sample(5), model.sample(5))


def test_a_clone_is_what_scikit_learn_makes():
    base = pytest.importorskip("sklearn.base")
    made = base.clone(SeqGAN(hidden_dim=7, columns=("a",)))
    assert made.get_params() == SeqGAN(hidden_dim=7, columns=("a",)).get_params()


def test_policy_auto_is_still_auto_after_fit():
    few = FEW | {"pre_epoch_num": 1, "total_batch": 0, "dis_pre_refreshes": 0}
    model = SeqGAN(policy="auto", **few).fit(X[:60])
    assert model.config.generator.policy != "auto"
    assert model.get_params()["policy"] == "auto"
    assert len(model.tried) == 3


def test_settings_are_set_by_name_and_what_was_learned_goes():
    model = SeqGAN(hidden_dim=8)
    assert model.set_params(hidden_dim=np.int64(4), random_state=3) is model
    assert model.get_params()["hidden_dim"] == 4
    assert model.get_params()["seed"] == 3
    with pytest.raises(UsageError, match=r"hiden_dim.*Here it is hidden_dim"):
        model.set_params(hiden_dim=4)
    assert model.get_params()["hidden_dim"] == 4
    assert repr(model) == "SeqGAN(seed=3, hidden_dim=4)"


def test_a_fitted_model_is_not_fitted_after_set_params():
    few = FEW | {"total_batch": 0, "dis_pre_refreshes": 0}
    model = SeqGAN(**few).fit(X)
    model.set_params(hidden_dim=5)
    with pytest.raises(NotFittedError):
        model.sample(1)


def test_score_is_the_mean_log_density(model):
    assert model.score(X[:7]) == pytest.approx(model.log_prob(X[:7]).mean())


# ---------------------------------------------------------------------- names of others


def test_random_state_is_the_seed():
    assert SeqGAN(random_state=5).config.run.seed == 5
    with pytest.raises(UsageError, match="random_state and seed are two names"):
        SeqGAN(random_state=5, seed=5)


def test_a_setting_of_another_project_is_told_ours():
    for name, ours in (("context_columns", "static"), ("epochs", "pre_epoch_num or total_batch")):
        with pytest.raises(UsageError, match=f"{name}.*Here it is {ours}"):
            SeqGAN(**{name: 3})


def test_sequence_key_and_index_are_id_and_time():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "who": np.repeat(np.arange(40), 6),
            "when": np.tile(np.arange(6), 40),
            "value": rng.normal(size=240).round(2),
        }
    )
    few = {"hidden_dim": 2, "pre_epoch_num": 1, "skip_adversarial": True, "skip_dis_pretrain": True}
    ours = SeqGAN(**few).fit(frame, id="who", time="when").sample(3)
    theirs = SeqGAN(**few).fit(frame, sequence_key="who", sequence_index="when").sample(3)
    pd.testing.assert_frame_equal(ours, theirs)
    with pytest.raises(UsageError, match="sequence_key and id are two names"):
        SeqGAN(**few).fit(frame, sequence_key="who", id="who")


# ---------------------------------------------------------------------- what it shows


def test_the_loop_tells_once_a_phase_by_its_clock(monkeypatch):
    """Each look at the clock is a second later: a unit takes one, whatever the machine does."""

    class Heard(loop.Silent):
        def __init__(self):
            self.found = {}

        def estimated(self, phase, estimate):
            assert phase not in self.found
            self.found[phase] = estimate

    ticks, heard = itertools.count(), Heard()
    ticking = functools.partial(loop.Problem, clock=lambda: float(next(ticks)))
    monkeypatch.setattr(seqgan_jax.model, "Problem", ticking)
    seqgan_jax.model.SeqGAN(**FEW).fit(X, listener=heard)
    left = {"gen_pretrain": 1, "dis_pretrain": 1, "adversarial": 1}
    assert heard.found["gen_pretrain"].left == left
    assert heard.found["dis_pretrain"].left == {"dis_pretrain": 0, "adversarial": 1}
    assert heard.found["adversarial"].left == {"adversarial": 0}
    for number, phase in enumerate(loop.PHASES):
        found = heard.found[phase]
        assert found.each[phase] == 1.0
        assert found.measured == set(loop.PHASES[: number + 1])


def test_verbose_says_what_happens_and_the_default_does_not_where_nobody_looks(capsys):
    few = FEW | {"total_batch": 0, "dis_pre_refreshes": 0}
    SeqGAN(**few).fit(X)
    assert capsys.readouterr().out == ""
    SeqGAN(**few).fit(X, verbose=True)
    said = capsys.readouterr().out
    assert "generator pretraining: all of training takes" in said
    assert "generator pretraining: done, 2 epochs" in said
    with pytest.raises(UsageError, match="verbose"):
        SeqGAN(**few).fit(X, verbose=True, listener=loop.Silent())


def test_by_default_it_is_shown_at_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    assert isinstance(showing.listener(None), loop.Silent)
    assert not isinstance(showing.listener(None), showing.Shown)
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(showing.listener(None), showing.Shown)
    assert not isinstance(showing.listener(False), showing.Shown)


def test_the_bar_of_a_notebook_is_one_that_is_updated(monkeypatch):
    shown = []

    class Handle:
        def update(self, what):
            shown.append(what.data)

    def display(what, display_id):
        assert display_id
        shown.append(what.data)
        return Handle()

    ipython = pytest.importorskip("IPython.display")
    monkeypatch.setattr(ipython, "display", display)
    bar = terminal.NotebookBar()
    bar.show("compiling <x>")
    bar.show("epoch 3/4", 0.75)
    bar.close()
    assert shown == [
        "<progress></progress> compiling &lt;x&gt;",
        '<progress value="0.7500"></progress> epoch 3/4',
        "",
    ]
