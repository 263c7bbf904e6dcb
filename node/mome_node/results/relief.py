"""Words of relief: what no result may say, in the languages that results are written in.

A research score was never evaluated for what these words claim, and a site's own wording is held to the same rule.
Class names are excepted: those on a model card do not pass here, and "triple negative" is the name of a subtype.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

# fmt: off
WORDS: Mapping[str, str] = {
    "en": r"\b(?:(?<!triple[ -])negatives?|benign\w*|normal\w*|safe(?:r|ly)?|rul(?:e[sd]?|ing)[ -]out|healthy"
          r"|harmless|nothing to point|reassur\w*|unremarkable|clear of|all[ -]clear|(?:cancer|disease)[ -]free"
          r"|(?:no|without|free of)(?: evidence of| signs? of)?(?: \w+)? (?:cancers?|malignanc\w+))\b",
    "de": r"\b(?:negativ\w*|gutartig\w*|benign\w*|normal\w*|unauffällig\w*|unverdächtig\w*|sicher(?:e[nmrs]?|heit)?"
          r"|unbedenklich\w*|harmlos\w*|gesund\w*|entwarnung|ausschluss|auszuschliess\w*|ausschliess(?:en|t|bar)"
          r"|kein befund|nichts, worauf|ausgeschlossen\w*"
          r"|(?:kein\w*|ohne)(?: \w+)? (?:krebs|karzinom\w*|malign\w*|tumor\w*)"
          r"|(?:krebs|karzinom|tumor)frei\w*)\b",
    "fr": r"\b(?:négati[fv]\w*|béni[ng]\w*|norma(?:l|ux)\w*|sûr(?:e|es|s)?|sain\w*|rassur\w*|exclure|exclut|exclue?s?"
          r"|éliminer|(?:pas de|sans|aucun) (?:cancer\w*|malign\w*|tumeur\w*))\b",
    "es": r"\b(?:negativ\w*|benign\w*|normal\w*|segur[oa]s?|san[oa]s?|descart\w*|excluir|excluye"
          r"|(?:sin|ning[úu]n|no hay) (?:cáncer\w*|malign\w*|tumor\w*))\b",
    "it": r"\b(?:negativ\w*|benign\w*|normal\w*|sicur[oaie]|san[oaie]|esclud\w*|escluder\w*|esclus[oaie]"
          r"|(?:nessun|senza|non c'è) (?:cancro|carcinom\w*|malign\w*|tumor\w*))\b",
    "nl": r"\b(?:negatie[fv]\w*|goedaardig\w*|benigne|norma(?:al|le)|veilig\w*|gezond\w*|uitsluit\w*|uitgesloten"
          r"|(?:geen|zonder) (?:kanker|carcino\w*|malign\w*|tumor\w*))\b",
    "zh": r"阴性|陰性|良性|正常|安全|健康|排除|除外|放心|[无無](?:明显)?(?:乳腺|乳)?[癌恶惡]|未[见見]|没有癌"
          r"|沒有癌|[无無]异常",
    "ja": r"陰性|良性|正常|安全|健康|否定|除外|安心|異常なし"
          r"|癌(?:は|の所見は)?(?:ない|なし|ありません)|がん(?:は)?(?:ない|なし)",
}
# fmt: on


def found(text: str, language: str) -> str | None:
    """The first word of relief in a text of `language` ("de", "zh-Hans"), in it or in English; None where none is."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    for known in dict.fromkeys(("en", language.partition("-")[0])):
        if match := re.search(WORDS.get(known, r"(?!)"), plain):
            return match[0]
    return None
