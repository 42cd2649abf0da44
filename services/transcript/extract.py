"""Chooses the sentences of a conversation that stand for the rest of it: the library sumy's SumBasic, over words of our own finding.

The one rule: nothing is downloaded. sumy's own tokenizers fetch data for English and want an old segmenter for Japanese; words found
by script do for both: in Japanese, what carries meaning is written in kanji and katakana, and hiragana joins it.
"""

import re
from collections.abc import Iterable
from functools import cache
from typing import Any
from unicodedata import normalize

SENTENCES = 3
"""Sentences in a summary."""
SENTENCES_MAX = 400
"""Sentences that are compared, half from either end; it takes 0.1 s, and grows with their square."""
SENTENCE_CHARS_MAX = 240
"""A longer one is cut: people send logs and whole mails."""
WORDS_MIN = 2
"""A sentence with fewer words that mean something is none to sum up with."""

_WORD = re.compile(r"[一-鿿㐀-䶿々〆]+|[ァ-ヺー]+|[^\W\d_ぁ-ゖァ-ヺー一-鿿㐀-䶿々〆]{2,}|\d[\d.,:/-]*")
_SENTENCE = re.compile(r"[^。！？!?\n]+?(?:[。！？!?]+|\.(?=\s)|\n|$)")
_COURTESY = (
    "問 合 問合 担当 少々 待 確認 不明 点 承知 了解 失礼 申 訳 申訳 対応 連絡 助 上 下 事 方 者 thank thanks hello hi hey please help welcome "
    "wait waiting moment sorry okay ok sure yes no anything else great good day let know look tell dear regards"
)
"""What is said in every chat says nothing about this one."""


class _Words:
    """What sumy calls a tokenizer."""

    def to_words(self, sentence: str) -> tuple[str, ...]:
        """The words of a sentence that may mean something."""
        return tuple(_WORD.findall(normalize("NFKC", sentence).lower()))


def extract(question: str, said: Iterable[str]) -> str | None:
    """The question's first sentence, then those chosen of all others in their order, one a line; None where nothing means anything."""
    from sumy.models.dom import ObjectDocumentModel, Paragraph, Sentence
    from sumy.summarizers.sum_basic import SumBasicSummarizer

    words = _Words()
    empty = _empty_words()

    def means_something(sentence: str) -> bool:
        return len(set(words.to_words(sentence)) - empty) >= WORDS_MIN

    asked = list(filter(means_something, sentences([question])))
    kept = [
        each for each in sentences([*asked[1:], *said]) if means_something(each) and each not in asked[:1]
    ]
    if len(kept) > SENTENCES_MAX:
        kept = kept[: SENTENCES_MAX // 2] + kept[-SENTENCES_MAX // 2 :]
    method = SumBasicSummarizer()
    method.stop_words = empty
    document = ObjectDocumentModel([Paragraph([Sentence(each, words) for each in kept])])
    chosen: Iterable[Any] = method(document, SENTENCES - len(asked[:1]))
    return "\n".join(_cut(str(each)) for each in [*asked[:1], *chosen]) or None


def sentences(texts: Iterable[str]) -> list[str]:
    """The sentences of some texts, each once."""
    found = (match.strip() for text in texts for match in _SENTENCE.findall(text))
    return list(dict.fromkeys(filter(None, found)))


def _cut(sentence: str) -> str:
    return sentence if len(sentence) <= SENTENCE_CHARS_MAX else sentence[: SENTENCE_CHARS_MAX - 1] + "…"


@cache
def _empty_words() -> frozenset[str]:
    """Words that mean nothing by themselves, from the lists sumy brings along."""
    from sumy.utils import get_stop_words

    return frozenset(_COURTESY.split()).union(*map(get_stop_words, ("japanese", "english")))
