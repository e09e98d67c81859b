"""The queue of trials: N trials in all, each finished once, even if workers are killed.

Workers share nothing but the storage, so the state of the queue follows from its list of trials. The storage must do
two things atomically: give a new trial the next number, and let a single worker change a waiting trial to running.

A *slot* is one of the N trials: the n-th trial of the study that is not a retry, and its retries. When a worker is
killed, the heartbeat in its trial stops changing, and another worker sets the trial to failed. A failed trial without a
reason was not ended by its worker. A retry runs it again: a new trial with the same values.

Two workers that act at the same time may add one trial or one retry too many. Of two retries of one trial the first
counts; trials beyond N do not count. Trials that do not count are never run.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial


class Attribute(StrEnum):
    """User attributes of a trial."""

    REASON = "reason"  # why the trial failed
    PRUNED = "pruned"  # quality and step at which the trial was pruned
    RETRY_OF = "retry_of"  # number of the trial that this one repeats
    BEAT = "beat"  # heartbeat: changes while the worker of the trial is alive
    LEFT = "left"  # the worker of the trial stopped and released it
    RUN = "run"  # run folder of the trial
    FIGURES = "figures"  # objectives by name


@dataclass(frozen=True)
class Slot:
    """One of the N trials of a sweep.

    Attributes:
        number: number of the slot, from 0.
        attempts: the trial and its retries in the study; the last one counts.
    """

    number: int
    attempts: tuple[FrozenTrial, ...]

    @property
    def latest(self) -> FrozenTrial:
        """Return the trial that counts."""
        return self.attempts[-1]

    @property
    def abandoned(self) -> bool:
        """Return whether the trial failed without a reason, so that it must be retried."""
        return self.latest.state == TrialState.FAIL and Attribute.REASON not in self.latest.user_attrs

    @property
    def finished(self) -> bool:
        """Return whether the trial is complete, pruned, or failed with a reason."""
        return self.latest.state.is_finished() and not self.abandoned


def slots(trials: Sequence[FrozenTrial], count: int) -> list[Slot]:
    """Return the first ``count`` slots of a study, or all of them if it has fewer."""
    retries: dict[int, FrozenTrial] = {}
    for trial in trials:
        if (retried := trial.user_attrs.get(Attribute.RETRY_OF)) is not None:
            retries.setdefault(retried, trial)
    found: list[Slot] = []
    for trial in [trial for trial in trials if Attribute.RETRY_OF not in trial.user_attrs][:count]:
        attempts = [trial]
        while (retry := retries.get(attempts[-1].number)) is not None:
            attempts.append(retry)
        found.append(Slot(len(found), tuple(attempts)))
    return found


class Queue:
    """The trials of a study that are not finished, as seen by one worker.

    Args:
        study: the study.
        storage: the storage of the study.
        count: number of trials in all.
        grace: seconds without a new heartbeat, on this worker's clock, after which a trial's worker counts as dead.
        retries: largest number of retries of a slot after killed workers.
        clock: function that returns the time in seconds.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: BaseStorage,
        count: int,
        grace: float,
        retries: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._study, self._storage = study, storage
        self._count, self._grace, self._retries = count, grace, retries
        self._clock = clock
        self._seen: dict[int, tuple[object, float]] = {}

    def slots(self) -> list[Slot]:
        """Return all slots of the study so far."""
        return slots(self._study.get_trials(deepcopy=False), self._count)

    def take(self) -> Slot | None:
        """Return a slot whose latest trial this worker must run; None if no trial is waiting at the moment."""
        self._fail_silent(self.slots())
        found = self.slots()
        for slot in found:
            if slot.abandoned:
                self._retry(slot)
        if len(found) < self._count and not any(slot.latest.state == TrialState.WAITING for slot in found):
            self._study.add_trial(create_trial(state=TrialState.WAITING))
        for slot in self.slots():
            if slot.latest.state == TrialState.WAITING and self._run(slot.latest):
                return slot
        return None

    def done(self) -> bool:
        """Return whether all trials are finished."""
        found = self.slots()
        return len(found) == self._count and all(slot.finished for slot in found)

    def _fail_silent(self, found: Sequence[Slot]) -> None:
        """Fail the running trials whose heartbeat has not changed for ``grace`` seconds."""
        now = self._clock()
        for slot in found:
            trial = slot.latest
            if trial.state != TrialState.RUNNING:
                continue
            beat = trial.user_attrs.get(Attribute.BEAT)
            seen, since = self._seen.setdefault(trial.number, (beat, now))
            if seen != beat:
                self._seen[trial.number] = (beat, now)
            elif now - since > self._grace:
                self._fail(slot)

    def _fail(self, slot: Slot) -> None:
        trial_id = slot.latest._trial_id
        try:
            killed = sum(Attribute.LEFT not in trial.user_attrs for trial in slot.attempts)
            if killed > self._retries:
                reason = f"its worker was killed, {killed} times in all"
                self._storage.set_trial_user_attr(trial_id, Attribute.REASON, reason)
            self._storage.set_trial_state_values(trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            pass  # another worker has failed the trial already, or its own worker was alive and has ended it

    def _retry(self, slot: Slot) -> None:
        trial = slot.latest
        run = {str(Attribute.RUN): trial.user_attrs[Attribute.RUN]} if Attribute.RUN in trial.user_attrs else {}
        self._study.add_trial(
            create_trial(
                state=TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                intermediate_values=trial.intermediate_values,
                user_attrs={str(Attribute.RETRY_OF): trial.number, **run},
                system_attrs=trial.system_attrs,
            )
        )

    def _run(self, trial: FrozenTrial) -> bool:
        try:
            return self._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
        except UpdateFinishedTrialError:
            return False
