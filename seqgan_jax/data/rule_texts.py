"""What one rule is, and how it is written: "Low <= Open <= High", "meter increases"."""

import math
import re
import reprlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from seqgan_jax.errors import UsageError

SHOWN = 20  # names in a message
MOST_TERMS = 1000
LARGEST = 1e300
FORMS = (
    'Write "Low <= Open <= High", "meter increases", "total = a + b", "share = 100 * a / b" or '
    '"T_out, wind interpolated every 6 steps".'
)
PLAIN = re.compile(r"[^\W\d]\w*")
# What may stand without quotes where it is a column: no signs, but for a - inside a word.
BARE = re.compile(r"(?![-\s])(?:[^<>=+*/≤≥\"'`\s-]|\s(?!-)|-(?!\s))+(?<![-\s])")
RISES = re.compile(
    r"(.*?\S)\s+(?:increases(?:\s+by\s+(\S.*?))?|never\s+falls|(?:is\s+)?non-?decreasing)\s*", re.S
)
RESTARTS = re.compile(
    r"(.*?\S)\s+increases\s+(?:(?P<modulo>modulo\s+\S+)|or\s+restarts"
    r"(?:(?P<at>\s+at\s+\S+)|\s+when\s+(?P<when>\S.*?)\s+changes)?)\s*",
    re.S,
)
RESAMPLED = re.compile(
    r"(?:(?P<straight>.*?\S)\s+(?:is\s+|are\s+)?interpolated(?:\s+and\s+|\s*(?=every\b)))?"
    r"(?:(?P<repeated>.*?\S)\s+(?:is\s+|are\s+)?repeated\s+)?"
    r"every\s+(?P<steps>\S+)\s+steps?\s*",
    re.S,
)
SAME = {"≤": "<=", "≥": ">="}
NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])"


@dataclass(frozen=True)
class Order:
    """Each of the columns is at most the next, at every step."""

    columns: tuple[str, ...]

    def __str__(self) -> str:
        return " <= ".join(map(quoted, self.columns))


@dataclass(frozen=True)
class Increase:
    """A column that never falls within a sequence, or rises by one and the same step each time, or
    changes by what another one is at its step."""

    column: str
    step: float | None = None
    by: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the rule is about."""
        return (self.column,) if self.by is None else (self.column, self.by)

    def __str__(self) -> str:
        by = "" if self.step is None else f" by {_number(self.step)}"
        by = by if self.by is None else f" by {quoted(self.by)}"
        return f"{quoted(self.column)} increases{by}"


@dataclass(frozen=True)
class Restart:
    """A column that never falls but where it counts anew: from 0 and up to what a step adds; at one
    value; `modulo` a number; or from 0 `when` another column changes, always."""

    column: str
    at: float | None = None
    modulo: float | None = None
    when: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The column that the rule is about, and the one that says when."""
        return (self.column,) if self.when is None else (self.column, self.when)

    @property
    def lowest(self) -> float:
        """The column is never below it."""
        return self.at or 0.0

    def __str__(self) -> str:
        if self.modulo is not None:
            return f"{quoted(self.column)} increases modulo {_number(self.modulo)}"
        at = "" if self.at is None else f" at {_number(self.at)}"
        at = f" when {quoted(self.when)} changes" if self.when is not None else at
        return f"{quoted(self.column)} increases or restarts{at}"


