"""The student's other terms would read other features."""

from distillers import Distiller, Needs, register


@register("mine", title="Mine")
class Mine(Distiller):
    needs = Needs(embedding=True)

    def loss(self, student, teacher, batch):
        student.features[0].detach().mul_(0.5)
        return (student.logits - teacher.logits).square().mean()
