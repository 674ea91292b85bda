"""The commands fit, validate, test and predict. Only this file uses LightningCLI."""

import contextlib
import functools
import sys
from typing import Any

from jsonargparse import ArgumentError
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.plugins.io import CheckpointIO

from seqlight.callbacks.profiler import NoProfiler
from seqlight.checkpoints.files import SealedCheckpointIO
from seqlight.checkpoints.resume import LAST
from seqlight.checkpoints.signals import stop_requests
from seqlight.cli.arguments import GivenArguments, check_name, check_output, name_flag
from seqlight.cli.command_folder import CommandFolder
from seqlight.cli.devices import check_device, check_strategy, device_arguments
from seqlight.cli.file_defaults import BranchChoice, choose_length, data_choose_length, fit_defaults
from seqlight.cli.finders import describe_found
from seqlight.cli.flag_errors import explain, usage_error
from seqlight.cli.flags_in_messages import with_flags
from seqlight.cli.given_checkpoint import GivenCheckpoint
from seqlight.cli.options import TRAINER_DEFAULTS, ShownParser, accepts, add_options
from seqlight.cli.report import events, length_tables, result_paths, run_line, say
from seqlight.cli.results import calibration_lines, results_text
from seqlight.cli.series_request import check_single
from seqlight.cli.terminal import fitted
from seqlight.cli.threads import choose_num_threads, limit_threads
from seqlight.cli.trainer_parts import SaveConfiguration, callbacks_of, choose_clipping, has_own_bar
from seqlight.cli.training_run import describe_run, few_validation, record_backend
from seqlight.cli.unused_flags import unused_flags
from seqlight.cli.yaml import check_files
from seqlight.common.errors import CheckpointError
from seqlight.common.private_jsonargparse import classes_keep_own_defaults, limit_imports
from seqlight.common.private_lightning import subcommand_parser
from seqlight.common.processes import global_rank
from seqlight.common.text import one_line, show
from seqlight.common.validation import check_at_least
from seqlight.data.datamodule import SequenceDataModule, Split
from seqlight.training.classifier import SequenceClassifier
from seqlight.training.finite_results import check_evaluation


