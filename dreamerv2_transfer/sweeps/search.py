"""The search of a sweep: what Optuna draws and is told, in a file that survives.

`study.journal` is a line of JSON for each thing that happened. A kill may cut the last
one off, which then has not happened.
"""

from __future__ import annotations

import importlib
import pathlib
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from dreamerv2_transfer.common import foreign
from dreamerv2_transfer.common.errors import UserError, describe
from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.sweeps.plan import Plan

if TYPE_CHECKING:
    import optuna
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial, Trial

FILE = "study.journal"
START = b'{"op_code"'  # Of each line.
NAME = "dreamerv2_transfer sweep"
DEFINITION = "definition"  # Of the study's attributes.
POINTS = 20  # Points of a learning curve at which trials are compared.
UNPRUNED = 5  # Trials that are never pruned: the first that are complete.
SPARED = POINTS // 4  # Points at the start of a trial at which it is never pruned.
PRUNERS = ("median", "halving", "none")


class SweepError(UserError):
    """A sweep that cannot start, belongs to another one, or whose trials fail."""


class Search:
    """The trials of a sweep.

    The folder has to be locked. What a trial draws depends on the seed, its number and
    the results until then, and not on how often the sweep was stopped.

    Args:
        plan: The sweep.
        pruner: One of `PRUNERS`.

    Attributes:
        study: Optuna's own.

    Raises:
        SweepError: Optuna is not installed, or the file is damaged, or belongs to
            another sweep or project.
    """

    def __init__(self, plan: Plan, pruner: str = "median"):
        self._plan = plan
        self._optuna = load_optuna()
        self._path = plan.logdir / FILE
        storage = self._open()
        try:
            self.study = self._load(storage, self._make_pruner(pruner))
        except UserError:
            raise
        except Exception as error:  # Another project's content may raise anything.
            raise self._not_ours(describe(error)) from error
        if plan.baseline is not None and not self.trials:
            self.study.enqueue_trial(dict(plan.baseline))

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials so far."""
        return self.study.get_trials(deepcopy=False)

    @property
    def ended(self) -> list[FrozenTrial]:
        """The trials that are complete, pruned or failed."""
        return [trial for trial in self.trials if trial.state.is_finished()]

    @property
    def best(self) -> FrozenTrial | None:
        """The best complete trial; None if there is none."""
        complete = self._optuna.trial.TrialState.COMPLETE
        known = [trial for trial in self.trials if trial.state == complete]
        sign = -1 if self._plan.objective.minimize else 1
        return max(known, key=lambda trial: sign * trial.value, default=None)

    def interrupted(self) -> list[Trial]:
        """Returns the trials that an earlier process had begun, to be resumed."""
        found = []
        for trial in self.trials:
            if trial.state == self._optuna.trial.TrialState.RUNNING:
                self.study.sampler = self._sampler(trial.number)
                number = foreign.trial_id(trial)
                begun = self._optuna.trial.Trial(self.study, number)
                found.append(self._drawn(begun))
        return found

    def ask(self) -> Trial:
        """Begins the next trial."""
        self.study.sampler = self._sampler(len(self.trials))
        return self._drawn(self.study.ask())

    def tell(self, trial: Trial, state: str, value: float | None = None) -> None:
        """Ends a trial.

        Args:
            trial: The trial.
            state: `COMPLETE`, `PRUNED` or `FAIL`.
            value: The value of a complete one.
        """
        self.study.tell(trial, value, self._optuna.trial.TrialState[state])

    def importances(self) -> dict[str, float]:
        """Returns the share of each parameter in how good trials differ from others.

        Empty where too few trials are complete to tell.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # That there are too few.
            try:
                found = self._optuna.importance.get_param_importances(self.study)
            except (ValueError, RuntimeError):
                return {}
        return found if len({*found.values()}) > 1 else {}

    def _drawn(self, trial: Trial) -> Trial:
        """Returns a trial with all of its parameters; a kill may have lost some."""
        for parameter in self._plan.space.parameters:
            parameter.suggest(trial)
        return trial

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        entropy = np.random.SeedSequence([*self._plan.seeds, number])
        return self._optuna.samplers.TPESampler(
            seed=int(entropy.generate_state(1)[0]), multivariate=True
        )

    def _make_pruner(self, name: str) -> BasePruner:
        pruners = self._optuna.pruners
        if name == "none":
            return pruners.NopPruner()
        if name == "halving":
            return pruners.SuccessiveHalvingPruner(SPARED, 2)
        return pruners.MedianPruner(UNPRUNED, n_warmup_steps=SPARED)

    def _open(self) -> optuna.storages.BaseStorage:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

        class FolderIsLocked(JournalFileOpenLock):
            """A lock that does nothing; a kill would leave Optuna's own behind."""

            def acquire(self) -> bool:
                return True

            def release(self) -> None:
                pass

        with atomic.writing(self._path):
            if self._path.exists() and not _is_journal(self._path):
                raise self._not_ours("it is no journal of Optuna")
            lock = FolderIsLocked(str(self._path))
            backend = JournalFileBackend(str(self._path), lock_obj=lock)
        try:
            return JournalStorage(backend)
        except Exception as error:  # It trusts the file.
            raise self._not_ours(describe(error)) from error

    def _load(
        self, storage: optuna.storages.BaseStorage, pruner: BasePruner
    ) -> optuna.Study:
        """Opens the study of the sweep, or creates it."""
        names = [study.study_name for study in storage.get_all_studies()]
        if names not in ([], [NAME]):
            raise self._not_ours(f"it holds the study {', '.join(names)}")
        _cut(self._path)
        study = self._optuna.create_study(
            storage=storage,
            study_name=NAME,
            direction="minimize" if self._plan.objective.minimize else "maximize",
            pruner=pruner,
            load_if_exists=True,
        )
        ours = self._plan.definition()
        if not study.trials:  # A sweep that has tried nothing may still change.
            study.set_user_attr(DEFINITION, ours)
        theirs = study.user_attrs.get(DEFINITION, {})
        if changed := _changes(theirs, ours):
            raise SweepError(
                f"{self._plan.logdir} belongs to another sweep: {'; '.join(changed)}. "
                "Repeat its options to resume it, or choose another --logdir."
            )
        return study

    def _not_ours(self, reason: str) -> SweepError:
        return SweepError(
            f"{self._path} is not the study of a sweep: {reason}. Choose another "
            "--logdir, or remove the file."
        )


def load_optuna() -> Any:
    """Imports Optuna, which then says warnings alone.

    Raises:
        SweepError: It is not installed.
    """
    try:
        optuna = importlib.import_module("optuna")
    except ImportError as error:
        raise SweepError(
            "A sweep needs Optuna, which is not installed. Install it with "
            "pip install '.[sweep]'."
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    return optuna


def _is_journal(path: pathlib.Path) -> bool:
    """Whether a file begins as a journal; a kill may have left a part of a line."""
    with open(path, "rb") as file:
        return START.startswith(file.read(len(START)))


def _cut(path: pathlib.Path) -> None:
    """Removes the end of a file after its last whole line."""
    with open(path, "r+b") as file:
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)


def _changes(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list:
    """Returns how a definition differs from an earlier one, in texts."""
    found = []
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _changes(old, new, f"{prefix}{key} ")
        elif old != new:
            found.append(f"{prefix}{key} was {old or 'not'} and is {new or 'not'} now")
    return found
