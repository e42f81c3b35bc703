"""Configures a search, in the fields that Python's `Study` and the command line share."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from blocksearch.arch.cost import Budget
from blocksearch.arch.network import Network
from blocksearch.arch.quantities import COSTS, METRICS
from blocksearch.errors import ConfigError, as_python, check_fields, unknown
from blocksearch.runs.fields import MOST, SEED
from blocksearch.runs.measures import ACCURACY, FORMS, MetricKind, is_metric, read_metric
from blocksearch.runs.plan import MOST_SEEDS, PLUGINS, Plugins, loaded
from blocksearch.search.identity import is_optuna, sampler_text
from blocksearch.search.measured import read_limit
from blocksearch.search.objectives import Objective
from blocksearch.search.results import RESERVED
from blocksearch.search.samplers import OPTUNA, SAMPLERS, is_sampler, sampler_from

PROMOTING = tuple(name for name in SAMPLERS if name not in OPTUNA)  # that rungs go with
# reference networks that a study begins with, unless others are wished
NAMED = ("baseline", "mobilenet", "mobilenet_v2", "shufflenet", "effnet", "mob_imp")
MAX_PENDING = 3  # trainings in flight at most, where nothing else is known: two workers are busy
_METRICS = f"{MetricKind.BALANCED}, {MetricKind.MACRO_F1}, {MetricKind.RECALL}:CLASS"
_RANGES = {"seed": (0, SEED), "seeds": (1, MOST_SEEDS), "max_pending": (1, MOST)}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """Configures a search, but for its space, its trainings, and how long it runs.

    `objectives` and `rungs` may be texts such as "accuracy,flops" and "2,5". The first objective
    is accuracy, or the metric in its place, because the noise between seeds and early stopping go
    by it; what has none gives the same accuracy for all networks.
    Raises ConfigError for what cannot be.

    >>> StudyConfig(budgets=["flops <= 12e6"]).budgets
    ('flops <= 12000000',)
    """

    name: str = field(default="study", metadata={"help": "Name of the study in its file."})
    objectives: Sequence[str | Objective] = field(
        default=("accuracy", "flops"),
        metadata={"help": f"accuracy, then costs ({', '.join(COSTS)}) and metrics ({_METRICS})."},
    )
    metric: str = field(
        default=str(ACCURACY),
        metadata={"help": f"What stands for accuracy: {FORMS}, of the validation images."},
    )
    budgets: Sequence[str] = field(
        default=(),
        metadata={
            "help": "Train only within it, such as 'flops <= 12e6', or look for networks that keep "
            "it, such as 'accuracy >= 90'; several."
        },
    )
    sampler: Any = field(
        default="evolution",
        metadata={"help": f"{', '.join(SAMPLERS)}; or one of yours, FILE:NAME such as mine.py:My."},
    )
    seed: int = field(default=0, metadata={"help": "Seed of the search."})
    seeds: int = field(
        default=5,
        metadata={
            "help": "Seeds that every network of the reported front gets. The first six networks "
            "get two at once, for the noise between seeds."
        },
    )
    references: str | Sequence[str] = field(
        default="all",
        metadata={"help": "Reference networks to begin with: all, none, or effnet,mobilenet."},
    )
    enqueue: Sequence[str] = field(
        default=(), metadata={"help": "Also begin with this network or block; several."}
    )
    plugins: Plugins = field(default=(), metadata=PLUGINS)
    rungs: Sequence[int] = field(
        default=(),
        metadata={"help": "Early stopping: at epochs such as 2,5 only the best third trains on."},
    )
    max_pending: int | None = field(
        default=None,
        metadata={
            "help": "Proposals that wait for their result, at most: with fewer, each is made from "
            "more results. Default: one more than the workers."
        },
    )

    def __post_init__(self) -> None:
        for name, read in (("objectives", _names), ("rungs", read_rungs)):
            if isinstance(text := getattr(self, name), str):
                object.__setattr__(self, name, read(text))
        for name in ("objectives", "budgets", "enqueue", "rungs"):
            object.__setattr__(self, name, as_python(_several(getattr(self, name))))
        check_fields(self)
        object.__setattr__(self, "plugins", tuple(loaded(self.plugins).options.values()))
        object.__setattr__(self, "references", _references(self.references))
        object.__setattr__(self, "metric", str(read_metric(self.metric)))
        check_name(self.name)
        self._take_objectives()
        budgets = tuple(sorted({each.name for each in map(self._limit, self.budgets)}))
        object.__setattr__(self, "budgets", budgets)
        self._check_sampler()
        if list(self.rungs) != sorted(set(self.rungs)) or min(self.rungs, default=1) < 1:
            text = ",".join(map(str, self.rungs))
            raise ConfigError(f"rungs must be epochs in rising order such as 2,5, but got {text}")
        if self.rungs and self.metric != str(ACCURACY):
            raise ConfigError(
                "rungs go by accuracy, which is known after every epoch, but the metric is "
                f"{self.metric}"
            )
        if self.rungs and (self.sampler in OPTUNA or is_optuna(self.sampler)):
            raise ConfigError(
                f"rungs go with {' and '.join(PROMOTING)}, but the sampler is {self.sampler_text}"
            )
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                bound = f"at least {least}" if value < least else f"at most {most}"
                raise ConfigError(f"{words(name)} must be {bound}, but got {value}")

    def _check_sampler(self) -> None:
        if isinstance(self.sampler, str) and re.search(r":|\.py$", self.sampler):
            object.__setattr__(self, "sampler", sampler_from(self.sampler))
        if isinstance(self.sampler, str):
            if self.sampler not in SAMPLERS:
                yours = "; or one of yours, FILE:NAME"
                raise unknown("sampler", self.sampler, SAMPLERS, yours)
        elif not is_sampler(self.sampler):
            raise ConfigError(
                "a sampler is a name, an instance of one of Optuna's, or an object with a name and "
                f"propose(), but got {self.sampler!r:.80}"
            )
        elif self.sampler_name in (*SAMPLERS, *NAMED):
            raise ConfigError(f"a sampler of your own cannot be named {self.sampler_name}")
        if not (self.sampler_name.isprintable() and len(self.sampler_name) <= 64):
            raise ConfigError(
                "a sampler's name has up to 64 characters that can be printed, but got "
                f"{self.sampler_name!r:.80}"
            )

    def _take_objectives(self) -> None:
        """Put exact objectives before measured ones."""
        read = [_objective(each, self.metric) for each in self.objectives]
        ordered = sorted(read, key=lambda each: isinstance(each, Objective) and each.measured)
        object.__setattr__(self, "objectives", tuple(ordered))
        names = self.objective_names
        if len(set(names)) < len(names):
            raise ConfigError(f"objectives must be distinct, but got {','.join(names)}")
        if names[:1] != ("accuracy",) or len(names) < 2:
            text = ",".join(map(str, names)) or "none"
            raise ConfigError(
                "objectives must be accuracy, or the metric in its place, and then others such as "
                "flops, as the noise between seeds and early stopping go by it (a function of "
                f"yours may return the same accuracy for all networks), but got {text}"
            )
        for each in self.objectives[1:]:
            if isinstance(each, str) and each not in COSTS:
                known = dict.fromkeys(("accuracy", *COSTS, *MetricKind))
                raise unknown("objective", each, known, "; or an Objective of your own")
            name = each.name if isinstance(each, Objective) and each.metric is None else ""
            if name in ("accuracy", *COSTS, *MetricKind, *RESERVED):
                raise ConfigError(f"an objective of your own cannot be named {name}")

    @property
    def objective_names(self) -> tuple[str, ...]:
        """The names of all objectives."""
        return tuple(each if isinstance(each, str) else each.name for each in self.objectives)

    @property
    def axis_names(self) -> tuple[str, ...]:
        """The names of all objectives as they are shown: the metric's for accuracy."""
        return (read_metric(self.metric).title, *self.objective_names[1:])

    @property
    def costs(self) -> tuple[str | Objective, ...]:
        """The objectives that are known before anything is trained."""
        return tuple(each for each in self.objectives[1:] if each not in self.measured)

    @property
    def measured(self) -> tuple[Objective, ...]:
        """The objectives beside accuracy that are measured."""
        own = [each for each in self.objectives if isinstance(each, Objective)]
        return tuple(each for each in own if each.measured)

    @property
    def limits(self) -> tuple[Budget, ...]:
        """The budgets on what is measured."""
        return self._budgets(exact=False)

    @property
    def exact_budgets(self) -> tuple[Budget, ...]:
        """The budgets on costs that are known before anything is trained."""
        return self._budgets(exact=True)

    def _budgets(self, *, exact: bool) -> tuple[Budget, ...]:
        read = map(self._limit, self.budgets)
        return tuple(each for each in read if (each.quantity in METRICS) == exact)

    def _limit(self, text: str) -> Budget:
        found = read_limit(text, [each.name for each in self.measured], self.metric)
        if self.metric != str(ACCURACY) and found.name.startswith(f"{ACCURACY} "):
            raise ConfigError(
                f"the budget {text!r} is on accuracy, but the study measures {self.metric}"
            )
        return found

    @property
    def sampler_text(self) -> str:
        """What the sampler is, with its arguments; the same text is the same sampler."""
        return sampler_text(self.sampler)

    @property
    def sampler_name(self) -> str:
        """The name of the sampler in the trials that it proposes."""
        if isinstance(self.sampler, str):
            return self.sampler
        return type(self.sampler).__name__ if is_optuna(self.sampler) else str(self.sampler.name)

    def check_rungs(self, epochs: int) -> None:
        """Raise ConfigError unless every rung comes before the end of a whole training."""
        if self.rungs and self.rungs[-1] >= epochs:
            raise ConfigError(
                f"rungs must be below the {epochs} epochs of a whole training, but got "
                f"{self.rungs[-1]}"
            )

    def as_data(self) -> dict[str, Any]:
        """Return what is stored, by the names under which it always was."""
        own = {each.name: each.as_data() for each in self.costs if isinstance(each, Objective)}
        found = {
            "objectives": list(self.objective_names),
            "sampler": self.sampler_text,
            "seed": self.seed,
            "seeds": self.seeds,
            "lag": self.max_pending,
            "start_with": list(self.enqueue),
            "rungs": list(self.rungs),
        }
        # defaults are not written, because studies begun before the choice existed lack them
        if self.references != NAMED:
            found["references"] = list(self.references)
        if self.metric != str(ACCURACY):
            found["metric"] = self.metric
        measured = {each.name: each.as_data() for each in self.measured}
        found |= {"measured": measured} if measured else {}
        return found | ({"functions": own} if own else {})


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _objective(given: str | Objective, metric: str) -> str | Objective:
    """Read a metric as the objective that it is; the study's own is its first one, accuracy."""
    if isinstance(given, Objective) or given == "accuracy" or not is_metric(given):
        return given
    found = read_metric(given)
    return "accuracy" if str(found) == metric else Objective.of_metric(found)


