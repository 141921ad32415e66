"""Which picture sizes a family draws."""

from __future__ import annotations

from dataclasses import dataclass

from build_engines.illustrate.checkpoint import Checkpoint
from build_engines.illustrate.precision import Target
from build_engines.illustrate.refusal import Refused


@dataclass(frozen=True)
class Sizes:
    """Any side from ``min_px`` to ``max_px`` that is a multiple of ``multiple_of``. ``default`` is (width, height)."""

    downsample: int
    multiple_of: int
    min_px: int
    max_px: int
    default: tuple[int, int]

    @property
    def default_px(self) -> int:
        return max(self.default)


def sizes_of(checkpoint: Checkpoint, target: Target = "onnx", max_side_px: int | None = None) -> Sizes:
    """From what the UNet was trained on, or as atelier.json has it; ``max_side_px`` overrides both.

    By default the smallest side leaves two values at the UNet's lowest level, for OpenVINO 2026.4 remembers attention
    over a single one wrongly: pictures after it were noise. The largest side is twice the trained one: beyond, subjects
    repeat, and attention's memory grows with the fourth power. Of a TensorRT plan it is one and a half times: a plan
    reserves the memory of its largest shape, used or not.
    """
    config, downsample = checkpoint.config("unet"), checkpoint.downsample
    trained = config.get("sample_size")
    if not isinstance(trained, int):
        raise Refused(f"the UNet's sample_size is {trained}: it must be one number")
    side = trained * downsample
    levels = len(config.get("block_out_channels") or [0] * 4)
    given = checkpoint.overrides.get("sizes", {})
    default = tuple(checkpoint.overrides.get("defaults", {}).get("size", (side, side)))
    multiple_of = int(given.get("multiple_of", downsample))
    largest = 2 * side if target != "tensorrt" else max(side, 3 * side // 2 // multiple_of * multiple_of)
    sizes = Sizes(
        downsample,
        multiple_of,
        int(given.get("min_px", min(side, downsample * 2**levels))),
        max_side_px or int(given.get("max_px", largest)),
        (int(default[0]), int(default[1])),
    )
    _check(sizes)
    return sizes


def _check(sizes: Sizes) -> None:
    if sizes.multiple_of < 1 or sizes.multiple_of % sizes.downsample:
        raise Refused(
            f"atelier.json: sizes.multiple_of must be a multiple of {sizes.downsample}, the VAE's downsampling"
        )
    for side in (sizes.min_px, sizes.max_px, *sizes.default):
        if side % sizes.multiple_of or not sizes.min_px <= side <= sizes.max_px:
            raise Refused(
                f"sizes (atelier.json, --max-side): {side} px is not a multiple of {sizes.multiple_of} "
                f"between {sizes.min_px} and {sizes.max_px} px"
            )
