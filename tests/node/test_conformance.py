"""The conformance statement says what the node does: held against the running receiver, the sender and real objects.

A PACS administrator configures the other side from this text; what is wrong in it fails on the day of the installation.
"""

from __future__ import annotations

import re
import threading
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import (
    AsynchronousOperationsWindowNegotiation,
    SCP_SCU_RoleSelectionNegotiation,
    UserIdentityNegotiation,
)
from pynetdicom.transport import ThreadedAssociationServer

from mome_node import settings
from mome_node.cli import main
from mome_node.conformance import networking, statement, terminology
from mome_node.conformance.result_objects import result_objects
from mome_node.delivery import query, storage_scu
from mome_node.receive import admission, storage_scp
from mome_node.results.objects import COPIED_IF_PRESENT, save
from mome_node.settings import Destination, Peer, Receiver, Settings
from mome_node.shipped import shipped
from tests.node.peers import NODE, SCANNER, ReceiverProcess
from tests.node.result_objects import VOCABULARY, every_object

PLACE = Path(__file__).parents[2] / "docs" / "conformance.md"
EXAMPLE = Settings.model_validate(tomllib.loads(settings.example()))
UIDS = re.compile(r"\| (1\.2\.840\.[\d.]+) \|")


@pytest.fixture(scope="module")
def text() -> str:
    return statement(EXAMPLE)


def section(text: str, number: str) -> str:
    """From the heading with this number to the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(number)} .*?(?=^#)", text, re.MULTILINE | re.DOTALL)
    assert found, number
    return found[0]


def tables(text: str) -> list[str]:
    return re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)


def listed(table: str) -> set[str]:
    return set(UIDS.findall(table))


# ------------------------------------------------------------------ the document
def test_the_shipped_statement_is_that_of_today(text: str) -> None:
    """docs/conformance.md is `mome-node --config config/node.example.toml conformance --out docs/conformance.md`."""
    assert PLACE.read_text(encoding="utf-8") == text, "write docs/conformance.md again with the command above"


def test_the_command_writes_it(tmp_path: Path, text: str) -> None:
    out, config = tmp_path / "conformance.md", str(shipped("config") / "node.example.toml")
    assert CliRunner().invoke(main, ["--config", config, "conformance", "--out", str(out)]).exit_code == 0
    assert out.read_text(encoding="utf-8") == text


def test_every_heading_is_in_the_contents_and_in_order(text: str) -> None:
    """Chapters as PS3.2 numbers them: who reads many of these looks for 4.2 and for 8.1."""
    chapters = re.findall(r"^## (\d) (.+)$", text, re.MULTILINE)
    assert chapters == [
        ("1", "Conformance statement overview"), ("2", "Table of contents"), ("3", "Introduction"),
        ("4", "Networking"), ("5", "Media interchange"), ("6", "Support of character sets"), ("7", "Security"),
        ("8", "Annexes"),
    ]  # fmt: skip
    numbers = re.findall(r"^#{3,5} ([\d.]+) ", text, re.MULTILINE)
    assert numbers == sorted(numbers, key=lambda number: [int(part) for part in number.split(".")])
    for title in re.findall(r"^#{2,4} (.+)$", text, re.MULTILINE):
        assert f"- [{title}](#" in text


def test_it_is_of_the_configuration() -> None:
    """Another site, another statement: titles, addresses, limits and further classes are those in force."""
    mine = Settings(
        receiver=Receiver(ae_title="BREASTAI", port=11113, max_associations=7, extra_storage_classes=("1.2.3.4.5",)),
        peers=(Peer(ae_title="ANYWHERE"), Peer(ae_title="MR1", addresses=("10.1.2.3",))),
        destinations=(Destination(name="archive", ae_title="VNA", host="vna.example", port=104, retry_for_h=5,
                                  further_objects=("segmentation",)),),
    )  # fmt: skip
    text = statement(mine)
    assert "1.2.3.4.5" in section(text, "4.2.1.3")
    for words in ("BREASTAI", "127.0.0.1:11113", "VNA", "vna.example:104", "10.1.2.3"):
        assert words in section(text, "4.4.1")
    assert "At most 7 associations" in section(text, "4.2.1.1")
    assert "| archive | 30 s | 30 s | 900 s | 5 h |" in section(text, "4.2.2.1")
    assert "| segmentation |" in section(text, "4.4.2")
    assert "Accepted from any address: ANYWHERE." in section(text, "7.2")


# ------------------------------------------------------------------ the receiver
def associated(
    receiver: ReceiverProcess, contexts: Iterable[tuple[str, str]], items: Iterable[object] = ()
) -> Association:
    """An association with one context for each (abstract, transfer syntax); 128 at most (PS3.8 9.3.2.2)."""
    ae = AE(ae_title=SCANNER)
    proposed = [build_context(abstract, transfer) for abstract, transfer in contexts]
    peer = ae.associate("127.0.0.1", receiver.port, contexts=proposed, ae_title=NODE, ext_neg=list(items))
    assert peer.is_established
    return peer


def accepted(receiver: ReceiverProcess, contexts: list[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which of them are accepted; (MR, Explicit VR) is proposed beside, for an association needs one."""
    found = set()
    for start in range(0, len(contexts), 120):
        peer = associated(receiver, [(MRImageStorage, ExplicitVRLittleEndian), *contexts[start : start + 120]])
        _, *others = sorted([*peer.accepted_contexts, *peer.rejected_contexts], key=lambda context: context.context_id)
        found |= {
            (str(context.abstract_syntax), str(context.transfer_syntax[0])) for context in others if context.result == 0
        }
        peer.release()
    return found


