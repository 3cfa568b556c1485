"""Every objective: what its loss is where that is known, and that any division into batches gives the same gradient."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gptsmith.base.errors import UserError
from gptsmith.data.examples import ChatExample, Example, LabelledExample, PreferenceExample
from gptsmith.data.windows import IGNORED
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings
from gptsmith.train.objectives import KINDS, Batch, ObjectiveSettings, measured
from gptsmith.train.objectives.classification import ClassificationSettings, _with_hidden_words
from gptsmith.train.objectives.distillation import DistillationSettings, TaughtBatch
from gptsmith.train.objectives.dpo import DpoSettings, answer_log_likelihoods
from gptsmith.train.objectives.grpo import GrpoSettings, RolloutBatch, advantages
from gptsmith.train.objectives.reward_model import RewardModelSettings
from gptsmith.train.objectives.sft import SftSettings
from gptsmith.train.samples import Encoder, ExampleObjective, Sample, pack
from gptsmith.train.step import accumulate

CONTEXT = 96
LABELS = ["no", "yes", "perhaps"]


def tiny(num_labels: int | None = None, seed: int = 0) -> GPT:
    """A float64 model all of whose weights are drawn, also those that a new model starts at zero."""
    table = {"vocab_size": 259, "context_length": CONTEXT, "embed_dim": 32, "num_layers": 2, "num_heads": 2}
    model = GPT(preset("smith", **table, head_dim=16, attention={"num_kv_heads": 1}, num_labels=num_labels)).double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.2)
    return model


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    tokenizer: Tokenizer = BytesTokenizerSettings().train(list, 0)
    return Encoder(tokenizer, ChatTemplate(), CONTEXT)


def talk(question: str, answer: str) -> ChatExample:
    turns = ({"role": "user", "content": question}, {"role": "assistant", "content": answer})
    return ChatExample(f"about {question}", turns)


def pair(question: str, chosen: str, rejected: str) -> PreferenceExample:
    return PreferenceExample(f"about {question}", ({"role": "user", "content": question},), chosen, rejected)


TALKS = [talk("a", "one"), talk("bb", "two and two"), talk("c", "3"), talk("dddd", "four, or five")]
PAIRS = [pair("a", "one", "two words"), pair("bb", "three", "4"), pair("c", "x", "yy"), pair("d", "long one", "z")]
TEXTS = [
    LabelledExample(f"line {n}", "text", (text,), label)
    for n, (text, label) in enumerate([("abc", "yes"), ("d", "no"), ("a longer text", "perhaps"), ("ef", "yes")])
]
CHOICES = [
    LabelledExample("1", "choice", ("2 and 2?", "four", "five"), "0"),
    LabelledExample("2", "choice", ("1 and 1?", "three", "two", "one"), "two"),
    LabelledExample("3", "choice", ("0 and 1?", "one", "none"), "one"),
    LabelledExample("4", "choice", ("3 and 1?", "a", "b", "c", "four"), "3"),
]


def samples_of(objective: ExampleObjective, examples: Sequence[Example], encoder: Encoder) -> list[list[Sample]]:
    return [[objective.sample(example, encoder)] for example in examples]


def with_references(objective: DpoSettings, rows: list[list[Sample]], model: GPT) -> list[list[Sample]]:
    for (sample,) in rows:
        with torch.no_grad():
            sample.reference = tuple(answer_log_likelihoods(model, objective.collate([[sample]])).tolist())
    return rows


def gradients(model: GPT) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]


# Chat


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
    unpacked = measured(model, objective, [objective.collate([[sample]]) for sample in samples])
    assert measured(model, objective, [packed])["loss"] == pytest.approx(unpacked["loss"], rel=1e-12)


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


def test_packing_loses_nothing_and_fits(encoder: Encoder) -> None:
    objective = SftSettings()
    samples = [objective.sample(talk("q" * (n % 7), "a" * (n * 5 % 40 + 1)), encoder) for n in range(60)]
    rows = pack(samples, CONTEXT)
    assert sorted(map(id, (sample for row in rows for sample in row))) == sorted(map(id, samples))
    assert max(sum(sample.num_tokens for sample in row) for row in rows) <= CONTEXT
    assert len(rows) <= math.ceil(1.25 * sum(sample.num_tokens for sample in samples) / CONTEXT)


def test_a_conversation_that_does_not_fit_is_an_error(encoder: Encoder) -> None:
    with pytest.raises(UserError, match="do not fit in the context of 96"):
        SftSettings().sample(talk("q", "a" * CONTEXT), encoder)


# Classify


def test_a_new_classifier_knows_nothing(encoder: Encoder) -> None:
    objective = ClassificationSettings(labels=LABELS, auxiliary_weight=0)
    model = GPT(preset("smith", vocab_size=259, context_length=CONTEXT, num_labels=3))
    means = measured(model, objective, [objective.collate(samples_of(objective, TEXTS, encoder))])
    assert means["loss"] == pytest.approx(math.log(3))


def test_the_label_is_read_off_the_last_token_and_the_texts_are_learnt_besides(encoder: Encoder) -> None:
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
    means = measured(model, objective, [objective.collate(samples_of(objective, TEXTS, encoder))])
    assert means["loss"] == pytest.approx(nats / 4 + 0.5 * text_nats / tokens, rel=1e-10)


def test_the_label_can_be_read_off_all_tokens(encoder: Encoder) -> None:
    objective, model = ClassificationSettings(labels=LABELS, auxiliary_weight=0, pooling="mean"), tiny(num_labels=3)
    nats = 0.0
    for example in TEXTS:
        hidden = model.hidden(torch.tensor([[256, *example.texts[0].encode(), 258]]))[0]
        scores = model.score_head(hidden.mean(dim=0, keepdim=True))
        nats += functional.cross_entropy(scores, torch.tensor([LABELS.index(str(example.label))])).item()
    means = measured(model, objective, [objective.collate(samples_of(objective, TEXTS, encoder))])
    assert means["loss"] == pytest.approx(nats / 4, rel=1e-10)


def test_the_best_classifier_can_be_the_one_with_most_right_labels() -> None:
    means = {"label": 0.7, "accuracy": 0.75, "loss": 0.9}
    assert ClassificationSettings(labels=LABELS).judged(means) == 0.7
    assert ClassificationSettings(labels=LABELS, chosen_by="accuracy").judged(means) == 0.25


def test_words_are_hidden_in_training_alone(encoder: Encoder) -> None:
    hiding, plain = (
        ClassificationSettings(labels=LABELS, auxiliary_weight=0, word_dropout=share, pooling="mean")
        for share in (0.5, 0.0)
    )
    model = tiny(num_labels=3)
    batch = plain.collate(samples_of(plain, TEXTS, encoder))

    def label_loss(objective: ClassificationSettings) -> float:
        torch.manual_seed(0)
        return float(objective.loss(model, batch)["label"].sum.detach())

    assert label_loss(hiding) != label_loss(plain)
    model.eval()
    assert label_loss(hiding) == label_loss(plain)
    read = _with_hidden_words(batch.input_ids, batch.last, 0.999)
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
    encoded = encoder.delimited(["a" * 300, "b" * 10])
    assert len(encoded.ids) == CONTEXT
    text = encoder.tokenizer.decode(encoded.ids)
    assert text == "a" * (CONTEXT - 3 - 10) + "b" * 10
    both = encoder.tokenizer.decode(encoder.delimited(["a" * 300, "b" * 300]).ids)
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


# Preference and reward


@pytest.mark.parametrize(("loss_type", "expected"), [("sigmoid", math.log(2)), ("ipo", 25.0)])
def test_preferences_begin_where_the_model_stands(encoder: Encoder, loss_type: str, expected: float) -> None:
    objective, model = DpoSettings(loss_type=loss_type, beta=0.1), tiny()  # type: ignore[arg-type]
    rows = with_references(objective, samples_of(objective, PAIRS, encoder), model)
    assert measured(model, objective, [objective.collate(rows)])["loss"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("loss_type", ["sigmoid", "ipo", "orpo"])
def test_preference_losses_are_their_formulas(encoder: Encoder, loss_type: str) -> None:
    objective, before, model = DpoSettings(loss_type=loss_type, beta=0.3), tiny(), tiny(seed=1)  # type: ignore[arg-type]
    rows = with_references(objective, samples_of(objective, PAIRS, encoder), before)
    losses, right, chosen_nats, chosen_tokens = [], 0, 0.0, 0
    for (sample,) in rows:
        sums = {}
        for name, which in (("before", before), ("now", model)):
            for side, sequence in zip(("chosen", "rejected"), sample.sequences, strict=True):
                logits = which(torch.tensor([sequence.ids]))[0].log_softmax(dim=-1)
                asked = [place for place, trained in enumerate(sequence.trained) if trained]
                each = [logits[place - 1, sequence.ids[place]].item() for place in asked]
                sums[name, side] = (sum(each), len(each))
        (c, c_n), (r, r_n) = sums["now", "chosen"], sums["now", "rejected"]
        h = (c - sums["before", "chosen"][0]) - (r - sums["before", "rejected"][0])
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
    means = measured(model, objective, [objective.collate(rows)])
    assert means["loss"] == pytest.approx(expected, rel=1e-9)
    assert means["accuracy"] == right / len(PAIRS)


def test_a_new_reward_model_knows_nothing(encoder: Encoder) -> None:
    objective = RewardModelSettings()
    model = GPT(preset("smith", vocab_size=259, context_length=CONTEXT, num_labels=1))
    means = measured(model, objective, [objective.collate(samples_of(objective, PAIRS, encoder))])
    assert means["loss"] == pytest.approx(math.log(2))


# Distill


def taught(model: GPT, teacher: GPT, batch: Batch) -> TaughtBatch:
    with torch.no_grad():
        states = teacher.hidden(batch.input_ids, segments=batch.segments)[batch.targets != IGNORED]
    return TaughtBatch(**vars(batch), teacher_hidden=states, teacher_head=teacher.head_weight.detach())


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distilling_from_oneself_moves_nothing(encoder: Encoder, temperature: float) -> None:
    model = tiny()
    batch = SftSettings().collate(samples_of(SftSettings(), TALKS, encoder))
    objective = DistillationSettings(teacher="itself", alpha=1.0, temperature=temperature)
    loss = accumulate(model, objective, [taught(model, copy.deepcopy(model), batch)])
    assert abs(loss) < 1e-12
    assert max(gradient.abs().max().item() for gradient in gradients(model)) < 1e-12


def test_distilling_is_the_divergence_of_the_two(encoder: Encoder) -> None:
    model, teacher = tiny(), tiny(seed=1)
    batch = SftSettings().collate(samples_of(SftSettings(), TALKS, encoder))
    objective = DistillationSettings(teacher="other", alpha=0.7, temperature=2.0)
    asked = batch.targets != IGNORED
    own, theirs = (which(batch.input_ids)[asked].div(2.0).log_softmax(dim=-1) for which in (model, teacher))
    divergence = (theirs.exp() * (theirs - own)).sum(dim=-1).mean() * 4
    nats = functional.cross_entropy(model(batch.input_ids)[asked], batch.targets[asked])
    expected = 0.7 * divergence + 0.3 * nats
    assert measured(model, objective, [taught(model, teacher, batch)])["loss"] == pytest.approx(
        expected.item(), rel=1e-10
    )


# Policy


def rollout(model: GPT, worth: Tensor, reference: GPT, encoder: Encoder) -> RolloutBatch:
    """Answers to TALKS' questions that the model is said to have drawn, and what they are worth (prompts, answers)."""
    batch = SftSettings().collate(samples_of(SftSettings(), TALKS, encoder))
    asked = batch.targets != IGNORED
    each = torch.arange(len(TALKS))[:, None].expand_as(asked)[asked]

    def likelihoods(which: GPT) -> Tensor:
        with torch.no_grad():
            logits = which(batch.input_ids).log_softmax(dim=-1)[asked]
        return logits.gather(1, batch.targets[asked][:, None])[:, 0]

    gains = advantages(worth).flatten()[each]
    return RolloutBatch(
        batch.input_ids, batch.targets, advantages=gains, drawn=likelihoods(model), reference=likelihoods(reference)
    )


