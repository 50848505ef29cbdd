"""Word lists: which words belong to a topic. `twin/words/<language>.json`, and the owner's own files of the same shape.

    {"language": "de", "money": ["geld*", "kannst du ... leihen"], "codes": [...], ...}

An entry is read like this; case, accents and tricks of spelling do not matter (twin.folding):

    geld          the word
    geld*         words that begin so; in Arabic also behind its prefixes (the, and, with, ...)
    pay back      these words in a row
    lend ... eur* these in order, with at most five words between
    密码           scripts without spaces: these characters anywhere

Topics:

    money codes health promises injection   what speaks against an automatic answer
    days          days and times of day: with a question, or in a draft, they make an appointment
    twin          what the twin is or is told: in a question or in few words it is meant for the twin
    roles         how somebody would begin a line that pretends to be the system's or the owner's: "system:"
    harmless      what is struck out before anything else is looked for: "pay attention"
    warm          what makes an answer warm (twin.wishes)
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from twin.errors import InputError
from twin.folding import UNPARTED, fold, views, words

SHIPPED = Path(__file__).with_name("words")
TOPICS = ("money", "codes", "health", "promises", "injection", "days", "twin", "roles", "harmless", "warm")
WORDS_BETWEEN = 5
CHARACTERS_BETWEEN = 12  # in scripts without spaces
SHORTEST_STEM = 2
MOST_WORDS = 50_000
_ARABIC_PREFIX = re.compile("^(?:[وفبلك]?ال(?=..)|لل(?=..)|[وفبلك](?=....))")

Element = tuple[str, bool, bool]  # a folded word, whether it is only its beginning, whether other words may stand before it
Entry = tuple[str, tuple[Element, ...]]  # topic, what follows the first word


@dataclass(frozen=True)
class Begun:
    """The entries that begin with one word: those that are this word, by the word that must stand next, and the rest."""

    alone: tuple[str, ...]
    next: dict[str, list[Entry]]
    others: list[Entry]


@dataclass(frozen=True, eq=False)
class WordLists:
    """All lists of all languages, ready to be looked up: by whole first word, by its beginning, and by characters."""

    whole: dict[str, list[Entry]]
    stems: dict[str, list[Entry]]
    longest_stem: int
    characters: tuple[tuple[str, re.Pattern[str]], ...]
    roles: re.Pattern[str]  # the beginning of a line that pretends to be somebody's
    sentences: tuple[tuple[str, ...], ...]  # the words of each injection, for texts that are written without any space
    _begun: dict[str, Begun | None] = field(default_factory=dict)  # word -> what may begin with it: people repeat words

    def topics(self, text: str) -> set[str]:
        """The topics that a folded text touches, in any of its readings."""
        found: set[str] = set()
        for reading in views(text):
            self._look(reading, found)
        if not text.isascii() and UNPARTED.search(text):
            compact = re.sub(r"[^\w]+", "", text)
            found.update(topic for topic, pattern in self.characters if pattern.search(compact))
        return found

    def count(self, text: str, topic: str) -> int:
        """How many entries of one topic a folded text holds."""
        reading = words(text)
        held = sum(1 for at in range(len(reading)) for found, _ in self._matching(reading, at) if found == topic)
        return held + sum(len(pattern.findall(text)) for name, pattern in self.characters if name == topic)

    def has_sentence(self, letters: str) -> bool:
        """Whether letters without spaces hold the words of an injection, in order and not far apart."""
        return any(_stands_in(sentence, letters) for sentence in self.sentences)

    def _look(self, reading: list[str], found: set[str]) -> None:
        places = [at for at, word in enumerate(reading) if self._begin(word)]
        matched = [(at, topic, count) for at in places for topic, count in self._matching(reading, at)]
        harmless = [(at, count) for at, topic, count in matched if topic == "harmless"]
        if harmless:
            for at, count in harmless:
                reading[at : at + count] = [""] * count
            matched = [(at, topic, count) for at in places for topic, count in self._matching(reading, at)]
        found.update(topic for _, topic, _ in matched)

    def _matching(self, reading: Sequence[str], at: int) -> list[tuple[str, int]]:
        """The topics of the entries that stand there, and of how many words they are."""
        begun = self._begin(reading[at])
        if begun is None:
            return []
        entries = begun.others
        if begun.next and at + 1 < len(reading):
            for form in _forms(reading[at + 1]):
                entries = [*entries, *begun.next.get(form, ())]
        return [(topic, 1) for topic in begun.alone] + [
            (topic, 1 + len(rest)) for topic, rest in entries if _follows(reading, at + 1, rest)
        ]

    def _begin(self, word: str) -> Begun | None:
        """The entries whose first word this one is; None if there are none."""
        if word not in self._begun:
            entries: list[Entry] = []
            for form in _forms(word):
                entries += self.whole.get(form, ())
                for end in range(SHORTEST_STEM, min(len(form), self.longest_stem) + 1):
                    entries += self.stems.get(form[:end], ())
            if len(self._begun) > MOST_WORDS:
                self._begun.clear()
            self._begun[word] = _begun(entries) if entries else None
        return self._begun[word]


def _begun(entries: Sequence[Entry]) -> Begun:
    following: dict[str, list[Entry]] = defaultdict(list)
    others = []
    for topic, rest in entries:
        if rest and not rest[0][1] and not rest[0][2]:
            following[rest[0][0]].append((topic, rest))
        elif rest:
            others.append((topic, rest))
    return Begun(tuple(topic for topic, rest in entries if not rest), dict(following), others)


def _stands_in(sentence: Sequence[str], letters: str) -> bool:
    at = letters.find(sentence[0])
    for word in sentence[1:]:
        if at < 0:
            return False
        at = letters.find(word, at + 1, at + 60)
    return at >= 0


def _forms(word: str) -> tuple[str, ...]:
    if word.isascii() or not "\u0600" <= word[0] <= "\u06ff":
        return (word,)
    bare = _ARABIC_PREFIX.sub("", word)
    return (word,) if bare == word else (word, bare)


def _follows(reading: Sequence[str], at: int, rest: Sequence[Element]) -> bool:
    """Whether these elements stand in the reading from `at` on."""
    wanted, is_stem, apart = rest[0]
    for place in range(at, min(at + 1 + (WORDS_BETWEEN if apart else 0), len(reading))):
        word = reading[place]
        fits = word == wanted or (is_stem and word.startswith(wanted)) or (not word.isascii() and _fits_bare(word, wanted, is_stem))
        if fits and (len(rest) == 1 or _follows(reading, place + 1, rest[1:])):
            return True
    return False


def _fits_bare(word: str, wanted: str, is_stem: bool) -> bool:
    return any(form.startswith(wanted) if is_stem else form == wanted for form in _forms(word)[1:])


# --- files ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def load(folder: Path | None = None) -> WordLists:
    """The lists that come with the twin, and those of a folder (the setting auto.words). Read once a process.

    Raises InputError if the folder is missing or one of its files is not a word list."""
    files = sorted(SHIPPED.glob("*.json"))
    if folder is not None:
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder of word lists.", mend="Create it, or mend TWIN_AUTO__WORDS.")
        files += sorted(folder.glob("*.json"))
    return compiled(read(file) for file in files)


def read(file: Path) -> dict[str, list[str]]:
    """Topic -> entries of one file. Raises InputError that names the file and what to mend."""
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
    except OSError as exc:
        raise InputError(
            f"{file} cannot be read ({exc.strerror}).", mend="Mend its permissions, or take it out of TWIN_AUTO__WORDS."
        ) from exc
    except ValueError as exc:
        raise InputError(f"{file} is not JSON ({exc}).", mend="Mend that place; twin/words/en.json shows the shape.") from exc
    if not isinstance(found, dict) or not isinstance(found.get("language"), str):
        raise InputError(f"{file} names no language.", mend='Begin it with {"language": "en", ...}.')
    lists = {topic: entries for topic, entries in found.items() if topic != "language"}
    for topic, entries in lists.items():
        if topic not in TOPICS:
            raise InputError(f"{file} has the unknown topic {topic!r}.", mend=f"Topics are: {', '.join(TOPICS)}.")
        if not isinstance(entries, list) or not all(isinstance(entry, str) and _is_entry(entry) for entry in entries):
            mend = f"It must be a list of words, each of {SHORTEST_STEM} letters or more."
            raise InputError(f"{file}: {topic} holds something that is no entry.", mend=mend)
    return lists


def _is_entry(entry: str) -> bool:
    folded = fold(entry.replace("...", " "))
    return sum(map(len, words(folded))) >= SHORTEST_STEM or bool(UNPARTED.search(folded))


def compiled(lists: Iterable[dict[str, list[str]]]) -> WordLists:
    whole: dict[str, list[Entry]] = defaultdict(list)
    stems: dict[str, list[Entry]] = defaultdict(list)
    characters: dict[str, list[str]] = defaultdict(list)
    sentences: list[tuple[str, ...]] = []
    roles: list[str] = []
    for topic, entry in dict.fromkeys((topic, entry) for one in lists for topic, entries in one.items() for entry in entries):
        if topic == "roles":
            roles.append(fold(entry))
        elif UNPARTED.search(entry):
            gap = f"\\w{{0,{CHARACTERS_BETWEEN}}}?"
            characters[topic].append(gap.join(re.escape(re.sub(r"\W+", "", fold(part))) for part in entry.split("...")))
        else:
            elements = _elements(entry)
            (stems if elements[0][1] else whole)[elements[0][0]].append((topic, tuple(elements[1:])))
            if topic == "injection" and len(elements) > 1:
                sentences.append(tuple(word for word, _, _ in elements))
    return WordLists(
        whole=dict(whole),
        stems=dict(stems),
        longest_stem=max(map(len, stems), default=0),
        characters=tuple((topic, re.compile("|".join(parts))) for topic, parts in characters.items()),
        roles=_role_line(roles),
        sentences=tuple(sentences),
    )


def _role_line(roles: Iterable[str]) -> re.Pattern[str]:
    """ "System:", "[owner]", "### new instructions:" at the beginning of a line."""
    names = "|".join(map(re.escape, sorted(set(roles), key=len, reverse=True))) or "(?!)"
    return re.compile(rf"^[\W_]{{0,6}}(?:{names})(?:\W{{0,3}}(?:message|prompt|note))?[\s)*_`]{{0,3}}[\]>:]", re.MULTILINE)


def _elements(entry: str) -> list[Element]:
    """ "lend ... eur*" -> lend, then eur*, which may stand some words later."""
    found: list[Element] = []
    apart = False
    for part in entry.split():
        if part == "...":
            apart = True
            continue
        inner = words(fold(part))
        for i, word in enumerate(inner):
            found.append((word, part.endswith("*") and i == len(inner) - 1, apart))
            apart = False
    return found
