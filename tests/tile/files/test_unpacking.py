"""Chunks that unpack to far more than they declare: refused before memory is taken for them."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tracemalloc
import zlib
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import tifffile
import zarr

from fieldwise.errors import UsageError
from fieldwise.tile.files import open_source, pictures
from fieldwise.tile.files.tiff_pages import bound_tiles
from fieldwise.tile.files.unpacking import unpacked

DATA = np.arange(64, dtype=np.float32).reshape(8, 8)
BOMB = bytes(1 << 26)
ALL = (slice(None), slice(None))
CODECS = {
    "zstd": numcodecs.Zstd(1),
    "blosc": numcodecs.Blosc("zstd"),
    "lz4": numcodecs.LZ4(),
    "zlib": numcodecs.Zlib(1),
    "gzip": numcodecs.GZip(1),
    "bz2": numcodecs.BZ2(1),
    "lzma": numcodecs.LZMA(preset=0),
}
BLOSC = {"cname": "zstd", "clevel": 5, "shuffle": "noshuffle", "typesize": 4, "blocksize": 0}
SETTINGS = {"zstd": {"level": 0, "checksum": False}, "gzip": {"level": 1}, "blosc": BLOSC}


def stored(path: Path, codec: numcodecs.abc.Codec, version: int, chunk: bytes) -> Path:
    """An array of one chunk, of which the codec and the bytes are these."""
    zarr.create_array(
        str(path), shape=(8, 8), chunks=(8, 8), dtype="<f4", zarr_format=version, compressors=None
    )
    about = path / (".zarray" if version == 2 else "zarr.json")
    said = json.loads(about.read_text())
    if version == 2:
        said["compressor"] = codec.get_config()
    else:
        name = codec.codec_id
        own = name in SETTINGS
        config = {k: v for k, v in codec.get_config().items() if k != "id"}
        said["codecs"] += [
            {
                "name": name if own else f"numcodecs.{name}",
                "configuration": SETTINGS.get(name, config),
            }
        ]
    about.write_text(json.dumps(said))
    place = path / ("0.0" if version == 2 else "c/0/0")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(chunk)
    return path


def refused(path: Path) -> str:
    """What is said of a file that is not read, which took next to no memory to find out."""
    tracemalloc.start()
    try:
        with pytest.raises(UsageError) as caught:
            open_source(path)[ALL]
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    return str(caught.value)


def small_read(path: Path) -> np.ndarray:
    """What a file gives, which takes next to no memory."""
    tracemalloc.start()
    try:
        found = open_source(path)[ALL]
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("name", CODECS)
def test_a_chunk_of_an_array_unpacks_to_its_size_or_is_refused(tmp_path, name, version):
    if version == 3 and name not in SETTINGS:
        pytest.importorskip("zarr.codecs.numcodecs", reason="this zarr does not know the codec")
    codec = CODECS[name]
    honest = stored(tmp_path / "a.zarr", codec, version, bytes(codec.encode(DATA)))
    assert (open_source(honest)[ALL] == DATA).all()
    forged = stored(tmp_path / "b.zarr", codec, version, bytes(codec.encode(BOMB)))
    assert refused(forged) == (
        f"A chunk of {str(forged)!r} cannot be read (it unpacks to more than 6144 bytes); write "
        "the array again."
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "filters",
    [
        [numcodecs.Delta("<f4")],
        [numcodecs.Shuffle(4)],
        [numcodecs.FixedScaleOffset(0, 1, dtype="<f4", astype="<f8")],
        [numcodecs.AsType("<f8", "<f4"), numcodecs.CRC32()],
        [numcodecs.Zlib(1)],
    ],
)
def test_filters_change_the_size_of_an_honest_chunk(tmp_path, filters):
    array = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=(8, 8), chunks=(8, 8), dtype="<f4", zarr_format=2,
        filters=filters, compressors=numcodecs.Zlib(1),
    )  # fmt: skip
    array[:] = DATA
    assert (open_source(tmp_path / "a.zarr")[ALL] == DATA).all()


@pytest.mark.filterwarnings("ignore")
def test_chunks_within_shards_are_bounded_alike(tmp_path):
    path = tmp_path / "a.zarr"
    zarr.create_array(str(path), shape=(16, 8), chunks=(8, 8), shards=(16, 8), dtype="<f4")[:] = 1
    assert (open_source(path)[ALL] == 1).all()
    shard, chunk = path / "c/0/0", bytes(CODECS["zstd"].encode(BOMB))
    index = np.array([[0, len(chunk)], [0, len(chunk)]], dtype="<u8").tobytes()
    checksum = numcodecs.CRC32C(location="end").encode(index)
    shard.write_bytes(chunk + bytes(checksum))
    assert "it unpacks to more than 6144 bytes" in refused(path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("version", "part", "value", "said"),
    [
        (2, "compressor", {"id": "base64"}, "it is written with 'base64'; write it with zstd"),
        (2, "filters", [{"id": "base64"}], "it is written with 'base64'; write it with zstd"),
        (2, "compressor", {"id": "pickle", "protocol": 5}, "pickle"),
        (
            2, "filters", [{"id": "astype", "encode_dtype": "<U9999999", "decode_dtype": "<f4"}],
            "its codec 'astype' holds no numbers",
        ),
        (
            3, "codecs", [{"name": "bytes", "configuration": {"endian": "little"}},
                          {"name": "numcodecs.pickle", "configuration": {}}], "pickle",
        ),
    ],
)  # fmt: skip
def test_codecs_that_do_not_only_give_numbers_are_not_read(tmp_path, version, part, value, said):
    path = stored(tmp_path / "a.zarr", CODECS["zstd"], version, b"")
    about = path / (".zarray" if version == 2 else "zarr.json")
    about.write_text(json.dumps({**json.loads(about.read_text()), part: value}))
    assert said in refused(path)


def test_a_shard_of_very_many_chunks_is_not_read(tmp_path):
    path = tmp_path / "a.zarr"
    zarr.create_array(str(path), shape=(8, 8), chunks=(1, 1), shards=(8, 8), dtype="<f4")
    about = json.loads((path / "zarr.json").read_text())
    about["shape"] = about["chunk_grid"]["configuration"]["chunk_shape"] = [1 << 14, 1 << 14]
    (path / "zarr.json").write_text(json.dumps(about))
    assert refused(path) == (
        f"{str(path)!r} cannot be read: its shards hold 268435456 chunks each and at most 4194304 "
        "can be read; write it in smaller ones."
    )


@pytest.mark.parametrize("name", ["zarr.json", "c/0/0"])
def test_a_file_far_larger_than_what_it_is_for_is_not_read(tmp_path, name):
    path = tmp_path / "a.zarr"
    zarr.create_array(str(path), shape=(8, 8), chunks=(8, 8), dtype="<f4")[:] = DATA
    with (path / name).open("r+b") as file:
        file.truncate(5 << 30)
    assert f"the file {name[-9:].split('/')[-1]!r} is larger than" in refused(path)


# ------------------------------------------------------------------ TIFF


def lzma_of(data: bytes) -> bytes:
    return lzma.compress(data, preset=0)


def packed_bits(data: bytes) -> bytes:
    return b"".join(bytes([127]) + data[at : at + 128] for at in range(0, len(data), 128))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(
    ("compression", "pack", "bomb"),
    [
        (8, zlib.compress, zlib.compress(BOMB)[:60_000]),
        (32946, zlib.compress, zlib.compress(BOMB)[:60_000]),
        (34925, lzma_of, lzma_of(BOMB)),
        (32773, packed_bits, bytes([129, 0]) * 30_000),
    ],
)
def test_a_tile_of_a_tiff_file_unpacks_to_its_size_or_is_refused(
    tmp_path, compression, pack, bomb, order
):
    path, image = tmp_path / "a.tif", np.arange(1024, dtype=np.uint16).reshape(32, 32)
    tiles = [pack(image[y : y + 16, x : x + 16].tobytes()) for y in (0, 16) for x in (0, 16)]
    mirrored = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
    for found in (tiles, [*tiles[:3], bomb]):
        stored = found if order == 1 else [tile.translate(mirrored) for tile in found]
        tifffile.imwrite(
            path, iter(stored), shape=(32, 32), dtype=np.uint16, compression=8, tile=(16, 16),
            photometric="minisblack", extratags=[("FillOrder", 3, 1, order, True)],
        )  # fmt: skip
        with tifffile.TiffFile(path, mode="r+b") as file:
            file.pages[0].tags["Compression"].overwrite(compression)
        if found is tiles:
            assert (open_source(path)[ALL] == image).all()
    if pack is lzma_of:  # of which as much is taken as a tile holds, as libtiff does
        assert small_read(path).shape == image.shape
    else:
        assert refused(path).startswith(f"A tile of {str(path)!r} cannot be read (")


@pytest.mark.parametrize("predictor", [False, True])
@pytest.mark.parametrize("compression", ["lzw", "zlib", "zstd", "packbits", "lzma", "lerc", "png"])
def test_a_tile_of_any_lossless_compression_is_read(tmp_path, compression, predictor):
    path, image = tmp_path / "a.tif", np.arange(3072, dtype=np.uint16).reshape(48, 64)
    tifffile.imwrite(
        path, image, tile=(16, 32), compression=compression, photometric="minisblack",
        predictor=predictor and compression in ("lzw", "zlib", "zstd"),
    )  # fmt: skip
    source = open_source(path)
    assert source.chunks == (16, 32)
    assert (source[slice(5, 40), slice(3, 60)] == image[5:40, 3:60]).all()


@pytest.mark.parametrize("compression", ["jpeg", "webp", "jpeg2000"])
def test_a_tile_that_is_a_picture_of_its_own_is_read(tmp_path, compression):
    path, image = tmp_path / "a.tif", np.full((64, 32, 3), (90, 120, 30), np.uint8)
    tifffile.imwrite(path, image, tile=(32, 32), compression=compression, photometric="rgb")
    found = open_source(path)[slice(20, 50), slice(0, 32), slice(0, 3)]
    assert np.abs(found.astype(int) - image[20:50]).max() <= 3


# ------------------------------------------------------------------ the formats


@pytest.mark.parametrize("name", CODECS)
def test_what_is_within_the_limit_is_what_the_codec_gives(name):
    codec, draw = CODECS[name], np.random.default_rng(5)
    for size in (1, 100, 70_000, 300_000):
        content = draw.integers(0, 3, size).astype(np.uint8).tobytes()
        packed = bytes(codec.encode(content))
        assert unpacked(codec.get_config(), packed, size) in (None, content)
        with pytest.raises(ValueError, match=f"more than {size - 1} bytes"):
            unpacked(codec.get_config(), packed, size - 1)


@pytest.mark.parametrize(("module", "name"), [(gzip, "gzip"), (bz2, "bz2"), (lzma, "lzma")])
def test_streams_one_after_the_other_are_one(module, name):
    packed = module.compress(b"one") + module.compress(b"two")
    assert unpacked({"id": name}, packed, 6) == module.decompress(packed) == b"onetwo"
    assert unpacked({"id": name}, packed + b"this is no stream", 6) == b"onetwo"
    with pytest.raises(ValueError, match="more than 5 bytes"):
        unpacked({"id": name}, packed, 5)
    with pytest.raises(ValueError, match="more than 64 streams"):
        unpacked({"id": name}, module.compress(b"") * 65, 6)
    with pytest.raises(ValueError, match="ends within"):
        unpacked({"id": name}, packed[:-4], 6)


def frame(blocks: list[tuple[int, bytes]]) -> bytes:
    """A frame of Zstandard that does not say how much it holds: blocks of one repeated byte."""
    found = [(0xFD2FB528).to_bytes(4, "little") + bytes([0, 0x38])]
    for number, (size, byte) in enumerate(blocks):
        last = number + 1 == len(blocks)
        found.append((size << 3 | 1 << 1 | last).to_bytes(3, "little") + byte)
    return b"".join(found)


def test_frames_that_do_not_say_what_they_hold_are_unpacked_as_far_as_the_limit():
    small = frame([(3, b"a"), (2, b"b")])
    assert unpacked({"id": "zstd"}, small * 2, 10) == b"aaabb" * 2
    large = frame([(1 << 17, b"\0")] * 1000)
    skipped = (0x184D2A50).to_bytes(4, "little") + bytes(4)
    assert len(large) < 5000
    for packed in (large, small + large, skipped + large):
        with pytest.raises(ValueError, match="more than 8192 bytes"):
            unpacked({"id": "zstd"}, packed, 8192)
    assert unpacked({"id": "zstd"}, skipped * 300_000 + small, 8192) == b"aaabb"
    with pytest.raises(ValueError, match="no whole frame of Zstandard"):
        unpacked({"id": "zstd"}, small[:-1], 8192)


@pytest.mark.parametrize("name", ["zlib", "gzip", "bz2", "lzma"])
def test_a_stream_that_is_cut_short_is_told(name):
    codec = CODECS[name]
    packed = bytes(codec.encode(bytes(range(200))))
    for size in range(len(packed)):
        with pytest.raises(ValueError, match="ends within"):
            unpacked(codec.get_config(), packed[:size], 1000)


# ------------------------------------------------------------------ pictures

PICTURES = {
    pictures.png: "89504e470d0a1a0a0000000d49484452000000250000006408020000008ef86e9d",
    pictures.jpeg_2000: "0000000c6a502020ff4fff5100290000000000250000006400000000000000000000"
    "0025000000640000000000000000000307",
    pictures.webp: "52494646cc2b0000574542505650384cc02b00002f24c01800902000000135eeb2",
    pictures.jpeg_xl: "0000000c4a584c200d0a870a00000014667479706a786c20000000006a786c20"
    "0000308a6a786c63ff0a180348804808040100d5b12b59918282c23d4b00e7ca",
    pictures.jpeg: "ffd8ffe000104a46494600010100000100010000ffffc0001108006400250301220002110103",
}  # of 37 columns and 100 rows


@pytest.mark.parametrize("stated", PICTURES)
def test_a_picture_states_its_size_in_its_header(stated):
    header = bytes.fromhex(PICTURES[stated])
    assert stated(header)[:2] == (37, 100)
    for size in range(len(header)):
        assert all(side >= 0 for side in stated(header[:size]))


@pytest.mark.parametrize(
    ("stated", "header", "found"),
    [
        (pictures.webp, "52494646b209000057454250565038 20a60900003022009d012a25006400", (37, 100)),
        (pictures.webp, "524946460000000057454250565038580a000000000000002400006300 00", (37, 100)),
        (pictures.jpeg_xl, "ff0a41", (8, 8)),
    ],
)
def test_other_headers_state_it_too(stated, header, found):
    assert stated(bytes.fromhex(header))[:2] == found


def test_a_header_that_goes_on_and_on_is_not_followed():
    with pytest.raises(ValueError, match="none of its first 4096 segments"):
        pictures.jpeg(b"\xff\xd8" + b"\xff\xe0\0\2" * 5000)
    with pytest.raises(ValueError, match="none of its first 64 boxes"):
        pictures.jpeg_xl(b"\0\0\0\x08free" * 100)


def test_a_tile_that_is_a_larger_picture_is_not_unpacked(tmp_path):
    """What states that it is larger is not handed on; a stand-in notes what is."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((32, 32), np.uint8), tile=(16, 16), photometric="minisblack")
    with tifffile.TiffFile(path) as file:
        page, asked = file.pages[0].keyframe, []
        page.compression = tifffile.COMPRESSION.PNG
        page.decode = lambda data, *place, **options: asked.append(data)
        bound_tiles(page)
        for side, limit in ((16, True), (1 << 16, False)):
            sides = side.to_bytes(4, "big") * 2
            tile = bytes.fromhex(PICTURES[pictures.png])[:16] + sides
            if limit:
                page.decode(tile, 0)
                continue
            with pytest.raises(ValueError, match="more than 6144 bytes"):
                page.decode(tile, 0)
        page.decode(None, 1)
    assert len(asked) == 2
