"""The commands: the only file that knows LightningCLI."""

import contextlib
import os
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from jsonargparse import set_parsing_settings
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from seqlight import lean
from seqlight.callbacks import AccuracyByLength, RunDescription, TensorBoardFigures
from seqlight.checkpoint import CheckpointError, read, read_description
from seqlight.classifier import SequenceClassifier
from seqlight.data.datamodule import SequenceDataModule, Split
from seqlight.plain import NotImportedError
from seqlight.predictions import PredictionWriter
from seqlight.ranks import num_launched, torchrun_settings
from seqlight.report import length_table, metrics_table, places, run_line
from seqlight.threads import choose_num_threads, limit_threads
from seqlight.usage import UsageError, explain, values_of
from seqlight.validation import check_at_least

DEFAULT_DATA = {"class_path": "seqlight.SyntheticSequences", "init_args": {"task": {"class_path": "seqlight.SumSign"}}}
FROM_DATA = ("input_size", "vocab_size", "target", "num_outputs", "class_weights")
_MODEL_WANTED = "seqlight {} needs a trained model: --ckpt_path runs/.../checkpoints/best.ckpt"


class SaveConfiguration(SaveConfigCallback):
    """config.yaml in the folder of a training run; other commands leave that folder's as it is."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Save at the start of training."""
        if stage == "fit" and trainer.loggers:
            self.config = self.config.clone()
            self.config.ckpt_path = None  # so that the file can be used for another run
            super().setup(trainer, pl_module, stage)


