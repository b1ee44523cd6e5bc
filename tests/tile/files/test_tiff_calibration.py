"""What real writers put into TIFF files is read, and stands in the result on its grid."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tifffile

from fieldwise.errors import UsageError
from fieldwise.tile.files import NewFile, open_source
from fieldwise.tile.files.calibration import Calibration, SampleStep, calibration_of
from fieldwise.tile.files.georeference import Georeference
from fieldwise.tile.files.geotiff import KEYS, SCALE, TIES
from tests.tile.jobs.cases import image

STACK = image(2, 3, 40, 50)
FIJI = "\n".join(
    ["ImageJ=1.54f", "images=3", "slices=3", "unit=\\u00B5m", "spacing=2.0", "loop=false",
     "min=0.0", "max=1.0", "xorigin=4", "yorigin=0", ""]
)  # fmt: skip
QUPATH = {
    "axes": "CYX",
    "PhysicalSizeX": 0.2527,
    "PhysicalSizeXUnit": "µm",
    "PhysicalSizeY": 0.2527,
    "PhysicalSizeYUnit": "µm",
    "Channel": {"Name": ["Hematoxylin", "Eosin"]},
}


def fiji(path: Path) -> Path:
    """As Fiji saves a stack: pixels per unit, and the unit escaped in the description."""
    tifffile.imwrite(
        path / "fiji.tif", STACK[0], description=FIJI, metadata=None, byteorder=">",
        resolution=((1000000, 650000), (1000000, 650000)), photometric="minisblack",
    )  # fmt: skip
    return path / "fiji.tif"


def qupath(path: Path) -> Path:
    """As QuPath writes a tiled, compressed pyramid."""
    with tifffile.TiffWriter(path / "slide.ome.tif", bigtiff=True) as file:
        options = {"tile": (16, 16), "compression": "zlib", "photometric": "minisblack"}
        file.write(STACK[:, 0], subifds=1, metadata=QUPATH, **options)
        file.write(STACK[:, 0, ::2, ::2], subfiletype=1, **options)
    return path / "slide.ome.tif"


def aperio(path: Path) -> Path:
    """As a scanner of Aperio's writes a slide."""
    said = "Aperio Image Library v12\r\n50x40 (16x16)|AppMag = 40|MPP = 0.2523|Left = 25.6"
    tifffile.imwrite(
        path / "slide.svs", STACK[0, 0], description=said, metadata=None, tile=(16, 16)
    )
    (path / "slide.svs").rename(path / "slide.tif")
    return path / "slide.tif"


def gdal(path: Path) -> Path:
    """As GDAL writes a band, with items of the file and of the band."""
    items = '<Item name="SENSOR">S2 &amp; co</Item><Item name="MEAN" sample="0">3</Item>'
    extratags = [
        (SCALE, 12, 3, (10.0, 10.0, 0.0), True),
        (TIES, 12, 6, (0.0, 0.0, 0.0, 500000.0, 5200000.0, 0.0), True),
        (KEYS, 3, 8, (1, 1, 0, 1, 1025, 0, 1, 1), True),
        (42112, 2, 0, f"<GDALMetadata>{items}</GDALMetadata>", True),
        (42113, 2, 0, "-9999", True),
    ]
    tifffile.imwrite(path / "map.tif", STACK[0, 0], extratags=extratags, metadata=None)
    return path / "map.tif"


def um(size: str, origin: str = "0") -> SampleStep:
    return SampleStep(Fraction(size), "micrometer", Fraction(origin))


def test_fijis_stack_says_pixels_slices_and_origins(tmp_path):
    about = calibration_of(open_source(fiji(tmp_path)))
    assert about.steps == {"Z": um("2"), "Y": um("0.65"), "X": um("0.65", "-2.6")}
    assert about.style == "imagej"


def test_qupaths_slide_says_pixels_and_channels(tmp_path):
    about = calibration_of(open_source(qupath(tmp_path)))
    assert about.steps == {"Y": um("0.2527"), "X": um("0.2527")}
    assert about.channels == ("Hematoxylin", "Eosin")
    assert about.style == "ome"


def test_aperios_slide_says_micrometres_per_pixel(tmp_path):
    about = calibration_of(open_source(aperio(tmp_path)))
    assert about.steps == {"Y": um("0.2523"), "X": um("0.2523")}


def test_a_map_says_where_it_lies_and_nothing_of_a_band_is_taken_for_the_file(tmp_path):
    about = calibration_of(open_source(gdal(tmp_path)))
    assert about.place.at(Fraction(0), Fraction(0)) == (500005, 5199995)
    assert (about.nodata, about.attributes) == ("-9999", {"SENSOR": "S2 & co"})


def test_pixels_per_inch_and_per_centimetre_are_lengths(tmp_path):
    for unit, name in (("INCH", "inch"), ("CENTIMETER", "centimeter")):
        tifffile.imwrite(
            tmp_path / "a.tif", STACK[0, 0], resolution=(300, 150), resolutionunit=unit
        )
        about = calibration_of(open_source(tmp_path / "a.tif"))
        sizes = {"Y": Fraction(1, 150), "X": Fraction(1, 300)}
        assert about.steps == {axis: SampleStep(size, name) for axis, size in sizes.items()}


def test_a_plain_file_says_nothing(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK[0, 0])
    assert calibration_of(open_source(tmp_path / "a.tif")) is None


