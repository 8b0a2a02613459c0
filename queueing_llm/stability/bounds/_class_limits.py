"""What a region of classes assumes of a workload, and what it leaves out."""

from queueing_llm.errors import InvalidArgument
from queueing_llm.model import Engine, Workload
from queueing_llm.stability.bounds._batches import reads_kv


def check_classes(workload: Workload, longest_prompts: tuple[int | None, ...]) -> None:
    """Raise unless a workload has these classes, and no prompts longer than they allow."""
    if len(workload.classes) != len(longest_prompts):
        msg = (
            f"workload must have {len(longest_prompts)} classes, one for each of the region, "
            f"got {len(workload.classes)}."
        )
        raise InvalidArgument(msg)
    for longest, kind in zip(longest_prompts, workload.classes, strict=True):
        prompt = kind.lengths.longest_prompt
        if longest is not None and (prompt is None or prompt > longest):
            length = "of any length" if prompt is None else f"of {prompt} tokens"
            msg = (
                f"workload must have prompts of at most {longest} tokens in class "
                f"{kind.name!r}, as the region assumes, got prompts {length}."
            )
            raise InvalidArgument(msg)


def relaxations(engine: Engine) -> tuple[str, ...]:
    """Return what a region of classes leaves out that can only shrink it."""
    left_out = []
    tokens = engine.batch_tokens_limit()
    if (engine.max_batch_size or tokens) < tokens:
        left_out.append(
            "one request can prefill in a batch as much as the longest prompt of its class, or "
            "all where none is given, whatever its prompt is"
        )
    if engine.kv_capacity is not None:
        left_out.append("the KV cache bounds the tokens of a batch, not those between batches")
    if reads_kv(engine.step_time):
        left_out.append("step times are the least over the KV tokens that a batch may read")
    return tuple(left_out)