@dataclass(frozen=True)
class Sum:
    """column = constant + sum of factor * column, rounded to the column's decimals."""

    column: str
    terms: tuple[tuple[float, str], ...]
    constant: float = 0.0

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the rule is about, the computed one first."""
        return (self.column, *(name for _, name in self.terms))

    def __str__(self) -> str:
        terms = [(self.constant, _number(abs(self.constant)))] * (self.constant != 0)
        for factor, name in self.terms:
            times = "" if abs(factor) == 1 else f"{_number(abs(factor))} * "
            terms.append((factor, times + quoted(name)))
        text = "".join((" - " if factor < 0 else " + ") + term for factor, term in terms)
        text = text[3:] if text.startswith(" + ") else "-" + text[3:]
        return f"{quoted(self.column)} = {text}"


@dataclass(frozen=True)
class Ratio:
    """column = factor * part / whole, rounded to the column's decimals; 0 where whole is 0."""

    column: str
    factor: float
    part: str
    whole: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the rule is about, the computed one first."""
        return (self.column, self.part, self.whole)

    def __str__(self) -> str:
        sign, size = "-" * (self.factor < 0), abs(self.factor)
        times = f"{_number(size)} * " if size != 1 else ""
        parts = f"{quoted(self.part)} / {quoted(self.whole)}"
        return f"{quoted(self.column)} = {sign}{times}{parts}"


@dataclass(frozen=True)
class Resampled:
    """Columns of a source that is read every so many steps: straight lines between readings, or
    each reading until the next. All of them are read at the same steps."""

    straight: tuple[str, ...]
    repeated: tuple[str, ...]
    steps: int

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the rule is about."""
        return (*self.straight, *self.repeated)

    def only(self, names: Collection[str]) -> "Resampled":
        """Of these columns alone."""
        straight, repeated = (
            tuple(name for name in each if name in names) for each in (self.straight, self.repeated)
        )
        return Resampled(straight, repeated, self.steps)

    def __str__(self) -> str:
        parts = [
            f"{', '.join(map(quoted, columns))} {how}"
            for columns, how in ((self.straight, "interpolated"), (self.repeated, "repeated"))
            if columns
        ]
        return f"{' and '.join(parts)} every {self.steps} steps"


Rule = Order | Increase | Restart | Sum | Ratio | Resampled


def parse(text: str, names: Sequence[str]) -> Rule:
    """The rule that a text says of the columns `names`.

    A name may stand in double quotes, single quotes or backticks (doubled inside), and must where
    it has signs in it or is a number in a sum.

    Raises:
      UsageError: it is written otherwise, names an unknown column, or a column twice.

    >>> parse("High >= Open >= Low", ["Open", "High", "Low"])
    Order(columns=('Low', 'Open', 'High'))
    >>> str(parse("'net load'=gross -2*`own use`", ["net load", "gross", "own use"]))
    '"net load" = gross - 2 * "own use"'
    >>> print(parse("kWh never falls", ["kWh"]), parse("t increases by 0.5", ["t"]), sep="; ")
    kWh increases; t increases by 0.5
    >>> print(parse("kWh increases or restarts at 0", ["kWh"]))
    kWh increases or restarts at 0
    >>> print(parse("a, 'b c' interpolated and rain repeated every 6 steps", ["a", "b c", "rain"]))
    a, "b c" interpolated and rain repeated every 6 steps
    """
    read = RESAMPLED.fullmatch(text)
    if read and (read["straight"] or read["repeated"]):
        return _resampled(read, names, text)
    restarts = RESTARTS.fullmatch(text)
    if restarts and (column := _column(restarts[1], names, text)) is not None:
        if restarts["when"] is None:
            return _restart(column, restarts["at"], restarts["modulo"], text)
        when = _column(restarts["when"], names, text)
        if when is None or when == column:
            raise UsageError(f"{_shown(text)}: when what changes? Name another column.")
        return Restart(column, when=when)
    rises = RISES.fullmatch(text)
    if rises and (column := _column(rises[1], names, text)) is not None:
        return _increase(column, rises[2], names, text)
    tokens = _tokens(text, names)
    signs = [token for kind, token in tokens if kind == "sign" and token in "<=>="]
    if not signs or len(set(signs)) > 1 or signs[0] in "<>" or signs.count("=") > 1:
        strict = " A bound is written <= or >=." if {"<", ">"} & set(signs) else ""
        raise UsageError(f"{_shown(text)} says no rule.{strict} {FORMS}")
    if signs[0] != "=":
        chain = _split(tokens, signs[0])
        columns = tuple(_only(part, names, text) for part in chain)
        if len(set(columns)) < len(columns):
            raise UsageError(f"{_shown(text)} names a column twice. Each may stand there once.")
        return Order(columns if signs[0] == "<=" else columns[::-1])
    left, right = _split(tokens, "=")
    return _formula(_only(left, names, text), right, names, text)


def quoted(name: str) -> str:
    """A name as `parse` reads it.

    >>> quoted("Open"), quoted('5" pipe')
    ('Open', '"5"" pipe"')
    """
    return name if PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


