"""TensorFlow set-up, seeds and the optimizer."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import pathlib
import re
from collections.abc import Iterator

import keras
import tensorflow as tf

from dreamerv2_transfer.common.distributed import replicas
from dreamerv2_transfer.common.files import cache

CPUINFO = pathlib.Path("/proc/cpuinfo")
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # Of glibc's malloc.h.
PRECISIONS = {"32": "float32", "16": "mixed_float16", "bf16": "mixed_bfloat16"}


def setup(config) -> str:
    """Prepares TensorFlow for a run: precision, eager or graphs, GPU memory.

    Returns:
        A sentence that says what was chosen and why.
    """
    keep_freed_memory()
    if config.jit:
        keep_compiled()
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    tf.config.run_functions_eagerly(not config.jit)
    precision, reason = choose_precision(config.precision, bool(gpus))
    keras.mixed_precision.set_dtype_policy(PRECISIONS[precision])
    device = f"{len(gpus)} GPU(s)" if gpus else "CPU"
    if config.strategy != "none":  # After what must come before TensorFlow's start.
        count = replicas.strategy(config.strategy).num_replicas_in_sync
        device += f", {config.strategy} with {count} replica(s)"
    mode = "graphs" if config.jit else "eager"
    return f"TensorFlow {tf.__version__} on {device}, {mode}, precision {reason}."


def keep_freed_memory() -> None:
    """Makes the C library keep what is freed for what is allocated next.

    Otherwise it returns large tensors to the system, which clears each page anew when
    the next one is made: a seventh of the time of a step on a CPU. Only for glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_MMAP_MAX, 0)


def keep_compiled(cpuinfo: pathlib.Path = CPUINFO) -> pathlib.Path | None:
    """Lets XLA keep what it compiles, so that the next run starts faster.

    Only before the first call that asks for devices, which reads the flags. In the
    user's cache folder, apart for each version of TensorFlow and each kind of
    CPU, as it is machine code. XLA writes a file under another name first.

    Returns:
        The folder; None where there can be none, or where TF_XLA_FLAGS name another.
    """
    flags = os.environ.get("TF_XLA_FLAGS", "")
    if "persistent_cache_directory" in flags:
        return None
    found = re.search(r"^flags.*$", _read(cpuinfo), re.MULTILINE)
    kind = hashlib.sha256((found[0] if found else "").encode()).hexdigest()[:8]
    folder = cache.folder() / f"xla-{tf.__version__}-{kind}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    # Code from a folder that is someone else's would run as ours.
    if folder.stat().st_uid != os.getuid() or not os.access(folder, os.W_OK):
        return None
    flag = f"--tf_xla_persistent_cache_directory={folder}"
    os.environ["TF_XLA_FLAGS"] = f"{flags} {flag}".strip()
    return folder


def _read(path: pathlib.Path) -> str:
    return path.read_text() if path.exists() else ""


def choose_precision(
    precision: str, gpu: bool, cpuinfo: pathlib.Path = CPUINFO
) -> tuple[str, str]:
    """Resolves `precision: auto`.

    Returns:
        A key of `PRECISIONS`, and a phrase that says why.
    """
    if precision != "auto":
        return precision, f"{PRECISIONS[precision]} as configured"
    if gpu:
        return "16", "mixed_float16 (auto: a GPU)"
    if multiplies_bfloat16(cpuinfo):
        return "bf16", "mixed_bfloat16 (auto: a CPU with bfloat16 products)"
    return "32", "float32 (auto: a CPU without bfloat16 products)"


def multiplies_bfloat16(cpuinfo: pathlib.Path = CPUINFO) -> bool:
    """Whether the CPU has instructions for products of bfloat16 numbers."""
    return bool(re.search(r"\b(avx512_bf16|amx_bf16)\b", _read(cpuinfo)))


def conv_dtype(cpuinfo: pathlib.Path = CPUINFO) -> str | None:
    """The dtype policy of convolutions; None is the global one.

    Convolutions in bfloat16 take five times as long as in float32 on a CPU without
    instructions for it, where other products are about as fast.
    """
    slow = compute_dtype() == tf.bfloat16 and not multiplies_bfloat16(cpuinfo)
    return "float32" if slow and not tf.config.list_physical_devices("GPU") else None


