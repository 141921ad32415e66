"""The art director without a language model: rules on the analysis of prompts. Answers say ``"served_by": "rules"``.

It understands wishes for a mood, light, colour, style, texture or composition that the vocabularies know, "simpler",
"more detail", and "without" something. What it does not understand it says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from serve.ensembles.director.templates import glossary
from serve.ensembles.director.tools import Action, action_of
from serve.ensembles.prompts.analysis import Analysis, PromptAnalyser
from serve.ensembles.prompts.enhancement import enhance
from serve.ensembles.prompts.vocabulary import KEYWORDS

VARIATIONS = 3
_SIMPLER = re.compile(r"\b(simpl\w*|minimal\w*|cleaner|less (busy|clutter\w*|detail\w*)|reduce|fewer)\b", re.IGNORECASE)
_RICHER = re.compile(r"\b(more detail\w*|detailed|richer|more interesting|improve|better|elaborate)\b", re.IGNORECASE)
_WITHOUT = re.compile(
    r"\b(?:without|remove|no|drop|less|not so|delete)\s+(?:the\s+|any\s+|so\s+much\s+)?([\w-]{3,30})", re.I
)
_DRAW = re.compile(r"\b(draw|paint|generate|render|make (it|a picture)|create)\b", re.IGNORECASE)
_VARY = re.compile(r"\b(vary|variations?|alternatives?|versions)\b", re.IGNORECASE)
_VECTOR = re.compile(r"\b(vectori[sz]e|svg|vector version)\b", re.IGNORECASE)
_EXPLAIN = re.compile(
    r"\b(?:explain|what(?:'s| is| are| does)|meaning of|define)\s+(?:an?\s+|the\s+)?([\w' -]{3,60}?)"
    r"(?:\s+mean)?\s*[?.!]*$",
    re.I,
)
_EXPLAIN_CHARACTERS = 400
"""Of the end of a message: the expression is anchored there, and takes quadratic time."""
_SUGGEST = re.compile(r"\b(suggest\w*|ideas?|recommend\w*|what style|improve\w*|help)\b", re.IGNORECASE)
_CHANGE = re.compile(
    r"^(?:please\s+)?(?:make|turn|change|refine|simplify|add|remove|more|less|use|give)\b", re.IGNORECASE
)
_MOOD_LIGHT = {
    "dramatic": ("dramatic mood", "dramatic side light, deep shadows"),
    "peaceful": ("calm, peaceful mood", "soft diffused light"),
    "mysterious": ("mysterious mood", "moonlight and mist"),
    "playful": ("playful, cheerful mood", "bright daylight"),
    "ethereal": ("ethereal, dreamlike mood", "light shafts through haze"),
}
_SPARE_STYLES = ("watercolour", "flat", "woodcut", "paper cut", "storybook")
_EXCLUSIVE = ("styles", "lighting", "compositions", "moods")
"""A new word of these categories takes the place of the prompt's."""


@dataclass(frozen=True)
class Refinement:
    refined_prompt: str
    explanation: str
    alternatives: Sequence[str]
    negative_prompt: str = ""
    changes: Sequence[Mapping[str, str]] = field(default_factory=tuple)


@dataclass(frozen=True)
class Advice:
    suggestions: Sequence[Mapping[str, str]]
    variations: Sequence[str]


@dataclass(frozen=True)
class Explanation:
    concept: str
    text: str
    example: str | None
    known: bool


@dataclass(frozen=True)
class Reply:
    """``prompt``: the prompt that the conversation is at now; None: unchanged."""

    text: str
    prompt: str | None = None
    action: Action | None = None


