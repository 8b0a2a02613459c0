"""The published schedulers, by name: Table 1 of arXiv:2504.07347v3 and vLLM v1."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from queueing_llm.errors import InvalidArgument, nearest
from queueing_llm.policies._rule import BatchRule

FASTER_TRANSFORMER = BatchRule("faster_transformer", first="decode", mixed=False, chunked=False)
"""Decode first, no mixing: nothing joins until every request of the batch has finished."""

VANILLA_VLLM = BatchRule("vanilla_vllm", first="prefill", mixed=False, chunked=False)
"""Prefill first, no mixing: decodes wait while any prompt can be served (vLLM of 2023)."""

ORCA = BatchRule("orca", first="prefill", mixed=True, chunked=True)
"""Prefill first, mixed; the last prompt is split to fill the budget."""

SARATHI = BatchRule("sarathi", first="decode", mixed=True, chunked=True)
"""Decode first, the rest of the budget for prompt chunks (Sarathi-Serve)."""

VLLM_V1 = BatchRule(
    "vllm_v1", first="decode", mixed=True, chunked=True, limit_counts="residents"
)
"""vLLM v1 with chunked prefill: Sarathi's batches; ``max_num_seqs`` counts residents."""

POLICIES: Mapping[str, BatchRule] = MappingProxyType(
    {rule.name: rule for rule in (FASTER_TRANSFORMER, VANILLA_VLLM, ORCA, SARATHI, VLLM_V1)}
)
"""Every built-in policy by its name."""

READINGS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "whole": {"chunked": False},
        "chunked": {"chunked": True},
        "members": {"limit_counts": "members"},
        "residents": {"limit_counts": "residents"},
    }
)
"""What the literature leaves open, by the word that picks a reading of it."""


def policy_named(name: str) -> BatchRule:
    """Return the built-in policy of that name, in any case, with optional readings.

    Parameters
    ----------
    name : str
        ``"sarathi"``, or with readings of what the literature leaves open after a colon:
        ``"orca:whole"``, ``"faster_transformer:chunked,residents"``.

    Raises
    ------
    InvalidArgument
        If there is no such policy or reading; the nearest name is suggested.

    Examples
    --------
    >>> policy_named("Orca:whole").is_work_conserving
    False
    """
    stem, _, readings = name.strip().lower().replace("-", "_").partition(":")
    if stem not in POLICIES:
        msg = f"there is no policy {name!r}: {nearest(stem, POLICIES)}."
        raise InvalidArgument(msg)
    rule = POLICIES[stem]
    for word in filter(None, (word.strip() for word in readings.split(","))):
        if word not in READINGS:
            msg = f"policy {stem!r} has no reading {word!r}: {nearest(word, READINGS)}."
            raise InvalidArgument(msg)
        rule = rule.variant(**READINGS[word])
    return rule
