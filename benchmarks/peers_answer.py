"""Answers one question (CAPABILITY SUBJECT TOOL) and prints it as JSON; see peers.py.

A process by itself, no child of a pool: some tools look at that.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from importlib import import_module

import torch
from peers_frame import asked

if __name__ == "__main__":
    torch.set_num_threads(1)
    module, subject, tool = sys.argv[1:]
    answer = asked(import_module(module).CAPABILITY, subject, tool)
    print(f"\n{json.dumps(asdict(answer))}")
