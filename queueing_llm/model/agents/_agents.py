"""From the attributes of an agent to its engines and its kinds of visit."""

from collections.abc import Collection, Hashable, Mapping
from typing import Any

from queueing_llm.errors import InvalidArgument
from queueing_llm.model._arrivals import AbstractArrivals
from queueing_llm.model._engine import Engine
from queueing_llm.model._joint_lengths import (
    AbstractRequestLengths,
    independent_lengths,
    length_law,
)
from queueing_llm.model._lengths import AbstractLength
from queueing_llm.model.agents._classes import SessionClass
from queueing_llm.model.agents._structure import check_named
from queueing_llm.model.agents._visits import NetworkEngine, Visit
from queueing_llm.policies import SARATHI, Policy, policy_named

Nodes = Mapping[Hashable, Mapping[str, Any]]


def engines_of(
    nodes: Nodes, named: Mapping[str, Engine], policies: Mapping[str, Policy | str]
) -> tuple[NetworkEngine, ...]:
    """Return the named engines, then those that agents have of their own."""
    engines = dict(named)
    for node, attributes in nodes.items():
        own = attributes.get("engine")
        if isinstance(own, Engine):
            if str(node) in engines:
                msg = (
                    f"agent {str(node)!r} has an engine of its own, but another engine is "
                    "called so too: rename one of them."
                )
                raise InvalidArgument(msg)
            engines[str(node)] = own
    for name in policies:
        check_named(name, engines, "engine", where=" to have a policy")
    return tuple(
        NetworkEngine(name, engine, policy_of(policies.get(name, SARATHI)))
        for name, engine in engines.items()
    )


def policy_of(policy: Policy | str) -> Policy:
    """Return the policy that a name stands for, or the policy itself."""
    return policy_named(policy) if isinstance(policy, str) else policy


def visit_of(
    name: str,
    agent: Hashable,
    attributes: Mapping[str, Any],
    *,
    session: SessionClass,
    arrivals: AbstractArrivals | None,
    engines: Collection[str],
) -> Visit:
    """Return the kind of visit that the attributes of an agent describe for one class."""
    where = f"agent {str(agent)!r}"
    turns = attributes.get("turns")
    carries, hit = (
        attributes.get("turn_carries_context", False),
        attributes.get("turn_prefix_cache_hit", 0),
    )
    check_hit(carries, hit, where=where, prefix="turn_")
    try:
        return Visit(
            name=name,
            agent=agent,
            request_class=session.name,
            engines=_positions(agent, attributes.get("engine"), engines),
            lengths=_lengths(attributes),
            arrivals=arrivals,
            priority=attributes.get("priority", session.priority),
            delay=attributes.get("delay", 0),
            has_random_delay=attributes.get("random_delay", False),
            turns=None if turns is None else _turns(turns),
            turn_carries_context=carries,
            turn_prefix_cache_hit=hit,
            dispatch=attributes.get("dispatch", "planned"),
            forks=attributes.get("fork", False),
            join=attributes.get("join"),
        )
    except InvalidArgument as error:
        msg = f"{where}: {str(error).removeprefix(f'visit {name!r}: ')}"
        raise InvalidArgument(msg) from None


def check_hit(carries: Any, hit: Any, *, where: str, prefix: str = "") -> None:
    """Refuse a share of cached context where no context is carried."""
    if hit and not carries:
        msg = (
            f"{where}: {prefix}prefix_cache_hit={hit!r} has no effect without "
            f"{prefix}carries_context=True."
        )
        raise InvalidArgument(msg)


def _positions(agent: Hashable, engine: Any, engines: Collection[str]) -> tuple[int, ...]:
    """Return the positions of the engines that ``engine`` stands for."""
    if engine is None:
        return ()
    if isinstance(engine, Engine):
        engine = str(agent)
    chosen = [engine] if isinstance(engine, str) else engine
    if not isinstance(chosen, list | tuple) or not all(isinstance(e, str) for e in chosen):
        msg = f"engine must be an Engine, the name of one, or a list of names, got {engine!r}."
        raise InvalidArgument(msg)
    order = list(engines)
    for name in chosen:
        check_named(name, order, "engine")
    return tuple(map(order.index, chosen))


def _lengths(attributes: Mapping[str, Any]) -> AbstractRequestLengths | None:
    given = [key for key in ("prompt_tokens", "output_tokens") if key in attributes]
    if "lengths" in attributes:
        if given:
            msg = f"it has both 'lengths' and {given[0]!r}: keep one of them."
            raise InvalidArgument(msg)
        joint: AbstractRequestLengths = attributes["lengths"]
        return joint
    if not given:
        return None
    if len(given) == 1:
        msg = "it needs both 'prompt_tokens' and 'output_tokens', or 'lengths'."
        raise InvalidArgument(msg)
    return independent_lengths(attributes["prompt_tokens"], attributes["output_tokens"])


def _turns(turns: Any) -> AbstractLength | None:
    law = length_law(turns, "turns", at_least=1)
    return None if law.smallest == law.largest == 1 else law
