"""What each icon shows: one concept for all families of emoji, and what people call it.

Skin tones and genders are folded into one concept; lettering (letters, digits, clock faces, flags, signs with script)
has no concept. Pictograms have a concept each, by name, where the name's last noun is a concrete thing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from build_engines.data.packages import path_of, read_json
from build_engines.mini.corpus.sets import EMOJI_SETS, EMOJIBASE, WORDNET, CorpusSet
from build_engines.mini.corpus.wordnet import LEXNAMES, WordNet, load
from build_engines.mini.corpus.words import words_of

_LETTERED_GROUPS = {"component", "flags"}
_LETTERED_SUBGROUPS = frozenset(
    words_of(
        "skin-tone hair-style family person-symbol alphanum keycap zodiac arrow av-symbol gender math "
        "punctuation currency other-symbol transport-sign flag country-flag subdivision-flag"
    )
)
_LETTERED = re.compile(
    r"\b(o.clock|thirty|calendar|banknote|dollar|yen|euro|pound|1st|2nd|3rd|zzz|hundred|japanese|mahjong|om|input|"
    r"name badge|eighteen|hair|bald|couple with heart|kiss: |stock|keycap|atm|flag|dharma|medical symbol|receipt)\b"
)
_GENDERED = re.compile(r"^(man|woman|person)\b:? ?|\b(man|woman) (?=with|in|feeding)")

KINDS: dict[str, tuple[str, ...]] = {
    "face": ("face", "smiley", "emotion"), "cat-face": ("cat", "face"), "monkey-face": ("monkey", "face"),
    "heart": ("heart", "love"), "hand": ("hand", "gesture"), "hands": ("hand", "gesture"), "person": ("person",),
    "animal": ("animal",), "animal-mammal": ("animal", "mammal"), "animal-bird": ("animal", "bird"),
    "animal-reptile": ("animal", "reptile"), "animal-marine": ("animal", "sea animal"),
    "animal-bug": ("animal", "insect", "bug"), "plant": ("plant",), "plant-flower": ("plant", "flower"),
    "food": ("food",), "food-fruit": ("food", "fruit"), "food-vegetable": ("food", "vegetable"),
    "food-sweet": ("food", "sweet", "dessert"), "drink": ("drink", "beverage"), "place-building": ("building", "place"),
    "place-religious": ("building",), "place": ("place",), "transport-ground": ("vehicle",),
    "transport-water": ("vehicle", "boat"), "transport-air": ("vehicle", "aircraft"), "sky-weather": ("weather", "sky"),
    "sport": ("sport", "game"), "game": ("game", "toy"), "clothing": ("clothes", "clothing"),
    "musical-instrument": ("musical instrument", "music"), "computer": ("computer", "electronics"),
    "tool": ("tool",), "household": ("household",), "medical": ("medical",), "science": ("science",),
    "writing": ("writing tool",), "geometric": ("shape",), "dishware": ("dish", "kitchen"),
}  # fmt: skip
"""Words for the kinds of Emojibase's subgroups; a subgroup without its own has those of its first word."""

_EMOJI_LEXNAMES: dict[str, frozenset[str]] = {
    "smileys-emotion": frozenset(),
    "people-body": frozenset({"person", "body"}),
    "animals-nature": frozenset({"animal", "plant", "object", "phenomenon"}),
    "food-drink": frozenset({"food", "plant", "artifact", "animal"}),
    "travel-places": frozenset({"artifact", "location", "object", "phenomenon"}),
    "activities": frozenset({"artifact", "act", "event"}),
    "objects": frozenset({"artifact"}),
    "symbols": frozenset({"artifact", "shape"}),
}
_THINGS = frozenset({"animal", "artifact", "body", "food", "object", "person", "phenomenon", "plant"})
_ABSTRACT = re.compile(
    r"\b(arrows?|text|align|layout|logo|cursor|button|interface|font|letter|alphabet|typography|sort|filter|drag|"
    r"resize|crop|rotate|flip|select|selection|hyperlink|column|row|list|table|menu|toggle|bracket|code|html|css|api|"
    r"dollar|euro|yen|yuan|pound|bitcoin|rupee|currency|crypto|coin|percent|number|flag|sign|symbol|mark|pdf|zip|doc|"
    r"add|remove|delete|disable|disabled|off|minus|plus|subtract|check|warning|alert|settings?|sync|upload|download|"
    r"left|right|up|down|vertical|horizontal|corner|border|grid|view|window|browser|web|page|document|file|folder|"
    r"data|database|server|network|transfer|chart|graph|diagram|analytics|user|users|account|profile|ai|wifi|bluetooth|"
    r"beaufort|uv|index|celsius|fahrenheit|barometer|advisory|code|point|points|line|lines|square|circle|triangle|"
    r"rectangle|area|shape|group|multi|cross|close|more|full|half|screen|ui|app|apps|application|programming|module|"
    r"android|apple logo|google|facebook|twitter|microsoft|adobe|instagram|youtube|steve jobs|android|dribble|"
    r"no|not|composition|style|content|sports|wayfinding|calendar|clock|time)\b"
)
_NUMBERS = re.compile(r"^(\d+|one|two|three|four|five|six|alt|thin|bold|line|fill|filled|duo)$")


