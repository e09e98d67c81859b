"""The comparison with the reference on a machine that was never checked: fake machines, kernels in the interpreter."""

import json
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels import self_test, triton_support
from nas.kernels.gated_delta_rule import gated_delta_rule
from nas.kernels.machine import Machine
from nas.kernels.swiglu import swiglu
from tests.kernels.triton_cases import on_cpu

pytestmark = on_cpu
CPU = torch.device("cpu")
OLD = Machine("Fake RTX", (8, 6), "580.1", "3.6.0", "abc")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set an empty cache folder; return the file in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "nas-hybrid-attention" / "self_tests.json"


@pytest.fixture(autouse=True)
def tests(monkeypatch: pytest.MonkeyPatch) -> list[self_test.Use]:
    """Run on a machine that was never checked; return the list of the uses that are tested."""
    set_machine(monkeypatch, OLD)
    tested, run = [], self_test.run_trials

    def recorded(use: self_test.Use, device: torch.device) -> str | None:
        tested.append(use)
        return run(use, device)

    monkeypatch.setattr(self_test, "run_trials", recorded)
    return tested


def set_machine(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    """Run on this machine, in a process that has tested nothing yet."""
    for module in (self_test, triton_support):
        monkeypatch.setattr(module, "unchecked_machine", lambda device: machine)
    monkeypatch.setattr(self_test, "_results", {})


def gate(hidden: int = 20, impl: Any = "triton") -> Tensor:
    return swiglu(torch.ones(1, 3, 2 * hidden), impl=impl)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the kernel of the backward pass return wrong numbers."""
    from nas.kernels.swiglu import triton_op

    run = triton_op._backward.function
    monkeypatch.setattr(triton_op._backward, "function", lambda dy, x: run(dy, x).roll(1, -1))


def test_right_kernels_are_used(tests: list[self_test.Use]) -> None:
    """The test leaves no trace in the generator, and runs once."""
    torch.manual_seed(3)
    q, v = torch.full((1, 1, 1, 8), 0.5, dtype=torch.bfloat16), torch.ones(1, 1, 1, 12, dtype=torch.bfloat16)
    gates = -torch.ones(1, 1, 1), torch.ones(1, 1, 1)
    for _ in range(2):
        gated_delta_rule(q, q, v, *gates, torch.ones(1, 1, 1), chunk_size=16, impl="triton")
    assert [str(use) for use in tests] == [
        "gated_delta_rule with K=8, V=12, chunk_size=16, routed=1, group=1, packed=0, bfloat16"
    ]
    drawn = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))


@pytest.mark.usefixtures("broken")
def test_a_broken_kernel_is_replaced_with_one_warning(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """The reference is used, in the next process too, and "triton" raises an error."""
    for _ in range(2):
        set_machine(monkeypatch, OLD)
        with pytest.warns(UserWarning, match="failed their self-test") as caught:
            assert [on_a_gpu(), on_a_gpu()] == ["reference"] * 2
        assert len(caught) == 1
        for part in ("gradient of x is wrong", "swiglu with hidden=20", "Fake RTX", "Triton 3.6.0", str(cache)):
            assert part in str(caught[0].message)
    with pytest.raises(ValueError, match=r"gradient of x is wrong .* Use impl='reference'"):
        gate()


def on_a_gpu() -> str:
    """Return the implementation that "auto" chooses where the tensor's device is not the CPU."""
    return triton_support._decide(
        "auto", torch.device("cuda"), lambda: self_test.known_failure("swiglu.swiglu", torch.float32, CPU, hidden=20)
    )


def test_an_exception_names_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.kernels.swiglu import triton_op

    monkeypatch.setattr(triton_op.triton_kernels, "backward", {})  # has no launch for any grid
    with pytest.warns(UserWarning, match=r"KeyError in _run_backward of swiglu/triton_op\.py: "):
        assert on_a_gpu() == "reference"


def test_running_out_of_memory_is_no_result(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    def fail(*args: Any) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(self_test, "compare", fail)
    with pytest.raises(torch.OutOfMemoryError):
        gate()
    assert not cache.exists()


def test_the_second_process_reads_the_cache(
    monkeypatch: pytest.MonkeyPatch, tests: list[self_test.Use], cache: Path
) -> None:
    """Each use is tested once, and both results stay in the file."""
    for _ in range(2):
        set_machine(monkeypatch, OLD)
        gate(hidden=20)
        gate(hidden=24)
    assert len(tests) == 2
    assert list(json.loads(cache.read_text())[str(OLD)].values()) == [None, None]
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


@pytest.mark.parametrize(
    "change",
    [{"driver": "590.2"}, {"triton": "3.7.1"}, {"gpu": "Another RTX"}, {"kernels": "def"}, {"capability": (8, 9)}],
    ids=lambda change: f"another {next(iter(change))}",
)
def test_another_machine_is_tested_again(
    monkeypatch: pytest.MonkeyPatch, tests: list[self_test.Use], change: dict[str, Any]
) -> None:
    for machine in (OLD, OLD._replace(**change), OLD):
        set_machine(monkeypatch, machine)
        gate()
    assert len(tests) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"\xff{",
        b"[1]",
        b"",
        f'{{"{OLD}": 3}}'.encode(),
        f'{{"{OLD}": {{"swiglu with hidden=20, float32": 3}}}}'.encode(),
    ],
    ids=["binary", "list", "empty", "number", "entry"],
)
def test_a_corrupt_cache_is_replaced(tests: list[self_test.Use], cache: Path, content: bytes) -> None:
    cache.parent.mkdir()
    cache.write_bytes(content)
    gate()
    assert len(tests) == 1
    assert json.loads(cache.read_text()) == {str(OLD): {"swiglu with hidden=20, float32": None}}


def test_a_folder_that_cannot_be_written(tests: list[self_test.Use], tmp_path: Path) -> None:
    (tmp_path / "nas-hybrid-attention").write_text("a file")
    gate()
    gate()
    assert len(tests) == 1


@pytest.fixture
def capturing(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    captures = [True]
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: captures[0])
    return captures


def test_a_capture_uses_an_earlier_result_and_tests_nothing(
    capturing: list[bool], monkeypatch: pytest.MonkeyPatch, tests: list[self_test.Use]
) -> None:
    cuda = torch.device("cuda")
    monkeypatch.setattr(self_test, "compare", lambda trial, dtype, device: None)
    arguments = "swiglu.swiglu", torch.float32, cuda
    with pytest.warns(UserWarning, match="call it once before"):
        assert self_test.known_failure(*arguments, hidden=20) is not None
    capturing[0] = False
    assert self_test.known_failure(*arguments, hidden=20) is None
    capturing[0] = True
    with warnings.catch_warnings(action="error"):
        assert self_test.known_failure(*arguments, hidden=20) is None
    assert len(tests) == 1


def test_the_test_runs_apart_from_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autocast, no_grad, inference mode and hooks of the caller have no effect on it."""
    seen = []

    def compare(*args: Any) -> None:
        seen.append((torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled()))
        assert threading.current_thread() is not threading.main_thread()

    monkeypatch.setattr(self_test, "compare", compare)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        gate()
    assert set(seen) == {(True, False, False)}


def test_a_compiler_takes_the_result_as_a_constant(tests: list[self_test.Use]) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(gate, fullgraph=True, backend="eager")
    assert torch.equal(compiled(), gate())
    assert len(tests) == 1
