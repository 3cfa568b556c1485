"""Each check of a certificate passes on the same model and fails on another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.convert.backends import Backend, Rendered
from gptsmith.convert.certificate import (
    BOUNDS,
    Bound,
    Certificate,
    Check,
    Continued,
    certificate_page,
    compare,
    conversations_check,
    greedy_check,
    logits_check,
    require_passed,
    tokens_check,
)
from gptsmith.convert.probe_texts import TEXTS

EXACT = Bound(1e-9, 1e-9)
REROUTED = Bound(1e-6, 1e-6, rerouted_share=0.1)


class Fixed(Backend):
    """Bytes as tokens; logits that depend on the last token alone."""

    def __init__(self, **changes: Any) -> None:
        self.name, self.files, self.context_length = "fixed", [], 64
        self.special_tokens = ["<end>"]
        self.changes = changes
        self.rows = torch.randn(257, 257, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        self.rows += changes.get("shift", 0.0)

    def token_ids(self, text: str) -> list[int]:
        ids = list(text.encode())
        return ids[::-1] if self.changes.get("odd_text") == text else ids

    def bos_ids(self) -> list[int]:
        return self.changes.get("opening", [])

    def conversation(self, messages: Sequence[Mapping[str, str]], *, open_turn: bool) -> Rendered | str:
        if "refusal" in self.changes and messages[0]["role"] == "system":
            return self.changes["refusal"]
        text = "".join(f"{m['role']}: {m['content']}\n" for m in messages) + ("assistant:" if open_turn else "")
        return Rendered(text + self.changes.get("tail", ""), list(text.encode()))

    def logits(self, ids: Sequence[int]) -> Tensor:
        rows = self.rows[list(ids)].clone()
        if "swap" in self.changes:
            best = rows.argmax(dim=-1)
            rows[torch.arange(len(rows)), best] = rows.min() - self.changes["swap"]
        return rows


def test_the_same_model_passes_everything() -> None:
    certificate = compare("x", ("a", "b"), Fixed(), Fixed(), precision="float32")
    assert [check.status for check in certificate.checks] == ["passed"] * 4
    assert certificate.status == "passed"
    assert certificate.figures()["largest_logit_difference"] == 0


def test_a_text_with_other_ids_fails() -> None:
    check = tokens_check(Fixed(), Fixed(odd_text=TEXTS[2]))
    assert (check.status, check.figures["num_texts"] - check.figures["num_equal"]) == ("failed", 1)
    assert TEXTS[2][:20] in check.why


def test_another_beginning_of_texts_fails() -> None:
    assert "before every text" in tokens_check(Fixed(), Fixed(opening=[1])).why


def test_a_special_token_that_text_turns_into_fails() -> None:
    assert "<end>" in tokens_check(Fixed(), Fixed(odd_text="a <end> b<end>")).why


def test_a_conversation_laid_out_otherwise_fails() -> None:
    assert conversations_check(Fixed(), Fixed(tail=" ")).status == "failed"


def test_a_conversation_that_one_side_refuses_fails_and_that_both_refuse_does_not() -> None:
    refusing = Fixed(refusal="refused: no system")
    assert conversations_check(Fixed(), refusing).status == "failed"
    both = conversations_check(refusing, refusing)
    assert (both.status, both.figures["num_refused_by_both"]) == ("passed", 2)


def test_models_without_a_template_have_no_conversations_to_compare() -> None:
    class Mute(Fixed):
        def conversation(self, messages: Sequence[Mapping[str, str]], *, open_turn: bool) -> str:
            return "there is no chat template"

    assert conversations_check(Mute(), Mute()).status == "not run"
    assert conversations_check(Fixed(), Mute()).status == "failed"


def test_the_divergence_is_the_textbooks() -> None:
    here, there = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[0.5, 1.0, 1.0]])
    p, q = here.double().softmax(-1), there.double().softmax(-1)
    check = logits_check([(here, there)], EXACT)
    assert check.figures["mean_divergence"] == pytest.approx(float((p * (p / q).log()).sum()))
    assert check.figures["largest_logit_difference"] == 1.0
    assert check.status == "failed"


def test_both_bounds_hold_on_their_own() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    # A shift of all logits changes no probability, and one of an improbable word changes nothing but itself.
    assert "largest" in logits_check([(logits, logits + 1)], EXACT).why
    assert "divergence" in logits_check([(logits, logits + torch.tensor([0.0, 0.1, 0.0]))], Bound(1e-9, 1.0)).why
    assert logits_check([(logits, logits + 1e-10)], EXACT).status == "passed"


def test_not_a_number_is_no_small_difference() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0]])
    assert logits_check([(logits, logits * float("nan"))], BOUNDS["q8_0"]).status == "failed"
    spoilt = torch.zeros(20, 3)
    spoilt[3, 1] = float("nan")
    assert logits_check([(torch.zeros(20, 3), spoilt)], REROUTED).status == "failed"


@pytest.mark.parametrize(("num_odd", "status"), [(2, "passed"), (3, "failed")])
def test_where_experts_are_chosen_a_tenth_of_the_positions_may_differ(num_odd: int, status: str) -> None:
    """As where a rounded weight chooses the other of two experts that are as likely."""
    here = torch.zeros(20, 3)
    there = here.clone()
    there[:num_odd, 1] = 1.0
    assert logits_check([(here, there)], REROUTED).status == status
    text = Continued([1] * 21, 1)
    here[:, 1] = 0.5
    there[:num_odd, 2] = 2.0
    there[num_odd:, 1] = 1.0
    assert greedy_check([text], [(here, there)], REROUTED).status == status


def greedily(one: Backend, other: Backend) -> Check:
    prompt = list(b"smith")
    text = Continued([*prompt, *one.greedy(prompt, 8)], len(prompt))
    return greedy_check([text], [(one.logits(text.ids), other.logits(text.ids))], BOUNDS["float32"])


def test_another_likeliest_token_fails_unless_the_two_are_a_tie() -> None:
    assert greedily(Fixed(), Fixed()).figures == {"num_tokens": 8, "num_equal": 8, "num_ties": 0}
    assert greedily(Fixed(), Fixed(swap=1.0)).status == "failed"

    class Tie(Fixed):
        """The second likeliest is as likely as the likeliest, but for 1e-6 that the other side may see otherwise."""

        def __init__(self, sign: float) -> None:
            super().__init__()
            first, second = self.rows.topk(2, dim=-1).indices.T
            rows = torch.arange(257)
            self.rows[rows, second] = self.rows[rows, first] + sign * 1e-6

    check = greedily(Tie(1.0), Tie(-1.0))
    assert check.status == "passed"
    assert check.figures["num_ties"] == check.figures["num_tokens"]


def test_a_copy_that_nothing_reads_is_not_called_the_same() -> None:
    certificate = compare("x", ("a", "b"), Fixed(), "no such program is here", precision="q8_0")
    assert certificate.status == "not run"
    assert {check.why for check in certificate.checks} == {"no such program is here"}


def test_a_failure_is_an_error_that_says_what_failed() -> None:
    certificate = compare("x", ("a", "b"), Fixed(), Fixed(shift=1.0), precision="float32")
    with pytest.raises(UserError, match=r"the export is not the same model.*largest logit difference"):
        require_passed(certificate, "the export")


def test_files_are_named_with_their_hashes_and_the_page_says_what_the_json_says(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(b"abc")
    certificate: Certificate = compare("Export <of> x", ("a", "b"), Fixed(), "none", precision="q8_0", files=[file])
    certificate.save(tmp_path)
    plain = json.loads((tmp_path / "certificate.json").read_text())
    assert plain["sides"][1]["files"] == {"weights": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
    page = certificate_page(certificate)
    assert "Export &lt;of&gt; x" in page
    assert "ba7816bf8f01cfea" in page
    assert "not compared" in page
