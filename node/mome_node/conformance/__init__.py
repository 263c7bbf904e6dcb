"""The DICOM conformance statement (PS3.2): what this node, configured as it is, does and does not do on a network.

`statement.md` holds the sentences; every number, code, class and attribute in it is filled in from where the code
itself takes it: the receiver, the sender, the vocabulary of the reports, the result objects, the configuration.
"""

from __future__ import annotations

from importlib.resources import files
from string import Template

from ..results.sr_template import load_vocabulary
from ..settings import Settings
from . import networking, result_objects, terminology
from .markdown import contents


def statement(settings: Settings) -> str:
    """The conformance statement of a node with these settings, in Markdown; the same settings give the same text.

    Raises SettingsError where the vocabulary of the reports cannot be used.
    """
    vocabulary = load_vocabulary(settings.results.language, settings.template_folders)
    template = files(__package__).joinpath("statement.md").read_text(encoding="utf-8")
    text = Template(template).substitute(
        contents="$contents",
        **networking.facts(settings),
        **result_objects.facts(vocabulary),
        **terminology.facts(vocabulary),
    )
    return Template(text).substitute(contents=contents(text))
