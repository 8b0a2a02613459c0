"""What policies that choose whom to serve have in common: fitting them into the limits."""

import numpy as np

from queueing_llm.policies._contract import Batch, EngineState


def share_out(state: EngineState, chosen: np.ndarray) -> Batch:
    """Return the batch that serves the chosen requests, as far as the limits allow.

    One token for each of them, decodes first, then prompts, oldest first; what is left of
    the budget goes to the oldest prompts. Then the newest requests give way until the rest
    fits in the KV cache: prompts wait, residents are preempted. Nobody is preempted for an
    empty batch.

    Parameters
    ----------
    state : EngineState
        What the policy sees, with ``R`` requests.
    chosen : bool array, shape (R,)
        Whom to serve.

    Returns
    -------
    Batch
        Legal in ``state``. All prompts in it have started, so a later step can tell them
        from those that wait.
    """
    tokens = np.zeros(len(state.request), dtype=np.int64)
    order = np.concatenate([state.decoding, state.prefilling])
    order = order[chosen[order]][: state.max_batch_size][: state.token_budget]
    more = np.maximum(state.prompt_left[order], 1) - 1
    spare = state.token_budget - len(order) - (np.cumsum(more) - more)
    tokens[order] = 1 + np.clip(spare, 0, more)
    if state.kv_blocks is None:
        return Batch(tokens)
    # The newest give way one after the other exactly if the oldest that fit stay.
    stays = np.cumsum(state.blocks_of(state.stored + tokens)) <= state.kv_blocks
    tokens[~stays] = 0
    return Batch(tokens, ~stays & (state.stored > 0) & tokens.any())
