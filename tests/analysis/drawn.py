"""An album that keeps its pictures in memory, for tests."""


class Drawn:
    """Keeps what is added, by name; `title` and `caption` as in `Album`."""

    def __init__(self):
        self.added = {}
        self.texts = {}

    def add_figure(self, drawn, name, title, caption):
        self.added[name] = drawn
        self.texts[name] = title, caption

    add_image = add_animation = add_figure
