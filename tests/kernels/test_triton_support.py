"""Where the Triton kernels run and what they support: an error says what is allowed, and "auto" uses the reference."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.kernels import chunk_softmax_attention, gated_delta_rule, machine
from nas.kernels.machine import interpreting
from nas.kernels.triton_support import choose, machine_obstacle

DEVICE = "cpu" if interpreting() else "cuda"
CUDA = torch.device("cuda")
OPERATION = "gated_delta_rule.gated_delta_rule_step"


def softmax(**options: Any) -> Tensor:
    return run(chunk_softmax_attention, (), **options)


def linear(**options: Any) -> Tensor:
    return run(gated_delta_rule, ("g", "beta"), **options)


def run(
    operation: Callable[..., Any],
    gates: tuple[str, ...],
    K: int = 16,
    V: int = 16,
    dtype: torch.dtype = torch.float32,
    device: str = DEVICE,
    chunk_size: int = 16,
    **options: Any,
) -> Any:
    """Run the operation on 20 tokens of one head."""
    dims = {"q": (K,), "k": (K,), "v": (V,)} | dict.fromkeys(gates, ())
    torch.manual_seed(0)
    inputs = {name: -torch.rand(1, 20, 1, *dim).to(device, dtype) for name, dim in dims.items()}
    return operation(**inputs, chunk_size=chunk_size, **options)


either_operation = pytest.mark.parametrize("operation", [softmax, linear])


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Clear the cached facts about the machine before and after each test."""
    cached = (machine.known_machine_obstacle, machine.unchecked_machine, machine.has_large_shared_memory)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


@pytest.fixture
def compiling(monkeypatch: pytest.MonkeyPatch, forgetful: None) -> None:
    """Pretend that kernels are compiled for a GPU, not interpreted, and that a supported Triton is installed."""
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(machine, "triton_version", lambda: "3.6.0")


def set_gpu(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], name: str = "a GPU") -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    monkeypatch.setattr(torch.version, "hip", None)


class OnAGpu:
    """The tensor attributes that `choose` reads, without a GPU to hold the tensor."""

    device, dtype, shape = CUDA, torch.bfloat16, (1, 20, 1, 16)


@either_operation
@pytest.mark.parametrize(
    ("options", "given", "allowed"),
    [
        ({"chunk_size": 8}, "chunk_size=8", "16, 32, 64, 128, 256"),
        ({"K": 6}, "q has head dim 6", "multiples of 4 up to 256"),
        ({"K": 260}, "q has head dim 260", "multiples of 4 up to 256"),
        ({"V": 6}, "v has head dim 6", "multiples of 4 up to 512"),
        ({"V": 516}, "v has head dim 516", "multiples of 4 up to 512"),
        ({"dtype": torch.float64}, "q has dtype torch.float64", "float16, bfloat16 and float32"),
    ],
    ids=str,
)
def test_a_call_beyond_the_kernels(
    operation: Callable[..., Tensor], options: dict[str, Any], given: str, allowed: str
) -> None:
    pytest.importorskip("triton")
    with pytest.raises(ValueError) as caught:
        operation(**options, impl="triton")
    for part in (given, allowed, "impl='reference'"):
        assert part in str(caught.value)
    assert torch.equal(operation(**options, impl="auto"), operation(**options, impl="reference"))


@either_operation
@pytest.mark.usefixtures("compiling")
def test_tensors_on_the_cpu_without_the_interpreter(operation: Callable[..., Tensor]) -> None:
    with pytest.raises(ValueError) as caught:
        operation(device="cpu", impl="triton")
    for part in ("the tensors are on cpu", "CUDA device", "impl='reference'"):
        assert part in str(caught.value)


@either_operation
def test_auto_on_the_cpu_is_the_reference(operation: Callable[..., Tensor]) -> None:
    """On a CPU "auto" uses the reference, even where the interpreter could run the kernels: that is for tests."""
    assert torch.equal(operation(device="cpu"), operation(device="cpu", impl="reference"))


