"""The names among which whoever runs a job chooses; the command line offers the same."""

from __future__ import annotations

from typing import Literal

EngineName = Literal["stream", "halo"]
"""How pieces are computed."""

Cache = Literal["none", "rows", "both"]
"""What pieces keep: nothing; rows from band to band; also columns from strip to strip."""

GlobalOps = Literal["refuse", "multipass", "materialise", "auto"]
"""What is done with layers that need the whole input."""

Runtime = Literal["torch", "ort"]
"""What runs the crops: torch, or ONNX Runtime."""

Compression = Literal["zstd", "deflate", "lzw", "none"]
"""By what the blocks of a result are compressed."""
