"""Runs in the environment of tests/clients/requirements.txt: the package webuiapi against a running stack.

Usage: python webuiapi_check.py HTTP (address as host:port). Prints one line of JSON; fails loudly.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from typing import Any

import webuiapi
from PIL import Image

PROMPT = "red apple, flat"
SIZE = {"width": 64, "height": 64}


def main(http: str) -> dict[str, bool]:
    host, _, port = http.partition(":")
    api = webuiapi.WebUIApi(host=host, port=int(port), sampler="Euler", steps=4)
    results = {**lists(api), **pictures(api), **models(api), **errors(api), **stopping(api)}
    results |= asyncio.run(asynchronously(api))
    signed_in = webuiapi.WebUIApi(host=host, port=int(port), username="a1111", password="any")
    results["basic"] = len(signed_in.get_sd_models()) > 0
    return results


def lists(api: webuiapi.WebUIApi) -> dict[str, bool]:
    """Every getter of the package, except two whose routes A1111 itself has removed."""
    empty = (
        api.get_loras, api.get_latent_upscale_modes, api.get_sd_vae, api.get_hypernetworks,
        api.get_face_restorers, api.get_realesrgan_models, api.controlnet_model_list, api.controlnet_module_list,
    )  # fmt: skip
    return {
        "empty": all(get() == [] for get in empty),
        "upscalers": {"None", "Lanczos"} <= {one["name"] for one in api.get_upscalers()},
        "scripts": api.get_scripts() == {"txt2img": [], "img2img": []},
        "extensions": not (api.has_controlnet or api.has_adetailer or api.has_animatediff),
        "samplers": "Euler" in api.util_get_sampler_names(),
        "schedulers": "automatic" in api.util_get_scheduler_names(),
        "styles": {"name", "prompt", "negative_prompt"} <= api.get_prompt_styles()[0].keys(),
        "embeddings": api.get_embeddings() == {"loaded": {}, "skipped": {}},
        "cmd_flags": isinstance(api.get_cmd_flags(), dict),
        "memory": api.get_memory()["ram"]["total"] > 0,
        "controlnet_version": api.controlnet_version() == 0,
        "refresh": api.refresh_checkpoints() is None,
    }


def pictures(api: webuiapi.WebUIApi) -> dict[str, bool]:
    options: dict[str, Any] = {"prompt": PROMPT, "negative_prompt": "text", "seed": 7, "cfg_scale": 3.0}
    first = api.txt2img(**options, width=64, height=64, batch_size=2)
    again = api.txt2img(**options, width=64, height=64)
    large = api.txt2img(**options, width=512, height=512, save_images=True)
    read = api.png_info(again.image)
    return {
        "pictures": [image.size for image in first.images] == [(64, 64), (64, 64)],
        "seeds": first.info["all_seeds"] == [7, 8],
        "same_seed_same_picture": first.image.tobytes() == again.image.tobytes(),
        "different_seeds": first.images[0].tobytes() != first.images[1].tobytes(),
        "infotext": first.image.info["parameters"] == first.info["infotexts"][0],
        "parameters": first.parameters["prompt"] == PROMPT and first.parameters["steps"] == 4,
        "snapped": large.image.size == (large.info["width"], large.info["height"]) and bool(large.info["comments"]),
        "png_info": read.info == first.info["infotexts"][0],
        "png_info_parameters": read.parameters["Prompt"] == PROMPT and read.parameters["Seed"] == "7",
    }


def models(api: webuiapi.WebUIApi) -> dict[str, bool]:
    """Selects a model as this package and Open WebUI do, and restores the first one."""
    before = api.util_get_current_model()
    other = next(name for name in api.util_get_model_names() if name != before)
    api.util_set_model(other)
    api.util_wait_for_ready(check_interval=0.1)
    drawn = api.txt2img(prompt=PROMPT)
    override = api.txt2img(prompt=PROMPT, override_settings={"sd_model_checkpoint": before})
    chosen = api.util_get_current_model()
    options = api.get_options()
    options["sd_model_checkpoint"] = before
    api.set_options(options)
    return {
        "model": (chosen, drawn.info["sd_model_name"]) == (other, other),
        "override": override.info["sd_model_name"] == before,
        "options": api.util_get_current_model() == before,
    }


def errors(api: webuiapi.WebUIApi) -> dict[str, bool]:
    picture = Image.new("RGB", (64, 64))
    scripts: dict[str, Any] = {}  # else the package keeps the unit in its default argument for later calls
    unit = {"controlnet_units": [webuiapi.ControlNetUnit(image=picture)], "alwayson_scripts": scripts}
    return {
        "no_sampler": failed(lambda: api.txt2img(prompt=PROMPT, sampler_name="none")) == (404, "Sampler not found"),
        "no_script": failed(lambda: api.txt2img(prompt=PROMPT, script_name="X"))[0] == 422,
        "controlnet": failed(lambda: api.txt2img(prompt=PROMPT, **unit))[0] == 422,
        "hires": api.txt2img(prompt=PROMPT, enable_hr=True, hr_scale=2, **SIZE).image.size == (128, 128),
        "img2img": api.img2img(images=[picture], prompt=PROMPT, denoising_strength=0.5, **SIZE).image.size == (64, 64),
        "inpaint": inpainted(api, picture),
        "upscale": api.extra_single_image(picture, upscaler_1="Lanczos").image.size == (128, 128),
        "interrogate": failed(lambda: api.interrogate(picture))[0] == 501,
    }


def inpainted(api: webuiapi.WebUIApi, picture: Image.Image) -> bool:
    """Whether a mask over a quarter is drawn at the size of the picture."""
    mask = Image.new("L", picture.size)
    mask.paste(255, (0, 0, 32, 32))
    drawn = api.img2img(images=[picture], mask_image=mask, prompt=PROMPT, inpaint_full_res=False, mask_blur=0, **SIZE)
    return bool(drawn.image.size == picture.size and drawn.info["denoising_strength"] == 0.75)


def failed(call: Any) -> tuple[int, str]:
    try:
        call()
    except RuntimeError as error:
        status, text = error.args
        return status, json.loads(text)["detail"]
    return 200, ""


def stopping(api: webuiapi.WebUIApi) -> dict[str, bool]:
    """A long drawing, observed and interrupted by another connection."""
    ended: list[tuple[int, str]] = []
    thread = threading.Thread(target=lambda: ended.append(failed(lambda: api.txt2img(prompt=PROMPT, steps=1000))))
    thread.start()
    watching = webuiapi.WebUIApi(baseurl=api.baseurl)
    seen = watching.get_progress()
    while thread.is_alive() and not 0 < seen["progress"] < 1:
        seen = watching.get_progress()
    watching.interrupt()
    thread.join(60)
    watching.skip()
    return {
        "progress": seen["state"]["job_count"] == 1 and seen["state"]["sampling_steps"] == 1000,
        "interrupt": ended == [(499, "Interrupted")],
        "idle": watching.get_progress()["progress"] == 0,
    }


async def asynchronously(api: webuiapi.WebUIApi) -> dict[str, bool]:
    drawn = await asyncio.gather(*(api.txt2img(prompt=PROMPT, use_async=True) for _ in range(3)))
    return {"async": all(len(one.images) == 1 for one in drawn)}


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # the package prints what it does
        results = main(sys.argv[1])
    print(json.dumps(results))
