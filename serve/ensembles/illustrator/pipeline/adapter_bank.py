"""`AdapterBank`: the files of the adapters that drawings use, in the folder where the engines read them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from serve.diffusion import controls, masks
from serve.diffusion.canvas import Bytes, Size, fitted, flattened
from serve.diffusion.family import Family
from serve.diffusion.lora import parse_lora
from serve.diffusion.safetensors_file import FIELD
from serve.engines.adapter_files import adapter_path, number_of, save_adapter
from serve.ensembles.illustrator.adapters import HOW_TO_TAKE_LORAS, AdapterSlot, ControlUse, LoraUse, ReferenceUse
from serve.ensembles.illustrator.picture_source import InputPicture
from serve.ensembles.illustrator.regions import decoded_mask
from serve.errors import AtelierError, InvalidRequest, OutOfSpace, Overloaded, UnsupportedOperation, rename_fields
from serve.vector.image import FIELD as IMAGE_FIELD
from serve.vector.image import ImageLimits, read

MAX_DECODING = 2
"""Pictures of one family that are decoded at a time."""
MAX_PARSING = 2
"""LoRAs of one family that are read at a time: one may take a gigabyte."""
FetchObject = Callable[[str], Awaitable[bytes]]
"""The content of an object of the site's store. Raises NotFound, StateUnavailable."""
Arrays = Mapping[str, npt.NDArray[Any]]
EncodeReference = Callable[[Bytes], Awaitable[Mapping[str, npt.NDArray[Any]]]]
"""Pixels (1, side, side, 3) to ``image_tokens`` and ``no_image_tokens``."""


def _decoded(picture: InputPicture, field: str) -> Bytes:
    """Opaque pixels (H, W, 3). Raises BadImage naming ``field``."""
    limits = ImageLimits(
        max(1, len(picture.data)), picture.width * picture.height, max(picture.width, picture.height), 1
    )
    with rename_fields({IMAGE_FIELD: field}):
        return flattened(read(picture.data, limits).rgba)


def control_pixels(use: ControlUse, size: Size, field: str = "image") -> Bytes:
    """The control picture of ``use`` for a drawing of ``size`` (width, height). Raises BadImage naming ``field``."""
    return controls.preprocessed(fitted(_decoded(use.picture, field), size, use.fit), use.preprocessor)


