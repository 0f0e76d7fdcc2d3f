"""An output that was not asked for."""

from distillers import Distiller, Needs, register


@register("mine", title="Mine")
class Mine(Distiller):
    needs = Needs(embedding=True)

    def loss(self, student, teacher, batch):
        return student.preacts[1].square().mean()
