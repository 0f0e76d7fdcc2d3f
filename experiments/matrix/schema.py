"""The matrix file: pairs × methods × trials on one data set under one recipe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    ValidationError,
    field_validator,
    model_validator,
)

from experiments.errors import InputError, explain
from experiments.matrix import yaml_loader
from experiments.matrix.method_entry import MethodEntry
from experiments.matrix.pairs import PairEntry, fits
from experiments.matrix.recipe import SWITCHES, Recipe
from experiments.matrix.slurm_options import TEXTS, SlurmOptions
from experiments.matrix.strict import Strict
from experiments.matrix.tune_entry import TuneEntry
from experiments.wording import plural
from models.normalisation import Normalisation, stated
from models.registry import near
from results import board_file, published_rows

# A plan of a million runs takes a minute and 2 GB of memory (46 µs and 1.5 kB each).
MOST_RUNS = 1_000_000


class DatasetEntry(BaseModel):
    """``dataset: cifar100``, or a mapping with subset, validation and the set's own options."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    name: str
    subset: int | None = Field(None, ge=1, strict=True)  # training samples, stratified, fixed
    validation: StrictInt | StrictFloat | None = Field(None, gt=0)  # held out: samples or fraction

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class TeacherEntry(Strict):
    """A given teacher: its weights (path relative to the data root) and their expected accuracy.

    ``mean`` and ``std`` (three numbers each, of pixels in 0…1), or the name of a ``normalisation``
    (`models.normalisation.NAMED`), say on which pixels it was trained, if not on the data set's.
    """

    file: Path
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")  # pins the file
    expected_accuracy: float | None = Field(None, gt=0, le=100, strict=True)
    tolerance: float = Field(0.5, gt=0, strict=True)  # points of top-1 accuracy
    normalisation: str | None = None
    mean: Any = None  # checked together with std, for one message about both
    std: Any = None

    @model_validator(mode="after")
    def _has_a_valid_normalisation(self) -> TeacherEntry:
        if self.normalisation is not None and (self.mean, self.std) != (None, None):
            raise ValueError("normalisation and mean, std: expected one of them")
        _ = self.pixels
        return self

    @property
    def pixels(self) -> Normalisation | None:
        """The normalisation that it was trained under, if the entry states one."""
        return stated(self.normalisation, self.mean, self.std)


class RecipeEntry(Recipe):
    """The recipe of a matrix: `Recipe` and the literature's exceptions to it."""

    lr_exceptions: dict[str, float] = Field(default_factory=dict)  # model (or pattern) -> lr

    @field_validator("lr_exceptions")
    @classmethod
    def _rates(cls, exceptions: dict[str, float]) -> dict[str, float]:
        wrong = [(name, rate) for name, rate in exceptions.items() if rate <= 0]
        if wrong:
            lines = (f"{name}: expected more than 0, got {rate:g}" for name, rate in wrong)
            raise ValueError("\n".join(lines))
        return exceptions


# The literature's probe (the scripts of the CRD paper and its heirs): 120 epochs, lr 0.05.
PROBE: dict[str, Any] = {
    "epochs": 120,
    "milestones": [30, 60, 90],
    "lr_exceptions": {"MobileNetV2*": 0.01, "Shuffle*": 0.01},
}
NUMERICS = ("precision", "threads", *SWITCHES)


class TransferEntry(Strict):
    """On which other data sets the students are probed, and how."""

    datasets: tuple[DatasetEntry, ...] = Field(min_length=1)
    bn_mode: Literal["eval", "train"] = "eval"
    recipe: dict[str, Any] = Field(default_factory=dict)  # in place of `PROBE`'s

    @field_validator("datasets", mode="before")
    @classmethod
    def _datasets_from_text(cls, value: Any) -> Any:
        listed = value if isinstance(value, list) else [value]
        return [{"name": entry} if isinstance(entry, str) else entry for entry in listed]

    @field_validator("datasets")
    @classmethod
    def _datasets_once(cls, entries: tuple[DatasetEntry, ...]) -> tuple[DatasetEntry, ...]:
        _once([entry.name for entry in entries], "data set")
        return entries

    def recipe_on(self, recipe: RecipeEntry) -> RecipeEntry:
        """The probe's recipe, its numerics those of ``recipe``."""
        numerics = {key: getattr(recipe, key) for key in NUMERICS}
        return RecipeEntry.model_validate({**PROBE, **numerics, **self.recipe})


