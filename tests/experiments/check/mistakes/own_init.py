"""An __init__ of its own instead of setup."""

from torch import nn

from distillers import Distiller, Needs, register


@register("mine", title="Mine")
class Mine(Distiller):
    needs = Needs(embedding=True)

    def __init__(self, student, teacher, info, options, seed=0):
        super().__init__(student, teacher, info, options, seed)
        self.connector = nn.Linear(64, 64)

    def loss(self, student, teacher, batch):
        return self.connector(student.embedding).mean()
