"""The ledger's part on work: analyses, their stages, and the result objects that they made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ..errors import LedgerError
from .database import Database, typed
from .records import AnalysisRecord, EventKind, Outcome, ResultRecord, StageRecord, State
from .schema import analyses, results, stages, studies


def analysis_id(study: str, generation: str, result_identity: str) -> str:
    """The one name of an analysis, here and in the job engine: same images and same identity, same name."""
    return f"{study}/{generation}/{result_identity}"


class Analyses(Database):
    """What was made of the studies."""

    # ------------------------------------------------------------------ analyses
    def begin_analysis(
        self, study: str, generation: str, result_identity: str, *, up_to: int, retries: int = 0
    ) -> AnalysisRecord:
        """Take the images of a study up to arrival number `up_to` into an analysis; QUEUED where it is new.

        Idempotent: the same triple again is the same row; one that was superseded since becomes the newest again. The
        wishes of a person (completion, `retries`) are fulfilled by it.
        """
        name = analysis_id(study, generation, result_identity)
        with self._write() as connection:
            self._take_images(connection, study, up_to, retries)
            known = connection.execute(select(analyses.c.state).filter_by(id=name)).scalar()
            begun = {"state": State.QUEUED, "created_at": self._now(), "updated_at": self._now()}
            if known is None:
                key = {"id": name, "study_instance_uid": study, "generation": generation}
                connection.execute(insert(analyses).values(**key, result_identity=result_identity, **begun))
                self._note(connection, EventKind.STATE, f"{State.QUEUED}: the study is complete.", study=study)
            elif known in (State.SUPERSEDED, State.CANCELLED):
                connection.execute(update(analyses).filter_by(id=name).values(words="", **begun))
                self._note(connection, EventKind.STATE, f"{State.QUEUED}: taken up once more.", study=study)
            return analysis_of(connection, name)

    def images_add_nothing(self, study: str, *, up_to: int, retries: int = 0) -> None:
        """The images of a study up to arrival number `up_to` need no analysis; wishes of a person are fulfilled."""
        with self._write() as connection:
            self._take_images(connection, study, up_to, retries)

    def _take_images(self, connection: Connection, study: str, up_to: int, retries: int) -> None:
        row = update(studies).where(studies.c.study_instance_uid == study)
        taken = row.where(studies.c.assembled_seq <= up_to)
        connection.execute(taken.values(assembled_seq=up_to, complete_requested_at=None))
        connection.execute(row.where(studies.c.taken_retries < retries).values(taken_retries=retries))

    def set_state(self, analysis: str, state: State, words: str = "") -> None:
        """Move an analysis on; `words` say what it waits for, or why it ended so and what to do.

        A state that is already there with the same words writes nothing. Raises LedgerError for an unknown analysis.
        """
        with self._write() as connection:
            self._set_state(connection, analysis_of(connection, analysis), state, words)

    def _set_state(self, connection: Connection, before: AnalysisRecord, state: State, words: str) -> None:
        if (before.state, before.words) == (state, words):
            return
        row = update(analyses).filter_by(id=before.id)
        connection.execute(row.values(state=state, words=words, updated_at=self._now()))
        sentence = f"{state}: {words}" if words else str(state)
        self._note(connection, EventKind.STATE, sentence, study=before.study_instance_uid)

    def fail(self, study: str, *, up_to: int, attempt: str, words: str, retries: int = 0) -> None:
        """The node itself failed on a study: its newest analysis, or one made for this, is FAILED and can be retried.

        `up_to`: the images that were taken up; without this they would be taken up again at once, and fail again.
        """
        with self._write() as connection:
            newest = select(analyses).filter_by(study_instance_uid=study).order_by(analyses.c.created_at.desc())
            row = connection.execute(newest.limit(1)).mappings().first()
            latest = analysis_record(row) if row else None
            if latest is None or latest.state.is_final:
                now, name = self._now(), analysis_id(study, "none", attempt)
                connection.execute(
                    insert(analyses).values(
                        id=name,
                        study_instance_uid=study,
                        generation="none",
                        result_identity=attempt,
                        state=State.QUEUED,
                        created_at=now,
                        updated_at=now,
                    )
                )
                latest = analysis_of(connection, name)
            self._take_images(connection, study, up_to, retries)
            self._set_state(connection, latest, State.FAILED, words)

    def set_outcome(self, analysis: str, outcome: Outcome, facts: Mapping[str, Any], words: str = "") -> None:
        """What the analysis came to, and the facts that its result states (model, weights, inputs, score ...)."""
        with self._write() as connection:
            before = analysis_of(connection, analysis)
            document = json.dumps(facts, sort_keys=True, ensure_ascii=False)
            row = update(analyses).filter_by(id=before.id)
            connection.execute(row.values(outcome=outcome, facts=document, words=words, updated_at=self._now()))

    def analysis(self, analysis: str) -> AnalysisRecord:
        """Raises LedgerError for an unknown analysis."""
        with self._read() as connection:
            return analysis_of(connection, analysis)

    def analyses(self, study: str) -> tuple[AnalysisRecord, ...]:
        """Every analysis of a study, the oldest first."""
        with self._read() as connection:
            wish = select(analyses).filter_by(study_instance_uid=study).order_by(analyses.c.created_at, analyses.c.id)
            return tuple(analysis_record(row) for row in connection.execute(wish).mappings())

    def latest_analyses(self) -> dict[str, AnalysisRecord]:
        """StudyInstanceUID -> its newest analysis, for lists."""
        with self._read() as connection:
            rows = connection.execute(select(analyses).order_by(analyses.c.created_at, analyses.c.id)).mappings()
            return {row["study_instance_uid"]: analysis_record(row) for row in rows}

    def analyses_in(self, *states: State) -> tuple[AnalysisRecord, ...]:
        """Analyses in any of these states, the oldest first: for recovery and for metrics."""
        with self._read() as connection:
            wish = select(analyses).where(analyses.c.state.in_(states)).order_by(analyses.c.created_at, analyses.c.id)
            return tuple(analysis_record(row) for row in connection.execute(wish).mappings())

    # ------------------------------------------------------------------ stages
    def stage_started(self, analysis: str, stage: str, *, at: datetime | None = None) -> None:
        """The analysis is RUNNING in this stage; started again after a kill, it counts a further attempt.

        `at`: when it began, for the stage that runs before the analysis has its name.
        """
        with self._write() as connection:
            before, now = analysis_of(connection, analysis), at or self._now()
            again = update(stages).filter_by(analysis_id=analysis, stage=stage)
            again = again.values(attempts=stages.c.attempts + 1, started_at=now, ended_at=None, words="")
            if not connection.execute(again).rowcount:
                new = insert(stages).values(analysis_id=analysis, stage=stage, attempts=1, started_at=now)
                connection.execute(new)
            connection.execute(update(analyses).filter_by(id=analysis).values(stage=stage, updated_at=now))
            self._set_state(connection, before, State.RUNNING, "")

    def stage_ended(self, analysis: str, stage: str, words: str = "") -> None:
        """The stage is done, with its remarks."""
        with self._write() as connection:
            row = update(stages).filter_by(analysis_id=analysis, stage=stage)
            connection.execute(row.values(ended_at=self._now(), words=words))

    def stages(self, analysis: str) -> tuple[StageRecord, ...]:
        """The timeline of an analysis."""
        with self._read() as connection:
            wish = select(stages).filter_by(analysis_id=analysis).order_by(stages.c.started_at)
            return tuple(StageRecord(**row) for row in connection.execute(wish).mappings())

    # ------------------------------------------------------------------ results
    def record_result(self, result: ResultRecord) -> None:
        """A result object was made: from now on it is recognised when a PACS sends it back. Idempotent.

        Called before the first delivery; of a repeat the path and the time are kept: there it lies now.
        """
        with self._write() as connection:
            known = update(results).filter_by(sop_instance_uid=result.sop_instance_uid)
            if not connection.execute(known.values(path=result.path, created_at=result.created_at)).rowcount:
                columns = {column.name: getattr(result, column.name) for column in results.columns}
                connection.execute(insert(results).values(columns))

    def results(self, analysis: str) -> tuple[ResultRecord, ...]:
        """The result objects of an analysis, in order of their kind."""
        with self._read() as connection:
            wish = select(results).filter_by(analysis_id=analysis).order_by(results.c.kind, results.c.sop_instance_uid)
            return tuple(ResultRecord(**row) for row in connection.execute(wish).mappings())


def analysis_record(row: Any) -> AnalysisRecord:
    return AnalysisRecord(**typed(row, state=State, outcome=Outcome))


def analysis_of(connection: Connection, analysis: str) -> AnalysisRecord:
    row = connection.execute(select(analyses).filter_by(id=analysis)).mappings().first()
    if row is None:
        raise LedgerError(f"The ledger has no analysis {analysis}.", remedy="`mome-node jobs list` names them.")
    return analysis_record(row)
