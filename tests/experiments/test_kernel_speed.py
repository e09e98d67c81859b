import dataclasses
import functools
import itertools
import json
import math
import os
import sys
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.kernel_speed import __main__ as command
from experiments.kernel_speed import decoding, inputs, limits, operations, peers, table, tuning
from experiments.kernel_speed.delta_rule import cases, errors, warm_up
from experiments.kernel_speed.delta_rule import peers as delta_peers
from experiments.kernel_speed.limits import Ceilings, Size, Work
from experiments.kernel_speed.rows import Bench, Case, Check, Row, linear_fit
from experiments.kernel_speed.timing import ContextLost, HostClock, Value, interleaved
from nas.kernels import chunk_softmax_attention, gated_delta_rule

SMALL = Size(batch=1, length=2, heads=1, key_dim=3, value_dim=5, chunk_size=2)


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize(("length", "chunk_size"), [(5, 2), (6, 3), (3, 4)])
def test_attended_pairs_are_those_of_the_definition(length: int, chunk_size: int, share: float) -> None:
    pairs = sum(
        j <= i and (i // chunk_size == j // chunk_size or share == 1.0)
        for i, j in itertools.product(range(length), repeat=2)
    )
    assert limits.attended_pairs(length, chunk_size, share) == pairs


def test_half_of_the_earlier_pairs_at_half_the_share() -> None:
    assert limits.attended_pairs(5, 2, 0.5) == 7 + 8 / 2


def test_work_of_softmax_attention_counted_by_hand() -> None:
    # 3 pairs; a token moves 2 * 3 + 2 * 5 numbers and a float32, in the backward pass twice the numbers
    assert limits.softmax_forward(SMALL) == Work(2 * 3 * (3 + 5), 2 * (16 * 2 + 4))
    assert limits.softmax_backward(SMALL) == Work(2 * 3 * (9 + 10), 2 * (32 * 2 + 4))


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_work_of_the_gated_delta_rule_counted_by_hand(share: float) -> None:
    state, keys, values = 2 * 2 * 3 * 5, 2 * 3 * 3, 2 * 3 * 5  # one chunk of 2 tokens: 3 causal pairs
    forward, backward = limits.delta_forward(SMALL, share), limits.delta_backward(SMALL, share)
    assert forward == Work((2 + share) * state + 2 * keys + 2 * values, 2 * (17 * 2 + 4))
    assert backward == Work((5 + 3 * share) * state + 6 * keys + 5 * values, 2 * (29 * 2 + 8))


def test_heads_that_share_q_and_k_share_their_products_and_bytes() -> None:
    state, keys, values = 2 * 2 * 3 * 5, 2 * 3 * 3, 2 * 3 * 5  # of each head of v, of a head of q and k, of a head of v
    shared = dataclasses.replace(SMALL, heads=2, group=2)
    forward, backward = limits.delta_forward(shared), limits.delta_backward(shared)
    assert forward == Work(2 * (3 * state + 2 * values) + 2 * keys, 2 * ((6 + 22) * 2 + 2 * 4))
    assert backward == Work(2 * (8 * state + 5 * values) + 6 * keys, 2 * ((12 + 34) * 2 + 2 * 8))


def test_layer_weights_are_those_of_the_projections() -> None:
    from nas.models.mixers import TokenMixer

    a = inputs.smoke().architecture
    for mixer in ("softmax", "linear", "token_hybrid"):
        layer = TokenMixer(a.with_mixer(mixer), 0, "full")
        projections = ("q", "k", "v", "gate", "out", "decay", "write", "branch_score")
        counted = sum(getattr(layer, name).weight.numel() for name in projections if hasattr(layer, name))
        assert limits.layer_weights(a, mixer) == counted


def test_floor_adds_the_larger_term_of_each_pass() -> None:
    ceilings = Ceilings(flops=1000, bytes=1000)
    assert ceilings.floor_ms(Work(10, 5), Work(1, 7)) == pytest.approx(10 + 7)


def test_shapes_are_those_of_the_published_model() -> None:
    a = inputs.architecture_340m()
    assert len(a.mixers) == 21
    assert a.routed_layers == (3, 7, 11, 15, 19, 20)
    assert Size.softmax(inputs.full((2048,)), 16, 2048) == Size(16, 2048, 12, 64, 128, 64, 2)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_hard_routes_have_exactly_their_share(share: float) -> None:
    to_softmax, to_linear = inputs.hard_routes(inputs.smoke(), 3, 128, share, torch.device("cpu"))
    assert torch.equal(to_softmax + to_linear, torch.ones(3, 8, 2))
    assert torch.equal(to_softmax.sum(1), torch.full((3, 2), 8 * share))


def test_linear_fit_of_a_line_and_of_noise() -> None:
    assert linear_fit([0, 1, 2], [1, 3, 5]) == pytest.approx((1, 2, 1))
    assert linear_fit([0, 1, 2], [1, 0, 1])[2] == pytest.approx(0)


def _failing_after(calls: int) -> Any:
    left = iter(range(calls))

    def call(number: int) -> None:
        if next(left, None) is None:
            raise ValueError("no valid choices\nmore")

    return call


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_a_failing_contender_is_reported_and_the_others_continue(calls: int) -> None:
    found = interleaved({"bad": _failing_after(calls), "good": lambda number: time.sleep(1e-3)}, HostClock(), 0.0)
    assert found["bad"] == Value(failure="ValueError: no valid choices")
    assert found["good"].value is not None
    assert found["good"].value >= 1
    assert found["good"].rounds == 2


class _LostClock(HostClock):
    def finish(self) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_a_lost_device_ends_the_run_and_keeps_earlier_results(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lost(bench: Bench) -> Iterator[Case]:
        yield Case("first", lambda: iter([Row("first", "forward ms", {"ours": Value(1.0)})]))
        yield Case("second", lambda: iter([Row("second", "ms", interleaved({"a": print}, _LostClock(), 0.0))]))

    monkeypatch.setitem(command.PARTS, "both", lost)
    assert command.main(["--smoke", "--parts", "both,delta", "--out", str(tmp_path)]) == 1
    kept = json.loads((tmp_path / "results.json").read_text())
    assert [row["case"] for row in kept["both"]["rows"]] == ["first"]
    assert "delta" not in kept
    assert "illegal memory access" in (tmp_path / "cpu.md").read_text()
    assert "the device was lost" in capsys.readouterr().out


def test_a_case_that_fails_is_a_row_and_the_next_is_measured() -> None:
    def broken() -> Iterator[Row]:
        yield Row("broken", "forward ms")
        raise ValueError("route has shape [1]")

    def cases() -> Iterator[Case]:
        yield Case("broken", broken)
        yield Case("whole", lambda: iter([Row("whole", "forward ms")]))

    found = list(command.rows(cases(), HostClock(), time.monotonic() + 60))
    assert [row.case for row in found] == ["broken", "broken", "whole"]
    assert found[1].values["case"].failure == "ValueError: route has shape [1]"


def test_no_case_begins_after_the_deadline() -> None:
    def never() -> Iterator[Row]:
        raise AssertionError

    found = list(command.rows(iter([Case("late", never)]), HostClock(), time.monotonic() - 1))
    assert [row.values["case"].failure for row in found] == ["out of time"]


def test_context_loss_is_no_failure_of_a_contender() -> None:
    with pytest.raises(ContextLost):
        interleaved({"a": lambda number: None}, _LostClock(), 0.0)


def test_checks_show_figure_and_target() -> None:
    assert str(Check("ours / fla", 0.85, 0.9)) == "ours / fla 0.85 <= 0.9: met"
    assert str(Check("speed-up", 5.1, 5.4, at_least=True)) == "speed-up 5.1 >= 5.4: MISSED"
    assert str(Check("ours / fla", None, 0.9)) == "ours / fla not measured, target <= 0.9"
    assert not Check("ours / fla", None, 0.9).met


def test_rows_survive_json_and_show_values_floor_and_failures() -> None:
    row = Row(
        "T=8",
        "forward ms",
        {"ours": Value(2.0, 0.05, 10), "flex": Value(failure="NotImplementedError: no")},
        floor_ms=0.5,
        checks=(Check("ours / flex", None, 0.9),),
        note="n",
    )
    assert Row.from_dict(json.loads(json.dumps(row.to_dict()))) == row
    assert table.cells([row]) == [
        {
            "case": "T=8",
            "what": "forward ms",
            "ours": "2.00 (5%)",
            "flex": "failed",
            "floor ms": "0.5",
            "of limit": "25%",
            "targets and findings": "ours / flex not measured, target <= 0.9; n",
        }
    ]
    part = table.new_part("Routed attention.\n\nMore.", {"GPU": "A"}, Ceilings(2e12, 3e12)) | {"rows": [row.to_dict()]}
    text = table.render({"flex": part})
    assert "## flex: Routed attention\n\nMore.\n" in text
    assert "ceilings 2 TFLOP/s and 3.00 TB/s" in text
    assert "- T=8, forward ms, flex: NotImplementedError: no" in text


@pytest.fixture
def fake_fla() -> Iterator[types.SimpleNamespace]:
    with flash_linear_attention_replaced() as guard:
        yield guard


def as_others_compute_it(
    *tensors: torch.Tensor, initial_state: Any, output_final_state: bool, cu_seqlens: Any
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Compute the gated delta rule with the arguments and results of flash-linear-attention and FlashQLA."""
    o, state = gated_delta_rule(
        *tensors, initial_state=initial_state, cu_seqlens=cu_seqlens, return_final_state=True, impl="reference"
    )
    return o, state if output_final_state else None


@contextmanager
def flash_linear_attention_replaced() -> Iterator[types.SimpleNamespace]:
    """Replace flash-linear-attention's modules: its operation is computed by ours, and its check raises."""
    guard = types.SimpleNamespace(IS_NVIDIA_HOPPER=True, TRITON_ABOVE_3_4_0=True, TRITON_ABOVE_3_7_1=False)

    def operation(*tensors: Any, **given: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
        assert {os.environ[switch] for switch in peers.OTHER_BACKENDS} == {"0"}
        assert guard.TRITON_ABOVE_3_7_1
        return as_others_compute_it(*tensors, **given)

    class Layer(torch.nn.Linear):
        def __init__(self, hidden_size: int, **sizes: Any) -> None:
            assert sizes["num_heads"] * sizes["head_dim"] * sizes["expand_v"] == 64
            super().__init__(hidden_size, hidden_size)

        def forward(self, x: torch.Tensor) -> Any:
            return super().forward(x), None, None

    modules = {"fla.ops.gated_delta_rule": {"chunk_gated_delta_rule": operation}}
    with pytest.MonkeyPatch.context() as patch:
        for switch in peers.OTHER_BACKENDS:
            patch.setenv(switch, "1")
        patch.setitem(sys.modules, "fla.ops.common.chunk_o", guard)  # type: ignore[misc]
        for name, content in (modules | {"fla.layers.gated_deltanet": {"GatedDeltaNet": Layer}}).items():
            patch.setitem(sys.modules, name, types.SimpleNamespace(**content))  # type: ignore[misc]
        peers._without_guard.cache_clear()
        peers._fla_operation.cache_clear()
        yield guard
    peers._without_guard.cache_clear()
    peers._fla_operation.cache_clear()


@pytest.fixture(scope="module")
def results_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return ``results.json`` of a part, which is measured on the first call."""

    @functools.cache
    def results(part: str) -> Path:
        folder = tmp_path_factory.mktemp(part)
        with flash_linear_attention_replaced():
            assert command.main(["--smoke", "--parts", part, "--out", str(folder)]) == 0
        return folder / "results.json"

    return results


def test_the_check_of_the_peer_is_disabled_and_noted(fake_fla: types.SimpleNamespace) -> None:
    assert "check off" in peers.fla_notes()[0]
    assert fake_fla.TRITON_ABOVE_3_7_1


@pytest.mark.parametrize("name", command.PARTS)
def test_every_part_runs_and_every_contender_has_a_time(name: str, results_of: Callable[[str], Path]) -> None:
    rows = [Row.from_dict(row) for row in json.loads(results_of(name).read_text())[name]["rows"]]
    assert rows
    for row in rows:
        flexible = [contender for contender in row.values if contender.startswith("FlexAttention")]
        for contender in row.values.keys() - set(flexible):
            assert row.values[contender].failure is None
            assert row.what == operations.ACTIVATIONS or row.values[contender].value is not None
        for contender in flexible:  # it has no backward pass on a CPU
            assert "backward" in (row.values[contender].failure or "")
        assert row.what == operations.ACTIVATIONS or all(check.value is not None for check in row.checks)


def test_without_a_peer_ours_is_still_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "fla", None)  # type: ignore[misc]
    for switch in peers.OTHER_BACKENDS:
        monkeypatch.setenv(switch, "1")  # what the study sets is undone
    peers._without_guard.cache_clear()
    peers._fla_operation.cache_clear()
    assert command.main(["--smoke", "--parts", "delta", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "cpu.md").read_text()
    assert "ModuleNotFoundError" in text
    assert "ours / fla not measured, target <= 0.6" in text


def test_parts_of_several_runs_are_merged_into_one_table(tmp_path: Path, results_of: Callable[[str], Path]) -> None:
    added = [str(results_of(name)) for name in ("flex", "softmax")]
    assert command.main(["--parts", "none", "--add", *added, "--out", str(tmp_path / "all")]) == 0
    text = (tmp_path / "all" / "cpu.md").read_text()
    assert text.index("## softmax") < text.index("## flex")


@pytest.fixture
def fused_peers(monkeypatch: pytest.MonkeyPatch, fake_fla: object) -> None:
    """Install FlashQLA and FlashInfer, computed by ours, for the head sizes of the smoke test."""

    def flash_infer(
        q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, decay: torch.Tensor, write: torch.Tensor, *, cu_seqlens: Any
    ) -> torch.Tensor:
        tensors = (x[None] for x in (q, k, v, decay.log(), write))
        return gated_delta_rule(*tensors, cu_seqlens=cu_seqlens, impl="reference")[0]

    modules = {"flash_qla": as_others_compute_it, "flashinfer.gdn_prefill": flash_infer}
    for name, operation in modules.items():
        monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(chunk_gated_delta_rule=operation))  # type: ignore[misc]
    monkeypatch.setattr(delta_peers, "present", lambda peer: True)
    monkeypatch.setattr(delta_peers, "FUSED_DIMS", (16, 16))


@pytest.mark.usefixtures("fused_peers")
def test_fused_peers_compute_the_same_where_they_compute_at_all() -> None:
    bench = smoke_bench()
    of_today, of_the_340m = cases.of_today(bench.shapes)[0], cases.of_the_340m(bench.shapes)[0]
    calls = [cases.draw(of_today, bench.shapes, bench.clock.device)]
    expected = cases.contender(cases.ours(bench.shapes, "reference"), calls).forward(0)
    torch.testing.assert_close(
        delta_peers.forward_only(of_today, calls)["FlashInfer"].forward(0), expected.flatten(0, 1)
    )
    rules = delta_peers.rules(of_today)
    assert list(rules) == ["fla", "FlashQLA"]
    for rule in rules.values():
        torch.testing.assert_close(cases.contender(rule, calls).forward(0), expected)
    assert list(delta_peers.rules(of_the_340m)) == ["fla"]
    assert delta_peers.forward_only(of_the_340m, calls) == {}
    assert delta_peers.missing() == []


@pytest.mark.usefixtures("fused_peers")
@pytest.mark.parametrize(("part", "forward_only"), [("delta128", {"FlashInfer"}), ("states", set())])
def test_fused_peers_have_times_and_targets(part: str, forward_only: set[str], tmp_path: Path) -> None:
    assert command.main(["--smoke", "--parts", part, "--out", str(tmp_path)]) == 0
    rows = [Row.from_dict(row) for row in json.loads((tmp_path / "results.json").read_text())[part]["rows"]]
    forward, train, _ = rows
    assert train.values.keys() == {"ours", "fla", "FlashQLA"}
    assert forward.values.keys() == train.values.keys() | forward_only
    for row in (forward, train):
        assert all(value.value is not None for value in row.values.values())
        assert [(check.name, check.limit) for check in row.checks] == [("ours / FlashQLA", 1.0), ("ours / fla", 0.6)]


def test_missing_peers_are_left_out_with_a_way_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta_peers, "present", lambda peer: False)
    shapes = inputs.full()
    assert list(delta_peers.rules(cases.of_today(shapes)[0])) == ["fla"]
    assert [note.split("`")[3] for note in delta_peers.missing()] == [
        "pip install flash-qla",
        "pip install flashinfer-python",
    ]


class _Executor:
    """An executor of processes that calls in this one."""

    def __init__(self, workers: int, mp_context: object) -> None: ...

    def __enter__(self) -> "_Executor":
        return self

    def __exit__(self, *error: object) -> None: ...

    def submit(self, function: Callable[..., None], *given: Any) -> Future[None]:
        future: Future[None] = Future()
        try:
            future.set_result(function(*given))
        except Exception as error:
            future.set_exception(error)
        return future


def test_kernels_are_compiled_for_every_timed_call_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = inputs.full()
    compiled: list[warm_up.Compiled] = []

    def run_once(call: warm_up.Compiled, *_: object) -> None:
        compiled.append(call)
        if call.by == "FlashQLA" and call.documents:
            raise RuntimeError("nvcc is missing")

    monkeypatch.setattr(warm_up, "ProcessPoolExecutor", _Executor)
    monkeypatch.setattr(warm_up, "run_once", run_once)
    monkeypatch.setattr(delta_peers, "present", lambda peer: True)
    monkeypatch.setitem(sys.modules, "fla", types.ModuleType("fla"))
    sys.modules["fla"].__spec__ = ModuleSpec("fla", None)
    calls = warm_up.calls_of(command.PARTS, shapes)
    failures = warm_up.compile_calls(calls, shapes, "triton", torch.device("cpu"))
    assert failures == [
        "FlashQLA: 16 heads x (128, 128), 1 x 32768 tokens, 64 documents: RuntimeError: nvcc is missing"
    ]
    assert compiled == calls
    assert len(compiled) == len(set(compiled))
    timed = {name: [call for call in compiled if call.by == name] for name in ("ours", "fla", "FlashQLA")}
    assert {call.shape for call in timed["FlashQLA"]} == {*cases.of_today(shapes), *cases.grouped(shapes)}
    assert len(timed["FlashQLA"]) == 2 * (4 + 4) + 1
    assert {call.shape for call in timed["ours"]} > {call.shape for call in timed["FlashQLA"]}
    assert len(timed["fla"]) == 2 * 4 + 2  # with states and without, by heads and head sizes, and packed
    assert compiled[: len(timed["FlashQLA"])] == timed["FlashQLA"]


@pytest.mark.usefixtures("fused_peers")
@pytest.mark.parametrize("options", [{"states": True}, {"documents": 3}])
def test_compiling_runs_a_timed_call(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    def flash_qla(*tensors: torch.Tensor, **given: Any) -> Any:
        made.append(given)
        return as_others_compute_it(*tensors, **given)

    monkeypatch.setattr(sys.modules["flash_qla"], "chunk_gated_delta_rule", flash_qla)
    call = warm_up.Compiled(cases.Shape(1, 48, 2, 2, 16, 16), **options)
    for by in ("ours", "FlashQLA"):
        warm_up.run_once(dataclasses.replace(call, by=by), inputs.smoke(), "reference", torch.device("cpu"))
    assert len(made) == 2  # forward alone, and forward and backward
    assert (made[0]["initial_state"] is not None) == ("states" in options)
    assert (made[0]["cu_seqlens"] is not None) == ("documents" in options)


@pytest.mark.parametrize("documents", [1, 5, 64])
def test_documents_are_packed_without_gaps(documents: int) -> None:
    borders = inputs.document_borders(32768, documents)
    assert borders.dtype == torch.int32
    assert (borders[0], borders[-1], len(borders)) == (0, 32768, documents + 1)
    lengths = borders.diff() * documents / 32768
    assert lengths.min() > 0.3
    assert lengths.max() < 2


def smoke_bench() -> Bench:
    clock = HostClock()
    return Bench(inputs.smoke(), clock, clock, Ceilings(1e9, 1e9), "reference", 0.0, False)


@pytest.mark.parametrize("share", [None, 0.5])
def test_errors_of_some_heads_are_those_of_all(share: float | None) -> None:
    shape, bench = cases.Shape(1, 33, 3, 6, 16, 16), smoke_bench()
    call = cases.draw(shape, bench.shapes, bench.clock.device, states=1, share=share)
    rule = cases.ours(bench.shapes, "reference", "full")
    whole, part = (errors.results(rule, one, torch.float64) for one in (call, errors.part_of(call, shape)))
    expected = errors.of_part(whole, shape)
    assert part.keys() == expected.keys()
    assert len(part) == 8 + (share is not None)
    for name, x in part.items():
        torch.testing.assert_close(x, expected[name])


def test_an_error_beyond_rounding_is_a_missed_target() -> None:
    exact = {"o": torch.ones(4, dtype=torch.float64), "dq": torch.ones(4, dtype=torch.float64)}
    rounded = {name: x + 1e-3 for name, x in exact.items()}
    found = {name: x.float() for name, x in exact.items()}
    assert errors.beyond(found, rounded, exact) < 1e-3
    assert errors.beyond(found | {"dq": found["dq"] + 4e-3}, rounded, exact) == pytest.approx(2, rel=0.05)
    assert math.isnan(errors.beyond(found | {"o": found["o"] * math.nan}, rounded, exact))
    assert not Check("worst error / allowed", math.nan, 1.0).met


def test_a_model_whose_cache_does_not_fit_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = dataclasses.replace(smoke_bench(), on_device=True)
    a = bench.shapes.architecture
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**30, 2**31))
    decoding.require_memory(bench, a, [64, 64])
    decoding.require_memory(bench, a.with_mixer("linear"), [20000, 19999])
    with pytest.raises(MemoryError, match="activations of 2 GiB"):
        decoding.require_memory(bench, a.with_mixer("linear"), [20000, 20000])
    with pytest.raises(MemoryError, match=r"cache of \d+ GiB .* do not fit into the 1 GiB"):
        decoding.require_memory(bench, a.with_mixer("softmax"), [2**20, 2**20])

    def refuse(bench: Bench, architecture: object, lengths: object) -> None:
        if architecture == a.with_mixer("softmax"):
            raise MemoryError("a cache of 190 GiB")

    monkeypatch.setattr(decoding, "require_memory", refuse)
    cases = list(decoding.decode(smoke_bench()))
    assert [case.name.removeprefix("after ") for case in cases] == [
        "32 tokens, batch 1",
        "32 tokens, batch 2",
        "23 to 32 tokens, batch 2",
    ]
    times, *others = cases[0].rows()
    assert times.values.pop("softmax everywhere").failure == "MemoryError: a cache of 190 GiB"
    for row in (times, *others[:2]):
        assert row.values.keys() == {"hybrid, p=0.25", "linear everywhere"}
        assert all(value.value for value in row.values.values())


def test_sections_of_a_table_are_replaced_one_by_one(tmp_path: Path, results_of: Callable[[str], Path]) -> None:
    page = tmp_path / "table.md"
    page.write_text("# Old\n\nold definitions\n\n## softmax: by hand\n\nkept\n\n## delta: old\n\nreplaced\n")
    added = [str(results_of(name)) for name in ("flex", "delta")]
    assert command.main(["--parts", "none", "--add", *added, "--out", str(tmp_path), "--table", str(page)]) == 0
    text = page.read_text()
    assert "\n## softmax: by hand\n\nkept\n" in text
    assert "old" not in text
    assert [line.split(":")[0] for line in text.splitlines() if line.startswith("## ")] == [
        "## delta",
        "## softmax",
        "## flex",
    ]
    table.update(page, {}, command.PARTS)
    assert page.read_text() == text


@pytest.mark.parametrize("chunks", [1, 2])
def test_the_block_mask_is_the_route(chunks: int) -> None:
    q, k, v = (torch.randn(2, 64, 4, 16) for _ in range(3))
    route, _ = inputs.hard_routes(inputs.smoke(), 2, 64, 0.5, torch.device("cpu"))
    mask = peers.flex_mask(route, 4, 64, 16, 16 * chunks)
    with torch.no_grad():
        o = peers.flex_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask).transpose(1, 2)
        expected = chunk_softmax_attention(q, k, v, route, chunk_size=16, impl="reference")
    torch.testing.assert_close(o, expected)


def test_help_lists_the_parts_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        command.main(["--help"])
    text = capsys.readouterr().out
    for word in (*command.PARTS, "--lengths", "--out", "--smoke", "2048,8192,32768"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--parts", "both,decoding"], "decoding is unknown; choose from: both"),
        (["--lengths", "0"], "positive integers"),
    ],
)
def test_invalid_options_are_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_the_message_names_an_alternative(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--parts", "both"]) == 2
    assert "--smoke" in capsys.readouterr().err


def test_all_configurations_of_an_autotuned_kernel_are_compiled_before_it_is_timed() -> None:
    autotuner = pytest.importorskip("triton.runtime.autotuner")
    compiled: list[dict[str, Any]] = []

    class Kernel:
        def warmup(self, *args: Any, **kwargs: Any) -> None:
            if kwargs["B"] == 32:
                raise ValueError("too large")
            compiled.append({"args": args, **kwargs})

    tuner = object.__new__(autotuner.Autotuner)
    tuner.configs = [autotuner.Config({"B": size}, num_warps=2, num_stages=1) for size in (16, 32, 64)]
    tuner.early_config_prune = tuner.perf_model = None
    tuner.nargs, tuner.fn = {"x": 1}, Kernel()
    with tuning.compiled_at_once():
        assert tuner.prune_configs({"n": 4, "grid": (1,), "warmup": False}) == tuner.configs
    assert [(one["args"], one["n"], one["grid"], one["B"]) for one in compiled] == [
        ((1,), 4, (1,), 16),
        ((1,), 4, (1,), 64),
    ]
    assert all("warmup" not in one for one in compiled)
    compiled.clear()
    tuner.prune_configs({"n": 4})
    assert not compiled
