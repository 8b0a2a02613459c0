"""Where the packaged presets come from; a new preset is one more entry of :data:`SOURCES`."""

from dataclasses import dataclass
from typing import final

_LENGTHS = (
    "The requests are reduced to a joint table of prompt and output lengths: means, rounded "
    "to whole tokens, of cells of two or more requests of similar lengths."
)
_RENEWAL = (
    " The arrival times are reduced to a table of gaps, the means of bins of two or more. "
    "Drawn independently, the gaps keep the rate and the variability of the trace but not "
    "its index of dispersion: bursts and lulls that outlast a gap are lost."
)
_BATCHES = (
    " The arrival times lie on a grid of 3 seconds, up to 3 ms; they are reduced to how often "
    "each number of requests arrives on a tick. Drawn independently every 3 seconds, the "
    "batches keep the rate and the variance per tick but not what correlates ticks."
)
_AZURE = (
    "Patel, Choukse, Zhang, Shah, Goiri, Maleki, Bianchini. Splitwise: Efficient generative "
    "LLM inference using phase splitting. ISCA 2024. arXiv:2311.18677. Data by Microsoft Azure."
)


@final
@dataclass(frozen=True, slots=True)
class Source:
    """Repository, terms and treatment of one trace.

    Parameters
    ----------
    source, licence, citation, changes : str
        Repository, commit and file; terms of use; whom to credit; what was changed.
    batch_interval : int or None
        Step of the time grid [s] that the arrivals were recorded on, None if there is none.
    """

    source: str
    licence: str
    citation: str
    changes: str
    batch_interval: int | None = None


SOURCES = {
    "arxiv-summarization": Source(
        source=(
            "github.com/microsoft/vidur @ 7d47513363ec447a741ac5e47241580b47724fbf, "
            "arxiv_summarization_stats_llama2_tokenizer_filtered_v2.csv"
        ),
        licence="MIT, copyright Microsoft Corporation",
        citation=(
            "Agrawal et al. Vidur: A large-scale simulation framework for LLM inference. "
            "MLSys 2024. arXiv:2405.05465."
        ),
        changes=(
            _LENGTHS + " The source has no arrival times, and its authors left out requests "
            "of more than 4,096 tokens."
        ),
    ),
    "azure-code-2023": Source(
        source=(
            "github.com/Azure/AzurePublicDataset @ b469a113cedca53ddc3bdea71a143dc4b7d8700c, "
            "AzureLLMInferenceTrace_code.csv"
        ),
        licence="CC-BY-4.0",
        citation=_AZURE,
        changes=_LENGTHS + _RENEWAL,
    ),
    "azure-conv-2023": Source(
        source=(
            "github.com/Azure/AzurePublicDataset @ b469a113cedca53ddc3bdea71a143dc4b7d8700c, "
            "AzureLLMInferenceTrace_conv.csv"
        ),
        licence="CC-BY-4.0",
        citation=_AZURE,
        changes=_LENGTHS + _RENEWAL,
    ),
    "mooncake-conversation": Source(
        source=(
            "github.com/kvcache-ai/Mooncake @ 3b5a594133958449a1feaf1c9e0fc1b553e34a28, "
            "conversation_trace.jsonl"
        ),
        licence="Apache-2.0",
        citation=(
            "Qin et al. Mooncake: Trading more storage for less computation - A "
            "KVCache-centric architecture for serving LLM chatbot. FAST 2025. "
            "arXiv:2407.00079."
        ),
        changes=_LENGTHS + " The prefix blocks are left out." + _BATCHES,
        batch_interval=3,
    ),
}