@dataclass(frozen=True)
class Concept:
    """``label``: its common name; ``names``: other names; ``tags``: words that go with it; ``kinds``: more general."""

    label: str
    names: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    emoji: bool = True


@dataclass(frozen=True)
class Labelled:
    """Icon ``name`` of ``set`` shows ``concept`` (a key of the concepts). ``solid``: see ``sets.SOLID``."""

    set: str
    name: str
    concept: str
    solid: bool = False


@dataclass
class Concepts:
    """All concepts by key, and the icons that show them."""

    concepts: dict[str, Concept] = field(default_factory=dict)
    icons: list[Labelled] = field(default_factory=list)


class _Emoji:
    """Emojibase's records by folded code."""

    def __init__(self, folder: Path, wordnet: WordNet) -> None:
        messages = read_json(folder, EMOJIBASE, "en/messages.json")
        groups = {g["order"]: g["key"] for g in messages["groups"]}
        subgroups = {s["order"]: s["key"] for s in messages["subgroups"]} | {46: "food-sweet"}
        self.records: dict[str, dict[str, Any]] = {}
        for record in read_json(folder, EMOJIBASE, "en/data.json"):
            code = _bare(record["hexcode"])
            group = groups.get(record.get("group"), "component")
            self.records[code] = record | {"group": group, "subgroup": subgroups.get(record.get("subgroup"), "")}
        self._wordnet = wordnet

    def fold(self, code: str) -> str | None:
        """The code of the concept: without variation selectors and genders; None for skin tones and lettering."""
        code = _bare(code)
        if re.search(r"1F3F[B-F]", code):
            return None
        neutral = re.sub(r"-200D-264[02]$", "", code)
        neutral = re.sub(r"^1F46[89](?=-200D-)", "1F9D1", neutral)
        code = neutral if neutral in self.records else code
        record = self.records.get(code)
        return None if record is None or _lettered(record) else code

    def concept(self, code: str) -> Concept:
        record = self.records[code]
        label = _GENDERED.sub("", record["label"].lower()).strip() if "-200D-" in code else record["label"].lower()
        label = label.replace("’", "'")
        synset = _head_sense(self._wordnet, label, _EMOJI_LEXNAMES.get(record["group"], frozenset()))
        exact = synset is not None and len(label.split()) == 1
        return Concept(
            label,
            names=tuple(n for n in self._wordnet.synonyms(synset) if n != label) if synset and exact else (),
            tags=tuple(t.lower() for t in record.get("tags", ()) if t.lower() != label),
            kinds=_unique([*_kinds(record["subgroup"]), *(self._wordnet.hypernyms(synset) if synset else ())]),
        )


def _bare(code: str) -> str:
    return code.upper().replace("-FE0F", "").replace("-FE0E", "")


def _lettered(record: dict[str, Any]) -> bool:
    couple = len(re.findall(r"1F46[89]|1F9D1", record["hexcode"])) > 1
    return (
        couple
        or record["group"] in _LETTERED_GROUPS
        or record["subgroup"] in _LETTERED_SUBGROUPS
        or _LETTERED.search(record["label"].lower()) is not None
    )


def _kinds(subgroup: str) -> tuple[str, ...]:
    return KINDS.get(subgroup) or KINDS.get(subgroup.split("-")[0], ())


