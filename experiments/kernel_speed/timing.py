"""Clocks, and contenders timed in turn: ours, peer, ours, peer ... each round once.

A contender is a function of the round's number, so that it can use another input set each round. A contender that fails
is reported with its reason, and the others continue.
"""

import contextlib
import gc
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch

Call = Callable[[int], object]
"""Call of a contender; the argument is the round's number."""

LONG = 500.0
"""Milliseconds from which one warm-up call after the first is enough."""

FLUSH_BYTES = 256 * 2**20
"""Bytes written before every timed call: several times the L2 of the GPUs in question."""

HEAD_START_CYCLES = 24_000_000
"""Idle cycles of the GPU's clock, about 12 ms: longer than Python takes to launch a call (9 ms for the mixer)."""

MIB = 2**20


@dataclass(frozen=True)
class Value:
    """One measured figure.

    Attributes:
        value: the median, in the unit of its row; None if the measurement failed.
        spread: (90th - 10th percentile) / median over the rounds.
        rounds: number of timed rounds.
        failure: reason for a missing value.
    """

    value: float | None = None
    spread: float | None = None
    rounds: int = 0
    failure: str | None = None


class ContextLost(RuntimeError):
    """The device is lost to this process: nothing after this can be measured."""


class Clock(Protocol):
    """Measures calls on one device.

    Attributes:
        device: device that the calls run on.
        warm_up: untimed calls of each contender after its first call, which compiles and tunes.
        rounds: minimum and maximum number of timed rounds.
    """

    device: torch.device
    warm_up: int
    rounds: tuple[int, int]

    def lap(self, call: Callable[[], object]) -> Callable[[], float]:
        """Run ``call`` and return a function that returns its milliseconds; that function may wait for the device."""
        ...

    def finish(self) -> None:
        """Wait until the device has finished all work; raises the errors that occurred on it."""
        ...

    def kept_mib(self, call: Callable[[], object]) -> float | None:
        """Return the MiB that ``call`` allocates and keeps, with its result; None where unknown."""
        ...


class DeviceClock:
    """CUDA events around a call: its GPU time, with the L2 overwritten first.

    The device idles before the call, so that the host has launched all of the call before its first kernel starts.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.warm_up, self.rounds = device, 3, (3, 40)
        self._flush = torch.empty(FLUSH_BYTES, dtype=torch.int8, device=device)

    def lap(self, call: Callable[[], object]) -> Callable[[], float]:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(HEAD_START_CYCLES)
        self._flush.zero_()
        start.record()
        call()
        end.record()

        def milliseconds() -> float:
            end.synchronize()
            return start.elapsed_time(end)

        return milliseconds

    def finish(self) -> None:
        torch.cuda.synchronize(self.device)

    def kept_mib(self, call: Callable[[], object]) -> float | None:
        gc.collect()
        self.finish()
        before = torch.cuda.memory_allocated(self.device)
        result = call()
        self.finish()
        kept = torch.cuda.memory_allocated(self.device) - before
        del result
        return kept / MIB


class LaunchClock(DeviceClock):
    """Time that the host takes to launch a call on an idle device, a lower bound of a training step."""

    def lap(self, call: Callable[[], object]) -> Callable[[], float]:
        self.finish()
        return _wall(call)


class HostClock:
    """Wall time, for devices that have finished when a call returns."""

    def __init__(self) -> None:
        self.device, self.warm_up, self.rounds = torch.device("cpu"), 1, (2, 2)

    def lap(self, call: Callable[[], object]) -> Callable[[], float]:
        return _wall(call)

    def finish(self) -> None:
        return

    def kept_mib(self, call: Callable[[], object]) -> float | None:
        call()
        return None


def _wall(call: Callable[[], object]) -> Callable[[], float]:
    """Run the call; returns a function that returns its wall time in milliseconds."""
    started = time.perf_counter()
    call()
    elapsed = 1e3 * (time.perf_counter() - started)
    return lambda: elapsed


def reason(error: BaseException, seen: list[warnings.WarningMessage] | None = None) -> str:
    """Return one line with the reason of a contender's failure and the warnings that came with it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [str(warning.message).split(" (Triggered internally")[0] for warning in seen or []]
    text = "; ".join([f"{type(error).__name__}: {lines[0] if lines else 'no message'}", *dict.fromkeys(said)])
    return text if len(text) <= 400 else text[:397] + "..."


def recover(clock: Clock) -> None:
    """Free the memory of a failed contender; raises ContextLost if the device does not recover."""
    gc.collect()
    try:
        clock.finish()
        if clock.device.type == "cuda":
            torch.cuda.empty_cache()
    except RuntimeError as error:
        raise ContextLost(reason(error)) from error


def interleaved(contenders: Mapping[str, Call], clock: Clock, seconds: float) -> dict[str, Value]:
    """Return median milliseconds of each contender over rounds that take about ``seconds`` together."""
    failures: dict[str, str] = {}
    estimate: dict[str, float] = {}
    for name, call in contenders.items():
        try:
            estimate[name] = _warm_up(call, clock)
        except _Failed as failed:
            failures[name] = str(failed)
    fewest, most = clock.rounds
    rounds = min(most, max(fewest, int(1e3 * seconds / max(sum(estimate.values()), 1e-3))))
    laps: dict[str, list[Callable[[], float]]] = {name: [] for name in estimate}
    gc.collect()
    for number in range(rounds):
        for name in [name for name in laps if name not in failures]:
            try:
                laps[name].append(clock.lap(lambda call=contenders[name], number=number: call(number)))  # type: ignore[misc]
            except Exception as error:
                failures[name] = reason(error)
                recover(clock)
    with _as_context_loss():
        clock.finish()
        times = {name: [lap() for lap in laps[name]] for name in laps if name not in failures}
    return {name: _value(times[name]) if name in times else Value(failure=failures[name]) for name in contenders}


def memory(contenders: Mapping[str, Call], clock: Clock) -> dict[str, Value]:
    """Return the MiB that each contender's first input set leaves allocated, with its outputs, after a warm-up."""
    found: dict[str, Value] = {}
    for name, call in contenders.items():
        try:
            call(0)
            found[name] = Value(clock.kept_mib(lambda call=call: call(0)), rounds=1)  # type: ignore[misc]
        except Exception as error:
            found[name] = Value(failure=reason(error))
            recover(clock)
    return found


class _Failed(Exception):
    """A contender failed in its warm-up; the message is the reason."""


def _warm_up(call: Call, clock: Clock) -> float:
    """Call until everything is compiled; returns the last call's milliseconds."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        try:
            call(0)
            clock.finish()
            seen.clear()
            for number in range(clock.warm_up):
                milliseconds = clock.lap(lambda number=number: call(number))()  # type: ignore[misc]
                if milliseconds > LONG:
                    break
            clock.finish()
        except Exception as error:
            why = reason(error, seen)
            recover(clock)
            raise _Failed(why) from error
    return milliseconds


def _value(times: list[float]) -> Value:
    median = statistics.median(times)
    low, *_, high = statistics.quantiles(times, n=10) if len(times) > 1 else (median, median)
    return Value(median, (high - low) / median if median else 0.0, len(times))


@contextlib.contextmanager
def _as_context_loss() -> Iterator[None]:
    """Raise ContextLost for errors in the block: no single contender can be blamed for them."""
    try:
        yield
    except RuntimeError as error:
        raise ContextLost(reason(error)) from error
