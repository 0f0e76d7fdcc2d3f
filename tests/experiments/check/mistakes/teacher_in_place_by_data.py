"""The same, past the version counter."""

from distillers import Distiller, Needs, register


@register("mine", title="Mine")
class Mine(Distiller):
    needs = Needs(embedding=True)

    def loss(self, student, teacher, batch):
        target = teacher.embedding.data.mul_(2)
        return (student.embedding - target).square().mean()
