"""Methods composed by "+": their names and options, and that both parts take effect."""

import copy
from types import SimpleNamespace

import pytest
import torch

import distillers
from distillers import Distiller, InitStage, MethodError, Needs, Unsupported, Wrapper
from distillers.compose import composed, merged
from distillers.crd import CRD
from distillers.dkd import DKD
from distillers.lskd import LSKD
from distillers.registry import REGISTRY, WRAPPERS
from distillers.wttm import WithWTTM
from tests.distillers import golden
from tests.distillers.pairs import SAME_FAMILY
from tests.distillers.runs import Run, check_finite, own, total

INNER = ["kd", "dkd+kd", "crd+kd", "fitnet+kd", "gk_dfd+kd", "mlkd+kd", "wttm+kd"]
COMPOSED = [f"{wrapper}+{inner}" for wrapper in distillers.wrappers() for inner in INNER]
COMPOSED += ["lskd+ctkd+kd", "wttm+lskd+dkd", "ctkd+dkd", "sdd+nkd", "dot+lskd+sdd+dkd"]
EXCLUDED = {"wttm+kd"}  # the method WTTM with Hinton's term
EXCLUDED |= {f"sdd+{inner}" for inner in INNER if inner not in ("kd", "dkd+kd")}  # unsupported
COMPOSED = [name for name in COMPOSED if name not in EXCLUDED]


@pytest.fixture(autouse=True)
def registries():
    """Restore both registries afterwards."""
    before = [(registry, dict(registry._entries)) for registry in (REGISTRY, WRAPPERS)]
    yield
    for registry, entries in before:
        registry._entries.clear()
        registry._entries.update(entries)


# ---- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "title", "bases"),
    [
        ("lskd+dkd", "LSKD+DKD", (LSKD, DKD)),
        ("lskd+crd+kd", "LSKD+CRD+KD", (LSKD, CRD)),
        ("wttm+crd", "WTTM+CRD", (WithWTTM, CRD)),
        ("wttm+lskd+crd", "WTTM+LSKD+CRD", (WithWTTM, LSKD, CRD)),
    ],
)
def test_names(name, title, bases):
    cls = distillers.find(name)
    assert cls is distillers.find(name) and distillers.title(name) == title
    assert all(issubclass(cls, base) for base in bases) and cls.name == bases[-1].name
    assert title.split("+")[0] in cls.title and bases[0].__doc__ in cls.__doc__


def test_wttm_before_kd_is_the_method_not_the_wrapper():
    assert distillers.find("wttm+kd") is distillers.find("wttm")
    assert distillers.title("wttm+kd") == "WTTM+KD"
    assert not issubclass(distillers.find("wttm"), Wrapper)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lskd", r"lskd changes another method: expected lskd\+NAME"),
        ("lskd+ctkd", r"ctkd changes another method: expected ctkd\+NAME"),
        ("lskd+lskd+kd", "lskd .*twice"),
        ("lskd+ctkd+lskd+kd", "lskd .*twice"),
        ("lskd+vanilla", "vanilla has no teacher"),
        ("lskd+kd+kd", r"expected NAME or NAME\+kd"),
        ("lskdd+dkd", r"expected NAME or NAME\+kd, optionally prefixed by ctkd\+, dot\+, lskd\+"),
        ("lskd+fitnit", "unknown method 'fitnit': did you mean fitnet"),
        ("lskd+fitnit+kd", "unknown method 'fitnit': did you mean fitnet"),
        ("lskd+", r"expected NAME or NAME\+kd"),
    ],
)
def test_wrong_compositions_are_rejected(name, message):
    with pytest.raises(MethodError, match=message):
        distillers.find(name)


def test_wrappers_are_not_listed_as_methods():
    only = {"ctkd", "dot", "lskd", "sdd"}
    assert only | {"wttm"} <= set(distillers.wrappers())
    assert not only & set(distillers.names())


# ---- options and needs ---------------------------------------------------------------------------


def test_the_options_of_both_are_known():
    options = distillers.defaults("wttm+crd")
    assert options == distillers.defaults("crd") | {"wttm_weight": 4.0, "wttm_exponent": 0.2}
    assert distillers.resolve("wttm+crd+kd", {"negatives": 8, "wttm_weight": 2})["kd"] == 1.0
    with pytest.raises(MethodError, match="positives = 'exakt'"):
        distillers.resolve("wttm+crd", {"positives": "exakt"})
    with pytest.raises(MethodError, match="unknown option 'wttm_wait': did you mean wttm_weight"):
        distillers.resolve("wttm+crd", {"wttm_wait": 1.0})


