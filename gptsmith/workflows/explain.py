"""Why a model writes a word: its reply, and claims about it that are tested on the model itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gptsmith.base.console import meter
from gptsmith.base.errors import UserError
from gptsmith.base.files import write_atomically
from gptsmith.base.verbs import verb
from gptsmith.convert.load import Loaded, load
from gptsmith.explain.answer import Answer
from gptsmith.explain.claim import Explanation
from gptsmith.explain.explaining import Messages, explained, methods_of, num_tested
from gptsmith.explain.inside import explained_model, explained_pair
from gptsmith.explain.methods import DEFAULT_METHODS, PARTS_METHODS, MethodSettings
from gptsmith.explain.own_text import own_text
from gptsmith.explain.page import explanation_page
from gptsmith.explain.prompt import Prompt
from gptsmith.explain.question import Question
from gptsmith.explain.reading import Observe
from gptsmith.explain.scored import label_question, reward_question
from gptsmith.generate.api import Completion
from gptsmith.generate.engine import Engine
from gptsmith.generate.inference_model import inference_model
from gptsmith.generate.request import ContextOverflowError, Request
from gptsmith.generate.settings import EngineSettings
from gptsmith.text.chat_template import checked_messages
from gptsmith.workflows.requests import ExplainRequest


@verb(ExplainRequest, "run", "prompt")
def explain(request: ExplainRequest) -> Explanation:
    """Explain why a model writes a word of its reply to a prompt: how sure it was, and which words of the prompt
    mattered, tested on the model itself. The label of a classifier and the score of a reward model are explained in the
    same way.

    Returns:
        the explanation: `claims`, each with `says`, `items`, `verdict` and `test`; `target`, `against`, `difference`
        (nats), `reply`; notebooks show it, and `plain()` is its JSON.

    Raises:
        UserError: the model cannot be read, the word is not in the reply, prompt and reply are longer than the context,
            two words are too close to explain, or a method cannot serve this model.
    """
    loaded = load(request.run, device=request.device, dtype=request.dtype)
    is_inside = request.check or request.heads or request.between is not None
    found = (_of_the_inside if is_inside else _of_an_answer)(request, loaded)
    if request.html is not None:
        write_atomically(Path(request.html), explanation_page(found), private=True)
    return found


def _of_an_answer(request: ExplainRequest, loaded: Loaded) -> Explanation:
    """The explanation of a word, a reply, a label or a score."""
    names = (*(request.methods or DEFAULT_METHODS), *(PARTS_METHODS if request.parts else ()))
    methods = methods_of(names, request.by)
    with _progress() as observe:
        asked = _of_a_score if loaded.config.num_labels else _of_a_reply
        question, shown, reply, span = asked(request, loaded, methods, observe)
        return explained(
            question, methods, run=str(request.run), step=loaded.run.step, prompt=shown, reply=reply, span=span,
            is_lenient=request.parts,
        )  # fmt: skip


def _of_the_inside(request: ExplainRequest, loaded: Loaded) -> Explanation:
    """The explanation of the model as an engine runs it, or of the difference between two prompts.

    Raises:
        UserError: the model writes no words, has no heads that could show a role, or the prompts cannot be compared.
    """
    if not request.check:
        loaded.require_words()
    model, run, step, seed = inference_model(loaded.model), str(request.run), loaded.run.step, request.seed or 0
    if request.between is None:
        return explained_model(
            model, loaded.tokenizer, run=run, step=step, checks=request.check, heads=request.heads, seed=seed
        )
    shown, prompt = _prompt(request, loaded)
    _, other = _prompt(request.model_copy(update={"prompt": request.between}), loaded)
    question = Question(model, loaded.tokenizer, prompt, 0, 0, seed=seed)
    return explained_pair(question, other, run=run, step=step, prompt=shown)


Asked = tuple[Question, str | Messages, str, tuple[int, int]]
"""A question, the prompt as it is shown, the reply, and the characters of it that the question is about."""


def _of_a_reply(request: ExplainRequest, loaded: Loaded, methods: list[MethodSettings], observe: Observe) -> Asked:
    """The question about a word of a reply, or about all of it."""
    engine = Engine(loaded.model, loaded.tokenizer, settings=EngineSettings(engine=request.engine, max_num_seqs=1))
    shown, prompt = _prompt(request, loaded)
    if request.reply is None:
        ids = _written(request, loaded, engine, prompt)
    else:
        ids = tuple(loaded.tokenizer.encode_inside(request.reply))
    seed = request.resolved_seed
    other = own_text(engine.model, loaded.tokenizer, seed=seed)
    answer = Answer(engine.model, loaded.tokenizer, prompt, ids, other, observe)
    if request.whole:
        whole = answer.whole_question(num_claims=num_tested(methods), seed=seed)
        return whole, shown, answer.text, (0, len(answer.text))
    place = answer.least_sure() if request.word is None else answer.token_of_word(request.word)
    question = answer.question(place, request.against, num_claims=num_tested(methods), seed=seed)
    return question, shown, answer.text, answer.spans[place]


def _of_a_score(request: ExplainRequest, loaded: Loaded, methods: list[MethodSettings], observe: Observe) -> Asked:
    """The question about the label of a text, or the score of a reply.

    Raises:
        UserError: the request is about a word that such a model does not write.
    """
    if request.word is not None or request.whole:
        raise UserError(f"{request.run} writes no words: its label or score is explained; leave out --word and --whole")
    seed, model = request.resolved_seed, inference_model(loaded.model)
    other = own_text(model, loaded.tokenizer, seed=seed)
    named = {"held_out_ids": other, "num_claims": num_tested(methods), "seed": seed, "observe": observe}
    if loaded.config.num_labels == 1 and loaded.template is not None:
        if request.reply is None:
            raise UserError(f"{request.run} is a reward model: give the reply that it is to score with --reply TEXT")
        messages = _messages(request)
        question = reward_question(loaded, model, messages, request.reply, **named)
        conversation = [*messages, {"role": "assistant", "content": request.reply}]
        return question, conversation, question.target_choice.text, (0, len(question.target_choice.text))
    if not request.prompt:
        raise UserError(f"{request.run} is a classifier: give the text whose label is to be explained")
    question = label_question(loaded, model, request.prompt, request.against, **named)
    label = question.target_choice.text
    return question, request.prompt, label, (0, len(label))


def _prompt(request: ExplainRequest, loaded: Loaded) -> tuple[str | Messages, Prompt]:
    """The prompt as it is shown, and as the model reads it.

    Raises:
        UserError: the model takes no conversation.
    """
    if loaded.template is not None:
        messages = _messages(request)
        return messages, Prompt.of_messages(loaded.tokenizer, loaded.template, messages)
    if request.messages is not None or request.system is not None:
        raise UserError(f"{request.run} is a base model, which only continues text: give a prompt, and no messages")
    prompt = Prompt.of_text(loaded.tokenizer, request.prompt or "")
    return "".join(passage.text for passage in prompt.passages), prompt


def _messages(request: ExplainRequest) -> list[dict[str, str]]:
    """The conversation that is asked about.

    Raises:
        DataError: its messages are not sound.
    """
    if request.messages is not None:
        return checked_messages(request.messages)
    beginning = [{"role": "system", "content": request.system}] if request.system else []
    return [*beginning, {"role": "user", "content": request.prompt or ""}]


def _written(request: ExplainRequest, loaded: Loaded, engine: Engine, prompt: Prompt) -> tuple[int, ...]:
    """The tokens that the model writes after a prompt: those of `generate` and `chat` with the same seed.

    Raises:
        UserError: the prompt leaves no room in the context.
    """
    wanted = Request(prompt.ids, request.max_tokens, loaded.sampling(request.sampling()), seed=request.resolved_seed)
    completion = Completion([])
    try:
        for chunk in engine.stream(wanted):
            completion.add(chunk)
    except ContextOverflowError as error:
        raise UserError(f"{error}: shorten the prompt") from None
    return tuple(completion.ids)


@contextmanager
def _progress() -> Iterator[Observe]:
    """A bar of the changed prompts that are read, where there are any."""
    with meter("reading changed prompts", 1, count=False) as bar:

        def observe(num_read: int, num_asked: int) -> None:
            bar.resize(num_asked)
            bar.update(num_read, f"{num_read:,} of {num_asked:,}")

        yield observe
