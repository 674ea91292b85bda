"""The commands: the only file that knows LightningCLI."""

import contextlib
import sys
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentError
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.utilities import rank_zero_only

from seqlight.callbacks.best_checkpoint import BestCheckpoint
from seqlight.callbacks.length_accuracy import AccuracyByLength
from seqlight.callbacks.logger import CurvesLogger, logger_of
from seqlight.callbacks.predictions import PredictionWriter
from seqlight.callbacks.profiler import NoProfiler
from seqlight.callbacks.progress_bar import TimedProgressBar
from seqlight.callbacks.tensorboard import RunDescription, TensorBoardFigures
from seqlight.checkpoints.files import SealedCheckpointIO
from seqlight.checkpoints.resume import LAST, ResumeCheckpoint
from seqlight.checkpoints.run_choice import ChosenRun
from seqlight.checkpoints.signals import requests
from seqlight.cli.arguments import FROM_DATA, GivenArguments
from seqlight.cli.devices import device_arguments
from seqlight.cli.flags import with_flags
from seqlight.cli.given_checkpoint import GivenCheckpoint
from seqlight.cli.output import check_output
from seqlight.cli.report import length_tables, metrics_table, places, run_line, say
from seqlight.cli.threads import choose_num_threads, limit_threads
from seqlight.cli.training_run import describe_run, find_run
from seqlight.cli.usage import UsageError, explain
from seqlight.cli.yaml import check_files
from seqlight.common.errors import CheckpointError
from seqlight.common.private_api import rank_of, subcommand_parser
from seqlight.common.validation import check_at_least
from seqlight.data.datamodule import SequenceDataModule, Split
from seqlight.training.classifier import SequenceClassifier

DEFAULT_DATA = {"class_path": "seqlight.SyntheticSequences", "init_args": {"task": {"class_path": "seqlight.SumSign"}}}
_MODEL_WANTED = "seqlight {} needs a trained model: --ckpt_path runs/.../checkpoints/best.ckpt"


class SaveConfiguration(SaveConfigCallback):
    """config.yaml in the folder of a training run; other commands leave that folder's as it is."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Save at the start of training; a run that goes on has one."""
        goes_on = trainer.log_dir and (Path(trainer.log_dir) / self.config_filename).exists()
        if stage == "fit" and trainer.loggers and not goes_on:
            self.config = self.config.clone()
            self.config.ckpt_path = None  # so that the file can be used for another run
            super().setup(trainer, pl_module, stage)


