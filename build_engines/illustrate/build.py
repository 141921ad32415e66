"""All engines of a family: each exported, compared and timed in a staged folder, then all put in place together."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from build_engines.export.config import FILES, Backend, config_text
from build_engines.export.runtimes import RUNTIMES, Run, choose_backend, medians
from build_engines.illustrate import onnx_file, parity, parts, tensorrt
from build_engines.illustrate.adapters import AdapterBuild, load_controlnet
from build_engines.illustrate.contracts import Engine, image_encoder
from build_engines.illustrate.design import BuildOptions, Design
from build_engines.illustrate.examples import Examples
from build_engines.illustrate.image_prompts import LoadedImagePrompt, load_image_prompt
from build_engines.illustrate.manifest import write_manifest
from serve.diffusion.adapters import ImagePrompt

STAGES = ("load", "export", "compare", "time")
"""And "adapters", of an engine that takes some."""

#: Called with an engine's name and the stage of STAGES that it enters.
Report = Callable[[str, str], None]


def build(build_options: BuildOptions, design: Design, report: Report) -> list[Path]:
    """The engines' folders in the repository, changed only when all of them are good. Raises Refused, ParityError."""
    staged = build_options.repository / f".{build_options.name}.staged"
    shutil.rmtree(staged, ignore_errors=True)
    try:
        component, network, prompt = "", None, None
        for engine in design.engines:
            report(engine.contract.name, "load")
            if engine.component != component:
                component, network = engine.component, None  # frees the one before
                network = parts.load(design.checkpoint, component)
            if component == "unet" and build_options.adapters.ip_adapter is not None:
                prompt = load_image_prompt(network, *build_options.adapters.ip_adapter)
                encoder = image_encoder(build_options.name, prompt.side_px, prompt.tokens, prompt.width)
                folder = staged / encoder.contract.name
                _stage(build_options, design, encoder, prompt.encoder, folder, report)
            _stage(build_options, design, engine, network, staged / engine.contract.name, report, prompt)
        return _place(staged, build_options)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _stage(
    build_options: BuildOptions,
    design: Design,
    engine: Engine,
    loaded: Any,
    folder: Path,
    report: Report,
    prompt: LoadedImagePrompt | None = None,
) -> None:
    """Writes the whole folder of one engine, made of the ``loaded`` network. ``prompt`` is loaded into the UNet."""
    network = parts.wrap(design.checkpoint, engine, loaded)
    tokenizer = design.tokenizers.get(engine.part)
    any_tokenizer = next(iter(design.tokenizers.values()))
    examples = Examples(engine, tokenizer or any_tokenizer, design.timesteps)
    write = _write_plan if build_options.target == "tensorrt" else _write_onnx
    enter = partial(report, engine.contract.name)
    backend, facts = write(build_options, design, engine, network, examples, folder / "1", enter)
    if engine.contract.adapters:
        report(engine.contract.name, "adapters")
        facts["adapters"] = _write_adapters(
            build_options, design, engine, network, loaded, examples, prompt, backend, folder / "1"
        )
    (folder / "config.pbtxt").write_text(config_text(engine.contract, backend))
    if tokenizer:
        (folder / "tokenizer.json").write_text(tokenizer.json)
    facts["parameters"] = sum(p.numel() for p in network.parameters())
    write_manifest(build_options, design, engine, folder, FILES[backend], facts)


def _write_adapters(
    build_options: BuildOptions,
    design: Design,
    engine: Engine,
    network: nn.Module,
    loaded: Any,
    examples: Examples,
    prompt: LoadedImagePrompt | None,
    backend: Backend,
    folder: Path,
) -> dict[str, Any]:
    """The files of the engine's adapters, what it takes in the family's description; returns parity by file."""
    checkpoint, controlnets, described = design.checkpoint, {}, None
    if engine.part == "unet":
        controlnets = {
            name: (load_controlnet(path, checkpoint), str(path)) for name, path in build_options.adapters.controlnets
        }
        if prompt is not None:
            described = ImagePrompt(
                engine=f"{build_options.name}_image_encoder",
                side_px=prompt.side_px,
                tokens=prompt.tokens,
                width=prompt.width,
                blocks=prompt.blocks,
                levels=prompt.levels,
            )
    lazy = build_options.adapters.lazy
    writing = AdapterBuild(engine, build_options.precision, backend, folder, lazy)
    adapters, facts = writing.write(network, loaded, examples.traced, controlnets, described)
    design.family["adapters"][engine.part] = adapters.model_dump(mode="json")
    return facts


def _write_onnx(
    build_options: BuildOptions,
    design: Design,
    engine: Engine,
    network: nn.Module,
    examples: Examples,
    folder: Path,
    report: Callable[[str], None],
) -> tuple[Backend, dict[str, Any]]:
    """``model.onnx``, and the runtime for it: the faster, or OpenVINO when that is the target."""
    contract, path = engine.contract, folder / "model.onnx"
    backends: tuple[Backend, ...] = ("openvino",) if build_options.target == "openvino" else tuple(RUNTIMES)
    report("export")
    onnx_file.write_onnx(network, contract, examples.traced(), build_options.precision, path)
    report("compare")
    openers: dict[str, Callable[[], Run]] = {name: partial(RUNTIMES[name], path, contract) for name in backends}
    expected = parity.answers(network, contract, examples.parity())
    checked = parity.check(contract, openers, expected, build_options.precision)
    report("time")
    backend, benchmark = choose_backend(path, contract, examples.timing(), backends)
    return backend, {"parity": checked, "backend_benchmark": benchmark}


def _write_plan(
    build_options: BuildOptions,
    design: Design,
    engine: Engine,
    network: nn.Module,
    examples: Examples,
    folder: Path,
    report: Callable[[str], None],
) -> tuple[Backend, dict[str, Any]]:
    """``model.plan``, by way of an ONNX that is not kept."""
    module = tensorrt.require_gpu(build_options.command)
    contract, path = engine.contract, folder / FILES["tensorrt"]
    expected = parity.answers(network, contract, examples.parity())
    report("export")
    folder.mkdir(parents=True)
    half = build_options.precision == "fp16"
    typed = parts.half_precision(network, design.checkpoint.family_class) if half else network
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        source = Path(scratch) / "model.onnx"
        onnx_file.write_onnx(typed, contract, examples.traced(), "fp32", source)
        tensorrt.build_plan(module, source, engine, path, tf32=half)
    report("compare")
    run, plan_facts = tensorrt.open_plan(module, path, engine)
    checked = parity.check(contract, {"tensorrt": lambda: run}, expected, build_options.precision)
    report("time")
    return "tensorrt", {
        "parity": checked,
        "plan": plan_facts,
        "backend_benchmark": {"chosen": "tensorrt", "tensorrt": medians(run, examples.timing())},
    }


def _place(staged: Path, build_options: BuildOptions) -> list[Path]:
    """Moves the finished folders over those of an earlier build, and removes the engines that only that one had."""
    placed = []
    for folder in sorted(staged.iterdir()):
        target = build_options.repository / folder.name
        shutil.rmtree(target, ignore_errors=True)
        placed.append(folder.rename(target))
    for part in ("text_encoder_2", "image_encoder"):
        former = build_options.repository / f"{build_options.name}_{part}"
        if former not in placed:
            shutil.rmtree(former, ignore_errors=True)
    return placed
