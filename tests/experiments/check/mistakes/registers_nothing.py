"""The decorator is missing."""

from distillers import Distiller


class Mine(Distiller):
    def loss(self, student, teacher, batch):
        return (student.logits - teacher.logits).square().mean()
