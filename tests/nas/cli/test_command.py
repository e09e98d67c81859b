"""What every command says: its help, its config, and one clear message where an option cannot work."""

import io
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from nas.cli.command import _function
from nas.search import main
from tests.nas.commands import BATCHES, MODEL, SEARCH, SMALL, TRAINER, nas, refusal
from tests.nas.processes import process, wait_for_end

SPACE = "+space=token_hybrid"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Where nothing may have been written at the end."""
    return tmp_path / "outputs"


@pytest.mark.parametrize(
    ("options", "given", "advice"),
    [
        ((), "space is missing", "choose one of: chunk_size, joint, layer_hybrid, token_hybrid"),
        (
            ("+space=token_hybird",),
            "space=token_hybird is unknown",
            "choose one of: chunk_size, joint, layer_hybrid, token_hybrid.",
        ),
        (("space=token_hybrid",), "space=token_hybrid cannot select a file of space", "give +space=token_hybrid."),
        ((SPACE, "+data=text"), "+data=text cannot select a file of data", "give data=text."),
        ((SPACE, "model=huge"), "model=huge is unknown", "choose one of: 30m, 340m, 760m, pretrained, tiny."),
        (
            (SPACE, "data=poems"),
            "data=poems is unknown",
            "choose one of: identifiers, mqar, needle, recall, ruler, state_tracking, text, tokens.",
        ),
        ((SPACE, "experiment=two"), "experiment=two is unknown", "choose one of: one_gpu, small_lm."),
        ((SPACE, "trainer.stepz=3"), "trainer.stepz is not an option", "did you mean trainer.steps?"),
        ((SPACE, "+trainer.stepz=3"), "trainer.stepz is not an option", "--help lists"),
        ((SPACE, "data=text", "data.keys=3"), "data.keys is not an option", "data has: name, length"),
        ((SPACE, "sed=3"), "sed is not an option", "did you mean seed? there are: model, data"),
        ((SPACE, "seed=first"), "seed: Value 'first'", "could not be converted to Integer"),
        ((SPACE, "trainer.steps=???"), "trainer.steps", "missing"),
        ((SPACE, "name=${nothing}"), "name", "'nothing' not found"),
        ((SPACE, "model.width=["), "model.width=[ cannot be read", "give name=value"),
        (
            (SPACE, "space.name=other"),
            "space.name=other is unknown",
            "choose one of: chunk_size, joint, layer_hybrid, token_hybrid",
        ),
        ((SPACE, "space.route_grad=none"), "space.route_grad=none is unknown", "choose one of: selected, full"),
        ((SPACE, "model.chunk_size=0"), "model.chunk_size=0", "give 1 or more"),
        ((SPACE, "model.width=0"), "model.width=0", "give 1 or more"),
        ((SPACE, "model.layers=0"), "model.layers=0", "give 1 or more"),
        ((SPACE, "model.softmax_heads=3"), "softmax_heads=3", "choose linear_heads among the divisors of 3"),
        ((SPACE, "model.routing_heads=4"), "model.routing_heads=4", "choose routing_heads among the divisors of 2"),
        ((SPACE, "model.routed_layers=[2]"), "model.routed_layers has 2", "layers 0 to 1"),
        ((SPACE, "data.pairs=100"), "data.pairs=100", "give"),
        ((SPACE, "data=mqar", "data.pairs=100"), "256 tokens have no room for 100 pairs", "give at least 400 tokens"),
        ((SPACE, "data=mqar", "data.settings=[[64,4]]"), "data.settings has [64, 4]", "give [length, pairs, weight]"),
        ((SPACE, "data=mqar", "data.vocab_size=128"), "64 pairs need as many", "give at least 130, or fewer pairs"),
        ((SPACE, "data=mqar", "data.length_factors=[1,64]"), "data.length_factors has 64", "or fewer pairs"),
        ((SPACE, "data=needle", "data.form=essay"), "data.form=essay is unknown", "one of: noise, text, digits."),
        ((SPACE, "data=needle", "data.length=64"), "data.length=64 has no room", "give at least 122"),
        ((SPACE, "data=ruler", "data.problem=qa"), "data.problem=qa is unknown", "one of: single, multikey_2,"),
        ((SPACE, "data=needle", "data.path=x"), "data.path=x has no effect", "choose form=text or form=digits"),
        ((SPACE, "data=needle", "data.form=text", "data.path=nowhere"), "data.path=nowhere: no such file", "give"),
        ((SPACE, "data=state_tracking", "data.problem=chess"), "data.problem=chess", "one of: parity, modular."),
        ((SPACE, "data=state_tracking", "data.modulus=1"), "data.modulus=1", "give 2 or more"),
        ((SPACE, "data.length_factors=[2]"), "data.length_factors=[2]", "1 among them"),
        ((SPACE, "data.length_factors=[]"), "data.length_factors=[]", "1 among them"),
        ((SPACE, "relaxation=soft"), "relaxation=soft is unknown", "choose one of: argmax_ste, "),
        ((SPACE, "relaxation.name=soft"), "relaxation.name=soft is unknown", "choose one of: argmax_ste, "),
        ((SPACE, "relaxation.temperature_start=0"), "relaxation.temperature_start=0.0", "give a number over 0"),
        ((SPACE, "relaxation.temperature_end=-1"), "relaxation.temperature_end=-1.0", "give a number over 0"),
        ((SPACE, "relaxation.temperature_end=nan"), "relaxation.temperature_end=nan", "give a number over 0"),
        ((SPACE, "budget.target=0"), "budget.target=0.0", "give a number over 0"),
        ((SPACE, "trainer.steps=0"), "trainer.steps=0", "give 1 or more"),
        ((SPACE, "trainer.steps=-5"), "trainer.steps=-5", "give 1 or more"),
        ((SPACE, "trainer.learning_rate=-1e-3"), "trainer.learning_rate=-0.001", "give a number over 0"),
        ((SPACE, "trainer.learning_rate=inf"), "trainer.learning_rate=inf", "give at most 10"),
        ((SPACE, "trainer.beta2=1"), "trainer.beta2=1.0", "below 1"),
        ((SPACE, "trainer.log_every=0"), "trainer.log_every=0", "give 1 or more"),
        ((SPACE, "trainer.validate_every=0"), "trainer.validate_every=0", "give 1 or more"),
        ((SPACE, "trainer.checkpoint_every=0"), "trainer.checkpoint_every=0", "give 1 or more"),
        ((SPACE, "trainer.accelerator=nonsense"), "trainer.accelerator=nonsense", "Available names are: "),
        ((SPACE, "trainer.precision=nonsense"), "trainer.precision=nonsense", "Allowed precision values: "),
        ((SPACE, "trainer.devices=0"), "trainer.devices=0", "cannot work here"),
        ((SPACE, "name=a/b"), "name='a/b'", "give a word"),
        (("resume=nowhere",), "nowhere: there is no such folder", "give the folder of an earlier run"),
        ((SPACE, "resume=nowhere"), "nowhere: there is no such folder", "give the folder of an earlier run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_option_that_cannot_work(output: Path, options: tuple[str, ...], given: str, advice: str) -> None:
    given_before = () if any(option.startswith("data=") for option in options) else SMALL
    message = refusal("search", *given_before, *options, f"output={output}")
    assert given in message
    assert advice in message
    assert not output.exists()


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("missing", None, "no such file"),
        ("empty", b"", "holds no text"),
        ("short", b"too short", "is too short"),
        ("short for 64 times the length", b"x" * 10_000, "is too short"),
    ],
)
def test_a_text_that_cannot_be_used(tmp_path: Path, output: Path, name: str, content: bytes | None, told: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    options = (SPACE, *MODEL, *BATCHES, *TRAINER, "data=text", "data.length=64", "data.length_factors=[1,64]")
    message = refusal("search", *options, f"data.path='{path}'", f"output={output}")
    assert f"data.path={path}" in message
    assert told in message
    assert not output.exists()


def test_many_runs_stop_at_the_first_refusal(output: Path) -> None:
    ended = nas("search", "-m", *SEARCH, "model.chunk_size=0,8", f"output={output}")
    assert ended.status == 1
    assert ended.err.startswith("error: model.chunk_size=0")
    assert not (output / "search").exists()


def test_the_process_fails_with_the_message_alone(output: Path) -> None:
    refused = wait_for_end(process("-m", "nas.search", *SEARCH, "model.chunk_size=0", f"output={output}"))
    assert refused.status == 1
    assert refused.out == ""
    assert refused.err == "error: model.chunk_size=0 is not allowed; give 1 or more.\n"


def test_a_bug_shows_its_traceback(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("nas.workflows.search.build_task", fail)
    with pytest.raises(ZeroDivisionError):
        nas("search", *SEARCH, f"output={output}")


@pytest.mark.parametrize("options", [(), (SPACE, "data=text", "seed=3")])
def test_the_config_can_be_looked_at(options: tuple[str, ...]) -> None:
    ended = nas("search", *options, "--cfg", "job")
    assert ended.status == 0
    config = OmegaConf.create(ended.out)
    assert config.trainer.steps > 0
    assert config.seed == (3 if options else 0)
    assert "hydra" not in config


SLOW = {
    *("torch", "lightning", "optuna", "matplotlib", "tensorboard", "safetensors", "vl_convert"),
    *("transformers", "tokenizers", "wandb", "mlflow", "pyarrow", "datasets"),
}
"""Libraries that take long to import."""


@pytest.mark.parametrize("command", ["search", "sweep", "train", "prepare", "evaluate"])
@pytest.mark.parametrize("options", [("--help",), ("sed=3",), ()], ids=str)
def test_an_answer_does_not_wait_for_torch(command: str, options: tuple[str, ...]) -> None:
    code = f"""