class SeqlightCLI(LightningCLI):
    """Parse the arguments, build model, data and Trainer, and run the command."""

    def __init__(self, arguments: list[str]) -> None:
        self._arguments = arguments
        self._run: ChosenRun | None = None
        self._checkpoint: GivenCheckpoint | None = None
        self._ckpt_path: str | None = None
        self._threads = contextlib.ExitStack()
        try:
            super().__init__(
                SequenceClassifier,
                SequenceDataModule,
                save_config_callback=SaveConfiguration,
                trainer_defaults={
                    "max_epochs": 10,
                    "gradient_clip_val": 1.0,
                    "log_every_n_steps": 10,
                    "num_sanity_val_steps": 0,
                    "enable_model_summary": False,
                    "default_root_dir": "runs",
                },
                seed_everything_default=0,
                parser_kwargs={"prog": "seqlight", "exit_on_error": False, "parser_mode": "seqlight"},
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                args=arguments,
            )
        finally:
            self._threads.close()
            if self._run is not None and self._run.folder is not None:
                trainer = getattr(self, "trainer", None)
                self._run.folder.close(has_begun=trainer is not None and trainer.global_step > 0)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add seqlight's own flags, and the defaults that let `seqlight fit` run without any."""
        parser.add_argument("--device", type=Literal["auto", "cpu", "gpu"], default="auto", help="where to run")
        parser.add_argument(
            "--num_threads",
            type=int | None,
            default=None,
            help="threads of torch on the CPU; by default by the size of the model, see the README",
        )
        parser.add_argument("--name", type=str | None, default=None, help="runs/<name>; default: task and cell")
        parser.add_argument(
            "--import",
            type=str | None,
            default=None,
            help="a module of yours; its classes then have short names, and checkpoints may name them",
        )
        parser.add_argument("--output", type=str, default="predictions.csv", help="the file that predict writes")
        parser.add_argument(
            "--fresh", action="store_true", help="start anew, though a run of this configuration is not finished"
        )
        # Not by add_lightning_class_args, which would have each command save checkpoints.
        callbacks = {"checkpoint": BestCheckpoint, "resume": ResumeCheckpoint, "figures": TensorBoardFigures}
        for name, callback in callbacks.items():
            parser.add_class_arguments(callback, name, fail_untyped=False, sub_configs=True)
        parser.set_defaults(
            {
                "model": {"class_path": "seqlight.SequenceClassifier"},
                "data": DEFAULT_DATA,
                "checkpoint.filename": "best",
                "checkpoint.monitor": "val/loss",
                "checkpoint.mode": "min",
            }
        )
        for argument in FROM_DATA:
            parser.link_arguments(f"data.{argument}", f"model.init_args.{argument}", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; what a checkpoint says of model and data takes the place of the defaults."""
        given = GivenArguments(self._arguments, self.subcommands())
        check_files(given.configurations)
        for name in ("validate", "test"):
            subcommand_parser(self, name).set_defaults({"verbose": False})  # seqlight prints a table of its own
        given.check()
        # Without a checkpoint, flags about its data would be refused first. A configuration's own is told of below.
        if given.verb not in (None, "fit") and not (given.checkpoint or given.asks or given.configurations):
            raise UsageError(_MODEL_WANTED.format(given.verb))
        if given.verb is not None and given.checkpoint is not None:
            self._checkpoint = GivenCheckpoint(given.checkpoint, given)
            subcommand_parser(self, given.verb).set_defaults(self._checkpoint.defaults)
        elif given.verb == "fit":
            # As the default, it keeps its own default cell; as a change, it would take over SequenceClassifier's.
            model = given.chosen_model()
            defaults = {"model": {"class_path": model}} if model else {}
            for default in (defaults, {"data": given.data_of_chosen_task(DEFAULT_DATA)}):
                with contextlib.suppress(Exception):  # the parser proper reports what is wrong with it
                    subcommand_parser(self, "fit").set_defaults(default)
        try:
            self.config = parser.parse_args(given.with_classes_of_help())
        except ArgumentError as error:
            path = given.checkpoint
            if path is not None and not _accepts(parser, [str(given.verb), f"--ckpt_path={path}"]):
                raise CheckpointError(f"{path}: what it describes can't be used: {explain(str(error))}") from error
            raise
        verb = self.config.subcommand
        if self.config[verb]["import"] and not given.values_of("--import"):
            raise UsageError("import can't stand in a configuration file: give --import on the command line")
        if self.config[verb].ckpt_path != given.ckpt_path:
            raise UsageError("ckpt_path can't stand in a configuration file: give --ckpt_path on the command line")
        if verb != "fit" and given.checkpoint is None:
            raise UsageError(_MODEL_WANTED.format(verb))
        # LightningCLI would read the checkpoint's arguments now, and let them win over flags.
        self._ckpt_path, self.config[verb].ckpt_path = given.ckpt_path, None

    def before_instantiate_classes(self) -> None:
        """Give the path of the checkpoint back, which `parse_arguments` took."""
        self.config[self.subcommand].ckpt_path = self._ckpt_path

    def instantiate_classes(self) -> None:
        """Build model, data and Trainer; bad arguments become a usage error."""
        try:
            if (num_threads := self.config[self.subcommand].num_threads) is not None:
                check_at_least("num_threads", num_threads, 1)
            data, known = self.config[self.subcommand].data, self._checkpoint
            encoding = None if known is None else known.encoding_of(data.class_path)
            if encoding is not None:
                data.init_args.encoding = encoding
            if known is not None:
                self.parser.add_instantiator(known.make_model, SequenceClassifier, subclasses=True, prepend=True)
            super().instantiate_classes()
            if encoding is not None:
                data.init_args.encoding = None  # config.yaml need not repeat it
        except (ValueError, TypeError) as error:
            raise UsageError(explain(str(error))) from error
        changes = () if known is None else known.changes(self.config[self.subcommand].as_dict())
        if known is not None and changes and self.trainer.is_global_zero:
            print(f"seqlight: flags override {known.path}: {', '.join(changes)}", file=sys.stderr)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A Trainer on the device asked for, with TensorBoard's logger in runs/<name>/version_<n>."""
        config = self.config_init[self.subcommand]
        given = config.trainer
        kwargs.update(device_arguments(str(self.subcommand), config.device, given.as_dict()))
        if given.profiler is None:
            kwargs["profiler"] = NoProfiler()
        if self.subcommand == "fit" and not given.fast_dev_run:
            self._choose_run(saves=given.enable_checkpointing is not False)
        saves = self._run is not None and given.enable_checkpointing is not False
        if not saves:
            kwargs["enable_checkpointing"] = False
        if not any(isinstance(plugin, CheckpointIO) for plugin in given.plugins or []):
            kwargs["plugins"] = [*(given.plugins or []), SealedCheckpointIO(self._contents())]
        self.trainer_defaults["callbacks"] = self._callbacks(saves)
        if self.subcommand == "predict":
            kwargs["logger"] = False
        elif given.logger in (None, True) and not given.fast_dev_run:
            kwargs["logger"] = self._logger()
        return super().instantiate_trainer(**kwargs)

    def _callbacks(self, saves: bool) -> list[Callback]:
        """The callbacks of this command, besides those that the user gives."""
        config = self.config_init[self.subcommand]
        callbacks = [config.checkpoint, config.resume] if saves else []
        callbacks += [config.figures, RunDescription()]
        if self.subcommand == "predict":
            check_output(config.output, getattr(self.datamodule, "paths", {}).values())
            callbacks.append(PredictionWriter(config.output))
        if self.subcommand == "test":
            callbacks.append(AccuracyByLength())
        own_bar = any(isinstance(callback, ProgressBar) for callback in config.trainer.callbacks or [])
        if config.trainer.enable_progress_bar is not False and not own_bar:
            callbacks.append(TimedProgressBar())
        return callbacks

    def _contents(self) -> dict[str, dict[str, Any]]:
        """The contents of the checkpoint that this command uses, by its path: read already, and not read again."""
        if self._run is not None and self._run.resume is not None:
            return {str(self._run.resume.path): self._run.resume.contents}
        return {} if self._checkpoint is None else {self._checkpoint.path: self._checkpoint.contents}

    def _logger(self) -> CurvesLogger:
        config = self.config_init[self.subcommand]
        if self._run is not None and self._run.folder is not None:
            return logger_of(self._run.folder.path)
        if self.subcommand != "fit" and (folder := Path(config.ckpt_path).parent).name == "checkpoints":
            return logger_of(folder.parent, kind=self.subcommand)
        # Of a checkpoint in no run's folder; or of another process than the first, which tells where it is.
        return CurvesLogger(config.trainer.default_root_dir, name=self._run_name(), default_hp_metric=False)

    def _run_name(self) -> str:
        data = self.datamodule.name or type(self.datamodule).__name__
        return self.config_init[self.subcommand].name or f"{data}-{self.model.recurrent.cell_name}"

    def _choose_run(self, *, saves: bool) -> None:
        """Find the unfinished run or make the folder of a new one, and have checkpoints saved there."""
        config = self.config_init.fit
        parent = Path(config.trainer.default_root_dir) / self._run_name()
        self._training = describe_run(self.config.fit.as_dict(), self.model, self.datamodule)
        first = rank_of(rank_zero_only) == 0
        self._run, message = find_run(
            parent,
            self._training,
            ckpt_path=config.ckpt_path,
            fresh=config.fresh,
            saves=saves,
            first_process=first,
        )
        if self._run.resume is not None:
            config.ckpt_path = str(self._run.resume.path)
        elif config.ckpt_path == "last":
            config.ckpt_path = None
        if first and message:
            print(message)
        path = None if self._run.folder is None else self._run.folder.path  # the first process tells the others
        config.resume.folder = path and path / "checkpoints"
        config.checkpoint.belong_to(path)

    def _prepare(self, *splits: Split) -> None:
        """Before a command: check the weights, choose the number of threads, and report on the data."""
        if self._checkpoint is not None:
            if self.subcommand == "fit":
                self._checkpoint.check_training(self.trainer.max_epochs)
            self._checkpoint.check_weights(self.model)
        num_threads = self.config_init[self.subcommand].num_threads
        num_threads = num_threads or choose_num_threads(self.model, self.datamodule.batch_size)
        self._threads.enter_context(limit_threads(num_threads))
        if text := self.datamodule.report(splits):
            say(self.trainer, f"{with_flags(text)}\n")

    def predict(self, **kwargs: Any) -> None:
        """Predict; the callback writes what it gives."""
        self.trainer.predict(**{**kwargs, "return_predictions": False})
        print(self.config_init.predict.output)

    def before_fit(self) -> None:
        """Say what is about to be trained, on what."""
        self._prepare("train", "val", "test")
        say(self.trainer, run_line(self.trainer, self.model, self.config_init.fit.seed_everything))

    def after_fit(self) -> None:
        """The run is finished; a table of the final results, and where they lie."""
        if self._run is not None and self._run.folder is not None:
            self._run.folder.describe(self._training, finished=True)
        requests.done = True
        if skipped := self.model.skipped_batches:
            say(self.trainer, f"\nbatches left out for a loss or gradient that was not finite: {skipped}")
        resume = self.config_init.fit.resume
        # Without metrics there was no step left to take: they are those of the run that has ended.
        metrics = self.trainer.callback_metrics or resume.metrics
        last = resume.folder and resume.folder / LAST
        say(self.trainer, f"\n{metrics_table(metrics, ('train', 'val'))}", places(self.trainer, last))

    def before_validate(self) -> None:
        """Say on what."""
        self._prepare("val")

    def before_test(self) -> None:
        """Say on what."""
        self._prepare("test")

    def before_predict(self) -> None:
        """Say on what."""
        self._prepare("predict")

    def after_validate(self) -> None:
        """A table of the results."""
        say(self.trainer, metrics_table(self.trainer.callback_metrics, ("val",)))

    def after_test(self) -> None:
        """A table of the results, and one of the accuracy by length where lengths differ."""
        say(self.trainer, metrics_table(self.trainer.callback_metrics, ("test",)), *length_tables(self.trainer))


def _accepts(parser: LightningArgumentParser, arguments: list[str]) -> bool:
    try:
        parser.parse_args(arguments)
    except ArgumentError:
        return False
    return True
