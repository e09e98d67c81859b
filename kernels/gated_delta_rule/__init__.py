"""Gated DeltaNet in which a route scales how much of a chunk's change of the state is passed on."""

from typing import Literal, overload

from torch import Tensor

from nas.kernels.arguments import Impl, RouteGrad
from nas.kernels.gated_delta_rule import reference
from nas.kernels.gated_delta_rule.checks import check_call, check_state
from nas.kernels.triton_support import choose


@overload
def gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    route: Tensor | None = None,
    *,
    chunk_size: int = 64,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    return_final_state: Literal[False] = False,
    route_grad: RouteGrad = "selected",
    impl: Impl = "auto",
) -> Tensor: ...


@overload
def gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    route: Tensor | None = None,
    *,
    chunk_size: int = 64,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    return_final_state: Literal[True],
    route_grad: RouteGrad = "selected",
    impl: Impl = "auto",
) -> tuple[Tensor, Tensor]: ...


def gated_delta_rule(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    g: Tensor,
    beta: Tensor,
    route: Tensor | None = None,
    *,
    chunk_size: int = 64,
    scale: float | None = None,
    initial_state: Tensor | None = None,
    cu_seqlens: Tensor | None = None,
    return_final_state: bool = False,
    route_grad: RouteGrad = "selected",
    impl: Impl = "auto",
) -> Tensor | tuple[Tensor, Tensor]:
    """Compute the gated delta rule inside every chunk; the route decides how much of each chunk later chunks see.

    From the state S_n at a chunk's start, whatever the chunk's route, token by token::

        S <- exp(g_t) S;  S <- S + k_t beta_t (v_t - k_t^T S)^T;  o_t = scale * q_t^T S

    With S'_n the state at the chunk's end and G_n = prod exp(g_t) over the chunk, the next chunk starts from::

        S_{n+1} = G_n S_n + route_n (S'_n - G_n S_n)

    Sources: Gated DeltaNet (Yang et al. 2025, eq. 10); the linear branch of NAtS-L (Deng et al. 2026, arXiv
    2602.03681). With ``route=None`` it is plain Gated DeltaNet. q and k are used as given: normalise before.

    The values of tensors are not checked, since this would wait for the GPU. The caller ensures that they lie in the
    ranges below, and that all but g are finite.

    Args:
        q, k: [B, T, G, K], any T >= 1; G divides H. Head h of v reads head h // (H / G) of q and k. They are not
            repeated in memory, but the gradients of G < H heads are written for all H heads in float32, then summed.
        v: [B, T, H, V].
        g: [B, T, H] natural logarithm of the decay, from -inf to 0. A decay that is 0 in the dtype of the computation
            resets the state; its gradient is 0.
        beta: [B, T, H] write strength, from 0 to 2 for keys of length 1; over 1 a state transition has a negative
            eigenvalue (Grazzi et al. 2025, arXiv 2411.12537).
        route: [B, N, R] in [0, 1], N = ceil(T / chunk_size), R divides H; None means all ones.
        chunk_size: tokens in a chunk, any integer >= 1.
        scale: factor on the output; 1 / sqrt(K) by default.
        initial_state: [B, H, K, V] state before the first token; zeros by default.
        cu_seqlens: [documents + 1] int32 or int64, for B = 1: document d has the tokens from cu_seqlens[d] to
            cu_seqlens[d + 1], and each document is computed as if alone. Its chunks are counted from its start, so that
            N is the sum of ceil(length / chunk_size), in the order of the documents. initial_state and the final state
            are [documents, H, K, V]. A document may be empty: it passes its state on. The host reads the values: on the
            CPU at once, on a GPU after waiting for it, in every call.
        return_final_state: whether to return the state after the last chunk too, as the next chunk would see it.
        route_grad: "full" differentiates for every chunk; "selected" gives 0 where route == 0.
        impl: "reference" (PyTorch, any device and dtype), "triton" (CUDA; see `nas.kernels.triton_support`),
                or "auto": Triton on CUDA where the call is supported, the reference otherwise.

    Returns:
        o [B, T, H, V] in the dtype of v; with ``return_final_state`` the pair (o, state [B, H, K, V]), the
        state in float32 for half-precision inputs and in their dtype otherwise.

    Raises:
        ValueError: a type, shape, dtype, device or option is not as above; the message names it.
    """
    borders = check_call(q, k, v, g, beta, route, chunk_size, scale, route_grad, impl, cu_seqlens)
    check_state(initial_state, q, v, None if borders is None else len(borders) - 1)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    arguments = (q, k, v, g, beta, route, chunk_size, scale, initial_state, route_grad == "full")
    settings = {"routed": int(route is not None), "group": v.shape[2] // q.shape[2], "packed": int(borders is not None)}
    if choose(impl, q, k, v, chunk_size, "gated_delta_rule.gated_delta_rule", **settings) == "triton":
        from nas.kernels.gated_delta_rule import triton_op

        o, state = triton_op.gated_delta_rule(*arguments, borders, return_final_state)
    elif borders is not None:
        o, state = reference.gated_delta_rule_of_documents(borders, *arguments)
    else:
        o, state = reference.gated_delta_rule(*arguments)
    return (o, state) if return_final_state else o


__all__ = ["gated_delta_rule"]