import sys
import nas.{command}
sys.argv[1:] = {list(options)}
try:
    nas.{command}.main()
finally:
    print("imported:", *sorted(sys.modules.keys() & {SLOW}))
"""
    ended = wait_for_end(process("-c", code))
    assert ended.out.splitlines()[-1] == "imported:", ended.err


def test_an_end_without_complaints(output: Path) -> None:
    """Of bindings about objects that the collector was told to leave alone."""
    options = ("architecture=linear", *SMALL, "trainer.steps=1", f"output={output}")
    finished = wait_for_end(process("-m", "nas.train", *options))
    assert finished.status == 0
    assert finished.err == ""


@pytest.mark.parametrize("encoding", ["ascii", "gbk"])
def test_a_terminal_without_a_character_shows_it_escaped(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setattr(sys, "argv", ["nas/search.py", SPACE, "name='µs'", "--cfg=job"])
    main()
    monkeypatch.setattr(sys, "argv", ["nas/search.py", SPACE, "name=µs"])
    with pytest.raises(SystemExit):
        main()
    assert r"name: \xb5s" in out.buffer.getvalue().decode(encoding).splitlines()
    assert err.buffer.getvalue().decode(encoding).startswith(r"error: name=\xb5s cannot be read")


@pytest.mark.parametrize(
    ("command", "options", "job", "advice"),
    [
        ("search", SEARCH, "nas.workflows.search.search", "resume=FOLDER"),
        ("visualize", ("runs=.",), "nas.pages.visualize.visualize", "the same command"),
        ("generate", ("run=.", "prompt=a"), "nas.workflows.generate.generate", "the same command"),
        ("prepare", ("input=.", "output=tokens"), "nas.preparing.run.prepare", "the same command"),
    ],
    ids=["search", "visualize", "generate", "prepare"],
)
def test_what_to_do_next_is_an_option_that_the_command_has(
    command: str, options: tuple[str, ...], job: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, reason in (
        (OSError(28, "No space left on device", "page"), "cannot write page"),
        (KeyboardInterrupt(), "stopped; "),
    ):

        def fail(*_: object, error: BaseException = error) -> int:
            raise error

        monkeypatch.setattr(job, fail)
        _function.cache_clear()
        ended = nas(command, *options)
        assert ended.err.startswith(f"error: {reason}"), ended.err
        assert advice in ended.err
        assert ("resume" in ended.err) == (advice == "resume=FOLDER")
    monkeypatch.undo()
    _function.cache_clear()