def test_equal_rewards_move_nothing(encoder: Encoder) -> None:
    model = tiny()
    batch = rollout(model, torch.ones(2, 2, dtype=torch.float64), copy.deepcopy(model), encoder)
    accumulate(model, GrpoSettings(kl_coef=0.5), [batch])
    assert max(gradient.abs().max().item() for gradient in gradients(model)) < 1e-12


def test_advantages_are_of_the_group() -> None:
    found = advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0], [3.0, 3.0, 3.0, 3.0], [0.0, 0.0, 0.0, 4.0]]))
    torch.testing.assert_close(found[0], torch.tensor([1.0, -1.0, -1.0, 1.0]))
    assert found[1].tolist() == [0.0] * 4
    assert found[2, 3] == pytest.approx(3**0.5)


def test_the_policy_gradient_is_that_of_the_weighted_likelihood(encoder: Encoder) -> None:
    """Where the model has not moved since it drew, the gradient is that of -A ln p (Williams 1992)."""
    model, plain = tiny(), tiny()
    batch = rollout(model, torch.tensor([[0.0, 1.0], [2.0, 1.0]], dtype=torch.float64), model, encoder)
    loss = accumulate(model, GrpoSettings(kl_coef=0.0), [batch])
    asked = batch.targets != IGNORED
    chosen = plain(batch.input_ids).log_softmax(dim=-1)[asked].gather(1, batch.targets[asked][:, None])[:, 0]
    (-(batch.advantages * chosen).sum() / batch.num_tokens).backward()
    assert loss == pytest.approx(-batch.advantages.mean().item(), rel=1e-9)
    for ours, theirs in zip(gradients(model), gradients(plain), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_a_token_that_has_gained_enough_gains_no_more(encoder: Encoder) -> None:
    model = tiny()
    batch = rollout(model, torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64), model, encoder)
    far = RolloutBatch(
        batch.input_ids, batch.targets, reference=batch.reference, advantages=batch.advantages.abs(),
        drawn=batch.drawn - 1.0,
    )  # fmt: skip
    accumulate(model, GrpoSettings(kl_coef=0.0, clip_range=0.2), [far])
    assert max(gradient.abs().max().item() for gradient in gradients(model)) == 0.0