def _unique(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


def _head_sense(wordnet: WordNet, label: str, lexnames: frozenset[str]) -> Any:
    """The sense of the whole label, or of its head noun: the last word before "of", "with" or "in"."""
    head = re.split(r" (?:of|with|in|on) ", label)[0].split()
    for phrase in (label, " ".join(head[-2:]), head[-1] if head else ""):
        if phrase and (sense := wordnet.sense(phrase, lexnames)) is not None:
            return sense
    return None


def find_concepts(folder: Path, names: dict[str, list[str]], sets: Iterable[CorpusSet]) -> Concepts:
    """Labels the icons ``names`` of each set. ``folder``: where the packages are installed."""
    wordnet = load(path_of(folder, WORDNET) / "dict")
    emoji = _Emoji(folder, wordnet)
    codes = _codes(folder)
    made = Concepts()
    for icon_set in sets:
        if icon_set.emoji:
            _label_emoji(made, emoji, icon_set, names[icon_set.name], codes)
        else:
            _label_pictograms(made, wordnet, icon_set, names[icon_set.name])
    return made


def _codes(folder: Path) -> dict[str, str]:
    """Unicode's code of every name and shortcode of an emoji; also of the names without hyphens."""
    found: dict[str, str] = {}
    for icon_set in EMOJI_SETS:
        for code, name in read_json(folder, icon_set.package, "chars.json").items():
            found.setdefault(name, code)
    for preset in ("github", "emojibase", "cldr"):
        for code, shortcodes in read_json(folder, EMOJIBASE, f"en/shortcodes/{preset}.json").items():
            for name in [shortcodes] if isinstance(shortcodes, str) else shortcodes:
                found.setdefault(name.replace("_", "-"), code)
    return {name.replace("-", ""): code for name, code in reversed(found.items())} | found


def _label_emoji(made: Concepts, emoji: _Emoji, icon_set: CorpusSet, names: list[str], codes: dict[str, str]) -> None:
    """One icon for each concept: the neutral one, or else that of one gender."""
    chosen: dict[str, tuple[bool, str]] = {}
    for name in names:
        numbered = re.fullmatch(r"(.+)-(\d)", name) if icon_set.name == "streamline-emojis" else None
        code = codes.get(name) or (codes.get(numbered[1]) if numbered else None)
        concept = emoji.fold(code) if code else None
        if code is None or concept is None:
            continue
        gendered = _bare(code) != concept
        if concept not in chosen or (gendered, name) < chosen[concept]:
            chosen[concept] = (gendered, name)
    for concept, (_, name) in chosen.items():
        made.concepts.setdefault(concept, emoji.concept(concept))
        made.icons.append(Labelled(icon_set.name, name, concept))


def _label_pictograms(made: Concepts, wordnet: WordNet, icon_set: CorpusSet, names: list[str]) -> None:
    """Those whose name ends in a concrete noun; of several sizes the largest."""
    largest: dict[str, str] = {}
    if icon_set.name == "fluent-color":
        for name in sorted(names, key=lambda n: int(n.rsplit("-", 1)[-1]) if n[-1].isdigit() else 0):
            largest[re.sub(r"-\d+$", "", name)] = name
        names = sorted(largest.values())
    for name in names:
        words = [w for w in name.split("-") if w]
        solid = words[-1] == "flat" and icon_set.name.startswith("streamline")
        words = words[:-1] if solid else words
        while words and _NUMBERS.match(words[-1]):
            words = words[:-1]
        label = " ".join(w for w in words if not w.isdigit())
        if (
            not 0 < len(label.split()) <= 3
            or _ABSTRACT.search(label)
            or wordnet.common_sense(label.split()[-1]) not in _THINGS
        ):
            continue
        key = f"name:{label}"
        if key not in made.concepts:
            synset = _head_sense(wordnet, label, _THINGS)
            alone = synset is not None and len(label.split()) == 1
            made.concepts[key] = Concept(
                label,
                names=tuple(n for n in wordnet.synonyms(synset) if n != label) if alone else (),
                kinds=wordnet.hypernyms(synset) if synset else (),
                emoji=False,
            )
        made.icons.append(Labelled(icon_set.name, name, key, solid))


assert set(_THINGS) <= set(LEXNAMES.values())
