"""Hostile exported programs: one sentence, nothing executed, nothing written, nothing allocated."""

from __future__ import annotations

import json
import resource
import time
from zipfile import ZIP_DEFLATED, ZipFile

import pytest
import torch
from typer.testing import CliRunner

from fieldwise import receptive_fields
from fieldwise.capture import load_model
from fieldwise.capture.torch.exported.operators import find_operator
from fieldwise.capture.torch.exported.refusal import UnreadableError
from fieldwise.cli.app import app
from fieldwise.errors import UsageError
from tests.capture.torch.exported_cases import (
    GRAPH,
    WEIGHTS,
    before,
    edited,
    members,
    node,
    rewritten,
    tensor,
    write_program,
)

ONES = node("ones", "a", size={"as_ints": [1]})


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    return write_program(tmp_path_factory.mktemp("hostile") / "net.pt2")


def read(path, **options):
    """What ``field`` does with a file."""
    model = load_model(str(path), **options)
    return receptive_fields(model.source, model.example())


def refusal(path, **options):
    """The sentence; it comes soon, and without much memory."""
    begin, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UsageError) as caught:
        read(path, **options)
    assert time.process_time() - begin < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 1 << 20
    return str(caught.value)


def test_the_program_itself_is_read(program):
    assert read(program)["features.0"].row.extent == (3, 3)


@pytest.mark.parametrize(
    "text",
    [
        "S('eval')(S('chr')(112)+S('chr')(114))",
        "9**9**9**9",
        "(" * 5000,
        "s0.free_symbols",
        "lambda: 0",
        "Symbol('s0', (lambda: 0)())",
        "Pow(9, Pow(9, Pow(9, 9)))",
        "x" * 30_000,
        "",
    ],
)
def test_a_size_is_arithmetic_or_refused(program, tmp_path, text):
    def change(document):
        values = document["graph_module"]["graph"]["tensor_values"]
        for value in values.values():
            for size in value["sizes"]:
                if "as_expr" in size:
                    size["as_expr"]["expr_str"] = text

    path = rewritten(program, tmp_path / "net.pt2", {GRAPH: edited(change)})
    said = refusal(path)
    assert "where fieldwise expects a plain operator, size or container" in said
    assert len(said) < 400


def test_a_file_is_neither_mapped_nor_grown(program, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"x" * 25)
    opened = node(
        "from_file",
        "a",
        filename={"as_string": str(victim)},
        shared={"as_bool": True},
        size={"as_int": 250_000},
    )
    written = node("add_.Scalar", "b", self=tensor("a"), other={"as_int": 1})
    path = rewritten(program, tmp_path / "net.pt2", {GRAPH: before(opened, written)})
    assert "'torch.ops.aten.from_file.default'" in refusal(path)
    assert victim.read_bytes() == b"x" * 25


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.set_.source_Tensor",
        "torch.ops.aten.set_.source_Storage",
        "torch.ops.aten.set_data.default",
        "torch.ops.aten.resize_.default",
        "torch.ops.aten.record_stream.default",
        "torch.ops.aten.save.default",
        "torch.ops.aten._cudnn_init_dropout_state.default",
        "torch.ops.aten._sparse_coo_tensor_unsafe.default",
        "torch.ops.aten.fbgemm_linear_fp16_weight.default",
        "torch.ops.aten.quantized_lstm_cell.default",
        "torch.ops.aten.add.out",
        "torch.ops.aten.__class__.default",
        "torch.ops.prim.RaiseException.default",
        "torch.ops.inductor.resize_storage_bytes_.default",
        "torch.ops.higher_order.cond",
        "torch.ops.higher_order.triton_kernel_wrapper_functional",
        "torch.ops.profiler._record_function_enter.default",
        "torch.ops.load_library",
        "torch.load",
        "torch.hub.load",
        "_operator.methodcaller",
        "math.factorial",
        "builtins.eval",
        "#extension:op",
        "",
    ],
)
def test_an_operator_is_looked_up_among_those_that_are_allowed(target):
    with pytest.raises(UnreadableError, match="expects a plain operator"):
        find_operator(target)


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.conv2d.default",
        "torch.ops.aten._softmax.default",
        "torch.ops.aten._native_batch_norm_legit_no_training.default",
        "torch.ops.aten._weight_norm.default",
        "torch.ops.aten.add_.Tensor",
        "torch.ops.aten.zero_.default",
        "torch.ops.aten.lift_fresh_copy.default",
        "torch.ops.aten.full_like.default",
        "torch.ops.aten.fft_rfft.default",
        "torch.ops.aten.lstm_cell.default",
        "torch.ops.aten.__and__.Tensor",
        "torch.ops.aten.div.Tensor_mode",
        "torch.ops.prims.convert_element_type.default",
        "_operator.floordiv",
        "torch.sym_max",
    ],
)
def test_operators_that_fieldwise_can_describe_are_allowed(target):
    assert not find_operator(target).ignored


