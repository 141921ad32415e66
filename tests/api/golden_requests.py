"""Requests of all vocabularies whose responses are recorded in `golden/`: valid ones, and every field with wrong
values. `{name}` in a path is replaced by the id that an earlier request saved under that name (``save``)."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pictures import drawn, encode

PNG = encode(drawn())
PNG_TEXT = base64.b64encode(PNG).decode()
DATA_URL = f"data:image/png;base64,{PNG_TEXT}"
JSON = "application/json"
UNKNOWN_ID = "0" * 32

PROBES: Mapping[str, Any] = {
    "null": None, "true": True, "-1": -1, "7.5": 7.5, "1e30": 10**30, "'7'": "7", "''": "", "'x'": "x",
    "long": "x" * 33_000, "nul": "a\0b", "[]": [],
}  # fmt: skip
"""Probe values for each field of a JSON body."""
TEXT_PROBES: Mapping[str, str] = {
    "''": "", "x": "x", "7": "7", "-1": "-1", "7.5": "7.5", "true": "true", "long": "x" * 5_000, "nul": "a\0b",
}  # fmt: skip
"""Probe values for each field of a form, and for each query parameter."""
BODIES: Mapping[str, tuple[bytes, Mapping[str, str]]] = {
    "empty": (b"", {"Content-Type": JSON}),
    "cut": (b'{"prompt": "x', {"Content-Type": JSON}),
    "list": (b"[]", {"Content-Type": JSON}),
    "null": (b"null", {"Content-Type": JSON}),
    "twice": (b'{"prompt": "a", "prompt": "b"}', {"Content-Type": JSON}),
    "nan": (b'{"seed": NaN}', {"Content-Type": JSON}),
    "bytes": (b'{"prompt": "\xff"}', {"Content-Type": JSON}),
    "surrogate": (b'{"prompt": "\\ud800"}', {"Content-Type": JSON}),
    "text": (b'{"prompt": "x"}', {"Content-Type": "text/plain"}),
    "form": (b"prompt=x", {"Content-Type": "application/x-www-form-urlencoded"}),
    "multipart": (b"--x--", {"Content-Type": "multipart/form-data; boundary=x"}),
    "no boundary": (b"--x--", {"Content-Type": "multipart/form-data"}),
    "brotli": (b"{}", {"Content-Type": JSON, "Content-Encoding": "br"}),
    "no gzip": (b"{}", {"Content-Type": JSON, "Content-Encoding": "gzip"}),
    "too large": (b" " * 400_000 + b"{}", {"Content-Type": JSON}),
    "deep": (b'{"a":' * 2_000 + b"1" + b"}" * 2_000, {"Content-Type": JSON}),
}


@dataclass(frozen=True)
class Case:
    """``more`` are httpx's keyword arguments. A ``brief`` case is recorded by its status, field and a digest alone."""

    name: str
    method: str
    path: str
    role: str = "user"
    save: str = ""
    brief: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)


def get(path: str, role: str = "user", name: str = "", **more: Any) -> Case:
    return Case(name or f"GET {path}", "GET", path, role, more=more)


def send(method: str, path: str, name: str = "", role: str = "user", save: str = "", **more: Any) -> Case:
    return Case(f"{method} {path} {name}".rstrip(), method, path, role, save, more=more)


def bodies(method: str, path: str, role: str = "user") -> Iterator[Case]:
    for what, (content, headers) in BODIES.items():
        yield Case(
            f"{method} {path} body|{what}",
            method,
            path,
            role,
            brief=True,
            more={"content": content, "headers": headers},
        )


def fields(
    method: str, path: str, body: Mapping[str, Any], names: Mapping[str, tuple[Any, ...]], role: str = "user"
) -> Iterator[Case]:
    """``names`` maps a field of the body to additional values."""
    for name, extra in {**names, "unknown_field": ()}.items():
        values = {**PROBES, **{json.dumps(value)[:40]: value for value in extra}}
        for what, value in values.items():
            changed = json.dumps({**body, name: value})
            more = {"content": changed.encode(), "headers": {"Content-Type": JSON}}
            yield Case(f"{method} {path} {name}|{what}", method, path, role, brief=True, more=more)
        if name in body:
            rest = {own: value for own, value in body.items() if own != name}
            yield Case(f"{method} {path} {name}|missing", method, path, role, brief=True, more={"json": rest})


def form(
    path: str, data: Mapping[str, str], names: Mapping[str, tuple[str, ...]], file: str = "image", role: str = "user"
) -> Iterator[Case]:
    """Multipart form: ``file`` with a picture, and ``data``."""
    picture = {file: ("picture.png", PNG, "image/png")}
    yield send("POST", path, "form", role, files=picture, data=dict(data))
    wrong: dict[str, dict[str, Any]] = {
        "no file": {"files": {"nothing": ("x", b"x")}, "data": dict(data)},
        "no picture": {"files": {file: ("x.png", b"no picture")}, "data": dict(data)},
        "empty": {"files": {file: ("x.png", b"")}, "data": dict(data)},
        "twice": {"files": [(file, ("x.png", PNG)), (file, ("y.png", PNG))], "data": dict(data)},
        "as text": {"files": {"other": ("x.png", PNG)}, "data": {**data, file: "x"}},
        "unknown": {"files": picture, "data": {**data, "unknown_field": "x"}},
        "json": {"json": dict(data)},
        "cut": {"content": b"--x\r\nContent-Disposition: form-data", "headers": {
            "Content-Type": "multipart/form-data; boundary=x"}},
        "no boundary": {"content": b"--x--", "headers": {"Content-Type": "multipart/form-data"}},
        "too large": {"files": {file: ("x.png", b"x" * 400_000)}, "data": dict(data)},
    }  # fmt: skip
    for what, more in wrong.items():
        yield Case(f"POST {path} form|{what}", "POST", path, role, brief=True, more=more)
    for name, extra in names.items():
        for what, value in {**TEXT_PROBES, **dict(zip(extra, extra, strict=True))}.items():
            more = {"files": picture, "data": {**data, name: value}}
            yield Case(f"POST {path} {name}|{what}", "POST", path, role, brief=True, more=more)
        files = [(file, ("x.png", PNG)), (name, (None, "1")), (name, (None, "1"))]
        yield Case(f"POST {path} {name}|twice", "POST", path, role, brief=True, more={"files": files, "data": data})


