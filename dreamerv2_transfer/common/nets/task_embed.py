"""An RSSM that knows which game a state is of, by a learned vector of each game.

    e = v / max(1, |v|)
    deter_t = cell(img_in([stoch_{t-1}, e, action_{t-1}]), deter_{t-1})
    actor([stoch_t, deter_t, e]), critic([stoch_t, deter_t, e])

The state holds the number of its game, so that whatever goes on from a state, in a
game or in a dream, is told the game; `is_first` does not clear it. The losses of the
world model train v; actor and critic read e without a gradient, as all features.

Source: TD-MPC2 (Hansen et al. 2024, arXiv 2310.16828, section 3.3): one vector a task,
of a norm of 1 at most, learned along, which all parts of the model read; its code
starts vectors within 0.02 of zero. Here encoder and decoder, reward and discount heads
do not read it: planes and images tell the games apart, and the heads read `deter`, into
which e flows at every step. So they stay of the shapes of a model without vectors.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Collection, Sequence

import keras
import tensorflow as tf

from dreamerv2_transfer.common import tfutils
from dreamerv2_transfer.common.nets.adapter import AdaptedRSSM
from dreamerv2_transfer.common.nets.layers import cast
from dreamerv2_transfer.common.nets.rssm import State

GAME = "game_index"  # Of states and batches: the number of a sequence's game.
START = 0.02  # Vectors start within this of zero.


class TaskEmbed(keras.layers.Layer):
    """A vector for each game, each a variable that has the game's name.

    Args:
        games: The games.
        size: Numbers of a vector.
        learned: The games whose vectors learn; the others stay bit-identical.
    """

    def __init__(self, games: Sequence[str], size: int, learned: Collection[str]):
        super().__init__(name="task_embed")
        self.games = tuple(games)
        self.size = size
        self._learned = frozenset(learned)
        self.vectors: dict[str, keras.Variable] = {}

    def build(self) -> None:
        start = keras.initializers.RandomUniform(-START, START)
        self.vectors = {
            game: self.add_weight(
                (self.size,), start, trainable=game in self._learned, name=escaped(game)
            )
            for game in self.games
        }

    def call(self, index: tf.Tensor) -> tf.Tensor:
        """Returns the vectors `(..., size)` of games by their numbers."""
        table = tf.stack([vector.value for vector in self.vectors.values()])
        return cast(tf.gather(tf.clip_by_norm(table, 1.0, axes=[1]), index))


class ConditionedRSSM(AdaptedRSSM):
    """An `AdaptedRSSM` whose states are of a game, see the head of this module.

    Args:
        games: The games, in the order of their numbers.
        size: Numbers of a game's vector.
        learned: See `TaskEmbed`.
        game: The game of `initial` states, if it is among `games`.
        options: As `AdaptedRSSM` takes them.

    Attributes:
        game: The number of the game of `initial` states; -1 if there is none.
    """

    def __init__(
        self,
        games: Sequence[str],
        size: int,
        learned: Collection[str],
        game: str,
        **options,
    ):
        super().__init__(**options)
        self.task_size = size
        self.task_embed = TaskEmbed(games, size, learned)
        self.game = games.index(game) if game in games else -1

    def build(self, embed_size: int, action_size: int) -> None:
        super().build(embed_size, action_size)
        self.task_embed.build()

    def initial(self, batch_size: int | tf.Tensor) -> State:
        game = tf.fill([batch_size], self.game)
        return {**super().initial(batch_size), GAME: game}

    def masked_state(self, state: State, keep: tf.Tensor) -> State:
        cleared = {k: v for k, v in state.items() if k != GAME}
        return {**super().masked_state(cleared, keep), GAME: state[GAME]}

    def read_action(self, action: tf.Tensor, state: State) -> tf.Tensor:
        """Returns the vectors of the states' games, and the actions."""
        action = super().read_action(action, state)
        vector = self.task_embed(state[GAME])
        lead = tfutils.lead(action, 1)
        vector = tf.broadcast_to(vector, [*lead, self.task_size])
        return tf.concat([vector, action], -1)

    def observe(self, embed, action, is_first, state=None, seed=None):
        state = self.initial(tf.shape(action)[0]) if state is None else state
        post, prior = super().observe(embed, action, is_first, state, seed)
        game = tf.broadcast_to(state[GAME][:, None], tfutils.lead(action, 1))
        return {**post, GAME: game}, {**prior, GAME: game}

    def obs_step(self, prev_state: State, *args, **kwargs):
        post, prior = super().obs_step(prev_state, *args, **kwargs)
        return {**post, GAME: prev_state[GAME]}, prior

    def img_step(self, prev_state: State, *args, **kwargs) -> State:
        prior = super().img_step(prev_state, *args, **kwargs)
        return {**prior, GAME: prev_state[GAME]}

    def get_behavior_feat(self, state: State):
        """Returns what actor and critic read, `(..., stoch + deter + size)`."""
        vector = self.task_embed(state[GAME])
        return self._join(state, tf.concat([state["deter"], vector], -1))


def escaped(game: str) -> str:
    """Returns a game's name as part of a path."""
    return urllib.parse.quote(game, safe="")
