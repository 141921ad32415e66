"""The input picture of a drawing as what the sampler loop starts from: pixels to a canvas, the canvas to latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from serve.diffusion import canvas, masks
from serve.diffusion.canvas import Bytes, Canvas, Size
from serve.diffusion.family import Family
from serve.diffusion.noise import MASKED_POSTERIOR, POSTERIOR, gaussian
from serve.diffusion.samplers import Trajectory
from serve.ensembles import measurements
from serve.ensembles.engine_calls import EngineCalls
from serve.ensembles.illustrator.illustration import ILLUSTRATE
from serve.ensembles.illustrator.picture_source import InputPicture, PictureSource
from serve.errors import InvalidRequest, rename_fields
from serve.vector.image import FIELD, ImageLimits, read

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Posterior:
    """The VAE encoder's answer: ``mean`` and deviation ``std`` of latents, each (C, h, w)."""

    mean: Floats
    std: Floats

    def sample(self, seed: int, draw: int) -> Floats:
        return self.mean + self.std * gaussian(seed, draw, self.mean.shape)


@dataclass(frozen=True, eq=False)
class EncodedSource:
    """``picture``: None for a drawing from a prompt alone. ``mask``: over latents, None for the whole picture.
    ``hidden``: of inpainting checkpoints, the picture without its masked part."""

    canvas: Canvas | None
    picture: Posterior | None
    mask: Floats | None
    hidden: Posterior | None
    strength: float
    fill: str

    def of(self, seed: int, noise: Floats, trajectory: Trajectory) -> StartingPoint:
        """For the picture of ``seed``, whose starting noise is ``noise``."""
        channels = None
        if self.hidden is not None:
            mask = np.ones(noise.shape[1:], np.float32) if self.mask is None else self.mask
            channels = masks.inpainting_channels(mask, self.hidden.sample(seed, MASKED_POSTERIOR))
        if self.picture is None:
            return StartingPoint(trajectory.start(noise), noise, None, None, channels)
        latents = self.picture.sample(seed, POSTERIOR)
        if self.mask is not None and self.fill in ("noise", "empty"):
            latents = masks.filled_latents(latents, self.mask, noise if self.fill == "noise" else None)
        # With all steps to do, a masked picture starts from noise alone, as in diffusers.
        start = trajectory.start(noise, None if self.mask is not None and self.strength == 1.0 else latents)
        blended = self.mask if channels is None else None
        return StartingPoint(start, noise, latents, blended, channels)


@dataclass(frozen=True, eq=False)
class StartingPoint:
    """``sample``: of the first evaluation. ``mask``: where ``latents`` are blended in after each evaluation.
    ``channels``: those that the UNet takes after the sample's."""

    sample: Floats
    noise: Floats
    latents: Floats | None = None
    mask: Floats | None = None
    channels: Floats | None = None

    def blended(self, sample: Floats, trajectory: Trajectory, done: int) -> Floats:
        """The sample after ``done`` evaluations, with the input picture where the mask keeps it."""
        if self.mask is None or self.latents is None:
            return sample
        kept = self.latents if done == len(trajectory) else trajectory.add_noise(self.latents, self.noise, done)
        return masks.blend(sample, kept, masks.is_drawn(self.mask, done, len(trajectory)))

    def model_input(self, scaled: Floats) -> Floats:
        return scaled if self.channels is None else np.concatenate([scaled, self.channels])


def prepare_canvas(source: PictureSource, size: Size) -> Canvas:
    """Decode and fit the pictures of ``source`` for a drawing of ``size`` (width, height). Takes up to a second for a
    large picture. Raises BadImage and UnsupportedMedia naming ``image`` or ``mask``, InvalidRequest."""
    rgba = _decoded(source.image, "image")
    pixels = canvas.flattened(rgba)
    if not source.is_masked:
        return Canvas(canvas.fitted(pixels, size, source.fit))
    mask = np.zeros(pixels.shape[:2], np.uint8)
    if source.mask is not None:
        mask = np.ascontiguousarray(_decoded(source.mask, "mask")[..., 0])
    if mask.shape != pixels.shape[:2]:
        raise InvalidRequest("must have the size of the picture", "mask")
    if source.outpaint:
        return _outpainted(source, size, rgba, mask)
    if not mask.any():
        raise InvalidRequest("is black: nothing would be drawn anew", "mask")
    seam = canvas.blurred(mask, source.mask_blur)
    if source.mask_crop:
        left, top, right, bottom = box = canvas.crop_box(seam, source.mask_crop_padding, size)
        inside = slice(top, bottom), slice(left, right)
        drawn, drawn_mask = (canvas.resized(np.ascontiguousarray(part[inside]), size) for part in (pixels, mask))
        return Canvas(_filled(source, drawn, drawn_mask), drawn_mask, rgba, seam, box)
    drawn, drawn_mask, base, seam = (canvas.fitted(part, size, source.fit) for part in (pixels, mask, rgba, seam))
    return Canvas(_filled(source, drawn, drawn_mask), drawn_mask, base, seam, (0, 0, *size))


