"""How far an explanation can be trusted, in sentences for people."""

from __future__ import annotations

from gptsmith.explain.claim import CHANCE, HOLDS, NOT_TESTED, Explanation
from gptsmith.explain.question import quoted, relative_odds

MEANINGS = {
    HOLDS: "Holds: what is named was changed in this very model, and it mattered more than anything picked at random. "
    "A claim that is wrong passes this in at most 5 of 100 cases.",
    CHANCE: "No better than chance: what was picked at random mattered as much, so do not rely on what is named.",
    NOT_TESTED: "Not tested: a figure that the model gave, without a comparison with chance. Read it as a hint.",
}
"""The verdicts for people."""


def trust(found: Explanation) -> list[str]:
    """The claims that can be relied on in an explanation, and what it leaves open."""
    verdicts = [claim.verdict for claim in found.claims if claim.items and claim.kind != "alternatives"]
    lines = [MEANINGS[verdict] for verdict in (HOLDS, CHANCE, NOT_TESTED) if verdict in verdicts]
    finest = [claim for claim in found.claims if claim.alone is not None and claim.named]
    for claim in finest[-1:]:
        if claim.rest is not None and claim.alone is not None:
            lines.append(
                f"The rest: without the {claim.by} named, {_state(found, claim.rest)}; with them alone, "
                f"{_state(found, claim.alone)}. What they do not account for comes from other words, from what it had "
                "written itself, or from what it learnt."
            )
        if claim.fit is not None:
            lines.append(
                f"There are too many {claim.by} to try one by one: their figures are fitted, and predict what "
                f"the model does with a correlation of {claim.fit:.2f} (1 is perfect)."
            )
    return lines


def _state(found: Explanation, difference: float) -> str:
    """A difference in words."""
    if found.against is None or found.target is None:
        return f"the figure is {difference:.2f}"
    return f"{quoted(found.target.text)} is {relative_odds(difference)} {quoted(found.against.text)}"