def queries(
    path: str, names: Mapping[str, tuple[str, ...]], role: str = "user", method: str = "GET", rest: str = ""
) -> Iterator[Case]:
    """``rest`` is the remainder of the query."""
    for name, extra in {**names, "unknown_parameter": ()}.items():
        for what, value in {**TEXT_PROBES, **dict(zip(extra, extra, strict=True))}.items():
            query = {**dict(one.split("=") for one in rest.split("&") if one), name: value}
            yield Case(f"{method} {path} {name}|{what}", method, path, role, brief=True, more={"params": query})
        twice = {**dict(one.split("=") for one in rest.split("&") if one), name: ["1", "2"]}
        yield Case(f"{method} {path} {name}|twice", method, path, role, brief=True, more={"params": twice})


def drawing_options(camel: bool = False) -> dict[str, tuple[Any, ...]]:
    """Drawing options of all vocabularies with the project's own names."""
    names: dict[str, tuple[Any, ...]] = {
        "prompt": ("x" * 32_001,),
        "negative_prompt": ("blurry",),
        "model": ("mini", "turbo", "none"),
        "width": (64, 96, 0, 4097, "64"),
        "height": (64, 65),
        "num_inference_steps": (1, 0, 1000, 1001, "4"),
        "guidance_scale": (0, 50, 50.5, "3.5"),
        "sampler": ("ddim", "none", "heun"),
        "seed": (-1, -2, 2**63 - 1, 2**63, 7.0),
        "output_format": ("jpeg", "webp", "svg", "PNG", "gif"),
        "output_compression": (0, 100, 101, "50"),
        "metadata": (False, "false", "maybe"),
        "c2pa": (False,),
    }
    if not camel:
        return names
    return {_camel(name): extra for name, extra in names.items()}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


STEPS: dict[str, tuple[Any, ...]] = {"steps": (1, 1001), "guidance": (0, 51)}


def health() -> Iterator[Case]:
    for path in ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/api/ai-health"):
        yield get(path, "none")
        yield send("DELETE", path, role="user")
    yield get("/nothing")
    yield get("/docs/nothing", "none")


DRAWN_SVG = {
    "max_colors": ("2", "1"), "min_area_px": ("4", "13"), "precision": ("0", "4"), "shapes": ("false", "maybe"),
    "reuse": ("false", "maybe"),
    "palette": ("#1b4332,#fefae0", "green"), "background": ("remove", "blur"), "classes": ("true", "maybe"),
    "curves": ("arcs", "splines"), "stacking": ("cut_out", "pile"), "group_by": ("layer", "size"),
    "draw": ("strokes", "dots"),
    "title": ("a fox", "x" * 201), "id_prefix": ("fox-", "1 fox"),
}  # fmt: skip


def native() -> Iterator[Case]:
    yield from health()
    for path, names in {
        "/api/convert": {
            "max_bytes": ("100", "99"), "max_paths": ("1",), "validate": ("false", "maybe"), **DRAWN_SVG,
        },
        "/api/convert-ai": {
            "tier": ("auto", "basic", "1", "4"), "target_quality": ("0", "1", "1.1"), "time_budget": ("5", "0.5"),
            "max_bytes": ("100", "99"), "max_paths": ("1",), "validate": ("yes",), **DRAWN_SVG,
        },
        "/api/analyze-image": {},
    }.items():  # fmt: skip
        yield from form(path, {}, {**names, "unknown_field": ()})
        yield send("POST", path, "form without a key", "none", files={"image": ("x.png", PNG)})
    for path in ("/api/convert", "/api/convert-ai"):
        for value in ("json", "svg", "x", ""):
            yield Case(f"POST {path} ?format={value}", "POST", path, more={
                "params": {"format": value}, "files": {"image": ("x.png", PNG)}})  # fmt: skip
    prompt = {"prompt": "a fox", "seed": 7}
    for path, names in {
        "/generate": {
            **drawing_options(), **STEPS, "user_id": ("ada", "bob"), "subject_reference_url": ("https://a.example/x",),
            "style_scale": (0, 2, 2.5), "content_scale": (1,),
        },
        "/api/illustrations/generate": {
            **drawing_options(True), **STEPS, "userId": ("ada", "bob"), "subjectReferences": (["x"], [{"url": "x"}]),
            "stylePreferences": (
                {"artisticStyle": "flat"}, {"artisticStyle": 7}, {"colorPalette": ["red"]}, {"colorPalette": "red"},
                {"colorPalette": [7]}, {"mood": "calm"}, {"x": 1},
            ),
            "memoryContext": ({"title": "a"}, {"title": 7}, {"content": "b", "date": "2026-05-01"}, {"x": 1}),
        },
        "/api/diffusion/generate": {
            **drawing_options(), **STEPS, "n": (1, 2, 10, 11), "preset": ("icon", "none"),
            "quality": ("draft", "standard", "high quality", "best"),
        },
    }.items():  # fmt: skip
        yield send("POST", path, "valid", json=prompt)
        yield send("POST", path, "again", json=prompt)
        yield send("POST", path, "keyed", json=prompt, headers={"Idempotency-Key": f"key of {path}"})
        yield send("POST", path, "keyed again", json=prompt, headers={"Idempotency-Key": f"key of {path}"})
        changed = {**prompt, "seed": 8}
        yield send("POST", path, "key of another", json=changed, headers={"Idempotency-Key": f"key of {path}"})
        yield send("POST", path, "bad key", json=prompt, headers={"Idempotency-Key": "x" * 300})
        yield send("POST", path, "no cache", json=prompt, headers={"Cache-Control": "no-cache"})
        yield send("POST", path, "read-only", "reader", json=prompt)
        yield send("POST", path, "no key", "none", json=prompt)
        yield send("POST", path, "timeout", json=prompt, headers={"X-Request-Timeout": "x"})
        yield send("POST", path, "priority", json=prompt, headers={"X-Priority": "urgent"})
        yield send("GET", path, "wrong method")
        yield from bodies("POST", path)
        yield from fields("POST", path, prompt, names)
    yield get("/api/diffusion/presets")