def _filled(source: PictureSource, drawn: Bytes, mask: Bytes) -> Bytes:
    return canvas.filled(drawn, mask) if source.fill == "surroundings" else drawn


def _outpainted(source: PictureSource, size: Size, rgba: Bytes, mask: Bytes) -> Canvas:
    """The drawing reaches into the picture by the width of the seam, so that nothing beside it is mixed."""
    o = source.outpaint
    margins = (o.left, o.top, o.right, o.bottom)
    base, mask = canvas.extended(rgba, margins), canvas.extended(mask, margins, 255)
    added = canvas.extended(np.zeros(rgba.shape[:2], np.uint8), margins, 255)
    wide = canvas.grown(mask, 2 * source.mask_blur)
    seam = np.maximum(canvas.blurred(canvas.grown(mask, source.mask_blur), source.mask_blur / 2), added)
    drawn, drawn_mask = canvas.resized(canvas.flattened(base), size), canvas.resized(wide, size)
    return Canvas(_filled(source, drawn, drawn_mask), drawn_mask, base, seam, (0, 0, base.shape[1], base.shape[0]))


def _decoded(picture: InputPicture, name: str) -> Bytes:
    """Shape (H, W, 4). The API has checked the header against the site's limits."""
    width, height = picture.width, picture.height
    limits = ImageLimits(max(1, len(picture.data)), width * height, max(width, height), 1)
    with rename_fields({FIELD: name}):
        return read(picture.data, limits).rgba


def decoded_pixels(picture: InputPicture) -> Bytes:
    """A picture that is finished without drawing: (H, W, 3), or (H, W, 4) where something in it is transparent."""
    rgba = _decoded(picture, "image")
    return np.ascontiguousarray(rgba[..., :3]) if rgba[..., 3].min() == 255 else rgba


class SourceEncoder:
    """Encodes canvases with the VAE encoder of one family."""

    def __init__(self, family: Family, calls: EngineCalls) -> None:
        self._family = family
        self._calls = calls

    async def encode(
        self,
        source: PictureSource | None,
        drawn: Canvas | None,
        size: Size,
        deadline: float,
        versions: Mapping[str, str],
    ) -> EncodedSource:
        """``drawn`` is the canvas of ``source``. Without them: for an inpainting checkpoint that draws a prompt alone,
        the whole picture is hidden."""

        async def posterior(pixels: Bytes) -> Posterior:
            inputs = {"image": np.ascontiguousarray(pixels[None])}
            with measurements.stage(ILLUSTRATE, "encode_picture"):
                found = await self._calls.infer(self._family.vae_encoder, inputs, deadline, versions)
            return Posterior(found["mean"][0], found["std"][0])

        width, height = size
        pixels = np.full((height, width, 3), canvas.GREY, np.uint8) if drawn is None else drawn.pixels
        mask = None if drawn is None or drawn.mask is None else drawn.mask
        picture = None if drawn is None else await posterior(pixels)
        hidden = None
        if self._family.inpainting:
            covered = np.full((height, width), 255, np.uint8) if mask is None else mask
            hidden = await posterior(np.where(covered[..., None] > 127, np.uint8(canvas.GREY), pixels))
        encoded = EncodedSource(
            canvas=None if drawn is None else replace(drawn, mask=None),
            picture=picture,
            mask=None if mask is None else masks.latent_mask(mask, self._family.latents.downsample),
            hidden=hidden,
            strength=1.0 if source is None else source.resolved_strength,
            fill="original" if source is None else source.fill,
        )
        return encoded
