"""One formula on every kind of number: the same values, kinds and shapes."""

from fractions import Fraction

import array_api_strict
import numpy as np
import pytest
import sympy

from queueing_llm.errors import InvalidArgument
from queueing_llm.steptime import (
    AffineStepTime,
    HingeStepTime,
    RooflineStepTime,
    StaircaseStepTime,
    TableStepTime,
)

EXACT = [
    StaircaseStepTime(Fraction(1, 90), Fraction(1, 28), 5),
    HingeStepTime(Fraction(1, 90), Fraction(1, 3000), Fraction(13, 2)),
    AffineStepTime(Fraction(1, 90), Fraction(1, 3000), Fraction(1, 70_000)),
    RooflineStepTime(Fraction(1, 900), Fraction(1, 140), Fraction(1, 1500), Fraction(1, 7000)),
]
TABLES = [
    TableStepTime.of_tokens([0, 7, 31], [0.01, 0.03, 0.02]),
    TableStepTime.of_tokens([7, 31], [0.01, 0.03], between="next"),
    TableStepTime.of_tokens([0, 7, 31], [Fraction(1, 9), 2, Fraction(1, 3)]),
    TableStepTime.of_batches(
        [0, 5, 31], [0, 31], [0, 9, 40], np.random.default_rng(7).uniform(0.01, 0.1, (3, 2, 3))
    ),
    TableStepTime.of_batches([0, 31], None, None, [[[0.01]], [[0.02]]]),
]
PREFILL = [[0], [5], [17]]
DECODE = [1, 2, 9, 13]
KV = [0, 9, 20, 40]


BACKENDS = {
    "strict": lambda: array_api_strict,
    "torch": lambda: pytest.importorskip("torch"),
}