class RulesDirector:
    def __init__(self, analyser: PromptAnalyser) -> None:
        self._analyser = analyser

    def refine_prompt(self, original_prompt: str, feedback: str) -> Refinement:
        """The prompt with what ``feedback`` wants; what it does not speak of stays."""
        wanted = self._analyser.analyse(feedback)
        segments = [one.strip() for one in original_prompt.split(",") if one.strip()] or [original_prompt]
        changes: list[Mapping[str, str]] = []
        negative = self._remove(segments, feedback, changes)
        if _SIMPLER.search(feedback):
            self._simplify(segments, changes)
        self._take(segments, wanted, changes)
        prompt = ", ".join(segments)
        if _RICHER.search(feedback):
            for change in enhance(self._analyser, prompt, "rich").changes:
                changes.append({"kind": change.kind, "text": change.text, "reason": change.reason})
                prompt = f"{prompt}, {change.text}"
        if not changes and not negative:
            return self._not_understood(original_prompt, segments)
        parts = [f"{one['reason']}" for one in changes]
        if negative:
            parts.append(f"'{negative}' is excluded by the negative prompt")
        return Refinement(prompt, _sentence(parts), self.generate_variations(prompt), negative, tuple(changes))

    def _not_understood(self, original_prompt: str, segments: Sequence[str]) -> Refinement:
        better = enhance(self._analyser, ", ".join(segments), "balanced")
        changes = [{"kind": one.kind, "text": one.text, "reason": one.reason} for one in better.changes]
        said = "the feedback names nothing that the rules know, so only what the prompt leaves open was added"
        explanation = _sentence([said, *(one["reason"] for one in changes)])
        return Refinement(better.enhanced, explanation, self.generate_variations(original_prompt), "", tuple(changes))

    def _remove(self, segments: list[str], feedback: str, changes: list[Mapping[str, str]]) -> str:
        """Takes out the segments that name what the feedback does not want; the words for the negative prompt."""
        unwanted = [found[1].lower() for found in _WITHOUT.finditer(feedback)]
        unwanted = [word for word in unwanted if not _RICHER.match(word) and word not in ("more", "detail", "details")]
        for word in unwanted:
            kept = [one for place, one in enumerate(segments) if place == 0 or word not in one.lower()]
            if len(kept) < len(segments):
                changes.append({"kind": "removed", "text": word, "reason": f"what said '{word}' was taken out"})
            segments[:] = kept
        return ", ".join(dict.fromkeys(unwanted))

    def _simplify(self, segments: list[str], changes: list[Mapping[str, str]]) -> None:
        """The subject and the style stay."""
        styled = [one for one in segments[1:] if self._analyser.analyse(one).names("styles")]
        removed = len(segments) - 1 - len(styled[:1])
        segments[:] = [segments[0], *styled[:1], "simple shapes", "plain background"]
        change = f"{removed} of its parts were taken out" if removed > 1 else "it was reduced"
        changes.append(
            {
                "kind": "simplified",
                "text": "simple shapes, plain background",
                "reason": f"{change}, for a simpler picture",
            }
        )

    def _take(self, segments: list[str], wanted: Analysis, changes: list[Mapping[str, str]]) -> None:
        """Adds the styles, light, colours and so on that the feedback names, in place of those of the same kind."""
        for category in KEYWORDS:
            names = [one for one in wanted.keywords[category] if one.text.lower() not in ("detailed", "simple shapes")]
            if not names:
                continue
            terms = self._analyser.vocabulary.terms[category]
            if category in _EXCLUSIVE:
                self._replace(segments, category)
            for keyword in names:
                facts = terms[keyword.name].facts
                if category == "moods":
                    mood = str(facts["mood"])
                    texts = [_MOOD_LIGHT[mood][0] if keyword.name == mood else f"{keyword.text.lower()} mood"]
                    if not wanted.names("lighting"):
                        self._replace(segments, "lighting")
                        texts.append(_MOOD_LIGHT[mood][1])
                elif category == "colors":
                    texts = [f"{keyword.text.lower()} colours"]
                    self._recolour(segments, keyword.text.lower())
                else:
                    texts = [str(facts.get("phrase", keyword.text))]
                for text in texts:
                    if text not in segments:
                        segments.append(text)
                reason = f"{' and '.join(texts)} for the wish for {keyword.text.lower()}"
                changes.append({"kind": category, "text": ", ".join(texts), "reason": reason})

    def _replace(self, segments: list[str], category: str) -> None:
        """Takes out whole segments, after the first, that are about ``category`` and nothing else."""
        segments[:] = [
            one for place, one in enumerate(segments)
            if place == 0 or not (found := self._analyser.analyse(one)).names(category) or found.objects
        ]  # fmt: skip

    def _recolour(self, segments: list[str], text: str) -> None:
        """One colour word of the subject becomes the wanted one."""
        colors = self._analyser.analyse(segments[0]).keywords["colors"]
        if len(colors) == 1:
            segments[0] = re.sub(rf"\b{re.escape(colors[0].text)}\b", text, segments[0], count=1)

    def suggest_improvements(self, prompt: str, analysis: Analysis | None = None) -> Advice:
        analysis = analysis or self._analyser.analyse(prompt)
        better = enhance(self._analyser, prompt, "rich")
        suggestions = [{"kind": one.kind, "text": one.text, "reason": one.reason} for one in better.changes]
        suggestions += [
            {"kind": "styles", "text": one.phrase, "reason": f"{one.style} {one.reason}"} for one in analysis.styles[:2]
        ]
        unique = {one["text"]: one for one in suggestions}
        return Advice(list(unique.values()), self.generate_variations(prompt))

    def generate_variations(self, prompt: str, count: int = VARIATIONS) -> list[str]:
        """The prompt in ``count`` directions: other styles, each with the light of another mood."""
        analysis = self._analyser.analyse(prompt)
        segments = [one.strip() for one in prompt.split(",") if one.strip()] or [prompt]
        bare = list(segments)
        self._replace(bare, "styles")
        self._replace(bare, "lighting")
        phrases = [one.phrase for one in analysis.styles]
        terms = self._analyser.vocabulary.terms["styles"]
        spare = [str(terms[name].facts["phrase"]) for name in _SPARE_STYLES if name not in analysis.names("styles")]
        phrases = list(dict.fromkeys([*phrases, *spare]))
        lights = [light for _, light in _MOOD_LIGHT.values()]
        return [", ".join([*bare, phrases[n % len(phrases)], lights[n % len(lights)]]) for n in range(count)]

    def explain_concepts(self, concept: str) -> Explanation:
        plain = " ".join((_concept_of(concept) or concept).lower().split()).strip(" ?.!\"'")
        for name in (
            plain,
            plain.removesuffix("s"),
            plain.replace("color", "colour"),
            plain.replace("center", "centre"),
        ):
            if name in glossary():
                return Explanation(concept, glossary()[name]["text"], glossary()[name].get("example"), True)
        analysis = self._analyser.analyse(plain)
        for category in KEYWORDS:
            for keyword in analysis.keywords[category]:
                if keyword.name in glossary():
                    entry = glossary()[keyword.name]
                    return Explanation(concept, entry["text"], entry.get("example"), True)
                facts = self._analyser.vocabulary.terms[category][keyword.name].facts
                text = f"{keyword.name} is one of the {category} that prompts here may name."
                if facts.get("concepts"):
                    text += f" It suits {' and '.join(facts['concepts'])}."
                if facts.get("moods"):
                    text += f" It goes with a {' or '.join(facts['moods'])} mood."
                if facts.get("phrase"):
                    text += f' In a prompt: "{facts["phrase"]}".'
                return Explanation(concept, text, None, True)
        known = ", ".join(list(glossary())[:8])
        text = f"The rules have no entry for this. They know, among others: {known}. A language model would know more."
        return Explanation(concept, text, None, False)

    def reply(self, message: str, prompt: str | None, generation_id: str | None, result_id: str | None) -> Reply:
        """To ``message``, in a conversation whose prompt is ``prompt`` and whose last drawing the ids name."""
        if concept := _concept_of(message):
            explanation = self.explain_concepts(concept)
            if explanation.known or prompt is None:
                return Reply(explanation.text + (f" Example: {explanation.example}" if explanation.example else ""))
        if _VECTOR.search(message) and result_id is not None:
            return Reply("I can make an SVG of it. Confirm, and it goes to the queue.", None,
                         action_of("vectorise", {"result_id": result_id}))  # fmt: skip
        if _VARY.search(message) and generation_id is not None:
            return Reply("I can draw three more of it with other seeds.", None,
                         action_of("vary", {"generation_id": generation_id}))  # fmt: skip
        if prompt is None:
            return self._first(message)
        if _VARY.search(message):
            listed = "\n".join(f"{n}. {one}" for n, one in enumerate(self.generate_variations(prompt), 1))
            return Reply(f"Three directions:\n{listed}")
        if _DRAW.search(message) and not _changes(self._analyser.analyse(message)):
            return Reply(f"Ready to draw: {prompt}", None, action_of("draw", {"prompt": prompt}))
        if _SUGGEST.search(message) and not _CHANGE.search(message):
            advice = self.suggest_improvements(prompt)
            listed = "\n".join(f"- {one['text']}: {one['reason']}" for one in advice.suggestions[:3])
            return Reply(f"I would add:\n{listed}")
        refined = self.refine_prompt(prompt, message)
        text = f"{refined.explanation}\nPrompt: {refined.refined_prompt}"
        action = action_of("draw", {"prompt": refined.refined_prompt, "negative_prompt": refined.negative_prompt})
        return Reply(text, refined.refined_prompt, action)

    def _first(self, message: str) -> Reply:
        """A message without a prompt before it is the prompt, if it has anything to draw in it."""
        analysis = self._analyser.analyse(message)
        subject = re.sub(r"^(?:please\s+)?(?:can you\s+)?(?:draw|paint|generate|render|create|make|i want|i would like)"
                         r"(?:\s+me)?(?:\s+a picture of)?\s+", "", message.strip(), flags=re.IGNORECASE)  # fmt: skip
        if not (analysis.objects or analysis.concepts or _changes(analysis)) and analysis.word_count < 4:
            return Reply("Tell me what you would like to see: a subject, and if you know it a mood or a style.")
        better = enhance(self._analyser, subject.rstrip(" .!?"))
        reasons = "\n".join(f"- {one.text}: {one.reason}" for one in better.changes)
        text = f"A beginning. I kept your words and added:\n{reasons}\nPrompt: {better.enhanced}"
        action = action_of("draw", {"prompt": better.enhanced[:4000], "negative_prompt": better.negative_prompt})
        return Reply(text, better.enhanced, action)


def _concept_of(text: str) -> str | None:
    """What a question for an explanation at the end of ``text`` is about. White space is collapsed before the search,
    so that its length cannot multiply the search's steps."""
    found = _EXPLAIN.search(" ".join(text.split())[-_EXPLAIN_CHARACTERS:])
    return found[1] if found else None


def _changes(analysis: Analysis) -> bool:
    return any(analysis.keywords[category] for category in KEYWORDS)


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""