def test_assertions_are_not_called():
    assert find_operator("torch.ops.aten._assert_tensor_metadata.default").ignored


def test_nothing_that_is_allowed_takes_an_object_or_gives_nothing():
    """Over all operators that torch knows, whatever they are called."""
    allowed = []
    for name in torch._C._dispatch_get_all_op_names():
        space, _, rest = name.partition("::")
        plain, _, overload = rest.partition(".")
        try:
            operator = find_operator(f"torch.ops.{space}.{plain}.{overload or 'default'}")
        except UnreadableError:
            continue
        if operator.overload is not None and not operator.ignored:
            allowed.append(operator.overload._schema)
    assert len(allowed) > 800
    for schema in allowed:
        kinds = " ".join(str(argument.type) for argument in schema.arguments)
        assert not any(word in kinds for word in ("Storage", "Stream", "__torch__", "Dimname"))
        assert schema.returns
        assert not any(argument.is_out for argument in schema.arguments)


# -------------------------------------------------------------------- constants


def full(value, *size):
    return node("full", "a", size={"as_ints": list(size)}, fill_value={"as_int": value})


CONSTANTS = {
    "at once": [node("ones", "a", size={"as_ints": [3_000_000_000]})],
    "of two sizes that overflow": [node("ones", "a", size={"as_ints": [2**40, 2**40]})],
    "eye": [node("eye", "a", n={"as_int": 1_000_000})],
    "arange": [node("arange", "a", end={"as_int": 10**12})],
    "triangle": [node("tril_indices", "a", row={"as_int": 10**6}, col={"as_int": 10**6})],
    "strided": [
        node("empty_strided", "a", size={"as_ints": [2, 2]}, stride={"as_ints": [2**40, 1]})
    ],
    "doubling": [
        node("ones", "a0", size={"as_ints": [1000]}),
        *(
            node("cat", f"a{n + 1}", tensors={"as_tensors": [{"name": f"a{n}"}] * 2})
            for n in range(40)
        ),
    ],
    "expanded": [
        ONES,
        node("expand", "b", self=tensor("a"), size={"as_ints": [10**10]}),
        node("sum", "c", self=tensor("b")),
    ],
    "outer": [
        node("ones", "a", size={"as_ints": [100_000]}),
        node("outer", "b", self=tensor("a"), vec2=tensor("a")),
    ],
    "in place, again and again": [
        node("ones", "a", size={"as_ints": [10**7]}),
        *(node("add_.Scalar", f"b{n}", self=tensor("a"), other={"as_int": 1}) for n in range(200)),
    ],
    "like what derives from the input": [
        node("expand", "a", self=tensor("x"), size={"as_ints": [10**8, 3, 9, 8]}),
        node("ones_like", "b", self=tensor("a")),
    ],
    "repeated by value": [
        full(10**9, 4),
        node("repeat_interleave.Tensor", "b", repeats=tensor("a")),
    ],
    "classes by value": [full(10**10, 4), node("one_hot", "b", self=tensor("a"))],
}


@pytest.mark.parametrize("nodes", CONSTANTS.values(), ids=CONSTANTS)
def test_a_large_constant_is_refused_before_it_is_made(program, tmp_path, nodes):
    path = rewritten(program, tmp_path / "net.pt2", {GRAPH: before(*nodes)})
    said = refusal(path)
    assert "raise --max-constant if you trust it" in said or "not known beforehand" in said


