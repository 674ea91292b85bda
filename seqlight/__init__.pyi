from .callbacks import RunDescription as RunDescription
from .callbacks import TensorBoardFigures as TensorBoardFigures
from .cells.cell import GatedCell as GatedCell
from .cells.cell import RecurrentCell as RecurrentCell
from .cells.elman import ElmanCell as ElmanCell
from .cells.gru import GRUCell as GRUCell
from .cells.indrnn import IndRNNCell as IndRNNCell
from .cells.janet import JANETCell as JANETCell
from .cells.layer_norm_lstm import LayerNormLSTMCell as LayerNormLSTMCell
from .cells.lstm import LSTMCell as LSTMCell
from .cells.mgu import MGUCell as MGUCell
from .cells.min_gru import MinGRUCell as MinGRUCell
from .cells.min_lstm import MinLSTMCell as MinLSTMCell
from .cells.peephole_lstm import PeepholeLSTMCell as PeepholeLSTMCell
from .cells.slstm import SLSTMCell as SLSTMCell
from .cells.ugrnn import UGRNNCell as UGRNNCell
from .check import check_cell as check_cell
from .checkpoint import CheckpointError as CheckpointError
from .checkpoint import load as load
from .classifier import SequenceClassifier as SequenceClassifier
from .data.batch import Batch as Batch
from .data.datamodule import SequenceDataModule as SequenceDataModule
from .data.loader import SequenceLoader as SequenceLoader
from .data.synthetic import SyntheticSequences as SyntheticSequences
from .data.task import SequenceTask as SequenceTask
from .data.tasks.adding import Adding as Adding
from .data.tasks.parity import Parity as Parity
from .data.tasks.sum_sign import SumSign as SumSign
from .inside.activity import cell_activity as cell_activity
from .inside.figure import cell_figure as cell_figure
from .memory import memory_curve as memory_curve
from .properties.report import CellError as CellError
from .recurrent.layer import RecurrentLayer as RecurrentLayer
from .recurrent.stack import RecurrentStack as RecurrentStack
from .recurrent.unroll import unroll as unroll

__all__: list[str]
__version__: str
