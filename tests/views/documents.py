"""Reports of every type and the data of each, for the page of fields and for the schemas."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fieldwise import compare, effective_field, fold, latency, receptive_fields, streamed, summary
from fieldwise.field import UnitField
from fieldwise.field.unit_connections import connections
from fieldwise.folding import Saved
from fieldwise.reports import Report
from fieldwise.shift import antialias, certify, circular, measure
from fieldwise.tile import (
    AxisLayout,
    Calibration,
    Checked,
    FileOutcome,
    Georeference,
    Job,
    JobFile,
    ManyReport,
    Request,
    SampleStep,
    job_model,
    open_source,
    plan_job,
    plan_tiles,
)
from fieldwise.tile.files.voxel_map import VoxelMap
from fieldwise.tile.interop.bioimageio import AxisCheck
from fieldwise.views import connections_json, field_json, fold_json, shift_json, tile_json
from tests.views import reports as examples

Document = dict[str, Any]
SHAPE = (1, 1, 16, 16)


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*layers).eval()


def job_in(folder: Path) -> Job:
    np.save(folder / "in.npy", np.zeros((1, 16, 16), np.float32))
    layout = AxisLayout.of("CHW")
    source, spec = open_source(folder / "in.npy"), "layers:conv3p1 relu maxpool2/2"
    request = Request(
        job_model(spec, "1x1x16x16"), source, layout, folder / "out.npy", engine="halo", tile=8
    )
    return plan_job(request)


def every_report(folder: Path) -> dict[str, Report]:
    """A report of every type, with what it writes in the folder."""
    model = net()
    job = job_in(folder)
    running = streamed(model, SHAPE, band=4)
    return {
        "FieldReport": receptive_fields(model, SHAPE),
        "FoldReport": fold(model, SHAPE).report,
        "Saved": fold(model, SHAPE).save(folder / "folded", timed=True),
        "Certificates": certify(model, SHAPE),
        "Certificate": certify(model, SHAPE)["0"],
        "Measurement": measure(model, SHAPE, shift=2, layers=["0"]),
        "Repaired": circular(model, SHAPE),
        "TilePlan": plan_tiles(model, SHAPE, tile=8),
        "StreamPlan": running.plan(SHAPE),
        "LatencyReport": latency(nn.Sequential(nn.Conv1d(1, 2, 3), nn.GroupNorm(1, 2)), (1, 1, 8)),
        "RunCertificate": running.verify(torch.randn(SHAPE)),
        "JobPlan": job.plan,
        "JobReport": job.report("net", job.verify(), job.compared()),
        "ModuleSummary": summary(model, SHAPE),
        "NetworkComparison": compare(
            receptive_fields(model, SHAPE), receptive_fields(model[:3], SHAPE)
        ),
        "EffectiveField": effective_field(model, SHAPE, noise=1),
        "Checked": Checked(Path("out.npy"), 2, ("Piece 1: it is not there.",)),
        "ManyReport": ManyReport(
            "net", (FileOutcome(Path("a.npy"), Path("out/a.npy"), "failed", "it is gone"),)
        ),
    }


def documents(every: dict[str, Report]) -> dict[str, list[Document]]:
    """Per type of report and of other data, documents that have every field among them."""
    rows = [value for name, value in vars(examples).items() if type(value).__name__ == "Row"]
    bound = UnitField((0, 0), (64, 64), (), exact=False, why="a bound")
    units = {**examples.UNITS, "conv1": bound}
    everything = examples.report(*rows)
    everything.not_analysed = {"boxes": "the data say"}
    full = field_json.data(everything, rows, model="net", units=units)
    found = {name: [report.to_dict()] for name, report in every.items()}
    found["FieldReport"].append(full)
    check = AxisCheck("y", "x", 4, 8, 8, 16, 16, ("its halo is too small",))
    found["AxisCheck"] = [tile_json.description([check], model="net", source="rdf.yaml")]
    saved = every["Saved"]
    found["FoldReport"].append(fold_json.data(every["FoldReport"], model="net", saved=saved))
    found["Saved"].append(Saved((), (), (1, 1), (4, 4), notes=("a note",)).to_dict())
    certificates = certify(net(), SHAPE)
    better = antialias(net(), SHAPE)
    found["Certificates"].append(
        shift_json.data(
            certificates.outputs,
            (),
            model="net",
            source="input",
            shape=SHAPE,
            measurement=better.measurement,
            repaired=better,
        )
    )
    one, step = (Fraction(1),) * 3, SampleStep(Fraction(1))
    volume = VoxelMap("sform", ("X", "Y", "Z"), (one, one, one), one, 1)
    about = Calibration({"Y": step}, place=Georeference(one, one), affines=(volume,))
    full_file = JobFile(Path("a"), "YX", about)
    job = replace(every["JobReport"], source=full_file, results=(full_file,))
    found["JobReport"].append(job.to_dict())
    wrapping = nn.Sequential(nn.ReLU(), nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular"))
    held = streamed(wrapping.eval(), (1, 1, 8), axis=-1, band=2).plan((1, 1, 8))
    found["StreamPlan"].append(held.to_dict())
    several = [connections(net(), SHAPE), connections(net()[:1], SHAPE)]
    found["Connections"] = [connections_json.data(several, models=["one", "two"])]
    return found
