"""The report: one Markdown table of what was measured, and below it the memory and the ratios to the goals."""

from collections.abc import Iterable, Sequence
from statistics import quantiles

from benchmarks.measuring import OPEN_STREAMS, PLAIN, Measurement, Memory

GOAL_CPU_MS = 1.5
GOAL_TIMES_NGINX = 50
REFERENCE_CPU_MS = 2.2
"""What the prototype needed by which `GOAL_CPU_MS` was set, on the machine of that time."""

_COLUMNS = (
    *("request", "clients", "through", "requests/s", "p50 ms", "p99 ms", "added p50", "added p99"),
    *("added p50, first byte", "CPU ms a request", "× nginx", "database CPU ms", "load CPU ms"),
)
_TEXT_COLUMNS = 3


def render(measurements: Sequence[Measurement], memories: Sequence[Memory], *, notes: Iterable[str]) -> str:
    """Everything as Markdown, ending in a line break."""
    found = {(measurement.kind, measurement.clients, measurement.way): measurement for measurement in measurements}
    alignment = ["---" if index < _TEXT_COLUMNS else "---:" for index in range(len(_COLUMNS))]
    lines = [_line(_COLUMNS), _line(alignment)]
    for measurement in measurements:
        kind, clients = measurement.kind.as_seen_upstream, measurement.clients
        direct, nginx = found[kind, clients, "direct"], found.get((kind, clients, "nginx"))
        lines.append(_line(_row(measurement, direct, nginx)))
    notes = [*(_memory_note(memory) for memory in memories), *_goal_notes(measurements), *notes]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes), ""])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _row(measurement: Measurement, direct: Measurement, nginx: Measurement | None) -> list[str]:
    load = measurement.load
    row = [measurement.kind.name, str(measurement.clients), measurement.way, f"{load.requests / load.seconds:.0f}"]
    row += [_ms(_percentile(load.totals, 50)), _ms(_percentile(load.totals, 99))]
    if measurement is direct:
        row += ["", "", ""]
    else:
        row += [_ms(_percentile(load.totals, part) - _percentile(direct.load.totals, part)) for part in (50, 99)]
        row.append(_ms(_percentile(load.first_bytes, 50) - _percentile(direct.load.first_bytes, 50)))
    is_billed = measurement.way in ("gateway", "reference")
    own = measurement.cpu_ms(measurement.way)
    row += [f"{own:.2f}" if is_billed else f"{own:.3f}"]
    row.append(f"{own / nginx.cpu_ms('nginx'):.0f}" if is_billed and nginx else "")
    row.append(f"{measurement.cpu_ms('database'):.2f}" if is_billed else "")
    return [*row, f"{measurement.load_cpu_ms:.2f}"]


def _percentile(values: list[float], percent: int) -> float:
    """In seconds, interpolated; the only value if there is one."""
    return quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.2f}" if abs(seconds) < 0.01 else f"{1000 * seconds:.1f}"


def _memory_note(memory: Memory) -> str:
    pss = "PSS unreadable"
    if memory.idle[1] is not None and memory.open[1] is not None:
        grown = 1024 * (memory.open[1] - memory.idle[1]) / OPEN_STREAMS
        pss = f"PSS {memory.open[1]:.0f} MB ({memory.idle[1]:.0f} before, {grown:.0f} kB a stream)"
    rss = f"RSS {memory.open[0]:.0f} MB ({memory.idle[0]:.0f} before)"
    return f"{memory.way} with {OPEN_STREAMS} open streams: {rss}, {pss}"


def _goal_notes(measurements: Sequence[Measurement]) -> list[str]:
    """How the billed plain request, at its best over the numbers of clients, stands to the goals."""
    plain = [measurement for measurement in measurements if measurement.kind == PLAIN]
    cpu = {
        way: [measurement.cpu_ms(way) for measurement in plain if measurement.way == way]
        for way in ("nginx", "reference", "gateway")
    }
    of_reference = _ratios(cpu["gateway"], cpu["reference"])
    notes = [
        f"Gateway CPU of a billed plain request: {_range(cpu['gateway'], 2)} ms; the goal is {GOAL_CPU_MS} ms",
        f"That is {_range(of_reference, 2)} of the reference's {_range(cpu['reference'], 2)} ms; the goal was set as "
        f"{GOAL_CPU_MS / REFERENCE_CPU_MS:.2f} of such a prototype's {REFERENCE_CPU_MS} ms",
    ]
    if cpu["nginx"]:
        ratios = _ratios(cpu["gateway"], cpu["nginx"])
        notes.append(f"That is {_range(ratios, 0)} times nginx; the goal is at most {GOAL_TIMES_NGINX}")
    return notes


def _ratios(values: Sequence[float], bases: Sequence[float]) -> list[float]:
    return [value / base for value, base in zip(values, bases, strict=True)]


def _range(values: Sequence[float], places: int) -> str:
    return f"{min(values):.{places}f}–{max(values):.{places}f}"
