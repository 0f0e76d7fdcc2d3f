"""A division by zero that would end the run in its last epoch."""

from distillers import Distiller, Needs, register


@register("mine", title="Mine")
class Mine(Distiller):
    needs = Needs(embedding=True)

    def loss(self, student, teacher, batch):
        left = self.info.epochs - batch.epoch
        return student.logits.square().mean() / (0.0 * student.logits.sum() + left)
