# What a type checker takes the lazily loaded names of __init__.py for.
from ngptlab.config import Dims as Dims
from ngptlab.config import RunConfig as RunConfig
from ngptlab.data.batches import Batches as Batches
from ngptlab.data.corpus import open_corpus as open_corpus
from ngptlab.errors import CheckpointError as CheckpointError
from ngptlab.errors import ConfigError as ConfigError
from ngptlab.errors import DataError as DataError
from ngptlab.errors import LabError as LabError
from ngptlab.methods import build_model as build_model
from ngptlab.nn.decoder import Decoder as Decoder
from ngptlab.nn.decoder import Parts as Parts
from ngptlab.recipes import recipe as recipe
from ngptlab.runs import Run as Run
from ngptlab.scripting import compare as compare
from ngptlab.scripting import load as load
from ngptlab.scripting import train as train

_HOMES: dict[str, str]
__version__: str