def of_type(kind: str) -> list[str]:
    return [uid for uid, (_, found, *_) in UID_dictionary.items() if found == kind]


@pytest.mark.system
def test_the_running_receiver_accepts_what_is_listed_and_nothing_else(receiver: ReceiverProcess, text: str) -> None:
    """Every SOP class and every transfer syntax of the standard is proposed once."""
    classes, syntaxes, _ = tables(section(text, "4.2.1.3"))
    every = [(uid, ExplicitVRLittleEndian) for uid in of_type("SOP Class")]
    assert {abstract for abstract, _ in accepted(receiver, every)} == listed(classes)
    ways = [(MRImageStorage, uid) for uid in of_type("Transfer Syntax")]
    assert {transfer for _, transfer in accepted(receiver, ways)} == listed(syntaxes)


@pytest.mark.system
def test_the_running_receiver_answers_no_extensions(receiver: ReceiverProcess, text: str) -> None:
    """It says how long its PDUs are and who it is, as the statement has it, and nothing of roles, windows or users."""
    window, user, role = (
        AsynchronousOperationsWindowNegotiation(), UserIdentityNegotiation(), SCP_SCU_RoleSelectionNegotiation()
    )  # fmt: skip
    window.maximum_number_operations_invoked = window.maximum_number_operations_performed = 5
    user.user_identity_type, user.primary_field, user.positive_response_requested = 1, b"somebody", True
    role.sop_class_uid, role.scu_role, role.scp_role = MRImageStorage, True, True
    peer = associated(receiver, [(MRImageStorage, ExplicitVRLittleEndian)], [window, user, role])
    answer = peer.acceptor.primitive
    assert answer is not None
    said = {type(one).__name__: one for one in answer.user_information}
    assert set(said) == {
        "MaximumLengthNotification", "ImplementationClassUIDNotification", "ImplementationVersionNameNotification"
    }  # fmt: skip
    policies = section(text, "4.2.1.1")
    assert f"PDU: {said['MaximumLengthNotification'].maximum_length_received} bytes" in policies
    assert said["ImplementationClassUIDNotification"].implementation_class_uid in policies
    assert said["ImplementationVersionNameNotification"].implementation_version_name in policies
    peer.release()


def test_every_answer_of_the_receiver_is_explained(text: str) -> None:
    """A status that comes up in somebody's log is looked up here."""
    answers = {name: value for name, value in vars(admission).items() if name.isupper() and isinstance(value, int)}
    assert set(networking.ANSWERS) == set(answers.values())
    refusals = {value for value in vars(storage_scp).values() if isinstance(value, tuple) and _is_rejection(value)}
    assert set(networking.REJECTIONS) == refusals
    for status in answers.values():
        assert f"| {status:04X} |" in section(text, "4.2.1.3")


def _is_rejection(value: tuple[object, ...]) -> bool:
    return len(value) == 3 and all(isinstance(part, int) for part in value)


