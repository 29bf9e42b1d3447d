"""`EnsembleRSSM.observe` in graphs: the numbers of its plain loop, only faster.

In the equations only the cell and the posterior depend on the step before. So

    before the loop   the shares of actions, embeddings and biases in all products
    in the loop       cell and posterior, compiled, with the gradients of `recurrence`
    after the loop    the priors of all steps at once

`tests/common/nets/test_rssm_loop.py` compares values and gradients with the plain loop.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import tensorflow as tf

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.nets.layers import batch_apply, cast, mask
from dreamerv2_transfer.common.ops import recurrence


def applies() -> bool:
    """Whether a graph is being built; eagerly there is nothing to compile."""
    return not tf.executing_eagerly()


def observe(
    rssm,
    state: Mapping[str, tf.Tensor],
    action: tf.Tensor,
    embed: tf.Tensor,
    is_first: tf.Tensor,
    noise: Mapping[str, tf.Tensor],
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Loops over `obs_step`.

    Args:
        rssm: The `EnsembleRSSM`.
        state: The states before the first step, `(B, ...)`.
        action: `(T, B, action)`.
        embed: `(T, B, embed)`.
        is_first: `(T, B)`.
        noise: What `rssm.obs_noise` returned for all steps.

    Returns:
        Posterior and prior states, each `(T, B, ...)`.
    """
    keep = 1.0 - tf.cast(is_first, tfutils.compute_dtype())
    read = rssm.read_action(rssm.masked_action(action, keep), state)
    kernels, offsets = _split_products(
        {
            "img_in": (rssm.img_in, read),
            **{name: (layer, None) for name, layer in rssm.cell.products.items()},
            "obs_out": (rssm.obs_out, embed),
            "obs_dist": (rssm.obs_dist, None),
        },
        tfutils.lead(keep, 0),
    )
    norms = rssm.img_in_norm, *rssm.cell.norms, rssm.obs_out_norm
    inputs = {"keep": keep}
    if noise:
        inputs["noise"] = noise["post"]

    def step(prev, now, products):
        stoch, deter = (mask(prev[k], now["keep"]) for k in ("stoch", "deter"))
        x = products["img_in"](rssm.flat_stoch(stoch))
        x = rssm.act(rssm.img_in_norm(x))
        deter = rssm.cell.advance(products, x, deter)
        x = products["obs_out"](deter)
        x = rssm.act(rssm.obs_out_norm(x))
        stats = rssm.suff_stats(products["obs_dist"](x))
        latent = rssm.draw(rssm.get_dist(stats), now.get("noise"))
        return {**latent, "deter": deter, **stats}

    variables = [v for norm in norms for v in norm.variables]
    # The number of a game stays as it is.
    start = {k: v for k, v in state.items() if v.dtype.is_floating}
    post = recurrence.run(step, kernels, offsets, variables, inputs, start)
    stats = rssm.prior_stats(post["deter"], noise.get("member"))
    latent = rssm.draw(rssm.get_dist(stats), noise.get("prior"))
    return post, {**latent, "deter": post["deter"], **stats}


def _split_products(layers: Mapping, lead: list) -> tuple[dict, dict]:
    """Splits each product into what depends on the state and what does not.

    Args:
        layers: By name, a dense layer and the inputs `(T, B, n)` that follow the state
            in its product, or None.
        lead: The dimensions T and B.

    Returns:
        By name, the kernel's rows for the state, and everything else: the other
        inputs' share of the product and the bias, `(T, B, units)`.
    """
    kernels, offsets = {}, {}
    for name, (layer, inputs) in layers.items():
        kernel, bias = cast(layer.kernel.value), cast(layer.offset)
        if inputs is None:
            kernels[name] = kernel
            offsets[name] = tf.broadcast_to(bias, [*lead, layer.units])
            continue
        rows = kernel.shape[0] - inputs.shape[-1]
        kernels[name], other_rows = kernel[:rows], kernel[rows:]
        share = batch_apply(
            functools.partial(tf.linalg.matmul, b=other_rows), cast(inputs), 1
        )
        offsets[name] = share + bias
    return kernels, offsets
