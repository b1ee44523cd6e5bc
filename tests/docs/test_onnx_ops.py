"""The page of ONNX operators is what the table of translations says."""

import onnx
import pytest

from benchmarks.onnx_ops import PAGE, page


def test_the_page_of_onnx_operators_is_current():
    if f"onnx {onnx.__version__} knows" not in PAGE.read_text("utf-8"):
        pytest.skip("the page is of another version of onnx")
    assert PAGE.read_text("utf-8") == page(), "run python benchmarks/onnx_ops.py"


def test_no_operator_of_onnx_is_left_without_a_reason():
    text = page()
    assert "refused: not supported" not in text
    assert text.count("| translated |") > 200
