"""Every objective: what its loss is where that is known, and that any division into batches gives the same gradient."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gptsmith.base.errors import UserError
from gptsmith.data.example_splits import ExampleSplits
from gptsmith.data.shapes import KINDS as SHAPES
from gptsmith.data.shapes import TEXT
from gptsmith.data.shapes.chat import ChatExample
from gptsmith.data.shapes.labelled import LabelledExample
from gptsmith.data.shapes.preference import PreferenceExample
from gptsmith.data.shapes.unpaired_preference import UnpairedPreferenceExample
from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.train.batch import Batch
from gptsmith.train.datasets.base import DatasetInputs
from gptsmith.train.datasets.distillation import DistillationBatch
from gptsmith.train.datasets.examples import ExampleDataset
from gptsmith.train.datasets.rollouts import RolloutBatch
from gptsmith.train.encoder import Encoder
from gptsmith.train.objectives import KINDS, mean_terms, objectives_for
from gptsmith.train.objectives.classification import ClassificationSettings, with_word_dropout
from gptsmith.train.objectives.distillation import DistillationSettings
from gptsmith.train.objectives.dpo import DpoSettings
from gptsmith.train.objectives.grpo import GrpoSettings, advantages
from gptsmith.train.objectives.kto import KtoBatch, KtoSettings, WithOtherCompletions
from gptsmith.train.objectives.reward_model import RewardModelSettings
from gptsmith.train.objectives.sft import SftSettings
from gptsmith.train.objectives.simpo import SimpoSettings
from gptsmith.train.optimizers.adamw import AdamWSettings
from gptsmith.train.samples import Sample
from gptsmith.train.step import accumulate, train_step
from tests.train.contracts import (
    CHOICES,
    CONTEXT,
    LABELS,
    PAIRS,
    TALKS,
    TEXTS,
    UNPAIRED,
    Case,
    check_accumulation,
    check_counts,
    divided,
    example_case,
    gradients,
    log_likelihood,
    samples_of,
    talk,
    tiny,
    tiny_encoder,
    with_references,
)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return tiny_encoder()


# SFT


def test_packed_conversations_do_not_see_each_other(encoder: Encoder) -> None:
    objective, model = SftSettings(), tiny().eval()
    samples = [objective.sample(example, encoder) for example in TALKS]
    packed = objective.collate([samples[:2], samples[2:]])
    assert packed.segments is not None
    with torch.no_grad():
        together = model.head(model.hidden(packed.input_ids, segments=packed.segments))
        for row, pair_of_samples in enumerate([samples[:2], samples[2:]]):
            start = 0
            for sample in pair_of_samples:
                alone = model(torch.tensor([sample.sequences[0].ids]))[0]
                torch.testing.assert_close(together[row, start : start + len(alone)], alone, rtol=0, atol=1e-12)
                start += len(alone)
    unpacked = mean_terms(model, objective, [objective.collate([[sample]]) for sample in samples])
    assert mean_terms(model, objective, [packed])["loss"] == pytest.approx(unpacked["loss"], rel=1e-12)


@pytest.mark.parametrize("kind", ["full", "sliding_window", "additive", "residual_query"])
@pytest.mark.parametrize("position", ["none", "sinusoidal", "learned", "rotary", "alibi"])
def test_segments_stand_alone_in_every_kind_of_model(kind: str, position: str) -> None:
    attention = {"kind": kind, **({"window_size": 3} if kind == "sliding_window" else {})}
    table = {"vocab_size": 50, "context_length": 20, "embed_dim": 32, "num_layers": 2, "num_heads": 2, "head_dim": 16}
    model = GPT(preset("smith", **table, attention=attention, position=position, init="gpt2")).double().eval()
    ids = torch.randint(50, (2, 13), generator=torch.Generator().manual_seed(0))
    segments = torch.tensor([[1] * 5 + [2] * 8, [1] * 9 + [2] * 2 + [0] * 2])
    with torch.no_grad():
        together = model.hidden(ids, segments=segments)
        for row, start, stop in ((0, 0, 5), (0, 5, 13), (1, 0, 9), (1, 9, 11)):
            alone = model.hidden(ids[row : row + 1, start:stop])[0]
            torch.testing.assert_close(together[row, start:stop], alone, rtol=0, atol=1e-12)


def test_a_conversation_that_does_not_fit_is_an_error(encoder: Encoder) -> None:
    with pytest.raises(UserError, match="do not fit in the context of 96"):
        SftSettings().sample(talk("q", "a" * CONTEXT), encoder)


# Classification


def test_classification_of_a_new_model_is_uniform(encoder: Encoder) -> None:
    objective = ClassificationSettings(labels=LABELS, auxiliary_weight=0)
    model = GPT(preset("smith", vocab_size=259, context_length=CONTEXT, num_labels=3))
    means = mean_terms(model, objective, [objective.collate(samples_of(objective, TEXTS, encoder))])
    assert means["loss"] == pytest.approx(math.log(3))


def test_classification_reads_the_last_token_and_learns_the_texts_besides(encoder: Encoder) -> None:
    objective, model = ClassificationSettings(labels=LABELS, auxiliary_weight=0.5), tiny(num_labels=3)
    nats, text_nats, tokens = 0.0, 0.0, 0
    for example in TEXTS:
        ids = [256, *example.texts[0].encode(), 258]
        hidden = model.hidden(torch.tensor([ids]))[0]
        scores = model.score_head(hidden[-1:])
        nats += functional.cross_entropy(scores, torch.tensor([LABELS.index(str(example.label))])).item()
        logits = model.head(hidden[: len(ids) - 2])
        text_nats += functional.cross_entropy(logits, torch.tensor(ids[1:-1]), reduction="sum").item()
        tokens += len(ids) - 2
    means = mean_terms(model, objective, [objective.collate(samples_of(objective, TEXTS, encoder))])
    assert means["loss"] == pytest.approx(nats / 4 + 0.5 * text_nats / tokens, rel=1e-10)


def test_classification_can_pool_all_tokens(encoder: Encoder) -> None:
    objective, model = ClassificationSettings(labels=LABELS, auxiliary_weight=0, pooling="mean"), tiny(num_labels=3)
    nats = 0.0
    for example in TEXTS:
        hidden = model.hidden(torch.tensor([[256, *example.texts[0].encode(), 258]]))[0]
        scores = model.score_head(hidden.mean(dim=0, keepdim=True))
        nats += functional.cross_entropy(scores, torch.tensor([LABELS.index(str(example.label))])).item()
    means = mean_terms(model, objective, [objective.collate(samples_of(objective, TEXTS, encoder))])
    assert means["loss"] == pytest.approx(nats / 4, rel=1e-10)


def test_classification_can_be_validated_by_accuracy() -> None:
    means = {"classification": 0.7, "accuracy": 0.75, "loss": 0.9}
    assert ClassificationSettings(labels=LABELS).validation_loss(means) == 0.7
    assert ClassificationSettings(labels=LABELS, chosen_by="accuracy").validation_loss(means) == 0.25


def test_word_dropout_is_for_training_alone(encoder: Encoder) -> None:
    hiding, plain = (
        ClassificationSettings(labels=LABELS, auxiliary_weight=0, word_dropout=share, pooling="mean")
        for share in (0.5, 0.0)
    )
    model = tiny(num_labels=3)
    batch = plain.collate(samples_of(plain, TEXTS, encoder))

    def label_loss(objective: ClassificationSettings) -> float:
        torch.manual_seed(0)
        return float(objective.loss(model, batch)["classification"].sum.detach())

    assert label_loss(hiding) != label_loss(plain)
    model.eval()
    assert label_loss(hiding) == label_loss(plain)
    read = with_word_dropout(batch.input_ids, batch.last, 0.999)
    rows = torch.arange(len(read))
    assert torch.equal(read[rows, batch.last], batch.input_ids[rows, batch.last])
    assert (read != batch.input_ids).float().mean() > 0.5


def test_a_pair_without_order_has_none(encoder: Encoder) -> None:
    objective, model = ClassificationSettings(labels=LABELS, form="similarity"), tiny(num_labels=3)
    one = [LabelledExample("", "similarity", ("first", "the second"), "no")]
    other = [LabelledExample("", "similarity", ("the second", "first"), "no")]
    both = []
    for examples in (one, other):
        batch = objective.collate(samples_of(objective, examples, encoder))
        both.append(objective.scores(model, model.hidden(batch.input_ids), batch))
    torch.testing.assert_close(*both, rtol=0, atol=1e-12)


def test_choices_compete_with_each_other_alone(encoder: Encoder) -> None:
    objective, model = ClassificationSettings(form="choice"), tiny(num_labels=1)
    together = objective.collate(samples_of(objective, CHOICES, encoder))
    scores = objective.scores(model, model.hidden(together.input_ids), together)
    assert scores.isinf().sum().item() == 2 + 1 + 2
    for number, example in enumerate(CHOICES):
        batch = objective.collate(samples_of(objective, [example], encoder))
        alone = objective.scores(model, model.hidden(batch.input_ids), batch)[0]
        torch.testing.assert_close(scores[number, : len(alone)], alone, rtol=0, atol=1e-12)
    assert together.labels.tolist() == [0, 1, 0, 3]


def test_long_texts_lose_the_end_of_the_longest_one(encoder: Encoder) -> None:
    encoded, num_truncated = encoder.delimited(["a" * 300, "b" * 10])
    assert len(encoded.ids) == CONTEXT
    assert num_truncated == 310 + 3 - CONTEXT
    text = encoder.tokenizer.decode(encoded.ids)
    assert text == "a" * (CONTEXT - 3 - 10) + "b" * 10
    both = encoder.tokenizer.decode(encoder.delimited(["a" * 300, "b" * 300])[0].ids)
    assert (both.count("a"), both.count("b")) in ((46, 47), (47, 46))


@pytest.mark.parametrize(
    ("example", "problem"),
    [
        (LabelledExample("1", "text", ("x",), "maybe"), "label 'maybe' is not known"),
        (LabelledExample("1", "entailment", ("x", "y"), "yes"), "example of entailment"),
    ],
)
def test_labels_and_forms_that_were_not_trained_are_refused(
    encoder: Encoder, example: LabelledExample, problem: str
) -> None:
    with pytest.raises(UserError, match=problem):
        ClassificationSettings(labels=LABELS).sample(example, encoder)


def test_a_choice_that_is_none_is_refused(encoder: Encoder) -> None:
    with pytest.raises(UserError, match="none of its 2 choices"):
        ClassificationSettings(form="choice").sample(LabelledExample("1", "choice", ("q", "a", "b"), "2"), encoder)


# DPO and reward models


@pytest.mark.parametrize(("loss_type", "expected"), [("sigmoid", math.log(2)), ("ipo", 25.0)])
def test_dpo_starts_at_the_loss_of_the_reference_model(encoder: Encoder, loss_type: str, expected: float) -> None:
    objective, model = DpoSettings(loss_type=loss_type, beta=0.1), tiny()  # type: ignore[arg-type]
    rows = with_references(objective, samples_of(objective, PAIRS, encoder), model)
    assert mean_terms(model, objective, [objective.collate(rows)])["loss"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss_type", ["sigmoid", "ipo", "orpo"])
def test_dpo_losses_are_their_formulas(encoder: Encoder, loss_type: str) -> None:
    objective, before, model = DpoSettings(loss_type=loss_type, beta=0.3), tiny(), tiny(seed=1)  # type: ignore[arg-type]
    rows = with_references(objective, samples_of(objective, PAIRS, encoder), before)
    losses, right, chosen_nats, chosen_tokens = [], 0, 0.0, 0
    for (sample,) in rows:
        (c, c_n), (r, r_n) = (log_likelihood(model, sample, side) for side in (0, 1))
        h = (c - log_likelihood(before, sample, 0)[0]) - (r - log_likelihood(before, sample, 1)[0])
        if loss_type == "orpo":
            odds = [mean - math.log1p(-math.exp(mean)) for mean in (c / c_n, r / r_n)]
            h = odds[0] - odds[1]
            chosen_nats, chosen_tokens = chosen_nats - c, chosen_tokens + c_n
        losses.append(
            (h - 1 / 0.6) ** 2
            if loss_type == "ipo"
            else math.log1p(math.exp(-(0.3 if loss_type == "sigmoid" else 1) * h))
        )
        right += h > 0
    expected = sum(losses) / len(losses)
    if loss_type == "orpo":
        expected = 0.3 * expected + chosen_nats / chosen_tokens
    means = mean_terms(model, objective, [objective.collate(rows)])
    assert means["loss"] == pytest.approx(expected, rel=1e-9)
    assert means["accuracy"] == right / len(PAIRS)


def test_a_new_reward_model_has_no_preference(encoder: Encoder) -> None:
    objective = RewardModelSettings()
    model = GPT(preset("smith", vocab_size=259, context_length=CONTEXT, num_labels=1))
    means = mean_terms(model, objective, [objective.collate(samples_of(objective, PAIRS, encoder))])
    assert means["loss"] == pytest.approx(math.log(2))


# Distillation


def taught(model: GPT, teacher: GPT, batch: Batch) -> DistillationBatch:
    with torch.no_grad():
        states = teacher.hidden(batch.input_ids, segments=batch.segments)[batch.targets != IGNORED]
    return DistillationBatch(
        **vars(batch),
        teacher_hidden=states,
        teacher_head=teacher.head_weight.detach(),
        teacher_cap=teacher.config.logits_cap,
    )


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distillation_from_oneself_has_no_gradient(encoder: Encoder, temperature: float) -> None:
    model = tiny()
    batch = SftSettings().collate(samples_of(SftSettings(), TALKS, encoder))
    objective = DistillationSettings(teacher="itself", alpha=1.0, temperature=temperature)
    loss = accumulate(model, objective, [taught(model, copy.deepcopy(model), batch)])
    assert abs(loss) < 1e-12
    assert max(gradient.abs().max().item() for gradient in gradients(model)) < 1e-12


@pytest.mark.parametrize("caps", [(None, None), (1.5, None), (None, 0.8)])
def test_distillation_is_the_divergence_of_the_two(encoder: Encoder, caps: tuple[float | None, float | None]) -> None:
    model, teacher = tiny(logits_cap=caps[0]), tiny(seed=1, logits_cap=caps[1])
    batch = SftSettings().collate(samples_of(SftSettings(), TALKS, encoder))
    objective = DistillationSettings(teacher="other", alpha=0.7, temperature=2.0)
    asked = batch.targets != IGNORED
    own, theirs = (which(batch.input_ids)[asked].div(2.0).log_softmax(dim=-1) for which in (model, teacher))
    divergence = (theirs.exp() * (theirs - own)).sum(dim=-1).mean() * 4
    nats = functional.cross_entropy(model(batch.input_ids)[asked], batch.targets[asked])
    expected = 0.7 * divergence + 0.3 * nats
    assert mean_terms(model, objective, [taught(model, teacher, batch)])["loss"] == pytest.approx(
        expected.item(), rel=1e-10
    )


# GRPO


def rollout(model: GPT, rewards: Tensor, reference: GPT, encoder: Encoder) -> RolloutBatch:
    """Completions of TALKS' prompts, as if the model had sampled them, with their rewards (prompts, completions)."""
    batch = SftSettings().collate(samples_of(SftSettings(), TALKS, encoder))
    asked = batch.targets != IGNORED
    each = torch.arange(len(TALKS))[:, None].expand_as(asked)[asked]

    def likelihoods(which: GPT) -> Tensor:
        with torch.no_grad():
            logits = which(batch.input_ids).log_softmax(dim=-1)[asked]
        return logits.gather(1, batch.targets[asked][:, None])[:, 0]

    gains = advantages(rewards).flatten()[each]
    return RolloutBatch(
        batch.input_ids,
        batch.targets,
        advantages=gains,
        old_log_likelihoods=likelihoods(model),
        reference_log_likelihoods=likelihoods(reference),
    )


