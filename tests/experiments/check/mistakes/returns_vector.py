"""One loss per sample."""

from distillers import Distiller, Needs, register


@register("mine", title="Mine")
class Mine(Distiller):
    needs = Needs(embedding=True)

    def loss(self, student, teacher, batch):
        return (student.logits - teacher.logits).square().mean(1)
