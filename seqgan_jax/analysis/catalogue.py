"""What each figure is called, its unit and range, and its meaning: one table for all outputs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A figure's name in words, its group, its unit, its meaning in a line, and its range."""

    label: str
    group: str
    unit: str
    meaning: str
    lower: float
    upper: float
    higher_is_better: bool


CLOSE, DIFFERENT, FAR = "close", "different", "far"
INCONCLUSIVE = "inconclusive"  # of a report alone: no figure differs, and few data would show it
WORDS = {
    CLOSE: "as close as real data is to itself",
    DIFFERENT: "detectably different",
    FAR: "far",
}
GROUPS = {
    "values": "Distribution of values",
    "steps": "Distribution at each step",
    "time": "Order in time",
    "features": "Relations between features",
    "kinds": "What columns are: categories, atoms, grids, rules",
    "absent": "Lengths and missing values",
    "sequences": "Whole sequences",
    "judge": "A judge of unseen sequences",
    "published": "Published scores",
    "exact": "Exact gaps to the simulator's law",
}

INF = float("inf")
# name, label, unit, meaning, lowest and highest value
# fmt: off
_ROWS: dict[str, tuple[tuple[str, str, str, str, float, float], ...]] = {
    "values": (
        ("ks", "Kolmogorov-Smirnov", "", "largest gap between the two CDFs of values", 0, 1),
        ("wasserstein", "Wasserstein distance", "real std",
         "how far values must move to match", 0, INF),
        ("js", "Jensen-Shannon divergence", "bits",
         "overlap of the two histograms of values", 0, 1),
        ("mean_error", "Difference of means", "real std", "values too high or too low", 0, INF),
        ("std_error", "Difference of stds", "real std", "values too narrow or too wide", 0, INF),
        ("skew_error", "Difference of skewness", "", "values skewed differently", 0, INF),
        ("kurtosis_error", "Difference of kurtosis", "", "tails too heavy or too light", 0, INF),
    ),
    "steps": (
        ("step_ks", "KS at each step (mean)", "",
         "values at one step, averaged over the steps", 0, 1),
        ("step_wasserstein", "Wasserstein at each step (mean)", "real std",
         "the same in distance", 0, INF),
    ),
    "time": (
        ("increment_ks", "KS of increments", "", "changes from one step to the next", 0, 1),
        ("increment_wasserstein", "Wasserstein of increments", "real std",
         "the same in distance", 0, INF),
        ("volatility_error", "Difference of volatility", "relative",
         "steps too large or too small", 0, INF),
        ("trend_error", "Difference of mean trend", "std of real slopes",
         "sequences drift in another direction", 0, INF),
        ("trend_spread_error", "Difference of trend spread", "relative",
         "drifts too similar or too varied", 0, INF),
        ("asymmetry_error", "Difference of increments' skewness", "",
         "rises and falls differ in speed: the direction of time", 0, INF),
        ("autocorrelation_error", "Autocorrelation, pooled (mean |difference|)", "",
         "memory, lags 1 to 20", 0, 2),
        ("partial_autocorrelation_error", "Partial autocorrelation (mean |difference|)", "",
         "memory of each lag beyond shorter ones", 0, 2),
        ("biased_autocorrelation_error", "Autocorrelation at lag 1, per sequence", "",
         "the reference's estimate, biased towards zero", 0, 2),
        ("spectrum_error", "Log-spectral distance", "dB",
         "power at each frequency, mean |difference|", 0, INF),
    ),
    "features": (
        ("cross_correlation_error", "Correlations at one step (mean |difference|)", "",
         "features moving together at one step", 0, 2),
        ("lagged_cross_correlation_error", "Correlations across steps (mean |difference|)", "",
         "one feature leading another", 0, 2),
        ("correlational", "Correlational score", "",
         "as published: summed |differences| / 10", 0, INF),
    ),
    "kinds": (
        ("category_error", "Shares of categories (largest difference)", "",
         "a category too often or too seldom", 0, 1),
        ("transition_error", "Steps between categories (largest diff.)", "",
         "one category after another too often or too seldom, share of all steps", 0, 1),
        ("atom_error", "Shares of atoms (largest difference)", "",
         "exact zeros, bounds or sentinels too often or too seldom", 0, 1),
        ("atom_run_error", "Runs of atoms (KS of lengths)", "",
         "such values stay too long or not long enough", 0, 1),
        ("held_error", "Values as before (difference of shares)", "",
         "a value repeats the one before too often or too seldom", 0, 1),
        ("held_run_error", "Runs of values as before (KS of lengths)", "",
         "values repeat too long or not long enough", 0, 1),
        ("off_grid", "Values off the grid", "share",
         "generated values between those that the column can have", 0, 1),
        ("varying", "Static columns that vary", "share of sequences",
         "generated sequences in which a constant of the sequence changes", 0, 1),
        ("broken_rules", "Broken rules", "share of sequences",
         "generated sequences that break a rule between columns", 0, 1),
    ),
    "absent": (
        ("length_ks", "Lengths of sequences (KS)", "", "sequences too short or too long", 0, 1),
        ("missing_error", "Shares of missing cells (difference)", "",
         "values missing too often or too seldom", 0, 1),
        ("missing_run_error", "Runs of missing cells (KS of lengths)", "",
         "gaps too long or too short", 0, 1),
    ),
    "judge": (
        ("judge", "Held-out area under the curve", "",
         "a CNN tells unseen real sequences from samples; 0.5: it sees nothing", 0, 1),
    ),
    "sequences": (
        ("mmd", "MMD squared, unbiased", "",
         "whole sequences under a Gaussian kernel; about 0 if equal", -2, 2),
        ("classifier_accuracy", "Classifier's accuracy", "",
         "unseen sequences that are recognised as real or generated; 0.5: none", 0, 1),
        ("precision", "Precision", "",
         "share of samples among real neighbours: are they realistic", 0, 1),
        ("recall", "Recall", "", "share of real sequences among generated neighbours", 0, 1),
        ("coverage", "Coverage", "",
         "share of real sequences with a sample nearby: is everything there", 0, 1),
        ("diversity_error", "Difference of pairwise distances", "relative",
         "sequences too similar or too scattered", 0, INF),
        ("memorisation", "Memorisation", "",
         "share of samples nearer to the training data than held-out data is", 0, 1),
    ),
    "published": (
        ("discriminative", "Discriminative score", "",
         "|0.5 - accuracy| of a GRU classifier", 0, 0.5),
        ("predictive", "Predictive score", "MAE, min-max units",
         "error on real data of a GRU trained on generated data", 0, INF),
        ("context_fid", "Context-FID", "", "Frechet distance of TS2Vec embeddings", -1, INF),
    ),
    "exact": (
        ("coverage_gap", "Coverage gap KL(p||q)", "nats a step",
         "real sequences the model finds unlikely", -INF, INF),
        ("quality_gap", "Quality gap KL(q||p)", "nats a step",
         "samples that the simulator finds unlikely", -INF, INF),
    ),
}
# fmt: on
HIGHER_IS_BETTER = ("precision", "recall", "coverage")
CATALOGUE = {
    name: Entry(label, group, unit, meaning, float(lower), float(upper), name in HIGHER_IS_BETTER)
    for group, rows in _ROWS.items()
    for name, label, unit, meaning, lower, upper in rows
}