def openai() -> Iterator[Case]:
    yield get("/v1/models")
    yield get("/v1/models/mini")
    yield get("/v1/models/none")
    yield get("/v1/none")
    yield get("/v1/models", "none", "no key")
    valid = {"prompt": "a fox", "seed": 7}
    own = {
        "n": (1, 2, 10, 11), "size": ("64x64", "auto", "64", "0x0", "99999x1"),
        "quality": ("auto", "low", "high", "hd", "standard", "best"), "response_format": ("b64_json", "url", "svg"),
        "background": ("auto", "opaque", "transparent", "none"), "stream": (False,), "partial_images": (0, 3, 4),
        "user": ("someone",), "safety_identifier": (), "moderation": ("auto", "low", "none"), "style": ("vivid",),
    }  # fmt: skip
    path = "/v1/images/generations"
    drawing = {name: extra for name, extra in drawing_options().items() if name not in ("width", "height")}
    yield send("POST", path, "valid", json=valid)
    yield send("POST", path, "url", json={**valid, "response_format": "url", "n": 2})
    yield send("POST", path, "stream", json={**valid, "stream": True, "partial_images": 2})
    yield send("POST", path, "read-only", "reader", json=valid)
    yield send("POST", path, "no key", "none", json=valid)
    yield from bodies("POST", path)
    yield from fields("POST", path, valid, {**drawing, **STEPS, **own, "width": (64,)})
    for path in ("/v1/images/edits", "/v1/images/variations"):
        texts = {
            "prompt": (),
            "n": ("1", "11"),
            "size": ("64x64",),
            "response_format": ("url", "x"),
            "model": ("mini",),
        }
        yield from form(path, {"prompt": "a fox"} if path.endswith("edits") else {}, texts)
        yield from bodies("POST", path)
    edit = {"prompt": "a fox", "images": [{"image_url": DATA_URL}]}
    yield send("POST", "/v1/images/edits", "valid", json=edit)
    names = {
        "images": ([{"image_url": "x"}], [{}], [{"file_id": "x"}], [{"image_url": DATA_URL}] * 17), "prompt": (),
        "mask": ({"image_url": DATA_URL}, {"image_url": 7}), "markup": (), "n": (1, 11), "size": ("64x64",),
        "input_fidelity": ("high", "none"), "quality": ("high",), "background": ("opaque",),
    }  # fmt: skip
    yield from fields("POST", "/v1/images/edits", edit, names)