class SeqlightCLI(LightningCLI):
    """Parse the arguments, build model, data and Trainer, and run the command.

    `LightningCLI.__init__` calls the methods below in their order.
    """

    def __init__(self, arguments: list[str], folder: CommandFolder) -> None:
        """Run the command that the words of a command line ask for, and write in `folder`."""
        self._arguments = arguments
        self._names_clipping = self._data_choose_length = False
        self._checkpoint: GivenCheckpoint | None = None
        self._branch = BranchChoice()
        self._ckpt_path: str | None = None
        self._folder = folder
        self._threads, self._limits = contextlib.ExitStack(), contextlib.ExitStack()
        try:
            super().__init__(
                SequenceClassifier,
                SequenceDataModule,
                save_config_callback=SaveConfiguration,
                trainer_defaults=dict(TRAINER_DEFAULTS),
                seed_everything_default=0,
                parser_kwargs={"prog": "seqlight", "exit_on_error": False, "parser_mode": "seqlight"},
                subclass_mode_model=True,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                parser_class=ShownParser,
                args=arguments,
            )
        finally:
            self._threads.close()
            self._limits.close()
            trainer = getattr(self, "trainer", None)
            self._folder.close(has_begun=trainer is not None and trainer.global_step > 0)

    def __deepcopy__(self, memo: dict[int, Any]) -> "SeqlightCLI":
        return self  # Lightning copies a model's arguments, and the parser's function that makes a cell refers to this

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override] # a static method there
        """The given command, or all if none is given: to make the parser of one takes a tenth of a second."""
        commands = LightningCLI.subcommands()
        return {name: commands[name] for name in self._arguments[:1] if name in commands} or commands

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add seqlight's own flags, and defaults for all required arguments."""
        add_options(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments. Model and data of a given checkpoint replace the defaults."""
        given = GivenArguments(self._arguments, self.subcommands())
        check_files(given.configurations)
        given.check()
        self._names_clipping = given.names_trainer_argument("gradient_clip_val")
        self._set_defaults(given)
        try:
            with classes_keep_own_defaults():
                self.config = parser.parse_args(given.with_classes_of_help())
        except ArgumentError as error:
            path = given.checkpoint
            if path is not None and not accepts(parser, [str(given.verb), f"--ckpt_path={path}"]):
                reason, *others = explain(str(error)).split("\n")
                message = f"{path}: the model or data it describes can't be used: {reason}"
                raise CheckpointError(message, *others) from error
            raise usage_error(error, given.name_file) from error
        config = self.config[self.config.subcommand]
        given.check_parsed(config)
        check_device(config.device)
        notes = [given.note] if given.note else []
        notes += unused_flags(str(given.verb), given.names)
        if lost := given.lost_with_classes(config.as_dict()):
            notes.append(f"a class that a flag names has its own defaults: {', '.join(lost)}")
        if notes and global_rank(config.trainer.num_nodes) == 0:
            self._note("\n".join(one_line(f"seqlight: {note}") for note in notes))
        # Hidden until before_instantiate_classes: LightningCLI would let the checkpoint's arguments override flags.
        self._ckpt_path, config.ckpt_path = given.ckpt_path, None

    def _note(self, text: str) -> None:
        show(text, file=sys.stderr)

    def _set_defaults(self, given: GivenArguments) -> None:
        """Set the parser's defaults that depend on the arguments."""
        for name in {"validate", "test"} & self.subcommands().keys():
            subcommand_parser(self, name).set_defaults({"verbose": False})  # seqlight prints its own table
        if given.verb is not None and given.checkpoint is not None:
            self._checkpoint = GivenCheckpoint(given.checkpoint, given)
            self._limits.callback(limit_imports(self._checkpoint.modules))
            subcommand_parser(self, given.verb).set_defaults(self._checkpoint.defaults)
        if given.verb == "fit":
            described = None if self._checkpoint is None else self._checkpoint.defaults
            subcommand_parser(self, "fit").set_defaults(fit_defaults(given, described))
            self._branch = BranchChoice(given if described is None else None)

    def before_instantiate_classes(self) -> None:
        """Restore the path of the checkpoint, which `parse_arguments` has hidden.

        Raises:
            SeriesRequested: if the arguments ask for several runs.
        """
        self.config[self.subcommand].ckpt_path = self._ckpt_path
        if self.subcommand == "fit":
            check_single(self.config.fit)

    def instantiate_classes(self) -> None:
        """Build model, data and Trainer.

        Raises:
            UsageError: if an argument is wrong.
        """
        arguments, checkpoint, encoding = self.config[self.subcommand], self._checkpoint, None
        check_strategy(arguments.trainer.strategy)
        try:
            if arguments.num_threads is not None:
                check_at_least("num_threads", arguments.num_threads, 1)
            if checkpoint is not None:
                self.parser.add_instantiator(checkpoint.make_model, SequenceClassifier, subclasses=True, prepend=True)
                encoding = checkpoint.encoding_of(arguments.data.class_path)
            self._branch.make_in(self.parser, arguments)
            if encoding is not None:
                arguments.data.init_args.encoding = encoding
            super().instantiate_classes()
            if self.subcommand == "fit":
                self.model.check_optimizer(self.trainer.strategy.root_device)
            if encoding is not None:
                arguments.data.init_args.encoding = None  # config.yaml need not repeat it
        except (ValueError, TypeError) as error:
            raise usage_error(error, lambda message: name_flag(message, arguments.as_dict())) from error
        self._limits.close()
        changes = () if checkpoint is None else checkpoint.changes(arguments.as_dict())
        if checkpoint is not None and changes and self.trainer.is_global_zero:
            message = f"seqlight: flags override {checkpoint.path}: {', '.join(changes)}"
            show(one_line(message), file=sys.stderr)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the Trainer for the chosen device, with TensorBoard's logger in runs/<name>/version_<n>."""
        config = self.config_init[self.subcommand]
        given = config.trainer
        for name in ("callbacks", "plugins"):  # the Trainer takes one or a list
            if not isinstance(given[name], list):
                given[name] = [] if given[name] is None else [given[name]]
        kwargs.update(device_arguments(str(self.subcommand), config.device, given.as_dict()))
        if config.quiet and not has_own_bar(config):
            kwargs["enable_progress_bar"] = False
        if given.profiler is None:
            kwargs["profiler"] = NoProfiler()
        if self.subcommand == "fit":
            choose_clipping(self.model, (self.config.fit, self.config_init.fit), named=self._names_clipping)
            self._data_choose_length = data_choose_length(given.max_epochs, self.datamodule)
            if self._data_choose_length:
                kwargs["max_epochs"] = TRAINER_DEFAULTS["max_epochs"]  # until `before_fit`
        has_run = self.subcommand == "fit" and not given.fast_dev_run
        saves = has_run and given.enable_checkpointing is not False
        if has_run:
            training = describe_run(self.config.fit.as_dict(), self.model, self.datamodule)
            self._folder.choose_run(config, training, self._run_name(), self.model, self.datamodule, saves=saves)
        if not saves:
            kwargs["enable_checkpointing"] = False
        if not any(isinstance(plugin, CheckpointIO) for plugin in given.plugins):
            # The Trainer takes the contents over, so that the checkpoint is read only once.
            known = {} if self._checkpoint is None else {self._checkpoint.path: self._checkpoint.contents}
            kwargs["plugins"] = [*given.plugins, SealedCheckpointIO(self._folder.take_contents() or known)]
        report = functools.partial(record_backend, self._folder.run_folder, self._folder.training)
        self.trainer_defaults["callbacks"] = callbacks_of(
            str(self.subcommand), config, saves=saves, report_backend=report
        )
        if self.subcommand == "predict":
            check_output(config.output, getattr(self.datamodule, "paths", {}).values())
            kwargs["logger"] = False
        elif given.logger in (None, True) and not given.fast_dev_run:
            kwargs["logger"] = self._folder.logger(str(self.subcommand), config, self._run_name())
        return super().instantiate_trainer(**kwargs)

    def _run_name(self) -> str:
        data = self.datamodule.name or type(self.datamodule).__name__
        name: str | None = self.config_init[self.subcommand].name
        check_name(name)
        return name or f"{data}-{self.model.recurrent.cell_name}"

    def before_fit(self) -> None:
        """Print the data, the size of the model and the folder of the results."""
        config = self.config.fit.trainer  # which becomes config.yaml
        length = choose_length(self.trainer, self.datamodule, config) if self._data_choose_length else ""
        self._prepare("train", "val", "test")
        line = run_line(self.trainer, self.model, self.config_init.fit.seed_everything)
        self._announce("\n".join(filter(None, [line, length, self._branch.line])))

    def before_validate(self) -> None:
        """Print the data."""
        self._prepare("val")

    def before_test(self) -> None:
        """Print the data."""
        self._prepare("test")

    def before_predict(self) -> None:
        """Print the data."""
        self._prepare("predict")

    def _prepare(self, *splits: Split) -> None:
        """Check the weights, choose the number of threads, and print the data."""
        if self._checkpoint is not None:
            if self.subcommand == "fit":
                self._checkpoint.check_training(self.trainer.max_epochs, self.trainer.max_steps)
            self._checkpoint.check_weights(self.model)
            self._checkpoint.contents = {}  # the Trainer has them
        num_threads = self.config_init[self.subcommand].num_threads
        num_threads = num_threads or choose_num_threads(self.model, self.datamodule.batch_size)
        self._threads.enter_context(limit_threads(num_threads))
        # A threshold or temperature that the training did not choose is chosen now.
        is_new = self.subcommand in ("test", "predict") and not self.model.calibration.is_learned
        text = self.datamodule.report(("val", *splits) if is_new else splits)  # it also checks them
        if text:
            self._announce(f"{fitted(with_flags(text))}\n")
        if is_new:
            self.trainer.validate(self.model, self.datamodule, verbose=False)

    def _announce(self, text: str) -> None:
        if not self.config_init[self.subcommand].quiet:
            say(self.trainer, text)

    def predict(self, **kwargs: Any) -> None:
        """Predict; `PredictionWriter` writes the file."""
        self.trainer.predict(**{**kwargs, "return_predictions": False})
        show("\n".join([*calibration_lines(self.trainer, self.model), one_line(self.config_init.predict.output)]))

    def after_fit(self) -> None:
        """Mark the run as finished, and print its final metrics and paths."""
        few = few_validation(self.trainer)
        self._folder.finish(few)
        stop_requests.done = True
        found = describe_found(self.model, self.datamodule, self.config.fit.as_dict())
        for line in (found, *events(self.trainer, self.model)):
            if line:
                say(self.trainer, f"\n{line}")
        resume = self.config_init.fit.resume
        # If the run had no step left, the Trainer has no metrics: use those that the run saved.
        metrics = self.trainer.callback_metrics or resume.metrics
        last = resume.folder and resume.folder / LAST
        gap = "" if self.config_init.fit.quiet else "\n"  # below the progress
        results = results_text(self.trainer, self.model, self.datamodule, metrics, "train", "val")
        say(self.trainer, f"{gap}{results}", result_paths(self.trainer, last, few))

    def after_validate(self) -> None:
        """Print the metrics, which must be finite."""
        self._say_results("val")

    def after_test(self) -> None:
        """Print the metrics, which must be finite, and the accuracy by length if lengths differ."""
        self._say_results("test")

    def _say_results(self, split: Split) -> None:
        text = results_text(self.trainer, self.model, self.datamodule, self.trainer.callback_metrics, split)
        say(self.trainer, text, *length_tables(self.trainer))
        check_evaluation(self.trainer.callback_metrics)
