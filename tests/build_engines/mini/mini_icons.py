"""A few icons of the two sets' kinds, drawn here, and a family small enough to train in seconds."""

from __future__ import annotations

from build_engines.data.icons import Icon
from build_engines.mini.presets import AutoencoderPreset, FlowPreset, MiniPreset

SHAPES = {
    "apple": '<circle cx="32" cy="36" r="22" fill="#e03020"/><rect x="30" y="4" width="4" height="12" fill="#704020"/>',
    "lemon": '<ellipse cx="32" cy="32" rx="26" ry="16" fill="#fad030"/>',
    "kite": '<path d="M32 4 L56 28 L32 60 L8 28 Z" fill="#3080e8"/><path d="M32 4V60" stroke="#222"/>',
    "tree": '<path d="M32 4 L56 44 H8 Z" fill="#38a040"/><rect x="27" y="44" width="10" height="16" fill="#7a4a22"/>',
    "left-arrow": '<path d="M4 32 L30 8 V22 H60 V42 H30 V56 Z" fill="#3080e8"/>',
    "penguin": '<ellipse cx="32" cy="34" rx="20" ry="28" fill="#222"/><circle cx="32" cy="40" r="12" fill="#eee"/>',
}
SETS = ("noto", "fluent-emoji-flat")


def icons() -> list[Icon]:
    """Each shape in both sets; the second is smaller and has a frame."""
    frame = '<rect x="2" y="2" width="60" height="60" fill="none" stroke="#444" stroke-width="2"/>'
    found = []
    for name, body in SHAPES.items():
        found.append(Icon("noto", name, body, (0, 0, 64, 64)))
        small = f'<g transform="translate(13 13) scale(0.6)">{body}</g>{frame}'
        found.append(Icon("fluent-emoji-flat", name, small, (0, 0, 64, 64)))
    return found


TINY = MiniPreset(
    "tiny",
    "cpu",
    AutoencoderPreset(
        width=16, channels=4, encoder_blocks=(0, 1, 1, 1), decoder_blocks=(1, 1, 1, 0), batch=4, samples=16
    ),
    FlowPreset(widths=(32, 32), heads=(2, 2), text_width=32, text_layers=1, text_heads=2, batch=4, samples=32),
)
