"""Stores the questions that were asked of runs, with their networks and seeds, without numbers.

Asking again with more seeds, or in another family, is another look at the same runs. Whoever knows
how often these were looked at can count the looks.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Self

import sqlalchemy as sa

from blocksearch.errors import StoreError
from blocksearch.runs.fields import SEED, Fields, damaged
from blocksearch.runs.ledger import Ledger
from blocksearch.runs.recall import there
from blocksearch.runs.records import RunKey

SEVERAL = "+"  # between the ids of several splits in one question
Pairs = tuple[tuple[str, str], ...]  # digests of reference and variant

QUESTIONS = sa.Table(
    "ledger_questions",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False, unique=True),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("created", sa.String(32), nullable=False),
)


@dataclass(frozen=True, kw_only=True)
class Question:
    """Which pairs of networks were compared, on which images, by which recipe, over which seeds.

    `stages` are the numbers of seeds of interim analyses, () for one look. Another `metric` is
    another question. `split` has an id, or several, joined, over which seeds are crossed.
    """

    dataset: str
    data: str
    split: str
    recipe: str
    pairs: Pairs
    seeds: tuple[int, ...]
    stages: tuple[int, ...] = ()
    metric: str = "accuracy"

    @classmethod
    def about(cls, keys: Sequence[RunKey], pairs: Iterable[tuple[str, str]], **asked: Any) -> Self:
        """Ask about pairs on the images and by the recipe of runs, one key for each split."""
        return cls(
            dataset=keys[0].dataset,
            data=keys[0].data,
            split=SEVERAL.join(key.protocol for key in keys),
            recipe=keys[0].recipe,
            pairs=tuple(sorted(set(pairs))),
            **asked,
        )

    @property
    def content(self) -> str:
        """The question as it is stored."""
        own = asdict(self)
        if self.metric == "accuracy":  # as those of before it could be chosen are stored
            del own["metric"]
        return json.dumps(own, sort_keys=True)

    @property
    def digest(self) -> str:
        """Digest of the question; equal ones are one question."""
        return hashlib.sha256(self.content.encode()).hexdigest()

    def shares_runs_with(self, other: "Question") -> bool:
        """Return whether some pair of networks is compared by both over some seed and split that
        both have.
        """
        same = ("dataset", "data", "recipe")
        one, another = (set(each.split.split(SEVERAL)) for each in (self, other))
        return (
            all(getattr(self, name) == getattr(other, name) for name in same)
            and not one.isdisjoint(another)
            and not set(self.seeds).isdisjoint(other.seeds)
            and not set(self.pairs).isdisjoint(other.pairs)
        )


@dataclass(frozen=True, kw_only=True)
class QuestionHistory:
    """All questions about the same runs as one of them, which is the `number`-th, from 1.

    `unkept` says why the question could not be remembered, if so.
    """

    questions: tuple[Question, ...]
    number: int
    unkept: str = ""

    @property
    def count(self) -> int:
        """How many questions there are, this one among them: what each p is multiplied by."""
        return len(self.questions)

    @property
    def others(self) -> tuple[Question, ...]:
        """The questions beside this one."""
        return self.questions[: self.number - 1] + self.questions[self.number :]


def remembered(
    question: Question, location: str, sources: Sequence[str], *, shipped: bool = False
) -> QuestionHistory:
    """Remember a question at a location, and return it among those asked before, there and in
    other databases; those are only read, and so is the location if it is `shipped`.
    """
    known = [each for source in sources for each in questions_in(source, question)]
    known += questions_in(location, question)
    unkept = f"{location} came with the project" if shipped else ""
    if not shipped and question not in known:
        try:
            remember([question], location)
        except StoreError as error:
            unkept = str(error)
    related = [each for each in known if each.shares_runs_with(question)]
    every = tuple(dict.fromkeys([*related, question]))
    return QuestionHistory(questions=every, number=every.index(question) + 1, unkept=unkept)


def remember(questions: Iterable[Question], location: str) -> None:
    """Store the questions that a database lacks. Raises StoreError if it cannot be written."""
    created = datetime.now(UTC).isoformat(timespec="seconds")
    with closing(Ledger(location)) as ledger, ledger.writing() as connection:
        QUESTIONS.create(connection, checkfirst=True)
        for each in questions:
            row = {"digest": each.digest, "content": each.content, "created": created}
            same = sa.select(QUESTIONS.c.id).where(QUESTIONS.c.digest == each.digest)
            if connection.execute(same).first() is None:
                connection.execute(QUESTIONS.insert().values(**row))


def questions_in(location: str, like: Question | None = None) -> list[Question]:
    """Return the questions that a database has, oldest first; with them those about the runs of
    one `like` them that answers imply which were stored by earlier versions.
    """
    if not there(location):
        return []
    with closing(Ledger(location, read_only=True)) as ledger:
        each = [replace(like, split=one) for one in like.split.split(SEVERAL)] if like else []
        return [*(own for one in each for own in _implied(ledger, one)), *_stored(ledger)]


def _stored(ledger: Ledger) -> Iterator[Question]:
    with ledger.guard():
        if not sa.inspect(ledger.engine).has_table(QUESTIONS.name):
            return
        with ledger.engine.connect() as connection:
            rows = connection.execute(sa.select(QUESTIONS).order_by(QUESTIONS.c.id)).mappings()
            found = [dict(row) for row in rows]
    for row in found:
        where = f"{ledger.location}: table {QUESTIONS.name}, row {row['id']}"
        question = _read(Fields(row, where).json("content").object("content"))
        if question.digest != row["digest"]:
            raise damaged(f"{where}: a question does not match its checksum")
        yield question


def _read(content: Fields) -> Question:
    pairs = content.row.get("pairs")
    if not isinstance(pairs, list) or not all(map(_is_pair, pairs)):
        raise content.error("pairs", "pairs of texts")
    return Question(
        dataset=content.text("dataset"),
        data=content.text("data"),
        split=content.text("split"),
        recipe=content.text("recipe"),
        pairs=tuple((one, other) for one, other in pairs),
        seeds=tuple(content.wholes("seeds", high=SEED)),
        stages=tuple(content.wholes("stages", high=SEED)),
        metric=content.text("metric") if content.has("metric") else "accuracy",
    )


def _is_pair(each: object) -> bool:
    return isinstance(each, list) and len(each) == 2 and all(isinstance(one, str) for one in each)


def _implied(ledger: Ledger, like: Question) -> Iterator[Question]:
    """Yield the questions of stored answers whose accuracies are those of the same runs."""
    for report in ledger.reports():
        if report["kind"] != "ablate":
            continue
        try:
            rows = json.loads(report["content"])
            if not all("fingerprint" in row for row in rows):
                continue  # the oldest answers do not say which networks they compared
            for row in rows:
                _check_answer(Fields(row, f"{ledger.location}: table ledger_reports"))
            first = next(row for row in rows if row["reference"])
            known = dict(zip(first["seeds"], first["accuracies"], strict=True))
            question = _of_rows(rows, like)
        except (
            *(AttributeError, KeyError, RecursionError, StopIteration),
            *(StoreError, TypeError, ValueError),
        ) as error:
            raise StoreError(
                f"{ledger.location}: table ledger_reports, row {report['id']}: the answer of "
                f"{report['created']} cannot be read"
            ) from error
        keys = {
            seed: RunKey(
                network=first["fingerprint"],
                dataset=like.dataset,
                data=like.data,
                protocol=like.split,
                recipe=like.recipe,
                seed=seed,
            )
            for seed in known
        }
        runs = ledger.find(keys.values())
        if known and all(
            keys[seed] in runs and runs[keys[seed]].accuracy == value
            for seed, value in known.items()
        ):
            yield question


def _check_answer(row: Fields) -> None:
    """Raise StoreError for a row of an answer whose networks and seeds cannot be looked up."""
    if row.has("fingerprint") and row.text("fingerprint") and row.row.get("seeds") is not None:
        row.text("fingerprint").encode()
        row.wholes("seeds", high=SEED)


def _of_rows(rows: Sequence[Mapping[str, Any]], like: Question) -> Question:
    """Read which pairs the rows of a stored answer compare: each with the reference above it."""
    pairs, counts, seeds, reference = dict[tuple[str, str], None](), set[int](), set[int](), ""
    for row in rows:
        if row["reference"]:
            reference = row["fingerprint"]
        elif row["fingerprint"] and not row.get("interaction") and row["fingerprint"] != reference:
            pairs[reference, row["fingerprint"]] = None
            counts.add(len(row["seeds"]))
            seeds |= set(row["seeds"])
    return replace(
        like,
        pairs=tuple(sorted(pairs)),
        seeds=tuple(sorted(seeds)),
        stages=tuple(sorted(counts)) if len(counts) > 1 else (),
        metric="accuracy",
    )
