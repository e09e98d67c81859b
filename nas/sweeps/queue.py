"""Which trial a worker runs next: exactly as many as asked for, each finished once, whoever is killed meanwhile.

Workers meet in the storage alone, so everything follows from the trials that it lists. It must do two things as a
whole: give a new trial the next number, and let one worker alone turn a waiting trial into a running one.

A *slot* is one of the N trials asked for: the n-th trial of the study that is no retry, and the retries after it. When
the worker of a trial is killed, the signs of life that it wrote into the trial stop changing; whoever sees that fails
the trial. A failed trial without a reason is one that its worker did not end, and is run again by a retry: a new trial
with the same values. Two workers that act at once add a trial or a retry too many; of two retries of one trial the
first counts, of trials beyond N none, and what does not count is never run.
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
    """What a sweep notes in a trial."""

    REASON = "reason"  # why it failed
    PRUNED = "pruned"  # where it was pruned
    RETRY_OF = "retry_of"  # number of the trial whose values it has, because that one's worker was killed
    BEAT = "beat"  # changes while its worker lives
    LEFT = "left"  # its worker gave it back, alive
    RUN = "run"  # its run folder
    FIGURES = "figures"  # what was measured, by name


@dataclass(frozen=True)
class Slot:
    """One of the trials asked for. number: from 0; attempts: the trials that stand for it, the last one counts."""

    number: int
    attempts: tuple[FrozenTrial, ...]

    @property
    def latest(self) -> FrozenTrial:
        """The trial that counts."""
        return self.attempts[-1]

    @property
    def abandoned(self) -> bool:
        """Whether the worker was killed, so that a retry is due."""
        return self.latest.state == TrialState.FAIL and Attribute.REASON not in self.latest.user_attrs

    @property
    def finished(self) -> bool:
        """Whether it has ended for good: completed, pruned, or failed for a reason."""
        return self.latest.state.is_finished() and not self.abandoned


def slots(trials: Sequence[FrozenTrial], count: int) -> list[Slot]:
    """The first ``count`` slots of a study, or as many as there are."""
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
    """The trials of a study that are still to be run, as one worker sees them.

    Args:
        study: of Optuna.
        storage: the study's.
        count: how many trials are asked for.
        grace: seconds without a sign of life after which a trial's worker is taken for dead, by this worker's clock.
        retries: how often one slot is run again.
        clock: tells seconds.
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
        """All slots there are."""
        return slots(self._study.get_trials(deepcopy=False), self._count)

    def take(self) -> Slot | None:
        """A slot whose latest trial is now this worker's to run; None where there is none at the moment."""
        self._bury(self.slots())
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
        """Whether every trial asked for has ended."""
        found = self.slots()
        return len(found) == self._count and all(slot.finished for slot in found)

    def _bury(self, found: Sequence[Slot]) -> None:
        """Fail the running trials that have shown no sign of life for too long."""
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
            pass  # another worker was faster, or its own was alive after all

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
