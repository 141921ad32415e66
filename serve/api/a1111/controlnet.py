"""ControlNet's extension: its lists, ``detect``, and its units in ``alwayson_scripts``.

Where no model has a ControlNet, the lists are empty, the version is 0, and the script is not found.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Response
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field

from serve.api.a1111.models import BASE64, DetectResponse, LenientModel, OrNone, Picture
from serve.api.a1111.pictures import content_of
from serve.api.http.bodies import CappedRoute
from serve.api.http.callers import Directly
from serve.api.http.input_pictures import input_picture, limits_of
from serve.api.http.models import Flag, Number, Text, Whole, validate
from serve.api.http.problems import render
from serve.api.library.files import ConversionTurns
from serve.api.native.conversion import SiteSettings
from serve.diffusion import controls
from serve.diffusion.canvas import flattened, resized
from serve.ensembles.illustrator.adapters import MAX_PICTURES_EACH, MAX_SCALE, ControlUse
from serve.ensembles.illustrator.encoding import Encoding, as_base64, to_file
from serve.ensembles.illustrator.picture_source import InputPicture, PictureSource
from serve.ensembles.illustrator.service import FamilyInfo
from serve.errors import InvalidRequest, Unsupported, rename_fields
from serve.settings import Settings
from serve.vector.image import FIELD, read

router = APIRouter(prefix="/controlnet", route_class=CappedRoute)

SCRIPT = "controlnet"
VERSION = 3
MAX_SIDE_PX = 2048
_MODULES: Mapping[str, str] = {
    "none": "none", "canny": "canny", "lineart_standard (from white bg & black line)": "lineart",
    "lineart_standard": "lineart", "lineart": "lineart", "tile_resample": "tile", "tile_colorfix": "tile",
    "color": "colour", "t2ia_color_grid": "colour", "invert (from white bg & black line)": "invert", "invert": "invert",
}  # fmt: skip
"""Preprocessors by the extension's names."""
_LISTED = ("none", "canny", "lineart_standard", "tile_resample", "t2ia_color_grid", "invert")
_FITS = {
    0: "stretch",
    1: "crop",
    2: "pad",
    "just resize": "stretch",
    "crop and resize": "crop",
    "resize and fill": "pad",
}
_HASH = re.compile(r"\s*\[[0-9a-f]+\]$")
MAX_NAME = 256
_BAD_UNIT = "alwayson_scripts.controlnet.args"


def _as_mode(value: Any) -> Any:
    if isinstance(value, str):
        value = value.lower()
    return _FITS.get(value, "crop") if isinstance(value, str | int) else "crop"


def _as_picture(value: Any) -> Any:
    """A unit's picture may come with a mask, which has no effect here."""
    return value.get("image") if isinstance(value, dict) else value or None


class ControlNetUnit(LenientModel):
    """Of a drawing request. Fields that are not listed have no effect."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"module": "canny", "model": "canny", "image": BASE64}]})

    enabled: Flag = True
    module: Annotated[Text, Field(max_length=MAX_NAME)] = "none"
    model: Annotated[Text, Field(max_length=MAX_NAME)] = "None"
    weight: Annotated[Number, Field(ge=0, le=MAX_SCALE)] = 1.0
    image: Annotated[
        Picture | None, BeforeValidator(_as_picture), Field(validation_alias=AliasChoices("image", "input_image"))
    ] = None
    guidance_start: Annotated[Number, Field(ge=0, le=1)] = 0.0
    guidance_end: Annotated[Number, Field(ge=0, le=1)] = 1.0
    resize_mode: Annotated[str, BeforeValidator(_as_mode)] = "crop"


class DetectRequest(LenientModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"controlnet_module": "canny", "controlnet_input_images": [BASE64]}]}
    )

    controlnet_module: Annotated[Text, Field(max_length=MAX_NAME)] = "none"
    controlnet_input_images: Annotated[list[Picture], Field(max_length=MAX_PICTURES_EACH)] = Field(default_factory=list)
    controlnet_processor_res: Annotated[Whole, Field(ge=-1, le=MAX_SIDE_PX)] = 512
    controlnet_threshold_a: Annotated[Number | None, OrNone] = None
    controlnet_threshold_b: Annotated[Number | None, OrNone] = None


def control_types_of(families: Sequence[FamilyInfo]) -> list[str]:
    """The ControlNets of all models."""
    return sorted({name for family in families for name in family.controls})


def module_of(name: str, field: str) -> str:
    """Our preprocessor. Raises InvalidRequest naming ``field``."""
    known = _MODULES.get(name.lower())
    if known is None:
        raise InvalidRequest(f"{name[:64]!a} is no module here; GET /controlnet/module_list lists them", field)
    return known


def type_of(model: str, family: FamilyInfo, field: str) -> str:
    """The ControlNet of ``family`` that a checkpoint's name says, such as ``control_v11p_sd15_canny [d14c016b]``.

    Raises InvalidRequest naming ``field``.
    """
    name = _HASH.sub("", model).lower()
    found = name if name in family.controls else next((one for one in family.controls if one in name), None)
    if found is None:
        raise InvalidRequest(f"there is no ControlNet {model[:64]!a}; GET /controlnet/model_list lists them", field)
    return found


async def control_uses(
    scripts: Mapping[str, Any], family: FamilyInfo, source: PictureSource | None, settings: Settings
) -> tuple[ControlUse, ...]:
    """The units of ``scripts`` that are enabled. One without a picture has that which the drawing starts from.

    Raises InvalidRequest, TooLarge, UnsupportedMedia and BadImage naming the unit's field.
    """
    script = next((value for name, value in scripts.items() if name.lower() == SCRIPT), None)
    units = script.get("args") if isinstance(script, Mapping) else None
    if script is None:
        return ()
    if not isinstance(units, list) or len(units) > MAX_PICTURES_EACH:
        raise InvalidRequest(f"must be a list of up to {MAX_PICTURES_EACH} units", _BAD_UNIT)
    uses = []
    for i, values in enumerate(units):
        at = f"{_BAD_UNIT}[{i}]"
        try:
            unit = validate(ControlNetUnit, values)
        except InvalidRequest as error:
            raise InvalidRequest(error.message, f"{at}.{error.field}" if error.field else at) from None
        if unit.enabled and unit.model != "None":
            picture = await _picture(unit, source, at, settings)
            names = {"start": "guidance_start", "end": "guidance_end", "scale": "weight", "fit": "resize_mode"}
            with rename_fields({name: f"{at}.{names.get(name, name)}" for name in (*names, "image")}):
                uses.append(
                    ControlUse(
                        type_of(unit.model, family, f"{at}.model"),
                        picture,
                        module_of(unit.module, f"{at}.module"),
                        unit.weight,
                        unit.guidance_start,
                        unit.guidance_end,
                        unit.resize_mode,
                    )
                )
    return tuple(uses)


async def _picture(unit: ControlNetUnit, source: PictureSource | None, at: str, settings: Settings) -> InputPicture:
    if unit.image is not None:
        data = await asyncio.to_thread(content_of, unit.image, f"{at}.image", settings)
        return await input_picture(data, f"{at}.image", limits_of(settings))
    if source is None:
        raise InvalidRequest("is required", f"{at}.image")
    return source.image


class ControlNetVersion(BaseModel):
    version: Annotated[int, Field(examples=[VERSION])]


class ControlNetModels(BaseModel):
    model_list: Annotated[list[str], Field(examples=[["canny"]])]


class ControlNetModules(BaseModel):
    module_list: Annotated[list[str], Field(examples=[["none", "canny"]])]
    module_detail: Annotated[dict[str, Any], Field(examples=[{}])]


class ControlNetTypes(BaseModel):
    control_types: Annotated[dict[str, Any], Field(examples=[{}])]


@router.get("/version", response_model=ControlNetVersion, response_description="0: there is none")
async def version(direct: Directly) -> dict[str, Any]:
    """The version of ControlNet's extension that this is like."""
    return {"version": VERSION if control_types_of(await direct.families()) else 0}