@pytest.mark.usefixtures("compiling")
def test_the_gpu_that_is_supported(monkeypatch: pytest.MonkeyPatch) -> None:
    set_gpu(monkeypatch, (9, 0))
    tensor: Any = OnAGpu()
    assert machine_obstacle(CUDA) is None
    assert machine.unchecked_machine(CUDA) is None
    assert choose("auto", tensor, tensor, tensor, 64, OPERATION) == "triton"
    assert choose("reference", tensor, tensor, tensor, 64, OPERATION) == "reference"


@pytest.mark.usefixtures("compiling")
def test_a_gpu_without_support(monkeypatch: pytest.MonkeyPatch) -> None:
    set_gpu(monkeypatch, (7, 5), name="Some GPU")
    assert_reference_is_left("Some GPU has compute capability 7.5", "8.0 or newer")


@pytest.mark.usefixtures("compiling")
@pytest.mark.parametrize("capability", [(8, 0), (8, 9), (9, 0), (10, 0), (12, 0)], ids=str)
def test_a_machine_that_was_never_checked(capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    set_gpu(monkeypatch, capability, name="Some GPU")
    monkeypatch.setattr(machine, "triton_version", lambda: "3.8.0")
    monkeypatch.setattr(machine, "_driver_version", lambda: "580.1")
    assert machine_obstacle(CUDA) is None
    unchecked = machine.unchecked_machine(CUDA)
    assert unchecked is not None
    assert unchecked[:4] == ("Some GPU", capability, "580.1", "3.8.0")
    assert machine.has_large_shared_memory(CUDA) == (capability in ((9, 0), (10, 0)))


@pytest.mark.usefixtures("compiling")
def test_an_amd_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    set_gpu(monkeypatch, (9, 0))
    monkeypatch.setattr(torch.version, "hip", "6.4")
    assert_reference_is_left("AMD GPU")


@pytest.mark.usefixtures("compiling")
@pytest.mark.parametrize(
    ("version", "message"),
    [
        (None, "triton is not installed"),
        ("3.5.1", "triton 3.5.1 is older than 3.6"),
        ("2.10", "2.10 is older than 3.6"),
    ],
    ids=str,
)
def test_no_triton_or_an_old_one(version: str | None, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_gpu(monkeypatch, (9, 0))
    monkeypatch.setattr(machine, "triton_version", lambda: version)
    assert_reference_is_left(message)


@pytest.mark.usefixtures("compiling")
@pytest.mark.parametrize("version", ["3.6.0", "3.10.0", "4.0.0+git1234"])
def test_a_triton_that_is_new_enough(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_gpu(monkeypatch, (9, 0))
    monkeypatch.setattr(machine, "triton_version", lambda: version)
    assert machine_obstacle(CUDA) is None


def assert_reference_is_left(*parts: str) -> None:
    """Assert that impl="triton" raises a message with these parts, and that "auto" uses the reference."""
    tensor: Any = OnAGpu()
    with pytest.raises(ValueError) as caught:
        choose("triton", tensor, tensor, tensor, 64, OPERATION)
    for part in (*parts, "impl='reference'"):
        assert part in str(caught.value)
    assert choose("auto", tensor, tensor, tensor, 64, OPERATION) == "reference"


def test_kernels_are_imported_without_the_compiler() -> None:
    """It takes as long to import as the rest of torch, and only compiled models need it."""
    code = "import sys, nas.kernels; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0


@pytest.mark.usefixtures("forgetful")
def test_the_machine_is_a_constant_to_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason cannot be traced."""
    asked = []

    def version() -> str:
        asked.append(id(object()))
        return "3.5.1"

    monkeypatch.setattr(machine, "triton_version", version)

    def add_if_possible(x: Tensor) -> Tensor:
        return x + 1 if machine_obstacle(x.device) is None else x

    compiled = torch.compile(add_if_possible, fullgraph=True, backend="eager")
    assert torch.equal(compiled(torch.zeros(2)), torch.zeros(2))
    assert len(asked) == 1