def test_a_value_far_larger_than_what_it_is_made_of_is_refused(program, tmp_path):
    grown = node("repeat", "a", self=tensor("x"), repeats={"as_ints": [10**6, 1, 1, 1]})
    path = rewritten(program, tmp_path / "net.pt2", {GRAPH: before(grown)})
    assert read(path)
    grown["inputs"][1]["arg"] = {"as_ints": [10**7, 1, 1, 1]}
    path = rewritten(program, tmp_path / "net.pt2", {GRAPH: before(grown)})
    assert "makes a value of 8,640,000,000 bytes (aten.repeat.default)" in refusal(path)


def test_many_tensors_are_refused_before_they_are_made(program, tmp_path):
    cut = node("unbind.int", "b", self=tensor("b0"))
    nodes = [ONES, node("expand", "b0", self=tensor("a"), size={"as_ints": [10**8]}), cut]
    path = rewritten(program, tmp_path / "net.pt2", {GRAPH: before(*nodes)})
    assert "cuts a tensor into more than 131,072" in refusal(path, max_constant=1 << 40)


def test_the_limit_of_constants_can_be_raised_on_the_command_line(program, tmp_path):
    nodes = [node("ones", "a", size={"as_ints": [1_000_000]})]
    path = str(rewritten(program, tmp_path / "net.pt2", {GRAPH: before(*nodes)}))
    run = CliRunner()
    said = run.invoke(app, ["field", path, "--max-constant", "1MiB"])
    assert said.exit_code == 2
    assert said.stderr == (
        f"error: {path!r} makes constants of more than 1,048,576 bytes (aten.ones.default); raise "
        "--max-constant if you trust it.\n"
    )
    assert run.invoke(app, ["field", path, "--max-constant", "5MB"]).exit_code == 0
    assert run.invoke(app, ["field", path]).exit_code == 0


@pytest.mark.parametrize(
    "command",
    [
        ("field",),
        ("fold",),
        ("shift",),
        ("diagram", "-o", "out.svg"),
        ("tile", "in.npy", "out.npy"),
    ],
    ids=lambda command: command[0],
)
def test_every_command_has_the_limit(program, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    name, *rest = command
    with open("in.npy", "wb") as file:
        import numpy as np

        np.save(file, np.zeros((3, 9, 8), np.float32))
    nodes = [node("ones", "a", size={"as_ints": [1_000_000]})]
    path = str(rewritten(program, tmp_path / "net.pt2", {GRAPH: before(*nodes)}))
    said = CliRunner().invoke(app, [name, path, *rest, "--max-constant", "1MiB"])
    assert said.exit_code == 2
    assert "raise --max-constant if you trust it" in said.stderr


# -------------------------------------------------------------------- archives


def deflated(program, path, name, chunk, count):
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for member, data in members(program).items():
            if not member.endswith(name):
                archive.writestr(member, data)
        with archive.open(f"net/{name}", "w") as file:
            for _ in range(count):
                file.write(chunk)
    return path


def test_a_member_that_nobody_needs_is_not_unpacked(program, tmp_path):
    path = deflated(program, tmp_path / "net.pt2", "unused", bytes(10 << 20), 5)
    assert read(path, max_constant=1 << 20)["features.0"].row.extent == (3, 3)


def test_a_weight_that_unpacks_to_far_more_than_the_file_is_refused(program, tmp_path):
    path = deflated(program, tmp_path / "net.pt2", "data/weights/weight_0", bytes(10 << 20), 5)
    assert "it unpacks to far more than its own" in refusal(path, max_constant=1 << 20)


def test_a_graph_of_very_many_parts_is_refused(program, tmp_path):
    path = deflated(program, tmp_path / "net.pt2", GRAPH, b"[{}," + b"{}," * (1 << 20), 3)
    assert "models/model.json has more than 2,000,000 parts" in refusal(path)


def test_a_directory_of_very_many_members_is_refused(program, tmp_path):
    more = {f"net/{number:05000}": b"" for number in range(1000)}
    path = rewritten(program, tmp_path / "net.pt2", {}, **more)
    assert "its directory is too long" in refusal(path)


def test_a_member_that_is_there_twice_is_refused(program, tmp_path):
    path = rewritten(program, tmp_path / "net.pt2", {}, **{f"other/{GRAPH}": b"{}"})
    assert "models/model.json is there 2 times" in refusal(path)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("storage_offset", {"as_int": 10**6}, "is larger than its bytes"),
        ("storage_offset", {"as_int": -1}, "is no integer of this size"),
        ("strides", [{"as_int": -1}] * 4, "is no integer of this size"),
        ("strides", [{"as_int": 2**62}] * 4, "is larger than its bytes"),
        ("sizes", [{"as_int": 10**6}] * 4, "is larger than its bytes"),
        ("sizes", [{"as_int": 1}] * 70, "has no such dimensions"),
        ("sizes", {"as_int": 1}, "is no list"),
        ("dtype", 99, "is no plain dense tensor"),
        ("layout", 1, "is no plain dense tensor"),
        ("dtype", "7", "is no integer"),
    ],
)
def test_a_weight_looks_at_its_own_bytes_alone(program, tmp_path, name, value, why):
    def change(document):
        document["config"]["features.0.weight"]["tensor_meta"][name] = value

    path = rewritten(program, tmp_path / "net.pt2", {WEIGHTS: edited(change)})
    assert why in refusal(path)


