"""LoRA files: the keys of three tools, names of the original implementation, and files that are refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save

from serve.diffusion.adapters import EngineAdapters
from serve.diffusion.lora import MAX_RANK, parse_lora
from serve.diffusion.safetensors_file import read_safetensors
from serve.engines.adapter_files import adapter_path, number_of, save_adapter
from serve.errors import InvalidRequest, TooLarge

QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
KERNEL = "down_blocks.0.resnets.0.conv1"
ENGINES = {
    "unet": EngineAdapters(layers={"attention": ([QUERY, 4, 6],), "other": ([KERNEL, 2, 3, 3],)}),  # type: ignore[dict-item]
    "text_encoder": EngineAdapters(layers={"attention": (["encoder.layers.0.mlp.fc1", 4, 4],)}),  # type: ignore[dict-item]
}
RNG = np.random.default_rng(3)


def factors(outputs: int, inputs: int, rank: int = 2, kernel: int = 1) -> tuple[NDArray[Any], NDArray[Any]]:
    shape = (inputs, kernel, kernel) if kernel > 1 else (inputs,)
    up = (outputs, rank, 1, 1) if kernel > 1 else (outputs, rank)
    return RNG.standard_normal((rank, *shape)).astype(np.float32), RNG.standard_normal(up).astype(np.float32)


DOWN, UP = factors(6, 4)
KERNEL_DOWN, KERNEL_UP = factors(3, 2, kernel=3)
TEXT_DOWN, TEXT_UP = factors(4, 4)
FLAT = QUERY.replace(".", "_")


def parsed(tensors: dict[str, NDArray[Any]], **metadata: str) -> Any:
    return parse_lora(save(tensors, metadata or None), ENGINES, "toy")


@pytest.mark.parametrize(
    ("down", "up", "scale", "more"),
    [
        (f"unet.{QUERY}.lora_A.weight", f"unet.{QUERY}.lora_B.weight", 1.0, {}),
        (f"unet.{QUERY}.lora.down.weight", f"unet.{QUERY}.lora.up.weight", 1.0, {}),
        (f"lora_unet_{FLAT}.lora_down.weight", f"lora_unet_{FLAT}.lora_up.weight", 0.5, {f"lora_unet_{FLAT}.alpha": 1}),
        (
            f"unet.{QUERY.replace('to_q', 'processor.to_q_lora')}.down.weight",
            f"unet.{QUERY.replace('to_q', 'processor.to_q_lora')}.up.weight",
            1.0,
            {},
        ),
        (
            "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_down.weight",
            "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_up.weight",
            1.0,
            {},
        ),
    ],
)
def test_keys_of_tools_become_one_matrix(down: str, up: str, scale: float, more: dict[str, float]) -> None:
    alphas = {name: np.array(value, np.float32) for name, value in more.items()}
    lora = parsed({down: DOWN, up: UP, **alphas})
    assert (lora.rank, lora.layers) == (2, 1)
    np.testing.assert_allclose(lora.arrays()["unet.attention"], np.concatenate([DOWN, scale * UP.T], axis=1))


def test_peft_metadata_gives_alpha() -> None:
    metadata = {"unet.lora_alpha": 8, "unet.r": 2, "unet.alpha_pattern": {}}
    tensors = {f"unet.{QUERY}.lora_A.weight": DOWN, f"unet.{QUERY}.lora_B.weight": UP}
    lora = parsed(tensors, lora_adapter_metadata=json.dumps(metadata))
    np.testing.assert_allclose(lora.arrays()["unet.attention"][:, 4:], 4 * UP.T)


def test_kernels_and_text_encoders() -> None:
    flat = KERNEL.replace(".", "_")
    text = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    lora = parsed(
        {
            f"lora_unet_{flat}.lora_down.weight": KERNEL_DOWN,
            f"lora_unet_{flat}.lora_up.weight": KERNEL_UP,
            f"{text}.lora_down.weight": TEXT_DOWN,
            f"{text}.lora_up.weight": TEXT_UP,
        }
    )
    assert set(lora.arrays()) == {"unet.other", "text_encoder.attention"}
    by_position = lora.arrays()["unet.other"][:, :18].reshape(2, 3, 3, 2)
    np.testing.assert_array_equal(by_position.transpose(0, 3, 1, 2), KERNEL_DOWN)


def test_names_of_the_original_implementation_equal_those_of_diffusers() -> None:
    """All of SDXL's, by diffusers' own conversion of kohya's keys."""
    torch = pytest.importorskip("torch")
    import diffusers
    from diffusers.loaders.lora_conversion_utils import _maybe_map_sgm_blocks_to_diffusers

    from build_engines.illustrate.adapters import adaptable_layers
    from serve.diffusion.lora import _original_names

    with torch.device("meta"):
        unet: Any = diffusers.UNet2DConditionModel(
            block_out_channels=(32, 64, 128),
            layers_per_block=2,
            norm_num_groups=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2, 2),
            cross_attention_dim=48,
            attention_head_dim=8,
            use_linear_projection=True,
        )
    names = [layer.name for layers in adaptable_layers(unet).values() for layer in layers]
    pairs = [pair for pair in _original_names(names) if "block" in pair[0] and pair[1] != "conv_in"]
    assert len(pairs) > 100
    keys = {f"lora_unet_{other}.lora_down.weight": own for other, own in pairs}
    mapped = _maybe_map_sgm_blocks_to_diffusers(dict.fromkeys(keys, torch.zeros(1)), unet.config)
    renamed = {
        "input_blocks": "down_blocks", "middle_block": "mid_block", "output_blocks": "up_blocks",
        "in_layers_2": "conv1", "out_layers_3": "conv2", "emb_layers_1": "time_emb_proj",
        "skip_connection": "conv_shortcut", "downsamplers_0_op": "downsamplers_0_conv",
    }  # fmt: skip
    converted = set()
    for key in mapped:
        name = key.removeprefix("lora_unet_").split(".")[0]
        for part, own in renamed.items():
            name = name.replace(part, own)
        converted.add(name)
    assert set(keys.values()) == converted
    assert set(keys.values()) <= {name.replace(".", "_") for name in names}


