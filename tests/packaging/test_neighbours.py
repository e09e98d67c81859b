"""The installed project beside other people's files of the names that the checkout's folders have."""

import sys
from importlib import import_module
from importlib.metadata import distributions
from pathlib import Path

import pytest

import nas.kernels
from tests.nas.commands import SEARCH
from tests.packaging.environments import ROOT, Environment, write_wheel

OURS = "from nas.kernels import gated_delta_rule as ours; print(callable(ours))"
THEIRS = "from kernels import get_kernel; print(get_kernel('x'))"
LIBRARIES = {"transformers": "5.2", "datasets": "4.0", "tokenizers": "0.22", "wandb": "0.20", "mlflow": "3.0"}
"""Libraries that commands import only if an option needs them, in versions that Lightning and torchmetrics accept."""
NAMES = ("conf", "kernels", "search_spaces", "experiments")


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_a_distribution_with_a_package_kernels(wheel: Path, kernels_wheel: Path, tmp_path: Path, first: str) -> None:
    wheels = (wheel, kernels_wheel) if first == "ours" else (kernels_wheel, wheel)
    environment = Environment(tmp_path / "venv", *wheels)
    assert environment.python(f"{OURS}\n{THEIRS}", tmp_path) == "True\nkernel x\n"
    if first == "ours":
        environment.uninstall("nas-hybrid-attention")
        assert environment.python(THEIRS, tmp_path) == "kernel x\n"
        assert not (environment.packages / "nas").exists()
    else:
        environment.uninstall("their-kernels")
        assert environment.python(OURS, tmp_path) == "True\n"
        assert not (environment.packages / "kernels").exists()


@pytest.mark.parametrize("first", ["ours", "ours twice", "theirs", "ours alone"])
def test_a_package_kernels_beside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels" / "__init__.py").write_text("from kernels.layer import get_kernel\n")
    (tmp_path / "kernels" / "layer.py").write_text("def get_kernel(name):\n    return f'kernel {name}'\n")
    found = {
        "ours": [ROOT, tmp_path],
        "ours twice": [ROOT, ROOT, tmp_path],
        "theirs": [tmp_path, ROOT],
        "ours alone": [ROOT],
    }
    monkeypatch.setattr(sys, "path", list(map(str, found[first])))
    for name in ("kernels", "kernels.layer"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    package = import_module("kernels")
    if first == "ours alone":
        assert package.gated_delta_rule is nas.kernels.gated_delta_rule
    else:
        assert package.get_kernel("x") == import_module("kernels.layer").get_kernel("x") == "kernel x"


def test_transformers_in_a_checkout_finds_the_package_of_hugging_face(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers", reason="needs the extra hf")
    if not list(distributions(name="kernels")):
        pytest.skip("needs Hugging Face's package kernels")
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    for name in [name for name in sys.modules if name.split(".")[0] == "kernels"]:
        monkeypatch.delitem(sys.modules, name)
    assert callable(import_module("kernels").get_kernel)
    assert import_module("transformers.models.llama.modeling_llama").LlamaForCausalLM
    assert import_module("nas.kernels").gated_delta_rule


@pytest.fixture
def beside(wheel: Path, kernels_wheel: Path, tmp_path: Path) -> Environment:
    """An environment with Hugging Face's `kernels`, and with libraries that must not be imported."""
    stops = "raise RuntimeError(f'imported {__name__}')\n"
    others = [write_wheel(tmp_path, name, name, stops, version) for name, version in LIBRARIES.items()]
    return Environment(tmp_path / "venv", kernels_wheel, *others, wheel)


@pytest.fixture
def crowded(tmp_path: Path) -> Path:
    """A folder full of modules and packages that must not be imported."""
    folder = tmp_path / "crowded"
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise RuntimeError('imported {name}/')")
        (folder / f"{name}.py").write_text(f"raise RuntimeError('imported {name}.py')")
    return folder


@pytest.mark.parametrize("package", [True, False], ids=["packages", "modules"])
def test_help_in_a_folder_of_these_names(installed: Environment, crowded: Path, package: bool) -> None:
    if not package:  # where both are, Python takes the package
        for name in NAMES:
            (crowded / name / "__init__.py").unlink()
            (crowded / name).rmdir()
    assert "nas.search +space=token_hybrid" in installed.run("python", "-m", "nas.search", "--help", cwd=crowded)


def test_a_run_in_a_folder_of_these_names_beside_these_libraries(beside: Environment, crowded: Path) -> None:
    beside.run("python", "-m", "nas.search", *SEARCH, "trainer.steps=1", cwd=crowded)
    page = next(crowded.glob("outputs/search/*/report.html")).read_text()
    assert "<pre>python -m nas.search +space=token_hybrid " in page
