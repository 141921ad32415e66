"""How a picture was made, written into the picture.

Two texts: AUTOMATIC1111's infotext, which many tools read, and a JSON object of ours in pure ASCII. In a PNG they are
text chunks named ``parameters`` and ``atelier``; in JPEG and WebP they are EXIF's UserComment and ImageDescription.
Sources: that project's ``create_infotext``; of UserComment's first eight bytes CIPA DC-008, 4.6.5.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from serve.diffusion.samplers import by_name
from serve.ensembles.illustration import Illustration, Parameters

_KARRAS = " Karras"
_INFOTEXT, _RECORD = "parameters", "atelier"
_IMAGE_DESCRIPTION, _EXIF_IFD, _USER_COMMENT = 0x010E, 0x8769, 0x9286
_UTF_16 = b"UNICODE\0"
_MAX_EXIF_BYTES = 65_500
"""A segment of a JPEG has 65,535."""


def infotext(made: Parameters) -> str:
    """``made`` as AUTOMATIC1111 writes it: the prompt, the negative prompt if there is one, a line of facts."""
    facts: dict[str, object] = {}
    if made.sampler:  # else it was drawn elsewhere, and nobody told
        title = by_name(made.sampler).title
        facts = {"Steps": made.num_inference_steps, "Sampler": title.removesuffix(_KARRAS)}
        if title.endswith(_KARRAS):
            facts["Schedule type"] = _KARRAS.strip()
    facts |= {"CFG scale": f"{made.guidance_scale:g}", "Seed": made.seed, "Size": f"{made.width}x{made.height}"}
    if made.guidance_rescale:
        facts["CFG rescale"] = f"{made.guidance_rescale:g}"
    facts |= {"Model": made.model, "Version": f"atelier {version('atelier')}"}
    negative = f"Negative prompt: {made.negative_prompt}\n" if made.negative_prompt else ""
    return f"{made.prompt}\n{negative}" + ", ".join(f"{name}: {value}" for name, value in facts.items())


def record(illustration: Illustration, made: Parameters) -> str:
    """The JSON: every parameter by its name in ``Parameters``, and the versions of the engines."""
    told = {**asdict(made), "model_versions": dict(illustration.model_versions)}
    return json.dumps({"software": f"atelier {version('atelier')}", **told})


def png_text(infotext: str, record: str) -> PngInfo:
    chunks = PngInfo()
    for name, text in ((_INFOTEXT, infotext), (_RECORD, record)):
        if text:
            chunks.add_text(name, text)  # iTXt where Latin-1 has not all of it
    return chunks


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