# ------------------------------------------------------------------ the sender
@pytest.mark.parametrize(("status", "behaviour"), [(row[0], row[2]) for row in networking.sent_statuses()])
def test_the_sender_does_on_a_status_what_the_table_says(status: str, behaviour: str) -> None:
    """Delivered or not, and tried again or not."""
    answer = Dataset()
    answer.Status = 0x0123 if status == "other" else int(status.replace("x", "1"), 16)
    one = storage_scu._Object(Path("report.dcm"), "1.2", "1.3", ExplicitVRLittleEndian)
    outcome = storage_scu._judged(one, answer, "PACS")
    assert outcome.sent == behaviour.startswith("delivered")
    assert bool(outcome.words) == (behaviour != "delivered" or status == "0111")
    if not outcome.sent:
        assert outcome.final == behaviour.startswith("failed for good")
        assert outcome.class_refused == ("plainer class" in behaviour)


@contextmanager
def listening_pacs() -> Iterator[tuple[Destination, dict[str, set[str]]]]:
    """A PACS that takes everything, and what was proposed to it: abstract syntax -> transfer syntaxes."""
    ae, proposed = AE(ae_title="PACS"), defaultdict(set)
    for uid in of_type("SOP Class"):
        ae.add_supported_context(uid, [ExplicitVRLittleEndian])

    def note(event: Event) -> None:
        for context in event.assoc.requestor.primitive.presentation_context_definition_list:
            proposed[str(context.abstract_syntax)] |= {str(syntax) for syntax in context.transfer_syntax}

    def nothing(event: Event) -> Iterator[tuple[int, None]]:
        yield 0x0000, None

    handlers = [(evt.EVT_REQUESTED, note), (evt.EVT_C_STORE, lambda event: 0), (evt.EVT_C_FIND, nothing)]
    server = ae.make_server(("127.0.0.1", 0), evt_handlers=handlers, server_class=ThreadedAssociationServer)
    ae._servers.append(server)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=server.server_address[1]), proposed
    finally:
        server.shutdown()


@pytest.mark.system
def test_the_sender_proposes_what_is_listed(tmp_path: Path, text: str) -> None:
    """One object of every class is sent, the PACS is asked and greeted: no context is missing and none too many."""
    paths = []
    for sop_class, ds in {str(ds.SOPClassUID): ds for _, ds in every_object()}.items():
        paths.append(tmp_path / f"{sop_class}.dcm")
        save(ds, paths[-1])
    with listening_pacs() as (destination, proposed):
        assert all(one.sent for one in storage_scu.send(destination, paths, NODE))
        storage_scu.echo(destination, NODE)
        query.shown(destination, "1.2", ["1.3"], NODE)
    classes, syntaxes, _ = tables(section(text, "4.2.2.2"))
    assert set(proposed) == listed(classes)
    assert set.union(*proposed.values()) == set.intersection(*proposed.values()) == listed(syntaxes)


# ------------------------------------------------------------------ the objects
def by_kind() -> Mapping[str, list[Dataset]]:
    found: dict[str, list[Dataset]] = defaultdict(list)
    for kind, ds in every_object():
        found[kind].append(ds)
    return found


def is_whole(keyword: str) -> bool:
    """Sequences whose items the tables do not take apart: codes, content, and what is copied as it is."""
    return keyword.endswith("CodeSequence") or keyword == "ContentSequence" or keyword in COPIED_IF_PRESENT


def levels(ds: Dataset, path: str = "") -> Iterator[tuple[str, Dataset]]:
    """The data set and the items within it, with the keywords around them."""
    yield path, ds
    for element in ds:
        if element.VR == "SQ" and not is_whole(element.keyword):
            for item in element.value:
                yield from levels(item, f"{path}{element.keyword}.")


def presence(objects: Iterable[Dataset]) -> Mapping[str, str]:
    """Path of every attribute that one of them has -> ALWAYS, VNAP, ANAP or EMPTY, as PS3.2 means them."""
    around: dict[str, list[Dataset]] = defaultdict(list)
    for ds in objects:
        for path, level in levels(ds):
            around[path].append(level)
    found = {}
    for path, items in around.items():
        for keyword in {element.keyword for item in items for element in item}:
            having = [item for item in items if keyword in item]
            empty = sum(item[keyword].is_empty for item in having)
            found[f"{path}{keyword}"] = (
                "ANAP"
                if len(having) < len(items)
                else "ALWAYS"
                if not empty
                else "VNAP"
                if empty < len(items)
                else "EMPTY"
            )
    return found


