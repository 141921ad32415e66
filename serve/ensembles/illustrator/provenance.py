"""How a picture was made, written into the picture, and that a machine made it.

Two texts: AUTOMATIC1111's infotext, which many tools read, and a JSON object of ours in pure ASCII. In a PNG they are
text chunks named ``parameters`` and ``atelier``; in JPEG and WebP they are EXIF's UserComment and ImageDescription.
That it was generated is IPTC's DigitalSourceType, in XMP: where each format keeps XMP, in an SVG as ``<metadata>``.
Sources: that project's ``create_infotext``; of UserComment's first eight bytes CIPA DC-008, 4.6.5; IPTC Photo Metadata
Standard, "Digital Source Type"; XMP Specification, parts 1 and 3.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import asdict
from importlib.metadata import version

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from serve.diffusion.samplers import SAMPLERS, Sampler, by_name
from serve.ensembles.illustrator.illustration import Illustration, Parameters

AUTOMATIC, UNIFORM, KARRAS = "Automatic", "Uniform", "Karras"
"""AUTOMATIC1111's names of the schedules that our samplers have."""
_INFOTEXT, _RECORD = "parameters", "atelier"
_IMAGE_DESCRIPTION, _EXIF_IFD, _USER_COMMENT = 0x010E, 0x8769, 0x9286
_UTF_16 = b"UNICODE\0"
_MAX_EXIF_BYTES = 65_500
"""A segment of a JPEG has 65,535."""

GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_RDF = (
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{GENERATED}"/></rdf:RDF>'
)
XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    f'{_RDF}</x:xmpmeta><?xpacket end="r"?>'
)
"""That a picture was generated."""
_XMP = "XML:com.adobe.xmp"
_HEADER_BYTES = 33
"""Of a PNG: its signature, and the chunk that comes first."""


def infotext(made: Parameters) -> str:
    """``made`` as AUTOMATIC1111 writes it: the prompt, the negative prompt if there is one, a line of facts."""
    facts: dict[str, object] = {}
    if made.sampler:  # else it was drawn elsewhere, and nobody told
        title, schedule = sampler_and_schedule(by_name(made.sampler))
        facts = {"Steps": made.num_inference_steps, "Sampler": title, "Schedule type": schedule}
    facts |= {"CFG scale": f"{made.guidance_scale:g}", "Seed": made.seed, "Size": f"{made.width}x{made.height}"}
    if made.guidance_rescale:
        facts["CFG rescale"] = f"{made.guidance_rescale:g}"
    facts |= {"Model": made.model, "Version": f"atelier {version('atelier')}"}
    negative = f"Negative prompt: {made.negative_prompt}\n" if made.negative_prompt else ""
    return f"{made.prompt}\n{negative}" + ", ".join(f"{name}: {value}" for name, value in facts.items())


def sampler_and_schedule(sampler: Sampler) -> tuple[str, str]:
    """As AUTOMATIC1111 names them. There a sampler that has a variant with Karras sigmas has them by itself."""
    plain = sampler.title.removesuffix(f" {KARRAS}")
    if plain != sampler.title:
        return plain, KARRAS
    return plain, UNIFORM if any(other.title == f"{plain} {KARRAS}" for other in SAMPLERS) else AUTOMATIC


def record(illustration: Illustration, made: Parameters) -> str:
    """The JSON: every parameter by its name in ``Parameters``, and the versions of the engines."""
    told = {**asdict(made), "model_versions": dict(illustration.model_versions)}
    return json.dumps({"software": f"atelier {version('atelier')}", **told})


def png_text(texts: tuple[str, str] | None, generated: bool) -> PngInfo:
    """The infotext and the record, and the mark."""
    chunks = PngInfo()
    for name, text in zip((_INFOTEXT, _RECORD), texts or (), strict=False):
        if text:
            chunks.add_text(name, text)  # iTXt where Latin-1 has not all of it
    if generated:
        chunks.add_itxt(_XMP, XMP)
    return chunks


def mark_png(png: bytes) -> bytes:
    """With the mark, its pixels as they are."""
    data = _XMP.encode() + bytes(5) + XMP.encode()  # neither compressed, nor of a language
    chunk = struct.pack(">I", len(data)) + b"iTXt" + data + struct.pack(">I", zlib.crc32(b"iTXt" + data))
    return png[:_HEADER_BYTES] + chunk + png[_HEADER_BYTES:]


def mark_svg(svg: str) -> str:
    """With the mark as the first thing in it."""
    end = svg.index(">", svg.index("<svg")) + 1
    return f"{svg[:end]}<metadata>{_RDF}</metadata>{svg[end:]}"


def is_marked(data: bytes) -> bool:
    """Whether a file, of any format, says that it was generated."""
    return GENERATED.encode() in data


def exif(infotext: str, record: str) -> bytes:
    """Both; the infotext alone where both are too long for a JPEG; nothing where that is."""
    for description in (record, ""):
        block = _exif(infotext, description)
        if len(block) <= _MAX_EXIF_BYTES:
            return block
    return b""


def read(image: Image.Image) -> tuple[str, str] | None:
    """The infotext and the record that ``image`` carries, each empty if it has only the other; None if neither."""
    texts = _of_png(image) if image.format == "PNG" else _of_exif(image)
    return texts if any(texts) else None


def _of_png(image: Image.Image) -> tuple[str, str]:
    return str(image.info.get(_INFOTEXT, "")), str(image.info.get(_RECORD, ""))


def _of_exif(image: Image.Image) -> tuple[str, str]:
    tags = image.getexif()
    comment = tags.get_ifd(_EXIF_IFD).get(_USER_COMMENT, b"")
    ours = isinstance(comment, bytes) and comment.startswith(_UTF_16)
    infotext = comment.removeprefix(_UTF_16).decode("utf-16-be", "replace") if ours else ""
    return infotext, str(tags.get(_IMAGE_DESCRIPTION, ""))


def _exif(comment: str, description: str) -> bytes:
    tags = Image.Exif()
    if description:
        tags[_IMAGE_DESCRIPTION] = description
    tags.get_ifd(_EXIF_IFD)[_USER_COMMENT] = _UTF_16 + comment.encode("utf-16-be")
    return tags.tobytes()