class SeqlightCLI(LightningCLI):
    """Parse the arguments, build model, data and Trainer, and run the command."""

    def __init__(self, arguments: list[str]) -> None:
        self._arguments = arguments
        self._encoding: dict[str, Any] | None = None
        self._encoded_class: str | None = None
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
                "callbacks": [RunDescription()],
                "profiler": {"class_path": "seqlight.lean.NoProfiler"},
            },
            seed_everything_default=0,
            parser_kwargs={"prog": "seqlight", "exit_on_error": False},
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            args=arguments,
        )

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
        parser.add_lightning_class_args(lean.BestCheckpoint, "checkpoint")
        parser.add_lightning_class_args(TensorBoardFigures, "figures")
        parser.set_defaults(
            {
                "model": {"class_path": "seqlight.SequenceClassifier"},
                "data": DEFAULT_DATA,
                "checkpoint.filename": "best",
                "checkpoint.monitor": "val/loss",
                "checkpoint.mode": "min",
                "checkpoint.save_last": True,
            }
        )
        for argument in FROM_DATA:
            parser.link_arguments(f"data.{argument}", f"model.init_args.{argument}", apply_on="instantiate")

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; what a checkpoint says of model and data takes the place of the defaults."""
        for name in ("validate", "test"):
            self._subcommand_parsers[name].set_defaults({"verbose": False})  # seqlight prints a table of its own
        verb = next((argument for argument in self._arguments if argument in self._subcommand_parsers), None)
        path = next(reversed(values_of("--ckpt_path", self._arguments)), None)
        for argument in FROM_DATA:
            if values_of(f"--model.{argument}", self._arguments):
                flags = "--data.class_weights" if argument == "class_weights" else "--data or --data.task"
                raise UsageError(f"--model.{argument} follows from the data: choose it with {flags}")
        chosen = values_of("--model", self._arguments) or _classes_in(values_of("--config", self._arguments), "model")
        asks = any("help" in argument or argument in ("-h", "--print_config") for argument in self._arguments)
        # Without a checkpoint, flags about its data would be refused first. A configuration's own is told of below.
        if verb not in (None, "fit") and path is None and not asks and not values_of("--config", self._arguments):
            raise UsageError(_MODEL_WANTED.format(verb))
        if verb == "fit" and chosen and path is None:
            # As the default, it keeps its own default cell; as a change, it would take over SequenceClassifier's.
            with contextlib.suppress(Exception):  # the parser proper reports what is wrong with it
                self._subcommand_parsers[verb].set_defaults({"model": {"class_path": chosen[-1]}})
        if verb == "fit" and path is None:
            with contextlib.suppress(Exception):
                self._subcommand_parsers[verb].set_defaults({"data": self._data_for_chosen_task(DEFAULT_DATA)})
        if verb is not None and path is not None:
            self._set_defaults_from_checkpoint(self._subcommand_parsers[verb], path)
        self.config = parser.parse_args(_complete_help(self._arguments))
        verb = self.config.subcommand
        if self.config[verb]["import"] and not values_of("--import", self._arguments):
            raise UsageError("import can't stand in a configuration file: give --import on the command line")
        if self.config[verb].ckpt_path != path:
            raise UsageError("ckpt_path can't stand in a configuration file: give --ckpt_path on the command line")
        if verb != "fit" and path is None:
            raise UsageError(_MODEL_WANTED.format(verb))

    def _data_for_chosen_task(self, data: dict[str, Any]) -> dict[str, Any]:
        """Defaults for the data, without a replaced task's arguments: the new one would take over its lengths."""
        paths = values_of("--config", self._arguments)
        chosen = values_of("--data.task", self._arguments) or _classes_in(paths, "data", "init_args", "task")
        default = data.get("init_args", {}).get("task")
        if not chosen or not default or chosen[-1].split(".")[-1] == default["class_path"].split(".")[-1]:
            return data
        return {**data, "init_args": {**data["init_args"], "task": {"class_path": chosen[-1]}}}

    def _set_defaults_from_checkpoint(self, parser: LightningArgumentParser, path: str) -> None:
        if "://" in path:
            raise UsageError(f"--ckpt_path {path}: expected a file on this machine, not a URL")
        try:
            description = read_description(path)
            if "data" not in description and not any(argument.startswith("--data") for argument in self._arguments):
                raise UsageError(
                    f"{path} says nothing of the data it was trained on: name them with --data.task or --data"
                )
            if "data" in description:
                description["data"] = self._data_for_chosen_task(description["data"])
            # Not through the parser, which takes a minute for a large vocabulary.
            self._encoding = description.get("data", {}).get("init_args", {}).pop("encoding", None)
            self._encoded_class = description.get("data", {}).get("class_path")
            parser.set_defaults(description)
        except FileNotFoundError as error:
            raise UsageError(f"--ckpt_path: {error}") from error
        except NotImportedError as error:
            raise CheckpointError(
                f"{path}: {error}.\nIf you trust that module, add: --import {error.module}"
            ) from error
        # Class paths within the checkpoint's arguments are known classes; nothing else may be imported by name.
        modules = [module.partition(".")[0] for module in values_of("--import", self._arguments)]
        set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=["seqlight", "lightning", *modules])

    def _parse_ckpt_path(self) -> None:
        """Nothing: `parse_arguments` has done it, so that flags win over the checkpoint."""

    def instantiate_classes(self) -> None:
        """Build model, data and Trainer; bad arguments become a usage error."""
        try:
            if (num_threads := self.config[self.subcommand].num_threads) is not None:
                check_at_least("num_threads", num_threads, 1)
            data = self.config[self.subcommand].data
            if self._encoding is not None and data.class_path == self._encoded_class:
                data.init_args.encoding = self._encoding
            super().instantiate_classes()
            if self._encoding is not None:
                data.init_args.encoding = None  # config.yaml need not repeat it
        except (ValueError, TypeError) as error:
            raise UsageError(explain(str(error))) from error

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A Trainer on the device asked for, with TensorBoard's logger in runs/<name>/version_<n>."""
        config = self.config_init[self.subcommand]
        device = config.device
        if device != "auto":
            if config.trainer.accelerator not in ("auto", device):
                raise UsageError(f"--device {device} contradicts --trainer.accelerator {config.trainer.accelerator}")
            if device == "gpu" and not torch.accelerator.is_available():
                raise UsageError("--device gpu: this machine has no GPU that torch can use; expected cpu or auto")
            kwargs["accelerator"] = device
        if self.subcommand == "predict" and config.trainer.devices not in ("auto", 1, "1"):
            raise UsageError(f"predict runs on one device, got --trainer.devices {config.trainer.devices}")
        torchrun = torchrun_settings()
        if self.subcommand == "predict" and torchrun:
            raise UsageError(f"predict runs in one process, and torchrun has started {num_launched()}: leave it out")
        for name, default in (("devices", "auto"), ("num_nodes", 1), ("strategy", "auto")):
            if config.trainer[name] == default and name in torchrun:
                kwargs[name] = torchrun[name]
        if self.subcommand == "predict":
            kwargs["devices"] = 1
            given = [path for path in getattr(self.datamodule, "paths", {}).values() if path and os.path.exists(path)]
            if os.path.exists(config.output) and any(os.path.samefile(path, config.output) for path in given):
                raise UsageError(f"--output: expected another file than those of the data, got {config.output!r}")
            self.trainer_defaults["callbacks"].append(PredictionWriter(config.output))
        if self.subcommand != "fit" or config.trainer.fast_dev_run or config.trainer.enable_checkpointing is False:
            self._parser(self.subcommand).callback_keys.remove("checkpoint")
            kwargs["enable_checkpointing"] = False
        if self.subcommand == "test":
            self.trainer_defaults["callbacks"].append(AccuracyByLength())
        own_bar = any(isinstance(callback, ProgressBar) for callback in config.trainer.callbacks or [])
        if config.trainer.enable_progress_bar is not False and not own_bar:
            self.trainer_defaults["callbacks"].append(lean.TimedProgressBar())
        if config.trainer.logger in (None, True) and not config.trainer.fast_dev_run:
            kwargs["logger"] = self._logger() if self.subcommand != "predict" else False
        return super().instantiate_trainer(**kwargs)

    def _logger(self) -> lean.CurvesLogger:
        config = self.config_init[self.subcommand]
        root = Path(config.trainer.default_root_dir)
        folder = Path(config.ckpt_path or "").parent
        if self.subcommand != "fit" and folder.name == "checkpoints":
            # Results of a trained model stand within its run's folder, as a run of their own: TensorBoard takes
            # a second curve in the same folder for a restart, and hides the first.
            version = folder.parent
            earlier = len([*version.glob(f"{self.subcommand}/"), *version.glob(f"{self.subcommand}_*/")])
            return lean.CurvesLogger(
                version.parent.parent,
                name=version.parent.name,
                version=version.name,
                sub_dir=self.subcommand if earlier == 0 else f"{self.subcommand}_{earlier + 1}",
                default_hp_metric=False,
            )
        data = self.datamodule.name or type(self.datamodule).__name__
        name = config.name or f"{data}-{self.model.recurrent.cell_name}"
        return lean.CurvesLogger(root, name=name, default_hp_metric=False)

    def _run_subcommand(self, subcommand: str) -> None:
        """Run the command with as many threads as it can use."""
        config = self.config_init[subcommand]
        if config.ckpt_path and Path(config.ckpt_path).is_file():
            checkpoint = read(config.ckpt_path)
            if subcommand == "fit" and "optimizer_states" not in checkpoint:
                raise UsageError(f"{config.ckpt_path} holds weights only: training can't go on from there")
            if subcommand == "fit":
                _check_epochs_left(checkpoint, config.ckpt_path, self.trainer.max_epochs)
            try:
                self.model.load_state_dict(checkpoint["state_dict"])
            except RuntimeError as error:
                reason = str(error).splitlines()[1].strip()
                others = [each for each in self._arguments if not each.startswith(("--data.test", "--data.predict"))]
                if not any(argument.startswith(("--model", "--data", "--config")) for argument in others):
                    raise CheckpointError(
                        f"{config.ckpt_path}: its weights are not those of the model it describes:\n{reason}"
                    ) from error
                raise UsageError(
                    f"flags and --ckpt_path {config.ckpt_path} describe different models:\n{reason}"
                ) from error
        num_threads = config.num_threads or choose_num_threads(self.model, self.datamodule.batch_size)
        with limit_threads(num_threads):
            super()._run_subcommand(subcommand)

    def predict(self, **kwargs: Any) -> None:
        """Predict; the callback writes what it gives."""
        self.trainer.predict(**{**kwargs, "return_predictions": False})
        print(self.config_init.predict.output)

    def before_fit(self) -> None:
        """Say what is about to be trained, on what."""
        self._report("train", "val", "test")
        _print(self.trainer, run_line(self.trainer, self.model, self.config_init.fit.seed_everything))

    def after_fit(self) -> None:
        """A table of the final results, and where they lie."""
        _print(self.trainer, f"\n{metrics_table(self.trainer, ('train', 'val'))}\n\n{places(self.trainer)}")

    def before_validate(self) -> None:
        """Say on what."""
        self._report("val")

    def before_test(self) -> None:
        """Say on what."""
        self._report("test")

    def before_predict(self) -> None:
        """Say on what."""
        self._report("predict")

    def _report(self, *splits: Split) -> None:
        if text := self.datamodule.report(splits):
            _print(self.trainer, f"{text}\n")

    def after_validate(self) -> None:
        """A table of the results."""
        _print(self.trainer, metrics_table(self.trainer, ("val",)))

    def after_test(self) -> None:
        """A table of the results, and one of the accuracy by length where lengths differ."""
        _print(self.trainer, metrics_table(self.trainer, ("test",)))
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined] # set by its callback connector
            if isinstance(callback, AccuracyByLength) and callback.buckets:
                _print(self.trainer, f"\n{length_table(callback.buckets)}")


def _classes_in(paths: list[str], *keys: str) -> list[str]:
    """The classes that configuration files name under these keys."""
    found = []
    for path in paths:
        with contextlib.suppress(OSError, yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
            value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
            for key in keys:
                value = value[key]
            found.append(value if isinstance(value, str) else value["class_path"])
    return found


def _complete_help(arguments: list[str]) -> list[str]:
    """`--data.help` alone is about the default class, and not about its abstract base."""
    classes = {"--model.help": "SequenceClassifier", "--data.help": "SyntheticSequences"}
    completed = []
    for argument, following in zip(arguments, [*arguments[1:], "-"], strict=True):
        completed.append(argument)
        if argument in classes and following.startswith("-"):
            completed.append(classes[argument])
    return completed


def _check_epochs_left(checkpoint: dict[str, Any], path: str, max_epochs: int | None) -> None:
    ends_an_epoch = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]
    epochs = checkpoint["epoch"] + ends_an_epoch
    if max_epochs is not None and 0 <= max_epochs <= epochs:
        raise UsageError(
            f"{path} has been trained for {epochs} epochs: expected --trainer.max_epochs above that, got {max_epochs}"
        )


def _print(trainer: Trainer, text: str) -> None:
    if trainer.is_global_zero:
        print(text)
