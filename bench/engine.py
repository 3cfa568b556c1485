"""How fast texts are written with GPT-2's shape (124M, random weights), against Transformers and, where it is
installed, llama.cpp, in one run; and at which share of the rate at which memory is read.

python bench/engine.py            batch 1, 16 streams, a long prompt among running streams; float32, int8 and
                                  GGUF's blocks, by PyTorch and by compiled code
--model FOLDER                    a run or another program's model in its place
--formats q8_0 q4_0               not all of float32, int8, q8_0 and q4_0
--rounds 3                        each figure is the median of so many
--streams 16
--short                           no long prompts, and no Transformers
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gptsmith.compress.forms import in_forms, roundable
from gptsmith.convert.formats import Source
from gptsmith.convert.formats.gguf import FILE, GGUFFormatSettings
from gptsmith.convert.load import load
from gptsmith.convert.probe_texts import TEXTS
from gptsmith.generate.engine import Engine
from gptsmith.generate.engine_thread import EngineThread
from gptsmith.generate.request import OutputChunk, Request
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.generate.settings import EngineSettings
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.model.transform import dequantize, quantize
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers.bpe import BPETokenizerSettings
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings

NUM_TOKENS, PROMPT, LONG_PROMPT = 128, 16, 900
GREEDY = SamplingSettings(temperature=0)


def request(number: int, prompt: int = PROMPT, num_tokens: int = NUM_TOKENS) -> Request:
    generator = torch.Generator().manual_seed(number)
    ids = torch.randint(40_000, (prompt,), generator=generator).tolist()
    return Request(ids, num_tokens, GREEDY, ignore_end=True)


class Watch:
    """When each token of a text came."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.ended = threading.Event()

    def __call__(self, piece: OutputChunk) -> None:
        self.times += [time.perf_counter()] * len(piece.tokens)
        if piece.finish_reason is not None:
            self.ended.set()


def written(engine: Engine, requests: list[Request]) -> float:
    """Tokens a second of all together, prompts read included."""
    watches = [Watch() for _ in requests]
    started = time.perf_counter()
    for one, watch in zip(requests, watches, strict=True):
        engine.submit(one, watch)
    for watch in watches:
        watch.ended.wait()
    return sum(len(watch.times) for watch in watches) / (time.perf_counter() - started)


def beside_a_prompt(engine: Engine, num_streams: int) -> dict[str, float]:
    """The longest pause of running streams while a long prompt is read, in their usual steps; and how much longer the
    prompt takes than alone."""
    alone = Watch()
    started = time.perf_counter()
    engine.submit(request(1000 + num_streams, LONG_PROMPT, 1), alone)  # no prompt twice: its beginning would be known
    alone.ended.wait()
    alone_s = alone.times[0] - started
    streams = [Watch() for _ in range(num_streams)]
    tickets = [engine.submit(request(number, num_tokens=900), watch) for number, watch in enumerate(streams)]
    while min(len(watch.times) for watch in streams) < 40:
        engine.call(lambda: None).result()
    usual_s = statistics.median(b - a for w in streams for a, b in zip(w.times[-20:], w.times[-19:], strict=False))
    prompt = Watch()
    asked = time.perf_counter()
    engine.submit(request(2000 + num_streams, LONG_PROMPT, 1), prompt)
    prompt.ended.wait()
    first_s = prompt.times[0] - asked
    for ticket in tickets:
        ticket.cancel()
    for watch in streams:
        watch.ended.wait()
    pauses = [
        b - a
        for w in streams
        for a, b in zip(w.times, w.times[1:], strict=False)
        if asked <= b <= prompt.times[0] + usual_s
    ]
    return {"longest pause, in usual steps": max(pauses) / usual_s, "prompt, times alone": first_s / alone_s}


