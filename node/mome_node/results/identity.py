"""Who a result object is: its UIDs, made from what the result was made of.

The same work done twice gives the same UIDs; anything that changes numbers or words gives others. Archives keep the
old content silently when an object comes again under its old UID, so this is the only way to correct a result.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..findings import Findings

RESULT_SCHEMA = 2
"""Raised by a developer whenever the layout or the content of the objects changes within a software version."""


@dataclass(frozen=True, slots=True)
class ResultIdentity:
    """What the UIDs of one set of result objects derive from."""

    work: str  # SHA-256, hexadecimal, of everything that shapes the result
    weights_sha256: str

    def uid(self, kind: str) -> str:
        """A UID of the form 2.25.<UUID> (PS3.5 B.2) for `kind`: "sr/series", "sr/instance", "sc/series", "device", ...

        "device" identifies the algorithm and derives from the weights alone: the same in every study (IHE AIR: it
        changes when the model changes).
        """
        return derived_uid(self.weights_sha256 if kind == "device" else self.work, kind)

    @property
    def short(self) -> str:
        """Eight characters that a person can read out on the telephone."""
        return self.work[:8].upper()

    def worded(self, vocabulary_sha256: str) -> ResultIdentity:
        """The identity of the same result in certain words."""
        return replace(self, work=_sha256([self.work, vocabulary_sha256]))


def derived_uid(root: str, kind: str) -> str:
    """A UID of the form 2.25.<UUID> (PS3.5 B.2) of what is of this `kind` and made of `root`."""
    digest = hashlib.sha256(f"{kind}\n{root}".encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def of_withdrawal(weights_sha256: str, objects: Sequence[str], name: str) -> ResultIdentity:
    """Identity of what takes back `objects` (SOP Instance UIDs); another `name` is another withdrawal."""
    return ResultIdentity(_sha256(["withdrawal", sorted(objects), name]), weights_sha256)


def derive_identity(
    findings: Findings,
    inputs: Sequence[str],
    settings_hash: str,
    variant: str = "default",
    withdrawals: int = 0,
) -> ResultIdentity:
    """Identity of the results of `findings`, made from the MR images `inputs` (SOP Instance UIDs, in any order).

    `settings_hash`: of the settings that shape a result, and of nothing else (no AE titles, ports, paths).
    `variant`: of the destination. `withdrawals`: how often a result of this study was withdrawn so far; an archive
    that hid an object must not take its UID again (IHE IOCM).
    """
    work = _sha256(
        [
            sorted(set(inputs)),
            findings.model.weights_sha256,
            findings.software,
            [RESULT_SCHEMA, findings.schema_version],
            findings.model.device,
            settings_hash,
            variant,
            withdrawals,
            _content(findings),
        ]
    )
    return ResultIdentity(work, findings.model.weights_sha256)


def _content(findings: Findings) -> str:
    """Every word and rounded number of the findings, without the moment they were made: that may differ on a repeat."""
    return replace(findings, created="").to_json()


def _sha256(parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