def compute_dtype() -> tf.DType:
    """The dtype of matrix products under the global Keras policy."""
    return tf.as_dtype(keras.mixed_precision.dtype_policy().compute_dtype)


def lead(x: tf.Tensor, event_dims: int) -> list:
    """The leading dimensions, as numbers where the graph knows them."""
    count = len(x.shape) - event_dims
    if x.shape[:count].is_fully_defined():
        return list(x.shape[:count])
    dynamic = tf.shape(x)
    return [x.shape[i] or dynamic[i] for i in range(count)]


def compiled(fn, config, xla: bool = False):
    """The graph of a function: with XLA on a GPU, plain on a CPU.

    Args:
        fn: Takes and returns tensors.
        config: Of the run; without `jit` the function stays as it is.
        xla: Use XLA on a CPU too: for many small operations, which take less time than
            TensorFlow takes to start them.
    """
    if not config.jit:
        return fn
    # XLA compiles no graph that replicas reduce something in.
    gpu = config.strategy == "none" and tf.config.list_physical_devices("GPU")
    xla = xla or bool(gpu)
    return tf.function(fn, jit_compile=xla or None, autograph=False)


@contextlib.contextmanager
def reseeded(rng: tf.random.Generator | None, seed: int) -> Iterator[None]:
    """Draws from `seed` inside the block and goes on as before after it."""
    if rng is None:
        yield
        return
    before = rng.state.numpy()
    rng.reset_from_seed(seed)
    try:
        yield
    finally:
        rng.state.assign(before)


def make_seeds(rng: tf.random.Generator | None, count: int) -> list:
    """Draws `count` independent seeds of shape `(2,)`, int32, from the generator.

    Without a generator every seed is None, which stands for "no noise" (see `dists`).
    """
    if rng is None:
        return [None] * count
    seeds = replicas.once(lambda: rng.make_seeds(count))
    return tf.unstack(tf.cast(seeds, tf.int32), axis=1)


def split_seed(seed: tf.Tensor | None, count: int) -> list:
    """Independent seeds from one; Nones from None."""
    if seed is None:
        return [None] * count
    return tf.unstack(tf.random.split(seed, count))


def step_seeds(seed: tf.Tensor | None, length: int) -> dict[str, tf.Tensor]:
    """One seed a time step, as an input for `other.scan`; empty without a seed."""
    if seed is None:
        return {}
    return {
        "seed": tf.random.stateless_uniform([length, 2], seed, None, None, tf.int32)
    }


def variables(values):
    """A structure of variables that hold these tensors."""
    return tf.nest.map_structure(lambda x: tf.Variable(x, trainable=False), values)


def with_values(variables, values) -> keras.StatelessScope:
    """A scope in which Keras variables have the given values."""
    return keras.StatelessScope(list(zip(variables, values, strict=True)))


def assign(variables, values) -> None:
    """Gives variables the values of a structure that is flattened alike."""
    pairs = zip(tf.nest.flatten(variables), tf.nest.flatten(values), strict=True)
    for variable, value in pairs:
        variable.assign(value)