def _several(given: Any) -> tuple[Any, ...]:
    one = isinstance(given, str | Mapping | Network) or not isinstance(given, Iterable)
    several = (given,) if one else tuple(given)
    return tuple(str(each) if isinstance(each, Network) else each for each in several)


def _references(given: str | Sequence[str]) -> tuple[str, ...]:
    """Read which reference networks are wished. Raises ConfigError for a name of none."""
    if isinstance(given, str) and given.strip() == "all":
        return NAMED
    names = [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given)
    names = [] if names == ["none"] else names
    for name in names:
        if name not in NAMED:
            raise unknown("reference network", name, ("all", "none", *NAMED))
    return tuple(name for name in NAMED if name in names)


def read_rungs(text: str) -> tuple[int, ...]:
    """Read epochs such as `2,5`; without any, no network stops early. Raises ConfigError."""
    if not text.strip():
        return ()
    if not re.fullmatch(r" *[0-9]{1,6}( *, *[0-9]{1,6})* *", text):
        raise ConfigError(f"rungs must be epochs such as 2,5, but got {text!r}")
    return tuple(int(part) for part in text.split(","))


def check_name(name: str) -> str:
    """Return a study's name. Raises ConfigError if it could not be one of a file's."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            "a study's name has up to 64 letters, digits, dots, dashes and underscores, but got "
            f"{name!r}"
        )
    return name


def made_name(*parts: str) -> str:
    """Make a name for a study of a user who gave none, which is always allowed.

    >>> made_name("tiny", "digits"), made_name("my space", "digits")
    ('tiny-digits', 'my-space-digits-7b3b1cf4')
    """
    text = "-".join(parts)
    if _NAME.fullmatch(text):
        return text
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:50]
    other = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{kept}-{other}" if kept else f"study-{other}"


def words(name: str) -> str:
    """Return how a user of Python knows a field, by its own or its stored name."""
    known = {
        "lag": "max_pending",
        "start_with": "enqueue",
        "functions": "objective",
        "protocol": "split",
        "measured": "measured objective",
    }
    return known.get(name, name)