def theirs(rounds: int) -> float:
    """Tokens a second of Transformers' generate, batch 1, float32."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config()).eval()
    ids = torch.tensor([request(0).prompt_ids])

    def once() -> float:
        started = time.perf_counter()
        model.generate(ids, max_new_tokens=NUM_TOKENS, do_sample=False, eos_token_id=None, pad_token_id=0)
        return NUM_TOKENS / (time.perf_counter() - started)

    return median(once, rounds)


class LlamaCpp:
    """llama.cpp with our weights, by its own interface: every step decodes one token of each text, greedily."""

    def __init__(self, path: Path, num_streams: int, vocab_size: int) -> None:
        import llama_cpp

        from gptsmith.convert.backends.llama_cpp import CALLBACK

        self.library: Any = llama_cpp
        self.vocab_size = vocab_size
        llama_cpp.llama_log_set(CALLBACK, None)  # it tells hundreds of lines a file
        self.model = llama_cpp.llama_model_load_from_file(bytes(path), llama_cpp.llama_model_default_params())
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = 2 * num_streams * (PROMPT + NUM_TOKENS)
        settings.n_seq_max = num_streams
        settings.n_threads = settings.n_threads_batch = torch.get_num_threads()
        self.context = llama_cpp.llama_init_from_model(self.model, settings)
        self.batch = llama_cpp.llama_batch_init(num_streams * PROMPT, 0, 1)

    def written(self, prompts: Sequence[Sequence[int]]) -> float:
        """Tokens a second of all together, prompts read included."""
        self.library.llama_memory_clear(self.library.llama_get_memory(self.context), True)
        started = time.perf_counter()
        tokens = self._read(prompts, 0)
        for place in range(PROMPT, PROMPT + NUM_TOKENS - 1):
            tokens = self._read([[token] for token in tokens], place)
        return len(prompts) * NUM_TOKENS / (time.perf_counter() - started)

    def _read(self, pieces: Sequence[Sequence[int]], place: int) -> list[int]:
        """The likeliest token after each text, of which a piece is read that begins at `place`."""
        batch, at = self.batch, 0
        last = []
        for text, piece in enumerate(pieces):
            for number, token in enumerate(piece):
                batch.token[at], batch.pos[at] = token, place + number
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, text
                batch.logits[at] = number == len(piece) - 1
                at += 1
            last.append(at - 1)
        batch.n_tokens = at
        failed = self.library.llama_decode(self.context, batch)
        assert not failed, f"llama.cpp could not decode: {failed}"
        rows = (self.library.llama_get_logits_ith(self.context, at) for at in last)
        return [int(np.ctypeslib.as_array(row, (self.vocab_size,)).argmax()) for row in rows]

    def close(self) -> None:
        self.library.llama_batch_free(self.batch)
        self.library.llama_free(self.context)
        self.library.llama_model_free(self.model)


def llama_cpp_s(
    model: GPT, tokenizer: Tokenizer, precision: str | None, rounds: int, num_streams: int
) -> tuple[float, float]:
    """Tokens a second of llama.cpp with one text and with many, from a file that our exporter writes; blocks
    stay as they are."""
    source = Source("model", model, tokenizer, None, {}, None, "")
    found = []
    settings = GGUFFormatSettings.parse({} if precision is None else {"precision": precision})
    with tempfile.TemporaryDirectory() as folder:
        settings.write(source, Path(folder))
        for count in (1, num_streams):
            peer = LlamaCpp(Path(folder) / FILE, count, model.config.vocab_size)
            prompts = [request(number).prompt_ids for number in range(count)]
            found.append(median(lambda peer=peer, prompts=prompts: peer.written(prompts), rounds))  # type: ignore
            peer.close()
    return found[0], found[1]


def read_rate() -> float:
    """Bytes a second that all threads together read from memory: the best of a few sums of 512 MB."""
    numbers = torch.ones(1 << 26, dtype=torch.int64)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        numbers.sum()
        best = min(best, time.perf_counter() - started)
    return numbers.nbytes / best


def read_bytes(model: GPT) -> int:
    """The bytes of weights that a token needs: all but the rows of an embedding that is no head."""
    held = sum(parameter.nbytes for parameter in model.parameters())
    return held if model.config.tie_embeddings else held - model.embedding.weight.nbytes


def median(measure: Callable[[], float], rounds: int) -> float:
    measure()
    return statistics.median(measure() for _ in range(rounds))


def ours(
    model: GPT, tokenizer: Tokenizer, engine_name: str, rounds: int, num_streams: int, *, is_short: bool
) -> dict[str, Any]:
    thread = EngineThread()
    settings = EngineSettings.parse(
        {"engine": engine_name, "max_num_seqs": num_streams + 1, "num_speculative_tokens": 0}
    )
    engine = Engine(model, tokenizer, settings=settings, thread=thread)
    one = median(lambda: written(engine, [request(0)]), rounds)
    many = median(lambda: written(engine, [request(number) for number in range(num_streams)]), rounds)
    pauses = {} if is_short else {count: beside_a_prompt(engine, count) for count in (1, 4, num_streams)}
    engine.close()
    thread.close()
    return {"one": one, "many": many, "pauses": pauses}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--model")
    parser.add_argument("--formats", nargs="+", default=["float32", "int8", "q8_0", "q4_0"])
    arguments = parser.parse_args()
    rounds, streams = arguments.rounds, arguments.streams
    if arguments.model:
        loaded = load(arguments.model, dtype="float32")
        model, words = dequantize(loaded.model), loaded.tokenizer
    else:
        model, words = GPT(preset("gpt2"), seed=1).eval(), BPETokenizerSettings().train(lambda: iter(TEXTS), 512)
    made: dict[str, Callable[[], GPT]] = {
        "float32": lambda: model,
        "int8": lambda: quantize(model),
        "q8_0": lambda: in_forms(model, dict.fromkeys(roundable(model), "q8_0")),
        "q4_0": lambda: in_forms(model, dict.fromkeys(roundable(model), "q4_0")),
    }
    rate = read_rate()
    print(f"memory: {rate / 1e9:.1f} GB/s", flush=True)

    def say(title: str, one: float, many: float, num_bytes: int | None) -> None:
        share = "" if num_bytes is None else f" ({one * num_bytes / rate:.0%} of the memory's rate)"
        print(f"{title}: batch 1 {one:.1f} tokens/s{share}, {streams} streams {many:.1f}", flush=True)

    if not arguments.short:
        print(f"Transformers, float32, batch 1: {theirs(rounds):.1f} tokens/s", flush=True)
    if importlib.util.find_spec("llama_cpp") is None:
        print("llama.cpp: not installed here")
    else:
        for name, precision in (("float32", "float16"), ("q8_0", None), ("q4_0", None)):
            if name in arguments.formats:
                one, many = llama_cpp_s(made[name](), words, precision, rounds, streams)
                say(f"llama.cpp, {precision or name}", one, many, read_bytes(made[name]()) // (2 if precision else 1))
    tokenizer = BytesTokenizerSettings().train(list, 0)
    for name in arguments.formats:
        for engine_name in ("torch", "native"):
            if engine_name == "native" and importlib.util.find_spec("numba") is None:
                continue
            one_model = made[name]()
            num_bytes = None if name == "int8" else read_bytes(one_model)  # its head is read in other forms than kept
            figures = ours(one_model, tokenizer, engine_name, rounds, streams, is_short=arguments.short)
            title = f"{name}, {engine_name}"
            say(title, figures["one"], figures["many"], num_bytes)
            for count, pause in figures["pauses"].items():
                said = ", ".join(f"{key} {value:.2f}" for key, value in pause.items())
                print(f"{title}: beside {count} streams: {said}", flush=True)


if __name__ == "__main__":
    main()