Token = tuple[str, str]  # kind (name, number, word or sign) and what it says


def _tokens(text: str, names: Sequence[str]) -> list[Token]:
    bare = sorted(filter(BARE.fullmatch, names), key=len, reverse=True)
    known = "|".join(map(re.escape, bare))
    pattern = re.compile(
        r"(?P<blank>\s+)"
        r"|(?P<quoted>\"(?:[^\"]|\"\")*\"|'(?:[^']|'')*'|`(?:[^`]|``)*`)"
        rf"|(?P<number>{NUMBER})"
        + (rf"|(?P<name>(?<!\w)(?:{known})(?!\w))" if known else "")
        + r"|(?P<sign><=|>=|[<>=+*/≤≥-])"
        r"|(?P<word>[^\s<>=+*/≤≥]+)",
        re.S,
    )
    found = []
    for match in pattern.finditer(text):
        kind, token = str(match.lastgroup), match[0]
        if kind == "quoted":
            found.append(("name", token[1:-1].replace(token[0] * 2, token[0])))
        elif kind != "blank":
            found.append((kind, SAME.get(token, token)))
    return found


def _split(tokens: list[Token], sign: str) -> list[list[Token]]:
    """Tokens between the signs."""
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token == ("sign", sign):
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _only(tokens: list[Token], names: Sequence[str], text: str) -> str:
    """The one name that tokens are."""
    if len(tokens) != 1 or tokens[0][0] == "sign":
        words = " ".join(token for _, token in tokens)
        said = f"{words!r} is no column" if words else "a column is missing"
        raise UsageError(
            f"{_shown(text)}: {said} (there are {_listed(names)}). Put a name with blanks in "
            f"quotes. {FORMS}"
        )
    kind, name = tokens[0]
    if name in names:
        return name
    if kind == "number":
        raise UsageError(
            f"{_shown(text)}: {name} is a number, no column. Say --bounds for a fixed bound, and "
            "put the name of a column in quotes."
        )
    raise UsageError(
        f"{_shown(text)}: there is no column {reprlib.repr(name)} (the columns are "
        f"{_listed(names)}). Correct the name."
    )


def _column(part: str, names: Sequence[str], text: str) -> str | None:
    """The column that "... increases" is said of; None where the rest is a rule of its own."""
    if part in names:
        return part
    tokens = _tokens(part, names)
    if any(kind == "sign" and token in "<=>=" for kind, token in tokens):
        return None
    return _only(tokens, names, text)


def _resampled(read: re.Match[str], names: Sequence[str], text: str) -> Resampled:
    straight, repeated = (
        tuple(_only(part, names, text) for part in _listed_in(read[group], names))
        for group in ("straight", "repeated")
    )
    if len({*straight, *repeated}) < len(straight) + len(repeated):
        raise UsageError(f"{_shown(text)} names a column twice. Each may stand there once.")
    word = read["steps"]
    if not re.fullmatch(r"\d{1,9}", word) or int(word) < 2:
        raise UsageError(
            f"{_shown(text)}: {word!r} is no number of steps from 2 on. Write "
            '"wind interpolated every 6 steps".'
        )
    return Resampled(straight, repeated, int(word))


def _listed_in(part: str | None, names: Sequence[str]) -> list[list[Token]]:
    """Tokens between commas."""
    if part is None:
        return []
    parts: list[list[Token]] = [[]]
    for kind, token in _tokens(part, names):
        word = token.rstrip(",") if kind == "word" else token
        if word:
            parts[-1].append((kind, word))
        if word != token:
            parts.append([])
    return parts


def _increase(column: str, by: str | None, names: Sequence[str], text: str) -> Increase:
    """By nothing that is said, a number or a column."""
    if by is None:
        return Increase(column)
    tokens = _tokens(by, names)
    if len(tokens) != 1 or tokens[0][0] == "number" or tokens[0][1] not in names:
        return Increase(column, _step(by, text))
    if tokens[0][1] == column:
        raise UsageError(f"{_shown(text)}: a column cannot increase by itself. Name another one.")
    return Increase(column, by=tokens[0][1])