def a1111() -> Iterator[Case]:
    for name in (
        "progress", "options", "loras", "upscalers", "latent-upscale-modes", "sd-vae", "sd-modules", "hypernetworks",
        "face-restorers", "realesrgan-models", "script-info", "extensions", "sd-models", "samplers", "schedulers",
        "prompt-styles", "embeddings", "scripts", "cmd-flags", "memory", "none",
    ):  # fmt: skip
        yield get(f"/sdapi/v1/{name}")
    for path in ("/internal/ping", "/internal/pending-tasks", "/internal/none", *(
        f"/controlnet/{name}" for name in ("version", "model_list", "module_list", "control_types"))):  # fmt: skip
        yield get(path)
    yield get("/sdapi/v1/options", "none", "no key")
    for name in ("interrupt", "skip", "refresh-checkpoints", "refresh-loras", "refresh-vae", "refresh-embeddings",
                 "extra-batch-images", "server-stop", "unload-checkpoint"):  # fmt: skip
        yield send("POST", f"/sdapi/v1/{name}")
    yield send("POST", "/controlnet/detect")
    yield from queries("/sdapi/v1/progress", {"skip_current_image": ("false",)})
    valid = {"prompt": "a fox", "seed": 7, "steps": 2}
    path = "/sdapi/v1/txt2img"
    yield send("POST", path, "valid", json=valid)
    yield send("POST", path, "several", json={**valid, "batch_size": 2, "n_iter": 2})
    yield send("POST", path, "read-only", "reader", json=valid)
    yield from bodies("POST", path)
    names = {
        "prompt": ("a <lora:x:1> fox",), "negative_prompt": (), "styles": (["x"], [7]), "seed": (-1, -2, 2**63),
        "sampler_name": ("Euler", "Euler a", "none"), "scheduler": ("automatic", "karras", "none"),
        "batch_size": (1, 10, 11), "n_iter": (1, 11), "steps": (1, 1001), "cfg_scale": (0, 51), "width": (64, 65),
        "height": (64, 0), "override_settings": ({"sd_model_checkpoint": "mini"}, {"sd_model_checkpoint": "none"}),
        "enable_hr": (False,), "send_images": (False,), "force_task_id": ("task",), "sampler_index": ("Euler",),
        "subseed": (), "restore_faces": (False,), "tiling": (False,), "save_images": (), "alwayson_scripts": (),
        "script_name": (), "script_args": (), "denoising_strength": (0.5,),
    }  # fmt: skip
    yield from fields("POST", path, valid, names)
    image = {"init_images": [PNG_TEXT], "prompt": "a fox"}
    yield send("POST", "/sdapi/v1/img2img", "valid", json=image)
    yield from bodies("POST", "/sdapi/v1/img2img")
    yield from fields("POST", "/sdapi/v1/img2img", image, {"init_images": (["x"], [7]), "mask": (), "steps": (1001,)})
    yield send("POST", "/internal/progress", "valid", json={"id_task": "task", "id_live_preview": -1})
    yield from bodies("POST", "/internal/progress")
    yield from fields("POST", "/internal/progress", {"id_task": "task"}, {
        "id_task": (), "id_live_preview": (), "live_preview": (False,)})  # fmt: skip
    yield send("POST", "/sdapi/v1/options", "valid", json={})
    yield from bodies("POST", "/sdapi/v1/options")
    yield from fields("POST", "/sdapi/v1/options", {}, {
        "sd_model_checkpoint": ("mini", "none"), "samples_format": ("png", "jpg", "gif"),
        "live_previews_enable": (False,), "enable_pnginfo": (False,)})  # fmt: skip
    for name in ("png-info", "extra-single-image", "interrogate"):
        yield send("POST", f"/sdapi/v1/{name}", "valid", json={"image": PNG_TEXT})
        yield from bodies("POST", f"/sdapi/v1/{name}")
        names = {"image": (DATA_URL, "data:,x"), **({"model": ("clip", "none")} if name == "interrogate" else {})}
        yield from fields("POST", f"/sdapi/v1/{name}", {"image": PNG_TEXT}, names)


def v2() -> Iterator[Case]:
    yield get("/v2")
    yield get("/v2/models/stats")
    yield get("/v2", "none", "no key")
    for model in ("plus_one", "vectorize", "illustrate", "none"):
        for base in (f"/v2/models/{model}", f"/v2/models/{model}/versions/1", f"/v2/models/{model}/versions/9"):
            for part in ("", "/ready", "/config", "/stats"):
                yield get(base + part)
    for body in ({}, {"ready": True}, {"ready": "x"}, {"ready": None}, {"x": 1}):
        yield send("POST", "/v2/repository/index", json.dumps(body), json=body)
    yield from bodies("POST", "/v2/repository/index")
    for action in ("load", "unload"):
        for model in ("plus_one", "none"):
            yield send("POST", f"/v2/repository/models/{model}/{action}", json={})
        yield from bodies("POST", f"/v2/repository/models/plus_one/{action}")
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    infer = "/v2/models/plus_one/infer"
    yield send("POST", infer, "valid", json={"inputs": [tensor]})
    yield send("POST", infer, "named", json={"inputs": [tensor], "id": "mine", "outputs": [{"name": "y"}]})
    yield send("POST", "/v2/models/plus_one/versions/1/infer", json={"inputs": [tensor]})
    yield send("POST", "/v2/models/plus_one/versions/9/infer", json={"inputs": [tensor]})
    yield send("POST", "/v2/models/none/infer", json={"inputs": [tensor]})
    yield send("POST", infer, "read-only", "reader", json={"inputs": [tensor]})
    head = json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4],
                                   "parameters": {"binary_data_size": 16}}]}).encode()  # fmt: skip
    binary, values = {"Content-Type": "application/octet-stream"}, np.arange(4, dtype="<f4").tobytes()
    length = "Inference-Header-Content-Length"
    yield send("POST", infer, "binary", content=head + values, headers={**binary, length: str(len(head))})
    for what in ("x", "-1", "99999", ""):
        yield send("POST", infer, f"length {what}", content=head + values, headers={**binary, length: what})
    yield from bodies("POST", infer)
    for name, extra in {
        "inputs": ([tensor, tensor], [tensor] * 17, [7], [{}], [{**tensor, "name": "z"}]), "outputs": (
            [{"name": "z"}], [7], [{}], [{"name": "y", "parameters": {"classification": 1}}],
            [{"name": "y", "parameters": {"binary_data": True}}]),
        "id": (), "parameters": ({"binary_data_output": True}, {"x": 1}),
    }.items():  # fmt: skip
        yield from fields("POST", infer, {"inputs": [tensor]}, {name: extra})
    for name, extra in {
        "name": (), "datatype": ("FP64", "INT8", "BYTES", "BF16", "FP16"),
        "shape": ([4], [2, 2], [-1, 4], [1.5], ["4"]),
        "data": ([1, 2], [[1, 2, 3, 4]], [[1, 2], [3]], ["1", "2", "3", "4"], [1e40, 0, 0, 0], [True, 0, 0, 0]),
        "parameters": ({"binary_data_size": 16}, {"binary_data_size": "x"}),
    }.items():  # fmt: skip
        for what, value in {**PROBES, **{json.dumps(one)[:40]: one for one in extra}}.items():
            more = {"content": json.dumps({"inputs": [{**tensor, name: value}]}), "headers": {"Content-Type": JSON}}
            yield Case(f"POST {infer} inputs.{name}|{what}", "POST", infer, brief=True, more=more)
    image = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [PNG_TEXT]}
    yield send("POST", "/v2/models/vectorize/infer", "valid", json={"inputs": [image]})
    yield from fields("POST", "/v2/models/vectorize/infer", {"inputs": [image]}, {
        "parameters": ({"tier": "basic"}, {"tier": "9"}, {"x": 1}, {"timeout": 10**7}, {"max_bytes": 10}),
        "outputs": ([{"name": "svg"}], [{"name": "actual_quality"}], [{"name": "z"}])})  # fmt: skip
    prompt = {"name": "prompt", "datatype": "BYTES", "shape": [1], "data": ["a fox"]}
    yield send("POST", "/v2/models/illustrate/infer", "valid", json={"inputs": [prompt], "parameters": {"seed": 7}})
    for name, extra in drawing_options().items():
        for what, value in {**PROBES, **{json.dumps(one)[:40]: one for one in extra}}.items():
            changed = json.dumps({"inputs": [prompt], "parameters": {name: value}})
            more = {"content": changed, "headers": {"Content-Type": JSON}}
            path = "/v2/models/illustrate/infer"
            yield Case(f"POST {path} parameters.{name}|{what}", "POST", path, brief=True, more=more)
    for path in ("/v2/models/illustrate/generate", "/v2/models/illustrate/generate_stream"):
        body = {"prompt": "a fox", "seed": 7}
        yield send("POST", path, "valid", json=body)
        yield from bodies("POST", path)
        yield from fields("POST", path, body, {"id": (), **drawing_options(), "parameters": ({"seed": 8},)})
    yield send("POST", "/v2/models/plus_one/generate", "valid", json={"x": 1.0})
    yield send("POST", "/v2/models/vectorize/generate", "valid", json={"image": PNG_TEXT})


