"""What runs in another interpreter, by path: nothing here imports any package but its system.

``_loop.py`` is the program; its argument is the driver of a system, such as ``vllm_v1.py``.
"""