def _restart(column: str, at: str | None, modulo: str | None, text: str) -> Restart:
    """Anywhere, at a value, or modulo a number above 0."""
    said = at or modulo
    if said is None:
        return Restart(column)
    word = said.split()[-1]
    value = float(word) if re.fullmatch("-?" + NUMBER, word) else math.inf
    if abs(value) > LARGEST or (modulo and value <= 0):
        raise UsageError(
            f"{_shown(text)}: {word!r} is no number{' above 0' * bool(modulo)}. Write "
            '"meter increases or restarts at 0", or "meter increases modulo 10000".'
        )
    return Restart(column, modulo=value) if modulo else Restart(column, at=value)


def _step(word: str, text: str) -> float:
    step = float(word) if re.fullmatch(NUMBER, word) else 0.0
    if not 0 < step <= LARGEST:
        raise UsageError(
            f"{_shown(text)}: {word!r} is no step above 0, and no column. Write "
            f'{FORMS.split(", ")[1]}, or "time increases by 0.5" where each step is the same, or '
            '"total increases by new" where it is that of another column.'
        )
    return step


def _formula(column: str, tokens: list[Token], names: Sequence[str], text: str) -> Sum | Ratio:
    """A sum, or one ratio: terms are products of numbers, at most one column, and in a ratio one
    below the line."""
    terms: dict[str, float] = {}
    constant, ratio, count = 0.0, None, 0
    while tokens:
        count += 1
        factor, above, below, tokens = _term(tokens, count == 1, names, text)
        if not math.isfinite(factor) or not 0 < abs(factor) <= LARGEST:
            raise UsageError(f"{_shown(text)}: a factor is 0, or too large. Leave that term out.")
        if above is not None and below is not None:
            ratio = Ratio(column, factor, above, below)
        elif above is not None:
            terms[above] = terms.get(above, 0.0) + factor
        else:
            constant += factor
    if ratio and count > 1:
        raise UsageError(f"{_shown(text)} adds to a ratio, which no rule can. {FORMS}")
    if not ratio and (not terms or 0.0 in terms.values() or count > MOST_TERMS):
        raise UsageError(f"{_shown(text)} is no sum of columns. {FORMS}")
    rule = ratio or Sum(column, tuple((factor, name) for name, factor in terms.items()), constant)
    if column in rule.columns[1:] or (ratio and ratio.part == ratio.whole):
        raise UsageError(
            f"{_shown(text)} computes a column from itself. Write the column that the others give "
            "on the left, and each other one once on the right."
        )
    return rule


def _term(
    tokens: list[Token], first: bool, names: Sequence[str], text: str
) -> tuple[float, str | None, str | None, list[Token]]:
    """Factor, column above and below the line (None for none) of the first term; what is left."""
    factor, sign = 1.0, ""
    above: str | None = None
    below: str | None = None
    if tokens[0] in (("sign", "+"), ("sign", "-")):
        factor, tokens = (-1.0 if tokens[0][1] == "-" else 1.0), tokens[1:]
    elif not first:
        raise UsageError(f"{_shown(text)}: + or - is missing before {tokens[0][1]!r}. {FORMS}")
    while True:
        if not tokens or tokens[0][0] == "sign":
            raise UsageError(f"{_shown(text)} ends early, or has two signs in a row. {FORMS}")
        if tokens[0][0] == "number":
            number = float(tokens[0][1])
            factor = factor * number if sign != "/" else factor / (number or math.inf)
        else:
            name = _only(tokens[:1], names, text)
            taken = below if sign == "/" else above
            if taken is not None or (sign == "/" and above is None):
                raise UsageError(f"{_shown(text)} is more than a sum or one ratio. {FORMS}")
            above, below = (above, name) if sign == "/" else (name, below)
        tokens = tokens[1:]
        if not tokens or tokens[0] not in (("sign", "*"), ("sign", "/")):
            return factor, above, below, tokens
        sign, tokens = tokens[0][1], tokens[1:]


def _number(value: float) -> str:
    """A number as short as it can be written."""
    return f"{int(value)}" if value == int(value) and abs(value) < 1e15 else repr(value)


def _shown(text: str) -> str:
    return f"The rule {reprlib.repr(text)}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + ", ..." * (len(names) > SHOWN)