@pytest.mark.parametrize("name", COMPOSED)
def test_presets_fit_the_options(name):
    for preset, options in distillers.find(name).presets.items():
        assert distillers.resolve(name, dict(options)) == distillers.defaults(name, preset)


def make(name, **attributes):
    return type(name, (Wrapper,), {"name": name.lower(), "title": name, **attributes})


@pytest.mark.parametrize("option", ["negatives", "kd", "weight"])
def test_an_option_of_the_same_name_is_rejected(option):
    with pytest.raises(MethodError, match=f"both have an option {option}"):
        composed(make("Own", defaults={option: 1.0}), CRD)


def test_needs_and_versions_are_merged():
    needs = Needs(final_map=True, views=("weak",), min_batch=4)
    cls = composed(make("Own", needs=needs, version=3), composed(LSKD, distillers.find("mlkd")))
    expected = Needs(
        final_map=True, views=("strong", "weak"), min_batch=4, batch="global", min_classes=3
    )
    assert cls.needs == cls.needs_of({}) == expected and cls.version == 3
    balanced, other = Needs(sampler="balanced"), Needs(sampler="other")
    assert merged(balanced, Needs()).sampler == merged(Needs(), balanced).sampler == "balanced"
    with pytest.raises(MethodError, match="samplers balanced and other cannot be combined"):
        merged(balanced, other)


