"""A worker of a sweep: takes one trial after the other from the study until all have ended."""

import time
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from nas.jobs.events import Began, Ended, Left, Tell
from nas.jobs.processes import orphaned
from nas.sweeps.heartbeat import TAKEN_OVER, Heartbeat
from nas.sweeps.hparams import log_trial
from nas.sweeps.queue import Attribute, Slot
from nas.sweeps.ranking import best_so_far, chosen, figures
from nas.sweeps.study import Sweep
from nas.sweeps.trial import Outcome, State, Watch, run_trial

POLL = 0.5
"""Seconds between two looks at the study while others run its last trials."""


def work(sweep: Sweep, tell: Tell, parent: int | None = None) -> bool:
    """Run trials until every one asked for has ended, here or elsewhere.

    Args:
        sweep: what to do.
        tell: hears of each trial.
        parent: process without which this one is to stop; None for none.

    Returns:
        Whether all have ended; if not, the user has stopped this worker.
    """
    queue = sweep.queue()
    while True:
        slot = queue.take()
        if slot is not None:
            if not _run(sweep, slot, tell, parent):
                return False
        elif queue.done():
            return True
        elif orphaned(parent):
            return False
        else:
            time.sleep(POLL)


def _run(sweep: Sweep, slot: Slot, tell: Tell, parent: int | None) -> bool:
    """Run the trial of a slot that is this worker's; returns whether to go on with others."""
    config, number = sweep.plan.config, slot.number
    study = sweep.study_for(number)
    trial = optuna.Trial(study, slot.latest._trial_id)
    run = slot.latest.user_attrs.get(Attribute.RUN)
    try:
        with Heartbeat(sweep.storage, slot.latest._trial_id, config.sweep.heartbeat, parent) as beat:
            values = {option: allowed.suggest(trial, option) for option, allowed in sweep.plan.ranges.items()}
            tell(Began(number, chosen(values)))
            every = None if isinstance(study.pruner, optuna.pruners.NopPruner) else config.sweep.prune_every
            outcome = run_trial(
                config,
                values,
                sweep.plan.objectives,
                None if run is None else Path(run),
                lambda: Watch(trial, number, every, beat, tell),
                sweep.folder,
                number,
            )
    except BaseException:
        _give_back(study, trial)
        raise
    if outcome.state == State.STOPPED:
        _give_back(study, trial)
        tell(Left(number, outcome.reason))
        return outcome.reason == TAKEN_OVER
    ended = _tell(study, trial, outcome)
    log_trial(sweep.folder, number, ended, sweep.plan.objectives)
    tell(_ended(sweep, number, outcome))
    return True


def _tell(study: optuna.Study, trial: optuna.Trial, outcome: Outcome) -> FrozenTrial:
    """Write into the study how a trial ended; unless another worker has it, taking this one for dead."""
    notes = {State.COMPLETE: Attribute.FIGURES, State.PRUNED: Attribute.PRUNED, State.FAILED: Attribute.REASON}
    with suppress(UpdateFinishedTrialError):
        trial.set_user_attr(notes[outcome.state], outcome.figures or outcome.reason)
    states = {State.COMPLETE: TrialState.COMPLETE, State.PRUNED: TrialState.PRUNED, State.FAILED: TrialState.FAIL}
    values = outcome.values if outcome.state == State.COMPLETE else None
    return study.tell(trial, values, states[outcome.state], skip_if_finished=True)


def _give_back(study: optuna.Study, trial: optuna.Trial) -> None:
    """Let another worker, or this one another time, run the trial again: failed without a reason."""
    with suppress(UpdateFinishedTrialError):
        trial.set_user_attr(Attribute.LEFT, True)
    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


def _ended(sweep: Sweep, number: int, outcome: Outcome) -> Ended:
    objectives, measure = sweep.plan.objectives, sweep.plan.measure
    slots = sweep.slots()
    told = figures(outcome.values, objectives, measure) if outcome.values else f"{outcome.state}: {outcome.reason}"
    return Ended(number, told, sum(slot.finished for slot in slots), best_so_far(slots, objectives, measure))
