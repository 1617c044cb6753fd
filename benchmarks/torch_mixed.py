"""The mixed policy of the default run in PyTorch, written for `versus_torch.py` only.

Columns on tables of levels, cut off at their ends, with single values of their own, or words of
which later columns see whether they changed; some are often as before; no gaps, bounds, seasons or
ends: the bundled weather. The same arithmetic as
`seqgan_jax.core.columns.mixed`, the columns of a step one after the other in plain tensors: a
level is found by `searchsorted`, a choice taken by `gather`.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torch_seqgan
import torch_training
import work
from torch import Tensor, nn

from seqgan_jax.core.columns.cells import FAR, UNIT
from seqgan_jax.core.columns.chain import HIDDEN
from seqgan_jax.core.columns.continuous import LOG_SCALE_BOUNDS
from seqgan_jax.core.columns.mixed_step import CUT, NEVER, PLACE, SPREAD, TINY
from seqgan_jax.core.columns.support import NOTHING, Layout

Step = Callable[..., Any]


class Columns(nn.Module):
    """Which values the columns can take."""

    def __init__(self, layout: Layout, support: dict[str, Any]) -> None:
        super().__init__()
        plain = layout.held and not (layout.sloped or layout.lattices or layout.gaps)
        plain &= not (layout.densities or layout.season or layout.far) and layout.end is None
        on_tables = layout.grids == layout.tables == tuple(range(len(layout.grids)))
        plain &= not (layout.coarse or layout.clocks or layout.straight or layout.missing)
        words = tuple(range(len(layout.grids), layout.features))
        if not (plain and on_tables and layout.cut == layout.grids and layout.told == words):
            raise NotImplementedError("columns on tables first, then words; no gaps, ends, seasons")
        self.layout, self.features = layout, layout.features
        self.grids, self.options = len(layout.grids), layout.choices - 1
        numbers = {name: torch.tensor(np.asarray(value)) for name, value in support.items()}
        numbers["tolerance"] = numbers["tolerance"][:, None]
        listed = numbers["listed"]
        numbers["moved"] = torch.where(listed < NOTHING, numbers["sizes"] - listed, 0.0)
        ends = torch.full((self.grids, 1), FAR)
        edges = numbers["edges"][: self.grids].contiguous()
        numbers["edges"] = edges
        numbers["ends"] = torch.cat([-ends, edges.clamp(max=FAR), ends], dim=1)
        numbers["row"] = torch.arange(self.grids)
        numbers["shown"] = torch.tensor(layout.shown)
        for name, value in numbers.items():
            self.register_buffer(name, value)
        own = np.array(layout.shown)
        # Of each column which of its options are shown, and the places of these among all.
        self.own = [(own[own // self.options == d] % self.options) for d in range(self.features)]
        self.places = [np.flatnonzero(own // self.options == d) for d in range(self.features)]

    def cell(self, x: Tensor, d: int | None = None) -> Tensor:
        """The level of each value; of the columns on tables [..., G], or of one, [...]."""
        if d is not None:
            return torch.searchsorted(self.edges[d], x.contiguous(), right=True)
        flat = x.reshape(-1, self.grids).T.contiguous()
        return torch.searchsorted(self.edges, flat, right=True).T.reshape(x.shape)

    def at(self, table: Tensor, cell: Tensor) -> Tensor:
        """What a table [G, M] has of each column's cell, [..., G]."""
        return table.reshape(-1)[self.row * table.shape[1] + cell]

    def told(self, e: Tensor, x: Tensor, before: Tensor) -> Tensor:
        """Innovations [..., D], in the place of those of words whether they changed."""
        changed = (x[..., self.grids :] != before[..., self.grids :]).float()
        return torch.cat([e[..., : self.grids], changed], dim=-1)

    def size(self, x: Tensor) -> Tensor:
        """How large values are, [..., D]; words 0."""
        x = x + torch.where(x[..., None] == self.listed, self.moved, 0.0).sum(-1)
        return torch.where(self.is_word, 0.0, x)

    def matched(self, x: Tensor, before: Tensor, there: Tensor) -> Tensor:
        """Which options each value is, [..., D, C - 1] bool."""
        held = (x - before).abs() <= self.tolerance[:, 0]
        listed = (x[..., None] - self.listed).abs() <= self.tolerance
        return torch.cat([held[..., None], listed], dim=-1) & there[:, 1:]

    def as_shown(self, matched: Tensor) -> Tensor:
        """The options that exist as numbers, [..., S]."""
        return matched.flatten(-2)[..., self.shown].float()

    def of_sequences(self, x_TBD: Tensor) -> Tensor:
        """`matched` at each step of whole sequences, as a discriminator sees it."""
        first = self.matched(x_TBD[:1], x_TBD[:1], self.first)
        return torch.cat([first, self.matched(x_TBD[1:], x_TBD[:-1], self.later)])


