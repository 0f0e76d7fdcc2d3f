"""A tiny network of tokens, for methods that read the tokens of transformers."""

from __future__ import annotations

from torch import Tensor, nn

from models import Classifier, Outputs


class TokenNet(Classifier):
    """Patches of 4×4 pixels, three layers that mix channels, a classifier of the mean token."""

    def __init__(self, width: int, num_classes: int = 10) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.conv1 = nn.Conv2d(3, width, kernel_size=4, stride=4)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(3))
        self.fc = nn.Linear(width, num_classes)

    def outputs(self, x: Tensor, preacts: bool = False, blocks: bool = False) -> Outputs:
        tokens = [self.conv1(x).flatten(2).mT]
        for layer in self.layers:
            tokens.append(tokens[-1] + layer(tokens[-1]).relu())
        embedding = tokens[-1].mean(dim=1)
        return Outputs(logits=self.fc(embedding), embedding=embedding, tokens=tuple(tokens[1:]))

    @property
    def classifier(self) -> nn.Linear:
        return self.fc

    @property
    def preact_norms(self) -> tuple[nn.Module | None, ...]:
        return ()

    def feature_modules(self) -> nn.ModuleList:
        return nn.ModuleList()
