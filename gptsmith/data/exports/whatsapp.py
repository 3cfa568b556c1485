"""A chat that WhatsApp exports as text.

Android writes `12/01/23, 9:00 PM - Ann: Hello`, an iPhone `[12.01.23, 21:00:05] Ann: Hello`, each with the date and the
time as they are usual in the phone's country.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

from gptsmith.data.exports import ChatExport, ChatMessage

STAMP = re.compile(
    "[\u200e\u200f]*\\[?(?P<date>\\d{1,4}[./-]\\d{1,2}[./-]\\d{1,4}),?[ \u202f\u00a0](?:[^\\W\\d]{1,4}\\.? )?"
    "(?P<hour>\\d{1,2})[.:](?P<minute>\\d{2})(?:[.:](?P<second>\\d{2}))?"
    "(?:[ \u202f\u00a0]?(?P<half>[AaPp])\\.?[ \u202f\u00a0]?[Mm]\\.?)?(?:\\]| -)[ \u202f\u00a0]"
)
NAME = re.compile("(?P<name>[^:\n]{1,60}): ")
WITHOUT_WORDS = re.compile("\u200e.*|<[^<>\n]{3,60}>|.*\\((?:file attached|Datei angehängt)\\)", re.DOTALL)
"""A message that stands for a picture or for something that happened: WhatsApp marks it, or puts it into brackets."""
EDITED = re.compile("[\u200e ]*<[^<>\n]{3,60}>$")
FIRST_LINES = 20


class WhatsAppExport(ChatExport):
    kind: Literal["whatsapp"] = "whatsapp"

    def matches(self, value: Any) -> bool:
        if not isinstance(value, str) or STAMP.match(value.lstrip("\ufeff\r\n")) is None:
            return False
        lines = value[:20_000].lstrip("\ufeff\r\n").splitlines()[:FIRST_LINES]
        stamps = [match for line in lines if (match := STAMP.match(line)) is not None]
        return sum(NAME.match(match.string, match.end()) is not None for match in stamps) >= min(2, len(stamps))

    def conversations(self, value: Any) -> Iterator[list[ChatMessage]]:
        stamps, texts = [], []
        for line in value.lstrip("\ufeff").splitlines():
            if (stamp := STAMP.match(line)) is not None:
                stamps.append(stamp)
                texts.append([line[stamp.end() :]])
            elif texts:
                texts[-1].append(line)
        messages = []
        for time_s, lines in zip(_times_s(stamps), texts, strict=True):
            text = "\n".join(lines)
            name = NAME.match(text)
            # Without a name it says that somebody joined, or that messages are encrypted.
            if name is not None:
                said = text[name.end() :]
                words = "" if WITHOUT_WORDS.fullmatch(said) else EDITED.sub("", said)
                messages.append(ChatMessage(words, name["name"].strip(" \u200e\u202a\u202c~\u202f"), time_s=time_s))
        yield messages


def _times_s(stamps: Sequence[re.Match[str]]) -> list[float | None]:
    """The time of each message. The order of day and month is the one that fits all dates, and does not go back."""
    dates = [[int(number) for number in re.split(r"\D", stamp["date"])] for stamp in stamps]
    found = [[_time_s(date, stamp, order) for date, stamp in zip(dates, stamps, strict=True)] for order in ORDERS]

    def faults(times: list[float | None]) -> int:
        known = [time for time in times if time is not None]
        return 2 * (len(times) - len(known)) + sum(later < earlier for earlier, later in pairwise(known))

    return min(found, key=faults)


ORDERS = ((2, 1, 0), (2, 0, 1), (0, 1, 2))
"""Where year, month and day stand in a date: day first, month first, year first."""


def _time_s(date: Sequence[int], stamp: re.Match[str], order: Sequence[int]) -> float | None:
    year, month, day = (date[place] for place in order)
    hour = int(stamp["hour"])
    if stamp["half"]:
        hour = hour % 12 + 12 * (stamp["half"].lower() == "p")
    try:
        moment = datetime.datetime(
            year + 2000 * (year < 100),
            month,
            day,
            hour,
            int(stamp["minute"]),
            int(stamp["second"] or 0),
            tzinfo=datetime.UTC,
        )
    except ValueError:
        return None
    return moment.timestamp()
