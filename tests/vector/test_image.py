"""Every kind of good and bad input picture; the errors carry the field `image`, a reason, and nothing else."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from serve.errors import AtelierError, BadImage, TooLarge, UnsupportedMedia
from serve.vector.image import ImageLimits, decode

RGB = np.random.default_rng(7).integers(0, 256, (12, 20, 3)).astype(np.uint8)


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def outcome(data: bytes) -> str | int:
    try:
        decode(data)
    except AtelierError as error:
        return error.status
    return "pixels"


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, bits: int = 8, colour: int = 2, data: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_give_their_pixels(kind: str) -> None:
    picture = decode(encode(Image.fromarray(RGB), kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert picture.format == kind
    assert picture.rgba.dtype == np.uint8
    assert np.array_equal(picture.rgba[..., :3], RGB)
    assert (picture.rgba[..., 3] == 255).all()


def test_the_hash_is_of_the_bytes() -> None:
    data = encode(Image.fromarray(RGB))
    assert decode(data).sha256 == decode(data).sha256
    assert len(decode(data).sha256) == 64
    assert decode(data).sha256 != decode(data + b"\n").sha256


def test_jpeg_and_gif() -> None:
    smooth = Image.fromarray(np.full((16, 16, 3), (200, 40, 90), np.uint8))
    for kind in ("JPEG", "GIF"):
        pixel = decode(encode(smooth, kind)).rgba[8, 8]
        assert np.abs(pixel[:3].astype(int) - (200, 40, 90)).max() <= 3


def test_alpha_is_kept() -> None:
    rgba = np.dstack([RGB, np.arange(240, dtype=np.uint8).reshape(12, 20)])
    assert np.array_equal(decode(encode(Image.fromarray(rgba))).rgba, rgba)


def test_palette_with_a_transparent_entry() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.paste(0, (0, 0, 4, 8))
    rgba = decode(encode(image, transparency=0)).rgba
    assert rgba[0, 0, 3] == 0
    assert rgba[0, 7].tolist() == [10, 200, 30, 255]


def test_cmyk_jpeg() -> None:
    cmyk = Image.fromarray(np.full((16, 16, 3), (30, 160, 90), np.uint8)).convert("CMYK")
    pixel = decode(encode(cmyk, "JPEG", quality=100)).rgba[8, 8]
    assert np.abs(pixel[:3].astype(int) - (30, 160, 90)).max() <= 6


@pytest.mark.parametrize("value", [0, 255, 256, 32768, 65535])
def test_sixteen_bit_grey_keeps_its_high_bits(value: int) -> None:
    data = encode(Image.fromarray(np.full((4, 4), value, np.uint16)))
    assert decode(data).rgba[0, 0].tolist() == [value >> 8] * 3 + [255]


def test_sixteen_bit_colour() -> None:
    line = b"\0" + struct.pack(">HHH", 65535, 32768, 300) * 4
    assert decode(png(4, 4, bits=16, data=line * 4)).rgba[0, 0].tolist() == [255, 128, 1, 255]


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_grey_modes(mode: str) -> None:
    image = Image.new(mode, (6, 5), 1 if mode == "1" else (255 if mode == "L" else (255, 255)))
    assert decode(encode(image)).rgba[0, 0].tolist() == [255, 255, 255, 255]


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert decode(data).rgba[4, 4].tolist() == [255, 0, 0, 255]


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    picture = decode(encode(Image.fromarray(RGB), exif=exif))
    assert np.array_equal(picture.rgba[..., :3], np.rot90(RGB, -1))


def test_broken_exif_is_ignored() -> None:
    assert decode(encode(Image.fromarray(RGB), exif=b"Exif\0\0junkjunkjunk")).rgba.shape == (12, 20, 4)


def test_a_colour_profile_is_converted() -> None:
    lab_like = ImageCms.createProfile("XYZ")
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    xyz = ImageCms.ImageCmsProfile(lab_like).tobytes()
    image = Image.fromarray(RGB)
    assert np.array_equal(decode(encode(image, icc_profile=srgb)).rgba[..., :3], RGB)
    assert decode(encode(image, icc_profile=xyz)).rgba.shape == (12, 20, 4)
    assert np.array_equal(decode(encode(image, icc_profile=b"junk")).rgba[..., :3], RGB)


def foreign_profile(mode: str) -> bytes:
    """A linear profile that is not sRGB: of grey for L, else of colours. Built by hand, as Pillow makes sRGB only."""

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * value) for value in values))

    linear, white = b"curv" + bytes(8), xyz(0.9642, 1.0, 0.8249)
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 7) + b"linear\0" + bytes(78), b"wtpt": white}
    if mode == "L":
        tags[b"kTRC"] = linear
    else:
        primaries = {b"r": (0.6097, 0.3111, 0.0195), b"g": (0.2053, 0.6257, 0.0609), b"b": (0.1492, 0.0632, 0.7446)}
        for name, values in primaries.items():
            tags |= {name + b"XYZ": xyz(*values), name + b"TRC": linear}
    table, body = struct.pack(">I", len(tags)), b""
    for name, tag in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(tag))
        body += tag + bytes(-len(tag) % 4)
    space = b"GRAY" if mode == "L" else b"RGB "
    header = bytes(4) + struct.pack(">I", 0x02100000) + b"mntr" + space + b"XYZ " + bytes(12) + b"acsp" + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)
    return struct.pack(">I", 128 + len(table + body)) + header + bytes(124 - len(header)) + table + body


@pytest.mark.parametrize(("mode", "named"), [("RGB", (60, 60, 60)), ("L", 60)])
def test_a_transparent_colour_stays_so_beside_a_colour_profile(mode: str, named: Any) -> None:
    """tRNS names a colour of the file, which the profile turns into another one."""
    image = Image.new(mode, (8, 8), named)
    image.paste(image.point(lambda value: 120).crop((0, 0, 4, 8)), (4, 0))
    data = encode(image, transparency=named, icc_profile=foreign_profile(mode))
    rgba = decode(data).rgba
    assert rgba[0, 0, 3] == 0
    assert rgba[0, 7, 3] == 255
    assert rgba[0, 7, 0] > 150  # linear 120 is a lighter sRGB: the profile was applied


@pytest.mark.parametrize(
    ("data", "error", "says"),
    [
        (b"", BadImage, "empty"),
        (b"hello, this is not a picture", UnsupportedMedia, "PNG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", UnsupportedMedia, "PNG"),
        (b"%PDF-1.7\n", UnsupportedMedia, "PNG"),
        (encode(Image.fromarray(RGB))[:100], BadImage, "cut off"),
        (encode(Image.fromarray(np.tile(RGB, (9, 9, 1))), "JPEG")[:900], BadImage, "cut off"),
        (b"\x89PNG\r\n\x1a\n", UnsupportedMedia, "PNG"),
        (b"\xff\xd8\xff\xe0", UnsupportedMedia, "PNG"),
        (encode(Image.fromarray(RGB)) + bytes(10 * 1024 * 1024), TooLarge, "10485760"),
        (encode(Image.fromarray(RGB[:1, :1])), BadImage, "1 x 1"),
        (png(20_000, 10), TooLarge, "20000 x 10"),
        (png(10, 20_000), TooLarge, "10 x 20000"),
        (png(4097, 4096), TooLarge, "4097 x 4096"),
        (png(40_000, 40_000), TooLarge, "pixels"),
        (png(10_000, 10_000), TooLarge, "10000 x 10000"),
        (png(2**31 - 1, 2**31 - 1), TooLarge, "pixels"),
        (encode(Image.new("RGBA", (8, 8), (9, 9, 9, 0))), BadImage, "transparent"),
        (encode(Image.new("F", (8, 8), 0.5), "TIFF"), UnsupportedMedia, "floating"),
        (encode(Image.fromarray(RGB), "PPM"), UnsupportedMedia, "PNG"),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_bad_pictures(data: bytes, error: type[AtelierError], says: str) -> None:
    with pytest.raises(error) as raised:
        decode(data)
    assert raised.value.field == "image"
    assert says in raised.value.message
    assert 400 <= raised.value.status < 500
    assert "Traceback" not in str(raised.value)
    assert "/" not in raised.value.message


def test_exactly_the_most_bytes_are_taken() -> None:
    data = encode(Image.fromarray(RGB))
    assert decode(data + bytes(10 * 1024 * 1024 - len(data))).rgba.shape == (12, 20, 4)


def test_limits_are_settable() -> None:
    data = encode(Image.fromarray(RGB))
    with pytest.raises(TooLarge, match="16"):
        decode(data, ImageLimits(max_side_px=16))
    with pytest.raises(TooLarge, match="239 pixels"):
        decode(data, ImageLimits(max_pixels=239))
    with pytest.raises(BadImage, match="12 px"):
        decode(data, ImageLimits(min_side_px=16))


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]), data=st.data())
def test_damaged_files_end_in_pixels_or_in_an_error_of_ours(kind: str, data: st.DataObject) -> None:
    whole = bytearray(encode(Image.fromarray(RGB), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    kept = bytes(whole[: data.draw(st.integers(1, len(whole)))])
    assert outcome(kept) in ("pixels", 413, 415, 422)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(AtelierError) as raised:
        decode(data)
    assert raised.value.status < 500


@pytest.mark.parametrize("kind", ["AVIF", "ICO"])
def test_avif_and_icons(kind: str) -> None:
    buffer = io.BytesIO()
    options: dict[str, Any] = {"sizes": [(32, 32)]} if kind == "ICO" else {"quality": 100}
    Image.new("RGB", (32, 32), (200, 30, 40)).save(buffer, kind, **options)
    picture = decode(buffer.getvalue())
    assert picture.format == kind
    assert picture.rgba.shape == (32, 32, 4)
    assert np.abs(picture.rgba[16, 16].astype(int) - (200, 30, 40, 255)).max() <= 4


def test_icon_with_a_larger_png_than_it_says_is_refused() -> None:
    png = io.BytesIO()
    Image.new("L", (5000, 10)).save(png, "PNG")
    entry = bytes([32, 32, 0, 0]) + struct.pack("<HHII", 1, 32, len(png.getvalue()), 22)
    with pytest.raises(TooLarge):
        decode(struct.pack("<HHH", 0, 1, 1) + entry + png.getvalue())
