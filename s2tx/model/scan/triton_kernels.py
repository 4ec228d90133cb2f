# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
"""What Triton compiles for the GPU scan: the forward and the backward loop, each fused into one.

One program runs one sequence and a block of channels of one group, from its first step to its last,
``STEPS`` at a time: a tile of decays and drives is computed at once, the recurrence goes through it
step by step in registers, and the results leave as a tile. The forward pass stores the state before
each tile; the backward pass takes the tiles last to first, and runs each forward again. The next
tile is on its way from memory while one is computed. Nothing of the size (N, I, L, K) is ever kept,
and every sum runs in an order that shapes alone decide.

A tile is (S, P, I, Q): S steps; the states as P times Q, state k being ``p * Q + q``; I channels.
Triton gives the last axes to the lanes and warps and keeps the first ones in a thread's registers,
so that a thread holds S steps of P states of one channel, and a step needs no other thread. Padding
(steps past the last, channels or states that are not there) has a decay of 1, a drive of 0 and a
gradient of 0.

A tile has its steps in the order of memory, so that what lies along time is read along time. A
group that runs from the newest step to the oldest takes its tiles, and their steps, the other way.

Arguments have no annotations but ``constexpr``, because Triton reads them. An argument that is None
is a constant, and so is what hangs on it.

Read it from the bottom: ``backward``, ``forward``, what they share, the elementary functions.
Letters: N sequences, G groups, J blocks of channels in a group, I channels, L steps, K state.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)

# --- Elementary functions -----------------------------------------------------------------------


@triton.jit
def _exp(x):
    return tl.exp2(x * LOG2_E)


@triton.jit
def _softplus(x):
    """log(1 + exp(x)), exact to a few ulp on both tails."""
    e = _exp(-tl.abs(x))
    s = e / (e + 2.0)  # log(1 + e) = 2 atanh(s), and s <= 1/3
    w = s * s
    p = 1.0 / 15.0
    p = p * w + 1.0 / 13.0
    p = p * w + 1.0 / 11.0
    p = p * w + 1.0 / 9.0
    p = p * w + 1.0 / 7.0
    p = p * w + 1.0 / 5.0
    p = p * w + 1.0 / 3.0
    p = p * w + 1.0
    return tl.where(x < 0.0, 0.0, x) + 2.0 * s * p  # this way round a NaN passes


@triton.jit
def _sigmoid(x):
    e = _exp(-tl.abs(x))
    return tl.where(x < 0.0, e, 1.0) / (1.0 + e)


# --- Tiles --------------------------------------------------------------------------------------


@triton.jit
def _pick(at_S, x_SPIQ):
    """The one step of a tile where ``at_S`` is true: (P, I, Q).

    Registers cannot be indexed. The sum is over whole numbers, all but one of them the constant 0,
    so the compiler drops it, and with it what led to the steps that are not picked.
    """
    bits = tl.where(at_S, x_SPIQ.to(tl.int32, bitcast=True), 0)
    return tl.sum(bits, axis=0).to(tl.float32, bitcast=True)


@triton.jit
def _forth(a_SPIQ, b_SPIQ, h_PIQ, BACK: tl.constexpr):
    """The state before each step and after it, and after the last: from ``h``, the one before."""
    STEPS: tl.constexpr = a_SPIQ.shape[0]
    s_S = tl.arange(0, STEPS)[:, None, None, None]
    before_SPIQ, h_SPIQ = b_SPIQ, b_SPIQ
    for r in tl.static_range(STEPS):
        at_S = s_S == (STEPS - 1 - r if BACK else r)
        after_SPIQ = a_SPIQ * h_PIQ[None, :, :, :] + b_SPIQ
        before_SPIQ = tl.where(at_S, h_PIQ[None, :, :, :], before_SPIQ)
        h_SPIQ = tl.where(at_S, after_SPIQ, h_SPIQ)
        h_PIQ = _pick(at_S, after_SPIQ)
    return before_SPIQ, h_SPIQ, h_PIQ


@triton.jit
def _back(a_SPIQ, read_SPIQ, dh_PIQ, BACK: tl.constexpr):
    """The gradient of the state after each step, and of that before the first.

    From ``dh``, that of the state after the last, and ``read``, which each output adds.
    """
    STEPS: tl.constexpr = a_SPIQ.shape[0]
    s_S = tl.arange(0, STEPS)[:, None, None, None]
    dh_SPIQ = read_SPIQ
    for r in tl.static_range(STEPS):
        at_S = s_S == (r if BACK else STEPS - 1 - r)
        after_SPIQ = read_SPIQ + dh_PIQ[None, :, :, :]
        dh_SPIQ = tl.where(at_S, after_SPIQ, dh_SPIQ)
        dh_PIQ = _pick(at_S, a_SPIQ * after_SPIQ)
    return dh_SPIQ, dh_PIQ


@triton.jit
def _over_states(x_SPIQ):
    """The sum over the states: (S, I)."""
    return tl.sum(tl.sum(x_SPIQ, axis=1), axis=2)


@triton.jit
def _load_channels(base, steps_S, step, channels_I, channel, mask):
    """(S, I) in float32 from steps and channels that lie ``step`` and ``channel`` apart."""
    at = base + steps_S[:, None] * step + channels_I[None, :] * channel
    return tl.load(at, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _store_channels(base, steps_S, step, channels_I, channel, mask, x_SI):
    at = base + steps_S[:, None] * step + channels_I[None, :] * channel
    tl.store(at, x_SI.to(base.dtype.element_ty), mask=mask)


@triton.jit
def _load_states(base, steps_S, step, k_PQ, state, mask):
    """(S, P, Q) in float32 from steps and states that lie ``step`` and ``state`` apart."""
    at = base + steps_S[:, None, None] * step + k_PQ[None, :, :] * state
    return tl.load(at, mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _place(groups, blocks):
    """Which sequence, group and block of channels this program runs."""
    program = tl.program_id(0).to(tl.int64)
    n = program // (groups * blocks)
    g = program // blocks % groups
    return n, g, program % blocks


@triton.jit
def _time(tile, back, L, STEPS: tl.constexpr):
    """The steps of a tile, oldest first, and which of them are there: (S,) each.

    They lie in memory as they come here, in either direction, so that loads can run along them.
    """
    start = tile * STEPS
    if back:
        start = L - STEPS - start
    t_S = (start + tl.arange(0, STEPS)).to(tl.int64)
    return t_S, (t_S >= 0) & (t_S < L)


@triton.jit
def _load_tile(
    u, u_I, u_L, delta, delta_I, delta_L, z, z_I, z_L, B, B_K, B_L, C, C_K, C_L,
    t_S, on_S, i_I, on_I, k_PQ, on_PQ,
):  # fmt: skip
    """x, raw step sizes and gate (S, I), B and C (S, P, Q); a gate that is not there is x."""
    on_SI = on_S[:, None] & on_I[None, :]
    on_SPQ = on_S[:, None, None] & on_PQ[None, :, :]
    x_SI = _load_channels(u, t_S, u_L, i_I, u_I, on_SI)
    raw_SI = _load_channels(delta, t_S, delta_L, i_I, delta_I, on_SI)
    z_SI = x_SI
    if z is not None:
        z_SI = _load_channels(z, t_S, z_L, i_I, z_I, on_SI)
    B_SPQ = _load_states(B, t_S, B_L, k_PQ, B_K, on_SPQ)
    C_SPQ = _load_states(C, t_S, C_L, k_PQ, C_K, on_SPQ)
    return x_SI, raw_SI, z_SI, B_SPQ, C_SPQ


# --- The two launches ---------------------------------------------------------------------------


@triton.jit(do_not_specialize=["groups", "blocks", "channels", "L", "K", "reverse"])
def forward(
    u, u_N, u_I, u_L,
    delta, delta_N, delta_I, delta_L,
    A,
    B, B_N, B_G, B_K, B_L,
    C, C_N, C_G, C_K, C_L,
    D,
    z, z_N, z_I, z_L,
    bias,
    y,
    states,
    groups, blocks, channels, L, K, reverse,
    SOFTPLUS: tl.constexpr, STEPS: tl.constexpr,
    P: tl.constexpr, I: tl.constexpr, Q: tl.constexpr,  # noqa: E741
):  # fmt: skip
    """One program per sequence and block of channels; strides carry the letter of their axis.

    ``D``, ``z``, ``bias`` and ``states`` may be None; ``channels`` are those of one group; ``A``,
    ``D`` and ``bias`` are contiguous, ``y`` is (N, L, I). ``reverse`` has bit g set where group g
    runs from the newest step to the oldest. ``states`` is (N, G, J, tiles, P * I * Q).
    """
    n, g, block = _place(groups, blocks)
    back = ((reverse >> g) & 1) != 0
    inside_I = block * I + tl.arange(0, I)
    i_I = g * channels + inside_I
    k_PQ = tl.arange(0, P)[:, None] * Q + tl.arange(0, Q)[None, :]
    on_I, on_PQ = inside_I < channels, k_PQ < K
    on_PIQ = on_I[None, :, None] & on_PQ[:, None, :]
    place_PIQ = i_I[None, :, None] * K + k_PQ[:, None, :]
    decay_PIQ = tl.load(A + place_PIQ, mask=on_PIQ, other=0.0).to(tl.float32) * LOG2_E
    u += n * u_N
    delta += n * delta_N
    B += n * B_N + g * B_G
    C += n * C_N + g * C_G
    y += n * L * groups * channels
    if z is not None:
        z += n * z_N
    if D is not None:
        D_I = tl.load(D + i_I, mask=on_I, other=0.0).to(tl.float32)
    if bias is not None:
        bias_I = tl.load(bias + i_I, mask=on_I, other=0.0).to(tl.float32)

    tiles = tl.cdiv(L, STEPS)
    h_PIQ = tl.zeros((P, I, Q), tl.float32)
    if states is not None:
        states += tl.program_id(0).to(tl.int64) * tiles * (P * I * Q)
        flat_PIQ = (
            tl.arange(0, P)[:, None, None] * (I * Q)
            + tl.arange(0, I)[None, :, None] * Q
            + tl.arange(0, Q)[None, None, :]
        )
    t_S, on_S = _time(0, back, L, STEPS)
    x_SI, raw_SI, z_SI, B_SPQ, C_SPQ = _load_tile(
        u, u_I, u_L, delta, delta_I, delta_L, z, z_I, z_L, B, B_K, B_L, C, C_K, C_L,
        t_S, on_S, i_I, on_I, k_PQ, on_PQ,
    )  # fmt: skip
    for tile in range(0, tiles):
        on_SI = on_S[:, None] & on_I[None, :]
        next_t_S, next_on_S = _time(tile + 1, back, L, STEPS)
        next_x_SI, next_raw_SI, next_z_SI, next_B_SPQ, next_C_SPQ = _load_tile(
            u, u_I, u_L, delta, delta_I, delta_L, z, z_I, z_L, B, B_K, B_L, C, C_K, C_L,
            next_t_S, next_on_S, i_I, on_I, k_PQ, on_PQ,
        )  # fmt: skip
        if states is not None:
            tl.store(states + tile * (P * I * Q) + flat_PIQ, h_PIQ)
        dt_SI = raw_SI
        if bias is not None:
            dt_SI += bias_I[None, :]
        if SOFTPLUS:
            dt_SI = _softplus(dt_SI)
        dt_SI = tl.where(on_SI, dt_SI, 0.0)

        a_SPIQ = tl.exp2(dt_SI[:, None, :, None] * decay_PIQ[None, :, :, :])
        b_SPIQ = (dt_SI * x_SI)[:, None, :, None] * B_SPQ[:, :, None, :]
        if back:
            _, h_SPIQ, h_PIQ = _forth(a_SPIQ, b_SPIQ, h_PIQ, True)
        else:
            _, h_SPIQ, h_PIQ = _forth(a_SPIQ, b_SPIQ, h_PIQ, False)
        y_SI = _over_states(h_SPIQ * C_SPQ[:, :, None, :])
        if D is not None:
            y_SI += D_I[None, :] * x_SI
        if z is not None:
            y_SI *= z_SI * _sigmoid(z_SI)
        _store_channels(y, t_S, groups * channels, i_I, 1, on_SI, y_SI)

        t_S, on_S = next_t_S, next_on_S
        x_SI, raw_SI, z_SI = next_x_SI, next_raw_SI, next_z_SI
        B_SPQ, C_SPQ = next_B_SPQ, next_C_SPQ


@triton.jit(do_not_specialize=["sequences", "groups", "blocks", "channels", "L", "K", "reverse"])
def backward(
    u, u_N, u_I, u_L,
    delta, delta_N, delta_I, delta_L,
    A,
    B, B_N, B_G, B_K, B_L,
    C, C_N, C_G, C_K, C_L,
    D,
    z, z_N, z_I, z_L,
    bias,
    dy, dy_N, dy_I, dy_L,
    states,
    du, du_N, du_I, du_L,
    ddelta, ddelta_N, ddelta_I, ddelta_L,
    dz, dz_N, dz_I, dz_L,
    dA, dB, dC, dD, dbias,
    sequences, groups, blocks, channels, L, K, reverse,
    SOFTPLUS: tl.constexpr, STEPS: tl.constexpr,
    P: tl.constexpr, I: tl.constexpr, Q: tl.constexpr,  # noqa: E741
):  # fmt: skip
    """The gradients of ``forward``, whose arguments and ``states`` it takes.

    ``dA`` is (N, I, K), ``dD`` and ``dbias`` are (N, I), ``dB`` and ``dC`` (J, N, G, L, K): the
    caller sums the leading axis, so that no two programs write to one place.
    """
    n, g, block = _place(groups, blocks)
    back = ((reverse >> g) & 1) != 0
    inside_I = block * I + tl.arange(0, I)
    i_I = g * channels + inside_I
    k_PQ = tl.arange(0, P)[:, None] * Q + tl.arange(0, Q)[None, :]
    on_I, on_PQ = inside_I < channels, k_PQ < K
    on_PIQ = on_I[None, :, None] & on_PQ[:, None, :]
    place_PIQ = i_I[None, :, None] * K + k_PQ[:, None, :]
    A_PIQ = tl.load(A + place_PIQ, mask=on_PIQ, other=0.0).to(tl.float32)
    u += n * u_N
    delta += n * delta_N
    B += n * B_N + g * B_G
    C += n * C_N + g * C_G
    dy += n * dy_N
    du += n * du_N
    ddelta += n * ddelta_N
    dB += ((block * sequences + n) * groups + g) * L * K
    dC += ((block * sequences + n) * groups + g) * L * K
    if z is not None:
        z += n * z_N
        dz += n * dz_N
    if D is not None:
        D_I = tl.load(D + i_I, mask=on_I, other=0.0).to(tl.float32)
        dD_I = tl.zeros((I,), tl.float32)
    if bias is not None:
        bias_I = tl.load(bias + i_I, mask=on_I, other=0.0).to(tl.float32)
        dbias_I = tl.zeros((I,), tl.float32)

    tiles = tl.cdiv(L, STEPS)
    states += tl.program_id(0).to(tl.int64) * tiles * (P * I * Q)
    flat_PIQ = (
        tl.arange(0, P)[:, None, None] * (I * Q)
        + tl.arange(0, I)[None, :, None] * Q
        + tl.arange(0, Q)[None, None, :]
    )
    dh_PIQ = tl.zeros((P, I, Q), tl.float32)  # of the state after the tile, from the steps after it
    dA_PIQ = tl.zeros((P, I, Q), tl.float32)
    t_S, on_S = _time(tiles - 1, back, L, STEPS)
    x_SI, raw_SI, z_SI, B_SPQ, C_SPQ = _load_tile(
        u, u_I, u_L, delta, delta_I, delta_L, z, z_I, z_L, B, B_K, B_L, C, C_K, C_L,
        t_S, on_S, i_I, on_I, k_PQ, on_PQ,
    )  # fmt: skip
    dy_SI = _load_channels(dy, t_S, dy_L, i_I, dy_I, on_S[:, None] & on_I[None, :])
    h_PIQ = tl.load(states + (tiles - 1) * (P * I * Q) + flat_PIQ)
    for done in range(0, tiles):
        on_SI = on_S[:, None] & on_I[None, :]
        on_SPQ = on_S[:, None, None] & on_PQ[None, :, :]
        earlier = tl.maximum(tiles - 2 - done, 0)
        next_t_S, next_on_S = _time(earlier, back, L, STEPS)
        next_x_SI, next_raw_SI, next_z_SI, next_B_SPQ, next_C_SPQ = _load_tile(
            u, u_I, u_L, delta, delta_I, delta_L, z, z_I, z_L, B, B_K, B_L, C, C_K, C_L,
            next_t_S, next_on_S, i_I, on_I, k_PQ, on_PQ,
        )  # fmt: skip
        next_dy_SI = _load_channels(
            dy, next_t_S, dy_L, i_I, dy_I, next_on_S[:, None] & on_I[None, :]
        )
        next_h_PIQ = tl.load(states + earlier * (P * I * Q) + flat_PIQ)
        if bias is not None:
            raw_SI += bias_I[None, :]
        dt_SI = raw_SI
        if SOFTPLUS:
            dt_SI = _softplus(raw_SI)
        dt_SI = tl.where(on_SI, dt_SI, 0.0)
        drive_SI = dt_SI * x_SI

        # Forward again: the state before each step.
        a_SPIQ = tl.exp2(dt_SI[:, None, :, None] * (A_PIQ * LOG2_E)[None, :, :, :])
        b_SPIQ = drive_SI[:, None, :, None] * B_SPQ[:, :, None, :]
        if back:
            before_SPIQ, h_SPIQ, h_PIQ = _forth(a_SPIQ, b_SPIQ, h_PIQ, True)
        else:
            before_SPIQ, h_SPIQ, h_PIQ = _forth(a_SPIQ, b_SPIQ, h_PIQ, False)

        g_SI = dy_SI  # of the output before the gate
        if z is not None:
            open_SI = _sigmoid(z_SI)
            y_SI = _over_states(h_SPIQ * C_SPQ[:, :, None, :])
            if D is not None:
                y_SI += D_I[None, :] * x_SI
            dz_SI = dy_SI * y_SI * open_SI * (1.0 + z_SI * (1.0 - open_SI))
            _store_channels(dz, t_S, dz_L, i_I, dz_I, on_SI, dz_SI)
            g_SI = dy_SI * z_SI * open_SI
        at_SPQ = t_S[:, None, None] * K + k_PQ[None, :, :]
        dC_SPQ = tl.sum(g_SI[:, None, :, None] * h_SPIQ, axis=2)
        tl.store(dC + at_SPQ, dC_SPQ.to(dC.dtype.element_ty), mask=on_SPQ)

        # Backward: the gradient of the state after each step.
        read_SPIQ = g_SI[:, None, :, None] * C_SPQ[:, :, None, :]
        if back:
            dh_SPIQ, dh_PIQ = _back(a_SPIQ, read_SPIQ, dh_PIQ, True)
        else:
            dh_SPIQ, dh_PIQ = _back(a_SPIQ, read_SPIQ, dh_PIQ, False)
        dB_SPQ = tl.sum(dh_SPIQ * drive_SI[:, None, :, None], axis=2)
        tl.store(dB + at_SPQ, dB_SPQ.to(dB.dtype.element_ty), mask=on_SPQ)
        ddrive_SI = _over_states(dh_SPIQ * B_SPQ[:, :, None, :])
        dexponent_SPIQ = dh_SPIQ * before_SPIQ * a_SPIQ
        dA_PIQ += tl.sum(dexponent_SPIQ * dt_SI[:, None, :, None], axis=0)
        draw_SI = ddrive_SI * x_SI + _over_states(dexponent_SPIQ * A_PIQ[None, :, :, :])
        if SOFTPLUS:
            draw_SI *= _sigmoid(raw_SI)
        _store_channels(ddelta, t_S, ddelta_L, i_I, ddelta_I, on_SI, draw_SI)
        if bias is not None:
            dbias_I += tl.sum(tl.where(on_SI, draw_SI, 0.0), axis=0)
        du_SI = ddrive_SI * dt_SI
        if D is not None:
            du_SI += g_SI * D_I[None, :]
            dD_I += tl.sum(g_SI * x_SI, axis=0)
        _store_channels(du, t_S, du_L, i_I, du_I, on_SI, du_SI)

        t_S, on_S = next_t_S, next_on_S
        x_SI, raw_SI, z_SI, dy_SI = next_x_SI, next_raw_SI, next_z_SI, next_dy_SI
        B_SPQ, C_SPQ, h_PIQ = next_B_SPQ, next_C_SPQ, next_h_PIQ

    n_I = n * (groups * channels) + i_I
    at_PIQ = n_I[None, :, None] * K + k_PQ[:, None, :]
    tl.store(dA + at_PIQ, dA_PIQ, mask=on_PIQ)
    if D is not None:
        tl.store(dD + n_I, dD_I, mask=on_I)
    if bias is not None:
        tl.store(dbias + n_I, dbias_I, mask=on_I)