def jobs() -> Iterator[Case]:
    drawing = {"prompt": "a fox", "seed": 7, "num_inference_steps": 2}
    body = {"kind": "illustrate", "input": drawing}
    path = "/v1/jobs"
    for name in ("done", "changed"):
        yield send("POST", path, f"valid, to be {name}", save=name, json=body)
    yield send("WORK", "")
    yield send("POST", path, "keyed", json=body, headers={"Idempotency-Key": "one"})
    yield send("POST", path, "keyed again", json=body, headers={"Idempotency-Key": "one"})
    yield send("POST", path, "key of another", json={**body, "priority": 1}, headers={"Idempotency-Key": "one"})
    yield send("POST", path, "bad key", json=body, headers={"Idempotency-Key": "\t"})
    yield send("POST", path, "batch of seeds", save="batch", json={**body, "seeds": [1, 2]})
    yield send("POST", path, "batch of prompts", json={"kind": "illustrate", "input": {}, "prompts": ["a", "b"]})
    yield send("POST", path, "prompts and prompt", json={**body, "prompts": ["a", "b"]})
    yield send("POST", path, "batch by count", json={**body, "count": 2})
    yield send("POST", path, "seeds and count", json={**body, "count": 2, "seeds": [1]})
    yield send("POST", path, "of another", json={**body, "user_id": "bob"})
    yield send("POST", path, "read-only", "reader", json=body)
    yield send("POST", path, "no key", "none", json=body)
    for value in ("wait=0", "wait=0.01", "wait=x", "wait=-1", "respond-async", ""):
        yield send("POST", path, f"Prefer: {value}", json=body, headers={"Prefer": value})
    for value in ("high", "low", "normal", "x"):
        yield send("POST", path, f"X-Fal-Queue-Priority: {value}", json=body, headers={"X-Fal-Queue-Priority": value})
    vectorize = {"kind": "vectorize", "input": {"image": DATA_URL}}
    yield send("POST", path, "vectorize", json=vectorize)
    yield send("POST", path, "prompt_to_svg", json={"kind": "prompt_to_svg", "input": {"prompt": "a fox"}})
    yield from bodies("POST", path)
    names: dict[str, tuple[Any, ...]] = {
        "kind": ("vectorize", "prompt_to_svg", "Illustrate"), "input": ({"prompt": "x"}, {"image": DATA_URL}),
        "user_id": ("ada",), "priority": (10, 11, -10, -11, "high", "urgent"),
        "webhook_url": ("http://example.com/", "https://127.0.0.1/x", "ftp://x/"),
        "timeout_s": (0.1, 0.05, 604_800, 604_801),
        "webhook_events": (["completed"], ["none"], [7], "completed"), "seeds": ([1, 2], ["1"], [-2], [1.5], [1] * 101),
        "count": (1, 100, 101, "2"), "quality": ("draft",),
    }  # fmt: skip
    yield from fields("POST", path, body, names)
    prompts: dict[str, tuple[Any, ...]] = {"prompts": (["a"], [""], [7], ["x"] * 101)}
    yield from fields("POST", path, {"kind": "illustrate", "input": {}}, prompts)
    for name, extra in {**drawing_options(), **STEPS, "n": (1, 10, 11), "quality": ("draft", "best"), "x": ()}.items():
        for what, value in {**PROBES, **{json.dumps(one)[:40]: one for one in extra}}.items():
            rest = {"prompt": "a fox", "seed": 7} if name in STEPS else drawing
            changed = json.dumps({**body, "input": {**rest, name: value}})
            more = {"content": changed, "headers": {"Content-Type": JSON}}
            yield Case(f"POST {path} input.{name}|{what}", "POST", path, brief=True, more=more)
    for name, extra in {
        "image": ("data:image/png;base64,!", "https://127.0.0.1/x.png", "data:image/png;base64,AAAA"),
        "result_id": (UNKNOWN_ID,), "tier": ("auto", "basic", "1", "4"), "target_quality": (0, 1, 1.1),
        "time_budget": (1,), "max_bytes": (100, 99), "max_paths": (1, 0), "validate": (False, "yes"), "x": (),
        "palette": ("#1b4332", "green"), "shapes": (False,), "precision": (4,), "background": ("remove", "blur"),
    }.items():  # fmt: skip
        for what, value in {**PROBES, **{json.dumps(one)[:40]: one for one in extra}}.items():
            changed = json.dumps({**vectorize, "input": {"image": DATA_URL, name: value}})
            more = {"content": changed, "headers": {"Content-Type": JSON}}
            yield Case(f"POST {path} vectorize.{name}|{what}", "POST", path, brief=True, more=more)
    yield from form(path, {}, {
        "kind": ("vectorize", "illustrate"), "user_id": ("ada", "bob"), "priority": ("high", "10", "11"),
        "webhook_url": ("http://a.example",), "timeout_s": ("0.1",),
        "webhook_events": ("completed,failed", "completed,x"),
        "result_id": (), "tier": ("basic", "4"), "target_quality": ("1.1",), "time_budget": (), "max_bytes": ("99",),
        "max_paths": (), "validate": ("no",), "seeds": (), "count": (), "unknown_field": (),
    })  # fmt: skip
    for kind in (body, {**body, "priority": 3}, vectorize):
        yield send("POST", path, f"of another, {kind['kind']} {kind.get('priority')}", "other", json=kind)
    yield send("WORK", "")
    yield from queries(path, {
        "user_id": ("ada", "bob"), "batch_id": (UNKNOWN_ID,), "status": ("completed", "queued", "none"),
        "kind": ("illustrate", "vectorize", "prompt_to_svg"), "cursor": (), "limit": ("1", "100", "101"),
    }, "other")  # fmt: skip
    yield send("GET", path, "one", "other", params={"limit": "1", "kind": "vectorize"})
    for job in ("{done}", UNKNOWN_ID, "x"):
        for part in ("", "/status", "/result", "/preview", "/events", "/status/stream", "/nothing"):
            yield get(f"{path}/{job}{part}")
        yield get(f"/api/generate/{job}/status")
        yield get(f"/api/generate/{job}/result")
        yield send("DELETE", f"{path}/{job}")
        yield send("DELETE", f"/api/generate/{job}")
        for action in ("cancel", "pause", "resume"):
            yield send("POST", f"{path}/{job}/{action}")
            yield send("PUT", f"{path}/{job}/{action}")
        yield send("POST", f"{path}/{job}/retry")
        yield send("PUT", f"{path}/{job}/priority", json={"priority": "high"})
        yield send("GET", f"{path}/{job}/status", "of another", "other")
    yield from queries(path + "/{done}/events", {
        "after": ("2", "999", str(2**31 - 1), str(2**31)), "wait_s": ("0.01", "999"), "stream": ("false", "maybe"),
        "expires": (), "signature": ()})  # fmt: skip
    yield from queries(path + "/{done}/status/stream", {"after": ("2", "999")})
    for value in ("1", "x", "-1", ""):
        yield get(path + "/{done}/events", name=f"events, Last-Event-ID: {value}", headers={"Last-Event-ID": value})
    yield get(path + "/{done}/events", name="events, stream", headers={"Accept": "text/event-stream"})
    yield send("POST", path, "to be changed", save="queued", json=body)
    yield get(path + "/{queued}")
    yield get(path + "/{queued}/status")
    yield get(path + "/{queued}/result")
    yield from bodies("PUT", path + "/{queued}/priority")
    yield from fields("PUT", path + "/{queued}/priority", {"priority": 1}, {"priority": (10, 11, "low", "urgent")})
    for action in ("pause", "pause", "resume", "resume", "cancel", "cancel", "retry"):
        yield send("POST", path + "/{queued}/" + action, "queued")
    yield get(path + "/{queued}/result", name="result of a cancelled job")
    batches = "/v1/batches"
    for batch in ("{batch}", UNKNOWN_ID, "x"):
        yield get(f"{batches}/{batch}")
        yield get(f"{batches}/{batch}/download")
        yield send("POST", f"{batches}/{batch}/cancel")
        yield send("GET", f"{batches}/{batch}", "of another", "other")
    generate = "/api/generate"
    valid = {"prompt": "a fox", "seed": 7}
    yield send("POST", generate, "valid", json=valid)
    yield send("POST", generate, "keyed", json=valid, headers={"Idempotency-Key": "two"})
    yield send("POST", generate, "keyed again", json=valid, headers={"Idempotency-Key": "two"})
    yield from bodies("POST", generate)
    yield from fields("POST", generate, valid, {
        **drawing_options(True), **STEPS, "models": (["diffusion"], ["x"], [7]), "priority": ("high", 11),
        "userId": ("ada", "bob"), "n": (1, 11), "quality": ("draft",)})  # fmt: skip
    yield send("WORK", "")
    yield get("/v1/queue")
    for lane in ("illustrate", "vectorize", "none"):
        for action in ("pause", "resume"):
            yield send("POST", f"/api/admin/lanes/{lane}/{action}", role="admin")
            yield send("POST", f"/api/admin/lanes/{lane}/{action}", "as a user")


