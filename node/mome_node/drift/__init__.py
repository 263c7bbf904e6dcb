"""The drift watch: does a scanner still deliver what the model knows? For who runs the node, never for a report.

    observations in the ledger -> assessment -> words (table, digest, alarm) and metrics

`exact` and `comparing` are the statistics, on plain numbers; `assessment` applies them to every scanner; `keeping`
records and writes while the node runs. docs/drift.md
"""

from __future__ import annotations
