"""The sixty recombinations that training never shows, so that drawing them is a test of combining.

Thirty are a known object in a new colour (the pair is left out in both styles), thirty a known object in the other
style (the icon of that set is left out altogether, in every colour). ``build_engines.mini.evaluate`` asks for them.
"""

from __future__ import annotations

COLOURED: tuple[tuple[str, str], ...] = (
    ("axe", "blue"),
    ("backpack", "green"),
    ("balloon", "purple"),
    ("battery", "red"),
    ("butter", "pink"),
    ("carrot", "blue"),
    ("coat", "purple"),
    ("crystal-ball", "green"),
    ("dolphin", "red"),
    ("droplet", "orange"),
    ("fire-engine", "yellow"),
    ("frog", "purple"),
    ("hot-face", "green"),
    ("jeans", "pink"),
    ("key", "blue"),
    ("lemon", "red"),
    ("luggage", "yellow"),
    ("magnet", "green"),
    ("pickup-truck", "blue"),
    ("pill", "purple"),
    ("pizza", "blue"),
    ("postbox", "brown"),
    ("racing-car", "orange"),
    ("shamrock", "orange"),
    ("shorts", "brown"),
    ("star", "pink"),
    ("strawberry", "yellow"),
    ("thinking-face", "blue"),
    ("turtle", "pink"),
    ("umbrella", "brown"),
)
"""(name, colour)."""

RESTYLED: tuple[tuple[str, str], ...] = (
    ("alarm-clock", "noto"),
    ("banana", "noto"),
    ("bell", "noto"),
    ("candle", "noto"),
    ("cherries", "noto"),
    ("coin", "noto"),
    ("fried-shrimp", "noto"),
    ("ghost", "noto"),
    ("guitar", "noto"),
    ("hamburger", "noto"),
    ("light-bulb", "noto"),
    ("mushroom", "noto"),
    ("penguin", "noto"),
    ("rocket", "noto"),
    ("winking-face", "noto"),
    ("anchor", "fluent-emoji-flat"),
    ("bus", "fluent-emoji-flat"),
    ("cactus", "fluent-emoji-flat"),
    ("crown", "fluent-emoji-flat"),
    ("doughnut", "fluent-emoji-flat"),
    ("elephant", "fluent-emoji-flat"),
    ("fish", "fluent-emoji-flat"),
    ("house", "fluent-emoji-flat"),
    ("hourglass-done", "fluent-emoji-flat"),
    ("owl", "fluent-emoji-flat"),
    ("sailboat", "fluent-emoji-flat"),
    ("snowman", "fluent-emoji-flat"),
    ("sunflower", "fluent-emoji-flat"),
    ("tomato", "fluent-emoji-flat"),
    ("trophy", "fluent-emoji-flat"),
)
"""(name, the set whose icon is left out)."""


def held_colour(name: str, colour: str | None) -> bool:
    return (name, colour) in COLOURED


def held_icon(name: str, icon_set: str) -> bool:
    return (name, icon_set) in RESTYLED
