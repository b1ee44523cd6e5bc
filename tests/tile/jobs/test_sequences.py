"""Every law of sequences as a job on files: the whole's result, also after a kill in the middle."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fieldwise.capture import Model
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.tile import streamed
from fieldwise.tile.files import AxisLayout, open_source
from fieldwise.tile.jobs import Job, Request, checkpoint, plan_job
from fieldwise.tile.jobs.models import JobModel
from tests.tile.bands.laws import Law, laws
from tests.tile.bands.test_laws import LAWS
from tests.tile.jobs.cases import carried_out, content


def _recurrent(x: Tensor, lstm: nn.Module) -> Tensor:
    return lstm(x.transpose(1, 2))[0].transpose(1, 2)


def _normed(x: Tensor, norm: nn.Module, lstm: nn.Module) -> Tensor:
    return _recurrent(norm(x), lstm).sin() * x.mean(2, keepdim=True)


MORE = laws(
    recurrent=Law(_recurrent, (1, 3, 60), 2, (nn.LSTM(3, 4, batch_first=True),)),
    norms_before_recurrence=Law(
        _normed, (1, 4, 60), 2, (nn.GroupNorm(2, 4), nn.LSTM(4, 4, batch_first=True)), passes=True
    ),
)
WHOLE = laws(
    both_ways=Law(
        _recurrent, (1, 3, 60), 2, (nn.LSTM(3, 4, batch_first=True, bidirectional=True),)
    ),
    sorted=Law(lambda x: x.sort(2).values - x.roll(1, 2), (1, 3, 60), 2),
    attention_to_all=Law(
        lambda x: nn.functional.scaled_dot_product_attention(x, x.sin(), x).cumsum(1),
        (1, 60, 3), 1,
    ),
)  # fmt: skip
"""What has to be kept whole."""

OFTEN = (
    "stft centred", "istft", "denoiser", "vocoder", "frames", "folds with gaps",
    "convolution by frame", "frames with norms", "windows in time", "fused, causal",
    "filled, window", "added, chunk", "rotated", "extremes", "lower triangle",
    "places that are written", "bilinear to (12, 8)", "gate", "style", "two pools",
)  # fmt: skip
SUFFIXES = (".npy", ".zarr", ".tif")


class Adapted(nn.Module):
    """A law's network on (1, channels, time, 2): all dimensions but the axis are channels."""

    def __init__(self, law: Law, dim: int) -> None:
        super().__init__()
        self.network, self.axis, self.dim = law.model, law.axis, dim
        self.others = [n for d, n in enumerate(law.shape) if d != law.axis]

    def forward(self, x: Tensor) -> Tensor:
        y = x[..., 0].reshape(*self.others, x.shape[2])
        y = y.movedim(-1, self.axis).contiguous()
        lines = self.network(y).movedim(self.dim, -1)
        lines = lines.reshape(1, -1, lines.shape[-1])
        return torch.stack([lines, -lines], -1)


def _job(law: Law, folder: Path, out: str, global_ops: str) -> Job:
    run = streamed(law.model, law.example, axis=law.axis, global_ops=global_ops)
    program = run.planned((law.shape,)).program
    model = Adapted(law, program.values[program.outputs[0]].axis.dim)
    length = law.shape[law.axis]
    shape = (1, prod(law.shape) // length, length, 2)
    example = torch.empty(shape, dtype=torch.float64, device="meta")
    built = JobModel(ModelCall(model, example), Model("law", model, (shape,)))
    source, layout = open_source(folder / "in.npy"), AxisLayout.of("CHW")
    return plan_job(Request(built, source, layout, folder / out, band=5, global_ops=global_ops))


def _wanted(law: Law, folder: Path, global_ops: str) -> np.ndarray:
    """The whole's result; the input is put into the folder."""
    lines = law.example.movedim(law.axis, -1).reshape(-1, law.shape[law.axis], 1)
    lines = lines.repeat(1, 1, 2).numpy()
    np.save(folder / "in.npy", lines)
    model = _job(law, folder, "none.npy", global_ops).request.model.call.model
    with torch.no_grad():
        return model(torch.from_numpy(lines)[None])[0].numpy()


def _killed(job: Job, moment: int) -> bool:
    """Carry a job out in a process of its own, until it keeps or writes something again.

    False where it has ended before.
    """
    pid = os.fork()
    if not pid:
        try:
            _kill_at(moment)
            carried_out(job, resume=True)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def _kill_at(moment: int) -> None:
    checkpoint.LEAST = checkpoint._SHARE = 0.0
    whole, left = Path.replace, [moment]

    def replace(self: Path, target: Path) -> Path:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(self, target)

    Path.replace = replace  # type: ignore[method-assign, assignment]


def _is_whole_and_resumed(
    law: Law, folder: Path, suffix: str, global_ops: str, moments: Callable[[int], int]
) -> None:
    wanted = _wanted(law, folder, global_ops)
    carried_out(_job(law, folder, f"alone{suffix}", global_ops))
    found = open_source(folder / f"alone{suffix}")
    values = found[tuple(slice(None) for _ in found.shape)]
    np.testing.assert_allclose(np.asarray(values).reshape(wanted.shape), wanted, rtol=0, atol=1e-10)
    moment, kills = 1, 0
    while _killed(job := _job(law, folder, f"out{moment}{suffix}", global_ops), moment):
        carried_out(job, resume=True)
        assert content(job.files[0].path) == content(folder / f"alone{suffix}")
        moment, kills = moments(moment), kills + 1
    assert kills


def _cases(names: dict[str, Law], global_ops: str | None = None) -> list[object]:
    """Laws as cases, each with a format of files; those that are seldom red are slow."""
    return [
        pytest.param(
            law, SUFFIXES[number % 3], global_ops or ("multipass" if law.passes else "refuse"),
            id=name, marks=[] if name in (*OFTEN, *MORE, *WHOLE) else [pytest.mark.slow],
        )
        for number, (name, law) in enumerate(names.items())
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("law", "suffix", "global_ops"), [*_cases(LAWS | MORE), *_cases(WHOLE, "materialise")]
)
def test_a_law_as_a_job_is_the_whole_also_after_a_kill(tmp_path, law, suffix, global_ops):
    _is_whole_and_resumed(law, tmp_path, suffix, global_ops, lambda moment: moment + 9)