def test_a_weight_that_repeats_its_bytes_counts_as_large_as_it_is(program, tmp_path):
    def change(document):
        meta = document["config"]["features.0.weight"]["tensor_meta"]
        meta.update(sizes=[{"as_int": 10**6}] * 2, strides=[{"as_int": 0}] * 2)

    path = rewritten(program, tmp_path / "net.pt2", {WEIGHTS: edited(change)})
    assert "it unpacks to far more than its own" in refusal(path)


@pytest.mark.parametrize("name", ["__class__", "forward", "", "features", "features.0._parameters"])
def test_a_weight_cannot_take_the_place_of_something_else(program, tmp_path, name):
    def change(document):
        config = document["config"]
        config[name] = config["features.0.weight"]

    path = rewritten(program, tmp_path / "net.pt2", {WEIGHTS: edited(change)})
    assert f"a tensor is called {name!r}" in refusal(path) or "a module is called" in refusal(path)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b'"text"', b"null", b"1e9"]
)
def test_a_document_that_is_none_is_refused(program, tmp_path, data):
    path = rewritten(program, tmp_path / "net.pt2", {GRAPH: lambda _: data})
    assert "is damaged" in refusal(path)


def test_another_format_is_refused_with_the_remedy(program, tmp_path):
    def change(document):
        document["schema_version"]["major"] = 3

    path = rewritten(program, tmp_path / "net.pt2", {GRAPH: edited(change)})
    assert "format 3, where fieldwise reads format 8); write it again with" in refusal(path)


def test_another_byte_order_is_refused_with_the_remedy(program, tmp_path):
    path = rewritten(program, tmp_path / "net.pt2", {"byteorder": lambda _: b"big"})
    assert "another byte order; export it again on this one" in refusal(path)


def test_values_are_made_once_and_before_they_are_used(program, tmp_path):
    twice = rewritten(program, tmp_path / "twice.pt2", {GRAPH: before(ONES, ONES)})
    assert "'a' is made twice" in refusal(twice)
    early = node("relu", "a", self=tensor("conv2d"))
    path = rewritten(program, tmp_path / "early.pt2", {GRAPH: before(early)})
    assert "'conv2d' is used before it is made" in refusal(path)


def test_a_huge_input_is_refused(program, tmp_path):
    def change(document):
        sizes = document["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
        sizes[0] = {"as_int": 2**62}

    path = rewritten(program, tmp_path / "net.pt2", {GRAPH: edited(change)})
    assert "its input is 4611686018427387904x3x9x8" in refusal(path)


def test_very_many_steps_are_refused(program, tmp_path):
    nodes = [{"target": "x"}] * 30_001
    path = rewritten(program, tmp_path / "net.pt2", {GRAPH: before(*nodes)})
    assert "it has more than 30,000 steps" in refusal(path)


def test_a_container_that_would_have_to_be_imported_is_refused(program, tmp_path):
    def change(document):
        signature = document["graph_module"]["module_call_graph"][0]["signature"]
        leaf = {"type": None, "context": None, "children_spec": []}
        spec = {"type": "os.system", "context": "[]", "children_spec": [leaf]}
        signature["out_spec"] = json.dumps([1, spec])

    path = rewritten(program, tmp_path / "net.pt2", {GRAPH: edited(change)})
    assert "holds 'os.system' where fieldwise expects" in refusal(path)