class Optimizer:
    """A Keras optimizer with clipping, decoupled weight decay and loss scaling.

    As the original: the gradients, averaged over the replicas, are clipped by their
    global norm, then every variable is multiplied by `1 - wd` (not times the learning
    rate, as in Keras), then the update is applied. Weight decay leaves variables
    without a gradient alone, and a step whose scaled gradients overflow in float16
    changes nothing, and is counted.

    Args:
        name: Prefix of the metrics.
        variables: The trainable variables, all that the optimizer will ever update.
        lr: Learning rate.
        eps: Epsilon of Adam and its kin.
        clip: Largest global norm of the gradients, at least 1; 0 or None: no clipping.
        wd: Weight decay, a fraction of each weight a step.
        opt: `adam`, `nadam`, `adamax`, `sgd` or `momentum`.
        wd_pattern: Weight decay is for variables whose `NAME/PATH` it matches.
    """

    def __init__(
        self,
        name: str,
        variables: list[keras.Variable],
        lr: float,
        eps: float = 1e-4,
        clip: float | None = None,
        wd: float = 0.0,
        opt: str = "adam",
        wd_pattern: str = r".*",
    ):
        if not 0 <= wd < 1:
            raise ValueError(f"Weight decay is a fraction. Received: wd={wd}")
        if clip and clip < 1:
            raise ValueError(f"clip is at least 1, or 0. Received: clip={clip}")
        self._name = name
        self._variables = list(variables)
        self._clip = clip
        self._wd = wd
        self._wd_pattern = wd_pattern
        self._opt = _make_optimizer(opt, lr, eps, name)
        if compute_dtype() == tf.float16:
            self._opt = keras.optimizers.LossScaleOptimizer(
                self._opt, name=f"{name}_opt_scaled"
            )
        self._opt.build(self._variables)

    @property
    def variables(self) -> list[keras.Variable]:
        """All of the optimizer's own state: slots, step count, loss scale."""
        return self._opt.variables

    def __call__(self, tape: tf.GradientTape, loss: tf.Tensor) -> dict[str, tf.Tensor]:
        """Takes one step down the gradient of a scalar float32 loss."""
        metrics = {f"{self._name}_loss": loss}
        scale = self._loss_scale()
        if scale is not None:
            metrics[f"{self._name}_loss_scale"] = scale
            with tape:
                loss = loss * scale
        grads = tape.gradient(loss, [v.value for v in self._variables])
        pairs = [
            (g, v) for g, v in zip(grads, self._variables, strict=True) if g is not None
        ]
        pairs = _averaged(pairs)
        norm = tf.linalg.global_norm([g for g, _ in pairs])
        if scale is not None:
            norm = norm / scale
            # Its mean over a line of the log is the share of steps that were skipped.
            overflow = tf.cast(~tf.math.is_finite(norm), tf.float32)
            metrics[f"{self._name}_overflow"] = overflow
        metrics[f"{self._name}_grad_norm"] = norm
        self._apply(pairs, norm, scale)
        return metrics

    def _apply(self, pairs, norm: tf.Tensor, scale: tf.Tensor | None) -> None:
        if not pairs:
            return
        grads, variables = zip(*pairs, strict=True)
        if self._clip:
            # As tf.clip_by_global_norm; the scale cancels out of the ratio.
            factor = self._clip / tf.maximum(norm, self._clip)
            grads = [g * tf.cast(factor, g.dtype) for g in grads]
        # Without loss scaling a NaN is the trainer's to report, not ours to hide.
        finite = True if scale is None else tf.math.is_finite(norm)
        self._decay(variables, finite)
        self._opt.apply(grads, variables)

    def _decay(self, variables, finite: bool | tf.Tensor) -> None:
        if not self._wd:
            return
        keep = 1 - self._wd if finite is True else tf.where(finite, 1 - self._wd, 1.0)
        for var in variables:
            if re.search(self._wd_pattern, f"{self._name}/{var.path}"):
                var.assign(var.value * keep)

    def _loss_scale(self) -> tf.Tensor | None:
        if isinstance(self._opt, keras.optimizers.LossScaleOptimizer):
            return tf.convert_to_tensor(self._opt.dynamic_scale)
        return None


class Adam(keras.optimizers.Adam):
    """Keras' Adam, one operation a variable in place of twenty.

    Kingma & Ba 2015, in the order of computation at the end of their section 2.
    """

    def update_step(self, gradient, variable, learning_rate) -> None:
        index = self._get_variable_index(variable)
        step = tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.cast(gradient, tf.float32),
        )


def _averaged(pairs: list) -> list:
    """The gradients' means over the replicas, each with its variable."""
    if not pairs:
        return []
    grads, variables = zip(*pairs, strict=True)
    return list(zip(replicas.mean(list(grads)), variables, strict=True))


def _make_optimizer(opt: str, lr: float, eps: float, name: str):
    kinds = {
        "adam": lambda name: Adam(lr, epsilon=eps, name=name),
        "nadam": lambda name: keras.optimizers.Nadam(lr, epsilon=eps, name=name),
        "adamax": lambda name: keras.optimizers.Adamax(lr, epsilon=eps, name=name),
        "sgd": lambda name: keras.optimizers.SGD(lr, name=name),
        "momentum": lambda name: keras.optimizers.SGD(lr, 0.9, name=name),
    }
    if opt not in kinds:
        raise ValueError(f"opt is one of {sorted(kinds)}. Received: {opt!r}")
    made = kinds[opt](f"{name}_opt")
    # Keras would sum over the replicas what is their mean already.
    made._all_reduce_sum_gradients = lambda pairs: pairs
    return made