class Matrix(Strict):
    """A validated matrix file."""

    dataset: DatasetEntry
    recipe: RecipeEntry = RecipeEntry()
    teacher_recipe: dict[str, Any] = Field(default_factory=dict)  # overrides for teachers made here
    pairs: tuple[PairEntry, ...] = Field(min_length=1)
    methods: tuple[MethodEntry, ...] = Field(min_length=1)
    trials: int = Field(1, ge=1, strict=True)
    teacher_trials: Literal["shared", "paired"] = "shared"  # paired: trial n learns from teacher n
    teachers: dict[str, TeacherEntry] = Field(default_factory=dict)
    plugins: tuple[Path, ...] = ()  # users' files, relative to the matrix
    transfer: TransferEntry | None = None
    tune: TuneEntry | None = None
    processes: int = Field(1, ge=1, strict=True)  # that train a job together, each on its GPU
    published: tuple[str, ...] = ()  # sources beside our tables; no part of any run's identity
    # How those of the last test are stored (results.predictions); no part of any run's identity.
    predictions: Literal["auto", "full", "compact", "none"] = "auto"
    slurm: SlurmOptions = SlurmOptions()  # of `submit`; no part of any run's identity

    @field_validator("dataset", mode="before")
    @classmethod
    def _dataset_from_text(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("pairs")
    @classmethod
    def _pairs_once(cls, pairs: tuple[PairEntry, ...]) -> tuple[PairEntry, ...]:
        _once([str(pair) for pair in pairs], "pair")
        return pairs

    @field_validator("published", mode="before")
    @classmethod
    def _published_from_text(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("published")
    @classmethod
    def _published_known(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        _once(list(sources), "source")
        published_rows.check(sources)
        return sources

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Matrix:
        problems = self.problems()
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def problems(self) -> list[str]:
        """What is wrong with it as a whole, a line each; of patterns of teachers, what is known."""
        return [
            *self._too_many(),
            *self._pairs_without_match(),
            *self._transfer_problems(),
            *self._teacher_problems(),
            *self._process_problems(),
            *self._tune_problems(),
        ]

    @property
    def rows(self) -> int:
        """How many rows its tables have, at most: methods, sweeps and ablations written out."""
        return sum(method.count for method in self.methods)

    def _too_many(self) -> Iterator[str]:
        pairs, rows, trials = len(self.pairs), self.rows, self.trials
        what = "variant" if any(method.is_varied for method in self.methods) else "method"
        if pairs * rows * trials > MOST_RUNS:
            yield (
                f"trials: {plural(pairs, 'pair')} × {plural(rows, what)} × "
                f"{plural(trials, 'trial')} are {plural(pairs * rows * trials, 'run')}, "
                f"expected at most {MOST_RUNS:,}"
            )

    @property
    def candidates(self) -> int:
        """How many runs its search has, on every pair."""
        tuned = sum(method.tune for method in self.methods)
        return tuned * self.tune.configs * self.tune.trials if self.tune else 0

    def _tune_problems(self) -> Iterator[str]:
        per_pair = self.tune is not None and self.tune.per == "pair"
        tuned = [(i, method) for i, method in enumerate(self.methods) if method.tune]
        if self.tune is None:
            searched = (i for i, method in enumerate(self.methods) if method.search)
            yield from (f"methods.{i}.search: the matrix has no tune:" for i in searched)
            return
        if not tuned:
            yield "tune: every entry has tune: false, expected one that is tuned"
        if len(self.pairs) * self.candidates > MOST_RUNS:
            runs = plural(len(self.pairs) * self.candidates, "run")
            yield f"tune.configs: the search has {runs}, expected at most {MOST_RUNS:,}"
        for i, method in tuned:
            if method.is_varied:
                kind = "ablate" if method.ablate else "sweep"
                yield f"methods.{i}.{kind}: expected tune: false beside it, or no {kind}"
            if method.pairs and not per_pair:
                yield f"methods.{i}.pairs: expected none: tune.per: matrix is one choice for all"

    def _pairs_without_match(self) -> Iterator[str]:
        known = [str(link) for pair in self.pairs for link in pair.links]
        if any(pair.is_pattern for pair in self.pairs):
            return  # not all pairs are known yet, see `teacher_patterns`
        for i, method in enumerate(self.methods):
            for key in method.pairs:
                if not any(fits(pair, key) for pair in known):
                    yield (
                        f"methods.{i}.pairs: {method.name!r} has options for the pair {key!r}, "
                        f"which the matrix lacks: {near(key, known)}"
                    )

    def _transfer_problems(self) -> Iterator[str]:
        try:
            if self.transfer:
                self.transfer.recipe_on(self.recipe)
        except ValidationError as error:
            within = ("transfer", "recipe")  # the file is named by whoever validates the matrix
            yield from str(explain(error, RecipeEntry, "", within)).splitlines()

    def _teacher_problems(self) -> Iterator[str]:
        used = {root for pair in self.pairs for root in pair.roots}
        for name in sorted(self.teachers):
            if not any(pair.can_begin_with(name) for pair in self.pairs):
                yield f"teachers: {name!r} is no teacher of any pair: {near(name, used)}"
        if self.teacher_trials == "paired" and self.teachers:
            yield "teacher_trials: paired needs teachers trained here, not files"

    def _process_problems(self) -> Iterator[str]:
        if self.recipe.batch_size < 2 * self.processes:
            yield (
                f"processes: {self.processes} with recipe.batch_size {self.recipe.batch_size}: "
                f"each needs at least 2 samples of a batch"
            )


def _once(names: list[str], what: str) -> None:
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ValueError(f"{what} {repeated[0]!r} is given {names.count(repeated[0])} times")


def load(path: str | Path, **instead: Any) -> Matrix:
    """Read and check a matrix file; entries of ``instead`` that are not None replace its keys.

    Raises InputError naming file, key and value in one line.
    """
    if Path(path).is_file() and board_file.is_board_file(Path(path)):
        raise InputError(
            f"{path}: a board file, expected a matrix: `table MATRIX --runs {path}` and "
            f"`report {path}` show what it holds"
        )
    texts = [("slurm", key) for key in TEXTS]
    content = yaml_loader.load(path, "dataset, pairs and methods", texts)
    content |= {key: value for key, value in instead.items() if value is not None}
    try:
        return Matrix.model_validate(content)
    except ValidationError as error:
        raise explain(error, Matrix, path) from error
