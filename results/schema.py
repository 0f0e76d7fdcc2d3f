"""What the record of a run (its ``result.json``) holds.

Format 1. Accuracies are percentages, times seconds, sizes bytes. A reader may rely on ``format``,
``run``, ``spec`` and ``accuracy.last.top1``; everything else may be missing or null, as in records
that older versions wrote. Keys that this version does not know are kept.

The fields are declared in the order in which `results.records.publish` writes them.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)

LARGEST = 2**63 - 1  # what is counted in a run is less
Whole = Annotated[int, Field(ge=-LARGEST, le=LARGEST)]
Number = Whole | float  # not float alone: an int is written back as it was read
_NOT_FINITE = (b"NaN", b"Infinity")
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Percentage = Annotated[StrictInt | StrictFloat, Field(ge=0, le=100)]  # NaN is out of range, too

# Parts that may be null are read as empty ones, so that readers need not ask before each dot.
_NullIsEmpty = BeforeValidator(lambda value: {} if value is None else value)
_NullIsEmptyList = BeforeValidator(lambda value: () if value is None else value)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class Scores(_Part):
    top1: Number | None = None
    top5: Number | None = None
    loss: Number | None = None


class LastScores(Scores):
    """The headline: the test scores of the last epoch."""

    top1: Percentage
    epoch: Number | None = None


class BestEpoch(_Part):
    """The best epoch, and the split that it was picked and scored on."""

    top1: Number | None = None
    epoch: Number | None = None
    split: str | None = None


class Accuracy(_Part):
    last: LastScores
    best: Annotated[BestEpoch, _NullIsEmpty] = BestEpoch()
    validation: Scores | None = None  # of the last epoch; None without a hold-out
    samples: Count | None = None  # in the test set


class TeacherUsed(_Part):
    name: str = ""
    accuracy: Number | None = None  # measured before anything was distilled from it
    sha256: str | None = None  # of its weights
    run: str | None = None  # None for a given file
    normalisation: dict[str, Any] | None = None  # that it was trained under, if not the data set's
    # Of an ensemble, each measured by itself; its sha256 is that of theirs, see `train.ensembles`.
    members: Annotated[tuple[TeacherUsed, ...], _NullIsEmptyList] = ()

    @property
    def pixels(self) -> Any:
        """Its normalisation, or those of its members where one of them has its own."""
        each = [member.normalisation for member in self.members]
        return each if any(each) else self.normalisation


class SourceUsed(_Part):
    """The student that a probe is about."""

    run: str | None = None
    sha256: str | None = None


class Parameters(_Part):
    student: Whole | None = None
    extra: Whole | None = None  # the method's own
    extra_at_test: Whole | None = None


class Weights(_Part):
    """The student's weights beside the result."""

    file: str | None = None
    sha256: str | None = None


class Schedule(_Part):
    epochs: Whole | None = None
    initial_epochs: Count = 0  # of an initial stage
    views: Count = 1  # of every image


class DataUsed(_Part):
    sha256: str | None = None


class Code(_Part):
    """The code of a process; everything is None where it is unknown."""

    commit: str | None = None
    dirty: bool | None = None
    changes: str | None = None  # a hash of what is not committed


class Start(_Part):
    """One start of the run: when, where, and with what `Code`."""

    time: str | None = None
    host: str | None = None
    job: str | None = None
    device: str | None = None
    versions: Annotated[dict[str, Any], _NullIsEmpty] = Field(default_factory=dict)
    commit: str | None = None
    dirty: bool | None = None
    changes: str | None = None
    processes: Count = 1  # that shared the run
    progress: bool = True  # whether a step was saved
    submitted: Code | None = None  # the code at submission, if it was another
    epoch: Whole | None = None  # where it began
    steps: Whole | None = None
    ended: str | None = None  # "interrupted" or "failed", if it ended so without progress


class PredictionsUsed(_Part):
    """The file of predictions beside the measures that were computed from it."""

    file: str | None = None
    form: str | None = None  # "full" or "compact"
    sha256: str | None = None


class MeasuredTeacher(_Part):
    """The teacher that agreement and KL compare with; ``sha256`` is of its weights."""

    name: str = ""
    sha256: str | None = None


class Measures(_Part):
    """What a run's ``measures.json`` holds, see `measures`; null is what could not be had.

    In percent: top1, top5, ece, ece_adaptive, agreement, per_class. In nats: nll, kl.
    """

    format: Literal[1]
    run: str
    predictions: PredictionsUsed | None = None
    teacher: MeasuredTeacher | None = None
    samples: Count
    top1: Percentage
    top5: Number | None = None
    nll: Number | None = None
    ece: Number | None = None
    ece_adaptive: Number | None = None
    brier: Number | None = None
    agreement: Number | None = None
    kl: Number | None = None
    per_class: tuple[Number | None, ...] = ()
    correct: str | None = None  # base64 of numpy.packbits, one bit per image; None of very many

    @field_validator("correct")
    @classmethod
    def _has_a_bit_per_image(cls, text: str | None, found: ValidationInfo) -> str | None:
        """A ValueError where it is no base64, or of another number of images."""
        if text is not None and "samples" in found.data:
            expected = (found.data["samples"] + 7) // 8
            size = len(base64.b64decode(text, validate=True))
            if size != expected:
                raise ValueError(f"expected {expected} bytes, got {size}")
        return text


