"""``poolwise serve``: models over HTTP."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, get_args

import typer

from poolwise.base_dtypes import Precision
from poolwise.cli.options import Device, is_quiet, is_verbose, require_model
from poolwise.errors import ConfigError, needs_extra, require_choice

EXAMPLES = (
    "poolwise serve runs/mine",
    "poolwise serve runs/mine org/other --name mine --name other --port 9000 --keys keys.txt",
)


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL...", help="Embedding models: runs, folders or hub ids.", show_default=False),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="What requests call a model; one for each, in order.", show_default="the last part of its path"
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; others than loopback need keys.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="API keys, one a line. POOLWISE_API_KEYS has further ones.", show_default="none"
        ),
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Need no keys, and answer for any host name.")] = False,
    max_queue_tokens: Annotated[int, typer.Option(min=1, help="Most tokens that wait for a model.")] = 262_144,
    max_texts: Annotated[int, typer.Option(min=1, help="Most texts of a request.")] = 2048,
    max_body: Annotated[int, typer.Option(min=1, metavar="MIB", help="Largest body of a request.")] = 8,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Requests are given up after this.")
    ] = 60.0,
    index: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=DIR",
            help="An index to search, of a served model. An arm's index has the arm's name.",
            show_default="none",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="A study's report, or its folder: the page links to it.", show_default="none"
        ),
    ] = None,
    device: Device = None,
    precision: Annotated[
        str,
        typer.Option(
            help="fp32, bf16, or auto: for poolwise models bf16 where it is fast. In bf16 an embedding depends a "
            "little on the texts that are read with it."
        ),
    ] = "auto",
    arm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=MODEL", help="Model of an arm of the experiment; one for each arm.", show_default="none"
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="50/50", help="Shares of the arms, in order.", show_default="the design's"),
    ] = None,
    experiment: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Experiment that `poolwise experiment` began.", show_default="none"),
    ] = None,
) -> None:
    """Serve models with the APIs of OpenAI and Cohere, a page at / that compares them, and an experiment with its arms.

    SIGTERM answers what is queued and ends; SIGHUP loads the models again without a gap.
    """
    require_serve()
    require_choice("--precision", precision, get_args(Precision))
    for one in models or []:
        require_model(one)
    from poolwise.experiments import open_log
    from poolwise.serving.access import load_keys
    from poolwise.serving.app import create_app
    from poolwise.serving.page import PAGE_PATHS, add_page
    from poolwise.serving.page_state import find_report
    from poolwise.serving.request_log import start_logging
    from poolwise.serving.served_experiment import ServedExperiment
    from poolwise.serving.served_indexes import open_indexes, parse_indexes
    from poolwise.serving.served_model import ServedModel
    from poolwise.serving.server import bind, ignore_reloads, is_loopback, run_server
    from poolwise.serving.settings import MEBIBYTE, ServeSettings

    arms = arms_of(experiment, arm or [], split)
    models = models or []
    if not (models or arms):
        raise ConfigError(
            "serve: no model", "wanted MODEL..., or --experiment DIR with an --arm NAME=MODEL for each arm"
        )
    sources = dict(zip(served_names(models, name or []), models, strict=True))
    if double := sorted({*arms, *([experiment_name(experiment)] if experiment else [])} & set(sources)):
        raise ConfigError(f"a model and an arm or the experiment are called {double[0]}", "give another --name")
    if experiment is not None and (both := experiment_name(experiment)) in parse_indexes(index or []):
        raise ConfigError(f"an index and the experiment are called {both}", "give the index another name")
    settings = ServeSettings(
        max_body_bytes=max_body * MEBIBYTE,
        max_texts=max_texts,
        max_queue_tokens=max_queue_tokens,
        request_seconds=timeout,
        keys=load_keys(keys),
        is_loopback=is_loopback(host) and not insecure,
    )
    if not (is_loopback(host) or settings.keys or insecure):
        raise ConfigError(
            f"--host {host} without API keys", "wanted --keys FILE or POOLWISE_API_KEYS", "or give --insecure"
        )
    start_logging(logging.DEBUG if is_verbose() else logging.WARNING if is_quiet() else logging.INFO)
    ignore_reloads()
    indexes, report_file = open_indexes(index or []), find_report(report)
    with ExitStack() as held:
        listening = held.enter_context(bind(host, port))  # before the models are loaded, which takes longer
        log = held.enter_context(open_log(experiment)) if experiment is not None else None
        served = {
            one: ServedModel(one, model, settings, device=device, precision=precision)  # type: ignore[arg-type]  # checked
            for one, model in {**sources, **arms}.items()
        }
        of_arms = {one: indexes[one] for one in arms if one in indexes}
        tried = ServedExperiment(log, {one: served[one] for one in arms}, of_arms) if log is not None else None
        app = create_app(served, settings, experiment=tried, indexes=indexes, open_paths=PAGE_PATHS)
        add_page(app, report=report_file)
        run_server(app, listening)


def arms_of(folder: Path | None, given: Sequence[str], split: str | None) -> dict[str, str]:
    """Return the model of each arm of an experiment, in the order of its design; none without an experiment.

    Raises: ConfigError where arms or shares are not those of the design.
    """
    if folder is None:
        if given or split:
            raise ConfigError("--arm or --split without --experiment", "wanted --experiment DIR")
        return {}
    from poolwise.experiments import load_experiment

    design = load_experiment(folder)
    pairs = [text.partition("=") for text in given]
    if wrong := [text for text, (name, _, model) in zip(given, pairs, strict=True) if not (name and model)]:
        raise ConfigError(f"--arm {wrong[0]}", "wanted NAME=MODEL, such as A=runs/mine")
    models = {name: model for name, _, model in pairs}
    names = [arm.name for arm in design.arms]
    if len(models) != len(pairs) or set(models) != set(names):
        raise ConfigError(
            f"--arm names {', '.join(name for name, _, _ in pairs) or 'none'}",
            f"wanted each arm of the design in {folder} once: {', '.join(names)}",
        )
    shares = [arm.share for arm in design.arms]
    if split is not None and not _same_shares(split, shares):
        raise ConfigError(f"--split {split}", f"wanted that of the design in {folder}: {'/'.join(map(str, shares))}")
    return {name: models[name] for name in names}


def _same_shares(split: str, shares: Sequence[int]) -> bool:
    parts = split.split("/")
    if not all(part.strip().isdecimal() for part in parts) or len(parts) != len(shares):
        return False
    given = [int(part) for part in parts]
    return sum(given) > 0 and all(
        one * sum(shares) == share * sum(given) for one, share in zip(given, shares, strict=True)
    )


def experiment_name(folder: Path) -> str:
    """Return what requests call an experiment."""
    from poolwise.experiments import load_experiment

    return load_experiment(folder).name


def require_serve() -> None:
    """Raise ConfigError where the extra ``serve`` is not installed."""
    with needs_extra("poolwise serve", "serve"):
        import fastapi  # noqa: F401
        import orjson  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401


def served_names(models: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return what requests call each model.

    Raises: ConfigError for too few names, or one name for two models.
    """
    if names and len(names) != len(models):
        raise ConfigError(f"{len(names)} --name for {len(models)} models", "wanted one for each model, in order")
    found = list(names) or [_short(model) for model in models]
    if double := [one for one in found if found.count(one) > 1]:
        raise ConfigError(
            f"two models are called {double[0]}", "wanted names that differ", "give --name for each model"
        )
    return found


def _short(model: str) -> str:
    from poolwise.hub import is_hub_id  # which imports an HTTP client: the start of every command need not

    if is_hub_id(model) and not Path(model).exists():
        return model.partition("@")[0]
    return Path(model).resolve().name