class Chain(nn.Module):
    """The distribution of first or of later steps."""

    def __init__(
        self, columns: Columns, params: dict[str, Any], baseline: Any, first: bool
    ) -> None:
        super().__init__()
        self.columns, name = columns, "first" if first else "later"
        features, options = columns.features, columns.options
        for weight in ("A", "W") if first else ("A", "B", "W"):
            setattr(self, weight, nn.Parameter(torch.tensor(np.asarray(params[weight]))))
        self.own = self.W.shape[2]
        factor = torch.tensor(np.asarray(baseline["first_factor" if first else "factor"]))
        inverse = torch.linalg.solve_triangular(factor, torch.eye(features), upper=False)
        self.register_buffer("factor", factor)
        self.register_buffer("inverse", inverse)
        self.register_buffer("unit", torch.diagonal(factor).clone())
        self.register_buffer("there", getattr(columns, name))
        middle = F.pad(getattr(columns, f"{name}_middle"), (1 + options, 0))
        self.register_buffer("middle", middle)
        slopes = getattr(columns, f"{name}_seen")
        self.register_buffer("slopes", slopes.permute(1, 0, 2).reshape(slopes.shape[1], -1))
        self.register_buffer("seen", slopes)
        seen = [*range(features), *(np.array(columns.layout.shown) // options)]
        earlier = np.array(seen)[:, None] < np.arange(features)[None]
        self.register_buffer("earlier", torch.tensor(earlier.astype(np.float32))[:, :, None])

    def log_choice(self, raw: Tensor, known: Tensor, there: Tensor) -> Tensor:
        """log c, [..., C]."""
        logits = raw[..., : self.columns.options + 1] + known[..., :-2]
        return torch.log_softmax(torch.where(there, logits, NEVER), dim=-1)

    def components(self, raw: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log w, mean and scale."""
        logit, mean, log_scale = raw[..., self.columns.options + 1 :].chunk(3, dim=-1)
        width = known[..., -1:].clamp(-SPREAD, SPREAD).exp()
        place = known[..., -2:-1].clamp(-PLACE, PLACE)
        scale = log_scale.clamp(*LOG_SCALE_BOUNDS).exp()
        return torch.log_softmax(logit, dim=-1), place + width * mean, width * scale

    def log_prob(self, step: tuple[Tensor, Tensor, Tensor], seen: Any) -> Tensor:
        """log p(x_d | x_<d), [..., D]; `seen` has x, innovations, and options in both forms."""
        (raw, known, units), (x, e, matched, shown) = step, seen
        columns, number = self.columns, self.columns.grids
        both = torch.cat([e, shown], dim=-1)
        first = (self.earlier * self.A[:, None]).flatten(1)
        hidden = torch.tanh(units + (both @ first).unflatten(-1, (-1, HIDDEN)))
        raw = raw + torch.einsum("...dm,dmp->...dp", hidden, self.W)
        more = both.clamp(-CUT, CUT) @ self.slopes
        known = known + more.unflatten(-1, (columns.features, -1))
        log_choice = self.log_choice(raw, known, self.there)
        log_option = torch.where(matched, log_choice[..., 1:], NEVER).logsumexp(-1)
        on_grid = slice(number)
        log_w, mean, scale = self.components(raw[..., on_grid, :], known[..., on_grid, :])
        grid, e = x[..., on_grid], e[..., on_grid]
        cell, unit = columns.cell(grid), self.unit[on_grid]
        low, high = columns.fences[on_grid].T

        def ends(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
            at = ((e + (end - grid) / unit)[..., None] for end in (lower, upper))
            lower, upper = ((end - mean) / scale for end in at)
            return lower, upper

        cells = (columns.at(columns.ends, place) for place in (cell, cell + 1))
        cells = [torch.minimum(torch.maximum(end, low), high) for end in cells]
        inside = (log_w.exp() * parts_of(*ends(low, high))[1]).sum(-1).clamp(min=TINY)
        log_p = (log_w + log_mass(*ends(*cells))).logsumexp(-1) - inside.log()
        log_p = log_p + log_choice[..., on_grid, 0]
        log_p = torch.logaddexp(log_option[..., on_grid], log_p)
        return torch.cat([log_p, log_option[..., number:]], dim=-1)

    def sample(
        self,
        step: tuple[Tensor, Tensor, Tensor],
        offset: Tensor,
        before: Tensor | None,
        noise: Tensor,
    ) -> tuple[Tensor, ...]:
        """x, sizes, innovations [L, D] and options [L, S], one column after the other."""
        columns, (raw, known, units) = self.columns, step
        which, value = noise.chunk(2, dim=-1)
        share = normal_cdf(which).clamp(1e-6, 1 - 1e-6)
        below, above = normal_cdf(value), normal_cdf(-value)
        xs, sizes, es, shown = [], [], [], []
        hidden, bases = 0.0, list(offset.unbind(-1))
        choices = known
        for d in range(columns.features):
            own = raw[..., d, :] + torch.tanh(units[..., d, :] + hidden) @ self.W[d]
            of_d = choices[..., d, :]
            log_choice = self.log_choice(own, of_d, self.there[d])
            listed = columns.listed[d].expand(len(own), -1)
            last = torch.zeros_like(offset[:, d]) if before is None else before[:, d]
            options = torch.cat([last[:, None], listed], dim=-1)
            is_grid, unit = d < columns.grids, self.unit[d]
            if is_grid:
                log_w, mean, scale = self.components(own, of_d)
                ends = (((end - bases[d]) / unit)[:, None] for end in columns.fences[d])
                parts = parts_of(*((end - mean) / scale for end in ends))
                rest, number = log_w.exp() * parts[1], log_w.shape[-1]
                rest = rest / rest.sum(-1, keepdim=True).clamp(min=TINY)
                choice = log_choice.exp()
                weights = torch.cat([choice[:, :1] * rest, choice[:, 1:]], dim=-1)
            else:
                weights, number = log_choice[:, 1:].exp(), 0
            sums = weights.cumsum(-1)
            chosen = (sums[:, :-1] < (share[:, d] * sums[:, -1])[:, None]).sum(-1, keepdim=True)
            option = options.gather(-1, (chosen - number).clamp(min=0))[:, 0]
            if is_grid:
                at = chosen.clamp(max=number - 1)
                left, inside, right = (each.gather(-1, at)[:, 0] for each in parts)
                value = logistic_between(left + inside * below[:, d], right + inside * above[:, d])
                drawn = mean.gather(-1, at) + scale.gather(-1, at) * value[:, None]
                x = torch.where(chosen[:, 0] < number, bases[d] + unit * drawn[:, 0], option)
                snapped = columns.levels[d][columns.cell(x, d)]
                x = torch.where(chosen[:, 0] > number, x, snapped)  # listed values are exact
            else:
                x = option
            near = (x[:, None] - options).abs() <= columns.tolerance[d]
            matched = near & self.there[d, 1:]
            if columns.is_word[d]:
                size = torch.zeros_like(x)
            else:
                is_listed = x[:, None] == columns.listed[d]
                size = x + torch.where(is_listed, columns.moved[d], 0.0).sum(-1)
            e = (size - bases[d]) / unit
            seen = e
            if not is_grid:
                seen = torch.zeros_like(x) if before is None else (x != last).float()
            read = torch.cat([seen[:, None], matched[:, columns.own[d]].float()], dim=-1)
            if d + 1 < columns.features:
                rows = [d, *(columns.features + columns.places[d])]
                hidden = hidden + read @ self.A[rows]
                choices = choices + (read.clamp(-CUT, CUT) @ self.slopes[rows]).unflatten(
                    -1, (columns.features, -1)
                )
                for later in range(d + 1, columns.features):
                    bases[later] = bases[later] + self.factor[later, d] * e
            for values, each in ((xs, x), (sizes, size), (es, seen), (shown, read[:, 1:])):
                values.append(each)
        x, size, e = (torch.stack(values, dim=-1) for values in (xs, sizes, es))
        return x, size, e, torch.cat(shown, dim=-1)


class Policy(torch_seqgan.Policy):
    """An LSTM that gives the numbers of `Chain`s.

    What is carried on from a step: what is read of it (sizes, innovations, runs of options, moving
    means), x, x before, and how many steps there were.
    """

    def __init__(self, hidden: int, params: Any, constants: Any, layout: Layout, unrolled: bool):
        nn.Module.__init__(self)
        self.hidden, self.features, self.unrolled = hidden, layout.features, unrolled
        self.columns = Columns(layout, constants["support"])
        self.read, self.rates = layout.num_read, layout.rates
        self.lstm = nn.LSTM(self.read, hidden)
        nn.init.zeros_(self.lstm.bias_hh_l0).requires_grad_(False)
        self.start = nn.Parameter(torch.zeros(4 * hidden))
        self.head = nn.Linear(hidden, params["head"].shape[1])
        self.first = nn.Parameter(torch.zeros(params["first"].shape[0]))
        baseline = constants["baseline"]
        for name in ("matrix", "offset", "second", "first_offset"):
            self.register_buffer(name, torch.tensor(np.asarray(baseline[name])))
        self.begin = Chain(self.columns, params["first_weights"], baseline, True)
        self.chain = Chain(self.columns, params["weights"], baseline, False)
        slopes = self.columns.later_past
        self.register_buffer("past", slopes.permute(1, 0, 2).reshape(slopes.shape[1], -1))
        rate = torch.tensor(self.rates).repeat_interleave(self.features)
        self.register_buffer("rate", rate)
        common = self.columns.common[: self.columns.grids].contiguous()
        self.register_buffer("commonness", common)
        places = np.full(self.features * self.columns.options, len(layout.shown))
        places[np.array(layout.shown)] = np.arange(len(layout.shown))
        self.register_buffer("run_places", torch.tensor(places))

    @property
    def num_noise(self) -> int:
        """Normal numbers that a step takes."""
        return 2 * self.features

    def values(self, u: Tensor) -> Tensor:
        """x, of what is carried on from a step."""
        return u[:, self.read : self.read + self.features]

    def numbers(self, chain: Chain, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Numbers of each column, and those of the units."""
        own = self.features * chain.own
        units = raw[..., None, own:].expand(*raw.shape[:-1], self.features, HIDDEN)
        return raw[..., :own].unflatten(-1, (self.features, chain.own)), units

    def first_step(self, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers of the first step."""
        raw, units = self.numbers(self.begin, self.first.expand(batch, -1))
        return raw, self.begin.middle.expand(batch, -1, -1), units

    def later_step(self, h: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers of the step after what was carried on in `u`."""
        raw, units = self.numbers(self.chain, self.head(h))
        features, read = self.features, self.read
        size, e = u[..., :features], u[..., features : 2 * features]
        runs = u[..., 2 * features : read - len(self.rates) * features]
        means = u[..., read - len(self.rates) * features : read].unflatten(-1, (-1, features))
        x, before = u[..., read : read + features], u[..., read + features : read + 2 * features]
        moved = squashed((size - self.columns.size(before)) / self.chain.unit)
        drift = squashed((size[..., None, :] - means) / self.chain.unit).transpose(-2, -1)
        cell = self.columns.cell(x[..., : self.columns.grids])
        common = F.pad(self.columns.at(self.commonness, cell), (0, features - cell.shape[-1]))
        own = F.pad(runs, (0, 1))[..., self.run_places].unflatten(-1, (features, -1))
        past = torch.cat([torch.stack([size, e, moved, common], dim=-1), drift, own], dim=-1)
        units = units + torch.einsum("...df,dfm->...dm", past, self.chain.B)
        choices = torch.cat([u[..., :read].clamp(-CUT, CUT), (runs > 0).float()], dim=-1)
        known = self.chain.middle + (choices @ self.past).unflatten(-1, (features, -1))
        return raw, known, units

    def predicted(self, size: Tensor, earlier: Tensor, means: Tensor) -> Tensor:
        """What the linear baseline predicts."""
        more = torch.cat([earlier, means], dim=-1)
        return size @ self.matrix.T + self.offset + more @ self.second.T

    def innovations(self, x_TBD: Tensor) -> tuple[Tensor, ...]:
        """Innovations, options as they are and as they are shown, and what is carried on."""
        columns, batch = self.columns, x_TBD.shape[1]
        size = columns.size(x_TBD)
        mean, means = size[0].repeat(1, len(self.rates)), []
        for t, now in enumerate(size.repeat(1, 1, len(self.rates)).unbind(0)):
            mean = mean + self.rate.clamp(min=1 / (t + 1)) * (now - mean)
            means.append(mean)
        means = torch.stack(means)
        before = torch.cat([x_TBD[:1], x_TBD[:-1]])
        earlier = torch.cat([size[:1], size[:-1]])
        offset = self.predicted(size[:-1], earlier[:-1], means[:-1])
        first = (size[:1] - self.first_offset) @ self.begin.inverse.T
        e = torch.cat([first, (size[1:] - offset) @ self.chain.inverse.T])
        e = columns.told(e, x_TBD, before)
        nothing = torch.zeros_like(x_TBD[:1])
        matched = torch.cat(
            [
                columns.matched(x_TBD[:1], nothing, self.begin.there),
                columns.matched(x_TBD[1:], x_TBD[:-1], self.chain.there),
            ]
        )
        shown = columns.as_shown(matched)
        run, runs = torch.zeros_like(shown[0]), []
        for now in shown.unbind(0):
            run = one_more(run, now)
            runs.append(run)
        steps = torch.arange(1.0, len(x_TBD) + 1)[:, None, None].expand(-1, batch, 1)
        u = torch.cat([size, e, torch.stack(runs), means, x_TBD, before, steps], dim=-1)
        return e, matched, shown, u

    def teacher_forced(self, x_TBD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States h and c at every step and what is carried on."""
        return self._forced(self.innovations(x_TBD)[-1])

    def _forced(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, c = self.first_state(u.shape[1])
        weight, bias = self.lstm.weight_ih_l0, self.lstm.bias_ih_l0
        hs, cs = [h], [c]
        for gates in F.linear(u[:-1, :, : self.read], weight, bias).unbind(0):
            h, c = self.cell(torch.addmm(gates, h, self.lstm.weight_hh_l0.T), c)
            hs.append(h)
            cs.append(c)
        return torch.stack(hs), torch.stack(cs), u

    def log_prob_and_entropy(self, x_TBD: Tensor) -> tuple[Tensor, Tensor]:
        """log pi(x_t | x_<t), and an estimate of the entropies, [T, B] each."""
        with torch.no_grad():  # of the data alone
            e, matched, shown, u = self.innovations(x_TBD)
        if self.unrolled:
            h_TBH = self._forced(u)[0]
        else:
            h, c = self.first_state(x_TBD.shape[1])
            later, _ = self.lstm(u[:-1, :, : self.read], (h[None], c[None]))
            h_TBH = torch.cat([h[None], later])
        seen = x_TBD, e, matched, shown
        first = self.begin.log_prob(self.first_step(x_TBD.shape[1]), [each[0] for each in seen])
        step = self.later_step(h_TBH[1:], u[:-1])
        later = self.chain.log_prob(step, [each[1:] for each in seen])
        log_prob = torch.cat([first[None], later]).sum(-1)
        return log_prob, -log_prob.detach()

    def step(self, h: Tensor, c: Tensor, u: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """Read `u`, then draw: h, c, and what is carried on."""
        weight, bias = self.lstm.weight_ih_l0, self.lstm.bias_ih_l0
        gates = torch.addmm(bias, u[:, : self.read], weight.T)
        h, c = self.cell(torch.addmm(gates, h, self.lstm.weight_hh_l0.T), c)
        features, read = self.features, self.read
        size, runs = u[:, :features], u[:, 2 * features : read - len(self.rates) * features]
        means = u[:, read - len(self.rates) * features : read]
        x, before, steps = u[:, read:].split([features, features, 1], dim=-1)
        offset = self.predicted(size, self.columns.size(before), means)
        new, size, e, shown = self.chain.sample(self.later_step(h, u), offset, x, noise)
        steps = steps + 1
        rate = torch.maximum(self.rate, 1 / steps)
        means = means + rate * (size.repeat(1, len(self.rates)) - means)
        return h, c, torch.cat([size, e, one_more(runs, shown), means, new, x, steps], dim=-1)

    def sample(self, noise_TBD: Tensor, step: Step | None = None) -> Tensor:
        """Free-running sequences, `x_TBD`."""
        step, batch = step or self.step, noise_TBD.shape[1]
        h, c = self.first_state(batch)
        offset = self.first_offset.expand(batch, -1)
        drawn = self.begin.sample(self.first_step(batch), offset, None, noise_TBD[0])
        x, size, e, shown = drawn
        runs = one_more(torch.zeros_like(shown), shown)
        means = size.repeat(1, len(self.rates))
        u = torch.cat([size, e, runs, means, x, x, torch.ones_like(x[:, :1])], dim=-1)
        found = [x]
        for noise in noise_TBD[1:]:
            h, c, u = step(h, c, u, noise)
            found.append(self.values(u))
        return torch.stack(found)


class Discriminator(torch_seqgan.SmallDiscriminator):
    """The default one, which sees sizes and options."""

    def __init__(self, length: int, layout: Layout, keep: float, constants: Any) -> None:
        scale = torch.tensor(np.asarray(constants["increment_scale"]))
        super().__init__(length, layout.features, keep, scale, len(layout.shown))
        self.columns = Columns(layout, constants["encode"]["support"])

    def seen(self, x_BTD: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Sizes of values, and which options they are."""
        matched = self.columns.of_sequences(x_BTD.detach().transpose(0, 1)).transpose(0, 1)
        return self.columns.size(x_BTD), [self.columns.as_shown(matched)]


class Trainer(torch_training.Trainer):
    """The steps of the default run: REINFORCE with every second prefix, R1."""

    def _policy(self, problem: work.Problem, unrolled: bool) -> Policy:
        return policy(problem, unrolled)

    def _discriminator(self, problem: work.Problem) -> Discriminator:
        return discriminator(problem)

    def discriminating(self, passes: int = 10) -> None:
        """Draw fresh sequences and pass over them and as many real ones `passes` times."""
        number, length, half = self.sizes.negatives, self.sizes.length, self.sizes.batch // 2
        with torch.no_grad():
            noise = torch.randn(length, number, self.policy.num_noise)
            fake = self.policy.sample(noise, self.policy_step).transpose(0, 1)
            real = self.x_NTD[torch.randint(len(self.x_NTD), (number,))]
        is_real = torch.cat([torch.ones(half), torch.zeros(half)])
        output = self.discriminator.output
        for _ in range(passes):
            for index in torch.randperm(number)[: number // half * half].view(-1, half):
                x_BTD = torch.cat([real[index], fake[index]])
                self.discriminator.train()
                loss = F.binary_cross_entropy_with_logits(self.scores(x_BTD), is_real)
                loss = loss + self.l2 * 0.5 * (
                    output.weight.square().sum() + output.bias.square().sum()
                )
                if self.sizes.r1:
                    self.discriminator.eval()
                    x_BTD = x_BTD[:half].clone().requires_grad_()
                    # torch.compile has no gradient of a gradient.
                    total = self.discriminator(x_BTD).sum()
                    (slope,) = torch.autograd.grad(total, x_BTD, create_graph=True)
                    loss = loss + self.sizes.r1 * 0.5 * slope.square().sum((1, 2)).mean()
                self._apply(loss, self.dis_params, self.dis_adam)


def policy(problem: work.Problem, unrolled: bool) -> Policy:
    """Our policy's parameters in torch."""
    state = problem.state()
    bound = problem.nets.bind_policy(state.policy, state)
    layout = bound.chain.layout
    sizes = problem.sizes
    new = Policy(sizes.hidden, state.policy, state.policy_constants, layout, unrolled)
    torch_training.take_lstm(new, state.policy)
    return new


def discriminator(problem: work.Problem) -> Discriminator:
    """Our discriminator's parameters in torch."""
    state, sizes = problem.state(), problem.sizes
    layout = problem.nets.bind_policy(state.policy, state).chain.layout
    keep = problem.discriminator.dis_dropout_keep_prob
    new = Discriminator(sizes.length, layout, keep, state.discriminator_constants)
    torch_training.take_small(new, state.discriminator)
    return new


def squashed(x: Tensor) -> Tensor:
    """sign(x) log(1 + |x|)."""
    return x.sign() * x.abs().log1p()


def one_more(runs: Tensor, shown: Tensor) -> Tensor:
    """How long each option has been met, or has not, one step later."""
    more = torch.log1p(torch.expm1(runs.clamp(min=0.0)) + 1.0)
    less = torch.log1p(torch.expm1((-runs).clamp(min=0.0)) + 1.0)
    return torch.where(shown > 0.5, more, -less)


def log_mass(lower: Tensor, upper: Tensor) -> Tensor:
    """log of a logistic distribution's mass between two ends."""
    a, b = lower / UNIT, upper / UNIT
    between = torch.log(-torch.expm1(-(b - a).clamp(min=1e-7)))
    return F.logsigmoid(b) + F.logsigmoid(-a) + between


def normal_cdf(x: Tensor) -> Tensor:
    """Phi."""
    return 0.5 * (1.0 + torch.erf(x * 0.5**0.5))


def parts_of(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A logistic distribution's mass below, between and above two ends."""
    a, b = lower / UNIT, upper / UNIT
    below, above = torch.sigmoid(a), torch.sigmoid(-b)
    inside = torch.where(a + b > 0, torch.sigmoid(-a) - above, torch.sigmoid(b) - below)
    return below, inside, above


def logistic_between(below: Tensor, above: Tensor) -> Tensor:
    """The logistic number of variance 1 with such masses on either side."""
    return UNIT * (below.clamp(min=1e-37).log() - above.clamp(min=1e-37).log())
