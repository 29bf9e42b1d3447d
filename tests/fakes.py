"""Small episodes for tests, made without an environment."""

import numpy as np


def episode(steps, number=0, image_shape=(10, 10, 10), dtype=bool, actions=6):
    """An episode whose reward is 1000 * number + time, and whose image spells it.

    With a boolean image, the first 16 pixels are the binary digits of that value.
    """
    time = np.arange(steps + 1)
    value = 1000 * number + time
    size = int(np.prod(image_shape))
    image = np.zeros((steps + 1, size), dtype)
    if dtype is bool:
        image[:, :16] = value[:, None] >> np.arange(16) & 1
    else:
        image[:] = value[:, None] % 256
    action = np.zeros((steps + 1, actions), np.float32)
    action[time[1:], value[1:] % actions] = 1
    return {
        "image": image.reshape(steps + 1, *image_shape),
        "action": action,
        "reward": value.astype(np.float32),
        "is_first": time == 0,
        "is_last": time == steps,
        "is_terminal": time == steps,
    }