def test_the_divergence_from_the_model_before_is_never_negative(encoder: Encoder) -> None:
    model = tiny()
    batch = rollout(model, torch.ones(2, 2, dtype=torch.float64), tiny(seed=3), encoder)
    assert measured(model, GrpoSettings(), [batch])["kl"] > 0.01


# All


def sft_parts(encoder: Encoder) -> tuple[ObjectiveSettings, GPT, Callable[[slice], Batch]]:
    objective = SftSettings()
    rows = samples_of(objective, TALKS, encoder)
    return objective, tiny(), lambda part: objective.collate(rows[part])


def classification_parts(encoder: Encoder) -> tuple[ObjectiveSettings, GPT, Callable[[slice], Batch]]:
    objective = ClassificationSettings(labels=LABELS)
    rows = samples_of(objective, TEXTS, encoder)
    return objective, tiny(num_labels=3), lambda part: objective.collate(rows[part])


def dpo_parts(encoder: Encoder, loss_type: str = "sigmoid") -> tuple[ObjectiveSettings, GPT, Callable[[slice], Batch]]:
    objective = DpoSettings(loss_type=loss_type)  # type: ignore[arg-type]
    rows = with_references(objective, samples_of(objective, PAIRS, encoder), tiny(seed=1))
    return objective, tiny(), lambda part: objective.collate(rows[part])


