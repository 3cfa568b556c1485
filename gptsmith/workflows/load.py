"""A trained model to work with in Python, with the recital guard if one is wanted."""

from __future__ import annotations

from pathlib import Path

from gptsmith.base.errors import ConfigurationError
from gptsmith.convert.load import Loaded
from gptsmith.convert.load import load as load_unguarded
from gptsmith.convert.open import OpenedModel


def load(
    run: str | Path | OpenedModel,
    *,
    device: str = "auto",
    dtype: str = "auto",
    keeps_blocks: bool = False,
    no_recital: int | None = None,
) -> Loaded:
    """The best checkpoint of a run, or the model in a Hugging Face folder, on a device: `auto` takes a GPU if there is
    one.

    Args:
        dtype: of weights and products: float32 or bfloat16. `auto` computes in float32; weights become float32, too,
            where that takes no more than a quarter of the free memory, because then they need not be widened for each
            token, and otherwise stay in the dtype that they came in (float16 becomes float32, which holds all of its
            numbers). The results are the same. Quantized weights of a GGUF file stay so, mapped into memory, where that
            is no slower, or where float32 would take more than that share; a dtype that is named dequantizes them.
            bfloat16 computes in float32 where the hardware does not multiply it.
            float64 is for the products alone.
        keeps_blocks: whether quantized weights stay so, whatever the dtype.
        no_recital: no text that the model writes has so many tokens in a row of what it learnt from, unless the prompt
            has them.

    Raises:
        MissingExtraError: the library that indexes text is not installed.
        UserError: the folder is neither, or holds no weights that can be read, or there is not enough memory for them;
            or a text that is to be guarded is not here.
    """
    if no_recital is not None and no_recital < 2:
        raise ConfigurationError(f"no_recital={no_recital} would bar every token: give 2 or more, such as 15")
    loaded = load_unguarded(run, device=device, dtype=dtype, keeps_blocks=keeps_blocks)
    if no_recital is None:
        return loaded
    from gptsmith.provenance.recital import recital_guard  # half a second that others need not wait

    return loaded.guarded(recital_guard(loaded.run, no_recital))