@pytest.mark.parametrize("kind", result_objects())
def test_objects_hold_the_attributes_that_are_listed(kind: str) -> None:
    """All of them, no others, and as often as the table says: from images with and without what is copied."""
    one = result_objects()[kind]
    assert presence(by_kind()[kind]) == dict(one.presence)


@pytest.mark.parametrize("kind", result_objects())
def test_objects_are_what_the_overview_of_objects_says(kind: str) -> None:
    one, made = result_objects()[kind], by_kind()[kind]
    assert {ds.SOPClassUID for ds in made} == set(one.sop_classes)
    assert {ds.Modality for ds in made} == {one.modality}
    assert {ds.SeriesNumber for ds in made} == {VOCABULARY.series_numbers[one.series]}
    assert {ds.SeriesDescription for ds in made} == {VOCABULARY.say(f"series.{one.series}_research")}


def test_every_kind_of_object_is_declared() -> None:
    assert set(by_kind()) == set(result_objects())
    assert {one.series for one in result_objects().values()} == set(VOCABULARY.series_numbers)


# ------------------------------------------------------------------ the codes
def codes(ds: Dataset) -> Iterator[tuple[str, str, str]]:
    """Every code of an object, but those that it copied."""
    for element in ds:
        if element.VR != "SQ" or element.keyword in COPIED_IF_PRESENT:
            continue
        for item in element.value:
            if "CodeValue" in item:
                yield item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning
            yield from codes(item)


def test_every_code_in_an_object_is_in_the_statement(text: str) -> None:
    """Private codes mean nothing to a receiver without this list."""
    annex = text[text.index("\n### 8.3 ") :]
    used = {code for _, ds in every_object() for code in codes(ds)}
    private = [(value, meaning) for value, scheme, meaning in used if scheme == VOCABULARY.scheme.designator]
    assert len(private) > 20
    assert [code for code in private if f"| {code[0]} | {code[1]} |" not in annex] == []
    missing = [
        (value, scheme, meaning)
        for value, scheme, meaning in used
        if f"| {value} | {meaning} |" not in annex
        and f"| {value} | {scheme} | {meaning} |" not in annex
        and f'({value}, {scheme}, "{meaning}")' not in text
    ]
    assert missing == []


def test_every_private_code_is_used() -> None:
    """A code that stands in the statement and in no object keeps somebody waiting for it."""
    used = {value for _, ds in every_object() for value, *_ in codes(ds)}
    scheme = VOCABULARY.scheme.designator
    assert [
        code.value for code in VOCABULARY.codes.values() if code.scheme_designator == scheme and code.value not in used
    ] == []


def test_groups_hold_the_content_that_is_listed() -> None:
    """Of each group every item that it can hold, and no other."""
    shared = {row[2].split(",")[0].strip("(") for row in terminology.EVERY_GROUP} | {"363698007"}
    names = {code.value: name for name, code in VOCABULARY.codes.items()}
    measures = {measure.code.value for measure in VOCABULARY.measures.values()}
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for ds in by_kind()["report"]:
        for group in _groups(ds):
            about = next(i for i in group.ContentSequence if _name(i) == "121071").ConceptCodeSequence[0].CodeValue
            content = found[names[about].removeprefix("group_")]
            for item in group.ContentSequence:
                value = _name(item)
                if value == terminology.SOURCE_OF_MEASUREMENT.value:
                    assert (names[about], item.ValueType) == ("group_inputs", "IMAGE")
                elif value in measures:
                    assert (names[about], item.ValueType) == ("group_quality", "NUM")
                elif value not in shared:
                    content[names[value]] = item.ValueType
    assert found == terminology.GROUP_CONTENT


def _groups(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        if child.ValueType == "CONTAINER" and _name(child) == "125007":
            yield child
        else:
            yield from _groups(child)


def _name(item: Dataset) -> str:
    return str(item.ConceptNameCodeSequence[0].CodeValue)
