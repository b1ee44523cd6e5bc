"""The script for a card runs on the processor, line by line, and says that it does."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    for name in ("gpu", "gpu_measures", "tile"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("gpu")


@pytest.mark.slow
def test_every_row_is_compared_and_timed_on_the_processor(gpu, tmp_path):
    out = tmp_path / "gpu.md"
    assert gpu.main(["--device", "cpu", "--small", "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert "the processor" in text
    assert "Small images, which show that the script runs" in text
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| U-Net | 1x3x64")]
    kinds = {row[3]: row[-1].strip(" |") for row in rows if row[2] == "float32"}
    assert {"whole", "streamed, rows chosen", "halo 1024, 8 per call"} <= set(kinds)
    assert all(kind in ("noise", "bit-identical") for how, kind in kinds.items() if how != "whole")
    assert "A step of ResNet-50's trunk" in text
    assert "| U-Net | streamed | " in text


def test_a_way_that_differs_or_does_not_fit_says_so_and_the_rest_goes_on(gpu):
    def wrong(model, x):
        return gpu.Prepared(
            lambda: model(x), gpu._compared(lambda image: model(image) + 1, model, x)
        )

    def too_large(model, x):
        def run():
            raise torch.OutOfMemoryError("CUDA out of memory.")

        return gpu.Prepared(run, None)

    net = torch.nn.Conv2d(3, 4, 3, padding=1)
    ways = {"whole": gpu.whole, "wrong": wrong, "too large": too_large, "stream": gpu.stream(8)}
    case = gpu.Case("net", lambda: net, torch.float32, (1, 3, 32, 32), ways)
    device = torch.device("cpu")
    found = gpu.limits(device, [torch.float32], small=True)
    with torch.inference_mode():
        lines = list(gpu.rows(case, device, found, until=time.monotonic() + 60))
        late = list(gpu.rows(case, device, found, until=0.0))
    said = dict(zip(ways, lines, strict=True))
    assert "| 1.00 |" in said["whole"]
    assert "differs from the whole's by" in said["wrong"]
    assert "does not fit" in said["too large"]
    assert said["stream"].endswith(("| noise |", "| bit-identical |"))
    assert ["no time was left" in line for line in late] == [False, True, True, True]


def test_the_work_of_a_convolution_is_counted(gpu):
    net, x = torch.nn.Conv2d(3, 4, 3, padding=1, bias=False), torch.zeros(1, 3, 8, 8)
    work = importlib.import_module("gpu_measures").work_of(net, x)
    assert work.flops == 2 * 4 * 64 * 27
    assert work.bytes == 4 * (3 * 64 + 4 * 27 + 4 * 64)


def test_the_time_of_a_kernel_counts_once(gpu):
    """torch gives it to the op that launched the kernel, too."""
    on, off = torch.autograd.DeviceType.CUDA, torch.autograd.DeviceType.CPU
    events = [
        SimpleNamespace(key=key, device_type=where, self_device_time_total=spent)
        for key, where, spent in (
            ("aten::cudnn_convolution", off, 30.0),
            ("sm90_xmma_fprop_implicit_gemm", on, 30.0),
            ("Memcpy DtoD (Device -> Device)", on, 2.0),
        )
    ]
    found = importlib.import_module("gpu_measures")._work(events, torch.device("cuda"))
    assert [spent for _, spent in found] == [30.0, 2.0]


def test_kernels_are_told_by_their_names(gpu):
    kind_of = importlib.import_module("gpu_measures").kind_of
    assert kind_of("sm90_xmma_fprop_implicit_gemm_f16f16_nhwc") == "convolutions"
    assert kind_of("void at::native::(anonymous namespace)::CatArrayBatchedCopy<...>") == (
        "concatenations"
    )
    assert kind_of("void cudnn::engines_precompiled::nchwToNhwcKernel<...>") == "layouts"
    assert kind_of("max_pool_forward_nhwc<float>") == "pools"
    assert kind_of("void cudnn::bn_fw_inf_1C11_kernel_NCHW<...>") == "norms"
    assert kind_of("Memcpy DtoD (Device -> Device)") == "copies"
    assert kind_of("vectorized_elementwise_kernel<4, launch_clamp_scalar>") == "element by element"


def test_the_card_has_its_number(gpu, monkeypatch):
    taken, measured = [], []
    monkeypatch.setattr(gpu.torch.cuda, "set_device", taken.append)
    monkeypatch.setattr(gpu, "measured", lambda device, **_: measured.append(device) or [])
    for name in ("cuda", "cuda:1"):
        gpu.main(["--device", name, "--small"])
    assert taken == measured
    assert [str(device) for device in taken] == ["cuda:0", "cuda:1"]