def library() -> Iterator[Case]:
    drawing = {"prompt": "red apple", "seed": 7, "num_inference_steps": 2}
    yield send("POST", "/generate", "to be kept", save="result", json=drawing)
    yield send("POST", "/v1/jobs", "to be kept", save="done", json={"kind": "illustrate", "input": drawing})
    yield send("WORK", "")
    listing = {
        "user_id": ("ada", "bob"), "cursor": (), "limit": ("1", "100", "101"), "kind": ("illustrate",),
        "model": ("mini",), "status": ("completed", "none"), "favorite": ("false", "maybe"), "batch_id": (UNKNOWN_ID,),
        "q": ("apple", "red pear", " ".join("abcdefghijklmnopqrst")), "min_rating": ("5", "nan", "1e400"),
        "since": ("2026-05-01", "2026-05-01T12:00:00Z", "2026-13-01"), "until": ("2020-01-01",),
        "sort": ("newest", "oldest", "none"), "userId": ("ada",), "batchId": (),
    }  # fmt: skip
    for path in ("/api/generate/history", "/v1/generations"):
        yield get(path)
        yield get(path, "none", f"GET {path} no key")
        yield from queries(path, listing)
    one = "/v1/generations"
    yield from queries(f"{one}/download", {"ids": (UNKNOWN_ID, "a,b", ",", "a" * 129, ",".join(["a"] * 101))})
    yield get(f"{one}/download", params={"ids": "{done}"})
    for known in ("{done}", UNKNOWN_ID, "x" * 129, "$"):
        yield get(f"{one}/{known}")
        yield get(f"{one}/{known}", "other", f"GET {one}/{known} of another")
        yield send("PUT", f"{one}/{known}/favorite")
        yield send("DELETE", f"{one}/{known}/favorite")
        yield from queries(f"{one}/{known}/favorite", {"user_id": ("ada", "bob")}, method="PUT")
    for known in ("{result}", UNKNOWN_ID, "x"):
        for part in ("", "/thumbnail", "/metadata"):
            yield get(f"/v1/results/{known}{part}")
            yield get(f"/v1/results/{known}{part}", "other", f"GET {known}{part} of another")
    result = "/v1/results/{result}"
    yield from queries(result, {
        "format": ("png", "jpeg", "webp", "svg", "gif", "PNG"), "quality": ("1", "100", "101"),
        "width": ("16", "4096", "4097"), "download": ("false", "maybe"), "expires": (), "signature": ()})  # fmt: skip
    yield from queries(result, {"quality": ("1", "100", "101")}, rest="format=webp")
    yield from queries(
        f"{result}/thumbnail", {"size": ("16", "256", "1024", "1025", "150", "300", "600"), "download": ()}
    )
    yield from queries(f"{result}/metadata", {"download": ()})
    for value in ("bytes=0-3", "bytes=-4", "bytes=99999999-", "bytes=5-2", "x", "bytes=0-1,3-4"):
        yield get(result, name=f"Range: {value}", headers={"Range": value})
    yield get(result, name="If-None-Match", headers={"If-None-Match": "*"})
    yield get(result, name="If-Range", headers={"Range": "bytes=0-3", "If-Range": '"x"'})
    yield send("HEAD", result)
    yield send("HEAD", f"{result}/thumbnail")
    references = "/api/references"
    yield from form(references, {"subject_name": "Bella"}, {
        "subject_name": (), "user_id": ("ada", "bob"), "url": ("https://127.0.0.1/x.png",),
        "unknown_field": ()})  # fmt: skip
    yield send("POST", references, "to be kept", save="reference",
               files={"image": ("b.png", PNG)}, data={"subject_name": "Bello"})  # fmt: skip
    yield send("POST", references, "read-only", "reader", files={"image": ("b.png", PNG)}, data={"subject_name": "B"})
    yield from bodies("POST", references)
    yield get(references, params={"subject_name": "Bello"})
    yield from queries(references, {
        "user_id": ("ada", "bob"), "subject_name": ("Bella",), "cursor": (), "limit": ("1", "100", "101")})  # fmt: skip
    for known in ("{reference}", UNKNOWN_ID, "x"):
        for part in ("", "/image", "/thumbnail"):
            yield get(f"{references}/{known}{part}")
            yield get(f"{references}/{known}{part}", "other", f"GET reference {known}{part} of another")
            yield from queries(f"{references}/{known}{part}", {"user_id": ("ada", "bob")})
            if known == "{reference}":
                yield from queries(f"{references}/{known}{part}", {"download": ("maybe",)})
    for known in ("{reference}", UNKNOWN_ID, "x"):
        yield from queries(f"{references}/{known}", {"user_id": ("bob",)}, method="DELETE")
        yield send("DELETE", f"{references}/{known}")
    for known in ("{done}", UNKNOWN_ID, "$"):
        yield from queries(f"{one}/{known}", {"user_id": ("bob",)}, method="DELETE")
        yield send("DELETE", f"{one}/{known}")


