"""What series descriptions say: words of many sites and languages, in classes; ties are broken by them, no more.

A word is found only between boundaries ("t2" is not in "post2"); Chinese and Japanese have none and are found anywhere.
Underscores and punctuation count as boundaries. Site words (config/series_rules.toml) join the classes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache

START, END = r"(?<![^\W_])", r"(?![^\W_])"

PATTERNS: Mapping[str, str] = {
    # ---- what an image was made into: looked for first, because such series inherit every acquisition attribute
    "projection": r"mip[a-z]?|hrmip|minip|mnip|projections?|projektion|pjn|最大密度投影|最大値投影",
    "subtraction": r"s?sub(s|t[a-z]*|dyn[a-z]*|mip[a-z]*)?\d*|minus|sustracci[oó]n|soustraction|sottrazione"
    r"|subtra[cç][aã]o|restas?|differenz[a-z]*|sdyn[a-z]*|вычитани[^ ]*|субтракци[^ ]*|çıkar[tm]?ma"
    r"|减影|減影|剪影|差分|サブトラクション|감산",
    "registered": r"moco|motion ?corr[a-z]*|registered|cad~? ?reg|cad|reg",
    "copy": r"volser|cropped|mpr[a-z]*|reformat[a-z]*|resampl[a-z]*",
    "parametric map": r"pei|wash ?(in|out)[a-z]*|lavado|anflut[a-z]*|auswasch[a-z]*|ttp|time to peak"
    r"|i?auc\d*|area under[a-z ]*|slope[a-z ]*|(?:rel|max)[a-z.]* enh[a-z]*|signal enh[a-z ]*|ser(?! ?\d)|pe[1-9]|voi"
    r"|segmentation|colou?r|rgb|map|maps|mapas?|carto[a-z]*|[a-z]*karten?"
    r"|screen[a-z]*|snapshot|capture|key images?|field ?map[a-z]*|fieldmap|parameterbild[a-z]*|dynacad"
    r"|confirma|ktrans|kep|colfa",
    "exponential adc": r"eadc|dadc|exponential[a-z ]*",
    "adc": r"adc[a-z]*|(?:average|avg|mean) dc|apparent diffusion[a-z ]*|表观扩散[^ ]*|adc图",
    "calculated b": r"[a-z]*calc ?bval[a-z]*|calculated|synth[a-z]*|synthetic|computed|cdwi|sdwi[a-z]*|\d{3,4}c|计算",
    "fat only": r"fat(?= ?:)|f(?=$)",
    "silicone": r"silicon[a-z]*|silikon[a-z]*|implant[a-z]*|proth[eè]s[a-z]*|prosthes[a-z]*|假体|硅胶|シリコン",
    # ---- how it was acquired
    "localizer": r"loc|localizer|localiser|localizador|localisation|localization|locator|scout|survey|rep[eé]rage"
    r"|lokalizer|topogram[a-z]*|pilot|3 ?plane?[a-z]*|tri ?plan[a-z]*|定位[^ ]*|スカウト|位置決め",
    "calibration": r"cal|calib[a-z]*|kalib[a-z]*|coil ?sens[a-z]*|ref|reference|ref ?scan|prescan|shim[a-z]*|b1|b0 ?map"
    r"|test ?bolus|care ?bolus|smart ?prep|phoenix[a-z]*|mrs|svs|csi|spectr[a-z]*|校准",
    "diffusion": r"dwi[a-z0-9]*|diff[a-z]*|dw|dwssfse|dti|trace[a-z]*|zoomit|resolve|[0-9]*b ?=? ?\d{2,4}"
    r"|弥散[^ ]*|扩散[^ ]*|拡散[^ ]*|difusi[oó]n|diffusione?|diffusie",
    "trace": r"trace[a-z]*|isotropic",
    "t1": r"t1[a-z]*|e?t1w|fl[23]d|vibe|vibrant[a-z]*|e?thrive[a-z]*|quick3d|spgr|fspgr|lava[a-z]*|bliss[a-z]*|disco"
    r"|twist|tricks|dyn[a-z]*|dce[a-z]*|views|ダイナミック[^ ]*|动态增强",
    "t2": r"e?t2[a-z]*|stir[a-z]*|tirm|haste|t2強調",
    "not fat suppressed": r"(non|not|no|without|w ?/ ?o|sans|ohne|sin|senza) ?(fat[a-z]*|f ?/ ?s|fs|spair)"
    r"( ?sat[a-z]*)?|nn?fs|wofs|nonfs|不压脂|非压脂|不抑脂",
    "fat suppressed": r"fs|f ?/ ?s|t[12]w?fs|fat ?s[a-z]*|fatsat|spair|spir|stir[a-z]*|tirm|water|wfs|proset"
    r"|压脂|抑脂|脂肪抑制",
    "in phase": r"in ?phase|inphase|ip",
    # ---- before or after contrast agent
    "no delay": r"no delay|without delay",
    "pre": r"pr[eé] ?(gad|gado|contrast|con|c|gd|km|inj|mdc|iv)[a-z]*|pregad"
    r"|pr[eé](?! ?(op|surg|biops|chemo|na[ct]|neoadj|treat)[a-z]*)|kontra[a-z]* öncesi|nativ|native|mask|maske"
    r"|masque|ph0|baseline|(sans|ohne|sin|senza|without|w ?/ ?o|wo|non|no) ?(iv|inj[a-z]*|gad[a-z]*|gd|contrast[a-z]*"
    r"|km|kontrast[a-z]*|civ|mdc|enhanced|c)|unenhanced|blanco|(före|przed|до) ?(kontra[a-z]*|контраст[^ ]*)"
    r"|造影前|増強前|增强前|平扫|平掃|蒙片|조영 ?전",
    "post": r"post ?(gad|gado|contrast|con|c|gd|km|inj|mdc|iv)[a-z]*|post\d*"
    r"|p[oó]s ?(contrast[a-z]*|gad[a-z]*|inj[a-z]*)|[1-9] ?(st|nd|rd|th)( pass?)?|delay[a-z]*|late"
    r"|sp[aä]t[a-z]*|spaet|tardi[a-z]*|early|nach|after|apr[eè]s|despu[eé]s"
    r"|sonrası|efter|(na|po) ?(contrast|kontra[a-z]*|kl|gad[a-z]*|gd)|после ?[^ ]*"
    r"|造影後|增强后|造影后|조영 ?후|延迟[^ ]*|早期相|後期相",
    "contrast": r"\+ ?(c|km|gd|gad|contrast)\d*|c\+|gad|gado[a-z]*|gd|km|cm|contrast[eo]?|kontrast[a-z]*|mdc|civ"
    r"|增强|造影",
    # ---- what the study is about
    "breast": r"breasts?|mamm[a-z]*|mama|mamas|mamo[a-z]*|mrm|brust|seins?|senos?|borst[a-z]*|bröst[a-z]*|piers[a-z]*"
    r"|乳[^ ]*|молочн[^ ]*|유방[^ ]*",
    "breast sequence": r"vibrant[a-z]*|bliss[a-z]*|dyna?views",
    "other body": r"prostat[a-z]*|brain|head|neuro[a-z]*|sch[aä]del|kopf|gehirn|c[eé]r[eé]br[a-z]*|cerebro"
    r"|cr[aâ]n[a-z]*|abdom[a-z]*|liver|leber|foie|h[ií]gado|pelvi[sc]|becken|spine|spinal|lws|hws|bws|lumb[a-z]*|cervical"
    r"|knee|knie|genou|rodilla|shoulder|schulter|[eé]paule|heart|cardi[a-z]*|herz|neck|hals|hip|h[uü]fte|ankle|wrist|hand|foot"
    r"|kidney[a-z]*|niere[a-z]*|rect[ua][a-z]*|rektum|uter[a-z]*|cspine|tspine|lspine|extremity|leg|arm|elbow"
    r"|enterograph[a-z]*|sellink|mrcp|pancrea[a-z]*|pankreas|bowel|darm|gallbladder|galle|oberbauch|unterbauch|aorta"
    r"|adrenal[a-z]*|nebenniere[a-z]*|renal|femur|thigh|tibia|fibula|calf|toes?|finger|pituitary|hypophys[a-z]*|sella"
    r"|orbit[a-z]*|tmj|sacrum|sakrum|isg|testi[cs][a-z]*|scrotum|hoden|penis|f(?:et|oet)al|fetus|placenta|ovar[a-z]*"
    r"|pi ?rads|forearm|humerus|clavicle|mandible|larynx|pharynx|thyroid|parotis"
    r"|前列腺|头[^ ]*|脑[^ ]*|腹[^ ]*|膝[^ ]*|肝[^ ]*|頭部|頭|脳",
    "intervention": r"biops[a-z]*|biopt[a-z]*|vacuum|vakuum[a-z]*|vab|vabb|needle|nadel[a-z]*|aiguille|aguja|obturator"
    r"|trocar|wire|draht[a-z]*|guided|gesteuert[a-z]*|preop loc[a-z]*|lokalisation|markierung|marker placement"
    r"|breast locali[sz]ation|rep[eé]rage pr[eé]op[a-z]*|harpon|活检|穿刺[^ ]*|生検",
    "after intervention": r"(post|after|nach|s ?/ ?p|status post|prior|known|zn) ?(biops[a-z]*|vacuum|vab)",
}


def normalised(text: str) -> str:
    """Compatibility forms of Unicode made equal, lower case: full-width letters and ligatures are the same words."""
    return unicodedata.normalize("NFKC", text).casefold()


def spaced(text: str) -> str:
    """Normalised, with a space for every underscore and hyphen: t1_fl3d, non-gad."""
    return re.sub(r"[_\-]+", " ", normalised(text))


class Vocabulary:
    """The built-in classes of words, with those of a site."""

    def __init__(self, site_words: Mapping[str, Sequence[str]] | None = None) -> None:
        self._patterns = {
            name: _compiled(pattern, tuple((site_words or {}).get(name, ()))) for name, pattern in PATTERNS.items()
        }

    def find(self, kind: str, *texts: str | None) -> str | None:
        """The first word of a class in any of the texts, as it stands there; None where there is none."""
        for text in texts:
            if text and (match := self._patterns[kind].search(spaced(text))):
                return match[0].strip()
        return None

    def without(self, kind: str, text: str) -> str:
        """The text, normalised, with the words of a class taken out: "no delay" must not be read as "delay"."""
        return self._patterns[kind].sub(" ", spaced(text))


@lru_cache(maxsize=256)
def _compiled(pattern: str, site_words: tuple[str, ...]) -> re.Pattern[str]:
    """Alternatives between boundaries; a word of a script that is written without spaces needs none."""
    alternatives = [*_split(pattern), *(re.escape(spaced(word)) for word in site_words)]
    bounded = [word if _no_spaces(word) else rf"{START}(?:{word}){_end(word)}" for word in alternatives]
    return re.compile("|".join(bounded))


def _split(pattern: str) -> list[str]:
    """The top-level alternatives of a pattern."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(pattern):
        depth += (char in "([") - (char in ")]")
        if char == "|" and depth == 0:
            parts.append(pattern[start:at])
            start = at + 1
    return [*parts, pattern[start:]]


def _no_spaces(word: str) -> bool:
    return any("\u3040" <= char <= "\u9fff" or "\uac00" <= char <= "\ud7af" for char in word)


def _end(word: str) -> str:
    return "" if word.endswith(("+", "~")) else END
