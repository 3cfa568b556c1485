"""The canaries of a run: what its model keeps of what it read once, four times and sixteen times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gptsmith.convert.open import OpenedModel
from gptsmith.data.care.canaries import CODE_DIGITS, Canary, other_codes, read_canaries
from gptsmith.model.gpt import GPT
from gptsmith.privacy.bound import epsilon_lower_bound
from gptsmith.privacy.exposure import EXPECTED, mean_exposure
from gptsmith.privacy.membership import membership, min_k_plus_plus
from gptsmith.privacy.sentences import SeenSentence, Spelling, code_exposures, see
from gptsmith.privacy.token_scores import base_model
from gptsmith.run.privacy_claim import claim_of
from gptsmith.text.tokenizer import Tokenizer

TOKENIZER = "tokenizer"
"""The score that looks at no weights: what the tokenizer was trained on, it writes in fewer tokens."""
NUM_REFERENCES = 399
"""Codes that a code is ranked among."""
NUM_EXPOSED = 30
"""Canaries of each number of copies whose codes are ranked: the first ones, for they are in no order."""
USUAL_DELTA = 1e-5
"""The delta of the claim that is tested where the run makes none."""


@dataclass(frozen=True)
class Sights:
    """Canaries (N) and what a model sees of them.

    Attributes:
        planted, unseen: of each, the twin that was planted and the one that was not.
        before: the same of the model that this one was tuned from; None if there is none.
    """

    canaries: Sequence[Canary]
    planted: Sequence[SeenSentence]
    unseen: Sequence[SeenSentence]
    before: Sights | None = None

    def where(self, is_wanted: Sequence[bool]) -> Sights:
        """Those of the canaries."""
        chosen = [number for number, wanted in enumerate(is_wanted) if wanted]
        return Sights(
            [self.canaries[number] for number in chosen],
            [self.planted[number] for number in chosen],
            [self.unseen[number] for number in chosen],
            None if self.before is None else self.before.where(is_wanted),
        )

    def scores(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The scores of the planted twins (N,) and of the unseen ones (N,), by name; the first is the one to go by."""
        scores = {
            "loss": self._of_twins(lambda each: np.array([seen.log_likelihood for seen in each])),
            "min_k_plus_plus": self._of_twins(lambda each: min_k_plus_plus([seen.surprises for seen in each])),
            TOKENIZER: self._of_twins(lambda each: -np.array([seen.tokens_per_byte for seen in each])),
        }
        if self.before is None:
            return scores
        now, then = scores["loss"], self.before.scores()["loss"]
        return {"loss_less_base": (now[0] - then[0], now[1] - then[1]), **scores}

    def _of_twins(self, score: Callable[[Sequence[SeenSentence]], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        return score(self.planted), score(self.unseen)


def canary_figures(
    run: OpenedModel,
    model: GPT,
    tokenizer: Tokenizer,
    *,
    seed: int = 0,
    observe: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """How much a model keeps of the canaries of its run, as JSON values; empty if the run has none.

    Args:
        seed: of the codes that codes are ranked among, and of the bootstrap.
        observe: sees the number of sentences read so far.

    Returns:
        canaries (num, num_places, unit, expected_exposure, most_exposure, and groups: for each number of copies num,
        by_heart and by_heart_unseen, tries, exposure and exposure_unseen with their intervals, auc, interval and
        true_positives_at_1_percent), memberships (by score, of those that are planted once), auc, interval and
        true_positives_at_1_percent (of the first of these scores), num_coins, num_right, epsilon_lower, epsilon_most,
        delta, and epsilon_claimed. What cannot be measured is None. Or membership_missing, the reason why nothing can.

    Raises:
        UserError: the record of the canaries is damaged.
    """
    canaries = read_canaries(run.folder)
    if not canaries:
        return {}
    spelling = Spelling.of(run, tokenizer)
    longest = max(len(spelling.ids(each, each.text)) for canary in canaries for each in canary.twins) + CODE_DIGITS
    if longest > model.config.context_length:
        return {"membership_missing": f"its canaries, of {longest} tokens, do not fit in its context"}
    seen = _seen(canaries, model, base_model(run, tokenizer), spelling, observe)
    codes = other_codes(NUM_REFERENCES, seed)
    groups = [
        _group(seen.where([each.copies == copies for each in canaries]), copies, model, spelling, codes, seed)
        for copies in sorted({each.copies for each in canaries})
    ]
    once = seen.where([each.copies == 1 for each in canaries])
    memberships = {name: membership(*twins, seed=seed).plain() for name, twins in once.scores().items()}
    return {
        "canaries": {
            "num": len(canaries),
            "num_places": sum(len(each.places) for each in canaries),
            "unit": "example" if canaries[0].planted.question else "document",
            "expected_exposure": EXPECTED,
            "most_exposure": float(np.log2(NUM_REFERENCES + 1)),
            "groups": groups,
        },
        "memberships": memberships,
        **{name: next(iter(memberships.values()))[name] for name in ("auc", "interval", "true_positives_at_1_percent")},
        **bound_figures(once, claim_of(run.folder, run.result())),
    }


def bound_figures(once: Sights, claim: dict[str, Any] | None) -> dict[str, Any]:
    """The bound on epsilon for a document that is there or not, by the canaries that are planted once.

    Each twin that looks more familiar is guessed to be the planted one. A document with two of them would be guessed
    twice: such canaries do not count.
    """
    owners = Counter(each.places[0].document for each in once.canaries)
    alone = once.where([owners[each.places[0].document] == 1 for each in once.canaries])
    planted, unseen = next(iter(alone.scores().values()))
    # Of twins that look the same, the first is guessed, whatever the coin says.
    is_first = np.array([each.coin == 0 for each in alone.canaries], bool)
    num_coins, num_right = len(planted), int(((planted > unseen) | ((planted == unseen) & is_first)).sum())
    delta = USUAL_DELTA if claim is None else float(claim["delta"])
    lower, most = (
        epsilon_lower_bound(right, num_coins, num_coins, delta=delta, replaces=True) if num_coins else None
        for right in (num_right, num_coins)
    )
    return {
        "num_coins": num_coins,
        "num_right": num_right,
        "epsilon_lower": lower,
        "epsilon_most": most,
        "epsilon_claimed": None if claim is None else claim["epsilon"],
        "delta": delta,
    }


def _seen(
    canaries: Sequence[Canary], model: GPT, base: GPT | None, spelling: Spelling, observe: Callable[[int], None]
) -> Sights:
    """The canaries as a model sees them, and as the one does that it was tuned from."""

    def by(model: GPT, before: Sights | None) -> Sights:
        twins = [[each.planted for each in canaries], [each.unseen for each in canaries]]
        planted, unseen = (see(model, spelling, each, observe) for each in twins)
        return Sights(canaries, planted, unseen, before)

    return by(model, None if base is None else by(base.to(model.device), None))


def _group(
    seen: Sights, copies: int, model: GPT, spelling: Spelling, codes: Sequence[str], seed: int
) -> dict[str, Any]:
    """The figures of the canaries of one number of copies."""
    some = seen.canaries[:NUM_EXPOSED]
    exposures = [
        mean_exposure(code_exposures(model, spelling, sentences, codes), seed=seed)
        for sentences in ([each.planted for each in some], [each.unseen for each in some])
    ]
    tries = sorted(each.tries for each in seen.planted)
    return {
        "copies": copies,
        "num": len(seen.canaries),
        "by_heart": sum(each.is_by_heart for each in seen.planted),
        "by_heart_unseen": sum(each.is_by_heart for each in seen.unseen),
        "tries": [tries[0], float(np.median(tries)), tries[-1]],
        "exposure": exposures[0].bits,
        "exposure_interval": list(exposures[0].interval),
        "exposure_unseen": exposures[1].bits,
        "exposure_unseen_interval": list(exposures[1].interval),
        **membership(*next(iter(seen.scores().values())), seed=seed).plain(),
    }
