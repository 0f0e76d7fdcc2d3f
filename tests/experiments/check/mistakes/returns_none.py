"""No return."""

from distillers import Distiller, Needs, register


@register("mine", title="Mine")
class Mine(Distiller):
    needs = Needs(embedding=True)

    def loss(self, student, teacher, batch):
        difference = student.logits - teacher.logits
        difference.square().mean()