@router.get("/model_list", response_model=ControlNetModels, response_description="Those of all models")
async def model_list(direct: Directly) -> dict[str, Any]:
    """ControlNets."""
    return {"model_list": control_types_of(await direct.families())}


@router.get("/module_list", response_model=ControlNetModules, response_description="Their names as the extension's")
async def module_list(direct: Directly) -> dict[str, Any]:
    """Preprocessors."""
    modules = _LISTED if control_types_of(await direct.families()) else ()
    return {"module_list": modules, "module_detail": {name: {"model_free": False, "sliders": []} for name in modules}}


@router.get("/control_types", response_model=ControlNetTypes, response_description="By the extension's names")
async def control_types(direct: Directly) -> dict[str, Any]:
    """Kinds of control, with the preprocessors and ControlNets of each."""
    types = control_types_of(await direct.families())
    if not types:
        return {"control_types": {}}
    found: dict[str, Any] = {"All": _type(_LISTED, types)}
    for name in types:
        modules = ["none", *(module for module in _LISTED if _MODULES[module] == name)]
        found[name.capitalize()] = _type(modules, [name])
    return {"control_types": found}


def _type(modules: Sequence[str], models: Sequence[str]) -> dict[str, Any]:
    return {
        "module_list": list(modules),
        "model_list": ["None", *models],
        "default_option": modules[-1],
        "default_model": models[0],
    }


@router.post("/detect", response_model=DetectResponse, response_description="The control pictures", responses={501: {}})
async def detect(
    direct: Directly, settings: SiteSettings, turns: ConversionTurns, body: DetectRequest | None = None
) -> Response:
    """What a preprocessor makes of pictures."""
    body = body or DetectRequest()
    if not control_types_of(await direct.families()):
        raise Unsupported("there is no ControlNet here yet; GET module_list lists its modules")
    module = module_of(body.controlnet_module, "controlnet_module")
    if not body.controlnet_input_images:
        raise InvalidRequest("No image selected", "controlnet_input_images")
    low, high = (
        None if value is None else int(value) for value in (body.controlnet_threshold_a, body.controlnet_threshold_b)
    )
    images = []
    for picture in body.controlnet_input_images:
        data = await asyncio.to_thread(content_of, picture, "controlnet_input_images", settings)
        async with turns.slot():
            images.append(await asyncio.to_thread(_detected, data, module, body, settings, low, high))
    return await asyncio.to_thread(render, {"images": images, "info": "Success"}, 200, None)


def _detected(
    data: bytes, module: str, body: DetectRequest, settings: Settings, low: int | None, high: int | None
) -> str:
    with rename_fields({FIELD: "controlnet_input_images"}):
        pixels = flattened(read(data, limits_of(settings)).rgba)
    side = body.controlnet_processor_res
    if side > 0:
        scale = side / min(pixels.shape[:2])
        size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
        if max(size) <= 4 * MAX_SIDE_PX:
            pixels = resized(np.ascontiguousarray(pixels), size)
    return as_base64(to_file(controls.preprocessed(pixels, module, low, high), Encoding()))
