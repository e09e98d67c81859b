"""Write the page of a run, a sweep or a comparison, or the index of all runs in a folder."""

from pathlib import Path
from shlex import quote

from rich.console import Console

from nas.comparisons import page as comparison_page
from nas.config import VisualizeConfig
from nas.console import say
from nas.errors import UserError
from nas.index import page as index_page
from nas.report.embed import is_page
from nas.report.page import write_report
from nas.report.paper_figures import FOLDER, write_figures
from nas.results.opened import command_of
from nas.results.reopen import report
from nas.runs.folder import REPORT
from nas.sweeps import page as sweep_page

OF_MANY = ("sweep", "compare")
"""Commands whose folders contain many runs."""


def visualize(config: VisualizeConfig, console: Console) -> int:
    """Write the page and print its path; return the exit status."""
    _check(config)
    if config.runs is not None:
        return _index(config, config.runs, console)
    assert config.run is not None
    made_by = command_of("run", config.run)
    figures: list[Path] = []
    usual = Path(config.run) / REPORT
    output = _output(config, usual)
    figures_folder = output.parent / (FOLDER if output.name == usual.name else f"{output.stem}_{FOLDER}")
    _check_output(output)
    if config.output is not None:
        _check_replaced(output, figures_folder)
    if made_by in OF_MANY:
        _check_alone(config, made_by)
        page = sweep_page if made_by == "sweep" else comparison_page
        page.write(Path(config.run), output)
    else:
        shown = report(config)
        write_report(output, shown)
        figures = write_figures(figures_folder, shown)
    say(console, f"Open {output}, or watch with: tensorboard {_folders(config)}")
    if figures:
        say(console, f"Figures for papers, PNG and SVG: {figures[0].parent}")
    return 0


def _index(config: VisualizeConfig, runs: str, console: Console) -> int:
    """Write the index page of all runs below a folder; return the exit status."""
    for option in ("run", "compare", "text", "prompt"):
        if (given := getattr(config, option)) is not None:
            raise UserError(f"runs={runs} and {option}={given} are both given; give runs alone, or run without runs.")
    root = Path(runs).expanduser()
    output = root / index_page.INDEX if config.output is None else Path(config.output).expanduser()
    if root.is_dir():
        _check_output(output)
    count = index_page.write(root, output, console)
    say(console, f"Open {output}, the index of {count} run{'s' * (count > 1)}.")
    return 0


def _check(config: VisualizeConfig) -> None:
    """Raise a UserError if two texts are given."""
    if config.text is not None and config.prompt is not None:
        raise UserError(f"text={config.text} and prompt are both given; give only one of them.")


def _output(config: VisualizeConfig, usual: Path) -> Path:
    """Return the path of the page: ``usual`` only if the options show the same content as the run's own report."""
    if config.output is not None:
        return Path(config.output)
    parts = [] if config.text is None else [Path(config.text).stem]
    parts += [] if config.prompt is None else ["prompt"]
    parts += [] if config.compare is None else [f"beside-{Path(config.compare).resolve().name}"]
    return usual.with_name("-".join([usual.stem, *parts]) + usual.suffix)


def _check_output(output: Path) -> None:
    """Raise a UserError if the page cannot be written."""
    if output.is_dir():
        raise UserError(f"output={output} is a folder; give a file, such as {output / 'report.html'}.")
    if not output.parent.is_dir():
        raise UserError(f"output={output}: there is no folder {output.parent}; give a file in an existing folder.")


def _check_replaced(output: Path, figures: Path) -> None:
    """Raise a UserError if a page would replace a file that is no page, or its figures would go between other files."""
    if output.exists():
        if not is_page(output):
            raise UserError(
                f"output={output} exists and is not a page that nas.visualize wrote; give another file, or delete it."
            )
    elif figures.is_dir() and any(figures.iterdir()):
        raise UserError(
            f"output={output}: its figures are to go to {figures}, which exists and has files; give another name."
        )


def _check_alone(config: VisualizeConfig, made_by: str) -> None:
    """Raise a UserError if an option is given that has no effect on a page of many runs."""
    for option in ("compare", "text", "prompt"):
        if getattr(config, option) is not None:
            raise UserError(
                f"{option} has no effect on run={config.run}, a run of nas.{made_by}; "
                "give a run of nas.search or nas.train."
            )


def _folders(config: VisualizeConfig) -> str:
    """Return the option for TensorBoard that names the folders of the runs."""
    if config.compare is None:
        return f"--logdir {quote(str(config.run))}"
    return f"--logdir_spec {quote(f'run:{config.run},compare:{config.compare}')}"
