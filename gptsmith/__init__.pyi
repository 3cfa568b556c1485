"""The public names of `gptsmith`, each with its home: read by type checkers, and by `__init__.py`."""

from gptsmith.base.errors import CheckpointError as CheckpointError
from gptsmith.base.errors import ConfigurationError as ConfigurationError
from gptsmith.base.errors import ConversionError as ConversionError
from gptsmith.base.errors import DataError as DataError
from gptsmith.base.errors import GptsmithError as GptsmithError
from gptsmith.base.errors import MissingExtraError as MissingExtraError
from gptsmith.base.errors import UserError as UserError
from gptsmith.base.outside import import_kinds as import_kinds
from gptsmith.convert.load import Loaded as Loaded
from gptsmith.generate.request import ContextOverflowError as ContextOverflowError
from gptsmith.model.config import GPTConfig as GPTConfig
from gptsmith.model.gpt import GPT as GPT
from gptsmith.model.presets import preset as preset
from gptsmith.serve.running import serve as serve
from gptsmith.serve.studio.running import studio as studio
from gptsmith.train.report import report as report
from gptsmith.train.stability import TrainingDivergedError as TrainingDivergedError
from gptsmith.train.trainer import Callback as Callback
from gptsmith.version import __version__ as __version__
from gptsmith.workflows.audit import audit as audit
from gptsmith.workflows.cache import cache as cache
from gptsmith.workflows.certify import certify as certify
from gptsmith.workflows.chat import chat as chat
from gptsmith.workflows.compress import compress as compress
from gptsmith.workflows.evaluate import evaluate as evaluate
from gptsmith.workflows.explain import explain as explain
from gptsmith.workflows.export import export as export
from gptsmith.workflows.finetune import finetune as finetune
from gptsmith.workflows.forget import forget as forget
from gptsmith.workflows.generate import generate as generate
from gptsmith.workflows.import_model import import_model as import_model
from gptsmith.workflows.info import info as info
from gptsmith.workflows.load import load as load
from gptsmith.workflows.merge import merge as merge
from gptsmith.workflows.pairs import pairs as pairs
from gptsmith.workflows.plan import plan as plan
from gptsmith.workflows.predict import predict as predict
from gptsmith.workflows.prepare import prepare as prepare
from gptsmith.workflows.pretrain import pretrain as pretrain
from gptsmith.workflows.runs import runs as runs
from gptsmith.workflows.trace import trace as trace

__all__: list[str]
