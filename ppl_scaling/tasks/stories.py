"""Stories about one person's collection of things, told event by event together with what has to be worked out.

An event that does not fit the numbers at hand says nothing and leaves the story as it is.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["Story", "tell"]

_DISTRACTOR_MIN_STEPS = 4
_DISTRACTOR_PROBABILITY = 0.3

_GIRLS = ("Mia", "Emma", "Lily", "Anna", "Zoe", "Nora", "Ella", "Ruby", "Aisha", "Clara")
_BOYS = ("Tom", "Ben", "Leo", "Max", "Sam", "Jack", "Omar", "Finn", "Hugo", "Ravi")
_ITEMS = ("pen", "apple", "sticker", "marble", "book", "shell", "card", "bead", "stamp", "cookie", "button", "toy")
_CONTAINERS = (("box", "boxes"), ("bag", "bags"), ("pack", "packs"), ("jar", "jars"), ("basket", "baskets"))
_TIMES = {2: "twice", 3: "three times", 4: "four times", 5: "five times"}
_LOSING = ("loses", "sells", "gives away", "uses")


@dataclass
class Story:
    """A story being told: what has been said, what has been worked out and how much the person has now.

    Attributes
    ----------
    sentences, steps : list of str
        The text, and the lines of the solution.
    computations : list of str
        Such as ``"3 * 12 = 36"``, one for each line.
    start, value : int
        How much the person had at first, and has now.
    """

    rng: random.Random
    max_number: int
    sentences: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    computations: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name, self.friend = self.rng.sample(_GIRLS + _BOYS, 2)
        self.he, self.him, self.his = ("she", "her", "her") if self.name in _GIRLS else ("he", "him", "his")
        self.friend_his = "hers" if self.friend in _GIRLS else "his"
        self.items = self.rng.choice(_ITEMS) + "s"
        self.container, self.containers = self.rng.choice(_CONTAINERS)
        self.start = self.value = self.rng.randint(3, self.max_number // 3)
        self.sentences.append(f"{self.name} has {self.value} {self.items}.")

    def say(self, *variants: str) -> None:
        """Add one of some equivalent sentences; a pronoun that could mean the friend becomes the name."""
        sentence = self.rng.choice(variants)
        if self.friend in self.sentences[-1]:
            sentence = re.sub(rf"^(Then )?{self.he}\b", lambda match: (match[1] or "") + self.name, sentence)
        self.sentences.append(sentence[0].upper() + sentence[1:])

    def work(self, text: str, left: int, operation: str, right: int) -> int:
        """Add one line to the solution and give its result."""
        result = {"+": left + right, "-": left - right, "*": left * right, "/": left // right}[operation]
        self.computations.append(f"{left} {operation} {right} = {result}")
        self.steps.append(f"{text}: {self.computations[-1]}.")
        return result


def _gain(story: Story) -> bool:
    if story.value + 2 > story.max_number:
        return False
    amount = story.rng.randint(2, min(story.max_number - story.value, story.max_number // 2))
    verb = story.rng.choice(("buys", "finds", "wins", "makes"))
    story.say(f"{story.he} {verb} {amount} more.", f"Then {story.he} {verb} {amount} more {story.items}.")
    story.value = story.work(f"{story.name} {verb} {amount} more", story.value, "+", amount)
    return True


def _lose(story: Story) -> bool:
    if story.value < 5:
        return False
    amount = story.rng.randint(2, story.value - 2)
    verb = story.rng.choice(_LOSING)
    story.say(f"{story.he} {verb} {amount} of them.", f"Then {story.he} {verb} {amount} {story.items}.")
    story.value = story.work(f"{story.name} {verb} {amount}", story.value, "-", amount)
    return True


def _as_at_first(story: Story) -> bool:
    if story.value + story.start > story.max_number or not story.steps:
        return False
    story.say(
        f"{story.he} gets as many {story.items} as {story.he} had at first.",
        f"Then {story.he} gets as many more as {story.he} had at first.",
    )
    story.value = story.work(f"{story.name} gets as many as at first", story.value, "+", story.start)
    return True


def _multiply(story: Story) -> bool:
    factor, word = story.rng.choice(((2, "doubles"), (3, "triples")))
    if story.value * factor > story.max_number:
        return False
    story.say(f"{story.he} {word} {story.his} {story.items}.", f"{story.name} then {word} what {story.he} has.")
    story.value = story.work(f"{story.name} {word} {story.his} {story.items}", story.value, "*", factor)
    return True


def _halve(story: Story) -> bool:
    if story.value % 2 or story.value < 8:
        return False
    verb = story.rng.choice(_LOSING)
    story.say(f"{story.he} {verb} half of them.", f"Then {story.he} {verb} half of {story.his} {story.items}.")
    story.value = story.work(f"{story.name} {verb} half", story.value, "/", 2)
    return True


def _share(story: Story) -> bool:
    divisors = [divisor for divisor in range(3, 10) if story.value % divisor == 0 and story.value // divisor >= 3]
    if not divisors:
        return False
    people = story.rng.choice(divisors)
    story.say(
        f"{story.he} splits them equally among {people} people and keeps one share.",
        f"{story.he} puts them into {people} equal piles and keeps one pile.",
    )
    story.value = story.work(f"{story.name} keeps one of {people} equal parts", story.value, "/", people)
    return True


def _containers(story: Story) -> bool:
    gain = story.rng.random() < 0.5
    room = story.max_number - story.value if gain else story.value - 2
    if room < 6:
        return False
    count = story.rng.randint(2, min(9, room // 3))
    size = story.rng.randint(3, min(room // count, 25))
    verb = story.rng.choice(("buys", "finds", "gets") if gain else _LOSING)
    story.say(
        f"{story.he} {verb} {count} {story.containers} of {size} {story.items}.",
        f"Then {story.he} {verb} {count} {story.containers} with {size} {story.items} in each {story.container}.",
    )
    total = story.work(f"{story.name} {verb} {count} {story.containers} of {size}", count, "*", size)
    more, operation = (" more", "+") if gain else ("", "-")
    story.value = story.work(f"{story.name} {verb} {total}{more}", story.value, operation, total)
    return True


def _friend(story: Story) -> bool:
    room = story.max_number - 2 * story.value
    operation = story.rng.choice("+-*")
    if operation == "+" and room >= 2:
        amount = story.rng.randint(2, room)
        short, relation = f"{amount} more", f"{amount} more {story.items} than"
    elif operation == "-" and room >= 0 and story.value >= 4:
        amount = story.rng.randint(2, story.value - 2)
        short, relation = f"{amount} fewer", f"{amount} fewer {story.items} than"
    elif operation == "*" and story.value <= room:
        amount = story.rng.randint(2, min(5, story.max_number // story.value - 1))
        short, relation = f"{_TIMES[amount]} as many", f"{_TIMES[amount]} as many {story.items} as"
    else:
        return False
    story.say(
        f"{story.friend} has {relation} {story.name} and gives {story.him} all of them.",
        f"{story.friend}, who has {relation} {story.name}, gives {story.him} all of {story.friend_his}.",
    )
    total = story.work(f"{story.friend} has {short}", story.value, operation, amount)
    story.value = story.work(f"{story.name} gets {total} from {story.friend}", story.value, "+", total)
    return True


# Each kind of event: the lines it adds to the solution, how often it is tried, and what tells it.
_EVENTS: tuple[tuple[int, int, Callable[[Story], bool]], ...] = (
    (1, 3, _gain),
    (1, 3, _lose),
    (1, 2, _as_at_first),
    (1, 2, _multiply),
    (1, 2, _halve),
    (1, 3, _share),
    (2, 6, _containers),
    (2, 4, _friend),
)


def tell(rng: random.Random, num_steps: int, max_number: int) -> Story | None:
    """Tell one story whose solution has ``num_steps`` lines; nothing when it got stuck."""
    story = Story(rng, max_number)
    distract = num_steps >= _DISTRACTOR_MIN_STEPS and rng.random() < _DISTRACTOR_PROBABILITY
    while len(story.steps) < num_steps:
        if distract and rng.random() < 0.5:
            distract, number = False, rng.randint(3, 20)
            story.say(
                f"{story.friend} is {number} years old.",
                f"One empty {story.container} costs {number} dollars.",
                f"{story.friend} lives {number} miles away.",
            )
        events = [event for event in _EVENTS if event[0] <= num_steps - len(story.steps)]
        tries = (rng.choices(events, [weight for _, weight, _ in events])[0][2](story) for _ in range(20))
        if not any(tries):
            return None
    story.sentences.append(f"How many {story.items} does {story.name} have {rng.choice(('now', 'in the end'))}?")
    story.steps[-1] += f" The answer is \\boxed{{{story.value}}}"
    return story
