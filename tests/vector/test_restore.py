"""Restored pictures are nearer to what a picture shows than the picture is."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from serve.vector.compare import LENIENT, composite, mse, render, ssim
from serve.vector.restore import without_blur, without_noise

CLEAN = render(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 72"><rect width="96" height="72" fill="#fff"/>'
    '<circle cx="34" cy="36" r="24"/><path d="M60 12h26v48H60z" fill="#d4213c"/></svg>',
    96,
    72,
)


def as_jpeg(quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(composite(CLEAN)).save(buffer, "JPEG", quality=quality)
    return np.array(Image.open(buffer).convert("RGBA"))


@pytest.mark.parametrize("quality", [50, 75, 90])
def test_a_jpeg_without_its_noise(quality: int) -> None:
    noisy = as_jpeg(quality)
    quiet = without_noise(noisy)
    assert quiet.shape == noisy.shape
    assert quiet[36, 34].tolist() == [0, 0, 0, 255]
    assert mse(quiet[..., :3], CLEAN[..., :3]) < mse(noisy[..., :3], CLEAN[..., :3])
    assert ssim(quiet[..., :3], CLEAN[..., :3], LENIENT) > ssim(noisy[..., :3], CLEAN[..., :3], LENIENT)


def test_an_enlarged_picture_without_its_blur() -> None:
    small = cv2.resize(CLEAN, (48, 36), interpolation=cv2.INTER_AREA)
    blurred = cv2.resize(small, (96, 72), interpolation=cv2.INTER_CUBIC)
    sharp = without_blur(blurred)
    assert ssim(sharp[..., :3], CLEAN[..., :3]) > ssim(blurred[..., :3], CLEAN[..., :3])
    assert sharp.min() >= blurred.min()


def test_a_large_picture_is_restored_in_bounded_time() -> None:
    """As a pyramid: the filter's time at full size would grow to seconds."""
    large = cv2.resize(as_jpeg(75), (1920, 1440), interpolation=cv2.INTER_NEAREST)
    assert without_noise(large).shape == large.shape