def test_grpo_of_equal_rewards_has_no_gradient(encoder: Encoder) -> None:
    model = tiny()
    batch = rollout(model, torch.ones(2, 2, dtype=torch.float64), copy.deepcopy(model), encoder)
    accumulate(model, GrpoSettings(kl_coef=0.5), [batch])
    assert max(gradient.abs().max().item() for gradient in gradients(model)) < 1e-12


def test_grpo_advantages_are_of_the_group() -> None:
    found = advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0], [3.0, 3.0, 3.0, 3.0], [0.0, 0.0, 0.0, 4.0]]))
    torch.testing.assert_close(found[0], torch.tensor([1.0, -1.0, -1.0, 1.0]))
    assert found[1].tolist() == [0.0] * 4
    assert found[2, 3] == pytest.approx(3**0.5)


def test_grpo_leaves_what_has_no_reward_out_of_its_group() -> None:
    nan = math.nan
    found = advantages(torch.tensor([[1.0, nan, 0.0, nan], [nan, nan, nan, nan], [nan, 2.0, nan, 2.0]]))
    assert found.tolist() == [[1.0, 0.0, -1.0, 0.0], [0.0] * 4, [0.0] * 4]


@pytest.mark.parametrize("cap", [None, 1.5])
def test_grpo_gradient_is_that_of_the_weighted_likelihood(encoder: Encoder, cap: float | None) -> None:
    """If the model has not moved since it sampled, the gradient is that of -A ln p (Williams 1992)."""
    model, plain = tiny(logits_cap=cap), tiny(logits_cap=cap)
    batch = rollout(model, torch.tensor([[0.0, 1.0], [2.0, 1.0]], dtype=torch.float64), model, encoder)
    loss = accumulate(model, GrpoSettings(kl_coef=0.0), [batch])
    asked = batch.targets != IGNORED
    chosen = plain(batch.input_ids).log_softmax(dim=-1)[asked].gather(1, batch.targets[asked][:, None])[:, 0]
    (-(batch.advantages * chosen).sum() / batch.num_tokens).backward()
    assert loss == pytest.approx(-batch.advantages.mean().item(), rel=1e-9)
    for ours, theirs in zip(gradients(model), gradients(plain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_grpo_clips_a_token_that_has_gained_enough(encoder: Encoder) -> None:
    model = tiny()
    batch = rollout(model, torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64), model, encoder)
    far = RolloutBatch(
        batch.input_ids, batch.targets, reference_log_likelihoods=batch.reference_log_likelihoods,
        advantages=batch.advantages.abs(), old_log_likelihoods=batch.old_log_likelihoods - 1.0,
    )  # fmt: skip
    accumulate(model, GrpoSettings(kl_coef=0.0, clip_range=0.2), [far])
    assert max(gradient.abs().max().item() for gradient in gradients(model)) == 0.0


def test_grpo_divergence_from_the_reference_model_is_never_negative(encoder: Encoder) -> None:
    model = tiny()
    batch = rollout(model, torch.ones(2, 2, dtype=torch.float64), tiny(seed=3), encoder)
    assert mean_terms(model, GrpoSettings(), [batch])["kl"] > 0.01


# SimPO and KTO


def test_simpo_is_its_formula(encoder: Encoder) -> None:
    objective, model = SimpoSettings(beta=1.5, gamma=0.4), tiny()
    rows = samples_of(objective, PAIRS, encoder)
    losses, right = [], 0
    for (sample,) in rows:
        (c, c_n), (r, r_n) = (log_likelihood(model, sample, side) for side in (0, 1))
        margin = 1.5 * c / c_n - 1.5 * r / r_n
        losses.append(math.log1p(math.exp(-(margin - 0.4))))
        right += margin > 0
    means = mean_terms(model, objective, [objective.collate(rows)])
    assert means["loss"] == pytest.approx(sum(losses) / 4, rel=1e-10)
    assert means["accuracy"] == right / 4
    assert not objective.uses_reference_model


def kto_step(
    objective: KtoSettings, model: GPT, reference: GPT, encoder: Encoder, sizes: Sequence[int] = (4,)
) -> list[KtoBatch]:
    """The micro-batches of a step, of so many samples each."""
    rows = with_references(objective, samples_of(objective, WithOtherCompletions(UNPAIRED), encoder), reference)
    return objective.completed(model, divided(objective, rows, sizes))  # type: ignore[return-value]


def test_kto_is_its_formula(encoder: Encoder) -> None:
    objective = KtoSettings(beta=0.3, desirable_weight=0.9, undesirable_weight=1.3)
    model, reference = tiny(seed=1), tiny()
    rows = samples_of(objective, WithOtherCompletions(UNPAIRED), encoder)

    def log_ratio(sample: Sample, number: int) -> float:
        return log_likelihood(model, sample, number)[0] - log_likelihood(reference, sample, number)[0]

    kl = max(0.0, sum(log_ratio(sample, 1) for (sample,) in rows) / 4)
    losses, right = [], 0
    for example, (sample,) in zip(UNPAIRED, rows, strict=True):
        z = (log_ratio(sample, 0) - kl) * (1 if example.is_desirable else -1)
        losses.append((0.9 if example.is_desirable else 1.3) * (1 - 1 / (1 + math.exp(-0.3 * z))))
        right += z > 0
    means = mean_terms(model, objective, kto_step(objective, model, reference, encoder))
    assert means["loss"] == pytest.approx(sum(losses) / 4, rel=1e-10)
    assert means["accuracy"] == right / 4


def test_kto_of_the_reference_model_is_a_half(encoder: Encoder) -> None:
    objective, model = KtoSettings(), tiny()
    batches = kto_step(objective, model, copy.deepcopy(model), encoder)
    assert mean_terms(model, objective, batches)["loss"] == pytest.approx(0.5, abs=1e-12)


def test_kto_estimates_the_divergence_over_the_whole_step_and_never_below_zero(encoder: Encoder) -> None:
    objective, before = KtoSettings(), tiny()
    model, ids = copy.deepcopy(before), kto_step(objective, before, before, encoder)[0].input_ids
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    for _ in range(5):  # it comes to like every completion
        functional.cross_entropy(model(ids)[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    steps = [kto_step(objective, model, before, encoder, sizes) for sizes in ([4], [1, 3], [2, 1, 1])]
    values = [float(batch.kl) for step in steps for batch in step if batch.kl is not None]
    assert len(values) == 6
    assert values[0] > 0
    assert values == pytest.approx([values[0]] * 6, rel=1e-12)
    (batch,) = kto_step(objective, before, model, encoder)
    assert batch.kl == 0


def test_kto_reads_the_next_completion_and_shortens_it_to_fit(encoder: Encoder) -> None:
    user = {"role": "user", "content": "q"}
    long = UnpairedPreferenceExample("", (user,), "a" * 50, is_desirable=True)
    wide = UnpairedPreferenceExample("", ({**user, "content": "q" * 50},), "b", is_desirable=False)
    first, second = (KtoSettings().sample(example, encoder) for example in WithOtherCompletions([long, wide]))
    text = encoder.tokenizer.decode(first.sequences[1].ids)
    assert "b" in text
    assert "a" * 50 not in text
    assert len(second.sequences[1].ids) == CONTEXT
    assert 0 < sum(second.sequences[1].trained) < 50


# All


def distillation_case(encoder: Encoder) -> Case:
    rows, teacher = samples_of(SftSettings(), TALKS, encoder), tiny(seed=1)
    return (
        DistillationSettings(teacher="other"),
        tiny(),
        lambda sizes: [taught(tiny(), teacher, batch) for batch in divided(SftSettings(), rows, sizes)],
    )


def grpo_case(encoder: Encoder, kl_coef: float = 0.02) -> Case:
    whole = rollout(tiny(), torch.tensor([[0.0, 1.0], [2.0, 1.0]], dtype=torch.float64), tiny(seed=1), encoder)
    owner = torch.arange(4)[:, None].expand_as(whole.targets)[whole.targets != IGNORED]
    assert whole.reference_log_likelihoods is not None
    reference = whole.reference_log_likelihoods

    def cut(start: int, stop: int) -> Batch:
        mine = (owner >= start) & (owner < stop)
        return RolloutBatch(
            whole.input_ids[start:stop],
            whole.targets[start:stop],
            advantages=whole.advantages[mine],
            old_log_likelihoods=whole.old_log_likelihoods[mine],
            reference_log_likelihoods=reference[mine],
        )

    def batches(sizes: Sequence[int]) -> list[Batch]:
        return [cut(sum(sizes[:number]), sum(sizes[: number + 1])) for number in range(len(sizes))]

    return GrpoSettings(kl_coef=kl_coef), tiny(), batches


def is_for_text_alone(kind: str) -> bool:
    return KINDS.settings(kind).shapes == (TEXT,)


SPECIAL = {"distillation": distillation_case, "grpo": grpo_case}
CASES: dict[str, Callable[[Encoder], Case]] = {
    **{
        kind: partial(example_case, kind=kind)
        for kind in KINDS.names()
        if not ({kind} & SPECIAL.keys() or is_for_text_alone(kind))
    },
    **SPECIAL,
    "dpo with IPO": partial(example_case, kind="dpo", loss_type="ipo"),
    "dpo with ORPO": partial(example_case, kind="dpo", loss_type="orpo"),
    "grpo without KL": partial(grpo_case, kl_coef=0.0),
}


@pytest.mark.parametrize("name", CASES)
def test_gradient_accumulation_equals_the_large_batch(name: str, encoder: Encoder) -> None:
    check_accumulation(CASES[name](encoder))


@pytest.mark.parametrize("name", [*CASES, "classification of scores alone"])
def test_models_with_tied_weights_can_be_moved(name: str, encoder: Encoder) -> None:
    scores_alone = partial(example_case, kind="classification", auxiliary_weight=0.0)
    objective, untied, batches = CASES.get(name, scores_alone)(encoder)
    model = GPT(untied.config.model_copy(update={"tie_embeddings": True})).double()
    model.load_state_dict(untied.state_dict(), strict=False)
    optimizer = AdamWSettings(learning_rate=1e-2).build(model)
    before = model.embedding.weight.detach().clone()
    train_step(model, objective, optimizer, batches([1, 3]), 1.0, max_gradient_norm=1e-3)
    assert torch.isfinite(model.embedding.weight).all()
    assert not torch.equal(model.embedding.weight, before)


@pytest.mark.parametrize("name", CASES)
def test_counts_are_known_before_the_forward_pass(name: str, encoder: Encoder) -> None:
    check_counts(CASES[name](encoder))


def test_every_shape_of_data_has_one_default_objective() -> None:
    for shape in (*SHAPES.names(), TEXT):
        priorities = [KINDS.settings(name).priority for name in objectives_for(shape)]
        assert priorities.count(max(priorities)) == 1, shape
    assert objectives_for("preference")[0] == "dpo"
    assert {name for shape in (*SHAPES.names(), TEXT) for name in objectives_for(shape)} == {*KINDS.names()}


# Conversations that are longer than the context


def long_talk(num_turns: int, system: bool = True) -> ChatExample:
    turns = [{"role": "system", "content": "s"}] if system else []
    for number in range(num_turns):
        turns += [{"role": "user", "content": f"q{number}"}, {"role": "assistant", "content": f"a{number}"}]
    return ChatExample("long.jsonl, line 1", tuple(turns))


def shown(sample: Sample, encoder: Encoder) -> list[str]:
    return [encoder.tokenizer.decode(sequence.ids) for sequence in sample.sequences]


@pytest.mark.parametrize("system", [False, True])
def test_a_conversation_that_is_too_long_keeps_its_last_turns_and_the_systems(encoder: Encoder, system: bool) -> None:
    talk_of_all = long_talk(9, system)
    whole = encoder.template.encode(encoder.tokenizer, talk_of_all.messages)
    assert len(whole.ids) > CONTEXT
    (sample,) = SftSettings().samples(talk_of_all, encoder)
    (sequence,) = sample.sequences
    start = 1 if system else 0
    kept = [*talk_of_all.messages[:start], *talk_of_all.messages[start + sample.num_omitted :]]
    assert sequence == encoder.template.encode(encoder.tokenizer, kept)
    assert len(sequence.ids) <= CONTEXT
    more = [*talk_of_all.messages[:start], *talk_of_all.messages[start + sample.num_omitted - 2 :]]
    assert len(encoder.template.encode(encoder.tokenizer, more).ids) > CONTEXT
    assert kept[start]["role"] == "user"


def test_conversations_that_are_shortened_are_counted_and_said(encoder: Encoder) -> None:
    splits = ExampleSplits([long_talk(2), long_talk(9), long_talk(12)], [long_talk(12)], [])
    dataset = SftSettings().dataset(DatasetInputs(tiny(), encoder, splits, None, seed=0))
    assert isinstance(dataset, ExampleDataset)
    assert (dataset.train.num_examples, dataset.validation.num_examples) == (3, 1)
    assert dataset.encoding.num_shortened == 3
    num_omitted = dataset.encoding.num_omitted
    line = next(line for line in dataset.description() if "longer" in line)
    assert line == f"3 conversations are longer than the context of 96 tokens: {num_omitted} oldest turns are left out"


@pytest.mark.parametrize("kind", ["dpo", "reward_model", "kto"])
def test_both_completions_follow_the_same_turns(encoder: Encoder, kind: str) -> None:
    prompt = long_talk(8).messages[:-1]
    example = (
        WithOtherCompletions([UnpairedPreferenceExample("here", prompt, "one", True), UNPAIRED[1]])[0]
        if kind == "kto"
        else PreferenceExample("here", prompt, "one", "two and two")
    )
    sample = KINDS.settings(kind)().sample(example, encoder)  # type: ignore[attr-defined]
    assert sample.num_omitted > 0
    first, second = (text.rsplit("assistant", 1)[0] for text in shown(sample, encoder))
    assert first == second
    assert all(len(sequence.ids) <= CONTEXT for sequence in sample.sequences)


LAST_DIFFERS = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if loop.last and m.role == 'assistant' %}{{ '[last]' }}{% endif %}{{ m.content + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_where_a_template_changes_the_last_answer_each_is_trained_as_the_last(encoder: Encoder) -> None:
    other = Encoder(encoder.tokenizer, ChatTemplate(LAST_DIFFERS), CONTEXT)
    example = long_talk(2, system=False)
    samples = SftSettings().samples(example, other)
    assert len(samples) == 2
    for sample, end in zip(samples, (2, 4), strict=True):
        (sequence,) = sample.sequences
        trained = [number for number, is_trained in zip(sequence.ids, sequence.trained, strict=True) if is_trained]
        assert sequence.ids == other.template.rendered_ids(other.tokenizer, example.messages[:end], open_turn=False)
        assert other.tokenizer.decode(trained) == f"[last]a{end // 2 - 1}"
    splits = ExampleSplits([example], [], [])
    dataset = SftSettings().dataset(DatasetInputs(tiny(), other, splits, None, seed=0))
    assert isinstance(dataset, ExampleDataset)
    assert dataset.train.num_examples == 1
