"""The neighbours would learn from another teacher."""

from distillers import Distiller, Needs, register


@register("mine", title="Mine")
class Mine(Distiller):
    needs = Needs(embedding=True)

    def loss(self, student, teacher, batch):
        target = teacher.embedding.mul_(2)
        return (student.embedding - target).square().mean()
