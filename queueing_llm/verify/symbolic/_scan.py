"""The scan of a batch rule on integers, request by request: a twin of the rule.

What is proved is about the scan, so it must be the rule: tests compare the two in all small
states, under every limit.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from queueing_llm.errors import InvalidArgument
from queueing_llm.policies import Batch, BatchRule, EngineState
from queueing_llm.verify.symbolic import _rule as steps
from queueing_llm.verify.symbolic._rule import Account, Stage


def _empty(state: EngineState) -> Account:
    """Return the account of an empty batch."""
    return Account(
        budget=state.token_budget,
        batch_limit=state.max_batch_size,
        capacity=state.kv_capacity,
        decodes=len(state.decoding),
        held=int(state.stored.sum()),
        residents=int((state.stored > 0).sum()),
    )


def scanned(rule: BatchRule, state: EngineState) -> tuple[Account, Batch]:
    """Return the account and the batch of the twin, request by request.

    Raises
    ------
    InvalidArgument
        If the KV cache has blocks of more than one token, which the twin does not know.
    """
    if state.kv_block_size > 1:
        msg = f"kv_block_size must be 1, got kv_block_size={state.kv_block_size}."
        raise InvalidArgument(msg)
    rows = list(zip(*(getattr(state, name).tolist() for name in _COLUMNS), strict=True))
    account, tokens, lost = _empty(state), [0] * len(rows), [False] * len(rows)
    for stage in steps.stages(rule):
        if stage.needs_empty and account.tokens:
            for left, _, stored in rows:
                if (left == 0) is (stage.name == "decode") and stage.name != "room":
                    account = _passed_over(account, left=left, stored=stored)
            continue
        account = _run(
            rule, stage, steps.entered(stage, account), rows=rows, batch=(tokens, lost)
        )
        account = steps.left_behind(rule, stage, account)
    return account, Batch(np.array(tokens, dtype=np.int64), np.array(lost, dtype=np.bool_))


_COLUMNS = ("prompt_left", "decode_left", "stored")


def _run(
    rule: BatchRule,
    stage: Stage,
    account: Account,
    *,
    rows: Sequence[tuple[int, int, int]],
    batch: tuple[list[int], list[bool]],
) -> Account:
    tokens, lost = batch
    if stage.name == "room":
        newest = [i for i, (_, _, stored) in enumerate(rows) if stored and not lost[i]]
        while steps.needs_room(rule, account):
            i = newest.pop()
            left, _, stored = rows[i]
            account, lost[i] = (
                steps.preempted(account, stored=stored, is_decode=left == 0),
                True,
            )
        return account
    for i, (left, decodes, stored) in enumerate(rows):
        if stage.name == "decode" and left == 0:
            kept = not lost[i]
            account, tokens[i] = steps.after_decode(
                rule, account, is_kept=kept, decode_left=decodes
            )
        elif stage.name == "prefill" and left > 0:
            account, tokens[i] = steps.after_prompt(rule, account, left=left, stored=stored)
    return account


def _passed_over(account: Account, *, left: int, stored: int) -> Account:
    """Return the account after one request of a phase that is left out."""
    account = replace(account, demand=account.demand + max(left, 1))
    if left == 0:
        return replace(account, decode_short=True)
    if account.prompt_short:
        return account
    return replace(
        account,
        prompt_short=True,
        short_is_served=False,
        short_has_started=stored > 0,
        short_left=left,
    )
