"""Everything that decides the text of a file besides its bytes and the settings: code and libraries."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import gptsmith.data
from gptsmith.base.versions import library_version, source_sha256
from gptsmith.data.discover import Candidate
from gptsmith.data.files import LIBRARIES


def reading_versions(candidates: Iterable[Candidate]) -> list[Any]:
    """JSON values that are the same as long as these files are read in the same way.

    A library that is not installed has no version, so files that it would read are read once it is there; two
    environments that share a cache do not share what they read differently.
    """
    code, libraries = {source_sha256(gptsmith.data)}, dict[str, str]()
    for candidate in candidates:
        code.add(source_sha256(sys.modules[type(candidate.reader).__module__]))
        libraries.update(candidate.reader.libraries)
        libraries.update(LIBRARIES.get(candidate.file.path.suffix.lower(), {}))
    return [sorted(code), {module: library_version(module, name) for module, name in libraries.items()}]
