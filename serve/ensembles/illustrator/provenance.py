"""Provenance metadata inside picture files: generation parameters, and the mark that a picture is AI-generated.

Two texts: AUTOMATIC1111's infotext, which many tools read, and our JSON record in ASCII. PNG stores them as text chunks
``parameters`` and ``atelier``, JPEG and WebP as EXIF UserComment and ImageDescription. The mark is IPTC's
DigitalSourceType in XMP; in SVG it is a ``<metadata>`` element. Sources: AUTOMATIC1111's ``create_infotext``;
CIPA DC-008, 4.6.5 (UserComment's encoding prefix); IPTC Photo Metadata Standard, "Digital Source Type"; XMP
Specification, parts 1 and 3.
"""

from __future__ import annotations

import json
import struct
import zlib
from importlib.metadata import version

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from serve.diffusion.samplers import SAMPLERS, Sampler, by_name
from serve.ensembles.illustrator.illustration import Illustration, Parameters

AUTOMATIC, UNIFORM, KARRAS = "Automatic", "Uniform", "Karras"
"""AUTOMATIC1111's names of our samplers' schedules."""
_INFOTEXT, _RECORD = "parameters", "atelier"
_IMAGE_DESCRIPTION, _EXIF_IFD, _USER_COMMENT = 0x010E, 0x8769, 0x9286
_UTF_16 = b"UNICODE\0"
_MAX_EXIF_BYTES = 65_500
"""A JPEG segment is limited to 65,535 bytes."""

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
"""The XMP packet that marks a picture as generated."""
_XMP = "XML:com.adobe.xmp"
_HEADER_BYTES = 33
"""PNG signature and IHDR chunk."""


def infotext(made: Parameters) -> str:
    """AUTOMATIC1111's format: the prompt, the negative prompt if any, a line of parameters."""
    facts: dict[str, object] = {}
    if made.sampler:  # unknown for pictures of a fallback service
        title, schedule = sampler_and_schedule(by_name(made.sampler))
        facts = {"Steps": made.num_inference_steps, "Sampler": title, "Schedule type": schedule}
    facts |= {"CFG scale": f"{made.guidance_scale:g}", "Seed": made.seed, "Size": f"{made.width}x{made.height}"}
    if (strength := strength_of(made)) is not None:
        facts["Denoising strength"] = f"{strength:g}"
    if made.hires is not None:
        facts["Hires upscale"] = f"{made.hires['scale']:g}"
        facts |= {"Hires upscaler": name} if (name := made.hires.get("upscaler")) else {}
        facts |= {"Hires steps": steps} if (steps := made.hires.get("num_inference_steps")) else {}
    if made.guidance_rescale:
        facts["CFG rescale"] = f"{made.guidance_rescale:g}"
    facts |= {"Model": made.model, "Version": f"atelier {version('atelier')}"}
    negative = f"Negative prompt: {made.negative_prompt}\n" if made.negative_prompt else ""
    return f"{made.prompt}\n{negative}" + ", ".join(f"{name}: {value}" for name, value in facts.items())


def strength_of(made: Parameters) -> float | None:
    """Of the second pass, else of the drawing from a picture; None for a drawing from a prompt."""
    stated = made.hires or made.source
    return None if stated is None else float(stated["strength"])


def sampler_and_schedule(sampler: Sampler) -> tuple[str, str]:
    """AUTOMATIC1111's names. Its samplers with a Karras variant use Karras sigmas under "Automatic"."""
    plain = sampler.title.removesuffix(f" {KARRAS}")
    if plain != sampler.title:
        return plain, KARRAS
    return plain, UNIFORM if any(other.title == f"{plain} {KARRAS}" for other in SAMPLERS) else AUTOMATIC


def record(illustration: Illustration, made: Parameters) -> str:
    """JSON of all ``Parameters`` and the engine versions."""
    content = {**made.to_json(), "model_versions": dict(illustration.model_versions)}
    return json.dumps({"software": f"atelier {version('atelier')}", **content})


def png_text(texts: tuple[str, str] | None, generated: bool) -> PngInfo:
    """PNG text chunks: infotext, record and mark."""
    chunks = PngInfo()
    for name, text in zip((_INFOTEXT, _RECORD), texts or (), strict=False):
        if text:
            chunks.add_text(name, text)  # iTXt for text outside Latin-1
    if generated:
        chunks.add_itxt(_XMP, XMP)
    return chunks


def mark_png(png: bytes) -> bytes:
    """Insert the mark; pixels are unchanged."""
    data = _XMP.encode() + bytes(5) + XMP.encode()  # uncompressed, no language
    chunk = struct.pack(">I", len(data)) + b"iTXt" + data + struct.pack(">I", zlib.crc32(b"iTXt" + data))
    return png[:_HEADER_BYTES] + chunk + png[_HEADER_BYTES:]


def mark_svg(svg: str) -> str:
    """Insert the mark as the first element."""
    end = svg.index(">", svg.index("<svg")) + 1
    return f"{svg[:end]}<metadata>{_RDF}</metadata>{svg[end:]}"


def is_marked(data: bytes) -> bool:
    """Whether a file of any format is marked as generated."""
    return GENERATED.encode() in data


def exif(infotext: str, record: str) -> bytes:
    """EXIF with both texts; the infotext alone if both exceed JPEG's limit; empty if that does too."""
    for description in (record, ""):
        block = _exif(infotext, description)
        if len(block) <= _MAX_EXIF_BYTES:
            return block
    return b""


def read(image: Image.Image) -> tuple[str, str] | None:
    """Infotext and record of ``image``, empty strings where missing; None if it has neither."""
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
