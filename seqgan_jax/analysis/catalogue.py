"""What each figure is called, its unit and range, and what it tells: one table for all outputs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """A figure's name in words, its group, its unit and one line on what it tells."""

    label: str
    group: str
    unit: str
    tells: str
    higher_is_better: bool = False
    lower: float = 0.0
    upper: float = float("inf")


CLOSE, DIFFERENT, FAR = "close", "different", "far"
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
    "sequences": "Whole sequences",
    "published": "Published scores",
    "exact": "Exact gaps to the simulator's law",
}

CATALOGUE: dict[str, Entry] = {
    "ks": Entry(
        "Kolmogorov-Smirnov", "values", "", "largest gap between the two CDFs of values", upper=1.0
    ),
    "wasserstein": Entry(
        "Wasserstein distance", "values", "real std", "how far values must move to match"
    ),
    "js": Entry(
        "Jensen-Shannon divergence",
        "values",
        "bits",
        "overlap of the two histograms of values",
        upper=1.0,
    ),
    "mean_error": Entry("Difference of means", "values", "real std", "values too high or too low"),
    "std_error": Entry("Difference of stds", "values", "real std", "values too narrow or too wide"),
    "skew_error": Entry("Difference of skewness", "values", "", "lopsided in another way"),
    "kurtosis_error": Entry("Difference of kurtosis", "values", "", "tails too heavy or too light"),
    "step_ks": Entry(
        "KS at each step (mean)",
        "steps",
        "",
        "values at one step, averaged over the steps",
        upper=1.0,
    ),
    "step_wasserstein": Entry(
        "Wasserstein at each step (mean)", "steps", "real std", "the same in distance"
    ),
    "increment_ks": Entry(
        "KS of increments", "time", "", "changes from one step to the next", upper=1.0
    ),
    "increment_wasserstein": Entry(
        "Wasserstein of increments", "time", "real std", "the same in distance"
    ),
    "volatility_error": Entry(
        "Difference of volatility", "time", "relative", "steps too large or too small"
    ),
    "trend_error": Entry(
        "Difference of mean trend", "time", "std of real slopes", "sequences drift another way"
    ),
    "trend_spread_error": Entry(
        "Difference of trend spread", "time", "relative", "drifts too alike or too varied"
    ),
    "asymmetry_error": Entry(
        "Difference of increments' skewness", "time", "", "rises and falls: the arrow of time"
    ),
    "autocorrelation_error": Entry(
        "Autocorrelation, pooled (mean |difference|)", "time", "", "memory, lags 1 to 20", upper=2.0
    ),
    "partial_autocorrelation_error": Entry(
        "Partial autocorrelation (mean |difference|)",
        "time",
        "",
        "memory of each lag beyond shorter ones",
        upper=2.0,
    ),
    "biased_autocorrelation_error": Entry(
        "Autocorrelation at lag 1, per sequence",
        "time",
        "",
        "the reference's estimate, biased towards zero",
        upper=2.0,
    ),
    "spectrum_error": Entry(
        "Log-spectral distance", "time", "dB", "power at each frequency, mean |difference|"
    ),
    "cross_correlation_error": Entry(
        "Correlations at one step (mean |difference|)",
        "features",
        "",
        "features moving together at one step",
        upper=2.0,
    ),
    "lagged_cross_correlation_error": Entry(
        "Correlations across steps (mean |difference|)",
        "features",
        "",
        "one feature leading another",
        upper=2.0,
    ),
    "correlational": Entry(
        "Correlational score", "features", "", "as published: summed |differences| / 10"
    ),
    "mmd": Entry(
        "MMD squared, unbiased",
        "sequences",
        "",
        "whole sequences under a Gaussian kernel; about 0 if equal",
        lower=-2.0,
        upper=2.0,
    ),
    "classifier_accuracy": Entry(
        "Classifier's accuracy",
        "sequences",
        "",
        "told apart on unseen sequences; 0.5 is chance",
        upper=1.0,
    ),
    "precision": Entry(
        "Precision",
        "sequences",
        "",
        "share of samples among real neighbours: are they realistic",
        higher_is_better=True,
        upper=1.0,
    ),
    "recall": Entry(
        "Recall",
        "sequences",
        "",
        "share of real sequences among generated neighbours",
        higher_is_better=True,
        upper=1.0,
    ),
    "coverage": Entry(
        "Coverage",
        "sequences",
        "",
        "share of real sequences with a sample nearby: is everything there",
        higher_is_better=True,
        upper=1.0,
    ),
    "diversity_error": Entry(
        "Difference of pairwise distances",
        "sequences",
        "relative",
        "sequences too alike or too scattered",
    ),
    "memorisation": Entry(
        "Memorisation",
        "sequences",
        "",
        "share of samples nearer to the training data than held-out data is",
        upper=1.0,
    ),
    "discriminative": Entry(
        "Discriminative score", "published", "", "|0.5 - accuracy| of a GRU classifier", upper=0.5
    ),
    "predictive": Entry(
        "Predictive score",
        "published",
        "MAE, min-max units",
        "error on real data of a GRU trained on generated data",
    ),
    "context_fid": Entry(
        "Context-FID", "published", "", "Frechet distance of TS2Vec embeddings", lower=-1.0
    ),
    "coverage_gap": Entry(
        "Coverage gap KL(p||q)",
        "exact",
        "nats a step",
        "real sequences the model finds unlikely",
        lower=-float("inf"),
    ),
    "quality_gap": Entry(
        "Quality gap KL(q||p)",
        "exact",
        "nats a step",
        "samples that the simulator finds unlikely",
        lower=-float("inf"),
    ),
}
