"""Options read as a dict."""

from distillers import Distiller, Needs, register


@register("mine", title="Mine")
class Mine(Distiller):
    needs = Needs(embedding=True)
    defaults = {"margin": 0.5}

    def loss(self, student, teacher, batch):
        return self.options["margin"] * student.logits.square().mean()
