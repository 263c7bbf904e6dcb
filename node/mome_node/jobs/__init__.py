"""The durable workflows. The only package that knows the job engine (DBOS); it decides nothing about medicine.

The ledger is the outbox: reception writes what came, people write what they wish, and the orchestrator reads both once
a second and enqueues, idempotently, under names that say what the work is. Every step can be killed and run again:

    study/<job>       take up -> group ... conclude, write -> open deliveries                   (studies)
    compute/<job>     the model, on a worker                                                    (studies)
    deliver/<analysis>/<destination>/<opened>    send, wait, send again, for days               (deliveries)
    withdraw/<analysis>/<destination>/<opened>   rejection note, has the PACS hidden it? if not, a page says so
                                                                                                (withdrawals)

A job is named <study>/<images up to>/<withdrawals>/<retries>: the same work has the same name, and is done once.

Arguments and results of steps are names and numbers; no pixels and no patient data enter the engine.
"""

from __future__ import annotations

from .processes import orchestrate, work

__all__ = ["orchestrate", "work"]
