"""A hook misspelled: Python has no objection."""

from distillers import Distiller, Needs, register


@register("mine", title="Mine")
class Mine(Distiller):
    needs = Needs(embedding=True)

    def los(self, student, teacher, batch):
        return (student.logits - teacher.logits).square().mean()
