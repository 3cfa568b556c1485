"""The prompts that an improvement is judged on, and its pairs of answers, with what was said of them."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from typing import Any, Literal

from gptsmith.base.json_text import json_text
from gptsmith.evaluate.anytime import PairedPreference
from gptsmith.serve.errors import ApiError
from gptsmith.serve.studio.database import Database
from gptsmith.serve.studio.improve.held_back import Messages

Choice = Literal["first", "second", "same"]
Source = Literal["marks", "examples", "typed"]
SOURCES: tuple[Source, ...] = ("marks", "examples", "typed")

MAX_PROMPTS = 200


class Pairs:
    """The prompts and the pairs of all improvements, in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add_prompts(self, improvement: str, prompts: Sequence[tuple[Source, Messages]]) -> None:
        """Adds prompts to judge on; those that are there already are not added again.

        Raises:
            ApiError: they are too many.
        """
        with self._database.transaction() as connection:
            there = [row["messages"] for row in self._prompts(improvement)]
            for source, messages in prompts:
                text = json_text(messages, ensure_ascii=False)
                if text in there:
                    continue
                if len(there) >= MAX_PROMPTS:
                    raise ApiError(400, f"there are {MAX_PROMPTS} prompts already, which is enough", code="too_many")
                values = (improvement, len(there), source, text)
                connection.execute("INSERT INTO improvement_prompts VALUES (?, ?, ?, ?)", values)
                there.append(text)

    def num_prompts(self, improvement: str) -> dict[str, int]:
        """The number of prompts by where they come from."""
        found = [prompt["source"] for prompt in self._prompts(improvement)]
        return {source: found.count(source) for source in SOURCES}

    def _prompts(self, improvement: str) -> list[dict[str, Any]]:
        query = "SELECT * FROM improvement_prompts WHERE improvement = ? ORDER BY number"
        return self._database.rows(query, improvement)

    def due(self, improvement: str, num_ahead: int) -> list[tuple[int, int, Messages]]:
        """The pairs that are to be written so that `num_ahead` wait to be judged: of each its number, the number of its
        prompt, and the prompt. Prompts come in turn, whenever they were added."""
        prompts = {row["number"]: json.loads(row["messages"]) for row in self._prompts(improvement)}
        pairs = self._database.rows("SELECT prompt, choice FROM improvement_pairs WHERE improvement = ?", improvement)
        num_due = num_ahead - sum(pair["choice"] is None for pair in pairs)
        num_uses = dict.fromkeys(prompts, 0)
        for pair in pairs:
            num_uses[pair["prompt"]] += 1
        found = []
        for number in range(len(pairs), len(pairs) + num_due if prompts else 0):
            prompt = min(num_uses, key=lambda one: (num_uses[one], one))
            num_uses[prompt] += 1
            found.append((number, prompt, prompts[prompt]))
        return found

    def keep(self, improvement: str, number: int, prompt: int, old: str, new: str) -> None:
        """Keeps a pair to be judged, in an order that is tossed. One whose answers are equal is judged: neither is
        better."""
        choice, is_new_first = "same" if old == new else None, secrets.randbits(1)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO improvement_pairs VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (improvement, number, prompt, old, new, is_new_first, choice, None),
            )

    def is_judged(self, improvement: str, number: int) -> bool:
        """Whether a pair was judged.

        Raises:
            ApiError: there is no such pair.
        """
        query = "SELECT choice FROM improvement_pairs WHERE improvement = ? AND number = ?"
        pair = self._database.row(query, improvement, number)
        if pair is None:
            raise ApiError(404, "there is no such pair", code="not_found")
        return pair["choice"] is not None

    def judge(self, improvement: str, number: int, choice: Choice) -> None:
        """Keeps what was said of a pair."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE improvement_pairs SET choice = ?, judged = ? WHERE improvement = ? AND number = ?",
                (choice, time.time(), improvement, number),
            )

    def next(self, improvement: str) -> dict[str, Any] | None:
        """The pair that is to be judged next, without which model wrote which answer; None if none was written yet."""
        query = "SELECT * FROM improvement_pairs WHERE improvement = ? AND choice IS NULL ORDER BY number LIMIT 1"
        pair = self._database.row(query, improvement)
        if pair is None:
            return None
        answers = [pair["old_answer"], pair["new_answer"]]
        first, second = answers[::-1] if pair["is_new_first"] else answers
        query = "SELECT messages FROM improvement_prompts WHERE improvement = ? AND number = ?"
        prompt = self._database.rows(query, improvement, pair["prompt"])[0]
        return {"number": pair["number"], "prompt": json.loads(prompt["messages"]), "first": first, "second": second}

    def figures(self, improvement: str) -> PairedPreference:
        """The pairs that were judged so far."""
        rows = self._database.rows(
            "SELECT choice, is_new_first, COUNT(*) AS n FROM improvement_pairs "
            "WHERE improvement = ? AND choice IS NOT NULL GROUP BY choice, is_new_first",
            improvement,
        )
        counts = {"win": 0, "loss": 0, "tie": 0}
        for row in rows:
            is_win = (row["choice"] == "first") == bool(row["is_new_first"])
            counts["tie" if row["choice"] == "same" else "win" if is_win else "loss"] += row["n"]
        return PairedPreference(counts["win"], counts["loss"], counts["tie"])

    def num_equal(self, improvement: str) -> int:
        """The pairs whose answers are equal, which nobody had to judge."""
        query = "SELECT COUNT(*) AS n FROM improvement_pairs WHERE improvement = ? AND old_answer = new_answer"
        return int(self._database.rows(query, improvement)[0]["n"])