# What readers take for granted of the keys that a spec has; it may have others, and fewer.
# By hand: models of pydantic would make reading a record a quarter slower.
_NOTHING = type(None)
_FORM: dict[str, tuple[type, ...]] = {
    "dataset": (dict, str, _NOTHING),  # the oldest have only its name
    "teacher": (dict, str, _NOTHING),
    "student": (str, _NOTHING),
    "method": (str, _NOTHING),
    "options": (dict, _NOTHING),
    "trial": (int,),
    "recipe": (dict, _NOTHING),
    "source": (dict, _NOTHING),
    "plugins": (list, tuple, _NOTHING),
}
_FORMS: dict[str, dict[str, tuple[type, ...]]] = {
    "dataset": {"name": (str,), "options": (dict, _NOTHING)},
    "teacher": {"name": (str,), "run": (str, _NOTHING)},
    "source": {"dataset": (str,), "method": (str,), "run": (str, _NOTHING)},
    "recipe": {"epochs": (int,), "batch_size": (int,), "precision": (str, _NOTHING)},
}
_REQUIRED = ("name", "dataset", "method")  # where their mapping is there
_WORDS = {dict: "a mapping", str: "a text", int: "a whole number", list: "a list"}


def _check_spec(spec: dict[str, Any]) -> None:
    """A ValueError for a key of another form than `_FORM`'s."""
    _check_form(spec, _FORM, "spec.")
    for key, form in _FORMS.items():
        part = spec.get(key)
        if isinstance(part, dict):
            _check_form(part, form, f"spec.{key}.")


def _check_form(part: dict[str, Any], form: dict[str, tuple[type, ...]], inside: str) -> None:
    for key, types in form.items():
        if key not in part:
            if form is not _FORM and key in _REQUIRED:
                raise ValueError(f"{inside}{key}: missing")
            continue
        value = part[key]
        fits = isinstance(value, types)
        if fits and int in types:  # a count; True is no number
            fits = type(value) is int and 0 <= value <= LARGEST
        if not fits:
            raise ValueError(f"{inside}{key}: expected {_WORDS[types[0]]}, not {_short(value)}")


class Record(_Part):
    format: Literal[1]
    run: str  # its id
    spec: dict[str, Any]  # the resolved RunSpec; plain, since older ones have other keys
    accuracy: Accuracy
    teacher: TeacherUsed | None = None
    source: SourceUsed | None = None
    parameters: Annotated[Parameters, _NullIsEmpty] = Parameters()
    weights: Annotated[Weights, _NullIsEmpty] = Weights()
    seconds: Number | None = None
    images_per_second: Number | None = None
    peak_memory_bytes: Number | None = None
    steps: Whole | None = None
    schedule: Annotated[Schedule, _NullIsEmpty] = Schedule()
    data: Annotated[DataUsed, _NullIsEmpty] = DataUsed()
    warnings: Annotated[tuple[str, ...], _NullIsEmptyList] = ()  # for every table that shows it
    starts: Annotated[tuple[Start, ...], _NullIsEmptyList] = ()
    measures: Measures | None = None  # from a board's line, or filled in by a reader; in no result

    @property
    def top1(self) -> float:
        """The headline accuracy."""
        return self.accuracy.last.top1


def parse(data: bytes, any_spec: bool = False) -> Record:
    """The record in a JSON text. ValueError, in one line, if it is none of this format.

    any_spec  take a spec of another form than readers expect, for those that check it themselves

    NaN and Infinity, which are no JSON and which `records` never writes, are read as null, and so
    are numbers that no float can hold.
    """
    record = _parsed(data)
    if not any_spec:
        _check_spec(record.spec)
    return record


def _parsed(data: bytes) -> Record:
    if not any(word in data for word in _NOT_FINITE):  # ten times as fast as an expression
        try:
            record = Record.model_validate_json(data)  # as fast as json.loads alone
            if _is_finite(record):
                return record
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] != "json_invalid":
                raise ValueError(_problem(error)) from error
            if "recursion limit" in first["msg"]:
                raise ValueError("nested too deeply") from error
    # File names that are not UTF-8 are stored as lone surrogates; only Python's parser reads them.
    try:
        content = json.loads(data, parse_constant=lambda _: None, parse_float=_finite)
        return Record.model_validate(content)
    except ValidationError as error:
        raise ValueError(_problem(error)) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from error


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _is_finite(record: Record) -> bool:
    """Whether every number of a record is; JSON has 1e400."""
    last, best, checked = record.accuracy.last, record.accuracy.best, record.accuracy.validation
    numbers = [last.top5, last.loss, last.epoch, best.top1, best.epoch, record.seconds]
    numbers += [record.images_per_second, record.peak_memory_bytes]
    if record.teacher:
        numbers += [one.accuracy for one in (record.teacher, *record.teacher.members)]
    numbers += [checked.top1, checked.top5, checked.loss] if checked else []
    if record.measures:
        numbers += [*vars(record.measures).values()]
        numbers.append(sum(x for x in record.measures.per_class if x is not None))
    return not any(isinstance(x, float) and not math.isfinite(x) for x in numbers)


def _problem(error: ValidationError) -> str:
    """The first thing that is wrong: "accuracy.last.top1: input should be …, not 171.0"."""
    first = error.errors()[0]
    where = ".".join(str(key) for key in first["loc"] if not _is_branch(key))
    message = first["msg"].removeprefix("Value error, ").partition(" or instance of ")[0]
    message = message[:1].lower() + message[1:]
    told = first["type"] == "missing" or isinstance(first["input"], dict)
    got = "" if told else f", not {_short(first['input'])}"
    return f"{where + ': ' if where else ''}{message}{got}"


def _is_branch(key: str | int) -> bool:
    """Whether pydantic names a branch of a union with it, not a key."""
    return key in ("int", "constrained-int", "float", "str")


def _short(value: Any) -> str:
    """A value in few characters; of a number of a thousand digits Python refuses to print all."""
    try:
        return f"{value!r:.40}"
    except ValueError:
        return "a very large number"
