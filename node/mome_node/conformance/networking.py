"""Chapters 1 and 4: which classes and roles, who may call whom, what is negotiated, what is answered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind  # type: ignore[attr-defined]

from .. import __version__
from ..delivery import association, storage_scu
from ..jobs.processes import DELIVERIES_AT_ONCE
from ..receive import admission, storage_scp, study_assembly
from ..settings import Destination, Settings
from .markdown import table
from .result_objects import result_objects

ANSWERS: Mapping[int, tuple[str, str]] = {
    admission.SUCCESS: (
        "Success",
        "The object is on disk and in the ledger. Also for an object that came before: with the same content, or with "
        "another header and the same pixels, in which case the first is kept and used and the difference noted.",
    ),
    admission.PROCESSING_FAILURE: ("Processing failure", "The node failed. Its log says where. Send it again."),
    admission.DUPLICATE: (
        "Duplicate SOP Instance",
        "Other content under a known SOP Instance UID. The first is kept and used, this one is put aside.",
    ),
    admission.OUT_OF_RESOURCES: (
        "Refused: out of resources",
        "Too little room on the disk of the spool (`receiver.reserve_mb`), or an object larger than "
        "`receiver.max_object_mb`.",
    ),
    admission.MISMATCH: (
        "Error: data set does not match SOP class",
        "The data set has another SOP Class UID or SOP Instance UID than the command.",
    ),
    admission.CANNOT_UNDERSTAND: (
        "Error: cannot understand",
        "The data set is cut short, cannot be parsed, or lacks a valid SOP Class, SOP Instance, Study Instance or "
        "Series Instance UID.",
    ),
}
"""What the Storage SCP answers -> name (PS3.4 Table B.2-1), when."""

REJECTIONS: Mapping[tuple[int, int, int], str] = {
    storage_scp.CALLED_UNKNOWN: "Called AE title not recognised: it is not this node's.",
    storage_scp.CALLING_UNKNOWN: "Calling AE title not recognised: it is not listed, or calls from another address.",
    storage_scp.LIMIT_EXCEEDED: "Local limit exceeded: too many associations, in all or from this address.",
    storage_scp.CONGESTION: "Temporary congestion: the node could not judge the request.",
}
"""(result, source, diagnostic) of the A-ASSOCIATE-RJ that this node sends (PS3.8 9.3.4) -> when."""

GENERIC = {0xA700: "A7xx", 0xA900: "A9xx", 0xC000: "Cxxx"}  # statuses that stand for a range (PS3.4 Table B.2-1)
FINAL_RANGES = {0xA900, 0xC000}


def facts(settings: Settings) -> dict[str, object]:
    """What the statement says of associations, by the names in `statement.md`."""
    receiver = settings.receiver
    return {
        "installation": settings.name,
        "mode": settings.mode,
        "version": __version__,
        "overview": _overview(settings),
        "starting_classes": ", ".join(UID(uid).name for uid in sorted(study_assembly.MR_IMAGES)),
        "never_selected": ", ".join(sorted(study_assembly.NEVER_SELECTED)),
        "quiet_s": f"{settings.assembly.quiet_s:g}",
        "longest_hold_min": f"{study_assembly.LONGEST_HOLD.total_seconds() / 60:g}",
        "implementation": _implementation(),
        "host": receiver.host,
        "open_peers": _open_peers(settings),
        "addresses": _addresses(settings),
        "destinations": _destinations(settings),
        "parameters": _parameters(settings),
        **_of_the_receiver(settings),
        **_of_the_sender(settings),
    }


def _of_the_receiver(settings: Settings) -> dict[str, object]:
    receiver = settings.receiver
    return {
        "scp_pdu": storage_scp.MAXIMUM_PDU,
        "max_associations": receiver.max_associations,
        "max_associations_per_peer": receiver.max_associations_per_peer,
        "artim_s": f"{storage_scp.ARTIM_S:g}",
        "idle_s": f"{receiver.idle_timeout_s:g}",
        "scp_rejections": table(
            ("Result", "Source", "Diagnostic", "When"), [(*codes, words) for codes, words in sorted(REJECTIONS.items())]
        ),
        "scp_classes": _classes([storage_scp.VERIFICATION, *accepted(settings)], "SCP"),
        "scp_syntaxes": _syntaxes(storage_scp.TRANSFER_SYNTAXES),
        "scp_statuses": table(
            ("Status", "Meaning", "When"), [(f"{status:04X}", *words) for status, words in sorted(ANSWERS.items())]
        ),
    }


def _of_the_sender(settings: Settings) -> dict[str, object]:
    rejections = [
        (*codes, meaning.format(own="of this node")) for codes, (meaning, _) in sorted(association.REJECTIONS.items())
    ]
    return {
        "scu_pdu": association.MAXIMUM_PDU,
        "deliveries": DELIVERIES_AT_ONCE,
        "retries": _retries(settings.destinations),
        "scu_rejections": table(("Source", "Diagnostic", "Meaning"), rejections),
        "scu_classes": _classes([*sent(), storage_scu.VERIFICATION, StudyRootFind], "SCU"),
        "scu_syntaxes": _syntaxes(association.UNCOMPRESSED),
        "scu_statuses": table(("Status", "Meaning", "Then"), sent_statuses()),
    }


# ------------------------------------------------------------------ classes and syntaxes
def accepted(settings: Settings) -> list[str]:
    """SOP classes that the receiver stores."""
    return list(dict.fromkeys([*storage_scp.STORAGE_CLASSES, *settings.receiver.extra_storage_classes]))


def sent() -> list[str]:
    """SOP classes of the objects that the sender sends."""
    return sorted({uid for one in result_objects().values() for uid in one.sop_classes})


def _overview(settings: Settings) -> str:
    stored, made = accepted(settings), sent()
    rows = [(_name(uid), uid, "yes" if uid in made else "no", "yes") for uid in stored]
    rows += [(_name(uid), uid, "yes", "no") for uid in made if uid not in stored]
    rows.append((_name(storage_scp.VERIFICATION), storage_scp.VERIFICATION, "yes", "yes"))
    rows.append((_name(StudyRootFind), StudyRootFind, "yes", "no"))
    return table(("SOP class", "UID", "User of the service (SCU)", "Provider of the service (SCP)"), rows)


def _classes(classes: Iterable[str], role: str) -> str:
    return table(("Abstract syntax", "SOP Class UID", "Role"), [(_name(uid), uid, role) for uid in classes])


def _syntaxes(syntaxes: Iterable[str]) -> str:
    return table(("Transfer syntax", "UID"), [(UID(uid).name, uid) for uid in syntaxes])


def _name(uid: str) -> str:
    name = UID(uid).name
    return "added by this site" if name == uid else name


def _implementation() -> str:
    ae = AE()
    return (
        f"Implementation Class UID {ae.implementation_class_uid}, "
        f"Implementation Version Name {ae.implementation_version_name} (the DICOM library's)."
    )


# ------------------------------------------------------------------ what is answered
def sent_statuses() -> list[tuple[str, str, str]]:
    """Status of a C-STORE response, its meaning, and what the sender does on it."""
    stored, warned = "delivered", "delivered; the warning is written into the history"
    rows = [("0000", "Success", stored), (f"{storage_scu.DUPLICATE:04X}", "Duplicate SOP Instance", stored)]
    rows += [(f"{status:04X}", "Warning", warned) for status in sorted(storage_scu.WARNINGS)]
    rows.append(("Bxxx", "Warning", warned))
    for status, meaning in storage_scu.REFUSALS.items():
        rows.append((GENERIC.get(status, f"{status:04X}"), meaning[:1].upper() + meaning[1:], _then(status)))
    return [*sorted(rows), ("other", "Refused", "tried again")]


def _then(status: int) -> str:
    """What the sender does on a refusal."""
    if status == storage_scu.CLASS_NOT_SUPPORTED:
        return "failed for good, or sent in a plainer class"
    return "failed for good" if status in storage_scu.FINAL or status in FINAL_RANGES else "tried again"


def _retries(destinations: Iterable[Destination]) -> str:
    rows = [
        (one.name, f"{one.answer_timeout_s:g} s", f"{one.retry_first_s:g} s", f"{one.retry_longest_s:g} s",
         f"{one.retry_for_h:g} h")
        for one in destinations
    ]  # fmt: skip
    header = ("Destination", "Time-out of an answer", "First wait, then doubled", "Longest wait", "Given up after")
    return table(header, rows or [("none is configured", *["-"] * 4)])


# ------------------------------------------------------------------ this site
def _open_peers(settings: Settings) -> str:
    if not settings.peers:
        return "No peer is configured: nobody is accepted."
    anywhere = [peer.ae_title for peer in settings.peers if not peer.addresses]
    return f"Accepted from any address: {', '.join(anywhere)}." if anywhere else "Each is bound to addresses."


def _addresses(settings: Settings) -> str:
    receiver = settings.receiver
    rows: list[tuple[str, str, str]] = [("Storage SCP AE", receiver.ae_title, f"{receiver.host}:{receiver.port}")]
    rows.append(("Result SCU AE (calling)", receiver.ae_title, "any port"))
    rows += [("Peer that may call", p.ae_title, ", ".join(p.addresses) or "any address") for p in settings.peers]
    rows += [(f"Destination {d.name} ({d.kind})", d.ae_title, f"{d.host}:{d.port}") for d in settings.destinations]
    return table(("Application entity", "AE title", "Address"), rows)


def _destinations(settings: Settings) -> str:
    rows = [
        (one.name, one.kind, one.shown_advice, one.language or settings.results.language, one.report, one.overlay,
         ", ".join(one.further_objects) or "none", one.failures_per_hour, f"{one.withdrawal_check_after_s:g} s")
        for one in settings.destinations
    ]  # fmt: skip
    header = ("Destination", "Kind", "Advice", "Language", "Report", "Overlay", "Further objects",
              'Reports "not analysed" in an hour', "Question after a rejection note")  # fmt: skip
    return table(header, rows or [("none is configured", *["-"] * 8)])


def _parameters(settings: Settings) -> str:
    receiver = settings.receiver
    rows = [
        ("Largest object accepted", "receiver.max_object_mb", f"{receiver.max_object_mb} MB"),
        ("Free disk kept in reserve", "receiver.reserve_mb", f"{receiver.reserve_mb} MB"),
        ("Idle time-out of an association", "receiver.idle_timeout_s", f"{receiver.idle_timeout_s:g} s"),
        ("Associations at one time", "receiver.max_associations", receiver.max_associations),
        ("Associations from one address", "receiver.max_associations_per_peer", receiver.max_associations_per_peer),
        ("Further SOP classes accepted", "receiver.extra_storage_classes",
         ", ".join(receiver.extra_storage_classes) or "none"),
        ("Silence that ends a study", "assembly.quiet_s", f"{settings.assembly.quiet_s:g} s"),
        ("Mode", "mode", settings.mode),
        ("Language of the results", "results.language", settings.results.language),
    ]  # fmt: skip
    return table(("Parameter", "Key of the configuration", "Value"), rows)
