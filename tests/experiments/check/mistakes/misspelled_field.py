"""A field misspelled: the default weight would stay 1."""

from distillers import Distiller, Needs, register


@register("mine", title="Mine")
class Mine(Distiller):
    needs = Needs(embedding=True)
    default = {"weight": 100.0}

    def loss(self, student, teacher, batch):
        return (student.logits - teacher.logits).square().mean()
