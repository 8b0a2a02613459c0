"""PagedAttention, vLLM (SOSP 2023): the KV cache in pages."""
