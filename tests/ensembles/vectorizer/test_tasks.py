"""Tasks of the workers, run in this process: nothing is compiled during requests; noisy pictures are detected."""

from __future__ import annotations

import io

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from serve.ensembles.vectorizer import tasks
from serve.vector import compare
from serve.vector.coverage.kernel import KERNELS
from serve.vector.features import degradation
from serve.vector.image import ImageLimits
from serve.vector.parameters import CoverageParameters, VTracerParameters

LIMITS = ImageLimits()


def disc() -> npt.NDArray[np.uint8]:
    rgb = np.full((96, 96, 3), 255, np.uint8)
    cv2.circle(rgb, (48, 48), 30, (220, 30, 40), -1, cv2.LINE_AA)
    cv2.circle(rgb, (60, 40), 12, (20, 90, 200), -1, cv2.LINE_AA)
    return rgb


def encode(pixels: npt.NDArray[np.uint8], kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **({"quality": 60} if kind == "JPEG" else {}))
    return out.getvalue()


def transparent() -> bytes:
    rgba = np.dstack([disc(), np.full((96, 96), 255, np.uint8)])
    rgba[(disc() == 255).all(-1), 3] = 0
    rgba[20:30, 20:80, 3] = 90
    return encode(rgba)


def dithered() -> bytes:
    """To the 216 web colours, on a background that is not one of them."""
    rgb = np.where(disc() == 255, np.array([240, 225, 200], np.uint8), disc())
    return encode(np.asarray(Image.fromarray(rgb).convert("P", palette=Image.Palette.WEB).convert("RGB")))


PICTURES = {
    "opaque": encode(disc()),
    "alpha": transparent(),
    "jpeg": encode(disc(), "JPEG"),
    "dithered": dithered(),
    "tiny": encode(disc()[:5, :3]),
}


def signatures() -> int:
    return sum(len(kernel.signatures) for kernel in (*KERNELS, compare._ssim, compare._composite))


@pytest.mark.parametrize("name", PICTURES)
def test_nothing_is_compiled_after_warm_up(name: str) -> None:
    tasks.warm()
    before = signatures()
    tasks.inspect(PICTURES[name], LIMITS)
    for parameters in (CoverageParameters(refine=1), CoverageParameters(denoise=24.0), VTracerParameters()):
        tasks.attempt(PICTURES[name], LIMITS, parameters, True)
    assert signatures() == before


def test_attempt_returns_its_measurements() -> None:
    trial = tasks.attempt(PICTURES["opaque"], LIMITS, CoverageParameters(), True)
    assert trial.ssim is not None
    assert trial.ssim > 0.97
    assert trial.restored_ssim is None
    assert trial.bytes == len(trial.svg)
    assert trial.paths == 3
    assert trial.measure_s > 0
    assert tasks.attempt(PICTURES["opaque"], LIMITS, CoverageParameters(), False).ssim is None


def test_noisy_picture_is_also_compared_with_its_denoised_version() -> None:
    trial = tasks.attempt(PICTURES["jpeg"], LIMITS, CoverageParameters(denoise=24.0, flatness=20.0), True)
    assert trial.ssim is not None
    assert trial.restored_ssim is not None
    assert trial.restored_ssim > trial.ssim


def test_dithered_picture_is_compared_as_it_is() -> None:
    assert degradation(tasks.inspect(PICTURES["dithered"], LIMITS).features) == "noisy"
    trial = tasks.attempt(PICTURES["dithered"], LIMITS, CoverageParameters(), True)
    assert trial.ssim is not None
    assert trial.restored_ssim is None


def drawn(seed: int, side: int) -> bytes:
    rgb = np.full((side, side, 3), 255, np.uint8)
    rgb[: side // 2] = (seed, 40, 90)
    return encode(rgb)


def cached_after(*pictures: bytes) -> list[bytes]:
    for data in pictures:
        tasks.inspect(data, LIMITS)
    return [data for data, _ in tasks._decoded]


def test_large_picture_is_cached_alone() -> None:
    first, second, third, large, larger = (drawn(seed, side) for seed, side in enumerate((32, 32, 32, 2050, 2052)))
    assert cached_after(first, second) == [first, second]
    assert cached_after(first, third) == [first, third]
    assert cached_after(large) == [large]
    assert cached_after(larger) == [larger]
    known = tasks._decode_cached(larger, LIMITS)
    assert tasks._decode_cached(larger, LIMITS) is known
    assert cached_after(first) == [first]


def test_inspection_describes_the_picture() -> None:
    seen = tasks.inspect(PICTURES["alpha"], LIMITS)
    assert (seen.width, seen.height, seen.format) == (96, 96, "PNG")
    assert seen.features.alpha_share > 0.3
    assert set(seen.inputs) == {"pixels", "detail", "statistics"}
