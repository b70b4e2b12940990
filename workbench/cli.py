"""The verbs without a notebook: ``workbench --help``, or ``python -m workbench``."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import workbench as wb
from workbench.cli_options import (
    SAMPLING,
    SCORING,
    Parser,
    add_settings,
    changes_in_words,
    options_in_words,
    settings_given,
    typed_values,
)
from workbench.errors import ConfigError, WorkbenchError, disk_watched
from workbench.presets import PRESETS, preset_settings
from workbench.progress import estimate_words, phase_words
from workbench.settings import PPOSettings, RunSettings

if TYPE_CHECKING:
    from workbench.runs import RunFolder


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it went well, 1 after a fault that the message helps to mend."""
    args, unknown = _parser().parse_known_args(arguments)
    if unknown:
        args.parser.refuse_unknown(unknown)
    try:
        with disk_watched("what this command writes"):
            return int(args.run(args) or 0)
    except WorkbenchError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="workbench", description="Align a language model to human preferences.")
    commands = parser.add_subparsers(required=True, metavar="command")
    _add_training(commands)
    _add_frontier(commands)
    _add_data(commands)
    demo = commands.add_parser("demo", help="the whole loop on the embedded default, headless")
    demo.add_argument("--out", default="runs/demo", type=Path)
    demo.add_argument("--seed", default=0, type=int)
    demo.add_argument("--quick", action="store_true", help="very short runs")
    turned = "the control: labels that say nothing; of pairs that differ alike half change sides"
    demo.add_argument("--shuffle-labels", action="store_true", help=turned)
    demo.set_defaults(run=_demo)
    look = commands.add_parser(
        "verify", help="plan, preflight and first updates on a model of yours: a table to share"
    )
    look.add_argument("model", help="hub id, folder, run or builtin:NAME")
    look.add_argument("--reward", help="a reward model's run, or module:function; else built in")
    look.add_argument("--data", help="prompts; else 32 plain ones")
    look.add_argument("--preset", help=f"settings by name: {', '.join(PRESETS)}")
    look.add_argument(
        "--minutes", type=float, default=5.0, help="that it may take; as many updates as fit"
    )
    look.add_argument("--out", type=Path, help="a file for the table, as Markdown")
    add_settings(look, "ppo")
    look.set_defaults(run=_verify)
    doctor = commands.add_parser("doctor", help="say what this machine can do, and what to mend")
    doctor.add_argument("--self-test", action="store_true", help="also train for a few steps")
    doctor.set_defaults(run=_doctor)
    page = commands.add_parser("share", help="write a run's panel as one HTML file, to be sent")
    page.add_argument("folder", help="the run's folder or name")
    page.add_argument("--out", type=Path, help="the file; else panel.html in the run's folder")
    page.set_defaults(run=_share)
    for name, text in (
        ("status", "say how far a run is"),
        ("pause", "ask a run to pause"),
        ("resume", "let a paused run go on, or a dead one from its last checkpoint"),
        ("stop", "ask a run to stop; what it has learned is kept"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("folder", help="the run's folder or name")
        if name == "resume":
            _add_trust(command)
        command.set_defaults(run=_steer, command=name)
    for command in commands.choices.values():
        command.set_defaults(parser=command)
    return parser


def _add_trust(command: argparse.ArgumentParser) -> None:
    text = "go on also with a run that was made elsewhere: its author's code runs with your rights"
    command.add_argument("--trust", action="store_true", help=text)


def _add_training(commands: Any) -> None:
    texts = {
        "sft": "fine-tune on instructions or texts",
        "reward": "train a reward model on pairs",
        "dpo": "train a policy on pairs, without a reward model",
        "online-dpo": "train a policy on which of its two answers a reward model prefers",
        "ppo": "train a policy against a reward model",
    }
    for name, text in texts.items():
        command, kind = commands.add_parser(name, help=text), name.replace("-", "_")
        command.add_argument("--model", required=True, help="hub id, folder, run or builtin:NAME")
        command.add_argument("--data", required=True, help="pairs, prompts, instructions or texts")
        command.add_argument("--out", required=True, help="the run's folder")
        add_settings(command, kind)
        _add_trust(command)
        if name in ("online-dpo", "ppo"):
            command.add_argument(
                "--reward", required=True, help="the reward model's run, or module:function"
            )
        if name == "ppo":
            command.add_argument("--heldout-reward", help="a reward model that only watches")
            command.add_argument("--preset", help=f"settings by name: {', '.join(PRESETS)}")
            command.add_argument(
                "--preflight-only", action="store_true", help="check what must hold, then end"
            )
        if name == "dpo":
            text = "a reward model's run, or module:function, that scores the watched answers"
            command.add_argument("--reward", help=text)
        command.set_defaults(run=_train, kind=kind)


def _add_frontier(commands: Any) -> None:
    from workbench.verbs.draw_frontier import BEST_OF_N, EQUAL_IN, WAYS

    command = commands.add_parser(
        "frontier", help="put the ways of aligning beside each other: scores, KL and time"
    )
    command.add_argument("--model", required=True, help="what all start from")
    command.add_argument("--data", required=True, help="pairs")
    command.add_argument("--prompts", required=True, help="prompts to learn from")
    several: dict[str, Any] = {"nargs": "+", "action": "extend"}
    ways = f"some of {', '.join((*WAYS, BEST_OF_N))}; else all"
    command.add_argument("--methods", **several, metavar="METHOD", help=ways)
    command.add_argument("--prices", **several, metavar="BETA", help="prices of a nat")
    rates = "trials of each learning rate, as multiples of its own"
    command.add_argument("--rates", **several, metavar="FACTOR", help=rates)
    command.add_argument("--seeds", type=int, help="how many")
    command.add_argument("--budget", type=float, help="of each run, in what --equal says")
    command.add_argument("--equal", help=f"one of {', '.join(EQUAL_IN)}")
    command.add_argument("--reward", help="what pays, a reward model's run; else one is trained")
    command.add_argument("--heldout-reward", help="what only watches; else one is trained")
    command.add_argument("--heldout", help="prompts to measure on; else some are kept aside")
    command.add_argument("--out", required=True, help="the folder for the runs and report.html")
    add_settings(command)
    command.set_defaults(run=_frontier)


def _add_data(commands: Any) -> None:
    from workbench.data.writing.row_layouts import HOLDS

    read = commands.add_parser("import", help="read pairs of any known format")
    read.add_argument("file")
    read.add_argument("--format", default="auto")
    read.add_argument("--out", required=True, type=Path, help="pairs in the workbench's own form")
    read.add_argument("--report", type=Path, help="a JSON file for the counts")
    read.add_argument("--quarantine", type=Path, help="a JSONL file for the rows put aside")
    read.set_defaults(run=_import)
    write = commands.add_parser("export", help="write pairs or labels for other tools")
    write.add_argument("pairs", help="a pairs file, or a label store")
    write.add_argument("--format", default="trl", help=f"one of {', '.join(HOLDS)}")
    write.add_argument("--out", required=True, type=Path)
    write.add_argument("--ties", default="drop", help="drop, both (orders) or unpaired")
    write.add_argument(
        "--k-way", default="all", help="pairs of a ranking: all, best-worst or adjacent"
    )
    write.add_argument(
        "--min-agreement", type=float, metavar="SHARE", help="leave out what people agree on less"
    )
    write.add_argument(
        "--annotators",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="of a label store, count these alone",
    )
    write.add_argument(
        "--votes", default="majority", help="of a label store: majority, or each label by itself"
    )
    write.add_argument(
        "--split",
        nargs="+",
        action="extend",
        metavar="PART=SHARE",
        help="by prompt, e.g. train=0.9 test=0.1",
    )
    write.add_argument("--seed", default=0, type=int, help="of the split")
    write.set_defaults(run=_export)
    sample = commands.add_parser("sample", help="sample several answers to each prompt")
    sample.add_argument("--model", required=True)
    sample.add_argument("--data", required=True, help="prompts")
    sample.add_argument("--responses", default=2, type=int)
    sample.add_argument("--out", required=True, type=Path)
    add_settings(sample)
    sample.set_defaults(run=_sample)
    plain = commands.add_parser("export-model", help="write a run as plain weights, merged")
    plain.add_argument("model", help="a run, or its final/")
    plain.add_argument("--out", required=True, type=Path, help="a folder that is new")
    plain.add_argument("--dtype", default="auto", help="float32, bfloat16 or float16")
    plain.set_defaults(run=_export_model)
    explain = commands.add_parser("why", help="say which words an answer's reward score comes from")
    explain.add_argument("--reward", required=True, help="the reward model's run")
    explain.add_argument("--prompt", required=True, help="what was asked")
    text = "an answer; given again: another, to stand beside it"
    explain.add_argument(
        "--response", required=True, nargs="+", action="extend", metavar="TEXT", help=text
    )
    explain.add_argument("--out", type=Path, help="a JSON file for each token's part")
    add_settings(explain)
    explain.set_defaults(run=_why)
    measure = commands.add_parser("evaluate", help="say how good a reward model is, and where")
    measure.add_argument("--reward", required=True, help="the reward model's run")
    measure.add_argument("--data", required=True, help="labelled pairs it was not trained on")
    measure.add_argument("--out", type=Path, help="a JSON file for all figures")
    measure.add_argument("--worst", type=Path, help="a file for the worst disagreements, as pairs")
    add_settings(measure)
    measure.set_defaults(run=_evaluate)


def _export_model(args: argparse.Namespace) -> None:
    _tell(args)
    print(f"written: {wb.export_model(args.model, args.out, dtype=args.dtype)}")  # noqa: T201


def _verify(args: argparse.Namespace) -> int:
    """The table alone goes to standard output, what is told meanwhile to standard error.

    Raises:
        ConfigError: the table has no place to be written to.
    """
    if args.out is not None and (args.out.is_dir() or not args.out.absolute().parent.is_dir()):
        raise ConfigError(
            "the table cannot be written there",
            where=f"--out {args.out}",
            fix="give a file in a folder that exists, e.g. --out verified.md",
        )
    inputs: dict[str, Any] = {"reward": args.reward, "prompts": args.data, "preset": args.preset}
    inputs["minutes"] = args.minutes
    typed, checked = settings_given(args.set, "ppo", preset_settings(args.preset, {}))
    with redirect_stdout(sys.stderr):
        _tell(args, changes_in_words(typed, checked))
        verified = wb.verify(args.model, **inputs, **typed)
    print(verified.markdown)  # noqa: T201
    if args.out is not None:
        verified.save(args.out)
    return 0 if verified.passed else 1


def _doctor(args: argparse.Namespace) -> int:
    report = wb.doctor(self_test=args.self_test)
    print(report)  # noqa: T201
    return 0 if report.passed else 1


def _check_places(args: argparse.Namespace, *names: str) -> None:
    """See that each file that is asked for can be written, before the work is done for it.

    Raises:
        ConfigError: one of them is a folder, or is in what is none.
    """
    for name in names:
        path = getattr(args, name)
        if path is None:
            continue
        parents = (parent for parent in path.absolute().parents if parent.exists())
        if path.is_dir() or not next(parents).is_dir():
            raise ConfigError(
                "a file cannot be written there",
                where=f"--{name} {path}",
                fix="give a file in a folder, e.g. --" + name + " out/" + (path.name or "file"),
            )
        path.absolute().parent.mkdir(parents=True, exist_ok=True)


def _tell(args: argparse.Namespace, *more: str) -> None:
    """Say what was asked for beside the defaults, before it is begun."""
    for words in (options_in_words(args.parser, args), *more):
        if words:
            print(words, flush=True)  # noqa: T201


def _train(args: argparse.Namespace) -> int:
    from workbench.runs import several_processes

    paid = args.kind in ("online_dpo", "ppo")
    first = [args.model, args.reward] if paid else [args.model]
    preset = preset_settings(getattr(args, "preset", None), {})
    typed, settings = settings_given(args.set, args.kind, preset)
    out = str(Path(args.out).absolute())
    named = ("heldout_reward", "preset", "trust", *(["reward"] if args.kind == "dpo" else []))
    more = {name: getattr(args, name) for name in named if getattr(args, name, None)}

    if getattr(args, "preflight_only", False):
        return _preflight(args, typed, settings)

    def begin() -> Any:
        train = getattr(wb, f"train_{args.kind}")
        return train(*first, args.data, name=out, **more, **typed)

    several_processes.start_all(sys.argv[1:])
    if several_processes.is_main():
        _tell(args, changes_in_words(typed, settings))
    if several_processes.processes() > 1:
        return _train_together(lambda: begin().folder, settings)
    run = begin()
    if run.status in ("stopped", "failed", "paused"):  # the same command goes on with it
        run.resume()
    run.wait()
    print(f"{run.name} {run.status}: {run.final}")  # noqa: T201
    return 0


def _frontier(args: argparse.Namespace) -> None:
    typed = typed_values(args.set)
    names = ("methods", "seeds", "budget", "equal", "reward", "heldout_reward", "heldout")
    options = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    for name in ("prices", "rates"):
        if getattr(args, name) is not None:
            options[name] = [_number(text, f"--{name}") for text in getattr(args, name)]
    _tell(args)
    out = str(Path(args.out).absolute())
    print(wb.frontier(args.model, args.data, args.prompts, name=out, **options, **typed))  # noqa: T201
    print(f"written: {Path(out) / 'report.html'}")  # noqa: T201


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(
            f"{text!r} is not a number", where=option, fix=f"write {option} 0.05 0.2"
        ) from None


def _preflight(args: argparse.Namespace, typed: dict[str, Any], settings: RunSettings) -> int:
    """Check what must hold; what is for the run alone is looked at, and said to be."""
    from workbench.verbs.model_names import check_model
    from workbench.verbs.train import check_ppo

    assert isinstance(settings, PPOSettings)
    check_ppo(settings, heldout=args.heldout_reward is not None)
    if args.heldout_reward is not None:
        check_model(args.heldout_reward, "heldout_reward", "scores")
    left = "nothing is written to --out" + (", and nothing needs --trust" if args.trust else "")
    _tell(args, changes_in_words(typed, settings), f"checked only: {left}")
    inputs: dict[str, Any] = {"prompts": args.data, "preset": args.preset}
    checks = wb.preflight(args.model, args.reward, **inputs, **typed)
    print(checks)  # noqa: T201
    return 0 if checks.passed else 1


def _train_together(begin: Callable[[], "RunFolder"], settings: RunSettings) -> int:
    """Train in the processes that ``accelerate launch`` has started, of which this is one."""
    from workbench import child
    from workbench.runs import several_processes

    code = child.run_together(begin, settings)
    if several_processes.is_main():
        folder = begin()
        print(f"{folder.name} {folder.status()['state']}: {folder.final}")  # noqa: T201
    return code


def _import(args: argparse.Namespace) -> None:
    _check_places(args, "out", "report", "quarantine")
    _tell(args)
    pairs = wb.load_pairs(args.file, args.format)
    pairs.save(args.out)
    print(pairs.report)  # noqa: T201
    if args.report:
        args.report.write_text(json.dumps(pairs.report.as_dict(), indent=2) + "\n")
    if args.quarantine:
        pairs.report.write_quarantined(args.quarantine)


def _export(args: argparse.Namespace) -> None:
    from workbench.data.store.labels import LabelStore
    from workbench.data.writing.writers import write_pairs, write_split

    options: dict[str, Any] = {
        name: getattr(args, name)
        for name in ("format", "ties", "k_way", "min_agreement", "annotators", "votes")
    }
    if args.split is None and "seed" in args.given:
        raise ConfigError(
            "a seed draws the parts of a split, and none is asked for",
            where=f"--seed {args.seed}",
            fix="leave it out, or add --split train=0.9 test=0.1",
        )
    parts = None if args.split is None else typed_values(args.split, "--split")
    _check_places(args, "out")
    _tell(args)
    stored = Path(args.pairs).suffix in (".sqlite", ".db") and Path(args.pairs).exists()
    with LabelStore(args.pairs) if stored else nullcontext() as store:
        source = store if store is not None else wb.load_pairs(args.pairs)
        if parts is None:
            written = [write_pairs(source, args.out, **options)]
        else:
            written = [*write_split(source, args.out, parts, seed=args.seed, **options).values()]
    for path in written:
        print(f"written: {path}")  # noqa: T201


def _sample(args: argparse.Namespace) -> None:
    typed, settings = settings_given(args.set, "ppo")
    _check_places(args, "out")
    _tell(args, changes_in_words(typed, settings, SAMPLING))
    pairs = wb.sample_pairs(args.model, args.data, args.responses, **typed)
    pairs.save(args.out)
    print(f"{len(pairs)} prompts with {args.responses} answers each: {args.out}")  # noqa: T201


def _evaluate(args: argparse.Namespace) -> None:
    from workbench.json_lines import write_json

    typed, settings = settings_given(args.set, "ppo")
    _check_places(args, "out", "worst")
    _tell(args, changes_in_words(typed, settings, SCORING))
    report = wb.evaluate_reward(args.reward, args.data, **typed)
    print(report)  # noqa: T201
    if args.out:
        write_json(args.out, report.saved())
    if args.worst:
        report.worst.save(args.worst)


def _share(args: argparse.Namespace) -> None:
    _check_places(args, "out")
    _tell(args)
    print(f"written: {wb.share(args.folder, args.out)}")  # noqa: T201


def _why(args: argparse.Namespace) -> None:
    from workbench.json_lines import write_json

    typed, settings = settings_given(args.set, "ppo")
    _check_places(args, "out")
    _tell(args, changes_in_words(typed, settings, SCORING))
    report = wb.why(args.reward, args.prompt, *args.response, **typed)
    print(report)  # noqa: T201
    if args.out:
        write_json(args.out, {"answers": report.answers})


def _steer(args: argparse.Namespace) -> None:
    run = wb.open_run(args.folder)
    if args.command != "status":
        trust = {"trust": True} if getattr(args, "trust", False) else {}
        getattr(run, args.command)(**trust)
    status = run.folder.status()
    step = f"step {status['step']} of {status['total_steps'] or '?'}"
    words = phase_words(status) or estimate_words(status)
    print(f"{run.name}: {', '.join(filter(None, (status['state'], step, words)))}")  # noqa: T201
    if status["error"]:
        print(status["error"])  # noqa: T201


def _demo(args: argparse.Namespace) -> None:
    from workbench.demo import Demo

    _tell(args)
    Demo(args.out, seed=args.seed, shuffle_labels=args.shuffle_labels, quick=args.quick).run()