@pytest.mark.parametrize("law", EXACT + TABLES, ids=lambda law: type(law).__name__)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_gives_the_numbers_of_numpy(backend, law):
    asarray = BACKENDS[backend]().asarray
    expected = law(np.asarray(PREFILL), np.asarray(DECODE), np.asarray(KV))
    seconds = law(asarray(PREFILL), asarray(DECODE), asarray(KV))
    assert type(seconds) is type(asarray(1.0))
    assert str(seconds.dtype).endswith("float64")
    assert tuple(seconds.shape) == (3, 4)
    np.testing.assert_allclose(np.asarray(seconds), expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("law", EXACT + TABLES, ids=lambda law: type(law).__name__)
@pytest.mark.parametrize("backend", BACKENDS)
def test_numbers_may_stand_beside_arrays(backend, law):
    asarray = BACKENDS[backend]().asarray
    seconds = law(5, Fraction(2), asarray(KV))
    assert tuple(seconds.shape) == (4,)
    expected = [float(law(5, 2, kv)) for kv in KV]
    np.testing.assert_allclose(np.asarray(seconds), expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("law", EXACT + TABLES, ids=lambda law: type(law).__name__)
@pytest.mark.parametrize("shape", [(), (0,), (2, 1, 2)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_any_shape(backend, shape, law):
    asarray = BACKENDS[backend]().asarray
    counts = np.arange(int(np.prod(shape))).reshape(shape)
    assert tuple(law(asarray(counts.tolist())).shape) == np.asarray(counts.tolist()).shape


@pytest.mark.parametrize("law", EXACT + TABLES, ids=lambda law: type(law).__name__)
@pytest.mark.parametrize("backend", BACKENDS)
def test_views_are_read_as_they_are(backend, law):
    xp = BACKENDS[backend]()
    counts = xp.asarray([[1, 2, 3], [4, 5, 6]])
    for view in (counts.T, counts[:, ::2], xp.broadcast_to(counts[0, :], (2, 3))):
        expected = law(np.asarray(view.tolist() if backend == "torch" else view))
        np.testing.assert_allclose(np.asarray(law(view)), expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_single_precision_is_widened(backend):
    xp = BACKENDS[backend]()
    counts = xp.asarray([16_777_216.0], dtype=xp.float32)
    assert float(AffineStepTime(1, 1)(counts)[0]) == 16_777_217.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_out_of_range_is_an_error_on_every_backend(backend):
    asarray = BACKENDS[backend]().asarray
    with pytest.raises(InvalidArgument, match="prefill_tokens must be finite and at least 0"):
        EXACT[0](asarray([1, -1]))
    with pytest.raises(InvalidArgument, match="tokens must lie in the table, 0 to 31"):
        TABLES[0](asarray([1, 32]))


@pytest.mark.parametrize("law", EXACT, ids=lambda law: type(law).__name__)
def test_symbols_agree_with_fractions(law):
    x, y, kv = sympy.symbols("x y K", integer=True, nonnegative=True)
    formula = law(x, y, kv)
    assert formula.free_symbols <= {x, y, kv}
    for batch in [(0, 1, 0), (5, 0, 0), (17, 13, 40), (100, 3, 999)]:
        value = formula.subs(dict(zip((x, y, kv), batch, strict=True)))
        assert value == sympy.Rational(*law(*batch).as_integer_ratio())


def test_symbolic_parameters():
    n = sympy.Symbol("n", integer=True, positive=True)
    c, a, b0 = sympy.symbols("c a b_0", positive=True)
    assert StaircaseStepTime(c, a, 128)(n) == c - a * sympy.floor(-n / 128)
    assert HingeStepTime(c, a, b0)(n) == c + a * sympy.Max(0, n - b0)
    assert AffineStepTime(c, a)(n).diff(n) == a
    assert RooflineStepTime(0, c, a)(n) == sympy.Max(c, a * n)


def test_a_symbol_that_may_be_negative_is_accepted_and_one_that_is_is_not():
    anything, loss = sympy.Symbol("n"), sympy.Symbol("m", negative=True)
    assert AffineStepTime(1, 2)(anything) == 1 + 2 * anything
    for count in (loss, sympy.Integer(-1), sympy.oo):
        with pytest.raises(InvalidArgument, match="at least 0"):
            AffineStepTime(1, 2)(count)


def test_symbols_beside_arrays_are_refused():
    with pytest.raises(InvalidArgument, match="substitute its symbols first"):
        AffineStepTime(sympy.Symbol("c"), 1)(np.asarray([1]))
    with pytest.raises(InvalidArgument, match="substitute its symbols first"):
        AffineStepTime(1, 1)(sympy.Symbol("n"), np.asarray([1]))


def compiled_by_jax(law):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    return jax.numpy.asarray, jax.jit(law)


def compiled_by_torch(law):
    torch = pytest.importorskip("torch")
    torch.compiler.reset()  # It stops compiling one function for too many laws.
    return torch.asarray, torch.compile(law, backend="eager", fullgraph=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("law", EXACT + TABLES, ids=lambda law: type(law).__name__)
@pytest.mark.parametrize("compiler", [compiled_by_jax, compiled_by_torch])
def test_a_compiled_law_is_the_law_and_nan_where_the_law_refuses(compiler, law):
    asarray, compiled = compiler(law)
    counts = [np.asarray(column, dtype=np.float64) for column in (PREFILL, DECODE, KV)]
    seconds = compiled(*map(asarray, counts))
    np.testing.assert_allclose(np.asarray(seconds), law(*counts), rtol=1e-14, atol=0)
    for outside in ([-1.0, 5.0], [np.inf, 5.0], *([[99.0, 5.0]] if law in TABLES else [])):
        first, second = np.asarray(compiled(*map(asarray, (outside, [1.0, 1.0], [9.0, 9.0]))))
        assert np.isnan(first)
        assert second == pytest.approx(float(law(5.0, 1.0, 9.0)), rel=1e-14)
        with pytest.raises(InvalidArgument):
            law(np.asarray(outside), np.ones(2), np.full(2, 9.0))
