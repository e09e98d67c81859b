"""A worker of a sweep: takes one trial after the other from the queue until all are finished."""

import time
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from nas.jobs.events import Began, Ended, Released, Report
from nas.jobs.processes import orphaned
from nas.sweeps.heartbeat import TAKEN_OVER, Heartbeat
from nas.sweeps.hparams import log_trial
from nas.sweeps.queue import Attribute, Slot
from nas.sweeps.ranking import best_so_far, chosen, figures
from nas.sweeps.study import Sweep
from nas.sweeps.trial import Outcome, State, Watch, run_trial

POLL = 0.5
"""Seconds between two reads of the study while other workers run its last trials."""


def work(sweep: Sweep, report: Report) -> bool:
    """Run trials until every trial of the sweep is finished, by this worker or another.

    Args:
        sweep: the sweep and its study.
        report: called with the events of each trial.

    Returns:
        True if all trials are finished; False if the user has stopped this worker or the command is gone.
    """
    queue = sweep.queue()
    while True:
        slot = queue.take()
        if slot is not None:
            if not _run(sweep, slot, report):
                return False
        elif queue.done():
            return True
        elif orphaned():
            return False
        else:
            time.sleep(POLL)


def _run(sweep: Sweep, slot: Slot, report: Report) -> bool:
    """Run the trial of a slot that this worker has taken; return whether to continue with other trials."""
    config, number = sweep.plan.config, slot.number
    study = sweep.study_for(number)
    trial = optuna.Trial(study, slot.latest._trial_id)
    run = slot.latest.user_attrs.get(Attribute.RUN)
    try:
        with Heartbeat(sweep.storage, slot.latest._trial_id, config.sweep.heartbeat) as beat:
            values = {option: allowed.suggest(trial, option) for option, allowed in sweep.plan.ranges.items()}
            report(Began(number, chosen(values)))
            every = None if isinstance(study.pruner, optuna.pruners.NopPruner) else config.sweep.prune_every
            outcome = run_trial(
                config,
                values,
                sweep.plan.objectives,
                None if run is None else Path(run),
                lambda: Watch(trial, number, every, beat, report),
                sweep.folder,
                number,
            )
    except BaseException:
        _release(study, trial)
        raise
    if outcome.state == State.STOPPED:
        _release(study, trial)
        report(Released(number, outcome.reason))
        return outcome.reason == TAKEN_OVER
    ended = _record(study, trial, outcome)
    log_trial(sweep.folder, ended, sweep.plan.objectives)
    report(_ended(sweep, number, outcome))
    return True


def _record(study: optuna.Study, trial: optuna.Trial, outcome: Outcome) -> FrozenTrial:
    """Write the outcome of a trial to the study, unless another worker has taken the trial over; return the trial."""
    notes = {State.COMPLETE: Attribute.FIGURES, State.PRUNED: Attribute.PRUNED, State.FAILED: Attribute.REASON}
    with suppress(UpdateFinishedTrialError):
        trial.set_user_attr(notes[outcome.state], outcome.figures or outcome.reason)
    states = {State.COMPLETE: TrialState.COMPLETE, State.PRUNED: TrialState.PRUNED, State.FAILED: TrialState.FAIL}
    values = outcome.values if outcome.state == State.COMPLETE else None
    return study.tell(trial, values, states[outcome.state], skip_if_finished=True)


def _release(study: optuna.Study, trial: optuna.Trial) -> None:
    """Fail a trial without a reason, so that a worker runs it again."""
    with suppress(UpdateFinishedTrialError):
        trial.set_user_attr(Attribute.LEFT, True)
    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


def _ended(sweep: Sweep, number: int, outcome: Outcome) -> Ended:
    """Return the event for the end of a trial."""
    objectives, measure = sweep.plan.objectives, sweep.plan.measure
    slots = sweep.slots()
    text = figures(outcome.values, objectives, measure) if outcome.values else f"{outcome.state}: {outcome.reason}"
    return Ended(number, text, sum(slot.finished for slot in slots), best_so_far(slots, objectives, measure))
