"""A method of one's own: the student's embedding learns the direction of the teacher's."""

from torch import Tensor, nn
from torch.nn import functional as F

from datasets import Batch
from distillers import Distiller, Needs, register
from models import Outputs


@register("my_method", title="Mine", paper="not yet written")
class MyMethod(Distiller):
    """1 - cos(W e_s, e_t), the mean over the batch; embeddings (B, D), W is trained along."""

    needs = Needs(embedding=True)
    defaults = {"weight": 2.0}  # beside ce = 1, kd = 0 and kd_temperature = 4, which all have

    def setup(self, student, teacher, info):
        source = self.probe(student).embedding.shape[1]
        target = self.probe(teacher, teacher=True).embedding.shape[1]
        self.connector = nn.Linear(source, target)

    def loss(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        mapped = self.connector(student.embedding)
        return 1 - F.cosine_similarity(mapped, teacher.embedding).mean()
