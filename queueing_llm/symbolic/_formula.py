"""A closed formula as a value: expression, symbols, conditions, source."""

from dataclasses import dataclass
from fractions import Fraction
from numbers import Rational
from typing import Any, final

from queueing_llm._validate import Real, is_symbolic
from queueing_llm.errors import InvalidArgument
from queueing_llm.symbolic._symbols import SYMBOLS, check_words


@final
@dataclass(frozen=True, slots=True)
class Formula:
    r"""A closed formula of the theory in SymPy, with what it assumes.

    Parameters
    ----------
    name : str
        The quantity, in words.
    letter : str
        Its symbol, in LaTeX.
    unit : str
        Its unit.
    expression : sympy.Expr or sympy.Tuple
        The formula; a tuple if the quantity has several coordinates.
    symbols : dict of str to sympy.Symbol
        The symbols that occur, under the words that the interface has for them.
    conditions : tuple of sympy relations
        What the numbers must satisfy; :meth:`value` checks them.
    assumptions : tuple of str
        What the formula assumes beyond its conditions, in words.
    source : str
        Where it comes from.

    Examples
    --------
    >>> import queueing_llm as ql
    >>> formula = ql.symbolic.capacity("affine")
    >>> print(formula)
    capacity = b/((m_d + m_p)*(b*beta + c)) [requests/s]
    >>> formula.value(base=1, per_token=2, token_budget=8, mean_prompt=3, mean_output=1)
    Fraction(2, 17)
    """

    name: str
    letter: str
    unit: str
    expression: Any
    symbols: dict[str, Any]
    conditions: tuple[Any, ...]
    assumptions: tuple[str, ...]
    source: str

    @property
    def equation(self) -> str:
        """The formula as LaTeX, ``letter = expression``."""
        import sympy

        return f"{self.letter} = {sympy.latex(self.expression)}"

    @property
    def legend(self) -> dict[str, str]:
        """What each word stands for: its letter and unit."""
        return {word: f"{SYMBOLS[word][0]} [{SYMBOLS[word][2]}]" for word in self.symbols}

    def value(self, **numbers: Real) -> Any:
        """Return the number that the formula takes.

        Parameters
        ----------
        **numbers : number
            One for each word in ``symbols``: integers and Fractions give an exact answer.

        Returns
        -------
        Fraction or float, or a tuple of them
            In ``unit``.

        Raises
        ------
        InvalidArgument
            If a word is unknown or missing, a value is not a number or violates what its
            symbol assumes, or a condition fails.
        """
        check_words(numbers, self.symbols)
        given = {self.symbols[word]: _sympified(word, n) for word, n in numbers.items()}
        for word, number in numbers.items():
            _check_assumptions(word, number, self.symbols[word], given)
        for condition in self.conditions:
            if condition.subs(given) != True:  # noqa: E712 - a SymPy relation
                named = {str(letter): value for letter, value in given.items()}
                msg = f"the formula holds only if {condition}, which fails at {named}."
                raise InvalidArgument(msg)
        result = self.expression.subs(given)
        if result.is_number:
            return _plain(result)
        return tuple(_plain(part) for part in result)

    def __str__(self) -> str:
        return f"{self.name} = {self.expression} [{self.unit}]"

    def _repr_latex_(self) -> str:
        return rf"$\displaystyle {self.equation}$"

    def _latex(self, printer: Any) -> str:
        """Let ``sympy.latex`` print the formula."""
        return self.equation

    def _sympy_(self) -> Any:
        """Let SymPy take the formula for its expression."""
        return self.expression


def _sympified(word: str, number: Real) -> Any:
    import sympy

    if is_symbolic(number) and number.is_number:
        return number
    if not isinstance(number, bool) and isinstance(number, Rational):
        return sympy.Rational(int(number.numerator), int(number.denominator))
    if isinstance(number, float):
        return sympy.Float(number)
    msg = f"{word} must be a number, got {word}={number!r}."
    raise InvalidArgument(msg)


def _check_assumptions(word: str, number: Real, letter: Any, given: dict[Any, Any]) -> None:
    for assumption in SYMBOLS[word][1]:
        if getattr(given[letter], f"is_{assumption}") is not True:
            msg = f"{word} must be {assumption}, got {word}={number!r}."
            raise InvalidArgument(msg)


def _plain(value: Any) -> Fraction | float:
    if value.is_Rational:
        return Fraction(int(value.p), int(value.q))
    return float(value)
