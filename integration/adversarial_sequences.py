"""Which conversations are held: every short one of an alphabet, and random ones up to forty letters.

A random one has a few letters of the alphabet alone, so that what belongs together comes together often.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

from adversarial_letters import BEGINS, CODES, HOLDS, LAST, LETTERS, PREPARES, TAKES

Letters = tuple[str, ...]

# The letters that move the state: of a batch, of a transaction, of a COPY, of the names.
MOVING = (
    "Q select",
    "Q begin",
    "Q copy in",
    "Q discard all",
    "X select",
    "X fails",
    "X copy in",
    "X refused",
    "d good",
    "d bad",
    "c",
    "S",
    "H",
)
# What can stand behind a COPY FROM STDIN: data, its end, and what does not belong there.
COPYING = ("d good", "d bad", "c", "S", "H", "X select", "Q select", "X discard all")
# What a name stands for, when that changes within a batch: parsed, closed, parsed again, run.
FORGETTING = ("discard all", "reset all")
LONGEST = 40


def naming(what: str, name: str) -> Letters:
    """Letters about one name."""
    return (f"P {what}{name}", f"P select{name}", f"C S{name}", "S", f"R{name}")


def portals(what: str, name: str) -> Letters:
    """Letters about a portal, which outlives its batch in a transaction."""
    return ("Q begin", f"P {what}{name}", f"B{name} as p", "S", "E p", "Q select")


def reserved(what: str, name: str) -> Letters:
    """Letters about a statement that SQL may find under the server's own name for it."""
    return ("Q begin", f"P {what}{name}", "S", "Q execute reserved", "X execute reserved")


def alphabet(*, begins: bool, holds: bool, prepares: bool, runs_code: bool, takes: bool) -> Letters:
    """All letters; where they are possible those that begin a transaction or keep a client on its server, SQL
    PREPARE, code, and other roles.
    """
    choices = ((BEGINS, begins), (HOLDS, holds), (PREPARES, prepares), (CODES, runs_code), (TAKES, takes))
    left_out = {letter for letters, wanted in choices if not wanted for letter in letters}
    return tuple(letter for letter in LETTERS if letter not in left_out)


def every(letters: Sequence[str], longest: int, shortest: int = 1) -> Iterator[Letters]:
    """Each sequence of these letters. Nothing comes behind a goodbye."""
    for length in range(shortest, longest + 1):
        for sequence in itertools.product(letters, repeat=length):
            if not LAST.intersection(sequence[:-1]):
                yield sequence


def pairs(letters: Sequence[str]) -> Iterator[Letters]:
    """Two letters, one of which moves the state."""
    for pair in every(letters, 2, 2):
        if not set(MOVING).isdisjoint(pair):
            yield pair


def every_copy(longest: int) -> Iterator[Letters]:
    """Each sequence that begins with a COPY."""
    for start in ("X copy in", "Q copy in"):
        for sequence in every(COPYING, longest - 1):
            yield (start, *sequence)


def every_name(longest: int) -> Iterator[Letters]:
    """Each sequence about a name that ends with its use, and each about a portal."""
    for what, name in itertools.product(FORGETTING, ("", " a", " long")):
        letters = naming(what, name)
        for sequence in every(letters, longest - 1):
            if any(letter.startswith("P") for letter in sequence):
                yield (*sequence, letters[-1])
    for what, name in itertools.product((*FORGETTING, "copy"), (" a", " long")):
        for sequence in every(reserved(what, name), longest - 2, 2):
            if sequence[-1].endswith("execute reserved") and f"P {what}{name}" in sequence:
                yield sequence
    for what, name in itertools.product((*FORGETTING, "copy"), ("", " a")):
        for sequence in every(portals(what, name), longest - 1):
            if sequence[0] == "Q begin" and f"B{name} as p" in sequence:
                yield (*sequence, "E p")


def without(letters: Letters, start: int, count: int) -> Letters:
    return letters[:start] + letters[start + count :]


def random_sequence(seed: int, letters: Sequence[str]) -> Letters:
    """The same seed gives the same sequence of the same letters."""
    rng = random.Random(seed)
    few = rng.sample(letters, rng.choice((4, 6, 10, 20)))
    few += rng.choices(MOVING, k=rng.choice((0, 3, 6)))
    if rng.random() < 0.3:
        few += naming(rng.choice(("select", "copy", *FORGETTING)), rng.choice(("", " a", " long")))
    ends = [letter for letter in few if letter in LAST]
    few = [letter for letter in few if letter not in LAST] or ["S"]
    result = rng.choices(few, k=rng.randint(4, LONGEST))
    if ends and rng.random() < 0.5:
        result[-1] = ends[0]
    return tuple(result)