REFUSED: dict[str, tuple[dict[str, NDArray[Any]], str]] = {
    "another family": (
        {f"unet.{QUERY}.lora_A.weight": factors(6, 9)[0], f"unet.{QUERY}.lora_B.weight": UP},
        "it is for another kind of model",
    ),
    "unknown layer": ({"unet.transformer.x.lora_A.weight": DOWN}, "it is for another kind of model"),
    "no lora": ({"model.diffusion_model.out.weight": DOWN}, "which is no key of a LoRA"),
    "one factor": ({f"unet.{QUERY}.lora_A.weight": DOWN}, "lacks one of the two factors"),
    "nan": (
        {f"unet.{QUERY}.lora_A.weight": np.full_like(DOWN, np.nan), f"unet.{QUERY}.lora_B.weight": UP},
        "not finite",
    ),
    "rank": (
        {
            f"unet.{QUERY}.lora_A.weight": np.zeros((4096, 4), np.float32),
            f"unet.{QUERY}.lora_B.weight": np.zeros((6, 4096), np.float32),
        },
        f"at most {MAX_RANK}",
    ),
    "loha": ({f"lora_unet_{FLAT}.hada_w1_a": DOWN}, "LoHa"),
    "second encoder": ({"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": DOWN}, "no text_encoder_2"),
}


A, B, ALPHA = f"unet.{QUERY}.lora_A.weight", f"unet.{QUERY}.lora_B.weight", f"lora_unet_{FLAT}.alpha"