def reward_model_parts(encoder: Encoder) -> tuple[ObjectiveSettings, GPT, Callable[[slice], Batch]]:
    objective = RewardModelSettings()
    rows = samples_of(objective, PAIRS, encoder)
    return objective, tiny(num_labels=1), lambda part: objective.collate(rows[part])


def distillation_parts(encoder: Encoder) -> tuple[ObjectiveSettings, GPT, Callable[[slice], Batch]]:
    rows = samples_of(SftSettings(), TALKS, encoder)
    teacher = tiny(seed=1)
    return (
        DistillationSettings(teacher="other"),
        tiny(),
        lambda part: taught(tiny(), teacher, SftSettings().collate(rows[part])),
    )


def grpo_parts(encoder: Encoder, kl_coef: float = 0.02) -> tuple[ObjectiveSettings, GPT, Callable[[slice], Batch]]:
    whole = rollout(tiny(), torch.tensor([[0.0, 1.0], [2.0, 1.0]], dtype=torch.float64), tiny(seed=1), encoder)
    owner = torch.arange(4)[:, None].expand_as(whole.targets)[whole.targets != IGNORED]

    def cut(part: slice) -> Batch:
        rows = list(range(4))[part]
        mine = (owner >= rows[0]) & (owner <= rows[-1])
        return RolloutBatch(
            whole.input_ids[part], whole.targets[part], advantages=whole.advantages[mine], drawn=whole.drawn[mine],
            reference=whole.reference[mine],
        )  # fmt: skip

    return GrpoSettings(kl_coef=kl_coef), tiny(), cut


PARTS = {
    "sft": sft_parts, "classification": classification_parts, "dpo": dpo_parts, "reward_model": reward_model_parts,
    "distillation": distillation_parts, "grpo": grpo_parts, "orpo": lambda encoder: dpo_parts(encoder, "orpo"),
    "grpo without KL": lambda encoder: grpo_parts(encoder, kl_coef=0.0),
}  # fmt: skip


def test_every_objective_is_tested_here() -> None:
    assert {*KINDS.names(), "orpo", "grpo without KL"} == {*PARTS, "next_token"}


@pytest.mark.parametrize("name", PARTS)
def test_gradient_accumulation_equals_the_large_batch(name: str, encoder: Encoder) -> None:
    objective, one, part = PARTS[name](encoder)
    many = copy.deepcopy(one)
    losses = [
        accumulate(one, objective, [part(slice(0, 4))]),
        accumulate(many, objective, [part(slice(0, 1)), part(slice(1, 4))]),
    ]
    assert abs(losses[0] - losses[1]) < 1e-12
    assert any(gradient.abs().max() > 1e-6 for gradient in gradients(one))
    for ours, theirs in zip(gradients(one), gradients(many), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", PARTS)
def test_counts_are_known_before_the_forward_pass(name: str, encoder: Encoder) -> None:
    objective, model, part = PARTS[name](encoder)
    batch = part(slice(0, 4))
    assert objective.counts(batch) == {name: term.count for name, term in objective.loss(model, batch).items()}