@pytest.mark.parametrize("size", ["nan", "0", "-1", "1e400", "wide"])
def test_a_calibration_that_cannot_be_read_is_left_out_and_that_is_said(tmp_path, size):
    said = FIJI.replace("spacing=2.0", f"spacing={size}").replace("yorigin=0", "yorigin=no")
    options = {"metadata": None, "resolution": (2, 2), "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], description=said, **options)
    source = open_source(tmp_path / "a.tif")
    assert calibration_of(source) is None
    assert "its calibration is left out, since it cannot be read" in source.note


def made(path: Path, values: np.ndarray, axes: str, about: Calibration) -> NewFile:
    """A file of these values that says what it can."""
    file = NewFile.of(path, values.shape, values.dtype, axes).saying(about)
    sink = file.create()
    sink.write((0,) * values.ndim, values)
    sink.flush()
    np.testing.assert_array_equal(file.reopen().read((0,) * values.ndim, values.shape), values)
    assert file.reopen().frame() == sink.frame()
    return file


STEPS = {"T": SampleStep(Fraction(3), "second"), "Z": um("2"), "Y": um("0.65"), "X": um("0.65")}


def test_an_ome_tiff_result_says_all_steps_and_channels(tmp_path):
    values = image(2, 3, 2, 40, 50)
    about = Calibration(STEPS, ("a & b", "c"), style="ome")
    file = made(tmp_path / "out.ome.tif", values, "TZCYX", about)
    assert file.lost == ()
    again = calibration_of(open_source(file.path))
    assert (again.steps, again.channels) == (STEPS, ("a & b", "c"))
    with tifffile.TiffFile(file.path) as tiff:
        assert tiff.is_ome
        assert tiff.series[0].axes == "TZCYX"
        np.testing.assert_array_equal(tiff.asarray(), values)


def test_an_ome_tiff_of_the_same_result_has_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        made(tmp_path / folder / "o.ome.tif", STACK, "ZCYX", Calibration(STEPS))
    one, other = ((tmp_path / name / "o.ome.tif").read_bytes() for name in "ab")
    assert one == other


def test_an_ome_tiff_holds_no_integers_of_64_bits(tmp_path):
    with pytest.raises(UsageError, match=r"^An OME-TIFF file holds no int64; name the result .tif"):
        NewFile.of(tmp_path / "o.ome.tif", (9, 9), np.dtype("int64"), "YX").create()


def test_a_result_of_an_imagej_stack_is_one_again(tmp_path):
    about = calibration_of(open_source(fiji(tmp_path)))
    file = made(tmp_path / "out.tif", STACK[1].astype("float32"), "ZYX", about)
    assert file.lost == ()
    assert calibration_of(open_source(file.path)).steps == about.steps
    with tifffile.TiffFile(file.path) as tiff:
        assert tiff.is_imagej
        assert tiff.imagej_metadata["unit"] == "um"
        assert tiff.imagej_metadata["slices"] == 3
        assert not tiff.pages[0].is_tiled
        np.testing.assert_array_equal(tiff.asarray(), STACK[1].astype("float32"))


def test_imagej_holds_no_float64_and_what_is_lost_then_is_said(tmp_path):
    about = calibration_of(open_source(fiji(tmp_path)))
    file = made(tmp_path / "out.tif", STACK[1].astype("float64"), "ZYX", about)
    assert file.lost == (
        "Z 2 µm: name the result .ome.tif to keep it",
        "origin -2.6 of X: TIFF has no word for it; zarr named .ome.zarr has",
    )
    again = calibration_of(open_source(file.path))
    assert {a: s.size for a, s in again.steps.items()} == dict.fromkeys("YX", Fraction(65, 10**6))


def test_a_map_of_several_channels_is_one_image_of_bands(tmp_path):
    about = calibration_of(open_source(gdal(tmp_path)))
    file = made(tmp_path / "out.tif", image(3, 40, 50), "CYX", about)
    assert file.lost == ()
    again = calibration_of(open_source(file.path))
    assert again == Calibration({}, (), about.place, "-9999", about.attributes, "geotiff")
    with tifffile.TiffFile(file.path) as tiff:
        assert len(tiff.pages) == 1
        assert tiff.pages[0].samplesperpixel == 3


def test_ome_tiff_has_no_georeference_and_npy_has_nothing(tmp_path):
    about = calibration_of(open_source(gdal(tmp_path)))
    file = made(tmp_path / "out.ome.tif", STACK[0, 0], "YX", about)
    assert file.lost == (
        "georeference: OME-TIFF has none; name the result .tif",
        "attributes SENSOR: they are not taken over into TIFF",
        "nodata -9999: only a GeoTIFF file has it",
    )
    plain = made(tmp_path / "out.npy", STACK[0, 0], "YX", Calibration(STEPS, place=about.place))
    assert plain.about is None
    assert plain.lost == (
        "T 3 s, Z 2 µm, Y 0.65 µm, X 0.65 µm: a .npy file holds none",
        "georeference: a .npy file holds none",
    )


def test_a_unit_that_tiff_has_not_is_lost_with_a_remedy(tmp_path):
    about = Calibration({"Y": SampleStep(Fraction(2), "second")})
    file = made(tmp_path / "out.tif", STACK[0, 0], "YX", about)
    assert file.lost == (
        "Y 2 s: a TIFF file has inches and centimetres; name it .ome.tif, or write zarr",
    )


def test_rasterio_finds_every_pixel_where_the_georeference_says(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    half, zero = Fraction(1, 2), Fraction(0)
    turned = Georeference((Fraction(3), half, Fraction(7)), (half, Fraction(-3), Fraction(9)))
    upright = Georeference((Fraction(3), zero, Fraction(7)), (zero, Fraction(-3), Fraction(9)))
    for place in (turned, upright):
        file = made(tmp_path / "o.tif", STACK[0], "CYX", Calibration(place=place))
        with rasterio.open(file.path) as found:
            assert found.count == 3
            assert found.xy(5, 6) == tuple(map(float, place.at(Fraction(6), Fraction(5))))