@pytest.mark.parametrize(
    "tensors",
    [
        {A: np.full((2, 4), 1e300), B: UP},
        {A: DOWN, B: np.full_like(UP, np.inf)},
        {A: np.full_like(DOWN, 3e38), B: UP},
        {A: DOWN, B: UP, ALPHA: np.array(1e300)},
        {A: DOWN, B: UP, ALPHA: np.array(np.nan)},
    ],
)
def test_values_that_overflow_are_refused(tensors: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(InvalidRequest, match="not finite or beyond") as refused:
        parsed(tensors)
    assert refused.value.field == "file"


@pytest.mark.parametrize("alpha", ["Infinity", "NaN", "1" + "0" * 400, '"8"'])
@pytest.mark.parametrize("rslora", ["true", "false"])
def test_alphas_of_the_metadata_that_are_not_finite_are_refused(alpha: str, rslora: str) -> None:
    metadata = f'{{"unet.lora_alpha": {alpha}, "unet.use_rslora": {rslora}}}'
    with pytest.raises(InvalidRequest, match="no finite number"):
        parsed({A: DOWN, B: UP}, lora_adapter_metadata=metadata)


@pytest.mark.parametrize("case", REFUSED)
def test_unusable_loras_are_refused(case: str) -> None:
    tensors, reason = REFUSED[case]
    with pytest.raises(InvalidRequest, match=reason) as refused:
        parsed(tensors)
    assert refused.value.field == "file"


def test_matrices_beyond_memory_are_refused() -> None:
    """A small file may make a large matrix: of its group's whole width, at its highest rank."""
    wide = EngineAdapters(layers={"attention": ([QUERY, 4, 6], ["wide", 2**20, 2**20])})  # type: ignore[dict-item]
    tensors = {
        f"unet.{QUERY}.lora_A.weight": np.zeros((256, 4), np.float32),
        f"unet.{QUERY}.lora_B.weight": np.zeros((6, 256), np.float32),
    }
    with pytest.raises(TooLarge, match="would take 2048 MiB"):
        parse_lora(save(tensors), {"unet": wide}, "toy")


def test_damaged_files_are_refused() -> None:
    good = save({f"unet.{QUERY}.lora_A.weight": DOWN})
    header = json.loads(good[8 : 8 + int.from_bytes(good[:8], "little")])
    name = next(iter(header))
    bad_headers: list[Any] = [
        [],
        {name: {**header[name], "data_offsets": [0, 10**9]}},
        {name: {**header[name], "data_offsets": [-4, 28]}},
        {name: {**header[name], "dtype": "I64"}},
        {name: {**header[name], "shape": ["x"]}},
        {name: 3},
        {name: {**header[name], "dtype": ["F32"]}},
        {name: {**header[name], "shape": [1] * 100}},
        {name: {**header[name], "shape": [0, 10**30]}},
        {name: {**header[name], "shape": [True, 8]}},
        json.dumps({name: header[name]}).replace("[2, 4]", "[1e999]"),
        {name: header[name], "overlapping": header[name]},
        {name: {**header[name], "shape": [1, 4], "data_offsets": [0, 16]}},
        {name: {**header[name], "shape": [1, 4], "data_offsets": [16, 32]}},
    ]
    damaged = [b"", b"\x80\x04K\x01.", good[:-1], b"\xff" * 64, good[:8] + b"[" + good[9:]]
    for one in bad_headers:
        text = (one if isinstance(one, str) else json.dumps(one)).encode()
        damaged.append(len(text).to_bytes(8, "little") + text + bytes(32))
    for data in damaged:
        with pytest.raises(InvalidRequest):
            read_safetensors(data)


def test_bfloat16_is_read(tmp_path: Any) -> None:
    values = np.array([1.0, -2.5], np.float32)
    halves = (values.view("<u4") >> 16).astype("<u2").tobytes()
    text = json.dumps({"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    tensors, _ = read_safetensors(len(text).to_bytes(8, "little") + text + halves)
    np.testing.assert_array_equal(tensors["x"].array(), values)
    number = number_of("f" * 64)
    assert save_adapter(tmp_path, number, {"x": values}) == adapter_path(tmp_path, number)