# ---- every composition ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPOSED)
def test_losses_are_finite_in_half_precision(name):
    run = Run(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = run.losses()
    assert {value.dtype for value in losses.values()} == {torch.float32}
    if name.startswith("wttm+"):
        assert torch.isfinite(losses.pop("wttm"))
    check_finite(run, losses)


@pytest.mark.parametrize("name", COMPOSED)
def test_all_terms_of_the_wrapped_method_remain(name):
    inner = name.partition("+")[2]
    added = {"wttm"} if name.startswith("wttm") else set()
    assert Run(name).losses().keys() == Run(inner).losses().keys() | added


@pytest.mark.parametrize("name", COMPOSED)
def test_only_soft_labels_change(name):
    """With equal weights, terms without soft labels are the same as those of the wrapped method."""
    inner = name.partition("+")[2]
    same = {"ce": 1.0, "weight": 1.0}
    wrapped, plain = Run(name, **same).losses(), Run(inner, **same).losses()
    base = distillers.find(name).name
    soft = {"kd"} if base not in ("dkd", "nkd", "wttm", "mlkd") else {"kd", *own(plain)}
    assert all(torch.equal(wrapped[term], plain[term]) for term in plain.keys() - soft)


@pytest.mark.parametrize("name", COMPOSED)
def test_steps_and_a_resume(name):
    run = Run(name)
    teacher = copy.deepcopy(run.teacher.state_dict())
    for number in range(2):
        run.step(number)
    resumed = Run(name, init=1)
    resumed.student.load_state_dict(run.student.state_dict())
    resumed.method.load_state_dict(copy.deepcopy(run.method.state_dict()))
    losses = run.losses(step=2)
    assert losses == resumed.losses(step=2)
    total(losses).backward()
    assert all(p.grad is None for p in run.teacher.parameters())
    assert all(torch.equal(value, teacher[k]) for k, value in run.teacher.state_dict().items())


def test_wttm_beside_another_method_is_wttm():
    beside = Run("wttm+fitnet", wttm_weight=3.0, wttm_exponent=0.4).losses()
    alone = Run("wttm", weight=3.0, exponent=0.4).losses()
    assert torch.equal(beside["wttm"], alone["wttm"])
    assert "wttm" not in Run("wttm+fitnet", wttm_weight=0.0).losses()


# ---- every hook ----------------------------------------------------------------------------------


class EveryHook(Distiller):
    """Records which of its hooks were called."""

    name, title = "every_hook", "Every hook"
    needs = Needs(embedding=True, min_batch=2)
    defaults = {"weight": 2.0, "own_option": 5}

    @classmethod
    def needs_of(cls, options):
        return Needs(features=True) if options.get("own_option") == 7 else cls.needs

    def setup(self, student, teacher, info):
        super().setup(student, teacher, info)
        self.called = ["setup"]
        self.head = torch.nn.Linear(3, 3)

    def loss(self, student, teacher, batch):
        self.called.append("loss")
        return {"part": self.soften(student.logits).sum() * 0 + 1}

    def task_loss(self, student, batch):
        self.called.append("task_loss")
        return super().task_loss(student, batch)

    def soften(self, logits):
        self.called.append("soften")
        return super().soften(2 * logits)

    def init_stage(self):
        return InitStage(3, torch.nn.ModuleList([self.head]))

    def init_loss(self, student, teacher, batch):
        return self.head(student.logits).sum()

    def predict(self, student):
        return self.head(student.logits)

    def optimizer(self, params, recipe):
        self.called.append("optimizer")
        return super().optimizer(params, recipe)

    def step(self, losses, optimizer, scaler):
        self.called.append("step")

    def on_epoch(self, epoch):
        self.called.append(f"epoch {epoch}")


@pytest.mark.parametrize("wrapper", [name for name in distillers.wrappers() if name != "sdd"])
def test_every_hook_of_the_wrapped_method_is_called(wrapper):
    cls = composed(WRAPPERS.get(wrapper), EveryHook)
    logits, embedding = torch.randn(2, 4, 3), torch.randn(4, 5)
    student, teacher = (golden.outputs({"s_logits": z}, "s", embedding=embedding) for z in logits)
    networks = [golden.StandIn(net) for net in (student, teacher)]
    options = {**Distiller.base_defaults, **cls.defaults, "kd": 1.0}
    method = cls(*networks, golden.info(student), options)
    batch = golden.batch({"s_logits": student.logits})
    losses = method(student, teacher, batch)
    assert losses["every_hook.part"] == 2.0 and {"ce", "kd"} <= losses.keys()
    assert torch.equal(method.predict(student), method.head(student.logits))
    assert method.init_stage().modules[0] is method.head
    assert set(method.initial(student, teacher, batch)) == {"every_hook"}
    method.on_epoch(3)
    recipe = SimpleNamespace(make_optimizer=lambda params: torch.optim.SGD(params, 0.1))
    method.optimizer([torch.nn.Parameter(torch.zeros(1))], recipe)
    method.step(losses, None, None)
    assert {"setup", "task_loss", "loss", "soften", "optimizer", "step", "epoch 3"} <= {
        *method.called
    }
    assert (
        method.needs == merged(WRAPPERS.get(wrapper).needs, EveryHook.needs)
        and method.options.own_option == 5
    )
    assert cls.needs_of({"own_option": 7}).features
    assert type(method).predict is EveryHook.predict  # the trainer checks whether it is overridden
    wanted = {"lskd": LSKD.soften}.get(wrapper, EveryHook.soften)
    assert type(method).soften is wanted


def test_both_soften():
    cls = composed(LSKD, EveryHook)
    method = cls.__new__(cls)
    torch.nn.Module.__init__(method)
    method.called = []
    logits = torch.randn(4, 3)
    torch.testing.assert_close(method.soften(logits), LSKD.soften(make_bare(), 2 * logits))


def make_bare():
    """LSKD in front of a method without hooks."""
    cls = composed(LSKD, type("Bare", (Distiller,), {"__doc__": "Nothing.", "name": "bare"}))
    method = cls.__new__(cls)
    torch.nn.Module.__init__(method)
    return method


def test_a_wrapper_can_be_registered_like_a_method():
    @distillers.register("testing", title="Testing")
    class Testing(Wrapper):
        """Doubles logits in soft labels."""

        defaults = {"factor": 2.0}

        def soften(self, logits):
            return self.options.factor * super().soften(logits)

    assert "testing" in distillers.wrappers() and "testing" not in distillers.names()
    assert distillers.title("testing+dkd") == "Testing+DKD"
    doubled = Run("testing+kd", kd_temperature=2.0).losses()["kd"]
    expected = 4 * Run("kd", kd_temperature=1.0).losses()["kd"]
    torch.testing.assert_close(doubled, expected)


def test_standardising_logits_that_no_term_reads_is_rejected():
    with pytest.raises(Unsupported, match=r"lskd changes KL terms.*expected lskd\+at\+kd"):
        Run("lskd+at", pair=SAME_FAMILY)
    Run("lskd+at+kd", pair=SAME_FAMILY)
    Run("lskd+wttm+at", pair=SAME_FAMILY)
