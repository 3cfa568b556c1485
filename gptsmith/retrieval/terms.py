"""The words by which passages are found: as the index holds them, and as a question names them."""

from __future__ import annotations

import re
import unicodedata

from gptsmith.text.sentences import SPACELESS

RUN = re.compile(f"[{SPACELESS}]+")
MARKS = "\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0900-\u0963\u0966-\u0dff"
"""The characters, for a class in a pattern, that stand on or beside letters: accents, points, the writing of India."""
TERM = re.compile(rf"[{SPACELESS}]+|\d+(?:[.,:/-]\d+)+|[^\W{SPACELESS}](?:[^\W{SPACELESS}]|[{MARKS}])*")
MAX_TERMS = 32
ASKING_WORDS = {
    "English": "a about am an and any are as at be been being by can could describe did do does explain find for from "
    "give had has have he her his how i if in into is it its know list many me much my of on or our please say says "
    "she should show so some tell than that the their them there these they this those to us was we were what when "
    "where which who whom whose why will with would you your",
    "German": "aber als am auf aus bei bin bitte das dass dem den der des die du ein eine einem einen einer er es für "
    "hat ich ihr im in ist kann man mir mit nach nicht oder sie sind über und uns viel viele von wann war waren warum "
    "was wem wen wer wie wieviel wir wird wo woher wurde zu zum zur",
    "French": "au aux avec ce ces cette combien comment dans de des donc du elle en est et il ils je la le les leur "
    "lui ma mes moi mon où ou par pas pour pourquoi quand que quel quelle quels quelles qui quoi sa se ses son sont "
    "sur un une vous",
    "Spanish": "al como con cual cuál cuáles cuando cuándo cuanto cuánto cuántos de del donde dónde el ella en es esta "
    "está este fue la las lo los más mi no para por qué que quien quién se ser son su sus un una y",
    "Italian": "che chi come cosa cui da dei del della di dove e è gli il nel per perché qual quale quali quando "
    "quanti quanto sono",
    "Dutch": "een het hoe hoeveel ik is naar niet op te van voor waar waarom wanneer wat welke wie zijn",
}
"""The words that questions are made of, which say nothing of what they are about."""
ASKING = frozenset(word for words in ASKING_WORDS.values() for word in words.split())
ASKING_CHARACTERS = re.compile(
    "为什么|為什麼|什么|什麼|多少|哪里|哪裡|哪个|哪個|怎么|怎麼|请问|請問|如何|何时|[谁誰是的了在和吗嗎呢叫有几幾]"
    "|ですか|ますか|どこ|いつ|だれ|なぜ|どう|です|ます|[何誰はがのをにでともか]"
)
"""The same in Chinese and Japanese, where they stand between the words of the question."""


def spaced(text: str) -> str:
    """A text in which writing without spaces is cut into overlapping pairs of characters, and the last one, as words
    between spaces, so that every character begins a word; each letter spelt in one way."""
    return RUN.sub(lambda match: f" {' '.join([*_pairs(match[0]), match[0][-1]])} ", unicodedata.normalize("NFC", text))


def question_terms(question: str) -> list[str]:
    """The words of a question that say what it is about, each once: words, numbers, and pairs of characters."""
    found: dict[str, None] = {}
    for match in TERM.finditer(unicodedata.normalize("NFC", question)):
        word = match[0].lower()
        if RUN.match(word):
            found.update((pair, None) for run in ASKING_CHARACTERS.split(word) if run for pair in _pairs(run))
        elif word not in ASKING and (len(word) > 1 or word.isdigit()):
            found[word] = None
    return list(found)


def match_expression(term: str) -> str:
    """A term as FTS5 looks for it: quoted, so that nothing in it is syntax. One character of writing without spaces
    begins a pair."""
    return f'"{term}"*' if len(term) == 1 and RUN.match(term) else f'"{term}"'


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(max(1, len(run) - 1))]
