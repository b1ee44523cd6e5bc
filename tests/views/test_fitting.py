"""Tables that fit a width: what goes, folds or moves below, in which order, and never a number."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from fieldwise.views.fitting import FittingColumn, FittingTable

WHY = "towards the input: it is also read by features.denselayer2; towards the output: by relu"
TABLE = FittingTable(
    (
        FittingColumn("module", ("features.norm0", "features.denseblock1.norm1"), "name"),
        FittingColumn("op", ("batch_norm", "batch_norm"), "word"),
        FittingColumn("shape", ("1x256x14x14", "1x1024x7x7")),
        FittingColumn("extent", ("2071", "183")),
        FittingColumn("sees", ("150..1460 x 150..1460", "0..9 x 0..9"), keeps=True),
        FittingColumn("kind", ("BatchNorm2d", "BatchNorm2d"), "note"),
        FittingColumn("stays because", ("", WHY), "reason"),
    )
)


def printed(width: int) -> list[str]:
    console = Console(width=width, file=StringIO(), record=True)
    console.print(TABLE)
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [40, 50, 60, 70, 80, 100, 120, 300])
def test_every_number_that_is_shown_is_whole_and_every_word_of_a_reason_is_there(width):
    lines = printed(width)
    assert max(map(cell_len, lines)) <= width
    assert "150..1460 x 150..1460" in lines[1]
    for column in TABLE.columns[2:4]:
        gone = any(line.startswith("no room for") and column.title in line for line in lines)
        assert gone != (column.cells[0] in lines[1])
    text = " ".join("".join(lines).split())
    assert all(word in text.replace(" ", "") for word in WHY.replace(" ", " ").split())


def test_what_goes_first_as_the_room_gets_less():
    assert [column.title for column in TABLE.fitted(300).columns][-2:] == ["kind", "stays because"]
    fitted = TABLE.fitted(120)
    assert "kind" not in [column.title for column in fitted.columns]
    assert fitted.widths[-1] < len(WHY)
    below = TABLE.fitted(72)
    assert below.below is TABLE.columns[-1]
    narrow = TABLE.fitted(40)
    assert [column.title for column in narrow.columns] == ["module", "sees"]
    assert narrow.left_out == ("shape", "extent")


def test_a_reason_stands_below_its_row_and_not_below_others():
    lines = list(TABLE.lines(72))
    assert lines[1].startswith("features.norm0")
    assert lines[2].startswith("featur")
    assert lines[3].startswith("    towards the input")


def test_brief_cells_stand_where_room_is_short():
    column = FittingColumn(
        "notes", ("all by se; also layer4.2", ""), "reason", brief=("all by se", "")
    )
    table = FittingTable((FittingColumn("layer", ("a", "b"), "name"), column))
    assert list(table.lines(40))[1] == "a      all by se; also layer4.2"
    assert list(table.lines(20))[1] == "a      all by se"


def test_a_table_without_rows_has_its_titles():
    assert list(FittingTable((FittingColumn("layer", (), "name"),)).lines(20)) == ["layer"]
