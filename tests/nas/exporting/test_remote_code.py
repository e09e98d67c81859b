"""The files of an export that brings its own code."""

import ast
import sys

import pytest

from nas.errors import UserError
from nas.exporting.remote_code import check_architecture, code, config_of
from nas.search_spaces.architecture import Architecture, Layer
from tests.nas.exporting.models import own_architecture


def test_the_file_imports_no_module_of_this_project() -> None:
    tree = ast.parse(code())
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {alias.name for node in statements if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module or "" for node in statements if isinstance(node, ast.ImportFrom)}
    assert {module.split(".")[0] for module in modules} - sys.stdlib_module_names == {"torch", "transformers"}
    names = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    assert {"HybridConfig", "HybridForCausalLM"} <= names


def test_the_config_has_the_architecture() -> None:
    a = own_architecture()
    config = config_of(a, context=64)
    assert Architecture.from_dict(config["architecture"]) == a
    assert config["auto_map"]["AutoModelForCausalLM"] == "modeling_nas_hybrid.HybridForCausalLM"


def test_what_the_file_cannot_compute_is_refused() -> None:
    check_architecture("r", own_architecture())
    given = own_architecture(layers=(Layer("token_hybrid", 4),), given_routing="random", given_share=0.5)
    with pytest.raises(UserError, match="run=r has random routing, which is for comparisons; export a run"):
        check_architecture("r", given)
    other = own_architecture(layers=(Layer("fla:gla", 4),))
    with pytest.raises(UserError, match="has the operation fla:gla in layer 0, whose code is not part of an export"):
        check_architecture("r", other)
