"""Which faults happen when: a plan made from a seed, the same for the same seed. Pure."""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What is done to a process."""

    KILL = "kill -9"
    FREEZE = "freeze"
    STEP_DOWN = "step down"
    ROLL_BACK = "roll back"


class Target(StrEnum):
    """Whom it is done to."""

    WORKER = "worker"
    ALL_WORKERS = "all workers"
    MASTER = "master"
    SWEEPER = "sweeper"
    STAFF = "staff"
    PRIMARY = "primary"
    SECONDARY = "secondary"


@dataclass(frozen=True)
class Fault:
    """One fault, `at` seconds after its episode began.

    `seconds` is how long a frozen process stays frozen, or a killed mongod stays away. `pick` (0 to 1) chooses among
    several processes of the same kind.
    """

    at: float
    kind: Kind
    target: Target
    seconds: float = 0.0
    pick: float = 0.0

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.at:.1f} s: {self.kind} {self.target}{lasting}"


Episode = tuple[Fault, ...]
"""Faults that belong together. After an episode everything is healed, and must be well soon."""

SHORTEST_FREEZE_SECONDS = 1.0
LONGEST_AWAY_SECONDS = 15.0
"""The longest that a killed mongod is not started again."""
ROLL_BACK_SECONDS = 20.0
"""The member whose writes are to be rolled back stays away for so long, so that the others have written meanwhile."""


def plan_episodes(*, seed: int, members: int, longest_freeze: float, only: tuple[str, ...] = ()) -> Iterator[Episode]:
    """An endless plan. `members` is the number of mongods (1 or 3); no process stays frozen beyond `longest_freeze`.

    `only` names the kinds of episodes (`EPISODES`) that are wanted; by default it is all that make sense.
    """
    chance = random.Random(f"episodes {seed}")
    kinds = only or (ONE_MEMBER if members == 1 else (*ONE_MEMBER, *MORE_MEMBERS))
    while True:
        # Each kind once in random order, then again: a short run meets all of them too.
        for kind in chance.sample(kinds, len(kinds)):
            faults = EPISODES[kind](chance, members, longest_freeze)
            yield tuple(sorted(faults, key=lambda fault: fault.at))


def _duration(chance: random.Random, longest: float) -> float:
    """Between the shortest and the longest freeze, short ones as often as long ones."""
    return float(SHORTEST_FREEZE_SECONDS * (longest / SHORTEST_FREEZE_SECONDS) ** chance.random())


def _any_process(chance: random.Random, members: int) -> Target:
    targets = [Target.WORKER, Target.WORKER, Target.ALL_WORKERS, Target.MASTER, Target.SWEEPER, Target.STAFF]
    return chance.choice([*targets, Target.PRIMARY, *([Target.SECONDARY] if members > 1 else [])])


def _kill(chance: random.Random, members: int, at: float) -> Fault:
    target = _any_process(chance, members)
    is_mongod = target in (Target.PRIMARY, Target.SECONDARY)
    away = chance.uniform(0, LONGEST_AWAY_SECONDS) if is_mongod else 0.0
    return Fault(at, Kind.KILL, target, away, chance.random())


def _kills(chance: random.Random, members: int, longest: float) -> list[Fault]:
    """Several kills, one after the other."""
    return [_kill(chance, members, 0.7 * number) for number in range(chance.randint(3, 6))]


def _freeze(chance: random.Random, members: int, longest: float) -> list[Fault]:
    """One process stands still."""
    return [Fault(0.0, Kind.FREEZE, _any_process(chance, members), _duration(chance, longest), chance.random())]


def _several(chance: random.Random, members: int, longest: float) -> list[Fault]:
    """Kills and freezes at once."""
    faults = []
    for _ in range(chance.randint(2, 4)):
        at = chance.uniform(0, 5)
        if chance.random() < 0.5:
            faults.append(_kill(chance, members, at))
        else:
            target = _any_process(chance, members)
            faults.append(Fault(at, Kind.FREEZE, target, _duration(chance, longest), chance.random()))
    return faults


def _cold_start(chance: random.Random, members: int, longest: float) -> list[Fault]:
    """Processes start while the database does not answer: their first contact with it fails."""
    away = min(longest, chance.uniform(8, 50))
    if chance.random() < 0.5:
        first = Fault(0.0, Kind.FREEZE, Target.PRIMARY, away)
    else:
        first = Fault(0.0, Kind.KILL, Target.PRIMARY, min(away, LONGEST_AWAY_SECONDS))
    return [first, Fault(0.5, Kind.KILL, Target.ALL_WORKERS), Fault(0.6, Kind.KILL, Target.SWEEPER)]


def _outage(chance: random.Random, members: int, longest: float) -> list[Fault]:
    """The database stands still for longer than the driver waits, with requests between hold and record."""
    return [Fault(0.0, Kind.FREEZE, Target.PRIMARY, chance.uniform(min(35.0, longest), longest))]


def _gentle(chance: random.Random, members: int, longest: float) -> list[Fault]:
    """Kills and freezes that no request dies of."""
    return [
        Fault(0.0, Kind.KILL, Target.STAFF),
        Fault(0.2, Kind.FREEZE, Target.WORKER, min(longest, 1.0), chance.random()),
        Fault(0.4, Kind.FREEZE, Target.PRIMARY, min(longest, 1.0)),
        Fault(1.6, Kind.KILL, Target.PRIMARY),
        Fault(9.0, Kind.KILL, Target.SWEEPER),
    ]


def _step_downs(chance: random.Random, members: int, longest: float) -> list[Fault]:
    """The primary gives up its place, several times."""
    return [Fault(4.0 * number, Kind.STEP_DOWN, Target.PRIMARY) for number in range(chance.randint(1, 3))]


def _lost_primary(chance: random.Random, members: int, longest: float) -> list[Fault]:
    """The primary is killed, or stands still for long enough to lose its place and comes back believing in it."""
    if chance.random() < 0.5:
        return [Fault(0.0, Kind.KILL, Target.PRIMARY, chance.uniform(0, LONGEST_AWAY_SECONDS))]
    return [Fault(0.0, Kind.FREEZE, Target.PRIMARY, min(longest, chance.uniform(8, 40)))]


def _roll_back(chance: random.Random, members: int, longest: float) -> list[Fault]:
    """The primary writes what no other member gets, and is killed: what it wrote is rolled back when it returns."""
    return [Fault(0.0, Kind.ROLL_BACK, Target.PRIMARY, ROLL_BACK_SECONDS)]


EPISODES: dict[str, Callable[[random.Random, int, float], list[Fault]]] = {
    "kills": _kills,
    "freeze": _freeze,
    "several": _several,
    "cold-start": _cold_start,
    "outage": _outage,
    "step-downs": _step_downs,
    "lost-primary": _lost_primary,
    "roll-back": _roll_back,
    "gentle": _gentle,
}
ONE_MEMBER = ("kills", "kills", "freeze", "several", "cold-start", "outage")
MORE_MEMBERS = ("step-downs", "step-downs", "lost-primary", "lost-primary", "roll-back")
"""What a plan is made of, with one mongod and what comes with three."""
