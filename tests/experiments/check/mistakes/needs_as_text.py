"""What the method needs, as a text."""

from distillers import Distiller, register


@register("mine", title="Mine")
class Mine(Distiller):
    needs = "embedding"

    def loss(self, student, teacher, batch):
        return (student.logits - teacher.logits).square().mean()