def admin() -> Iterator[Case]:
    base = "/api/admin"
    for role in ("admin", "user", "reader", "none"):
        for path in ("/v1/me", "/v1/me/costs"):
            yield get(path, role, f"GET {path} {role}")
        for name in (
            "keys",
            "users",
            "audit",
            "quality",
            "costs",
            "fallback",
            "flags",
            "models",
            "experiments/plus_one",
        ):
            yield get(f"{base}/{name}", role, f"GET {base}/{name} {role}")
    yield from queries("/v1/me/costs", {"since": ("2026-05-01", "x")})
    yield from queries(f"{base}/costs", {"since": ("2026-05-01", "x"), "by": ("user", "model", "day", "x")}, "admin")
    yield from queries(f"{base}/quality", {"range": ("1h", "24h", "7d", "1y")}, "admin")
    yield from queries(f"{base}/keys", {
        "user_id": ("ada",), "active": ("true", "false", "maybe"), "cursor": (), "limit": ("1", "500", "501", "1001")
    }, "admin")  # fmt: skip
    yield from queries(f"{base}/users", {"cursor": (), "limit": ("1",)}, "admin")
    yield from queries(f"{base}/audit", {
        **{name: ("ada",) for name in ("user_id", "key_id", "action", "subject", "address")},
        "since": ("2026-05-01",), "until": ("2020-05-01", "x"), "cursor": (), "limit": ("1",)}, "admin")  # fmt: skip
    key = {"user_id": "carol", "role": "user", "name": "laptop"}
    yield send("POST", f"{base}/keys", "valid", "admin", "key", json=key)
    yield send("POST", f"{base}/keys", "as a user", json=key)
    yield from bodies("POST", f"{base}/keys", "admin")
    yield from fields("POST", f"{base}/keys", key, {
        "user_id": ("carol", "no one", "a b", "x" * 257), "role": ("admin", "read-only", "none"),
        "scopes": (["read"], ["none"], [7], ["read", "read"]), "name": ("x" * 101, "x" * 257),
        "expires_in_s": (1, 0, 0.5, 316_224_000, 316_224_001, "60")}, "admin")  # fmt: skip
    for known in ("{key}", "{key}", "x"):
        yield send("DELETE", f"{base}/keys/{known}", role="admin")
    yield send("POST", f"{base}/users", "valid", "admin", json={"id": "mallory", "role": "user", "name": "M"})
    yield send("POST", f"{base}/users", "again", "admin", json={"id": "mallory"})
    yield from bodies("POST", f"{base}/users", "admin")
    yield from fields("POST", f"{base}/users", {"id": "trent"}, {
        "id": ("trent", "a b", "x" * 65), "role": ("admin", "none"), "name": ("x" * 101, "x" * 257),
    }, "admin")  # fmt: skip
    yield send("PUT", f"{base}/users/mallory", "valid", "admin", json={"role": "read-only"})
    yield send("PUT", f"{base}/users/nobody", "unknown", "admin", json={"role": "read-only"})
    yield from bodies("PUT", f"{base}/users/mallory", "admin")
    yield from fields("PUT", f"{base}/users/mallory", {}, {
        "role": ("user", "none"), "disabled": (False, "yes", "maybe")}, "admin")  # fmt: skip
    yield send(
        "PUT", f"{base}/flags/plus_one", "valid", "admin", json={"enabled": True, "percentage": 50, "users": ["ada"]}
    )
    yield send("PUT", f"{base}/flags/none", "unknown", "admin", json={"enabled": True})
    yield from bodies("PUT", f"{base}/flags/plus_one", "admin")
    yield from fields("PUT", f"{base}/flags/plus_one", {"enabled": True}, {
        "enabled": (False, "yes"), "percentage": (0, 100, 100.5, "50"), "users": (["ada"], [7], [""], ["x" * 257]),
    }, "admin")  # fmt: skip
    for name in ("plus_one", "none"):
        yield send("DELETE", f"{base}/flags/{name}", role="admin")
        yield get(f"{base}/experiments/{name}", "admin", f"GET experiment {name}")
    for engine in ("mini_unet", "plus_one", "none"):
        for action, body in {
            "load": {"version": "1"}, "split": {"percentage": 50}, "promote": {}, "rollback": {},
            "unload": {"version": "1"},
        }.items():  # fmt: skip
            yield send("POST", f"{base}/models/{engine}/{action}", "valid", "admin", json=body)
        yield get(f"{base}/models/{engine}/report", "admin")
    for action, body, names in (
        ("load", {"version": "1"}, {"version": ("0", "2", 1, "1" * 19)}),
        ("split", {"percentage": 50}, {"percentage": (0, 100, 101, "50")}),
        ("promote", {}, {}),
        ("rollback", {}, {}),
        ("unload", {"version": "1"}, {"version": ("0", "2")}),
    ):
        path = f"{base}/models/mini_unet/{action}"
        yield from bodies("POST", path, "admin")
        yield from fields("POST", path, body, names, "admin")  # type: ignore[arg-type]


VOCABULARIES = {
    "native": native, "openai": openai, "a1111": a1111, "v2": v2, "jobs": jobs, "library": library, "admin": admin,
}  # fmt: skip
