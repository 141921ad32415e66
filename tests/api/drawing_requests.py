"""Drawing requests with pictures, and the real Illustrator on engines that are functions."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from pictures import encode
from PIL import Image

from serve.engines.adapter_files import IDS, SCALES, adapter_path
from serve.ensembles.illustrator.illustrator import Illustrator
from serve.settings import IllustratorSettings
from serve.state import State
from tests.ensembles.drawn_family import FAMILY, denoise, engines, write_family

PIXELS = np.random.default_rng(5).integers(10, 245, (8, 8, 3)).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
PNG = encode(Image.fromarray(PIXELS))
Answer = Callable[[Mapping[str, NDArray[Any]]], dict[str, NDArray[Any]]]


def url(data: bytes = PNG) -> str:
    return f"data:image/png;base64,{b64(data)}"


def b64(data: bytes = PNG) -> str:
    return base64.b64encode(data).decode()


async def pixels_at(client: httpx.AsyncClient, address: str) -> NDArray[np.uint8]:
    answer = await client.get(httpx.URL(address).path, params=httpx.URL(address).params)
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"))


async def drawn(client: httpx.AsyncClient, path: str, **more: Any) -> dict[str, Any]:
    answer = await client.post(path, **more)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def drawing_illustrator(repository: Path) -> Illustrator:
    return Illustrator(IllustratorSettings(model_repository=repository), engines=engines())  # type: ignore[arg-type]


def adapted_illustrator(
    folder: Path,
    state: State,
    adapters: Mapping[str, Any],
    values_of: Callable[[Mapping[str, NDArray[Any]]], NDArray[Any]],
    **answers: Answer,
) -> Illustrator:
    """Its UNet takes ``adapters``, and adds the mean of the ``values_of`` each adapter's arrays, by its scale and
    mask, to the row. ``answers``: those of other engines."""
    bank = folder / "bank"
    bank.mkdir()

    def adapted(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        noise = denoise(inputs)["noise_pred"]
        for row, (ids, scales) in enumerate(zip(inputs[IDS], inputs[SCALES], strict=True)):
            for number, scale in zip(ids, scales, strict=True):
                if number:
                    file = np.load(adapter_path(bank, int(number)))
                    mask = file["image_mask_0"].reshape(noise.shape[2:]) if "image_mask_0" in file else 1
                    noise[row] += scale * values_of(file).mean() * mask
        return {"noise_pred": noise}

    repository = write_family(folder / "repository", {**FAMILY, "adapters": {"unet": adapters}})
    known = engines()
    known.answers |= {"toy_unet": adapted, **answers}
    settings = IllustratorSettings(model_repository=repository)
    return Illustrator(settings, engines=known, fetch=state.objects.get, adapters=bank)  # type: ignore[arg-type]