def reference_pixels(use: ReferenceUse, side_px: int, field: str) -> Bytes:
    """As CLIP's image processor has it, (1, side, side, 3): the shorter side scaled, the middle cut out."""
    image = Image.fromarray(_decoded(use.picture, field))
    scale = side_px / min(image.size)
    width, height = (max(side_px, int(scale * side)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - side_px) // 2, (height - side_px) // 2
    return np.asarray(image.crop((left, top, left + side_px, top + side_px)))[None]


@dataclass
class _Kept:
    bytes: int
    used_at: float


_HELD: ContextVar[list[int] | None] = ContextVar("held", default=None)
"""Numbers of the adapters that the drawing of this context uses."""


@dataclass
class AdapterBank:
    """The adapters' files of one family. ``folder`` is None where the engines read none of ours (an external Triton).

    Files that no drawing uses make room for others once there are ``max_bytes``, the least recently used first.
    """

    family: Family
    folder: Path | None
    fetch: FetchObject | None = None
    max_bytes: int = 8 * 1024**3
    _files: dict[int, _Kept] = field(default_factory=dict)
    _adding: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    _holds: Counter[int] = field(default_factory=Counter)
    _controls: set[int] = field(default_factory=set)
    """Control pictures: each is of one drawing."""
    _reserved: int = 0
    """Bytes of files that are being written."""
    _parsing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_PARSING))
    _decoding: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_DECODING))

    @contextlib.contextmanager
    def holding(self) -> Iterator[None]:
        """Adapters that are added meanwhile, by this task and those that it starts, stay until the end.

        Control pictures are deleted then; after an error, when an engine may still read them, only to make room.
        """
        held: list[int] = []
        token = _HELD.set(held)
        completed = False
        try:
            yield
            completed = True
        finally:
            _HELD.reset(token)
            for number in held:
                self._holds[number] -= 1
                if self._holds[number] == 0:
                    del self._holds[number]
                    if completed and number in self._controls:
                        self._delete(number)

    async def loras(self, uses: Sequence[LoraUse], at: str = "loras") -> list[AdapterSlot]:
        """Raises InvalidRequest naming ``at`` for one of another family, NotFound for one that is gone."""
        if uses and not self.family.adapters:
            reason = f"model '{self.family.name}' takes no LoRAs; {HOW_TO_TAKE_LORAS}"
            raise UnsupportedOperation(reason, at)
        with rename_fields({FIELD: at}):
            return [AdapterSlot(await self._lora(use), use.weight) for use in uses]

    async def _lora(self, use: LoraUse) -> int:
        async def read() -> Arrays:
            if self.fetch is None:
                raise UnsupportedOperation("LoRAs are not available without a store", "loras")
            async with self._parsing:
                data = await self.fetch(use.object)
                return (await asyncio.to_thread(parse_lora, data, self.family.adapters, self.family.name)).arrays()

        return await self.add(use.object, read)

    async def controls(self, uses: Sequence[ControlUse], size: Size) -> list[AdapterSlot]:
        """For a drawing of ``size`` (width, height). Raises InvalidRequest naming ``controls[i].type``, BadImage."""
        known = self.family.controls
        slots = []
        for i, use in enumerate(uses):
            if use.type not in known:
                offer = f"it has {', '.join(known)}" if known else "it has none; build its engines with --controlnet"
                reason = f"model '{self.family.name}' has no ControlNet {use.type[:64]!a}: {offer}"
                raise InvalidRequest(reason, f"controls[{i}].type")

            async def read(use: ControlUse = use, field: str = f"controls[{i}].image") -> Arrays:
                async with self._decoding:
                    pixels = await asyncio.to_thread(control_pixels, use, size, field)
                return {"control": np.array(use.type), "picture": pixels}

            content = f"{use.picture.name}|{use.type}|{use.preprocessor}|{use.fit}|{size}"
            number = await self.add(content, read)
            self._controls.add(number)
            slots.append(AdapterSlot(number, use.scale, use.start, use.end))
        return slots

    async def references(
        self,
        uses: Sequence[ReferenceUse],
        encode: EncodeReference,
        version: str,
        size: Size,
        at: str = "references",
    ) -> list[AdapterSlot]:
        """``encode`` runs the image encoder of ``version``. Masks are for a drawing of ``size`` (width, height).

        Raises UnsupportedOperation naming ``at``, BadImage, InvalidRequest naming a mask.
        """
        prompt = self.family.image_prompt
        if uses and prompt is None:
            reason = f"model '{self.family.name}' takes no references; build its engines with --ip-adapter"
            raise UnsupportedOperation(reason, at)
        slots = []
        for i, use in enumerate(uses):
            assert prompt is not None
            if use.mask is not None and not prompt.levels:
                raise UnsupportedOperation(
                    "the engines of this model take no masks; build them again", f"{at}[{i}].mask"
                )
            scales = use.block_scales(prompt.blocks)
            tokens: dict[str, npt.NDArray[Any]] = {}

            async def read(
                name: str,
                use: ReferenceUse = use,
                scales: npt.NDArray[Any] = scales,
                tokens: dict[str, npt.NDArray[Any]] = tokens,
                side_px: int = prompt.side_px,
                at: str = f"{at}[{i}]",
            ) -> Arrays:
                if not tokens:
                    async with self._decoding:
                        pixels = await asyncio.to_thread(reference_pixels, use, side_px, f"{at}.image")
                    tokens |= await encode(pixels)
                shares = await asyncio.to_thread(self._masks, use, size, f"{at}.mask")
                return {"tokens": tokens[name][0], "blocks": scales, **shares}

            masked = "" if use.mask is None else f"|{use.mask.name}|{size}"
            key = f"{use.picture.name}|{version}|{scales.tobytes().hex()}{masked}"
            names = ("image_tokens", "no_image_tokens")
            own, none = [await self.add(f"{key}|{name}", partial(read, name)) for name in names]
            slots.append(AdapterSlot(own, 1.0, unconditional=none))
        return slots

    def _masks(self, use: ReferenceUse, size: Size, field: str) -> Arrays:
        """Over the positions of each level of the UNet, as diffusers' IPAdapterMaskProcessor has them: bicubic."""
        prompt, downsample = self.family.image_prompt, self.family.latents.downsample
        if use.mask is None or prompt is None:
            return {}
        mask = decoded_mask(use.mask, field, size)
        if not mask.any():
            raise InvalidRequest("is black: the reference would act nowhere", field)
        grids = prompt.grids(size[1] // downsample, size[0] // downsample)
        return {name: masks.positions(mask, grid) for name, grid in zip(prompt.mask_names, grids, strict=True)}

    async def add(self, content: str, make: Callable[[], Awaitable[Arrays]]) -> int:
        """The number of the adapter whose content is named so; ``make`` is called unless its file is there."""
        if self.folder is None:
            raise UnsupportedOperation("adapters need an embedded Triton: engines.url names another", "loras")
        number = number_of(hashlib.sha256(f"{self.family.name}|{content}".encode()).hexdigest())
        if (held := _HELD.get()) is not None:
            held.append(number)
            self._holds[number] += 1
        while number not in self._files:
            task = self._adding.get(number)
            if task is None:
                task = self._adding[number] = asyncio.create_task(self._write(number, make))
                await asyncio.shield(task)
                continue
            # What another drawing began may end with that drawing's deadline.
            with contextlib.suppress(AtelierError):
                await asyncio.shield(task)
        self._files[number].used_at = time.monotonic()
        return number

    async def _write(self, number: int, make: Callable[[], Awaitable[Arrays]]) -> None:
        """Raises OutOfSpace."""
        assert self.folder is not None
        try:
            arrays = await make()
            size = sum(array.nbytes for array in arrays.values())
            self._make_room(size)
            self._reserved += size
            try:
                await asyncio.to_thread(save_adapter, self.folder, number, arrays)
            except OSError as error:
                raise OutOfSpace("there is no room for the adapters of this drawing; try again later") from error
            finally:
                self._reserved -= size
            self._files[number] = _Kept(size, time.monotonic())
        finally:
            self._adding.pop(number, None)

    def _make_room(self, size: int) -> None:
        """Raises Overloaded while adapters in use leave no room."""
        assert self.folder is not None
        excess = sum(one.bytes for one in self._files.values()) + self._reserved + size - self.max_bytes
        for number, kept in sorted(self._files.items(), key=lambda item: item[1].used_at):
            if excess <= 0:
                return
            if number not in self._holds:
                self._delete(number)
                excess -= kept.bytes
        if excess > 0:
            raise Overloaded("the adapters in use take all of their space; try again later")

    def _delete(self, number: int) -> None:
        assert self.folder is not None
        self._controls.discard(number)
        if self._files.pop(number, None) is not None:
            adapter_path(self.folder, number).unlink(missing_ok=True)
