"""MinHash digests of documents (Broder 1997): the smallest of their shingles under each of some random orders."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import numpy as np
from rensa import RMinHash

from gptsmith.base.machine import num_cpus
from gptsmith.data.care.shingles import blocks, shingles, without
from gptsmith.data.corpus import Corpus

NUM_WORDS = 5
"""In a shingle."""
NUM_BANDS, BAND_SIZE = 16, 4
"""Of a digest. Of pairs whose similarity is 0.7, 99 of 100 agree in a band; of those with 0.3, one in 8."""
DIGEST_SIZE = NUM_BANDS * BAND_SIZE
SEED = 1
NOTHING = np.iinfo(np.uint32).max
"""In the digest of a document without words."""
NO_SHINGLES = np.empty(0, np.uint64)


def corpus_digests(corpus: Corpus, ignored: np.ndarray = NO_SHINGLES) -> Iterator[tuple[np.ndarray, int]]:
    """The digests of the documents of a corpus in order, in parts (D, `DIGEST_SIZE`), computed in threads; with each
    the number of bytes that it took."""
    workers = num_cpus()
    carried, carried_document = np.empty((0, DIGEST_SIZE), np.uint32), -1
    with ThreadPoolExecutor(workers) as pool:
        waiting = blocks(*corpus.bounds())
        running = deque(pool.submit(_block_digests, corpus, ignored, *block) for block in islice(waiting, 2 * workers))
        while running:
            found, documents, num_bytes = running.popleft().result()
            running.extend(pool.submit(_block_digests, corpus, ignored, *block) for block in islice(waiting, 1))
            # A document that is cut has the smallest of each of its pieces' digests; the next block may begin with one.
            found = np.concatenate([carried, found])
            documents = np.concatenate([np.full(len(carried), carried_document), documents])
            firsts = np.flatnonzero(np.diff(documents, prepend=-1))
            whole = np.minimum.reduceat(found, firsts)
            carried, carried_document = whole[-1:], documents[-1]
            yield whole[:-1], num_bytes
    yield carried, 0


def _block_digests(
    corpus: Corpus, ignored: np.ndarray, starts: np.ndarray, stops: np.ndarray, documents: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """The digest of each piece of a block (P, `DIGEST_SIZE`), its document (P), and the bytes of the block."""
    begin, end = int(starts[0]), int(stops[-1])
    hashes, offsets = shingles(corpus.read(begin, end), starts - begin, stops - begin, NUM_WORDS)
    hashes, offsets = without(hashes, offsets, ignored)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets.astype(np.uint64), DIGEST_SIZE, SEED)
    return np.array(matrix.to_rows(), np.uint32), documents, end - begin
